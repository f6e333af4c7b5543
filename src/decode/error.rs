//! Why decoding can't begin or can't go on.

use std::fmt;

use thiserror::Error;

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
        "bad record in {0}; repair `decode.value.schema`, or set `decode.on_bad_record` to `dead_letter` or `skip`"
    )]
    BadRecord(Box<BadRecord>),
    #[error(
        "`decode.value.timestamps.{column}`: the schema has no TIMESTAMP, TIMESTAMP_NTZ or DATE column of that name"
    )]
    TimestampFormat { column: String },
    #[error(
        "`decode.value.schema`: the keys of the MAP `{column}` must be STRING, as the keys of a JSON object are"
    )]
    MapKey { column: String },
    #[error("`decode.value.schema`: no JSON value can be read as {data_type} (`{column}`)")]
    Type { column: String, data_type: String },
    #[error(
        "`decode.value.schema`: `{column}` is the name of a metadata column; rename it, or drop the metadata column"
    )]
    MetadataName { column: String },
    #[error("`decode.{}.schema`: no Avro value can be read as {data_type} (`{column}`)", "value")]
    AvroType { column: String, data_type: String },
    #[error("`decode.{}.avro_schema`: {reason}", if *is_key { "key" } else { "value" })]
    AvroSchema { is_key: bool, reason: String },
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
            Self::MetadataName { .. } => "SL3104",
            Self::AvroType { .. } => "SL3105",
            Self::AvroSchema { .. } => "SL3106",
            Self::IncompatibleSchema { .. } => "SL3107",
            Self::SchemaChanged { .. } => "SL3108",
            Self::Registry(error) => error.code(),
        }
    }
}
