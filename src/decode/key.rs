//! The record key as one column.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::flaw::{Part, Scan};
use super::nested::structs;
use super::{DecodeError, Schemas, payload};
use crate::config::DecodeKey;

/// The key's column of a chunk while it grows: a STRUCT of the payload's columns where the payload is a record,
/// otherwise its one column. Null where a record has no key.
pub(super) struct KeyRows {
    reader: payload::Reader,
    field: FieldRef,
    /// Of a STRUCT.
    nulls: NullBufferBuilder,
}

impl KeyRows {
    /// `wrapped`: Kafka Connect wrote the keys, maybe with their schema around them.
    pub(super) fn new(
        spec: &DecodeKey,
        wrapped: bool,
        schemas: &Schemas,
    ) -> Result<Self, DecodeError> {
        let mut reader = payload::Reader::new(&spec.payload, Part::Key, schemas)?;
        if wrapped {
            reader = reader.unwrapping();
        }
        let fields = reader.fields();
        let data_type = match fields.as_slice() {
            [only] if !reader.is_record() => only.data_type().clone(),
            _ => DataType::Struct(Fields::from(fields)),
        };
        let field = Arc::new(Field::new(&spec.column, data_type, true));
        Ok(Self { reader, field, nulls: NullBufferBuilder::new(0) })
    }

    pub(super) fn field(&self) -> &FieldRef {
        &self.field
    }

    /// Columns of the value that are also a field of the key, by name and type, each with the place in the key: what
    /// a record without a value says of them.
    pub(super) fn shared_with(&self, values: &[FieldRef]) -> Vec<(usize, usize)> {
        let DataType::Struct(fields) = self.field.data_type() else {
            return Vec::new();
        };
        let is_shared = |field: &FieldRef, value: &FieldRef| {
            field.name().eq_ignore_ascii_case(value.name())
                && field.data_type() == value.data_type()
        };
        let place = |value: &FieldRef| fields.iter().position(|field| is_shared(field, value));
        let places = values.iter().enumerate();
        places.filter_map(|(at, value)| place(value).map(|part| (at, part))).collect()
    }

    /// Appends a record's key, or nothing when it is flawed.
    pub(super) fn read(&mut self, key: Option<&[u8]>) -> Scan<()> {
        match key {
            Some(key) => self.reader.read(key).map_err(|reject| reject.of_key())?,
            None => self.reader.push_null(),
        }
        self.nulls.append(key.is_some());
        Ok(())
    }

    pub(super) fn prepare(&mut self, key: &[u8]) -> Result<(), DecodeError> {
        self.reader.prepare(key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.reader.is_full()
    }

    /// The column so far; leaves it empty.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        let rows = self.reader.rows();
        let mut columns = self.reader.finish();
        match self.field.data_type() {
            DataType::Struct(fields) if self.reader.is_record() => {
                structs(fields, columns, nulls, rows)
            }
            _ => columns.pop().expect("a key that is no record has one column"),
        }
    }
}
