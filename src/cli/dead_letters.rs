//! `sluice dead-letters replay`: decodes dead letters again, after the schema was repaired, and makes rows of them. The
//! plan is printed first; what is a row already stays one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::text::{Align, columns, count, number};
use super::{ConfigSource, find, print};
use crate::chunk::SourcePartition;
use crate::config::Connector;
use crate::decode::BadRecord;
use crate::disposition::{Disposition, Exit};
use crate::engine::EngineError;
use crate::engine::decoders::KnownSchemas;
use crate::engine::replay::{Replay, Scope, Step};

/// Bad records that are told one by one.
const EXAMPLES: usize = 10;

/// Times that another writer may come between before the command gives up.
const TRIES: u32 = 5;

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// Decode dead letters again, and add those that can be to the outputs' tables, each once.
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Only into these outputs; all otherwise.
    #[arg(long = "output", value_name = "NAME,...", value_delimiter = ',')]
    outputs: Vec<String>,
    /// Only dead letters of these topics.
    #[arg(long = "topic", value_name = "TOPIC,...", value_delimiter = ',')]
    topics: Vec<String>,
    /// Pass over dead letters that still can't be decoded: they stay in their table, and no later replay takes them
    /// up. Without it a partition stops before the first of them.
    #[arg(long)]
    skip_bad: bool,
    /// Print the plan, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// One JSON document an output.
    #[arg(long)]
    json: bool,
}

pub(super) async fn dead_letters(command: DeadLettersCommand) -> Exit {
    let DeadLettersCommand::Replay(args) = command;
    let loaded = match print::load(&args.source, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let replayed = async {
        let spec = find::tables_known(&loaded.connector).await?;
        replay(&spec, &args).await
    };
    replayed.await.unwrap_or_else(|exit| exit)
}

async fn replay(spec: &Connector, args: &ReplayArgs) -> Result<Exit, Exit> {
    if spec.dead_letters.is_none() {
        print::note("the configuration has no `dead_letters`");
        return Err(Exit::Usage);
    }
    let outputs = outputs(spec, args)?;
    let topics: BTreeSet<String> = args.topics.iter().cloned().collect();
    let scope = Scope { topics: (!topics.is_empty()).then_some(topics), skip_bad: args.skip_bad };
    let (mut plans, schemas) = (Vec::new(), KnownSchemas::default());
    for output in &outputs {
        let plan = planned(spec, output, &scope, &schemas).await;
        let plan = plan.map_err(|error| print::failure(&error))?;
        if !args.json {
            plan.lines(args.skip_bad).iter().for_each(print::line);
        }
        plans.push(plan);
    }
    if args.dry_run || plans.iter().all(|plan| plan.letters() == 0) {
        plans.iter().filter(|_| args.json).for_each(|plan| plan.print(args.dry_run));
        return Ok(exit(&plans, args));
    }
    print::confirm("Replay?", args.yes)?;
    let mut done = Vec::new();
    for plan in plans {
        done.push(committed(spec, plan, &scope, &schemas, args).await?);
    }
    Ok(exit(&done, args))
}

/// A partition that stopped before a dead letter has some left.
fn exit(summaries: &[Summary], args: &ReplayArgs) -> Exit {
    let left = summaries.iter().any(|summary| !summary.still_bad.is_empty());
    if left && !args.skip_bad { Exit::NegativeFinding } else { Exit::Done }
}

fn outputs(spec: &Connector, args: &ReplayArgs) -> Result<Vec<String>, Exit> {
    if args.outputs.is_empty() {
        return Ok(spec.outputs.keys().cloned().collect());
    }
    if let Some(unknown) = args.outputs.iter().find(|name| !spec.outputs.contains_key(*name)) {
        let names: Vec<&str> = spec.outputs.keys().map(String::as_str).collect();
        print::note(format!("--output {unknown}: no such output; there is {}", names.join(", ")));
        return Err(Exit::Usage);
    }
    Ok(args.outputs.clone())
}

/// What a replay would do.
async fn planned(
    spec: &Connector,
    output: &str,
    scope: &Scope,
    schemas: &KnownSchemas,
) -> Result<Summary, EngineError> {
    loop {
        match try_plan(spec, output, scope, schemas).await {
            Err(change) if change.changes_columns() => {}
            plan => return plan,
        }
    }
}

async fn try_plan(
    spec: &Connector,
    output: &str,
    scope: &Scope,
    schemas: &KnownSchemas,
) -> Result<Summary, EngineError> {
    let mut replay = Replay::open(spec, output, scope, schemas, false).await?;
    let mut plan = Summary::new(output, spec, replay.table_version());
    while let Some(step) = replay.step().await? {
        plan.take(step);
    }
    Ok(plan)
}

/// Does it. Another replay, or another writer, may come between: then it goes on from where the table stands.
async fn committed(
    spec: &Connector,
    plan: Summary,
    scope: &Scope,
    schemas: &KnownSchemas,
    args: &ReplayArgs,
) -> Result<Summary, Exit> {
    let mut done = Summary::new(&plan.output, spec, plan.table_version);
    let mut tries = 0;
    while let Err(error) = commit_all(spec, &mut done, scope, schemas).await {
        if error.changes_columns() {
            continue;
        }
        tries += 1;
        let may_pass = !matches!(error.disposition(), Disposition::Stop(_));
        if !may_pass || tries == TRIES {
            done.tell(args);
            return Err(print::failure(&error));
        }
        print::note(format!("{}: {error}; going on", error.code()));
    }
    done.tell(args);
    Ok(done)
}

async fn commit_all(
    spec: &Connector,
    done: &mut Summary,
    scope: &Scope,
    schemas: &KnownSchemas,
) -> Result<(), EngineError> {
    // What is still bad is told by the last look.
    (done.still_bad, done.waiting) = (Vec::new(), 0);
    let mut replay = Replay::open(spec, &done.output, scope, schemas, true).await?;
    while let Some(step) = replay.step().await? {
        done.take(step);
    }
    replay.close().await;
    Ok(())
}

/// One output's sum.
#[derive(Debug, Serialize)]
struct Summary {
    output: String,
    table: String,
    /// The version that the plan was made on.
    table_version: u64,
    committed_versions: Vec<u64>,
    #[serde(serialize_with = "as_list")]
    partitions: BTreeMap<Arc<SourcePartition>, Sum>,
    still_bad: Vec<StillBad>,
    /// Dead letters that can be decoded, but lie behind one that can't.
    waiting: u64,
}

/// One partition's sum.
#[derive(Debug, Serialize)]
struct Sum {
    topic: String,
    topic_id: String,
    partition: i32,
    from: i64,
    to: i64,
    dead_letters: u64,
    rows: u64,
    /// Left out by `where`, or without a value.
    filtered: u64,
    already_rows: u64,
    skipped_bad: u64,
}

#[derive(Debug, Serialize)]
struct StillBad {
    partition: String,
    offset: i64,
    code: &'static str,
    reason: String,
}

fn as_list<S: serde::Serializer>(
    partitions: &BTreeMap<Arc<SourcePartition>, Sum>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(partitions.values())
}

impl Summary {
    fn new(output: &str, spec: &Connector, table_version: u64) -> Self {
        Self {
            output: output.to_owned(),
            table: spec.outputs[output].table.to_string(),
            table_version,
            committed_versions: Vec::new(),
            partitions: BTreeMap::new(),
            still_bad: Vec::new(),
            waiting: 0,
        }
    }

    fn take(&mut self, step: Step) {
        self.committed_versions.extend(step.version);
        self.waiting += step.waiting;
        self.still_bad.extend(step.still_bad.into_iter().map(StillBad::of));
        for moved in step.moved {
            let of = &moved.partition;
            let sum = self.partitions.entry(of.clone()).or_insert_with(|| Sum {
                topic: of.id.topic.to_string(),
                topic_id: of.topic_id.to_string(),
                partition: of.id.partition,
                from: moved.range.start,
                to: moved.range.end,
                dead_letters: 0,
                rows: 0,
                filtered: 0,
                already_rows: 0,
                skipped_bad: 0,
            });
            sum.to = moved.range.end;
            sum.dead_letters += moved.letters;
            sum.rows += moved.fates.rows;
            sum.filtered += moved.fates.filtered + moved.fates.tombstones;
            sum.already_rows += moved.already;
            sum.skipped_bad += moved.fates.dead_letters;
        }
    }

    fn letters(&self) -> u64 {
        self.partitions.values().map(|sum| sum.dead_letters).sum()
    }

    fn rows(&self) -> u64 {
        self.partitions.values().map(|sum| sum.rows).sum()
    }

    /// What it would do, in words.
    fn lines(&self, skip_bad: bool) -> Vec<String> {
        let mut lines =
            vec![format!("{}: {}, version {}", self.output, self.table, self.table_version)];
        if self.letters() == 0 {
            lines.push("There is no dead letter to replay.".to_owned());
        } else {
            let head =
                ["  partition", "from", "to", "letters", "rows", "left out", "already", "bad"];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(self.partitions.iter().map(|(of, sum)| sum.cells(&of.id.to_string())));
            let mut aligns = [Align::Right; 8];
            aligns[0] = Align::Left;
            lines.extend(columns(&aligns, &rows));
            let (letters, rows) = (count(self.letters(), "dead letter"), count(self.rows(), "row"));
            lines.push(format!("{letters} will become {rows}."));
        }
        lines.extend(self.left(skip_bad));
        lines
    }

    /// What stays as it is.
    fn left(&self, skip_bad: bool) -> Vec<String> {
        let told = self.still_bad.iter().take(EXAMPLES);
        let mut lines: Vec<String> = told.map(|bad| format!("  still bad: {bad}")).collect();
        let more = self.still_bad.len().saturating_sub(EXAMPLES) as u64;
        if more > 0 {
            lines.push(format!("  and {} more", number(more)));
        }
        if !self.still_bad.is_empty() && !skip_bad {
            let waiting = count(self.waiting, "dead letter");
            lines.push(format!(
                "A partition stops before the first that is still bad; {waiting} behind one could be decoded. \
                 `--skip-bad` passes over the bad ones for good."
            ));
        }
        lines
    }

    /// What was done.
    fn tell(&self, args: &ReplayArgs) {
        if args.json {
            return self.print(false);
        }
        let (letters, rows) = (count(self.letters(), "dead letter"), count(self.rows(), "row"));
        let versions = match (self.committed_versions.first(), self.committed_versions.last()) {
            (Some(first), Some(last)) if first == last => format!("committed as version {first}"),
            (Some(first), Some(last)) => format!("committed as versions {first} to {last}"),
            _ => "nothing was committed".to_owned(),
        };
        print::line(format!("{}: {letters} became {rows}; {versions}", self.output));
    }

    fn print(&self, dry_run: bool) {
        let mut document = serde_json::to_value(self).expect("plain data serialises");
        document["dry_run"] = dry_run.into();
        print::json(&document);
    }
}

impl Sum {
    fn cells(&self, name: &str) -> Vec<String> {
        let counts =
            [self.dead_letters, self.rows, self.filtered, self.already_rows, self.skipped_bad];
        let mut cells = vec![format!("  {name}"), number(self.from), number(self.to)];
        cells.extend(counts.map(number));
        cells
    }
}

impl StillBad {
    fn of(bad: BadRecord) -> Self {
        let BadRecord { partition, offset, code, reason } = bad;
        Self { partition: partition.to_string(), offset, code, reason }
    }
}

impl std::fmt::Display for StillBad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} offset {}: {}: {}", self.partition, self.offset, self.code, self.reason)
    }
}
