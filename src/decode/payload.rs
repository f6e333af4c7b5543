//! One payload, a value or a key, by its format: bytes → columns.

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::flaw::Scan;
use super::{DecodeError, Schemas, json};
use crate::config::Payload;

/// Metadata of an Arrow field: a STRING column with it takes any value, as JSON text.
pub(super) const JSON_TEXT: &str = "sluice.json_text";

/// Reads payloads of one format; each one read is a row, or none at all.
pub(super) enum Reader {
    Json { fields: Vec<FieldRef>, reader: json::Reader },
}

impl Reader {
    pub(super) fn new(spec: &Payload, _schemas: &Schemas) -> Result<Self, DecodeError> {
        match spec {
            Payload::Json(spec) => Ok(Self::Json {
                fields: spec.schema.arrow().fields().to_vec(),
                reader: json::Reader::new(spec)?,
            }),
            Payload::Avro(_) | Payload::String | Payload::Bytes => {
                unimplemented!("refused by the configuration")
            }
        }
    }

    /// The columns that `finish` gives.
    pub(super) fn fields(&self) -> Vec<FieldRef> {
        match self {
            Self::Json { fields, .. } => fields.clone(),
        }
    }

    pub(super) fn read(&mut self, payload: &[u8]) -> Scan<()> {
        match self {
            Self::Json { reader, .. } => reader.read(payload),
        }
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Json { reader, .. } => reader.rows(),
        }
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        match self {
            Self::Json { reader, .. } => reader.finish(),
        }
    }
}
