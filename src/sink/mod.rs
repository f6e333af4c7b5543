//! The Delta Lake side: one table of one output.
//!
//! The contract, in the order of a batch: [`log::TableLog`] says what has been done; [`files::FilesWriter`] makes
//! Parquet files of chunks; [`commit`] puts files and progress into the log as one version, or says why not.
//! Nothing else in sluice knows Delta Lake. The rules are PROTOCOL.md's (docs/SEMANTICS.md).

mod adapt;
pub mod commit;
pub mod create;
pub mod dead_letters;
pub mod deep;
pub mod delta_schema;
pub mod entry;
pub mod error;
pub mod evolution;
pub mod features;
pub mod files;
pub mod history;
mod interval;
mod local;
pub mod log;
pub mod maintenance;
mod partitions;
pub mod progress;
mod replay;
pub mod rewind;
mod scan;
pub mod stats;
pub mod store;
#[cfg(test)]
mod testing;
pub mod verify;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::evolution::SchemaChange;

/// A `txn` action: an application's own version number in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Txn {
    pub version: i64,
    /// Milliseconds since the Unix epoch.
    pub last_updated: Option<i64>,
}

/// A `protocol` action: what a reader and a writer must be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// A `metaData` action, whole: a change of one property writes all of it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub format: Format,
    /// Delta's schema, JSON text.
    pub schema_string: String,
    #[serde(default)]
    pub partition_columns: Vec<String>,
    #[serde(default, deserialize_with = "without_nulls")]
    pub configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

/// How a table's files are written: always Parquet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub provider: String,
    #[serde(default, deserialize_with = "without_nulls")]
    pub options: BTreeMap<String, String>,
}

impl Default for Format {
    fn default() -> Self {
        Self { provider: "parquet".to_owned(), options: BTreeMap::new() }
    }
}

/// Some writers store a property without a value as null; to a reader it isn't there.
fn without_nulls<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let map = Option::<BTreeMap<String, Option<String>>>::deserialize(input)?.unwrap_or_default();
    Ok(map.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
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
    /// The change of the table's columns that `adds` were written by.
    pub schema: Option<SchemaChange>,
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
