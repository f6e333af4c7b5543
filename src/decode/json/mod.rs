//! JSON values into Arrow columns, by a declared schema.
//!
//! Owns what is accepted (docs/reference/json.md): strict RFC 8259, and each column's type to the letter. A value is
//! read once, byte by byte, straight into the columns' buffers; a flaw rolls its row back and leaves the others.
//! Allocates nothing per value, but for a bad one.

mod column;
mod number;
mod object;
mod scan;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBufferBuilder};
use arrow::datatypes::{DataType, FieldRef, Fields, TimeUnit};

use super::bytes::ByteColumn;
use super::error::DecodeError;
use super::flaw::{Flaw, Reject, Scan};
use crate::config::{Json, TimestampFormat, UnknownFields};
use crate::schema::ddl::format_type;
use column::{Column, Values};
use object::Object;
use scan::Scanner;

/// The value columns of a chunk while it grows.
pub(super) struct Reader {
    root: Object,
    scratch: Vec<u8>,
}

impl Reader {
    pub(super) fn new(spec: &Json) -> Result<Self, DecodeError> {
        let mut builder = Builder { spec, formats: spec.timestamps.clone() };
        let root = builder.object(spec.schema.arrow().fields(), "")?;
        match builder.formats.into_keys().next() {
            Some(column) => Err(DecodeError::TimestampFormat { column }),
            None => Ok(Self { root, scratch: Vec::new() }),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.root.len()
    }

    /// Appends one row, or none when the value is flawed.
    pub(super) fn read(&mut self, value: &[u8]) -> Scan<()> {
        let rows = self.root.len();
        let mut json = Scanner::new(value, &mut self.scratch);
        let read = document(&mut self.root, &mut json);
        if read.is_err() {
            self.root.truncate(rows);
        }
        read
    }

    /// The value columns so far, in the schema's order; leaves them empty.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.root.finish().1
    }
}

/// One object, and nothing around it but blanks.
fn document(root: &mut Object, json: &mut Scanner<'_>) -> Scan<()> {
    json.skip_blanks();
    if json.peek() != Some(b'{') {
        return no_object(json);
    }
    root.read(json)?;
    json.skip_blanks();
    match json.peek() {
        None => Ok(()),
        Some(byte) => json.fail(Flaw::Trailing(byte)),
    }
}

#[cold]
fn no_object(json: &Scanner<'_>) -> Scan<()> {
    match json.peek() {
        None => json.fail(Flaw::Empty),
        Some(0) if json.at() == 0 => json.fail(Flaw::WireFormat),
        _ if json.rest().starts_with(b"\xEF\xBB\xBF") => json.fail(Flaw::ByteOrderMark),
        _ => Err(Reject::new(Flaw::NotAnObject(json.kind()?), json.at())),
    }
}

/// Makes the columns of a schema. Takes each timestamp format that it uses out of `formats`.
struct Builder<'a> {
    spec: &'a Json,
    formats: BTreeMap<String, TimestampFormat>,
}

impl Builder<'_> {
    fn object(&mut self, fields: &Fields, path: &str) -> Result<Object, DecodeError> {
        let columns: Result<Vec<Column>, DecodeError> = fields
            .iter()
            .map(|field| match path {
                "" => self.column(field, field.name()),
                _ => self.column(field, &format!("{path}.{}", field.name())),
            })
            .collect();
        Ok(Object::new(fields.clone(), columns?, self.spec.unknown_fields == UnknownFields::Fail))
    }

    /// `path`: names from the top, with dots; elements of arrays and values of maps go by the column's own.
    fn column(&mut self, field: &FieldRef, path: &str) -> Result<Column, DecodeError> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(precision, scale @ 0..) => {
                let (precision, scale) = (*precision, scale.cast_unsigned());
                Values::Decimal { values: Vec::new(), precision, scale }
            }
            DataType::Date32 => Values::Date { values: Vec::new(), format: self.format(path) },
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let zone = zone.as_ref().map(|_| self.spec.timezone);
                Values::Timestamp { values: Vec::new(), format: self.format(path), zone }
            }
            DataType::Utf8 => Values::String(ByteColumn::new()),
            DataType::Binary => Values::Binary(ByteColumn::new()),
            DataType::List(element) => Values::list(self.column(element, path)?),
            DataType::Map(entries, _) => Values::map(self.map_values(entries, path)?),
            DataType::Struct(fields) => Values::Struct(Box::new(self.object(fields, path)?)),
            other => {
                let (column, data_type) = (path.to_owned(), format_type(other));
                return Err(DecodeError::Type { column, data_type });
            }
        };
        Ok(Column::new(Arc::clone(field), values))
    }

    fn map_values(&mut self, entries: &FieldRef, path: &str) -> Result<Column, DecodeError> {
        match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 && *pair[0].data_type() == DataType::Utf8 => {
                self.column(&pair[1], path)
            }
            _ => Err(DecodeError::MapKey { column: path.to_owned() }),
        }
    }

    /// The format declared for a column, whose name may differ in case.
    fn format(&mut self, path: &str) -> TimestampFormat {
        let name = self.formats.keys().find(|name| name.eq_ignore_ascii_case(path)).cloned();
        name.and_then(|name| self.formats.remove(&name)).unwrap_or(TimestampFormat::Iso8601)
    }
}

#[cfg(test)]
mod tests;
