//! One column while a chunk grows: a JSON value in, a value at the end of Arrow buffers out.
//!
//! Each `read` appends exactly one value or answers with a flaw, after which the caller truncates: columns can be left
//! uneven in between.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, NullBufferBuilder};
use arrow::datatypes::{
    Date32Type, Decimal128Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::Tz;

use super::super::buffers::primitive;
use super::super::bytes::ByteColumn;
use super::super::flaw::{Flaw, Found, Reject, Scan, Step};
use super::super::nested::{Growing, List, Map, structs};
use super::number::Number;
use super::object::Object;
use super::scan::Scanner;
use super::time;
use crate::config::TimestampFormat;
use crate::schema::ddl::format_type;

/// A column, or the elements of an array, or the values of a map.
pub(super) struct Column {
    field: FieldRef,
    nulls: NullBufferBuilder,
    values: Values,
    len: usize,
}

/// The buffers of a column by its type. A null takes a place in them.
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: u8,
    },
    Date {
        values: Vec<i32>,
        format: TimestampFormat,
    },
    /// `zone`: where text without one is local; `None` for TIMESTAMP_NTZ.
    Timestamp {
        values: Vec<i64>,
        format: TimestampFormat,
        zone: Option<Tz>,
    },
    String(ByteColumn),
    /// Any value, as its text.
    JsonText(ByteColumn),
    Binary(ByteColumn),
    List(Box<List<Column>>),
    Map(Box<Map<Column>>),
    Struct(Box<Object>),
}

impl Column {
    pub(super) fn new(field: FieldRef, values: Values) -> Self {
        Self { field, nulls: NullBufferBuilder::new(0), values, len: 0 }
    }

    /// Whether the last value is null.
    pub(super) fn last_is_null(&self) -> bool {
        !self.nulls.is_valid(self.len - 1)
    }

    /// The last value, if it is text.
    pub(super) fn last_text(&self) -> Option<&[u8]> {
        match &self.values {
            Values::String(texts) if !self.last_is_null() => Some(texts.get(self.len - 1)),
            _ => None,
        }
    }

    /// The last value, if it is a BIGINT.
    pub(super) fn last_long(&self) -> Option<i64> {
        match &self.values {
            Values::Int64(values) if !self.last_is_null() => values.last().copied(),
            _ => None,
        }
    }

    /// Reads the value at the cursor.
    #[inline]
    pub(super) fn read(&mut self, json: &mut Scanner<'_>) -> Scan<()> {
        let start = json.at();
        let Some(first) = json.peek() else {
            return json.fail(Flaw::EndsEarly);
        };
        if first == b'n' {
            return self.read_null(json);
        }
        let read = match (&mut self.values, first) {
            (Values::String(column), b'"') => column.push_with(|out| json.string_into(out)),
            (Values::Int64(values), b'-' | b'0'..=b'9') => {
                push(values, json, start, |n| n.integer())
            }
            (Values::Int32(values), b'-' | b'0'..=b'9') => push(values, json, start, narrow),
            (Values::Float64(values), b'-' | b'0'..=b'9') => {
                push(values, json, start, |n| n.double())
            }
            (Values::Decimal { values, precision, scale }, b'-' | b'0'..=b'9') => {
                push(values, json, start, |number| number.decimal(*precision, *scale))
            }
            (Values::Timestamp { values, format: TimestampFormat::Iso8601, zone }, b'"') => {
                push_text(values, json, start, |text| time::timestamp(text, *zone))
            }
            (
                Values::Timestamp {
                    values,
                    format:
                        format @ (TimestampFormat::EpochSeconds
                        | TimestampFormat::EpochMillis
                        | TimestampFormat::EpochMicros
                        | TimestampFormat::EpochNanos
                        | TimestampFormat::EpochDays),
                    ..
                },
                b'-' | b'0'..=b'9',
            ) => push(values, json, start, |number| time::epoch_micros(number, *format)),
            (Values::List(list), b'[') => list.read(json),
            (Values::Struct(object), b'{') => object.read(json),
            _ => self.read_rarer(json, first, start),
        };
        match read {
            Ok(()) => {
                self.nulls.append_non_null();
                self.len += 1;
                Ok(())
            }
            Err(reject) => Err(reject.declared(|| format_type(self.field.data_type()))),
        }
    }

    fn read_rarer(&mut self, json: &mut Scanner<'_>, first: u8, start: usize) -> Scan<()> {
        match (&mut self.values, first) {
            (Values::Boolean(values), b't') => json.literal("true").map(|()| values.append(true)),
            (Values::Boolean(values), b'f') => json.literal("false").map(|()| values.append(false)),
            (Values::Int8(values), b'-' | b'0'..=b'9') => push(values, json, start, narrow),
            (Values::Int16(values), b'-' | b'0'..=b'9') => push(values, json, start, narrow),
            (Values::Float32(values), b'-' | b'0'..=b'9') => {
                push(values, json, start, |n| n.float())
            }
            (Values::Date { values, format: TimestampFormat::Iso8601 }, b'"') => {
                push_text(values, json, start, time::date)
            }
            (Values::Date { values, format }, b'-' | b'0'..=b'9')
                if *format != TimestampFormat::Iso8601 =>
            {
                push(values, json, start, |number| time::epoch_days(number, *format))
            }
            (Values::Binary(column), b'"') => column.push_with(|out| {
                let text = json.text()?;
                BASE64.decode_vec(text, out).map_err(|_| Reject::new(Flaw::Base64, start))
            }),
            (Values::Map(map), b'{') => map.read(json),
            (Values::JsonText(column), _) => column.push_with(|out| {
                json.skip_value()?;
                out.extend_from_slice(json.since(start));
                Ok(())
            }),
            _ => match json.kind()? {
                Found::Number => {
                    json.number().and(Err(Reject::new(Flaw::Type(Found::Number), start)))
                }
                found => json.fail(Flaw::Type(found)),
            },
        }
    }

    #[inline]
    fn read_null(&mut self, json: &mut Scanner<'_>) -> Scan<()> {
        let start = json.at();
        json.literal("null")?;
        if !self.field.is_nullable() {
            return Err(Reject::new(Flaw::Null, start));
        }
        self.append_null();
        Ok(())
    }

    /// Appends a null, for a column that allows it or under a struct that is null itself.
    pub(super) fn append_null(&mut self) {
        self.nulls.append_null();
        self.len += 1;
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date { values, .. } => values.push(0),
            Values::Int64(values) | Values::Timestamp { values, .. } => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::String(column) | Values::JsonText(column) | Values::Binary(column) => {
                column.push(&[]);
            }
            Values::List(list) => list.close(),
            Values::Map(map) => map.close(),
            Values::Struct(object) => object.append_null(),
        }
    }
}

impl Growing for Column {
    fn field(&self) -> &FieldRef {
        &self.field
    }

    #[inline]
    fn len(&self) -> usize {
        self.len
    }

    fn truncate(&mut self, len: usize) {
        self.nulls.truncate(len);
        self.len = len;
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Int8(values) => values.truncate(len),
            Values::Int16(values) => values.truncate(len),
            Values::Int32(values) | Values::Date { values, .. } => values.truncate(len),
            Values::Int64(values) | Values::Timestamp { values, .. } => values.truncate(len),
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal { values, .. } => values.truncate(len),
            Values::String(column) | Values::JsonText(column) | Values::Binary(column) => {
                column.truncate(len);
            }
            Values::List(list) => list.truncate(len),
            Values::Map(map) => map.truncate(len),
            Values::Struct(object) => object.truncate(len),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        self.len = 0;
        let data_type = self.field.data_type();
        match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls, data_type),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls, data_type),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls, data_type),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls, data_type),
            Values::Float32(values) => primitive::<Float32Type>(values, nulls, data_type),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls, data_type),
            Values::Decimal { values, .. } => primitive::<Decimal128Type>(values, nulls, data_type),
            Values::Date { values, .. } => primitive::<Date32Type>(values, nulls, data_type),
            Values::Timestamp { values, .. } => {
                primitive::<TimestampMicrosecondType>(values, nulls, data_type)
            }
            Values::String(column) | Values::JsonText(column) => column.finish_strings(nulls),
            Values::Binary(column) => column.finish_binaries(nulls),
            Values::List(list) => list.finish(nulls),
            Values::Map(map) => map.finish(nulls, data_type),
            Values::Struct(object) => {
                let (fields, arrays, len) = object.finish();
                structs(&fields, arrays, nulls, len)
            }
        }
    }
}

impl List<Column> {
    fn read(&mut self, json: &mut Scanner<'_>) -> Scan<()> {
        json.enter()?;
        if !json.closes(b']') {
            loop {
                if let Err(reject) = self.elements.read(json) {
                    return Err(reject.inside(Step::Item(self.open())));
                }
                if !json.another(b']')? {
                    break;
                }
            }
        }
        self.close();
        Ok(())
    }
}

impl Map<Column> {
    fn read(&mut self, json: &mut Scanner<'_>) -> Scan<()> {
        let opening = json.at();
        json.enter()?;
        if !json.closes(b'}') {
            loop {
                if json.peek() != Some(b'"') {
                    return json.unexpected("a key in quotes");
                }
                self.keys.push_with(|out| json.string_into(out))?;
                json.colon()?;
                if let Err(reject) = self.values.read(json) {
                    return Err(reject.inside(Step::Item(self.open())));
                }
                if !json.another(b'}')? {
                    break;
                }
            }
        }
        if self.has_twins() {
            return Err(Reject::new(Flaw::KeyTwice, opening));
        }
        self.close();
        Ok(())
    }
}

/// Reads a number and appends what `convert` makes of it.
#[inline]
fn push<T>(
    values: &mut Vec<T>,
    json: &mut Scanner<'_>,
    start: usize,
    convert: impl FnOnce(&Number<'_>) -> Result<T, Flaw>,
) -> Scan<()> {
    let number = json.number()?;
    values.push(convert(&number).map_err(|flaw| Reject::new(flaw, start))?);
    Ok(())
}

/// Reads a string and appends what `convert` makes of it.
#[inline]
fn push_text<T>(
    values: &mut Vec<T>,
    json: &mut Scanner<'_>,
    start: usize,
    convert: impl FnOnce(&[u8]) -> Result<T, Flaw>,
) -> Scan<()> {
    values.push(convert(json.text()?).map_err(|flaw| Reject::new(flaw, start))?);
    Ok(())
}

#[inline]
fn narrow<T: TryFrom<i64>>(number: &Number<'_>) -> Result<T, Flaw> {
    T::try_from(number.integer()?).map_err(|_| Flaw::IntegerRange)
}
