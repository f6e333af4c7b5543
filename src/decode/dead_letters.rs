//! Refused records as rows of the dead-letter table: all that Kafka had, and why it was refused.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::error::BadRecord;
use super::metadata::{HeaderColumn, NullableBytes, TimestampColumn, metadata_field, repeated};
use crate::chunk::SourcePartition;
use crate::config::MetadataColumn;
use crate::message::Message;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        metadata_field(MetadataColumn::Topic),
        text("kafka_topic_id"),
        metadata_field(MetadataColumn::Partition),
        metadata_field(MetadataColumn::Offset),
        metadata_field(MetadataColumn::Timestamp),
        metadata_field(MetadataColumn::Key),
        Field::new("kafka_value", DataType::Binary, true),
        metadata_field(MetadataColumn::Headers),
        text("reason_code"),
        text("reason"),
        text("config_fingerprint"),
        // Of late rows; a bad record is one to every output.
        Field::new("output", DataType::Utf8, true),
    ]))
});

/// The columns of the dead-letter table. A row's identity is (`kafka_topic_id`, `kafka_partition`, `kafka_offset`), and for
/// late rows `output`.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The dead letters of a chunk while it grows.
pub(super) struct DeadLetterRows {
    offsets: Vec<i64>,
    timestamps: TimestampColumn,
    keys: NullableBytes,
    values: NullableBytes,
    headers: HeaderColumn,
    codes: Vec<&'static str>,
    reasons: Vec<String>,
}

impl DeadLetterRows {
    pub(super) fn new() -> Self {
        Self {
            offsets: Vec::new(),
            timestamps: TimestampColumn::new(),
            keys: NullableBytes::new(),
            values: NullableBytes::new(),
            headers: HeaderColumn::new(),
            codes: Vec::new(),
            reasons: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, message: &Message<'_>, bad: &BadRecord) {
        self.offsets.push(message.offset);
        self.timestamps.push(message.timestamp_ms);
        self.keys.push(message.key);
        self.values.push(message.value);
        self.headers.push(message.headers);
        self.codes.push(bad.code);
        self.reasons.push(bad.reason.clone());
    }

    /// The rows so far, `None` for none; leaves it empty.
    pub(super) fn finish(
        &mut self,
        partition: &SourcePartition,
        fingerprint: &str,
    ) -> Option<RecordBatch> {
        let rows = self.offsets.len();
        if rows == 0 {
            return None;
        }
        let columns: Vec<ArrayRef> = vec![
            repeated(&partition.id.topic, rows),
            repeated(partition.topic_id.as_str(), rows),
            Arc::new(Int32Array::from_value(partition.id.partition, rows)),
            Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))),
            self.timestamps.finish(),
            self.keys.finish(),
            self.values.finish(),
            self.headers.finish(),
            Arc::new(StringArray::from(std::mem::take(&mut self.codes))),
            Arc::new(StringArray::from(std::mem::take(&mut self.reasons))),
            repeated(fingerprint, rows),
            new_null_array(&DataType::Utf8, rows),
        ];
        Some(
            RecordBatch::try_new(dead_letter_schema(), columns)
                .expect("one value per column and row"),
        )
    }
}
