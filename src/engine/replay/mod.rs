//! Dead letters decoded again, after the schema was repaired: each becomes a row of an output once.
//!
//! Progress of its own, per partition: a `txn` of `<output>.replay` says which dead letters have been dealt with. A step is a
//! batch of them as one transaction, rows and `txn`s, compared and then committed like any other; what a crash leaves
//! is taken up where the `txn`s stand. Only what the output has judged, and has no row of, is taken.
//!
//! Doesn't touch the dead-letter table, nor the output's own progress: a connector may run meanwhile.

mod decode;
mod pending;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::decode::{Outcome, Work};
use self::pending::{Pending, Slice};
use super::EngineError;
use super::decoders::{self, Group, KnownSchemas};
use super::shape::Shape;
use super::table::{Table, TableSpec};
use crate::chunk::SourcePartition;
use crate::config::{Connector, CreateTable, Mode, Output};
use crate::decode::BadRecord;
use crate::offsets::{Fates, OffsetRange};
use crate::schema::Origins;
use crate::sink::create::TableError;
use crate::sink::error::CommitError;
use crate::sink::features::{self, TableExpectation};
use crate::sink::history::{self, PartitionInfo};
use crate::sink::letters;
use crate::sink::log::TableLog;
use crate::sink::progress::Owner;
use crate::sink::store::TableStore;

/// `commitInfo.operation` of a replay.
pub const OPERATION: &str = "SLUICE REPLAY";

/// What to replay, and how.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// `None`: every topic of the output.
    pub topics: Option<BTreeSet<String>>,
    /// Leave behind for good what still can't be decoded; otherwise a partition stops before it.
    pub skip_bad: bool,
}

/// One partition's part of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub partition: Arc<SourcePartition>,
    /// Dead letters in here have been dealt with.
    pub range: OffsetRange,
    pub letters: u64,
    /// What became of them; what isn't a dead letter, or is a row already, is a gap.
    pub fates: Fates,
    /// Dead letters that the table has as rows already.
    pub already: u64,
}

/// What one step did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// `None`: nothing was committed.
    pub version: Option<u64>,
    pub moved: Vec<Moved>,
    pub still_bad: Vec<BadRecord>,
    /// Dead letters behind one that is still bad.
    pub waiting: u64,
}

/// The dead letters of one output, and the way of them into its table.
pub struct Replay {
    skip_bad: bool,
    limits: (u64, u64),
    fingerprint: String,
    letters: Option<(TableStore, u64)>,
    /// `None`: no topic of the output was ever read.
    way: Option<Way>,
    pending: Pending,
    /// `None`: a plan only.
    table: Option<Table>,
    table_version: u64,
}

/// How a dead letter becomes a row.
struct Way {
    group: Group,
    shape: Arc<Shape>,
    origins: Origins,
}

impl Replay {
    /// Finds the dead letters that an output can take. `spec` has one output for each table. Without `writing`
    /// nothing is written, and the steps say what they would do.
    ///
    /// # Errors
    /// Among others one that [changes the columns](EngineError::changes_columns), here and in a step: then open it anew
    /// over the same schemas.
    pub async fn open(
        spec: &Connector,
        label: &str,
        scope: &Scope,
        schemas: &KnownSchemas,
        writing: bool,
    ) -> Result<Self, EngineError> {
        let output = &spec.outputs[label];
        if !matches!(output.mode, Mode::Append) || output.watermark().is_some() {
            return Err(EngineError::ReplayOfChanges { output: label.to_owned() });
        }
        let store = TableStore::open(&output.table, &output.storage)?;
        let Some(log) = TableLog::open(&store).await? else {
            let (output, table) = (label.to_owned(), store.table().to_owned());
            return Err(EngineError::ReplayNoTable { output, table });
        };
        let owner = Owner::output(&spec.name, &output.name);
        if let Some(version) = history::unanswered_restore(&store, &log, &owner).await? {
            let table = store.table().to_owned();
            return Err(CommitError::Restored { table, version }.into());
        }
        let topics = pending::topics(&log, &owner, output);
        let way = Way::of(spec, label, &topics, schemas).await?;
        let table = match &way {
            Some(way) => {
                let opened = match writing {
                    true => open_table(spec, output, way).await.map(Some),
                    false => way.check(output, &store, &log).map(|()| None),
                };
                match opened {
                    Ok(table) => table,
                    Err(error) => return Err(way.group.unfit(error).await),
                }
            }
            None => None,
        };
        let letters = open_letters(spec).await?;
        let log = table.as_ref().map_or(&log, Table::log);
        let finding = pending::Finding { spec, label, scope, store: &store, log };
        let pending = finding.find(letters.as_ref()).await?;
        Ok(Self {
            skip_bad: scope.skip_bad,
            limits: (spec.limits.max_records, spec.limits.max_bytes),
            fingerprint: spec.fingerprint.clone(),
            letters,
            way,
            pending,
            table_version: log.version(),
            table,
        })
    }

    /// The version of the table that it was planned on.
    pub fn table_version(&self) -> u64 {
        self.table_version
    }

    /// Deals with the next dead letters, as many as a batch may have; `None`: there are no more.
    ///
    /// # Errors
    /// After one nothing of the step is known to be in the table: open it anew and go on.
    pub async fn step(&mut self) -> Result<Option<Step>, EngineError> {
        let (Some(way), Some((store, version))) = (&self.way, &self.letters) else {
            return Ok(None);
        };
        let slices = self.pending.next(self.limits);
        if slices.is_empty() {
            return Ok(None);
        }
        let mut work = Vec::new();
        for slice in slices {
            let partition = slice.partition.as_ref().clone();
            let found = letters::read(store, *version, partition, slice.span()).await?;
            work.push((slice, found));
        }
        let files = self.table.as_ref().map(Table::files);
        let work = Work::new(way, &self.fingerprint, self.skip_bad, files, work)?;
        let done = tokio::task::spawn_blocking(move || work.run());
        let (outcomes, files) =
            done.await.map_err(|_| EngineError::ThreadGone("sluice-replay"))??;
        let mut step = Step::default();
        let infos: Vec<PartitionInfo> = outcomes
            .iter()
            .filter(|(_, outcome)| outcome.letters > 0)
            .map(|(slice, outcome)| self.info(slice, outcome))
            .collect();
        if let Some(table) = self.table.as_mut().filter(|_| !infos.is_empty()) {
            step.version = Some(table.commit_as(OPERATION, infos, files).await?.version);
        }
        for (slice, outcome) in outcomes {
            self.pending.done(&slice, &outcome);
            step.take(slice, outcome);
        }
        Ok(Some(step))
    }

    /// Continues the running counts of a partition.
    fn info(&self, slice: &Slice, outcome: &Outcome) -> PartitionInfo {
        let last = self.table.as_ref().and_then(|table| table.last(&slice.partition).cloned());
        last.unwrap_or_else(|| PartitionInfo::at(&slice.partition, slice.start, None))
            .next(outcome.end, outcome.fates)
    }

    /// Lets work off the hot path come to its end.
    pub async fn close(self) {
        if let Some(table) = self.table {
            table.close().await;
        }
    }
}

impl Step {
    fn take(&mut self, slice: Slice, outcome: Outcome) {
        self.still_bad.extend(outcome.bad);
        self.waiting += outcome.waiting;
        if outcome.letters > 0 {
            self.moved.push(Moved {
                range: OffsetRange::new(slice.start, outcome.end),
                partition: slice.partition,
                letters: outcome.letters,
                fates: outcome.fates,
                already: outcome.already,
            });
        }
    }
}

impl Way {
    /// `topics`: those that the output has progress of.
    async fn of(
        spec: &Connector,
        label: &str,
        topics: &BTreeSet<String>,
        schemas: &KnownSchemas,
    ) -> Result<Option<Self>, EngineError> {
        if topics.is_empty() {
            return Ok(None);
        }
        let mut only = spec.clone();
        only.outputs.retain(|name, _| name == label);
        let output = &only.outputs[label];
        let groups = decoders::groups(&only, topics);
        let Some(group) = groups.into_iter().find(|group| group.serves(output)) else {
            return Ok(None);
        };
        let groups = vec![group.keeping_bad_records()];
        let Some(group) = decoders::with_schemas(groups, schemas).await?.pop() else {
            return Ok(None);
        };
        let rows = group.row_schema()?;
        let (shape, origins) = (Shape::new(output, &rows)?, group.origins(&rows));
        Ok(Some(Self { group, shape: Arc::new(shape), origins }))
    }

    /// Whether rows would fit the table.
    fn check(
        &self,
        output: &Output,
        store: &TableStore,
        log: &TableLog,
    ) -> Result<(), EngineError> {
        let expected = TableExpectation {
            schema: self.shape.schema(),
            partition_by: &output.partition_by,
            mode: &output.mode,
            evolution: output.schema_evolution,
            origins: &self.origins,
        };
        match features::check(log.protocol(), log.metadata(), &expected) {
            Ok(_) => Ok(()),
            Err(problems) => {
                Err(TableError::Unfit { table: store.table().to_owned(), problems }.into())
            }
        }
    }
}

async fn open_table(spec: &Connector, output: &Output, way: &Way) -> Result<Table, EngineError> {
    let mut table = Table::open(&TableSpec {
        owner: Owner::replay(&spec.name, &output.name),
        location: &output.table,
        storage: &output.storage,
        schema: way.shape.schema(),
        partition_by: &output.partition_by,
        mode: &output.mode,
        evolution: output.schema_evolution,
        origins: &way.origins,
        create: CreateTable::Never,
        properties: &output.table_properties,
        files: &output.files,
        config: &spec.fingerprint,
    })
    .await?;
    table.hold_all().await?;
    Ok(table)
}

/// The dead-letter table and its version; `None`: the configuration has none, or there is none yet.
async fn open_letters(spec: &Connector) -> Result<Option<(TableStore, u64)>, EngineError> {
    let Some(letters) = &spec.dead_letters else { return Ok(None) };
    let store = TableStore::open(&letters.table, &letters.storage)?;
    let log = TableLog::open(&store).await?;
    Ok(log.map(|log| (store, log.version())))
}
