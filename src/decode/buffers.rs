//! Arrow's buffers of columns that grow: written at the end, cut back by a flaw, handed over with a chunk. Arrow's own
//! builders can't be cut back.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

/// Where each value of a column ends in the buffer that holds them, one behind the other; a zero comes first.
#[derive(Debug)]
pub(super) struct Ends(Vec<i32>);

impl Ends {
    pub(super) fn new() -> Self {
        Self(vec![0])
    }

    /// Values so far.
    pub(super) fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// Ends a value.
    #[inline]
    pub(super) fn push(&mut self, end: usize) {
        self.0.push(i32::try_from(end).expect("`is_full` ends a chunk long before 2 GiB"));
    }

    /// Where the last value ends and the next one begins.
    #[inline]
    pub(super) fn last(&self) -> usize {
        self.0.last().map_or(0, |end| *end as usize)
    }

    /// Where a value lies.
    #[inline]
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        self.0[index] as usize..self.0[index + 1] as usize
    }

    /// Drops all values from `len` on; answers where the others end.
    pub(super) fn truncate(&mut self, len: usize) -> usize {
        self.0.truncate(len + 1);
        self.0[len] as usize
    }

    /// As Arrow's offsets; leaves those of an empty column.
    pub(super) fn finish(&mut self) -> OffsetBuffer<i32> {
        let ends = take(&mut self.0);
        self.0.push(0);
        OffsetBuffer::new(ScalarBuffer::from(ends))
    }
}

/// The values so far as an array; leaves none. `data_type`: `T`'s own, or one that differs in zone, precision or scale.
pub(super) fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> ArrayRef {
    let array = PrimitiveArray::<T>::new(ScalarBuffer::from(take(values)), nulls);
    Arc::new(array.with_data_type(data_type.clone()))
}

/// The values so far. The next chunk will be about as large, so it starts with as much room: no growing by doubling.
pub(super) fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = values.len();
    std::mem::replace(values, Vec::with_capacity(room))
}
