//! The Delta Lake side: one table of one output.
//!
//! The contract, in the order of a batch: [`log::TableLog`] says what has been done; [`files::FilesWriter`] makes
//! Parquet files of chunks; [`commit`] puts files and progress into the log as one version, or says why not.
//! Nothing else in sluice knows Delta Lake. The rules are PROTOCOL.md's (docs/SEMANTICS.md).

mod adapt;
pub mod create;
pub mod definition;
pub mod delta_schema;
pub mod features;
pub mod files;
mod partitions;
pub mod stats;

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

/// A `txn` action: an application's own version number in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Txn {
    pub version: i64,
    /// Milliseconds since the Unix epoch.
    pub last_updated: Option<i64>,
}

/// A finished Parquet file, not yet in the table.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// Relative to the table's root, percent-encoded as Delta's `add.path` wants it.
    pub path: String,
    /// By column, in Delta's text form; `None` is NULL.
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size_bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub modification_time: i64,
    pub rows: u64,
    /// Delta's `add.stats`, JSON text.
    pub stats: String,
}

/// What a batch wants to be true of the table, all of it or nothing.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Found again in the log when an answer is lost.
    pub attempt: Uuid,
    /// All our `txn`s that the batch rests on, as they were when it was planned; `None`: was not there.
    pub expected: BTreeMap<String, Option<Txn>>,
    /// The `txn`s to set (`appId` → version); `lastUpdated` is the commit's time.
    pub set: BTreeMap<String, i64>,
    pub adds: Vec<DataFile>,
    /// Table properties to set in the same commit (the first commit's marker); usually empty.
    pub properties: BTreeMap<String, String>,
    /// `commitInfo.operation`: `WRITE` for batches, `SLUICE REWIND` and the like otherwise.
    pub operation: &'static str,
    /// `commitInfo.operationMetrics`.
    pub metrics: BTreeMap<&'static str, u64>,
    /// `commitInfo.sluice` besides the attempt: the readable copy for people and `verify`.
    pub info: Value,
}

/// A transaction that landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The table version it became.
    pub version: u64,
    /// Bytes of the log entry.
    pub bytes: u64,
}
