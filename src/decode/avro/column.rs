//! One column while a chunk grows: Arrow buffers that are written at the end and can be cut back.
//!
//! A value is appended in two moves, `values` and then `filled`; when something fails in between, the caller truncates.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, ListArray, MapArray, NullBufferBuilder,
    StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};

use super::super::buffers::{Ends, primitive};
use super::super::bytes::ByteColumn;

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
    List(Box<List>),
    Map(Box<Map>),
    Struct(Vec<Column>),
}

pub(super) struct List {
    ends: Ends,
    pub(super) elements: Column,
}

pub(super) struct Map {
    ends: Ends,
    pub(super) keys: ByteColumn,
    pub(super) values: Column,
    /// For finding a key that comes twice; reused.
    order: Vec<u32>,
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
            DataType::List(element) => {
                let elements = Self::new(element)?;
                Values::List(Box::new(List { ends: Ends::new(), elements }))
            }
            DataType::Map(entries, _) => {
                let values = Self::new(map_value(entries)?)?;
                let (keys, order) = (ByteColumn::new(), Vec::new());
                Values::Map(Box::new(Map { ends: Ends::new(), keys, values, order }))
            }
            DataType::Struct(fields) => {
                Values::Struct(fields.iter().map(Self::new).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        Some(Self { field: Arc::clone(field), nulls: NullBufferBuilder::new(0), values })
    }

    pub(super) fn field(&self) -> &FieldRef {
        &self.field
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
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

    /// Drops all values from `len` on, complete or not.
    pub(super) fn truncate(&mut self, len: usize) {
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

    /// The column so far; leaves it empty.
    pub(super) fn finish(&mut self) -> ArrayRef {
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
                let array = StructArray::try_new_with_length(fields.clone(), arrays, nulls, len);
                Arc::new(
                    array.expect(
                        "each field got one value per struct, and nulls only where allowed",
                    ),
                )
            }
        }
    }
}

impl List {
    /// Ends an array behind the elements so far.
    #[inline]
    pub(super) fn close(&mut self) {
        self.ends.push(self.elements.len());
    }

    /// Elements of the array that is not closed yet.
    #[cold]
    pub(super) fn open(&self) -> usize {
        self.elements.len() - self.ends.last()
    }

    fn truncate(&mut self, len: usize) {
        self.elements.truncate(self.ends.truncate(len));
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let ends = self.ends.finish();
        let elements = self.elements.finish();
        Arc::new(ListArray::new(Arc::clone(self.elements.field()), ends, elements, nulls))
    }
}

impl Map {
    /// Ends a map behind the entries so far.
    #[inline]
    pub(super) fn close(&mut self) {
        self.ends.push(self.values.len());
    }

    /// The first entry of the map that is not closed yet.
    #[inline]
    pub(super) fn start(&self) -> usize {
        self.ends.last()
    }

    /// Whether a key comes twice from entry `start` on: by pairs while they are few, else by sorting.
    pub(super) fn has_twins(&mut self, start: usize) -> bool {
        const FEW: usize = 12;
        let (keys, end) = (&self.keys, self.keys.len());
        if end - start <= FEW {
            return (start..end).any(|i| (start..i).any(|j| keys.get(i) == keys.get(j)));
        }
        self.order.clear();
        self.order.extend((start..end).map(|i| i as u32));
        self.order.sort_unstable_by(|a, b| keys.get(*a as usize).cmp(keys.get(*b as usize)));
        self.order.windows(2).any(|pair| keys.get(pair[0] as usize) == keys.get(pair[1] as usize))
    }

    fn truncate(&mut self, len: usize) {
        let entries = self.ends.truncate(len);
        self.keys.truncate(entries);
        self.values.truncate(entries);
    }

    fn finish(&mut self, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
        let DataType::Map(entries_field, sorted) = data_type else {
            unreachable!("made for a map")
        };
        let DataType::Struct(fields) = entries_field.data_type() else {
            unreachable!("a map's entries are structs")
        };
        let ends = self.ends.finish();
        let arrays = vec![self.keys.finish_strings(None), self.values.finish()];
        let entries = StructArray::new(fields.clone(), arrays, None);
        Arc::new(MapArray::new(Arc::clone(entries_field), ends, entries, nulls, *sorted))
    }
}

/// The value of a map whose keys are STRING.
pub(super) fn map_value(entries: &Field) -> Option<&FieldRef> {
    match entries.data_type() {
        DataType::Struct(pair) if pair.len() == 2 && *pair[0].data_type() == DataType::Utf8 => {
            Some(&pair[1])
        }
        _ => None,
    }
}
