//! A table's folder and a writer for it, for tests of data files.

use std::path::Path as FsPath;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{FilesError, FilesSpec, FilesWriter, Naming};
use crate::config::{Compression, Files};
use crate::sink::DataFile;

/// A table's folder in memory or on a disk, and a writer's runtime.
pub struct Bench {
    pub runtime: Runtime,
    pub store: Arc<dyn ObjectStore>,
    folder: Option<tempfile::TempDir>,
    /// Files go to the folder, not through the store.
    direct: bool,
}

impl Bench {
    pub fn in_memory() -> Self {
        Self { runtime: runtime(), store: Arc::new(InMemory::new()), folder: None, direct: false }
    }

    pub fn on_disk() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalFileSystem::new_with_prefix(folder.path()).expect("it exists");
        Self { runtime: runtime(), store: Arc::new(store), folder: Some(folder), direct: true }
    }

    /// The same disk, written through the object store.
    pub fn through_the_store(mut self) -> Self {
        self.direct = false;
        self
    }

    pub fn root(&self) -> &FsPath {
        self.folder.as_ref().expect("on a disk").path()
    }

    pub fn writer(&self, spec: &FilesSpec) -> FilesWriter {
        let mut spec = spec.clone();
        spec.local_root =
            self.folder.as_ref().filter(|_| self.direct).map(|f| f.path().to_path_buf());
        FilesWriter::new(&spec, Arc::clone(&self.store), naming(), self.runtime.handle().clone())
    }

    pub fn write(&self, spec: &FilesSpec, batches: &[RecordBatch]) -> Vec<DataFile> {
        self.try_write(spec, batches).expect("a store that works")
    }

    pub fn try_write(
        &self,
        spec: &FilesSpec,
        batches: &[RecordBatch],
    ) -> Result<Vec<DataFile>, FilesError> {
        let mut writer = self.writer(spec);
        for batch in batches {
            writer.write(batch)?;
        }
        writer.finish()
    }

    pub fn bytes(&self, file: &DataFile) -> Bytes {
        let path = Path::from_url_path(&file.path).expect("percent-encoded");
        let get = async { self.store.get(&path).await?.bytes().await };
        self.runtime.block_on(get).expect("the file is there")
    }

    pub fn read(&self, file: &DataFile) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.bytes(file)).expect("Parquet");
        let schema = reader.schema().clone();
        let batches: Result<Vec<_>, _> = reader.build().expect("readable").collect();
        concat_batches(&schema, &batches.expect("readable")).expect("one schema")
    }

    pub fn names(&self) -> Vec<String> {
        let list = self.store.list(None).map_ok(|o| o.location.to_string()).try_collect();
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
    Naming { output: "orders".into(), epoch: 42, attempt: Uuid::from_u128(7) }
}

pub fn spec(schema: &SchemaRef) -> FilesSpec {
    let files = Files { target_size: 1 << 30, compression: Compression::Zstd { level: 1 } };
    FilesSpec::plain(Arc::clone(schema), &files)
}
