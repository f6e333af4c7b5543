//! Reading dead letters whole: what Kafka had, to be decoded again.
//!
//! [`index`] says which there are and how large, [`read`] fetches those of a range: memory is bounded by the range that
//! the caller chooses.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use delta_kernel::Expression;
use delta_kernel::expressions::{Predicate, Scalar};

use super::dead_letters::LATE;
use super::error::SinkError;
use super::maintenance::in_kernel;
use super::scan::TableScan;
use super::store::TableStore;
use crate::chunk::SourcePartition;
use crate::message::{Header, Message};
use crate::offsets::{OffsetRange, TopicId, TopicPartition};

const IDENTITY: [&str; 5] =
    ["kafka_topic", "kafka_topic_id", "kafka_partition", "kafka_offset", "reason_code"];

/// A record that was refused, as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Letter {
    /// The headers, for [`message`](Self::message) to borrow.
    pub fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
    }

    /// The record as a decoder takes it.
    pub fn message<'a>(&'a self, headers: &'a [Header<'a>]) -> Message<'a> {
        Message {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
        }
    }
}

/// A partition's dead letters: offset → bytes of key and value.
pub type Index = BTreeMap<SourcePartition, BTreeMap<i64, u64>>;

/// The dead letters of `wanted` in a version of the table.
///
/// # Errors
/// When the store can't be reached, or the table is no table of dead letters.
pub async fn index(
    store: &TableStore,
    version: u64,
    wanted: BTreeSet<SourcePartition>,
) -> Result<Index, SinkError> {
    in_kernel(store, move |engine| {
        let columns: Vec<&str> = IDENTITY.into_iter().chain(["kafka_key", "kafka_value"]).collect();
        let scan = TableScan::new(engine, version, &columns, None)?;
        let mut index = Index::new();
        for file in scan.files()? {
            scan.read(&file?, |rows| {
                let (keys, values) = (rows.column(5).as_binary(), rows.column(6).as_binary());
                for row in 0..rows.num_rows() {
                    let (partition, offset) = identity(rows, row);
                    if wanted.contains(&partition) && !is_late(rows, row) {
                        let bytes = size(keys, row) + size(values, row);
                        index.entry(partition).or_default().insert(offset, bytes);
                    }
                }
            })?;
        }
        Ok(index)
    })
    .await
}

fn size(bytes: &BinaryArray, row: usize) -> u64 {
    if bytes.is_null(row) { 0 } else { bytes.value_length(row).unsigned_abs().into() }
}

/// The dead letters of a partition in a range of offsets, in their order.
///
/// # Errors
/// As [`index`].
pub async fn read(
    store: &TableStore,
    version: u64,
    partition: SourcePartition,
    range: OffsetRange,
) -> Result<Vec<Letter>, SinkError> {
    in_kernel(store, move |engine| {
        let columns: Vec<&str> = IDENTITY
            .into_iter()
            .chain(["kafka_timestamp", "kafka_key", "kafka_value", "kafka_headers"])
            .collect();
        let scan = TableScan::new(engine, version, &columns, Some(within(&partition, range)))?;
        let mut letters = BTreeMap::new();
        for file in scan.files()? {
            scan.read(&file?, |rows| {
                for row in 0..rows.num_rows() {
                    let (of, offset) = identity(rows, row);
                    if of == partition && range.contains(offset) && !is_late(rows, row) {
                        letters.insert(offset, letter(rows, row, offset));
                    }
                }
            })?;
        }
        Ok(letters.into_values().collect())
    })
    .await
}

/// Skips files; rows are picked by the reader.
fn within(partition: &SourcePartition, range: OffsetRange) -> Predicate {
    let column = |name: &str| Expression::column([name]);
    let value = |scalar: Scalar| Expression::literal(scalar);
    Predicate::and_from([
        Predicate::eq(column("kafka_topic_id"), value(partition.topic_id.as_str().into())),
        Predicate::eq(column("kafka_partition"), value(partition.id.partition.into())),
        Predicate::ge(column("kafka_offset"), value(range.start.into())),
        Predicate::lt(column("kafka_offset"), value(range.end.into())),
    ])
}

fn identity(rows: &RecordBatch, row: usize) -> (SourcePartition, i64) {
    let topic = rows.column(0).as_string::<i32>().value(row);
    let topic_id = rows.column(1).as_string::<i32>().value(row);
    let partition = rows.column(2).as_primitive::<Int32Type>().value(row);
    let offset = rows.column(3).as_primitive::<Int64Type>().value(row);
    let id = TopicPartition::new(topic, partition);
    (SourcePartition { id, topic_id: TopicId::new(topic_id) }, offset)
}

/// A late row is no bad record: it was decoded, and is a row of other outputs.
fn is_late(rows: &RecordBatch, row: usize) -> bool {
    rows.column(4).as_string::<i32>().value(row) == LATE
}

fn letter(rows: &RecordBatch, row: usize, offset: i64) -> Letter {
    let timestamps = rows.column(5).as_primitive::<TimestampMicrosecondType>();
    let headers = rows.column(8).as_list::<i32>();
    Letter {
        offset,
        timestamp_ms: timestamps.is_valid(row).then(|| timestamps.value(row).div_euclid(1000)),
        key: bytes(rows.column(6).as_binary(), row),
        value: bytes(rows.column(7).as_binary(), row),
        headers: if headers.is_valid(row) { pairs(&headers.value(row)) } else { Vec::new() },
    }
}

fn pairs(entries: &dyn Array) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let entries = entries.as_struct();
    let (names, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_binary());
    let pair = |at| (names.value(at).as_bytes().to_vec(), bytes(values, at));
    (0..entries.len()).map(pair).collect()
}

fn bytes(array: &BinaryArray, row: usize) -> Option<Vec<u8>> {
    array.is_valid(row).then(|| array.value(row).to_vec())
}
