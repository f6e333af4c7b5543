//! Why decoding can't begin or can't go on.

use std::fmt;

use thiserror::Error;

use super::flaw::Part;
use super::registry::RegistryError;
use crate::disposition::{Disposition, Exit};
use crate::offsets::TopicPartition;

/// A record that the decoder refused, for messages: never with any of its payload but single bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    pub partition: TopicPartition,
    pub offset: i64,
    /// `SL30xx`, as in the dead-letter table's `reason_code`.
    pub code: &'static str,
    /// As in the dead-letter table's `reason`.
    pub reason: String,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} offset {}: {}", self.partition, self.offset, self.reason)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Under `on_bad_record: fail`.
    #[error(
        "bad record in {0}; correct `decode`, or set `decode.on_bad_record` to `dead_letter` or `skip`"
    )]
    BadRecord(Box<BadRecord>),
    #[error(
        "`decode.{part}.timestamps.{column}`: the schema has no TIMESTAMP, TIMESTAMP_NTZ or DATE column of that name"
    )]
    TimestampFormat { part: Part, column: String },
    #[error(
        "`decode.{part}.schema`: the keys of the MAP `{column}` must be STRING, as the keys of a JSON object are"
    )]
    MapKey { part: Part, column: String },
    #[error("`decode.{part}.schema`: no JSON value can be read as {data_type} (`{column}`)")]
    Type { part: Part, column: String, data_type: String },
    /// Names that differ only by case are one name to Delta Lake.
    #[error(
        "two columns of one name: `{}`, {}, and `{}`, {}; rename one, or leave it out",
        .0.name, .0.origin, .1.name, .1.origin
    )]
    ColumnTwice(ColumnName, ColumnName),
    #[error("`decode.value.encoding`: Debezium's change events are JSON or Avro")]
    Envelope,
    #[error("`decode.{part}.schema`: no Avro value can be read as {data_type} (`{column}`)")]
    AvroType { part: Part, column: String, data_type: String },
    #[error("`decode.{part}.avro_schema`: {reason}")]
    AvroSchema { part: Part, reason: String },
    /// Under `on_incompatible_schema: fail`.
    #[error(
        "{origin} can't be read into the columns: {reason}; change the schema or the columns, or set \
         `decode.on_incompatible_schema` to `dead_letter`"
    )]
    IncompatibleSchema { origin: String, reason: String },
    /// No fault: the columns follow the schemas, and there is a new one. A decoder made anew over the same schemas
    /// has the columns.
    #[error("{origin} changes the columns: {changes}")]
    SchemaChanged { origin: String, changes: String },
    /// The registry doesn't answer, or not as it should. No record is bad because of it.
    #[error(transparent)]
    Registry(RegistryError),
}

/// A column of a chunk's rows, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnName {
    pub name: String,
    pub origin: ColumnOrigin,
}

/// Where a column of a chunk's rows comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnOrigin {
    Value,
    Rescued,
    Key,
    Change,
    Metadata,
}

impl fmt::Display for ColumnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "a column of the value",
            Self::Rescued => "the column of rescued fields",
            Self::Key => "the key's column",
            Self::Change => "a change column",
            Self::Metadata => "a metadata column",
        })
    }
}

impl DecodeError {
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::BadRecord(_) | Self::IncompatibleSchema { .. } => {
                Disposition::Stop(Exit::DataRefused)
            }
            Self::SchemaChanged { .. } => Disposition::Retry,
            Self::Registry(error) => error.disposition(),
            _ => Disposition::Stop(Exit::Configuration),
        }
    }

    /// A bad record answers with its own code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRecord(record) => record.code,
            Self::TimestampFormat { .. } => "SL3101",
            Self::MapKey { .. } => "SL3102",
            Self::Type { .. } => "SL3103",
            Self::ColumnTwice(..) => "SL3104",
            Self::Envelope => "SL3105",
            Self::AvroType { .. } => "SL3109",
            Self::AvroSchema { .. } => "SL3106",
            Self::IncompatibleSchema { .. } => "SL3107",
            Self::SchemaChanged { .. } => "SL3108",
            Self::Registry(error) => error.code(),
        }
    }
}
