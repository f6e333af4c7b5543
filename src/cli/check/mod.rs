//! `sluice check`: everything that a start would find out, without starting. Writes nothing, but for the probe object
//! of `--probe-write`.

mod finding;
mod progress;
mod table;

use std::collections::BTreeSet;

use clap::Args;

use self::finding::Findings;
use self::table::Target;
use super::text::count;
use super::{ConfigSource, print};
use crate::config::{Connector, MetadataColumn, Source, Topics};
use crate::disposition::Exit;
use crate::engine::EngineError;
use crate::engine::decoders::{self, Group, KnownSchemas};
use crate::engine::view::View;
use crate::source::SourceError;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Ask neither Kafka nor a store, and do without secrets.
    #[arg(long)]
    offline: bool,
    /// Prove that the tables' stores refuse to put an object twice; puts and deletes one object in each.
    #[arg(long, conflicts_with = "offline")]
    probe_write: bool,
    /// One JSON document a finding.
    #[arg(long)]
    json: bool,
}

pub(super) async fn check(args: CheckArgs) -> Exit {
    let loaded = match print::load(&args.source, args.offline) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let spec = loaded.connector;
    let mut findings = Findings::new(args.json);
    findings.ok(
        "configuration",
        format!("`{}` is valid, {}", spec.name, count(spec.outputs.len() as u64, "output")),
    );
    let view = match args.offline {
        true => None,
        false => kafka(&spec.source, &mut findings).await,
    };
    let topics = topics(&spec, view.as_ref());
    let spec = spec.with_topics(&topics);
    let groups = decoding(&spec, &topics, args.offline, &mut findings).await;
    let targets = Target::all(&spec, &groups);
    if args.offline {
        for target in &targets {
            target.check_new(&mut findings);
        }
        return findings.exit();
    }
    for target in &targets {
        target.check(&spec, view.as_ref(), args.probe_write, &mut findings).await;
    }
    findings.exit()
}

/// The topics that there are; without Kafka, those that are named.
fn topics(spec: &Connector, view: Option<&View>) -> BTreeSet<String> {
    match (view, &spec.source.topics) {
        (Some(view), _) => view.catalog.topics(),
        (None, Topics::List(topics)) => topics.iter().cloned().collect(),
        (None, Topics::Pattern(_)) => BTreeSet::new(),
    }
}

/// Whether records can be read by the schemas; what can be decoded.
async fn decoding(
    spec: &Connector,
    topics: &BTreeSet<String>,
    offline: bool,
    findings: &mut Findings,
) -> Vec<Group> {
    let mut able = Vec::new();
    for group in decoders::groups(spec, topics) {
        if offline && group.decode.follows_schemas() {
            findings
                .ok("decode", "the columns are those of the registry's schemas; it was not asked");
            continue;
        }
        match decodable(group, offline).await {
            Ok((group, columns)) => {
                let what =
                    if group.decode.follows_schemas() { "in the schemas" } else { "declared" };
                findings.ok("decode", format!("{} {what}", count(columns, "column")));
                able.push(group);
            }
            Err(error) => findings.error("decode", &error),
        }
    }
    able
}

/// The group with its schemas, and the number of its columns without Kafka's.
async fn decodable(group: Group, offline: bool) -> Result<(Group, u64), EngineError> {
    let groups = match offline {
        true => vec![group],
        false => decoders::with_schemas(vec![group], &KnownSchemas::default()).await?,
    };
    let group = groups.into_iter().next().expect("one group gives one");
    let rows = group.row_schema()?;
    let is_kafkas = |name: &str| MetadataColumn::ALL.iter().any(|column| column.column() == name);
    let columns = rows.fields().iter().filter(|field| !is_kafkas(field.name())).count();
    Ok((group, columns as u64))
}

/// Brokers, topics, partitions and their offsets; `None`: what is wrong has been told.
async fn kafka(source: &Source, findings: &mut Findings) -> Option<View> {
    let error = match View::of(source).await {
        Ok(view) => {
            for (topic, entry) in &view.catalog.0 {
                let partitions = entry.partitions.len() as u64;
                findings.ok(&format!("topic {topic}"), count(partitions, "partition"));
            }
            return Some(view);
        }
        Err(error) => error,
    };
    match &source.topics {
        Topics::List(names) if names.len() > 1 && is_of_a_topic(&error) => {
            each_topic(source, names, findings).await;
        }
        _ => findings.error("kafka", &error),
    }
    None
}

/// Asks for each topic alone, so that each that is wrong is told.
async fn each_topic(source: &Source, names: &[String], findings: &mut Findings) {
    for name in names {
        let one = Source { topics: Topics::List(vec![name.clone()]), ..source.clone() };
        let subject = format!("topic {name}");
        match View::of(&one).await {
            Ok(view) => {
                let partitions = view.catalog.partitions().count() as u64;
                findings.ok(&subject, count(partitions, "partition"));
            }
            Err(error) => findings.error(&subject, &error),
        }
    }
}

fn is_of_a_topic(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::Source(
            SourceError::UnknownTopic { .. }
                | SourceError::NotAuthorized { .. }
                | SourceError::Topic { .. }
                | SourceError::Offsets { .. }
        )
    )
}
