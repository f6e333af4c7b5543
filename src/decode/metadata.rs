//! What Kafka says of each record, as columns `kafka_*`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, ListArray, NullBufferBuilder, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields, TimestampMicrosecondType};

use super::buffers::{Ends, primitive};
use super::bytes::ByteColumn;
use super::flaw::{Flaw, Reject, Scan, bounded};
use crate::chunk::SourcePartition;
use crate::config::MetadataColumn;
use crate::message::{Header, Message};
use crate::schema::timestamp_type;

/// A metadata column as a table has it.
pub fn metadata_field(column: MetadataColumn) -> Field {
    match column {
        MetadataColumn::Topic => Field::new("kafka_topic", DataType::Utf8, false),
        MetadataColumn::Partition => Field::new("kafka_partition", DataType::Int32, false),
        MetadataColumn::Offset => Field::new("kafka_offset", DataType::Int64, false),
        MetadataColumn::Timestamp => Field::new("kafka_timestamp", timestamp_type(), true),
        MetadataColumn::Key => Field::new("kafka_key", DataType::Binary, true),
        MetadataColumn::Headers => {
            Field::new("kafka_headers", DataType::List(Arc::new(header_field())), true)
        }
        MetadataColumn::Value => Field::new("kafka_value", DataType::Binary, true),
    }
}

fn header_field() -> Field {
    Field::new("element", DataType::Struct(header_fields()), true)
}

fn header_fields() -> Fields {
    let fields =
        [Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)];
    fields.into_iter().collect()
}

/// The metadata columns of a chunk while it grows; only those asked for.
pub(super) struct MetadataRows {
    wanted: BTreeSet<MetadataColumn>,
    timestamps: TimestampColumn,
    keys: NullableBytes,
    headers: HeaderColumn,
    values: NullableBytes,
}

impl MetadataRows {
    pub(super) fn new(wanted: &BTreeSet<MetadataColumn>) -> Self {
        Self {
            wanted: wanted.clone(),
            timestamps: TimestampColumn::new(),
            keys: NullableBytes::new(),
            headers: HeaderColumn::new(),
            values: NullableBytes::new(),
        }
    }

    pub(super) fn wants(&self, column: MetadataColumn) -> bool {
        self.wanted.contains(&column)
    }

    /// Whether the columns asked for can hold what the message says.
    pub(super) fn check(&self, message: &Message<'_>) -> Scan<()> {
        if self.wants(MetadataColumn::Timestamp)
            && message.timestamp_ms.is_some_and(|ms| timestamp_micros(ms).is_none())
        {
            return Err(Reject::outside_value(Flaw::KafkaTimestamp));
        }
        if self.wants(MetadataColumn::Headers)
            && message.headers.iter().any(|header| std::str::from_utf8(header.name).is_err())
        {
            return Err(Reject::outside_value(Flaw::HeaderName));
        }
        Ok(())
    }

    /// Appends a message that was checked.
    pub(super) fn push(&mut self, message: &Message<'_>) {
        if self.wants(MetadataColumn::Timestamp) {
            self.timestamps.push(message.timestamp_ms);
        }
        if self.wants(MetadataColumn::Key) {
            self.keys.push(message.key);
        }
        if self.wants(MetadataColumn::Headers) {
            self.headers.push(message.headers);
        }
        if self.wants(MetadataColumn::Value) {
            self.values.push(message.value);
        }
    }

    /// The columns so far, in the order of the enum; leaves them empty.
    pub(super) fn finish(
        &mut self,
        partition: &SourcePartition,
        offsets: &Int64Array,
    ) -> Vec<ArrayRef> {
        let rows = offsets.len();
        let wanted = self.wanted.iter();
        wanted
            .map(|column| match column {
                MetadataColumn::Topic => repeated(&partition.id.topic, rows),
                MetadataColumn::Partition => {
                    Arc::new(Int32Array::from_value(partition.id.partition, rows)) as ArrayRef
                }
                MetadataColumn::Offset => Arc::new(offsets.clone()),
                MetadataColumn::Timestamp => self.timestamps.finish(),
                MetadataColumn::Key => self.keys.finish(),
                MetadataColumn::Headers => self.headers.finish(),
                MetadataColumn::Value => self.values.finish(),
            })
            .collect()
    }
}

/// A STRING column of one value.
pub(super) fn repeated(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))
}

/// `None` outside the years 0001 to 9999.
fn timestamp_micros(ms: i64) -> Option<i64> {
    bounded(ms.checked_mul(1000)?).ok()
}

/// Kafka's timestamps; null where the record has none, or one that no reader could show.
pub(super) struct TimestampColumn {
    micros: Vec<i64>,
    nulls: NullBufferBuilder,
}

impl TimestampColumn {
    pub(super) fn new() -> Self {
        Self { micros: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    pub(super) fn push(&mut self, ms: Option<i64>) {
        let micros = ms.and_then(timestamp_micros);
        self.nulls.append(micros.is_some());
        self.micros.push(micros.unwrap_or_default());
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        primitive::<TimestampMicrosecondType>(&mut self.micros, nulls, &timestamp_type())
    }
}

/// A BINARY column.
pub(super) struct NullableBytes {
    bytes: ByteColumn,
    nulls: NullBufferBuilder,
}

impl NullableBytes {
    pub(super) fn new() -> Self {
        Self { bytes: ByteColumn::new(), nulls: NullBufferBuilder::new(0) }
    }

    pub(super) fn push(&mut self, value: Option<&[u8]>) {
        self.nulls.append(value.is_some());
        self.bytes.push(value.unwrap_or_default());
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        self.bytes.finish_binaries(self.nulls.finish())
    }
}

/// `ARRAY<STRUCT<key: STRING, value: BINARY>>`; null for a record without headers.
pub(super) struct HeaderColumn {
    ends: Ends,
    nulls: NullBufferBuilder,
    names: ByteColumn,
    values: NullableBytes,
}

impl HeaderColumn {
    pub(super) fn new() -> Self {
        Self {
            ends: Ends::new(),
            nulls: NullBufferBuilder::new(0),
            names: ByteColumn::new(),
            values: NullableBytes::new(),
        }
    }

    /// What is not UTF-8 in a name becomes U+FFFD (rows are checked before; dead letters must take anything).
    pub(super) fn push(&mut self, headers: &[Header<'_>]) {
        for header in headers {
            self.names.push(String::from_utf8_lossy(header.name).as_bytes());
            self.values.push(header.value);
        }
        self.ends.push(self.names.len());
        self.nulls.append(!headers.is_empty());
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let arrays = vec![self.names.finish_strings(None), self.values.finish()];
        let entries = StructArray::new(header_fields(), arrays, None);
        let (ends, nulls) = (self.ends.finish(), self.nulls.finish());
        Arc::new(ListArray::new(Arc::new(header_field()), ends, Arc::new(entries), nulls))
    }
}
