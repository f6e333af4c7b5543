//! One payload, a value or a key, by its format: bytes → columns.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::flaw::{Part, Scan};
use super::{DecodeError, Schemas, avro, json, raw};
use crate::config::Payload;

/// Metadata of an Arrow field: a STRING column with it takes any value, as JSON text.
pub(super) const JSON_TEXT: &str = "sluice.json_text";

/// Reads payloads of one format; each one read is a row, or none at all.
pub(super) enum Reader {
    Json(json::Reader),
    Avro(Box<avro::Reader>),
    Raw(raw::Reader),
}

impl Reader {
    pub(super) fn new(spec: &Payload, part: Part, schemas: &Schemas) -> Result<Self, DecodeError> {
        match spec {
            Payload::Json(spec) => Ok(Self::Json(json::Reader::new(spec, part)?)),
            Payload::String => Ok(Self::Raw(raw::Reader::strings())),
            Payload::Bytes => Ok(Self::Raw(raw::Reader::bytes())),
            Payload::Avro(spec) => {
                let known = schemas.avro(spec, part)?;
                Ok(Self::Avro(Box::new(avro::Reader::new(spec, known)?)))
            }
        }
    }

    /// Reads Debezium's envelopes: `before` and `after`, STRUCTs of the row that `spec` describes, with the same fields
    /// in the same order, then these columns.
    pub(super) fn of_changes(
        spec: &Payload,
        others: &[FieldRef],
        schemas: &Schemas,
    ) -> Result<Self, DecodeError> {
        match spec {
            Payload::Json(spec) => Ok(Self::Json(json::Reader::of_changes(spec, others)?)),
            Payload::Avro(spec) => {
                let known = schemas.avro(spec, Part::Change)?;
                Ok(Self::Avro(Box::new(avro::Reader::of_changes(spec, others, known)?)))
            }
            Payload::String | Payload::Bytes => Err(DecodeError::Envelope),
        }
    }

    /// Also takes what Kafka Connect's JSON converter writes with `schemas.enable`: `{"schema": …, "payload": …}`.
    pub(super) fn unwrapping(self) -> Self {
        match self {
            Self::Json(reader) => Self::Json(reader.unwrapping()),
            Self::Avro(_) | Self::Raw(_) => self,
        }
    }

    /// Whether a payload is a record of fields; otherwise its one column is the payload.
    pub(super) fn is_record(&self) -> bool {
        match self {
            Self::Json(_) => true,
            Self::Avro(reader) => reader.is_record(),
            Self::Raw(_) => false,
        }
    }

    /// The columns that `finish` gives.
    pub(super) fn fields(&self) -> Vec<FieldRef> {
        match self {
            Self::Json(reader) => reader.fields().iter().map(Arc::clone).collect(),
            Self::Avro(reader) => reader.fields().to_vec(),
            Self::Raw(reader) => vec![reader.field()],
        }
    }

    /// Sees to it that the payload's schema is known, before `read`.
    ///
    /// # Errors
    /// What no policy for bad records covers.
    #[inline]
    pub(super) fn prepare(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        match self {
            Self::Avro(reader) => reader.prepare(payload),
            Self::Json(_) | Self::Raw(_) => Ok(()),
        }
    }

    /// Whether the rows take as much memory as a chunk may, though their bytes are few.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Avro(reader) => reader.is_full(),
            Self::Json(_) | Self::Raw(_) => false,
        }
    }

    #[inline]
    pub(super) fn read(&mut self, payload: &[u8]) -> Scan<()> {
        match self {
            Self::Json(reader) => reader.read(payload),
            Self::Avro(reader) => reader.read(payload),
            Self::Raw(reader) => reader.read(payload),
        }
    }

    /// Takes the last row back; there is one.
    pub(super) fn undo_last(&mut self) {
        match self {
            Self::Json(reader) => reader.undo_last(),
            Self::Avro(reader) => reader.undo_last(),
            Self::Raw(reader) => reader.undo_last(),
        }
    }

    /// Appends a row of nulls, in columns that allow none too.
    pub(super) fn push_null(&mut self) {
        match self {
            Self::Json(reader) => reader.push_null(),
            Self::Avro(reader) => reader.push_null(),
            Self::Raw(reader) => reader.push_null(),
        }
    }

    /// Whether a column of the last row is null.
    pub(super) fn last_is_null(&self, column: usize) -> bool {
        match self {
            Self::Json(reader) => reader.last_is_null(column),
            Self::Avro(reader) => reader.last_is_null(column),
            Self::Raw(_) => unreachable!("no reader of change events"),
        }
    }

    /// A STRING column of the last row.
    pub(super) fn last_text(&self, column: usize) -> Option<&[u8]> {
        match self {
            Self::Json(reader) => reader.last_text(column),
            Self::Avro(reader) => reader.last_text(column),
            Self::Raw(_) => unreachable!("no reader of change events"),
        }
    }

    /// A BIGINT column of the last row.
    pub(super) fn last_long(&self, column: usize) -> Option<i64> {
        match self {
            Self::Json(reader) => reader.last_long(column),
            Self::Avro(reader) => reader.last_long(column),
            Self::Raw(_) => unreachable!("no reader of change events"),
        }
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Json(reader) => reader.rows(),
            Self::Avro(reader) => reader.rows(),
            Self::Raw(reader) => reader.rows(),
        }
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        match self {
            Self::Json(reader) => reader.finish(),
            Self::Avro(reader) => reader.finish(),
            Self::Raw(reader) => vec![reader.finish()],
        }
    }
}
