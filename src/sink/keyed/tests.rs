//! Batches, crashes and other writers at random, against a naive model; then single cases.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use delta_kernel::actions::deletion_vector_writer::{
    KernelDeletionVector, StreamingDeletionVectorWriter,
};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};
use uuid::Uuid;

use super::*;
use crate::config::{Compression, CreateTable, Files};
use crate::disposition::{Disposition, Exit};
use crate::schema::ddl;
use crate::sink::commit::{Step, commit};
use crate::sink::create;
use crate::sink::deep::keys;
use crate::sink::features::TableExpectation;
use crate::sink::files::Naming;
use crate::sink::scan::TableScan;
use crate::sink::testing::{Fault, Fixture, NOW, commit_info};
use crate::sink::{Committed, Transaction};

const P0: &str = "sluice/orders/orders/orders@AbC/0";

const OUTPUT: &str = "id BIGINT NOT NULL, tenant STRING, region STRING, value BIGINT";
/// A column that the output doesn't have.
const TABLE: &str = "id BIGINT NOT NULL, tenant STRING, region STRING, value BIGINT, extra STRING";

type Key = (Option<String>, i64);

/// A row without its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    region: Option<String>,
    value: Option<i64>,
    extra: Option<String>,
}

/// The rows of each key: one, unless another writer appended more.
type Model = BTreeMap<Key, Vec<Row>>;

#[derive(Debug, Clone)]
struct Change {
    key: Key,
    region: Option<String>,
    value: i64,
    deletes: bool,
}

/// What the key is, and what the table is partitioned by.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Plain,
    /// Partitions that are no part of the key: a change can move a row.
    Moving,
    /// Partitions that are part of the key.
    Keyed,
}

impl Layout {
    fn key(self) -> Vec<String> {
        let key: &[&str] = match self {
            Self::Plain => &["id"],
            Self::Moving => &["Tenant", "id"],
            Self::Keyed => &["id", "tenant"],
        };
        key.iter().map(|column| (*column).to_owned()).collect()
    }

    fn partition_by(self) -> Vec<String> {
        match self {
            Self::Plain => vec![],
            Self::Moving => vec!["region".to_owned()],
            Self::Keyed => vec!["tenant".to_owned()],
        }
    }

    /// A key as the table has it.
    fn key_of(self, (tenant, id): &Key) -> Key {
        match self {
            Self::Plain => (None, *id),
            Self::Moving => (tenant.clone(), *id),
            Self::Keyed => (tenant.clone().filter(|tenant| !tenant.is_empty()), *id),
        }
    }

    fn region_of(self, region: &Option<String>) -> Option<String> {
        let keeps = |region: &String| !matches!(self, Self::Moving) || !region.is_empty();
        region.clone().filter(keeps)
    }
}

/// A table, a session that merges into it, and what the table should be.
struct World {
    fixture: Fixture,
    layout: Layout,
    mode: Mode,
    log: TableLog,
    keyed: Keyed,
    spec: FilesSpec,
    model: Model,
    random: fastrand::Rng,
}

fn mode(word: KeyedMode, key: Vec<String>) -> Mode {
    match word {
        KeyedMode::InsertNew => Mode::InsertNew { key },
        KeyedMode::Upsert => Mode::Upsert { key },
    }
}

impl World {
    async fn new(layout: Layout, word: KeyedMode, target_size: u64, seed: u64) -> Self {
        let fixture = Fixture::without_table(Arc::new(object_store::memory::InMemory::new()));
        let (partition_by, key) = (layout.partition_by(), layout.key());
        let table = ddl::parse(TABLE).expect("valid");
        let all = TableExpectation::fixed(table.arrow(), &partition_by);
        let properties =
            BTreeMap::from([("delta.enableDeletionVectors".to_owned(), "true".to_owned())]);
        create::open_or_create(&fixture.store, &all, CreateTable::IfMissing, &properties, NOW)
            .await
            .expect("a table");
        let (log, plan) = open(&fixture, &partition_by).await;
        let mode = mode(word, key);
        let keyed = Keyed::open(&fixture.store, &log, &plan, &mode).await.expect("it fits");
        let keyed = keyed.expect("the mode has a key");
        let files = Files { target_size, compression: Compression::Zstd { level: 1 } };
        let mut spec = keyed.spec(&plan.files(&files, None));
        // A row group for each write, so that files have several.
        spec.bounds.row_group_bytes = 1;
        let random = fastrand::Rng::with_seed(seed);
        Self { fixture, layout, mode, log, keyed, spec, model: Model::new(), random }
    }

    /// As after a crash: everything from the table.
    async fn reopen(&mut self) {
        let (log, plan) = open(&self.fixture, &self.layout.partition_by()).await;
        let keyed = Keyed::open(&self.fixture.store, &log, &plan, &self.mode).await;
        self.keyed = keyed.expect("it fits").expect("the mode has a key");
        self.log = log;
    }

    fn is_upsert(&self) -> bool {
        matches!(self.mode, Mode::Upsert { .. })
    }

    fn writer(&self, output: &str) -> FilesWriter {
        let naming = Naming {
            output: output.to_owned(),
            epoch: self.log.version() + 1,
            attempt: Uuid::new_v4(),
        };
        let objects = self.fixture.store.objects().clone();
        FilesWriter::new(&self.spec, objects, naming, Handle::current())
    }

    /// What a batch makes of the model.
    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let key = self.layout.key_of(&change.key);
            let row = Row {
                region: self.layout.region_of(&change.region),
                value: Some(change.value),
                extra: None,
            };
            match (self.is_upsert(), change.deletes) {
                (true, true) => drop(self.model.remove(&key)),
                (true, false) => drop(self.model.insert(key, vec![row])),
                (false, true) => {}
                (false, false) => drop(self.model.entry(key).or_insert_with(|| vec![row])),
            }
        }
    }

    /// Merges without committing.
    async fn merge(&mut self, changes: &[Change], cuts: &[usize]) -> Result<Merged, KeyedError> {
        self.keyed.catch_up(&self.fixture.store, &mut self.log).await?;
        let writer = self.writer("orders");
        let target = self.spec.target_size;
        self.keyed
            .merge(&self.fixture.store, &self.log, batches(changes, cuts), writer, target)
            .await
    }

    async fn commit(&mut self, merged: &Merged, next: i64) -> Result<Committed, CommitError> {
        let tx = transaction(&self.log, merged, next);
        commit(&mut self.log, &self.fixture.store, &tx, || NOW).await
    }

    /// A batch from merge to commit, as the engine does it: what fails starts over from the table.
    async fn batch(&mut self, batch: &Batch) {
        let next = self.log.txn(P0).map_or(0, |txn| txn.version) + 1;
        let mut meanwhile = batch.meanwhile.clone();
        let mut crash = batch.crash;
        for _ in 0..10 {
            let merged = match self.merge(&batch.changes, &batch.cuts).await {
                Ok(merged) => merged,
                Err(error) => panic!("{error}"),
            };
            check_counts(&merged, &batch.changes);
            if let Some(foreign) = meanwhile.take() {
                let lines = self.foreign(&foreign).await;
                let version = self.log.version() + 1;
                self.fixture.faults.fail_puts([Fault::Meanwhile(vec![(version, lines)])]);
            }
            if let Some(step) = crash.take() {
                self.fixture.store.failpoint.stop_at(step);
            }
            match self.commit(&merged, next).await {
                Ok(committed) => {
                    self.keyed.landed(&merged.removes, &merged.adds, committed.version);
                    break;
                }
                Err(error) => {
                    let expected =
                        matches!(error, CommitError::Replan { .. } | CommitError::Failpoint(_));
                    assert!(expected, "{error}");
                    self.reopen().await;
                    if self.log.txn(P0).is_some_and(|txn| txn.version == next) {
                        break;
                    }
                }
            }
        }
        assert_eq!(self.log.txn(P0).map(|txn| txn.version), Some(next), "it never landed");
        self.apply(&batch.changes);
    }

    /// Another writer's commit, its files written and the model changed, but not yet put.
    async fn foreign(&mut self, foreign: &Foreign) -> Vec<Value> {
        let engine = self.fixture.store.engine();
        let (columns, version) = (Arc::clone(&self.keyed.columns), self.newest().await);
        let active = tokio::task::spawn_blocking(move || Active::open(&*engine, version, &columns));
        let active = active.await.expect("no panic").expect("readable");
        let mut files: Vec<Arc<ActiveFile>> = active.iter().map(Arc::clone).collect();
        self.random.shuffle(&mut files);
        match foreign {
            Foreign::Append(changes) => {
                let adds = self.write(self.rows(changes)).await;
                for change in changes {
                    let row = Row {
                        region: self.layout.region_of(&change.region),
                        value: Some(change.value),
                        extra: Some("theirs".to_owned()),
                    };
                    self.model.entry(self.layout.key_of(&change.key)).or_default().push(row);
                }
                self.entry("WRITE", &[], adds, true)
            }
            Foreign::Optimize => {
                files.truncate(self.random.usize(1..4));
                let rows = self.read(&files).await;
                let adds = self.write(rows).await;
                self.entry("OPTIMIZE", &files, adds, false)
            }
            Foreign::Delete => {
                files.truncate(1);
                let rows = self.read(&files).await;
                let stays = |row: usize| !row.is_multiple_of(3);
                let kept = rows.iter().map(|rows| {
                    let mask: Vec<bool> = (0..rows.num_rows()).map(stays).collect();
                    self.forget(rows, |row| !stays(row));
                    arrow::compute::filter_record_batch(rows, &mask.into()).expect("same length")
                });
                let kept: Vec<_> = kept.collect();
                let adds = self.write(kept).await;
                self.entry("DELETE", &files, adds, true)
            }
            Foreign::DeleteByVector => self.delete_by_vector(files).await,
        }
    }

    /// Deletes every third row of a file that has no deletion vector yet.
    async fn delete_by_vector(&mut self, mut files: Vec<Arc<ActiveFile>>) -> Vec<Value> {
        files.retain(|file| file.deletion_vector.is_none());
        files.truncate(1);
        let Some(file) = files.first() else {
            return self.entry("DELETE", &[], Vec::new(), true);
        };
        let rows = self.read(&files).await;
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).expect("one schema");
        let deleted: Vec<u64> = (0..rows.num_rows() as u64).filter(|row| row % 3 == 0).collect();
        self.forget(&rows, |row| row.is_multiple_of(3));
        let mut bytes = Vec::new();
        let mut vector = KernelDeletionVector::new();
        vector.add_deleted_row_indexes(deleted);
        let mut writer = StreamingDeletionVectorWriter::new(&mut bytes);
        let written = writer.write_deletion_vector(vector).expect("into memory");
        writer.finalize().expect("into memory");
        let name = format!("{}.bin", Uuid::new_v4());
        let objects = self.fixture.store.objects();
        objects.put(&Path::from(name.as_str()), PutPayload::from(bytes)).await.expect("new");
        let vector = json!({"storageType": "p", "pathOrInlineDv": format!("file:///{name}"),
            "offset": written.offset, "sizeInBytes": written.size_in_bytes,
            "cardinality": written.cardinality});
        let add = json!({"add": {"path": file.path, "partitionValues": file.partition_values,
            "size": file.size, "modificationTime": NOW, "dataChange": true, "deletionVector": vector,
            "stats": json!({"numRecords": rows.num_rows(), "tightBounds": false}).to_string()}});
        let mut lines = self.entry("DELETE", &files, Vec::new(), true);
        lines.push(add);
        lines
    }

    /// Takes rows out of the model, of each batch those that `gone` names.
    fn forget(&mut self, rows: &RecordBatch, gone: impl Fn(usize) -> bool) {
        let (mut all, mut lost) = (Model::new(), Model::new());
        take_rows(rows, self.layout, &mut all);
        let mask: Vec<bool> = (0..rows.num_rows()).map(&gone).collect();
        let rows = arrow::compute::filter_record_batch(rows, &mask.into()).expect("same length");
        take_rows(&rows, self.layout, &mut lost);
        for (key, rows) in lost {
            let there = self.model.get_mut(&key).expect("it is in the table");
            for row in rows {
                let at = there.iter().position(|there| *there == row).expect("it is in the table");
                there.remove(at);
            }
            if there.is_empty() {
                self.model.remove(&key);
            }
        }
    }

    async fn newest(&self) -> u64 {
        self.fixture.log().await.version()
    }

    async fn read(&self, files: &[Arc<ActiveFile>]) -> Vec<RecordBatch> {
        let shape = &self.keyed.shape;
        let all: Vec<usize> = (0..shape.schema.fields().len()).collect();
        let reader = shape.reader(self.fixture.store.engine(), &all).expect("a schema");
        let files = files.to_vec();
        let read = tokio::task::spawn_blocking(move || {
            let mut rows = Vec::new();
            for file in files {
                reader.read(&file, None, |batch| {
                    rows.push(batch);
                    Ok::<_, ReadError>(())
                })?;
            }
            Ok::<_, ReadError>(rows)
        });
        read.await.expect("no panic").expect("readable")
    }

    /// Rows of another writer, which fills all columns.
    fn rows(&self, changes: &[Change]) -> Vec<RecordBatch> {
        let rows = self.keyed.shape.rows(&batch_of(changes).0).expect("the output's columns");
        let extra = StringArray::from(vec!["theirs"; changes.len()]);
        let mut columns = rows.columns().to_vec();
        columns[4] = Arc::new(extra);
        vec![RecordBatch::try_new(self.keyed.shape.schema.clone(), columns).expect("the table's")]
    }

    async fn write(&self, rows: Vec<RecordBatch>) -> Vec<DataFile> {
        let mut writer = self.writer("theirs");
        let write = tokio::task::spawn_blocking(move || {
            for rows in rows {
                for from in (0..rows.num_rows()).step_by(7) {
                    writer.write(&rows.slice(from, 7.min(rows.num_rows() - from)))?;
                }
            }
            writer.finish()
        });
        write.await.expect("no panic").expect("a store that works")
    }

    /// Lines of an entry. What other writers say of a file differs.
    fn entry(
        &mut self,
        operation: &str,
        removes: &[Arc<ActiveFile>],
        adds: Vec<DataFile>,
        data_change: bool,
    ) -> Vec<Value> {
        let mut lines = vec![commit_info(operation)];
        for file in removes {
            let mut remove = json!({"path": file.path, "deletionTimestamp": NOW,
                "dataChange": data_change, "extendedFileMetadata": true, "size": file.size,
                "partitionValues": file.partition_values});
            if let Some(vector) = &file.deletion_vector {
                remove["deletionVector"] = json!(vector);
            }
            lines.push(json!({ "remove": remove }));
        }
        for file in adds {
            let mut add = json!({"path": file.path, "partitionValues": file.partition_values,
                "size": file.size_bytes, "modificationTime": NOW, "dataChange": data_change});
            match self.random.u8(..4) {
                0 => {}
                1 => add["stats"] = json!({"numRecords": file.rows}).to_string().into(),
                _ => add["stats"] = file.stats.into(),
            }
            lines.push(json!({ "add": add }));
        }
        lines
    }

    /// The table as a reader sees it.
    async fn table(&self) -> Model {
        let (engine, layout) = (self.fixture.store.engine(), self.layout);
        let version = self.newest().await;
        let read = tokio::task::spawn_blocking(move || {
            let columns = ["id", "tenant", "region", "value", "extra"];
            let scan = TableScan::new(engine, version, &columns, None)?;
            let mut model = Model::new();
            for file in scan.files()? {
                scan.read(&file?, |rows| take_rows(rows, layout, &mut model))?;
            }
            Ok::<_, delta_kernel::Error>(model)
        });
        let mut model = read.await.expect("no panic").expect("readable");
        model.values_mut().for_each(|rows| rows.sort());
        model
    }

    /// The table is what the model says, and what is held of its files is what a replay finds.
    async fn check(&mut self) {
        let mut model = self.model.clone();
        model.values_mut().for_each(|rows| rows.sort());
        assert_eq!(self.table().await, model);
        self.keyed.catch_up(&self.fixture.store, &mut self.log).await.expect("nothing in the way");
        let held = self.keyed.active.clone();
        self.reopen().await;
        assert_eq!(held, self.keyed.active, "what was folded is what is replayed");
    }
}

async fn open(fixture: &Fixture, partition_by: &[String]) -> (TableLog, WritePlan) {
    let output = ddl::parse(OUTPUT).expect("valid");
    let expected = TableExpectation::fixed(output.arrow(), partition_by);
    let never = CreateTable::Never;
    create::open_or_create(&fixture.store, &expected, never, &BTreeMap::new(), NOW)
        .await
        .expect("the table fits")
}

fn transaction(log: &TableLog, merged: &Merged, next: i64) -> Transaction {
    Transaction {
        holds: Arc::default(),
        attempt: Uuid::new_v4(),
        expected: BTreeMap::from([(P0.to_owned(), log.txn(P0))]),
        set: BTreeMap::from([(P0.to_owned(), next)]),
        removes: merged.removes.clone(),
        reads: Some(merged.reads.clone()),
        // The tests' clock stands still, the files' doesn't.
        adds: merged
            .adds
            .iter()
            .map(|file| DataFile { modification_time: NOW, ..file.clone() })
            .collect(),
        schema: None,
        properties: BTreeMap::new(),
        operation: "MERGE",
        metrics: BTreeMap::new(),
        info: json!({}),
    }
}

fn batch_of(changes: &[Change]) -> (RecordBatch, BooleanArray) {
    let ids: Int64Array = changes.iter().map(|change| Some(change.key.1)).collect();
    let tenants: StringArray = changes.iter().map(|change| change.key.0.clone()).collect();
    let is_row = |change: &&Change| !change.deletes;
    // A deletion brings nothing but its key.
    let regions: StringArray =
        changes.iter().map(|c| Some(c).filter(is_row).and_then(|c| c.region.clone())).collect();
    let values: Int64Array =
        changes.iter().map(|c| Some(c).filter(is_row).map(|c| c.value)).collect();
    let schema = ddl::parse(OUTPUT).expect("valid").arrow().clone();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(ids), Arc::new(tenants), Arc::new(regions), Arc::new(values)];
    let rows = RecordBatch::try_new(schema, columns).expect("the output's columns");
    (rows, changes.iter().map(|change| Some(change.deletes)).collect())
}

fn batches(changes: &[Change], cuts: &[usize]) -> Changes {
    let mut all = Changes::default();
    let (mut rest, mut cuts) = (changes, cuts.iter().cycle());
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (now, later) = rest.split_at(cut);
        let (rows, deletes) = batch_of(now);
        let any = now.iter().any(|change| change.deletes);
        all.push(rows, any.then_some(deletes));
        rest = later;
    }
    all
}

fn take_rows(rows: &RecordBatch, layout: Layout, model: &mut Model) {
    let text = |column: usize, row: usize| {
        let column = rows.column(column).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    use arrow::array::Array as _;
    for row in 0..rows.num_rows() {
        let id = rows.column(0).as_primitive::<Int64Type>().value(row);
        let value = rows.column(3).as_primitive::<Int64Type>();
        let value = value.is_valid(row).then(|| value.value(row));
        let key = layout.key_of(&(text(1, row), id));
        let row = Row { region: text(2, row), value, extra: text(4, row) };
        model.entry(key).or_default().push(row);
    }
}

/// The counts add up, with the changes and with the files.
fn check_counts(merged: &Merged, changes: &[Change]) {
    let c = &merged.counts;
    assert_eq!(c.changes, changes.len() as u64);
    let fates = c.inserted + c.updated + c.deleted + c.superseded + c.absent + c.existing;
    assert_eq!(c.changes, fates, "{c:?}");
    let added: u64 = merged.adds.iter().map(|file| file.rows).sum();
    let removed: u64 = merged.removes.iter().map(Remove::rows).sum();
    assert_eq!(added, c.copied + c.inserted + c.updated, "{c:?}");
    assert_eq!(removed, c.copied + c.replaced, "{c:?}");
    let kept: usize = merged.kept.iter().map(BooleanArray::true_count).sum();
    assert!(merged.kept.is_empty() || kept as u64 == c.inserted);
}

#[derive(Debug, Clone)]
struct Batch {
    changes: Vec<Change>,
    cuts: Vec<usize>,
    /// Committed by another writer between the merge and the commit.
    meanwhile: Option<Foreign>,
    crash: Option<Step>,
}

impl Batch {
    fn of(changes: Vec<Change>) -> Self {
        Self { changes, cuts: vec![100], meanwhile: None, crash: None }
    }
}

/// What another writer does.
#[derive(Debug, Clone)]
enum Foreign {
    Append(Vec<Change>),
    /// Rewrites some files without a change of data.
    Optimize,
    Delete,
    DeleteByVector,
}

#[derive(Debug, Clone)]
enum Op {
    Batch(Batch),
    Foreign(Foreign),
    Restart,
}

/// Longer than a bound in the statistics.
const LONG: &str = "a tenant whose name goes on and on and on, ";

fn any_change() -> impl Strategy<Value = Change> {
    let tenant = prop_oneof![
        3 => Just(Some("a".to_owned())),
        2 => Just(None),
        1 => Just(Some(String::new())),
        2 => (0..3u8).prop_map(|n| Some(format!("{LONG}{n}"))),
    ];
    let region = prop_oneof![
        Just(None),
        Just(Some(String::new())),
        (0..3u8).prop_map(|n| Some(format!("r/{n}"))),
    ];
    (tenant, 0..60i64, region, 0..1_000_000i64, proptest::bool::weighted(0.25)).prop_map(
        |(tenant, id, region, value, deletes)| Change { key: (tenant, id), region, value, deletes },
    )
}

fn any_foreign() -> impl Strategy<Value = Foreign> {
    let rows = proptest::collection::vec(any_change(), 1..20).prop_map(|mut rows| {
        rows.iter_mut().for_each(|row| row.deletes = false);
        rows
    });
    prop_oneof![
        rows.prop_map(Foreign::Append),
        Just(Foreign::Optimize),
        Just(Foreign::Delete),
        Just(Foreign::DeleteByVector),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let step =
        prop_oneof![Just(Step::Check), Just(Step::Put), Just(Step::Settle), Just(Step::Landed)];
    let batch = (
        proptest::collection::vec(any_change(), 1..80),
        proptest::collection::vec(1..40usize, 1..4),
        proptest::option::weighted(0.3, any_foreign()),
        proptest::option::weighted(0.15, step),
    );
    let batch = batch.prop_map(|(changes, cuts, meanwhile, crash)| {
        Op::Batch(Batch { changes, cuts, meanwhile, crash })
    });
    prop_oneof![6 => batch, 2 => any_foreign().prop_map(Op::Foreign), 1 => Just(Op::Restart)]
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads")
}

async fn play(layout: Layout, word: KeyedMode, target_size: u64, seed: u64, ops: Vec<Op>) {
    let mut world = World::new(layout, word, target_size, seed).await;
    for op in ops {
        match op {
            Op::Batch(batch) => world.batch(&batch).await,
            Op::Foreign(foreign) => {
                let lines = world.foreign(&foreign).await;
                let version = world.newest().await + 1;
                world.fixture.entry(version, &lines).await;
            }
            Op::Restart => world.reopen().await,
        }
        world.check().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_keyed_table_is_what_a_map_would_be(
        layout in prop_oneof![Just(Layout::Plain), Just(Layout::Moving), Just(Layout::Keyed)],
        word in prop_oneof![3 => Just(KeyedMode::Upsert), 1 => Just(KeyedMode::InsertNew)],
        target_size in prop_oneof![Just(1u64), Just(3_000u64), Just(1 << 20)],
        seed in any::<u64>(),
        ops in proptest::collection::vec(any_op(), 1..8),
    ) {
        runtime().block_on(play(layout, word, target_size, seed, ops));
    }
}

fn change(id: i64, value: i64) -> Change {
    Change { key: (Some("a".to_owned()), id), region: None, value, deletes: false }
}

fn deletion(id: i64) -> Change {
    Change { deletes: true, ..change(id, 0) }
}

fn rows(ids: impl IntoIterator<Item = i64>) -> Vec<Change> {
    ids.into_iter().map(|id| change(id, 0)).collect()
}

/// A table with the ids 0 to 9 and 100 to 109, a file each.
async fn two_files(word: KeyedMode) -> World {
    let mut world = World::new(Layout::Plain, word, 1, 0).await;
    world.batch(&Batch::of(rows(0..10))).await;
    world.batch(&Batch::of(rows(100..110))).await;
    assert_eq!(world.keyed.files(), 2);
    world
}

impl World {
    /// The file that holds this id.
    fn file_of(&self, id: i64) -> Arc<ActiveFile> {
        let keys = self.keyed.columns.encode(&[Arc::new(Int64Array::from(vec![id]))]).expect("ids");
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        keys.write(0, &mut bytes, &mut ends);
        let mut files = self.keyed.active.iter();
        files.find(|file| file.domains[0].holds(&bytes)).expect("it is there").clone()
    }

    /// Another writer's entry that replaces a file by one with the same rows.
    async fn optimized(&mut self, file: &Arc<ActiveFile>) -> Vec<Value> {
        let rows = self.read(std::slice::from_ref(file)).await;
        let adds = self.write(rows).await;
        self.entry("OPTIMIZE", std::slice::from_ref(file), adds, false)
    }

    /// How a batch's commit ends when `lines` become a version between its merge and its put.
    async fn commits_after(
        &mut self,
        changes: &[Change],
        lines: Vec<Value>,
    ) -> Result<Committed, CommitError> {
        let merged = self.merge(changes, &[100]).await.expect("it merges");
        let version = self.log.version() + 1;
        self.fixture.faults.fail_puts([Fault::Meanwhile(vec![(version, lines)])]);
        let committed = self.commit(&merged, 99).await;
        if let Ok(committed) = &committed {
            self.keyed.landed(&merged.removes, &merged.adds, committed.version);
            self.apply(changes);
            self.check().await;
        }
        committed
    }

    fn with_stats(&self, mut lines: Vec<Value>, stats: Option<&str>) -> Vec<Value> {
        for line in &mut lines {
            if let Some(add) = line.get_mut("add").and_then(Value::as_object_mut) {
                add.remove("stats");
                add.extend(stats.map(|stats| ("stats".to_owned(), stats.into())));
            }
        }
        lines
    }
}

fn is_planned_again(outcome: Result<Committed, CommitError>) {
    let error = outcome.expect_err("the rows are not those that were read");
    assert!(matches!(error, CommitError::Replan { .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Retry);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optimize_of_a_file_that_the_batch_rewrites_is_planned_again() {
    let mut world = two_files(KeyedMode::Upsert).await;
    let file = world.file_of(3);
    let lines = world.optimized(&file).await;
    is_planned_again(world.commits_after(&[change(3, 7)], lines).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optimize_of_other_files_is_no_conflict() {
    let mut world = two_files(KeyedMode::Upsert).await;
    let file = world.file_of(103);
    let lines = world.optimized(&file).await;
    let committed = world.commits_after(&[change(3, 7)], lines).await.expect("nothing of it moved");
    assert_eq!(committed.version, world.log.version());
    world.batch(&Batch::of(vec![change(103, 8)])).await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_may_hold_a_key_of_the_batch_is_planned_again() {
    for word in [KeyedMode::Upsert, KeyedMode::InsertNew] {
        let mut world = two_files(word).await;
        for (ids, stats, conflicts) in [
            (200..210, true, false),
            (45..55, true, true),
            // Who says nothing may hold anything.
            (200..210, false, true),
        ] {
            let lines = world.foreign(&Foreign::Append(rows(ids.clone()))).await;
            let (min, max) = (ids.start, ids.end - 1);
            let told = json!({"numRecords": 10, "minValues": {"id": min}, "maxValues": {"id": max},
                "nullCount": {"id": 0}});
            let lines = world.with_stats(lines, stats.then(|| told.to_string()).as_deref());
            let outcome = world.commits_after(&[change(50, 7)], lines).await;
            match conflicts {
                true => is_planned_again(outcome),
                false => assert!(outcome.is_ok(), "{outcome:?}"),
            }
            world.reopen().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_kept_another_out_and_was_deleted_since_is_planned_again() {
    let mut world = two_files(KeyedMode::InsertNew).await;
    let file = world.file_of(3);
    let lines = world.entry("DELETE", std::slice::from_ref(&file), Vec::new(), true);
    is_planned_again(world.commits_after(&[change(3, 7)], lines).await);
    world.reopen().await;
    world.model.retain(|(_, id), _| *id >= 100);
    let file = world.file_of(103);
    let lines = world.optimized(&file).await;
    world.commits_after(&[change(103, 7)], lines).await.expect("its rows are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_by_key_says_what_it_removes_and_what_it_read() {
    let mut world = two_files(KeyedMode::Upsert).await;
    let file = world.file_of(3);
    let lines = world.delete_by_vector(vec![file.clone()]).await;
    let version = world.newest().await + 1;
    world.fixture.entry(version, &lines).await;
    world.batch(&Batch::of(vec![change(4, 7), deletion(5), deletion(50)])).await;
    world.check().await;
    let lines = world.fixture.lines(version + 1).await;
    let info = &lines[0]["commitInfo"];
    assert_eq!(info["isBlindAppend"], false);
    assert_eq!(info["readVersion"], version);
    let kinds: Vec<_> =
        lines.iter().map(|l| l.as_object().expect("an action").keys().next()).collect();
    let kinds: Vec<_> = kinds.into_iter().flatten().collect();
    assert_eq!(kinds, ["commitInfo", "txn", "remove", "add", "add"]);
    let remove = &lines[2]["remove"];
    assert_eq!(remove["path"], file.path);
    assert_eq!(remove["dataChange"], true);
    assert_eq!(remove["extendedFileMetadata"], true);
    assert_eq!(remove["size"], file.size);
    assert_eq!(remove["stats"], json!({"numRecords": 10}).to_string());
    assert_eq!(
        remove["deletionVector"]["cardinality"], 4,
        "the file as it was, its vector included"
    );
    let stats = lines[3]["add"]["stats"].as_str().expect("ours have statistics");
    assert!(
        stats.starts_with("{\"numRecords\":4,"),
        "of 10 rows 4 were hidden, 1 changed, 1 deleted: {stats}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_lost_a_data_file_is_refused_by_its_name() {
    let mut world = two_files(KeyedMode::Upsert).await;
    let file = world.file_of(3);
    world.fixture.remove(&Path::from_url_path(&file.path).expect("a path")).await;
    let error = world.merge(&[change(3, 7)], &[100]).await.expect_err("its rows are gone");
    assert!(matches!(&error, KeyedError::Missing { version: 2, .. }), "{error}");
    assert!(error.to_string().contains(&file.path), "{error}");
    assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused));
    // Other files are none of the batch's business.
    world.merge(&[change(103, 7)], &[100]).await.expect("it isn't read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_writer_has_replaced_and_vacuumed_is_planned_again() {
    let mut world = two_files(KeyedMode::Upsert).await;
    let file = world.file_of(3);
    let lines = world.optimized(&file).await;
    let version = world.newest().await + 1;
    let (store, log) = (world.fixture.store.clone(), world.log.clone());
    world.fixture.entry(version, &lines).await;
    world.fixture.remove(&Path::from_url_path(&file.path).expect("a path")).await;
    let writer = world.writer("orders");
    let changes = batches(&[change(3, 7)], &[]);
    let error = world.keyed.merge(&store, &log, changes, writer, 1).await.expect_err("it is gone");
    assert!(matches!(error, KeyedError::Commit(CommitError::Replan { version: 3, .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_and_row_groups_that_can_hold_a_key_are_read() {
    let mut world = World::new(Layout::Plain, KeyedMode::Upsert, 1 << 30, 0).await;
    let adds = world.write(world.rows(&rows(0..700))).await;
    world.apply(&rows(0..700));
    world.model.values_mut().flatten().for_each(|row| row.extra = Some("theirs".to_owned()));
    let lines = world.entry("WRITE", &[], adds, true);
    world.fixture.entry(1, &lines).await;
    world.batch(&Batch::of(rows(1000..1010))).await;
    world.check().await;
    let merged = world.merge(&[change(20, 1), change(1005, 2), deletion(600)], &[100]).await;
    assert_eq!(merged.expect("it merges").counts.files_read, 2);
    let merged = world.merge(&[change(1005, 2), change(5000, 1)], &[100]).await.expect("it merges");
    assert_eq!(merged.counts.files_read, 1);

    let changes = Changes { ..batches(&[change(20, 1), change(300, 0), change(1005, 2)], &[]) };
    let key = |rows: &RecordBatch| key_of(rows, &world.keyed.shape.key);
    let (keys, _) =
        KeySet::reduce(&world.keyed.columns, &changes, Wins::Last, key).expect("comparable");
    let shape = &world.keyed.shape;
    let search = Search {
        reader: shape.reader(world.fixture.store.engine(), &shape.key).expect("a schema"),
        columns: Arc::clone(&world.keyed.columns),
        keys: Arc::new(keys),
        values: Arc::new(changes.rows.iter().map(key).collect()),
    };
    let file = world.file_of(20);
    let read = tokio::task::spawn_blocking(move || {
        search.reader.read(&file, search.predicate(&file), |_| Ok::<_, ReadError>(()))
    });
    let read = read.await.expect("no panic").expect("readable");
    assert_eq!(read, 14, "two of a hundred row groups of seven rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_hidden_by_a_deletion_vector_are_gone_and_the_others_are_there() {
    let mut world = World::new(Layout::Plain, KeyedMode::Upsert, 1 << 30, 0).await;
    let adds = world.write(world.rows(&rows(0..21))).await;
    let lines = world.entry("WRITE", &[], adds, true);
    world.fixture.entry(1, &lines).await;
    world.model = world.table().await;
    let lines = world.delete_by_vector(vec![only(&world).await]).await;
    world.fixture.entry(2, &lines).await;
    // In its row group row 7 is where row 0 is in the first one.
    world.batch(&Batch::of(vec![change(7, 1), deletion(9), change(12, 2)])).await;
    world.check().await;
}

/// The table's only file.
async fn only(world: &World) -> Arc<ActiveFile> {
    let (engine, columns) = (world.fixture.store.engine(), Arc::clone(&world.keyed.columns));
    let version = world.newest().await;
    let active = tokio::task::spawn_blocking(move || Active::open(&*engine, version, &columns));
    let active = active.await.expect("no panic").expect("readable");
    assert_eq!(active.len(), 1);
    active.iter().next().expect("one").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_the_last_change_of_a_key_or_its_first_row() {
    let batch = [change(1, 1), deletion(2), change(2, 2), change(1, 3), change(3, 4), deletion(3)];
    let mut world = two_files(KeyedMode::Upsert).await;
    let merged = world.merge(&batch, &[2]).await.expect("it merges");
    let KeyedCounts { updated, deleted, superseded, replaced, copied, .. } = merged.counts;
    assert_eq!((updated, deleted, superseded, replaced, copied), (2, 1, 3, 3, 7));
    let mut world = two_files(KeyedMode::InsertNew).await;
    let batch = [change(1, 1), change(20, 1), change(20, 2), deletion(21), change(21, 3)];
    let merged = world.merge(&batch, &[2]).await.expect("it merges");
    let kept: Vec<Vec<bool>> =
        merged.kept.iter().map(|kept| kept.iter().flatten().collect()).collect();
    assert_eq!(kept, [vec![false, true], vec![false, false], vec![true]]);
    assert_eq!((merged.counts.inserted, merged.counts.existing), (2, 3));
    assert!(merged.removes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_far_apart_in_the_key_stay_apart_when_rewritten() {
    let mut world = World::new(Layout::Plain, KeyedMode::Upsert, 8_000, 0).await;
    for range in [0..500, 1000..1500, 2000..2500] {
        world.batch(&Batch::of(rows(range))).await;
    }
    world
        .batch(&Batch::of(vec![change(3, 1), change(1003, 1), change(2003, 1), change(9000, 1)]))
        .await;
    world.check().await;
    let merged = world.merge(&[change(1200, 1)], &[100]).await.expect("it merges");
    assert_eq!(merged.counts.files_read, 1, "of {} files", world.keyed.files());
}

/// What a table with these properties says to a mode with this key.
async fn refusal(property: &str, word: KeyedMode, columns: &str, key: &[&str]) -> Option<String> {
    let fixture = Fixture::without_table(Arc::new(object_store::memory::InMemory::new()));
    let schema = ddl::parse(columns).expect("valid");
    let mode = mode(word, key.iter().map(|column| (*column).to_owned()).collect());
    let expected = TableExpectation { mode: &mode, ..TableExpectation::fixed(schema.arrow(), &[]) };
    let properties = BTreeMap::from([(property.to_owned(), "true".to_owned())]);
    let if_missing = CreateTable::IfMissing;
    let created =
        create::open_or_create(&fixture.store, &expected, if_missing, &properties, NOW).await;
    let refused = created.err().map(|error| error.to_string());
    let is_there = TableLog::open(&fixture.store).await.expect("readable").is_some();
    assert_eq!(is_there, refused.is_none(), "nothing is created that is refused");
    refused
}

#[tokio::test]
async fn tables_whose_rows_may_not_be_replaced_are_refused_by_name() {
    use KeyedMode::{InsertNew, Upsert};
    for property in ["delta.appendOnly", "delta.enableChangeDataFeed"] {
        let refused = refusal(property, Upsert, "id BIGINT", &["id"]).await.expect("rows go");
        assert!(refused.contains(property), "{refused}");
        assert_eq!(refusal(property, InsertNew, "id BIGINT", &["id"]).await, None);
    }
}

#[tokio::test]
async fn columns_that_are_no_key_are_refused_all_at_once() {
    let columns =
        "f FLOAT, d DOUBLE, s STRUCT<a: INT>, l ARRAY<INT>, ok DECIMAL(9,2), at TIMESTAMP";
    let key = ["f", "d", "s", "l", "ok", "AT", "missing"];
    let refused = refusal("p", KeyedMode::Upsert, columns, &key).await.expect("no keys");
    for name in ["`f`", "`d`", "`s`", "`l`", "`missing`"] {
        assert!(refused.contains(name), "{refused}");
    }
    assert_eq!(refused.lines().count(), 5, "{refused}");
    assert_eq!(refusal("p", KeyedMode::Upsert, columns, &["ok", "AT"]).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_another_writer_repeats_are_counted_in_one_pass_or_several() {
    let mut world = two_files(KeyedMode::Upsert).await;
    let repeated = async |world: &World, pass_keys: u64| {
        let (engine, log) = (world.fixture.store.engine(), world.fixture.log().await);
        let key = world.keyed.key();
        let look = move || keys::look(engine, log.version(), log.metadata(), &key, pass_keys);
        let look = tokio::task::spawn_blocking(look).await.expect("no panic");
        look.expect("readable").repeated
    };
    assert_eq!(repeated(&world, 1000).await, 0);
    let lines = world.foreign(&Foreign::Append(rows([3, 3, 50, 105]))).await;
    let version = world.newest().await + 1;
    world.fixture.entry(version, &lines).await;
    for pass_keys in [1000, 24, 5, 1] {
        assert_eq!(repeated(&world, pass_keys).await, 3, "twice 3, once 105");
    }
    world.batch(&Batch::of(vec![change(3, 1), deletion(105)])).await;
    world.check().await;
    assert_eq!(repeated(&world, 1000).await, 0, "its next change leaves a key one row");
}
