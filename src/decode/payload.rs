//! One payload, a value or a key, by its format: bytes → columns.

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::flaw::Scan;
use super::{DecodeError, Schemas, avro, json};
use crate::config::Payload;

/// Metadata of an Arrow field: a STRING column with it takes any value, as JSON text.
pub(super) const JSON_TEXT: &str = "sluice.json_text";

/// Reads payloads of one format; each one read is a row, or none at all.
pub(super) enum Reader {
    Json { fields: Vec<FieldRef>, reader: json::Reader },
    Avro(Box<avro::Reader>),
}

impl Reader {
    pub(super) fn new(spec: &Payload, schemas: &Schemas) -> Result<Self, DecodeError> {
        match spec {
            Payload::Json(spec) => Ok(Self::Json {
                fields: spec.schema.arrow().fields().to_vec(),
                reader: json::Reader::new(spec)?,
            }),
            Payload::Avro(spec) => {
                let known = schemas.avro(spec, avro::Part::Value)?;
                Ok(Self::Avro(Box::new(avro::Reader::new(spec, known)?)))
            }
            Payload::String | Payload::Bytes => {
                unimplemented!("refused by the configuration")
            }
        }
    }

    /// The columns that `finish` gives.
    pub(super) fn fields(&self) -> Vec<FieldRef> {
        match self {
            Self::Json { fields, .. } => fields.clone(),
            Self::Avro(reader) => reader.fields().to_vec(),
        }
    }

    /// Sees to it that the payload's schema is known, before `read`.
    ///
    /// # Errors
    /// What no policy for bad records covers.
    #[inline]
    pub(super) fn prepare(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        match self {
            Self::Json { .. } => Ok(()),
            Self::Avro(reader) => reader.prepare(payload),
        }
    }

    /// Whether the rows take as much memory as a chunk may, though their bytes are few.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Json { .. } => false,
            Self::Avro(reader) => reader.is_full(),
        }
    }

    pub(super) fn read(&mut self, payload: &[u8]) -> Scan<()> {
        match self {
            Self::Json { reader, .. } => reader.read(payload),
            Self::Avro(reader) => reader.read(payload),
        }
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Json { reader, .. } => reader.rows(),
            Self::Avro(reader) => reader.rows(),
        }
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        match self {
            Self::Json { reader, .. } => reader.finish(),
            Self::Avro(reader) => reader.finish(),
        }
    }
}
