//! One table and one owner's progress in it, as a session holds them: opened, begun, committed to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::Schema;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::EngineError;
use crate::chunk::SourcePartition;
use crate::config::{CreateTable, Files, Mode, SchemaEvolution, Storage, TableLocation};
use crate::schema::Origins;
use crate::sink::commit;
use crate::sink::create;
use crate::sink::error::{CommitError, SinkError};
use crate::sink::evolution::SchemaChange;
use crate::sink::features::TableExpectation;
use crate::sink::files::{FilesSpec, FilesWriter, Naming, local_root};
use crate::sink::history::{self, PartitionInfo, SluiceInfo, WindowsInfo};
use crate::sink::keyed::open_windows::{self, EndsAfter, TakenOut};
use crate::sink::keyed::{Changes, Keyed, KeyedError, KeyedInfo, Merged, Reads};
use crate::sink::log::TableLog;
use crate::sink::maintenance::Maintenance;
use crate::sink::progress::{self, Marker, Owner, Position, Standing, Topic};
use crate::sink::state::{StateStore, StateVersion};
use crate::sink::store::TableStore;
use crate::sink::{Committed, DataFile, Remove, Transaction, Txn};

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// What a table is to be.
pub struct TableSpec<'a> {
    pub owner: Owner,
    pub location: &'a TableLocation,
    pub storage: &'a Storage,
    pub schema: &'a Schema,
    pub partition_by: &'a [String],
    pub mode: &'a Mode,
    /// What may be changed in a table that is there, and where the columns' types come from.
    pub evolution: SchemaEvolution,
    pub origins: &'a Origins,
    pub create: CreateTable,
    pub properties: &'a BTreeMap<String, String>,
    pub files: &'a Files,
    /// The configuration's fingerprint.
    pub config: &'a str,
}

/// A partition's progress: the `txn` that says it, and the readable copy that continues.
#[derive(Debug, Clone)]
struct Held {
    txn: Txn,
    last: PartitionInfo,
}

/// What a commit does besides moving progress.
struct Work {
    operation: &'static str,
    metrics: BTreeMap<&'static str, u64>,
    removes: Vec<Remove>,
    reads: Option<Arc<Reads>>,
    adds: Vec<DataFile>,
    properties: BTreeMap<String, String>,
    added_below: u64,
    keyed: Option<KeyedInfo>,
    windows: Option<WindowsInfo>,
    /// The state object that the output goes on from.
    state: Option<StateVersion>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            operation: "WRITE",
            metrics: BTreeMap::new(),
            removes: Vec::new(),
            reads: None,
            adds: Vec::new(),
            properties: BTreeMap::new(),
            added_below: 0,
            keyed: None,
            windows: None,
            state: None,
        }
    }
}

/// What an epoch of windows does to the table's files.
#[derive(Debug, Default)]
pub struct WindowFiles {
    pub adds: Vec<DataFile>,
    pub removes: Vec<Remove>,
}

pub struct Table {
    pub owner: Owner,
    pub store: TableStore,
    log: TableLog,
    files: FilesSpec,
    /// With a mode that has a key.
    keyed: Option<Keyed>,
    /// The change of the table's columns that `files` go by, until it has landed with the first of them.
    change: Option<SchemaChange>,
    held: BTreeMap<Arc<SourcePartition>, Held>,
    /// The `txn` that names the state object; `None`: there is none.
    state: Option<Txn>,
    /// Files that no other writer may touch, or the next commit is planned again.
    holds: Arc<BTreeSet<String>>,
    maintenance: Maintenance,
    config: String,
}

impl Table {
    /// Opens the table, or creates it where it is missing and may be. Nothing of progress is read yet.
    pub async fn open(spec: &TableSpec<'_>) -> Result<Self, EngineError> {
        Self::over(TableStore::open(spec.location, spec.storage)?, spec).await
    }

    /// The same in a store that is open.
    pub(super) async fn over(store: TableStore, spec: &TableSpec<'_>) -> Result<Self, EngineError> {
        let expected = TableExpectation {
            schema: spec.schema,
            partition_by: spec.partition_by,
            mode: spec.mode,
            evolution: spec.evolution,
            origins: spec.origins,
        };
        let (log, plan) =
            create::open_or_create(&store, &expected, spec.create, spec.properties, now_ms())
                .await?;
        progress::txn_retention(&log, store.table())?;
        store.prove_conditional_puts().await?;
        if let Some(change) = &plan.change {
            let table = store.table();
            tracing::info!(table, "the first rows are going to {change}");
        }
        let keyed = Keyed::open(&store, &log, &plan, spec.mode).await?;
        let files = plan.files(spec.files, local_root(spec.location));
        Ok(Self {
            owner: spec.owner.clone(),
            files: keyed.as_ref().map_or(files.clone(), |keyed| keyed.spec(&files)),
            keyed,
            change: plan.change,
            maintenance: Maintenance::new(&log),
            store,
            log,
            held: BTreeMap::new(),
            state: None,
            holds: Arc::default(),
            config: spec.config.to_owned(),
        })
    }

    pub fn version(&self) -> u64 {
        self.log.version()
    }

    pub fn log(&self) -> &TableLog {
        &self.log
    }

    /// How the table stands to the source's topics.
    pub fn standing(&self, topics: &BTreeMap<String, Topic>) -> Result<Standing, SinkError> {
        Standing::of(&self.log, self.store.table(), &self.owner, topics)
    }

    /// The next offset of each partition held.
    pub fn next(&self) -> BTreeMap<Arc<SourcePartition>, i64> {
        self.held.iter().map(|(partition, held)| (partition.clone(), held.txn.version)).collect()
    }

    pub fn next_of(&self, partition: &SourcePartition) -> Option<i64> {
        self.held.get(partition).map(|held| held.txn.version)
    }

    /// A connector that stopped for a RESTORE must not go on just because it was started again.
    pub async fn refuse_unanswered_restore(&self) -> Result<(), CommitError> {
        match history::unanswered_restore(&self.store, &self.log, &self.owner).await? {
            Some(version) => {
                Err(CommitError::Restored { table: self.store.table().to_owned(), version })
            }
            None => Ok(()),
        }
    }

    /// Holds the progress that `standing` found, with its running counts where the log still tells them.
    pub async fn hold(&mut self, standing: &Standing) -> Result<(), SinkError> {
        let found: Vec<(SourcePartition, Txn)> = standing
            .positions
            .iter()
            .filter_map(|(partition, position)| match position {
                Position::At(txn) => Some((partition.clone(), *txn)),
                _ => None,
            })
            .collect();
        self.hold_found(found).await
    }

    /// Holds all progress of the owner, whatever topics there are.
    pub async fn hold_all(&mut self) -> Result<(), SinkError> {
        let found = progress::of_owner(&self.log, &self.owner).collect();
        self.hold_found(found).await
    }

    async fn hold_found(&mut self, found: Vec<(SourcePartition, Txn)>) -> Result<(), SinkError> {
        self.state = self.log.txn(&self.owner.state_id());
        let ids: Vec<SourcePartition> = found.iter().map(|(id, _)| id.clone()).collect();
        let mut told = history::recall(&self.store, &self.log, &self.owner, &ids).await?;
        for (id, txn) in found {
            let last =
                told.remove(&id).unwrap_or_else(|| PartitionInfo::at(&id, txn.version, None));
            self.held.insert(Arc::new(id), Held { txn, last });
        }
        Ok(())
    }

    /// The readable copy that a partition's next commit continues.
    pub fn last(&self, partition: &SourcePartition) -> Option<&PartitionInfo> {
        self.held.get(partition).map(|held| &held.last)
    }

    /// A commit without data: resolved starts, adopted ids, recorded gaps and resets. It comes before anything is
    /// read, and marks every partition in it as begun. `standing`: what it was worked out from.
    pub async fn begin(
        &mut self,
        infos: Vec<PartitionInfo>,
        standing: &Standing,
    ) -> Result<(), EngineError> {
        let begun: Vec<SourcePartition> =
            infos.iter().map(PartitionInfo::source_partition).collect();
        let marker = Marker::of(&self.log, self.store.table(), &self.owner)?.unwrap_or_default();
        let properties = marker
            .with(begun.iter())
            .map(|marker| (self.owner.marker(), marker.to_text()))
            .into_iter()
            .collect();
        let mut expected = standing.expected(&self.owner);
        for partition in &begun {
            let id = self.owner.app_id(partition);
            let now = self.log.txn(&id);
            expected.entry(id).or_insert(now);
        }
        let work = Work { operation: "SLUICE START", properties, ..Work::default() };
        self.put(infos, expected, work).await?;
        Ok(())
    }

    /// The files that a batch's rows go into.
    pub fn files(&self) -> FilesWriter {
        self.writers()(&self.files)
    }

    /// Commits a batch: its files and the progress of the partitions in it.
    pub async fn commit(
        &mut self,
        infos: Vec<PartitionInfo>,
        files: Vec<DataFile>,
    ) -> Result<Committed, CommitError> {
        self.commit_with(infos, files, 0).await
    }

    /// The same for a side stream, of whose rows so many lie in ranges that it has judged before.
    pub async fn commit_with(
        &mut self,
        infos: Vec<PartitionInfo>,
        files: Vec<DataFile>,
        added_below: u64,
    ) -> Result<Committed, CommitError> {
        let expected = self.expected(&infos);
        self.put(infos, expected, Work { adds: files, added_below, ..Work::default() }).await
    }

    /// Commits what isn't a batch of records read from Kafka, under the name of its operation.
    pub async fn commit_as(
        &mut self,
        operation: &'static str,
        infos: Vec<PartitionInfo>,
        files: Vec<DataFile>,
    ) -> Result<Committed, CommitError> {
        let expected = self.expected(&infos);
        self.put(infos, expected, Work { operation, adds: files, ..Work::default() }).await
    }

    /// What a batch's changes do to the table as it is now, in files that are written but not yet committed.
    ///
    /// # Errors
    /// As for a commit; also when the table's files can't be read.
    pub async fn merge(&mut self, changes: Changes) -> Result<Merged, KeyedError> {
        let keyed = self.keyed.as_mut().expect("changes are collected for a mode that has a key");
        keyed.catch_up(&self.store, &mut self.log).await?;
        let (writer, target_size) = (self.files(), self.files.target_size);
        let keyed = self.keyed.as_ref().expect("as above");
        keyed.merge(&self.store, &self.log, changes, writer, target_size).await
    }

    /// Commits a merged batch and the progress of the partitions in it.
    pub async fn commit_merged(
        &mut self,
        infos: Vec<PartitionInfo>,
        merged: Merged,
    ) -> Result<Committed, CommitError> {
        let expected = self.expected(&infos);
        let keyed = self.keyed.as_ref().expect("a batch was merged by it");
        let (removed, kept) = (merged.removes.clone(), merged.adds.clone());
        let work = Work {
            operation: keyed.operation(),
            metrics: merged.metrics(),
            keyed: Some(KeyedInfo { mode: keyed.mode(), key: keyed.key(), counts: merged.counts }),
            removes: merged.removes,
            reads: Some(merged.reads),
            adds: merged.adds,
            ..Work::default()
        };
        let committed = self.put(infos, expected, work).await?;
        let keyed = self.keyed.as_mut().expect("as above");
        keyed.landed(&removed, &kept, committed.version);
        Ok(committed)
    }

    /// The state objects beside the table.
    pub fn states(&self) -> StateStore {
        StateStore::new(&self.store, &self.owner)
    }

    /// The state object that the output goes on from.
    pub fn state(&self) -> Option<StateVersion> {
        self.state.map(|txn| StateVersion(txn.version))
    }

    /// Commits an epoch of windows: the rows of those that it closed, the progress of its partitions, and the state
    /// object that the next one goes on from, which is there already.
    pub async fn commit_windows(
        &mut self,
        infos: Vec<PartitionInfo>,
        rows: WindowFiles,
        state: StateVersion,
        windows: WindowsInfo,
    ) -> Result<Committed, CommitError> {
        let expected = self.expected(&infos);
        let WindowFiles { adds, removes } = rows;
        let (state, windows) = (Some(state), Some(windows));
        self.put(infos, expected, Work { adds, removes, state, windows, ..Work::default() }).await
    }

    /// The table without the rows of open windows, which another writer has put elsewhere. `None`: all rows are.
    pub async fn take_out(&self, open: Option<EndsAfter>) -> Result<TakenOut, KeyedError> {
        open_windows::take_out(&self.store, &self.log, open, self.writers(), &self.files).await
    }

    /// From now on, no commit goes on where another writer has touched one of these files.
    pub fn hold_files(&mut self, files: BTreeSet<String>) {
        self.holds = Arc::new(files);
    }

    /// How data files are written.
    pub fn files_spec(&self) -> &FilesSpec {
        &self.files
    }

    /// Makes writers of this table's files, each of which writes what one commit names.
    pub fn writers(&self) -> impl Fn(&FilesSpec) -> FilesWriter + Clone + Send + Sync + 'static {
        let output = self.owner.stream().trim_start_matches('.').to_owned();
        let (objects, epoch) = (self.store.objects().clone(), self.log.version() + 1);
        let runtime = Handle::current();
        move |spec| {
            let naming = Naming { output: output.clone(), epoch, attempt: Uuid::new_v4() };
            FilesWriter::new(spec, objects.clone(), naming, runtime.clone())
        }
    }

    /// The `txn`s that a batch of these partitions rests on.
    fn expected(&self, infos: &[PartitionInfo]) -> BTreeMap<String, Option<Txn>> {
        let txn = |info: &PartitionInfo| {
            let partition = info.source_partition();
            let txn = self.held.get(&partition).map(|held| held.txn);
            (self.owner.app_id(&partition), txn)
        };
        infos.iter().map(txn).collect()
    }

    /// Writes `txn`s again that would expire, without moving them. Most tables keep theirs for ever.
    pub async fn refresh_txns(&mut self) -> Result<(), CommitError> {
        let due = self.due();
        if due.is_empty() {
            return Ok(());
        }
        let infos = self.held.values().map(|held| held.last.clone());
        let infos: Vec<PartitionInfo> = infos
            .filter(|last| due.contains(&self.owner.app_id(&last.source_partition())))
            .map(|last| last.next(last.end, Default::default()))
            .collect();
        let expected = self.expected(&infos);
        let state = self.state().filter(|_| due.contains(&self.owner.state_id()));
        self.put(infos, expected, Work { state, ..Work::default() }).await.map(drop)
    }

    fn due(&self) -> BTreeSet<String> {
        let Ok(Some(retention)) = progress::txn_retention(&self.log, self.store.table()) else {
            return BTreeSet::new();
        };
        let mut ids: Vec<String> = self.held.keys().map(|p| self.owner.app_id(p)).collect();
        ids.push(self.owner.state_id());
        let ids = ids.iter().map(String::as_str);
        progress::due(&self.log, ids, retention, now_ms()).into_keys().collect()
    }

    async fn put(
        &mut self,
        infos: Vec<PartitionInfo>,
        mut expected: BTreeMap<String, Option<Txn>>,
        work: Work,
    ) -> Result<Committed, CommitError> {
        let mut set: BTreeMap<String, i64> =
            infos.iter().map(|i| (self.owner.app_id(&i.source_partition()), i.end)).collect();
        let state_id = self.owner.state_id();
        expected.insert(state_id.clone(), self.state);
        set.extend(work.state.map(|state| (state_id.clone(), state.0)));
        let mut info = SluiceInfo::new(&self.owner, &self.config, infos.clone());
        info.added_below = work.added_below;
        info.keyed = work.keyed;
        info.windows = work.windows;
        let transaction = Transaction {
            attempt: Uuid::new_v4(),
            expected,
            set,
            removes: work.removes,
            reads: work.reads,
            holds: self.holds.clone(),
            schema: self.change.clone().filter(|_| !work.adds.is_empty()),
            adds: work.adds,
            properties: work.properties,
            operation: work.operation,
            metrics: work.metrics,
            info: serde_json::to_value(info).expect("plain data serialises"),
        };
        let committed = commit::commit(&mut self.log, &self.store, &transaction, now_ms).await?;
        if let Some(change) = transaction.schema {
            tracing::info!(
                table = self.store.table(),
                version = committed.version,
                "schema changed: {change}"
            );
            self.change = None;
        }
        for last in infos {
            let partition = last.source_partition();
            let txn = self.log.txn(&self.owner.app_id(&partition));
            let txn = txn.expect("a commit that landed is folded into the log");
            self.held.insert(Arc::new(partition), Held { txn, last });
        }
        self.state = self.log.txn(&state_id);
        self.maintenance.after_commit(&self.log, &self.store, now_ms());
        Ok(committed)
    }

    /// Waits for a checkpoint under way, so that the process may end.
    pub async fn close(self) {
        self.maintenance.finish().await;
    }
}
