//! The first values by the one order, as an array.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, Int64Type};
use arrow::error::ArrowError;
use datafusion_common::{Result, internal_err};

use super::codec::{self, Encoder};
use super::error::WindowError;
use super::sketch::{Sketch, take};

pub(super) struct List {
    /// How many values at most.
    pub(super) limit: u32,
    pub(super) element: Arc<Field>,
}

/// A value and its place; they are ordered by the place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    time: i64,
    source: Box<[u8]>,
    offset: i64,
    /// Encoded.
    value: Box<[u8]>,
}

/// Values, and what they are ordered by.
pub(super) struct Rows {
    values: Encoder,
    times: Int64Array,
    sources: BinaryArray,
    offsets: Int64Array,
}

impl List {
    /// Whether a value of that place is among the first.
    fn takes(&self, heap: &BinaryHeap<Entry>, time: i64, source: &[u8], offset: i64) -> bool {
        heap.len() < self.limit as usize
            || heap.peek().is_some_and(|last| {
                (time, source, offset).cmp(&(last.time, &*last.source, last.offset))
                    == Ordering::Less
            })
    }

    fn push(&self, heap: &mut BinaryHeap<Entry>, entry: Entry) {
        heap.push(entry);
        if heap.len() > self.limit as usize {
            heap.pop();
        }
    }
}

impl Sketch for List {
    /// The last one on top.
    type Group = BinaryHeap<Entry>;
    type Rows = Rows;

    /// Columns as [`Order::with`](super::first_last::Order::with) gives them.
    fn rows(&self, columns: &[ArrayRef]) -> Rows {
        Rows {
            values: Encoder::new(&columns[..1]),
            times: columns[1].as_primitive::<Int64Type>().clone(),
            sources: columns[2].as_binary::<i32>().clone(),
            offsets: columns[3].as_primitive::<Int64Type>().clone(),
        }
    }

    fn add(&self, heap: &mut BinaryHeap<Entry>, rows: &Rows, row: usize) {
        let (time, source, offset) =
            (rows.times.value(row), rows.sources.value(row), rows.offsets.value(row));
        if self.takes(heap, time, source, offset) {
            let mut value = Vec::new();
            rows.values.append(row, &mut value);
            let (source, value) = (source.into(), value.into());
            self.push(heap, Entry { time, source, offset, value });
        }
    }

    fn merge(&self, heap: &mut BinaryHeap<Entry>, mut state: &[u8]) -> Option<()> {
        while !state.is_empty() {
            let [time, offset] = [take(&mut state)?, take(&mut state)?].map(i64::from_le_bytes);
            let [source, value] = [bytes(&mut state)?, bytes(&mut state)?];
            if self.takes(heap, time, source, offset) {
                let (source, value) = (source.into(), value.into());
                self.push(heap, Entry { time, source, offset, value });
            }
        }
        Some(())
    }

    fn write(&self, heap: BinaryHeap<Entry>, out: &mut Vec<u8>) {
        for Entry { time, source, offset, value } in heap.into_sorted_vec() {
            out.extend_from_slice(&time.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            for part in [source, value] {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(&part);
            }
        }
    }

    fn results(&self, groups: Vec<BinaryHeap<Entry>>) -> Result<ArrayRef> {
        let lengths = OffsetBuffer::from_lengths(groups.iter().map(BinaryHeap::len));
        let nulls: NullBuffer = groups.iter().map(|heap| !heap.is_empty()).collect();
        let entries: Vec<_> = groups.into_iter().flat_map(BinaryHeap::into_sorted_vec).collect();
        let values: Vec<_> = entries.iter().map(|entry| &*entry.value).collect();
        let values = match codec::decode(&values, &[self.element.data_type().clone()]) {
            Ok(mut columns) => columns.swap_remove(0),
            Err(WindowError::TooLarge) => {
                return Err(ArrowError::OffsetOverflowError(values.len()).into());
            }
            Err(error) => return internal_err!("{error}"),
        };
        let element = Arc::clone(&self.element);
        Ok(Arc::new(ListArray::try_new(element, lengths, values, Some(nulls))?))
    }

    fn size(heap: &BinaryHeap<Entry>) -> usize {
        let parts: usize = heap.iter().map(|entry| entry.source.len() + entry.value.len()).sum();
        parts + heap.capacity() * size_of::<Entry>()
    }
}

/// Takes what stands behind its length.
fn bytes<'a>(state: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(state)?);
    let (bytes, rest) = state.split_at_checked(length as usize)?;
    *state = rest;
    Some(bytes)
}
