//! `sluice check`: everything that a start would find out, without starting. Writes nothing, but for the probe object
//! of `--probe-write`.

mod finding;
mod progress;
mod table;

use clap::Args;

use self::finding::Findings;
use self::table::Target;
use super::kafka::View;
use super::text::count;
use super::{ConfigSource, print};
use crate::config::{Connector, MetadataColumn, Source, Topics};
use crate::decode::{Decoder, Schemas};
use crate::disposition::Exit;
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
    decoding(&spec, &mut findings);
    let targets = Target::all(&spec);
    if args.offline {
        for target in &targets {
            target.check_new(&mut findings);
        }
        return findings.exit();
    }
    let view = kafka(&spec.source, &mut findings).await;
    for target in &targets {
        target.check(&spec, view.as_ref(), args.probe_write, &mut findings).await;
    }
    findings.exit()
}

/// Whether records can be read by the declared schema.
fn decoding(spec: &Connector, findings: &mut Findings) {
    let metadata = MetadataColumn::ALL.into_iter().collect();
    let all = Decoder::new(&spec.decode, &Schemas::none(), &metadata, false);
    // A declared column may have the name of a metadata column that no output asks for.
    let asked = spec.outputs.values().flat_map(|output| output.metadata_columns.clone()).collect();
    match all.or_else(|_| Decoder::new(&spec.decode, &Schemas::none(), &asked, false)) {
        Ok(_) => {
            let columns =
                spec.decode.value.declared().map_or(0, |schema| schema.arrow().fields().len())
                    as u64;
            findings.ok("decode", format!("{} declared", count(columns, "column")));
        }
        Err(error) => findings.error("decode", &error.into()),
    }
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
        _ => findings.error("kafka", &error.into()),
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
            Err(error) => findings.error(&subject, &error.into()),
        }
    }
}

fn is_of_a_topic(error: &SourceError) -> bool {
    matches!(
        error,
        SourceError::UnknownTopic { .. }
            | SourceError::NotAuthorized { .. }
            | SourceError::Topic { .. }
            | SourceError::Offsets { .. }
    )
}
