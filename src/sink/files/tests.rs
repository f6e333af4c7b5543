use std::collections::BTreeMap;
use std::path::Path as FsPath;

use arrow::array::{Int64Array, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::*;

/// A table's folder in memory or on a disk, and a writer's runtime.
pub(super) struct Bench {
    runtime: Runtime,
    pub(super) store: Arc<dyn ObjectStore>,
    folder: Option<tempfile::TempDir>,
}

impl Bench {
    pub(super) fn in_memory() -> Self {
        Self {
            runtime: runtime(),
            store: Arc::new(InMemory::new()),
            folder: None,
        }
    }

    fn on_disk() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalFileSystem::new_with_prefix(folder.path()).expect("it exists");
        Self {
            runtime: runtime(),
            store: Arc::new(store),
            folder: Some(folder),
        }
    }

    fn root(&self) -> &FsPath {
        self.folder.as_ref().expect("on a disk").path()
    }

    pub(super) fn writer(&self, spec: &FilesSpec) -> FilesWriter {
        let mut spec = spec.clone();
        spec.local_root = self.folder.as_ref().map(|f| f.path().to_path_buf());
        FilesWriter::new(
            &spec,
            Arc::clone(&self.store),
            naming(),
            self.runtime.handle().clone(),
        )
    }

    pub(super) fn write(&self, spec: &FilesSpec, batches: &[RecordBatch]) -> Vec<DataFile> {
        let mut writer = self.writer(spec);
        for batch in batches {
            writer.write(batch).expect("a store that works");
        }
        writer.finish().expect("a store that works")
    }

    pub(super) fn bytes(&self, file: &DataFile) -> Bytes {
        let path = Path::from_url_path(&file.path).expect("percent-encoded");
        let get = async { self.store.get(&path).await?.bytes().await };
        self.runtime.block_on(get).expect("the file is there")
    }

    pub(super) fn read(&self, file: &DataFile) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.bytes(file)).expect("Parquet");
        let schema = reader.schema().clone();
        let batches: Result<Vec<_>, _> = reader.build().expect("readable").collect();
        concat_batches(&schema, &batches.expect("readable")).expect("one schema")
    }

    fn names(&self) -> Vec<String> {
        use futures::TryStreamExt;
        let list = self
            .store
            .list(None)
            .map_ok(|o| o.location.to_string())
            .try_collect();
        let mut names: Vec<String> = self.runtime.block_on(list).expect("can be listed");
        names.sort();
        names
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads")
}

fn naming() -> Naming {
    Naming {
        output: "orders".into(),
        epoch: 42,
        attempt: Uuid::from_u128(7),
    }
}

pub(super) fn spec(schema: &SchemaRef) -> FilesSpec {
    let files = Files {
        target_size: 1 << 30,
        compression: Compression::Zstd { level: 1 },
    };
    FilesSpec::plain(Arc::clone(schema), &files)
}

fn orders(from: i64, rows: i64) -> RecordBatch {
    let id = Int64Array::from_iter_values(from..from + rows);
    let name = StringArray::from_iter((from..from + rows).map(|i| (i % 3 != 0).then(|| noise(i))));
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as ArrayRef, false),
        ("name", Arc::new(name) as ArrayRef, true),
    ])
    .expect("columns of one length")
}

/// Text that doesn't compress well.
fn noise(i: i64) -> String {
    format!("{:016x}", (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn stats(file: &DataFile) -> Value {
    serde_json::from_str(&file.stats).expect("JSON")
}

fn check_round_trip(bench: &Bench) {
    let batches = [orders(0, 100), orders(100, 50)];
    let files = bench.write(&spec(&batches[0].schema()), &batches);
    let [file] = files.as_slice() else {
        panic!("one file, not {}", files.len())
    };
    assert_eq!(
        bench.read(file),
        concat_batches(&batches[0].schema(), &batches).expect("equal")
    );
    assert_eq!(file.rows, 150);
    assert_eq!(file.size_bytes, bench.bytes(file).len() as u64);
    assert_eq!(
        file.path,
        "part-orders-00000000000000000042-00000000-0000-0000-0000-000000000007-00000.zstd.parquet"
    );
    assert_eq!(file.partition_values, BTreeMap::new());
    let stats = stats(file);
    assert_eq!(stats["numRecords"], 150);
    assert_eq!(
        (&stats["minValues"]["id"], &stats["maxValues"]["id"]),
        (&0.into(), &149.into())
    );
    assert_eq!(
        (&stats["nullCount"]["id"], &stats["nullCount"]["name"]),
        (&0.into(), &50.into())
    );
}

#[test]
fn rows_read_back_equal_from_a_store() {
    check_round_trip(&Bench::in_memory());
}

#[test]
fn rows_read_back_equal_from_a_disk() {
    check_round_trip(&Bench::on_disk());
}

#[test]
fn no_rows_make_no_file() {
    let bench = Bench::on_disk();
    let batch = orders(0, 0);
    assert_eq!(bench.write(&spec(&batch.schema()), &[batch]), []);
    assert_eq!(bench.names(), [""; 0]);
}
