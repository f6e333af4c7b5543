//! `sluice rewind`: sets an output's progress, as one commit that says so. The plan is printed first; rows that are
//! in the table stay there.

mod plan;
mod target;

use clap::{ArgGroup, Args};

use self::plan::{Plan, Planned, Refusal};
use self::target::To;
use super::find::{self, FoundTable};
use super::{ConfigSource, print};
use crate::config::Connector;
use crate::disposition::Exit;
use crate::engine::now_ms;
use crate::engine::view::View;
use crate::sink::error::SinkError;
use crate::sink::log::TableLog;
use crate::sink::{commit, rewind as sink_rewind};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("to")))]
pub(super) struct RewindArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Which output; needed when there are several.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// These offsets are read next; partitions not named stay where they are. Works without Kafka.
    #[arg(long, group = "to", value_name = "TOPIC:PARTITION=OFFSET,...", value_delimiter = ',', value_parser = target::offset)]
    to_offsets: Vec<target::Offset>,
    /// Read everything again that Kafka still has.
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// Read again from the first record that is this young.
    #[arg(long, group = "to", value_name = "RFC3339", value_parser = target::time_ms)]
    to_time: Option<i64>,
    /// Go on from the progress that the table had in this version.
    #[arg(long, group = "to", value_name = "VERSION")]
    to_version: Option<u64>,
    /// Go on where the progress is, after another writer's RESTORE: what it took out stays out.
    #[arg(long, group = "to")]
    accept: bool,
    /// Give up the state of windows: those that are open are lost, as far as their records are not read again. Alone, the
    /// offsets stay where they are.
    #[arg(long)]
    reset_state: bool,
    /// Print the plan, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// The plan as one JSON document.
    #[arg(long)]
    json: bool,
}

impl RewindArgs {
    /// `None`: nothing is asked for.
    fn to(&self) -> Option<To> {
        Some(match (self.to_time, self.to_version) {
            (Some(ms), _) => To::Time(ms),
            (_, Some(version)) => To::Version(version),
            _ if self.to_earliest => To::Earliest,
            _ if self.accept => To::Here,
            _ if !self.to_offsets.is_empty() => To::Offsets(self.to_offsets.clone()),
            _ if self.reset_state => To::Same,
            _ => return None,
        })
    }
}

pub(super) async fn rewind(args: RewindArgs) -> Exit {
    let loaded = match print::load(&args.source, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let rewound = async {
        let spec = find::tables_known(&loaded.connector).await?;
        try_rewind(&spec, &args).await
    };
    rewound.await.map_or_else(|exit| exit, |()| Exit::Done)
}

async fn try_rewind(spec: &Connector, args: &RewindArgs) -> Result<(), Exit> {
    let Some(to) = args.to() else {
        let ways =
            "--to-offsets, --to-earliest, --to-time, --to-version, --accept or --reset-state";
        print::note(format!("say where to rewind to: {ways}"));
        return Err(Exit::Usage);
    };
    let table = match &args.output {
        Some(name) => find::output(spec, name)?,
        None => find::only_output(spec)?,
    };
    let Some(mut log) = TableLog::open(&table.store).await.map_err(find::failure)? else {
        print::note(format!("{}: there is no table at {}", table.name, table.store.table()));
        return Err(Exit::NegativeFinding);
    };
    let reset_state = args.reset_state;
    let view = kafka(spec, &to).await?;
    let topics = spec.outputs[&table.name].topics.as_deref();
    let planning = Planned { table: &table, log: &log, view: view.as_ref(), topics, reset_state };
    let plan = planning.plan(&to).await.map_err(refused)?;
    if !args.json {
        plan.lines().iter().for_each(print::line);
    }
    if args.dry_run {
        return print_json(args, &plan, None);
    }
    print::confirm("Rewind?", args.yes)?;
    let version = put(spec, &table, &mut log, &plan, &to).await?;
    if args.json {
        return print_json(args, &plan, Some(version));
    }
    print::line(format!("{}: committed as version {version}", table.name));
    Ok(())
}

/// Kafka, where the target is its to tell. Offsets that were given are only held against what it has.
async fn kafka(spec: &Connector, to: &To) -> Result<Option<View>, Exit> {
    if matches!(to, To::Version(_) | To::Here | To::Same) {
        return Ok(None);
    }
    match View::of(&spec.source).await {
        Ok(view) => Ok(Some(view)),
        Err(error) => {
            let exit = print::failure(&error);
            if !matches!(to, To::Offsets(_)) {
                return Err(exit);
            }
            print::note("the offsets are taken as they are: whether Kafka has them is not known");
            Ok(None)
        }
    }
}

fn refused(refusal: Refusal) -> Exit {
    match refusal {
        Refusal::Usage(what) => {
            print::note(what);
            Exit::Usage
        }
        Refusal::Engine(error) => print::failure(&error),
    }
}

/// Commits the plan. A connector that runs is fenced by it, recovers, and goes on from there.
async fn put(
    spec: &Connector,
    table: &FoundTable,
    log: &mut TableLog,
    plan: &Plan,
    to: &To,
) -> Result<u64, Exit> {
    let (store, name) = (&table.store, table.store.table());
    store.prove_conditional_puts().await.map_err(find::failure)?;
    let targets = plan.targets();
    let (reset, reason) = (plan.resets_state(), to.reason());
    let config = &spec.fingerprint;
    let rewound = sink_rewind::rewind(log, name, &table.owner, config, &targets, reset, &reason);
    let transaction = rewound.map_err(|error: SinkError| find::failure(error))?;
    let committed = commit::commit(log, store, &transaction, now_ms).await;
    committed.map(|committed| committed.version).map_err(|error| print::failure(&error.into()))
}

fn print_json(args: &RewindArgs, plan: &Plan, committed: Option<u64>) -> Result<(), Exit> {
    if args.json {
        let mut document = serde_json::to_value(plan).expect("plain data serialises");
        document["dry_run"] = args.dry_run.into();
        document["committed_version"] = committed.into();
        print::json(&document);
    }
    Ok(())
}
