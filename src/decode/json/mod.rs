//! JSON values into Arrow columns, by a declared schema.
//!
//! Owns what is accepted (docs/reference/json.md): strict RFC 8259, and each column's type to the letter. A value is
//! read once, byte by byte, straight into the columns' buffers; a flaw rolls its row back and leaves the others.
//! Allocates nothing per value, but for a bad one.

mod column;
mod number;
mod object;
mod rescue;
mod scan;
mod time;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBufferBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

use super::bytes::ByteColumn;
use super::error::DecodeError;
use super::flaw::{Flaw, Part, Reject, Scan, Step};
use super::nested::{Growing, List, Map, map_value};
use super::payload::JSON_TEXT;
use crate::config::{Framing, Json, RESCUE_COLUMN, TimestampFormat, UnknownFields};
use crate::schema::ddl::format_type;
use column::{Column, Values};
use object::{Object, Unknown};
use rescue::Rescued;
use scan::Scanner;

/// The columns of a chunk while it grows.
pub(super) struct Reader {
    root: Object,
    framing: Framing,
    /// Documents may be what Kafka Connect makes of them: `{"schema": …, "payload": …}`.
    wrapped: bool,
    scratch: Vec<u8>,
}

/// Bytes of a schema registry's prefix: a zero and the schema's id.
const PREFIX: usize = 5;

impl Reader {
    /// Rows, one column for each that is declared, and [`RESCUE_COLUMN`] if unknown fields are rescued.
    pub(super) fn new(spec: &Json, part: Part) -> Result<Self, DecodeError> {
        let mut builder = Builder::new(spec, part);
        let root = builder.row(spec.schema.arrow().fields())?;
        builder.all_formats_used()?;
        Ok(Self { root, framing: spec.framing, wrapped: false, scratch: Vec::new() })
    }

    /// Change events: the declared row twice, as the STRUCTs `before` (every column of it nullable) and `after`, then
    /// these columns. All else that an envelope holds is left out.
    pub(super) fn of_changes(spec: &Json, others: &[FieldRef]) -> Result<Self, DecodeError> {
        let mut builder = Builder::new(spec, Part::Change);
        let row = spec.schema.arrow().fields();
        let nullable: Fields = row.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let rows = [("before", builder.row(&nullable)?), ("after", builder.row(row)?)];
        builder.all_formats_used()?;
        let mut columns: Vec<Column> =
            rows.into_iter().map(|(name, row)| row.into_column(name)).collect();
        for field in others {
            columns.push(builder.column(field, field.name())?);
        }
        let fields = columns.iter().map(|column| Arc::clone(column.field())).collect();
        let root = Object::new(fields, columns, Unknown::Ignore);
        Ok(Self { root, framing: spec.framing, wrapped: true, scratch: Vec::new() })
    }

    /// Looks into documents that are `{"schema": …, "payload": …}`.
    pub(super) fn unwrapping(mut self) -> Self {
        let declares = |name: &str| self.root.fields().iter().any(|field| field.name() == name);
        self.wrapped = !declares("schema") && !declares("payload");
        self
    }

    /// The columns that `finish` gives.
    pub(super) fn fields(&self) -> &Fields {
        self.root.fields()
    }

    pub(super) fn rows(&self) -> usize {
        self.root.len()
    }

    pub(super) fn last_is_null(&self, column: usize) -> bool {
        self.root.column(column).last_is_null()
    }

    pub(super) fn last_text(&self, column: usize) -> Option<&[u8]> {
        self.root.column(column).last_text()
    }

    pub(super) fn last_long(&self, column: usize) -> Option<i64> {
        self.root.column(column).last_long()
    }

    /// Appends one row, or none when the value is flawed.
    pub(super) fn read(&mut self, value: &[u8]) -> Scan<()> {
        let rows = self.root.len();
        let json = Scanner::new(value, &mut self.scratch);
        let read = match self.framing {
            Framing::Confluent => behind_prefix(value)
                .and_then(|()| document(&mut self.root, json.behind(PREFIX), self.wrapped)),
            Framing::Plain | Framing::SingleObject => document(&mut self.root, json, self.wrapped),
        };
        if read.is_err() {
            self.root.truncate(rows);
        }
        read
    }

    /// Takes the last row back.
    pub(super) fn undo_last(&mut self) {
        self.root.truncate(self.root.len() - 1);
    }

    /// Appends a row of nulls.
    pub(super) fn push_null(&mut self) {
        self.root.append_null();
    }

    /// The columns so far, in the order of `fields`; leaves them empty.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.root.finish().1
    }
}

/// Whether a schema registry's prefix stands there. Its id is not looked at: the declared schema counts.
fn behind_prefix(value: &[u8]) -> Scan<()> {
    match value {
        [] => Err(Reject::new(Flaw::Empty, 0)),
        [0, ..] if value.len() < PREFIX => Err(Reject::new(Flaw::EndsEarly, value.len())),
        [0, ..] => Ok(()),
        _ => Err(Reject::new(Flaw::NoPrefix, 0)),
    }
}

/// One object, and nothing around it but blanks.
#[inline]
fn document(root: &mut Object, mut json: Scanner<'_>, wrapped: bool) -> Scan<()> {
    let json = &mut json;
    json.skip_blanks();
    if json.peek() != Some(b'{') {
        return no_object(json);
    }
    if wrapped && is_wrapper(json.rest()) {
        wrapper(root, json)?;
    } else {
        root.read(json)?;
    }
    json.skip_blanks();
    match json.peek() {
        None => Ok(()),
        Some(byte) => json.fail(Flaw::Trailing(byte)),
    }
}

/// Whether an object begins as Kafka Connect's converter writes it with `schemas.enable`.
fn is_wrapper(text: &[u8]) -> bool {
    let first = text[1..].trim_ascii_start();
    first.starts_with(b"\"schema\"") || first.starts_with(b"\"payload\"")
}

/// The object in the field `payload` of the object whose `{` stands here.
fn wrapper(root: &mut Object, json: &mut Scanner<'_>) -> Scan<()> {
    let mut found = false;
    let inside = |reject: Box<Reject>| reject.inside(Step::Field("payload".into()));
    json.enter()?;
    loop {
        let name_at = json.at();
        if json.peek() != Some(b'"') {
            return json.unexpected("a field name in quotes");
        }
        let is_payload = json.text()? == b"payload";
        json.colon()?;
        match json.peek() {
            _ if !is_payload => json.skip_value()?,
            _ if found => return Err(inside(Reject::new(Flaw::FieldTwice, name_at))),
            Some(b'{') => root.read(json).map_err(inside)?,
            None => return json.fail(Flaw::EndsEarly),
            Some(_) => return Err(inside(Reject::new(Flaw::NotAnObject(json.kind()?), json.at()))),
        }
        found |= is_payload;
        if !json.another(b'}')? {
            break;
        }
    }
    if found { Ok(()) } else { Err(Reject::new(Flaw::NoPayload, json.at() - 1)) }
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

/// Makes the columns of a schema.
struct Builder<'a> {
    spec: &'a Json,
    part: Part,
    /// Timestamp formats that no column has used.
    unused: BTreeSet<&'a str>,
}

impl<'a> Builder<'a> {
    fn new(spec: &'a Json, part: Part) -> Self {
        Self { spec, part, unused: spec.timestamps.keys().map(String::as_str).collect() }
    }

    fn all_formats_used(&self) -> Result<(), DecodeError> {
        match self.unused.first() {
            Some(column) => {
                let column = (*column).to_owned();
                Err(DecodeError::TimestampFormat { part: self.part, column })
            }
            None => Ok(()),
        }
    }

    /// A row, whose unknown fields may be rescued.
    fn row(&mut self, fields: &Fields) -> Result<Object, DecodeError> {
        let columns = self.columns(fields, "")?;
        Ok(match self.spec.unknown_fields {
            UnknownFields::Ignore => Object::new(fields.clone(), columns, Unknown::Ignore),
            UnknownFields::Fail => Object::new(fields.clone(), columns, Unknown::Refuse),
            UnknownFields::Rescue => {
                let rescued = Arc::new(Field::new(RESCUE_COLUMN, DataType::Utf8, true));
                let fields = fields.iter().cloned().chain([rescued]).collect();
                Object::new(fields, columns, Unknown::Rescue(Rescued::new()))
            }
        })
    }

    /// A STRUCT.
    fn object(&mut self, fields: &Fields, path: &str) -> Result<Object, DecodeError> {
        let columns = self.columns(fields, path)?;
        let unknown = match self.spec.unknown_fields {
            UnknownFields::Ignore | UnknownFields::Rescue => Unknown::Ignore,
            UnknownFields::Fail => Unknown::Refuse,
        };
        Ok(Object::new(fields.clone(), columns, unknown))
    }

    fn columns(&mut self, fields: &Fields, path: &str) -> Result<Vec<Column>, DecodeError> {
        let columns = fields.iter().map(|field| match path {
            "" => self.column(field, field.name()),
            _ => self.column(field, &format!("{path}.{}", field.name())),
        });
        columns.collect()
    }

    /// `path`: names from the top, with dots; an array's elements are `element` and a map's values `value`, as in Spark.
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
            DataType::Utf8 if field.metadata().contains_key(JSON_TEXT) => {
                Values::JsonText(ByteColumn::new())
            }
            DataType::Utf8 => Values::String(ByteColumn::new()),
            DataType::Binary => Values::Binary(ByteColumn::new()),
            DataType::List(element) => {
                let elements = self.column(element, &format!("{path}.element"))?;
                Values::List(Box::new(List::new(elements)))
            }
            DataType::Map(entries, _) => {
                Values::Map(Box::new(Map::new(self.map_values(entries, path)?)))
            }
            DataType::Struct(fields) => Values::Struct(Box::new(self.object(fields, path)?)),
            other => {
                let (part, column) = (self.part, path.to_owned());
                return Err(DecodeError::Type { part, column, data_type: format_type(other) });
            }
        };
        Ok(Column::new(Arc::clone(field), values))
    }

    fn map_values(&mut self, entries: &FieldRef, path: &str) -> Result<Column, DecodeError> {
        match map_value(entries) {
            Some(value) => self.column(value, &format!("{path}.value")),
            None => Err(DecodeError::MapKey { part: self.part, column: path.to_owned() }),
        }
    }

    /// The format declared for a column, whose name may differ in case.
    fn format(&mut self, path: &str) -> TimestampFormat {
        let mut formats = self.spec.timestamps.iter();
        let Some((name, format)) = formats.find(|(name, _)| name.eq_ignore_ascii_case(path)) else {
            return TimestampFormat::Iso8601;
        };
        self.unused.remove(name.as_str());
        *format
    }
}

#[cfg(test)]
mod tests;
