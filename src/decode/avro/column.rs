//! One column while a chunk grows: Arrow buffers that are written at the end and can be cut back.
//!
//! A value is appended in two moves, `values` and then `filled`; when something fails in between, the caller truncates.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, NullBufferBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};

use super::super::buffers::primitive;
use super::super::bytes::ByteColumn;
use super::super::nested::{Growing, List, Map, map_value, structs};

/// A column, or the elements of an array, or the values of a map.
pub(super) struct Column {
    field: FieldRef,
    nulls: NullBufferBuilder,
    pub(super) values: Values,
}

/// The buffers of a column, by what is stored. A null takes a place in them.
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    /// DATE, too.
    Int32(Vec<i32>),
    /// TIMESTAMP and TIMESTAMP_NTZ, too.
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    String(ByteColumn),
    Binary(ByteColumn),
    List(Box<List<Column>>),
    Map(Box<Map<Column>>),
    Struct(Vec<Column>),
}

impl Column {
    /// `None`: Avro's values have no place in such a column.
    pub(super) fn new(field: &FieldRef) -> Option<Self> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 | DataType::Date32 => Values::Int32(Vec::new()),
            DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Int64(Vec::new())
            }
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(..) => Values::Decimal(Vec::new()),
            DataType::Utf8 => Values::String(ByteColumn::new()),
            DataType::Binary => Values::Binary(ByteColumn::new()),
            DataType::List(element) => Values::List(Box::new(List::new(Self::new(element)?))),
            DataType::Map(entries, _) => {
                Values::Map(Box::new(Map::new(Self::new(map_value(entries)?)?)))
            }
            DataType::Struct(fields) => {
                Values::Struct(fields.iter().map(Self::new).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        Some(Self { field: Arc::clone(field), nulls: NullBufferBuilder::new(0), values })
    }

    /// Says that the value just appended is one.
    #[inline]
    pub(super) fn filled(&mut self) {
        self.nulls.append_non_null();
    }

    /// Appends a null, for a column that allows it or under a struct that is null itself.
    pub(super) fn append_null(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::String(column) | Values::Binary(column) => column.push(&[]),
            Values::List(list) => list.close(),
            Values::Map(map) => map.close(),
            Values::Struct(columns) => columns.iter_mut().for_each(Self::append_null),
        }
    }

    /// Whether the last value is null.
    pub(super) fn last_is_null(&self) -> bool {
        self.len().checked_sub(1).is_some_and(|last| !self.nulls.is_valid(last))
    }

    /// The last value of a STRING or BINARY column.
    pub(super) fn last_text(&self) -> Option<&[u8]> {
        match &self.values {
            Values::String(column) | Values::Binary(column) if !self.last_is_null() => {
                Some(column.get(column.len().checked_sub(1)?))
            }
            _ => None,
        }
    }

    /// The last value of a BIGINT column.
    pub(super) fn last_long(&self) -> Option<i64> {
        match &self.values {
            Values::Int64(values) if !self.last_is_null() => values.last().copied(),
            _ => None,
        }
    }
}

impl Growing for Column {
    fn field(&self) -> &FieldRef {
        &self.field
    }

    #[inline]
    fn len(&self) -> usize {
        self.nulls.len()
    }

    fn truncate(&mut self, len: usize) {
        self.nulls.truncate(len);
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Int8(values) => values.truncate(len),
            Values::Int16(values) => values.truncate(len),
            Values::Int32(values) => values.truncate(len),
            Values::Int64(values) => values.truncate(len),
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal(values) => values.truncate(len),
            Values::String(column) | Values::Binary(column) => column.truncate(len),
            Values::List(list) => list.truncate(len),
            Values::Map(map) => map.truncate(len),
            Values::Struct(columns) => columns.iter_mut().for_each(|column| column.truncate(len)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        let len = self.len();
        let nulls = self.nulls.finish();
        let data_type = self.field.data_type();
        match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls, data_type),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls, data_type),
            Values::Int32(values) if *data_type == DataType::Date32 => {
                primitive::<Date32Type>(values, nulls, data_type)
            }
            Values::Int32(values) => primitive::<Int32Type>(values, nulls, data_type),
            Values::Int64(values) if *data_type == DataType::Int64 => {
                primitive::<Int64Type>(values, nulls, data_type)
            }
            Values::Int64(values) => {
                primitive::<TimestampMicrosecondType>(values, nulls, data_type)
            }
            Values::Float32(values) => primitive::<Float32Type>(values, nulls, data_type),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls, data_type),
            Values::Decimal(values) => primitive::<Decimal128Type>(values, nulls, data_type),
            Values::String(column) => column.finish_strings(nulls),
            Values::Binary(column) => column.finish_binaries(nulls),
            Values::List(list) => list.finish(nulls),
            Values::Map(map) => map.finish(nulls, data_type),
            Values::Struct(columns) => {
                let DataType::Struct(fields) = data_type else { unreachable!("made for a struct") };
                let arrays = columns.iter_mut().map(Self::finish).collect();
                structs(fields, arrays, nulls, len)
            }
        }
    }
}
