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
pub mod judged;
pub mod keyed;
pub mod letters;
mod local;
pub mod log;
pub mod maintenance;
mod partitions;
pub mod present;
pub mod progress;
mod replay;
pub mod rewind;
mod scan;
pub mod state;
pub mod stats;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::evolution::SchemaChange;
use self::keyed::Reads;

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

/// A file that is to leave the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Remove {
    /// As the log has it.
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size_bytes: u64,
    /// Rows in the file, those that a deletion vector hides included.
    pub records: u64,
    pub deletion_vector: Option<DeletionVector>,
}

impl Remove {
    /// Rows that leave the table with it.
    pub fn rows(&self) -> u64 {
        let hidden = self.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality);
        self.records.saturating_sub(hidden.unsigned_abs())
    }
}

/// Which rows of a file are deleted: Delta's deletion vector descriptor. Read and passed on, never made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionVector {
    pub storage_type: String,
    pub path_or_inline_dv: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    pub size_in_bytes: i32,
    /// Rows that it hides.
    pub cardinality: i64,
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
    /// Files to take out; each must still be in the table, untouched, in the version that this becomes.
    pub removes: Vec<Remove>,
    /// What the batch rests on besides `txn`s: the rows of its keys. `None`: it read no rows.
    pub reads: Option<Arc<Reads>>,
    /// Decoded paths of files that later commits of ours will remove: nobody else may have touched them.
    pub holds: Arc<BTreeSet<String>>,
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

impl Transaction {
    /// It was computed without a look at the table's rows.
    pub(crate) fn is_blind(&self) -> bool {
        self.removes.is_empty() && self.reads.is_none()
    }

    /// Whatever other writers do to files, it goes with it.
    pub(crate) fn minds_no_files(&self) -> bool {
        self.is_blind() && self.holds.is_empty()
    }
}

/// A transaction that landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The table version it became.
    pub version: u64,
    /// Bytes of the log entry.
    pub bytes: u64,
}
