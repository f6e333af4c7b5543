//! Test support: tables made of log entries alone, and a store that fails when told to.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::log::TableLog;
use super::store::TableStore;
use super::{DataFile, Transaction, entry};

/// The time in tests that don't care: 2026-11-01T00:00:00Z.
pub const NOW: i64 = 1_793_491_200_000;

/// What happens to one put.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Works.
    None,
    /// 403: nothing is written.
    Refused,
    /// No answer, and nothing was written.
    TimeoutBefore,
    /// No answer, but it was written.
    TimeoutAfter,
    /// 409, although nothing is there (S3 under concurrent conditional puts).
    Conflict,
    /// 412 after it was written: the client's own retry met its first try.
    PreconditionAfter,
    /// 500, nothing written.
    ServerError,
    /// The connection was cut; nothing is written now, but the put lands before the next one is tried.
    CutThenLands,
    /// Other writers commit these entries first.
    Meanwhile(Vec<(u64, Vec<Value>)>),
    /// We were suspended before it: these objects are gone by then, and this step has run.
    Suspended { remove: Vec<Path>, then: Step },
    /// It works, but this step runs when it has landed.
    Then(Step),
}

/// A step of a test, run inside a put.
#[derive(Clone)]
pub struct Step(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Step")
    }
}

/// A store whose conditional puts of log entries fail as told, one fault a put, and whose reads fail while told to.
#[derive(Debug)]
pub struct FaultyStore {
    pub inner: Arc<dyn ObjectStore>,
    puts: Mutex<VecDeque<Fault>>,
    states: Mutex<VecDeque<Fault>>,
    reads: Mutex<u32>,
    late: Mutex<Vec<(Path, PutPayload)>>,
    counts: Mutex<Counts>,
    ignores_conditions: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub puts: u32,
    pub gets: u32,
    pub lists: u32,
}

impl FaultyStore {
    pub fn over(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            puts: Mutex::default(),
            states: Mutex::default(),
            reads: Mutex::default(),
            late: Mutex::default(),
            counts: Mutex::default(),
            ignores_conditions: false,
        })
    }

    /// An S3 clone that takes no notice of If-None-Match.
    pub fn unconditional() -> Arc<Self> {
        let mut store = Arc::into_inner(Self::over(Arc::new(InMemory::new()))).expect("just made");
        store.ignores_conditions = true;
        Arc::new(store)
    }

    /// The next puts of log entries meet these faults, in order.
    pub fn fail_puts(&self, faults: impl IntoIterator<Item = Fault>) {
        self.puts.lock().expect("not poisoned").extend(faults);
    }

    /// The same for the next puts of state objects.
    pub fn fail_states(&self, faults: impl IntoIterator<Item = Fault>) {
        self.states.lock().expect("not poisoned").extend(faults);
    }

    /// From now on all goes well; a put that is late may still land.
    pub fn heal(&self) {
        self.puts.lock().expect("not poisoned").clear();
        self.states.lock().expect("not poisoned").clear();
        self.fail_reads(0);
    }

    /// Whether a put was cut that hasn't landed yet.
    pub fn has_late_puts(&self) -> bool {
        !self.late.lock().expect("not poisoned").is_empty()
    }

    /// The next reads (get and head) fail.
    pub fn fail_reads(&self, count: u32) {
        *self.reads.lock().expect("not poisoned") = count;
    }

    pub fn counts(&self) -> Counts {
        *self.counts.lock().expect("not poisoned")
    }

    async fn put_faulty(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
        faults: &Mutex<VecDeque<Fault>>,
    ) -> Result<PutResult> {
        let late = std::mem::take(&mut *self.late.lock().expect("not poisoned"));
        for (path, payload) in late {
            // As a put in flight would: conditional, and nobody hears of it.
            let _ = self.inner.put_opts(&path, payload, PutMode::Create.into()).await;
        }
        let fault = faults.lock().expect("not poisoned").pop_front().unwrap_or(Fault::None);
        let path = || location.to_string();
        match fault {
            Fault::None => self.inner.put_opts(location, payload, opts).await,
            Fault::Refused => Err(Error::PermissionDenied { path: path(), source: "403".into() }),
            Fault::TimeoutBefore => Err(generic("timed out")),
            Fault::ServerError => Err(generic("500 Internal Server Error")),
            Fault::Conflict => Err(generic("409 Conflict")),
            Fault::TimeoutAfter => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(generic("timed out"))
            }
            Fault::PreconditionAfter => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(Error::AlreadyExists { path: path(), source: "412".into() })
            }
            Fault::CutThenLands => {
                self.late.lock().expect("not poisoned").push((location.clone(), payload));
                Err(generic("connection reset"))
            }
            Fault::Meanwhile(entries) => {
                for (version, lines) in entries {
                    put_entry(&*self.inner, version, &lines).await;
                }
                self.inner.put_opts(location, payload, opts).await
            }
            Fault::Suspended { remove, then } => {
                for path in remove {
                    self.inner.delete(&path).await?;
                }
                (then.0)();
                self.inner.put_opts(location, payload, opts).await
            }
            Fault::Then(step) => {
                let result = self.inner.put_opts(location, payload, opts).await;
                (step.0)();
                result
            }
        }
    }
}

fn generic(text: &'static str) -> Error {
    Error::Generic { store: "faulty", source: text.into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        self.counts.lock().expect("not poisoned").puts += 1;
        if self.ignores_conditions {
            opts.mode = PutMode::Overwrite;
        }
        let name = location.filename().unwrap_or_default();
        match entry::version_of(name) {
            Some(_) => self.put_faulty(location, payload, opts, &self.puts).await,
            None if name.ends_with(".state") => {
                self.put_faulty(location, payload, opts, &self.states).await
            }
            None => self.inner.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.counts.lock().expect("not poisoned").gets += 1;
        {
            let mut failing = self.reads.lock().expect("not poisoned");
            if *failing > 0 {
                *failing -= 1;
                return Err(generic("503 Slow Down"));
            }
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counts.lock().expect("not poisoned").lists += 1;
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counts.lock().expect("not poisoned").lists += 1;
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A table in a store that can fail.
pub struct Fixture {
    pub faults: Arc<FaultyStore>,
    pub store: TableStore,
}

impl Fixture {
    /// An empty table with one column, `n LONG`.
    pub async fn new() -> Self {
        Self::with_properties(&[]).await
    }

    pub async fn with_properties(properties: &[(&str, &str)]) -> Self {
        let fixture = Self::without_table(Arc::new(InMemory::new()));
        fixture.entry(0, &[protocol(), metadata("table-1", properties)]).await;
        fixture
    }

    pub fn without_table(inner: Arc<dyn ObjectStore>) -> Self {
        let faults = FaultyStore::over(inner);
        let store = TableStore::over(faults.clone(), "memory:///orders");
        Self { faults, store }
    }

    /// Another writer's commit.
    pub async fn entry(&self, version: u64, lines: &[Value]) {
        put_entry(&*self.faults.inner, version, lines).await;
    }

    pub async fn log(&self) -> TableLog {
        TableLog::open(&self.store).await.expect("the log can be read").expect("there is a table")
    }

    pub async fn remove(&self, path: &Path) {
        self.faults.inner.delete(path).await.expect("it is there");
    }

    /// The entry of a version as it lies in the store, one action a line.
    pub async fn lines(&self, version: u64) -> Vec<Value> {
        let bytes = self
            .faults
            .inner
            .get(&entry::path_of(version))
            .await
            .expect("it is there")
            .bytes()
            .await;
        let bytes = bytes.expect("it can be read");
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("each line is JSON")).collect()
    }
}

/// Writes an entry, which must not be there.
pub async fn put_entry(store: &dyn ObjectStore, version: u64, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let opts = PutMode::Create.into();
    store.put_opts(&entry::path_of(version), text.into(), opts).await.expect("the version is free");
}

pub fn protocol() -> Value {
    json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
}

pub fn metadata(id: &str, properties: &[(&str, &str)]) -> Value {
    let schema = json!({"type": "struct", "fields": [
        {"name": "n", "type": "long", "nullable": true, "metadata": {}},
    ]});
    let configuration: BTreeMap<_, _> = properties.iter().copied().collect();
    json!({"metaData": {
        "id": id, "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
        "partitionColumns": [], "configuration": configuration, "createdTime": NOW,
    }})
}

pub fn commit_info(operation: &str) -> Value {
    json!({"commitInfo": {"timestamp": NOW, "operation": operation, "operationParameters": {}}})
}

pub fn txn(app_id: &str, version: i64) -> Value {
    json!({"txn": {"appId": app_id, "version": version, "lastUpdated": NOW}})
}

pub fn add(path: &str, rows: u64, data_change: bool) -> Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": 10, "modificationTime": NOW,
        "dataChange": data_change, "stats": json!({"numRecords": rows}).to_string()}})
}

pub fn remove(path: &str, data_change: bool) -> Value {
    json!({"remove": {"path": path, "deletionTimestamp": NOW, "dataChange": data_change}})
}

/// A file of `rows` rows, no older than [`NOW`].
pub fn data_file(path: &str, rows: u64) -> DataFile {
    DataFile {
        path: path.to_owned(),
        partition_values: BTreeMap::new(),
        size_bytes: 10 * rows,
        modification_time: NOW,
        rows,
        stats: json!({"numRecords": rows}).to_string(),
    }
}

/// A batch that takes one partition from where `log` has it to `next`, with one file when it moves.
pub fn batch(log: &TableLog, app_id: &str, next: i64) -> Transaction {
    let attempt = Uuid::new_v4();
    let start = log.txn(app_id).map_or(0, |txn| txn.version);
    let rows = u64::try_from(next - start).unwrap_or(0);
    Transaction {
        attempt,
        expected: BTreeMap::from([(app_id.to_owned(), log.txn(app_id))]),
        set: BTreeMap::from([(app_id.to_owned(), next)]),
        removes: Vec::new(),
        holds: Arc::default(),
        reads: None,
        adds: if rows == 0 {
            Vec::new()
        } else {
            vec![data_file(&format!("part-{attempt}.parquet"), rows)]
        },
        properties: BTreeMap::new(),
        schema: None,
        operation: "WRITE",
        metrics: BTreeMap::new(),
        info: json!({}),
    }
}
