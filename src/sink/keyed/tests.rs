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
use crate::sink::features::TableExpectation;
use crate::sink::files::Naming;
use crate::sink::scan::TableScan;
use crate::sink::testing::{Fault, Fixture, NOW, commit_info};
use crate::sink::{Committed, Transaction};

const P0: &str = "sluice/orders/orders/orders@AbC/0";

const OUTPUT: &str = "id BIGINT NOT NULL, tenant STRING, region STRING, value BIGINT";
/// A column that the output doesn't have.
const TABLE: &str =
    "id BIGINT NOT NULL, tenant STRING, region STRING, value BIGINT, extra STRING";

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
        let all = TableExpectation { schema: table.arrow(), partition_by: &partition_by };
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
        let spec = keyed.spec(&plan.files(&files, None));
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
        let naming =
            Naming { output: output.to_owned(), epoch: self.log.version() + 1, attempt: Uuid::new_v4() };
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
        self.keyed.merge(&self.fixture.store, &self.log, batches(changes, cuts), writer, target).await
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
                    let expected = matches!(
                        error,
                        CommitError::Replan { .. } | CommitError::Failpoint(_)
                    );
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
            rows.iter().try_for_each(|rows| writer.write(rows))?;
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
    let expected = TableExpectation { schema: output.arrow(), partition_by };
    let never = CreateTable::Never;
    create::open_or_create(&fixture.store, &expected, never, &BTreeMap::new(), NOW)
        .await
        .expect("the table fits")
}

fn transaction(log: &TableLog, merged: &Merged, next: i64) -> Transaction {
    Transaction {
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
    let values: Int64Array = changes.iter().map(|c| Some(c).filter(is_row).map(|c| c.value)).collect();
    let schema = ddl::parse(OUTPUT).expect("valid").arrow().clone();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(ids), Arc::new(tenants), Arc::new(regions), Arc::new(values)];
    let rows = RecordBatch::try_new(schema.into(), columns).expect("the output's columns");
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
    let step = prop_oneof![Just(Step::Check), Just(Step::Put), Just(Step::Settle), Just(Step::Landed)];
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
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
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
