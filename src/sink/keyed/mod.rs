//! The keyed modes: a batch's changes merged into a table by key, `insert_new` and `upsert`.
//!
//! Owns which rows a change replaces, and the rewriting of their files (copy on write; deletion vectors are read, never
//! made). Guarantees: the table that [`Merged`] makes of the version it was computed on has, for each key of the
//! batch, the last change (`upsert`) or the first row (`insert_new`); memory is bounded by the batch, some 400 bytes
//! for each live file, and the files' writer. Does not commit: [`super::commit`] does, and looks whether another writer
//! changed what was read.

mod active;
mod changes;
mod columns;
mod error;
mod find;
pub mod open_windows;
mod read;
mod reads;
mod rewrite;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use delta_kernel::Engine;
use serde::{Deserialize, Serialize};

use self::active::{Active, ActiveFile};
pub use self::changes::Changes;
use self::changes::{KeySet, Wins};
pub use self::columns::KeyColumns;
pub use self::error::KeyedError;
use self::error::ReadError;
use self::find::{Found, Search, find};
use self::read::TableReader;
pub use self::reads::Reads;
use self::rewrite::{Rewrite, Rewritten};
use super::adapt::adapt;
use super::create::TableError;
use super::entry::{self, Entry, FileActions, decoded};
use super::error::{CommitError, SinkError};
use super::features::{self, WritePlan};
use super::files::{FilesSpec, FilesWriter};
use super::log::{TableLog, parse_entry};
use super::maintenance::in_kernel;
use super::store::{Identity, TableStore};
use super::{DataFile, Metadata, Remove, delta_schema};
use crate::config::Mode;

/// A file in the making that has this part of the target size isn't mixed with rows from elsewhere in the key.
const CUT_PART: u64 = 2;

/// Which keyed mode it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyedMode {
    /// A row whose key has one is left out.
    InsertNew,
    /// A change replaces or deletes the row of its key.
    Upsert,
}

/// What became of a batch's changes, and what it cost: kept in the commit, where `verify` holds it against the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyedCounts {
    /// All changes: the sum of the six that follow.
    pub changes: u64,
    /// Rows of keys that had none.
    pub inserted: u64,
    /// Rows of keys that had one.
    pub updated: u64,
    /// Deletions of keys that had a row.
    pub deleted: u64,
    /// Changes that a later one of their key in the same batch made void.
    pub superseded: u64,
    /// Deletions of keys that had no row.
    pub absent: u64,
    /// `insert_new`: rows whose key had one already, in the table or in the batch, and deletions.
    pub existing: u64,
    /// Rows taken out of the table: one for each key updated or deleted, more where another writer's rows repeat a key.
    pub replaced: u64,
    /// Rows that were written again as they were, since a row beside them was replaced.
    pub copied: u64,
    /// Files whose keys were read, and files that were written again.
    pub files_read: u64,
    pub files_rewritten: u64,
    /// Of the files that were written again, before.
    pub bytes_rewritten: u64,
}

impl KeyedCounts {
    /// Whether every change has one fate.
    pub fn add_up(&self) -> bool {
        let Self { inserted, updated, deleted, superseded, absent, existing, .. } = self;
        self.changes == inserted + updated + deleted + superseded + absent + existing
    }

    pub fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.superseded += other.superseded;
        self.absent += other.absent;
        self.existing += other.existing;
        self.replaced += other.replaced;
        self.copied += other.copied;
        self.files_read += other.files_read;
        self.files_rewritten += other.files_rewritten;
        self.bytes_rewritten += other.bytes_rewritten;
    }
}

/// `commitInfo.sluice.keyed`: by what key a batch was merged, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedInfo {
    pub mode: KeyedMode,
    pub key: Vec<String>,
    #[serde(flatten)]
    pub counts: KeyedCounts,
}

/// A batch merged into the table as of one version, ready to be committed.
#[derive(Debug)]
pub struct Merged {
    pub adds: Vec<DataFile>,
    pub removes: Vec<Remove>,
    pub counts: KeyedCounts,
    /// `insert_new`: by batch of the changes, the rows that are new; the others had one. Empty for `upsert`.
    pub kept: Vec<BooleanArray>,
    /// For [`super::Transaction::reads`].
    pub reads: Arc<Reads>,
}

impl Merged {
    /// `commitInfo.operationMetrics`, in the words of Spark's MERGE.
    pub fn metrics(&self) -> BTreeMap<&'static str, u64> {
        let KeyedCounts { changes, inserted, updated, replaced, copied, .. } = self.counts;
        BTreeMap::from([
            ("numSourceRows", changes),
            ("numTargetRowsInserted", inserted),
            ("numTargetRowsUpdated", updated),
            ("numTargetRowsDeleted", replaced.saturating_sub(updated)),
            ("numTargetRowsCopied", copied),
            ("numTargetFilesAdded", self.adds.len() as u64),
            ("numTargetFilesRemoved", self.removes.len() as u64),
        ])
    }
}

/// A table's keys as a session holds them: its columns, and its live files with the key's statistics.
pub struct Keyed {
    mode: KeyedMode,
    columns: Arc<KeyColumns>,
    shape: Shape,
    active: Active,
    /// The version of `active`.
    version: u64,
}

/// The table's columns, and how the output's rows become them.
struct Shape {
    schema: SchemaRef,
    schema_string: String,
    partition_columns: Vec<String>,
    /// By column of the table: its place among the output's.
    output: Vec<Option<usize>>,
    /// By column of the key: its place among the table's.
    key: Vec<usize>,
}

impl Keyed {
    /// Reads the list of live files of a table that [`features::check`] found fit for the mode. `None`: it has no key.
    ///
    /// # Errors
    /// When the key isn't one of the table's; when its log can't be read.
    pub async fn open(
        store: &TableStore,
        log: &TableLog,
        plan: &WritePlan,
        mode: &Mode,
    ) -> Result<Option<Self>, TableError> {
        let (mode, key) = match mode {
            Mode::Append | Mode::OpenWindows => return Ok(None),
            Mode::InsertNew { key } => (KeyedMode::InsertNew, key),
            Mode::Upsert { key } => (KeyedMode::Upsert, key),
        };
        let unfit = |problems| TableError::Unfit { table: store.table().to_owned(), problems };
        // The table as it will be when the first rows are in it.
        let evolved = plan.change.as_ref().map(|change| change.applied_to(log.metadata()));
        let metadata = evolved.as_ref().unwrap_or(log.metadata());
        let schema = delta_schema::from_json(&metadata.schema_string)
            .map_err(|problem| unfit(vec![features::TableProblem::Schema(problem)]))?;
        let columns = KeyColumns::new(&schema, &metadata.partition_columns, key);
        let columns = Arc::new(columns.map_err(unfit)?);
        let shape = Shape::new(schema, metadata, plan, &columns);
        let (version, listed) = (log.version(), Arc::clone(&columns));
        let active =
            in_kernel(store, move |engine| Active::open(&*engine, version, &listed)).await?;
        Ok(Some(Self { mode, columns, shape, active, version }))
    }

    pub fn mode(&self) -> KeyedMode {
        self.mode
    }

    /// `commitInfo.operation`: what other tools know such commits by.
    pub fn operation(&self) -> &'static str {
        match self.mode {
            KeyedMode::InsertNew => "WRITE",
            KeyedMode::Upsert => "MERGE",
        }
    }

    /// The key's columns, as the table spells them.
    pub fn key(&self) -> Vec<String> {
        self.columns.names()
    }

    /// Live files.
    pub fn files(&self) -> usize {
        self.active.len()
    }

    /// How data files are written: with all of the table's columns, for rows that are copied keep theirs.
    pub fn spec(&self, files: &FilesSpec) -> FilesSpec {
        FilesSpec { schema: Arc::clone(&self.shape.schema), ..files.clone() }
    }

    /// Takes in what was committed since, by us or others, so that a merge sees the newest rows.
    ///
    /// # Errors
    /// When the batch must be planned again, or the operator has to choose, as after a lost race.
    pub async fn catch_up(
        &mut self,
        store: &TableStore,
        log: &mut TableLog,
    ) -> Result<(), CommitError> {
        while self.version < log.version() {
            let Some((_, files, _)) = read_files(store, self.version + 1).await? else {
                let table = store.table().to_owned();
                return Err(CommitError::Replan { table, version: log.version(), what: "files" });
            };
            self.fold(files);
        }
        while let Some((entry, files, identity)) = read_files(store, self.version + 1).await? {
            let (table, version) = (store.table().to_owned(), self.version + 1);
            if entry.is_restore() {
                return Err(CommitError::Restored { table, version });
            }
            if entry.metadata.is_some() || entry.protocol.is_some() {
                let what = "schema, properties or features";
                return Err(CommitError::Replan { table, version, what });
            }
            // Another instance's progress is told by the comparison of `txn`s before the commit.
            log.fold(store, &entry, identity)?;
            self.fold(files);
        }
        Ok(())
    }

    fn fold(&mut self, files: FileActions) {
        self.active.fold(files, &self.columns);
        self.version += 1;
    }

    /// Merges a batch into the table as of `log`'s version, which [`Keyed::catch_up`] has brought it to: finds the rows of
    /// its keys, and writes the files that the commit will name.
    ///
    /// # Errors
    /// When files can't be read or written. Files written so far are orphans then.
    pub async fn merge(
        &self,
        store: &TableStore,
        log: &TableLog,
        changes: Changes,
        writer: FilesWriter,
        target_size: u64,
    ) -> Result<Merged, KeyedError> {
        if self.version != log.version() {
            let table = store.table().to_owned();
            return Err(CommitError::Replan { table, version: log.version(), what: "files" }.into());
        }
        let merging = Merging { keyed: self, store, engine: store.engine() };
        merging.run(changes, writer, target_size / CUT_PART).await
    }

    /// Takes in a merge that was committed as `version`. What others committed before it is read by the next
    /// [`Keyed::catch_up`].
    pub fn landed(&mut self, removes: &[Remove], adds: &[DataFile], version: u64) {
        if version == self.version + 1 {
            self.active.fold_ours(removes, adds, &self.columns);
            self.version = version;
        }
    }
}

impl Shape {
    fn new(schema: Schema, metadata: &Metadata, plan: &WritePlan, key: &KeyColumns) -> Self {
        let place = |name: &str| schema.index_of(name).expect("a key is of the table's columns");
        let key = key.iter().map(|column| place(&column.name)).collect();
        let fields = schema.fields().iter();
        let output = fields.map(|field| plan.schema.index_of(field.name()).ok()).collect();
        Self {
            schema_string: metadata.schema_string.clone(),
            partition_columns: metadata.partition_columns.clone(),
            output,
            key,
            schema: schema.into(),
        }
    }

    /// The output's rows in the table's columns; those that the output doesn't have are NULL.
    ///
    /// Rows that delete may lack what the table requires, so nothing is checked but types: the writer does the rest.
    fn rows(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let fields = self.schema.fields().iter().zip(&self.output);
        let columns: Result<Vec<ArrayRef>, ArrowError> = fields
            .map(|(field, place)| match place {
                Some(place) => adapt(rows.column(*place), field),
                None => Ok(new_null_array(field.data_type(), rows.num_rows())),
            })
            .collect();
        let nullable =
            |field: &Arc<arrow::datatypes::Field>| field.as_ref().clone().with_nullable(true);
        let schema = Schema::new(self.schema.fields().iter().map(nullable).collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(schema.into(), columns?, &options)
    }

    fn reader(&self, engine: Arc<dyn Engine>, columns: &[usize]) -> Result<TableReader, ReadError> {
        let Self { schema, schema_string, partition_columns, .. } = self;
        Ok(TableReader::new(engine, schema_string, schema, partition_columns, columns)?)
    }
}

/// One merge under way.
struct Merging<'a> {
    keyed: &'a Keyed,
    store: &'a TableStore,
    engine: Arc<dyn Engine>,
}

impl Merging<'_> {
    async fn run(
        &self,
        changes: Changes,
        writer: FilesWriter,
        cut_at: u64,
    ) -> Result<Merged, KeyedError> {
        let shape = &self.keyed.shape;
        let rows: Result<Vec<_>, _> = changes.rows.iter().map(|rows| shape.rows(rows)).collect();
        let changes = Changes { rows: rows?, deletes: changes.deletes };
        let mut counts = KeyedCounts { changes: changes.len(), ..KeyedCounts::default() };
        let (changes, keys, lost) = self.reduce(changes).await?;
        let found = self.look_up(&changes, &keys, &mut counts).await?;
        self.count(&keys, &found, lost, &mut counts);
        let kept = match self.keyed.mode {
            KeyedMode::InsertNew => kept(&changes, &keys, &found),
            KeyedMode::Upsert => Vec::new(),
        };
        let reads = Reads {
            version: self.keyed.version,
            columns: Arc::clone(&self.keyed.columns),
            keys: Arc::clone(&keys),
            found: found.files.iter().map(|found| decoded(&found.file.path)).collect(),
        };
        let (Rewritten { adds, removes }, counts) =
            self.write(changes.rows, keys, found, writer, cut_at, counts).await?;
        Ok(Merged { adds, removes, counts, kept, reads: Arc::new(reads) })
    }

    /// The batch's keys; how many changes lost to another one of their key.
    async fn reduce(&self, changes: Changes) -> Result<(Changes, Arc<KeySet>, u64), KeyedError> {
        let columns = Arc::clone(&self.keyed.columns);
        let key = self.keyed.shape.key.clone();
        let wins = match self.keyed.mode {
            KeyedMode::InsertNew => Wins::First,
            KeyedMode::Upsert => Wins::Last,
        };
        let job = tokio::task::spawn_blocking(move || {
            let reduced = KeySet::reduce(&columns, &changes, wins, |rows| key_of(rows, &key));
            Ok(reduced.map(|(keys, lost)| (changes, Arc::new(keys), lost))?)
        });
        job.await.unwrap_or_else(|error| Err(ReadError::of("", error).at(self.store.table())))
    }

    /// Where the keys are in the table.
    async fn look_up(
        &self,
        changes: &Changes,
        keys: &Arc<KeySet>,
        counts: &mut KeyedCounts,
    ) -> Result<Found, KeyedError> {
        let Keyed { columns, shape, active, .. } = self.keyed;
        let may_hold = |file: &&Arc<ActiveFile>| keys.may_be_in(&file.domains);
        let candidates: Vec<Arc<ActiveFile>> =
            active.iter().filter(may_hold).map(Arc::clone).collect();
        if let Some(file) = candidates.iter().find(|file| file.is_elsewhere()) {
            let (table, path) = (self.store.table().to_owned(), file.path.clone());
            return Err(KeyedError::Elsewhere { table, path });
        }
        counts.files_read = candidates.len() as u64;
        let search = Search {
            reader: self.done(shape.reader(Arc::clone(&self.engine), &shape.key)).await?,
            columns: Arc::clone(columns),
            keys: Arc::clone(keys),
            values: Arc::new(changes.rows.iter().map(|rows| key_of(rows, &shape.key)).collect()),
        };
        self.done(find(&search, candidates).await).await
    }

    fn count(&self, keys: &KeySet, found: &Found, lost: u64, counts: &mut KeyedCounts) {
        let deleting = |key: &&u32| keys.winner(**key).deletes;
        match self.keyed.mode {
            KeyedMode::InsertNew => {
                let new = keys.sorted().iter().filter(|key| !deleting(key) && !found.holds(**key));
                counts.existing = counts.changes - new.count() as u64;
            }
            KeyedMode::Upsert => {
                counts.superseded = lost;
                let (deleted, absent): (Vec<u32>, Vec<u32>) =
                    keys.sorted().iter().filter(deleting).partition(|key| found.holds(**key));
                (counts.deleted, counts.absent) = (deleted.len() as u64, absent.len() as u64);
                counts.replaced = found.files.iter().map(|found| found.rows).sum();
                counts.files_rewritten = found.files.len() as u64;
                counts.bytes_rewritten = found.files.iter().map(|found| found.file.size).sum();
            }
        }
    }

    async fn write(
        &self,
        rows: Vec<RecordBatch>,
        keys: Arc<KeySet>,
        mut found: Found,
        writer: FilesWriter,
        cut_at: u64,
        mut counts: KeyedCounts,
    ) -> Result<(Rewritten, KeyedCounts), KeyedError> {
        let shape = &self.keyed.shape;
        if self.keyed.mode == KeyedMode::InsertNew {
            // What has a row is left as it is.
            found.files.clear();
        }
        let all: Vec<usize> = (0..shape.schema.fields().len()).collect();
        let rewrite = Rewrite {
            reader: self.done(shape.reader(Arc::clone(&self.engine), &all)).await?,
            key_positions: shape.key.clone(),
            partition_columns: shape.partition_columns.clone(),
            columns: Arc::clone(&self.keyed.columns),
            keys,
            rows: Arc::new(rows),
            found,
            cut_at,
        };
        let job = tokio::task::spawn_blocking(move || {
            let rewritten = rewrite.run(writer, &mut counts)?;
            Ok((rewritten, counts))
        });
        let written = job.await.unwrap_or_else(|error| Err(ReadError::of("", error)));
        self.done(written).await
    }

    /// A file that is missing is told apart from one that another writer has just removed and vacuumed.
    async fn done<T>(&self, result: Result<T, ReadError>) -> Result<T, KeyedError> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(path) = error.missing() else {
            return Err(error.at(self.store.table()));
        };
        let (table, path) = (self.store.table().to_owned(), path.to_owned());
        let version = self.keyed.version;
        let newer = entry::path_of(version + 1);
        match self.store.identity(&newer).await {
            Ok(Some(_)) => {
                let what = "files that the batch rewrites";
                Err(CommitError::Replan { table, version: version + 1, what }.into())
            }
            _ => Err(KeyedError::Missing { table, path, version }),
        }
    }
}

fn key_of(rows: &RecordBatch, positions: &[usize]) -> Vec<ArrayRef> {
    positions.iter().map(|at| Arc::clone(rows.column(*at))).collect()
}

/// A version's entry, with its files.
async fn read_files(
    store: &TableStore,
    version: u64,
) -> Result<Option<(Entry, FileActions, Identity)>, SinkError> {
    let read = store.read(&entry::path_of(version)).await;
    let read = read.map_err(|e| store.failed("an entry of the log cannot be read", e))?;
    let Some((bytes, identity)) = read else {
        return Ok(None);
    };
    let malformed =
        |reason| SinkError::Malformed { table: store.table().to_owned(), version, reason };
    let files = FileActions::parse(&bytes).map_err(malformed)?;
    Ok(Some((parse_entry(store, version, &bytes)?, files, identity)))
}

/// By batch of the changes, the rows that were the first of their key and found none.
fn kept(changes: &Changes, keys: &KeySet, found: &Found) -> Vec<BooleanArray> {
    let mut kept: Vec<Vec<bool>> =
        changes.rows.iter().map(|rows| vec![false; rows.num_rows()]).collect();
    for &key in keys.sorted() {
        let winner = keys.winner(key);
        kept[winner.batch as usize][winner.row as usize] = !winner.deletes && !found.holds(key);
    }
    kept.into_iter().map(BooleanArray::from).collect()
}
