//! Arrays, maps and structs while a chunk grows: where each ends among the values inside it. How those are read, the
//! format says.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::buffers::Ends;
use super::bytes::ByteColumn;

/// A column while a chunk grows.
pub(super) trait Growing {
    fn field(&self) -> &FieldRef;

    /// Complete values so far.
    fn len(&self) -> usize;

    /// Drops all values from `len` on, complete or not.
    fn truncate(&mut self, len: usize);

    /// The column so far; leaves it empty.
    fn finish(&mut self) -> ArrayRef;
}

/// A column of arrays.
pub(super) struct List<C> {
    ends: Ends,
    pub(super) elements: C,
}

impl<C: Growing> List<C> {
    pub(super) fn new(elements: C) -> Self {
        Self { ends: Ends::new(), elements }
    }

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

    pub(super) fn truncate(&mut self, len: usize) {
        self.elements.truncate(self.ends.truncate(len));
    }

    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let (ends, elements) = (self.ends.finish(), self.elements.finish());
        Arc::new(ListArray::new(Arc::clone(self.elements.field()), ends, elements, nulls))
    }
}

/// A column of maps whose keys are STRING.
pub(super) struct Map<C> {
    ends: Ends,
    pub(super) keys: ByteColumn,
    pub(super) values: C,
    /// For finding a key that comes twice; reused.
    order: Vec<u32>,
}

impl<C: Growing> Map<C> {
    pub(super) fn new(values: C) -> Self {
        Self { ends: Ends::new(), keys: ByteColumn::new(), values, order: Vec::new() }
    }

    /// Ends a map behind the entries so far.
    #[inline]
    pub(super) fn close(&mut self) {
        self.ends.push(self.values.len());
    }

    /// Complete entries of the map that is not closed yet.
    #[cold]
    pub(super) fn open(&self) -> usize {
        self.values.len() - self.ends.last()
    }

    /// Whether a key comes twice in the map that is not closed yet: by pairs while they are few, else by sorting.
    pub(super) fn has_twins(&mut self) -> bool {
        const FEW: usize = 12;
        let (keys, start, end) = (&self.keys, self.ends.last(), self.keys.len());
        if end - start <= FEW {
            return (start..end).any(|i| (start..i).any(|j| keys.get(i) == keys.get(j)));
        }
        self.order.clear();
        self.order.extend((start..end).map(|i| i as u32));
        self.order.sort_unstable_by(|a, b| keys.get(*a as usize).cmp(keys.get(*b as usize)));
        self.order.windows(2).any(|pair| keys.get(pair[0] as usize) == keys.get(pair[1] as usize))
    }

    pub(super) fn truncate(&mut self, len: usize) {
        let entries = self.ends.truncate(len);
        self.keys.truncate(entries);
        self.values.truncate(entries);
    }

    /// `data_type`: the column's.
    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
        let DataType::Map(entries_field, sorted) = data_type else {
            unreachable!("made for a map")
        };
        let DataType::Struct(fields) = entries_field.data_type() else {
            unreachable!("a map's entries are structs")
        };
        let arrays = vec![self.keys.finish_strings(None), self.values.finish()];
        let entries = StructArray::new(fields.clone(), arrays, None);
        let ends = self.ends.finish();
        Arc::new(MapArray::new(Arc::clone(entries_field), ends, entries, nulls, *sorted))
    }
}

/// The value of a map whose keys are STRING, of the field of its entries.
pub(super) fn map_value(entries: &Field) -> Option<&FieldRef> {
    match entries.data_type() {
        DataType::Struct(pair) if pair.len() == 2 && *pair[0].data_type() == DataType::Utf8 => {
            Some(&pair[1])
        }
        _ => None,
    }
}

/// A column of so many structs, of the columns of their fields.
pub(super) fn structs(
    fields: &Fields,
    columns: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
    len: usize,
) -> ArrayRef {
    let array = StructArray::try_new_with_length(fields.clone(), columns, nulls, len);
    Arc::new(array.expect("each field got one value per struct, and nulls only where allowed"))
}
