//! One entry of a Delta log, `_delta_log/<version>.json`: its name, its reading, its writing.
//!
//! Owns the JSON of the actions. Reads any writer's entry, keeping what sluice acts on: the operation, metadata and
//! protocol changes, `txn`s, and counts of added and removed files. The files themselves are read on their own
//! ([`FileActions`]), for who needs them. Writes only our own.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{DataFile, DeletionVector, Metadata, Protocol, Remove, Transaction, Txn};

/// `commitInfo.engineInfo`.
const ENGINE: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// The directory of the log, from the table's root.
pub const LOG_DIR: &str = "_delta_log";

/// Where the entry of a version is, from the table's root.
pub fn path_of(version: u64) -> Path {
    Path::from(format!("{LOG_DIR}/{version:020}.json"))
}

/// The version of an entry's file name; `None` for checkpoints and whatever else lies in the log.
pub fn version_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".json")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// What one version did to the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// `commitInfo`, as it is; empty where the writer left none.
    pub commit_info: Map<String, Value>,
    pub protocol: Option<Protocol>,
    pub metadata: Option<Metadata>,
    /// All `txn`s, of any application, in the order written.
    pub txns: Vec<(String, Txn)>,
    pub files: FileCounts,
}

/// The files that one version added and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FileCounts {
    pub added: u64,
    /// Rows of the added files that no deletion vector hides; `None` when one of them doesn't say.
    pub added_rows: Option<u64>,
    /// Added files that bring data (`dataChange`): not those that only hold what others held before.
    pub data_added: u64,
    pub removed: u64,
    /// Rows of the removed files that no deletion vector hid; `None` when one of them doesn't say.
    pub removed_rows: Option<u64>,
    /// Removed files whose data went too (`dataChange`): not those that were only compacted.
    pub data_removed: u64,
}

impl Entry {
    /// Reads an entry, line by line.
    ///
    /// # Errors
    /// The number of the first line that isn't a Delta action, and why.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut entry = Self {
            files: FileCounts {
                added_rows: Some(0),
                removed_rows: Some(0),
                ..FileCounts::default()
            },
            ..Self::default()
        };
        actions(bytes, |line| entry.fold(line))?;
        Ok(entry)
    }

    fn fold(&mut self, line: Line) {
        if let Some(info) = line.commit_info {
            self.commit_info = info;
        }
        if let Some(protocol) = line.protocol {
            self.protocol = Some(protocol);
        }
        if let Some(metadata) = line.meta_data {
            self.metadata = Some(metadata);
        }
        if let Some(txn) = line.txn {
            self.txns
                .push((txn.app_id, Txn { version: txn.version, last_updated: txn.last_updated }));
        }
        if let Some(add) = line.add {
            self.files.added += 1;
            self.files.data_added += u64::from(add.data_change);
            self.files.added_rows =
                self.files.added_rows.zip(add.rows()).map(|(sum, rows)| sum + rows);
        }
        if let Some(remove) = line.remove {
            self.files.removed += 1;
            self.files.removed_rows =
                self.files.removed_rows.zip(remove.rows()).map(|(sum, rows)| sum + rows);
            self.files.data_removed += u64::from(remove.data_change);
        }
    }

    pub fn operation(&self) -> Option<&str> {
        self.commit_info.get("operation")?.as_str()
    }

    /// Milliseconds since the Unix epoch, by the writer's clock.
    pub fn timestamp(&self) -> Option<i64> {
        self.commit_info.get("timestamp")?.as_i64()
    }

    /// The attempt that wrote this entry, if a sluice did.
    pub fn attempt(&self) -> Option<Uuid> {
        self.commit_info.get("sluice")?.get("attempt")?.as_str()?.parse().ok()
    }

    /// Whether this version took the table back to an older one.
    pub fn is_restore(&self) -> bool {
        self.operation().is_some_and(|name| name.eq_ignore_ascii_case("RESTORE"))
    }
}

/// The actions that matter here; others (`cdc`, `domainMetadata`, ...) are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    commit_info: Option<Map<String, Value>>,
    protocol: Option<Protocol>,
    meta_data: Option<Metadata>,
    txn: Option<TxnAction>,
    add: Option<AddAction>,
    remove: Option<RemoveAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TxnAction {
    app_id: String,
    version: i64,
    last_updated: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddAction {
    #[serde(default = "yes")]
    data_change: bool,
    stats: Option<String>,
    deletion_vector: Option<DeletionVector>,
}

impl AddAction {
    fn rows(&self) -> Option<u64> {
        rows(self.stats.as_deref(), self.deletion_vector.as_ref())
    }
}

/// A file's rows, without those that its deletion vector hides.
fn rows(stats: Option<&str>, vector: Option<&DeletionVector>) -> Option<u64> {
    let hidden = vector.map_or(0, |vector| vector.cardinality.unsigned_abs());
    num_records(stats?)?.checked_sub(hidden)
}

/// Of a file's `stats`.
pub(super) fn num_records(stats: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats {
        num_records: Option<u64>,
    }
    serde_json::from_str::<Stats>(stats).ok()?.num_records
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemoveAction {
    /// Required by the protocol; an entry without it counts as a change of data, to be safe.
    #[serde(default = "yes")]
    data_change: bool,
    stats: Option<String>,
    deletion_vector: Option<DeletionVector>,
}

impl RemoveAction {
    fn rows(&self) -> Option<u64> {
        rows(self.stats.as_deref(), self.deletion_vector.as_ref())
    }
}

/// The files of one version's entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct FileActions {
    pub adds: Vec<AddedFile>,
    pub removes: Vec<RemovedFile>,
}

/// An `add` action.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AddedFile {
    pub path: String,
    #[serde(default)]
    pub partition_values: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub size: u64,
    #[serde(default = "yes")]
    pub data_change: bool,
    pub stats: Option<String>,
    pub deletion_vector: Option<DeletionVector>,
}

/// A `remove` action, as far as it tells a file from another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RemovedFile {
    pub path: String,
    #[serde(default = "yes")]
    pub data_change: bool,
}

impl FileActions {
    /// # Errors
    /// As [`Entry::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct FileLine {
            add: Option<AddedFile>,
            remove: Option<RemovedFile>,
        }
        let mut files = Self::default();
        actions(bytes, |line: FileLine| {
            files.adds.extend(line.add);
            files.removes.extend(line.remove);
        })?;
        Ok(files)
    }

    /// The paths that this version touches, decoded: writers may encode one path in several ways.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        let adds = self.adds.iter().map(|add| &add.path);
        adds.chain(self.removes.iter().map(|remove| &remove.path)).map(|path| decoded(path))
    }
}

/// A path of the log without its percent-encoding.
pub(super) fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Hands over an entry's lines, parsed.
fn actions<T: DeserializeOwned>(bytes: &[u8], mut take: impl FnMut(T)) -> Result<(), String> {
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        take(serde_json::from_slice(line).map_err(|e| format!("line {}: {e}", number + 1))?);
    }
    Ok(())
}

fn yes() -> bool {
    true
}

/// What our entry changes about the table itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Changed {
    pub protocol: Option<Protocol>,
    pub metadata: Option<Metadata>,
}

/// The bytes of our entry: `commitInfo` first, protocol and metadata if they change, `txn`s, removed files, then new ones.
///
/// Nothing in them depends on the version they become, so that a lost race costs no new bytes.
pub(super) fn render(tx: &Transaction, change: &Changed, now_ms: i64) -> Bytes {
    let mut lines = Lines::default();
    lines.push(&json!({ "commitInfo": commit_info(tx, change, now_ms) }));
    if let Some(protocol) = &change.protocol {
        lines.push(&json!({ "protocol": protocol }));
    }
    if let Some(metadata) = &change.metadata {
        lines.push(&json!({ "metaData": metadata }));
    }
    for (app_id, version) in &tx.set {
        lines.push(
            &json!({ "txn": { "appId": app_id, "version": version, "lastUpdated": now_ms } }),
        );
    }
    for file in &tx.removes {
        lines.push(&json!({ "remove": remove(file, now_ms) }));
    }
    for file in &tx.adds {
        lines.push(&AddLine { add: Add::of(file) });
    }
    lines.0.into()
}

fn commit_info(tx: &Transaction, change: &Changed, now_ms: i64) -> Value {
    let mut sluice = tx.info.as_object().cloned().unwrap_or_default();
    sluice.insert("attempt".to_owned(), tx.attempt.to_string().into());
    let mut info = json!({
        "timestamp": now_ms,
        "operation": tx.operation,
        "operationParameters": operation_parameters(tx, change),
        "operationMetrics": operation_metrics(tx),
        "engineInfo": ENGINE,
        "txnId": tx.attempt.to_string(),
        "sluice": sluice,
    });
    // Rows that need new columns were still written without reading any; other writers look at the metadata besides.
    // Not a promise that can be made for a change of properties or of progress alone, and not needed there.
    info["isBlindAppend"] = (!tx.adds.is_empty() && tx.is_blind()).into();
    if let Some(reads) = &tx.reads {
        info["readVersion"] = reads.version().into();
    }
    info
}

/// What a reader of the removal needs: which file of the table it was, its deletion vector included.
fn remove(file: &Remove, now_ms: i64) -> Value {
    let mut remove = json!({
        "path": file.path,
        "deletionTimestamp": now_ms,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": file.partition_values,
        "size": file.size_bytes,
        "stats": json!({ "numRecords": file.records }).to_string(),
    });
    if let Some(vector) = &file.deletion_vector {
        remove["deletionVector"] = json!(vector);
    }
    remove
}

/// Values are JSON text inside strings, as Spark writes them.
fn operation_parameters(tx: &Transaction, change: &Changed) -> Value {
    let mut parameters = Map::new();
    let mut set = |key: &str, value: Value| parameters.insert(key.to_owned(), value);
    if tx.operation == "WRITE" {
        set("mode", "Append".into());
    }
    if change.metadata.is_some() && !tx.properties.is_empty() {
        set("properties", json!(tx.properties).to_string().into());
    }
    let list = |columns: Vec<String>| json!(columns).to_string().into();
    if let Some(schema) = &tx.schema {
        let added: Vec<String> = schema.added().map(ToString::to_string).collect();
        let widened: Vec<String> = schema.widened().map(ToString::to_string).collect();
        for (key, columns) in [("addedColumns", added), ("widenedColumns", widened)] {
            if !columns.is_empty() {
                set(key, list(columns));
            }
        }
    }
    parameters.into()
}

fn operation_metrics(tx: &Transaction) -> BTreeMap<&str, String> {
    let sum = |of: fn(&DataFile) -> u64| tx.adds.iter().map(of).sum::<u64>().to_string();
    let mut metrics = BTreeMap::from([
        ("numFiles", tx.adds.len().to_string()),
        ("numOutputRows", sum(|file| file.rows)),
        ("numOutputBytes", sum(|file| file.size_bytes)),
    ]);
    metrics.extend(tx.metrics.iter().map(|(name, value)| (*name, value.to_string())));
    metrics
}

#[derive(Serialize)]
struct AddLine<'a> {
    add: Add<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Add<'a> {
    path: &'a str,
    partition_values: &'a BTreeMap<String, Option<String>>,
    size: u64,
    modification_time: i64,
    data_change: bool,
    stats: &'a str,
}

impl<'a> Add<'a> {
    fn of(file: &'a DataFile) -> Self {
        Self {
            path: &file.path,
            partition_values: &file.partition_values,
            size: file.size_bytes,
            modification_time: file.modification_time,
            data_change: true,
            stats: &file.stats,
        }
    }
}

#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, action: &impl Serialize) {
        serde_json::to_writer(&mut self.0, action)
            .expect("maps with text keys always serialise into memory");
        self.0.push(b'\n');
    }
}
