//! `min_by` and `max_by`: the values whose ranks are smallest or largest, in that order; of equal ranks the first by the one
//! order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use datafusion_common::{Result, internal_err};

use super::codec::{self, Encoder};
use super::error::WindowError;
use super::sketch::{Sketch, read_count, take, write_count};

pub(super) struct Ranked {
    /// How many values at most; `None`: one, which is no array.
    pub(super) limit: Option<u32>,
    pub(super) largest: bool,
    pub(super) value: DataType,
    /// Of an array.
    pub(super) element: Option<Arc<Field>>,
}

/// A value, its rank and its place, in the order of the result.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    rank: Rank,
    time: i64,
    source: Box<[u8]>,
    offset: i64,
    /// Encoded.
    value: Box<[u8]>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Smallest(Box<[u8]>),
    Largest(Reverse<Box<[u8]>>),
}

impl Rank {
    fn bytes(&self) -> &[u8] {
        let (Self::Smallest(bytes) | Self::Largest(Reverse(bytes))) = self;
        bytes
    }
}

/// Values, and what they are ordered by.
pub(super) struct Rows {
    values: Encoder,
    ranks: BinaryArray,
    times: Int64Array,
    sources: BinaryArray,
    offsets: Int64Array,
}

/// What decides whether a value is taken.
struct Candidate<'a> {
    rank: &'a [u8],
    time: i64,
    source: &'a [u8],
    offset: i64,
}

/// Whether values can be ranked by such ones: [`ranks`] knows them once they are [compared](super::measure).
pub(super) fn ranks_by(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Utf8
            | DataType::Binary
            | DataType::Int64
            | DataType::Float64
            | DataType::Date32
            | DataType::Decimal128(..)
            | DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _)
    )
}

/// Bytes in the order of the values: that of `min` and `max`.
fn ranks(values: &ArrayRef) -> BinaryArray {
    const SIGN: u64 = 1 << 63;
    let whole = |value: i64| (value as u64 ^ SIGN).to_be_bytes();
    let float = |value: f64| {
        // A NaN's sign would make it the smallest.
        let bits = if value.is_nan() { f64::NAN } else { value }.to_bits();
        (if bits & SIGN == 0 { bits ^ SIGN } else { !bits }).to_be_bytes()
    };
    match values.data_type() {
        DataType::Boolean => {
            values.as_boolean().iter().map(|truth| truth.map(|truth| [u8::from(truth)])).collect()
        }
        DataType::Utf8 => values.as_string::<i32>().iter().collect(),
        DataType::Binary => values.as_binary::<i32>().clone(),
        DataType::Float64 => {
            values.as_primitive::<Float64Type>().iter().map(|value| value.map(float)).collect()
        }
        DataType::Decimal128(..) => {
            let unscaled = values.as_primitive::<Decimal128Type>().iter();
            let rank = |value: i128| (value as u128 ^ 1 << 127).to_be_bytes();
            unscaled.map(|value| value.map(rank)).collect()
        }
        DataType::Date32 => {
            let days = values.as_primitive::<Date32Type>().iter();
            days.map(|day| day.map(|day| whole(day.into()))).collect()
        }
        DataType::Timestamp(..) => {
            let times = values.as_primitive::<TimestampMicrosecondType>().iter();
            times.map(|time| time.map(whole)).collect()
        }
        _ => values.as_primitive::<Int64Type>().iter().map(|value| value.map(whole)).collect(),
    }
}

impl Ranked {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(1) as usize
    }

    /// Whether it is among those that are kept.
    fn takes(&self, heap: &BinaryHeap<Entry>, new: &Candidate<'_>) -> bool {
        let Some(last) = heap.peek().filter(|_| heap.len() >= self.limit()) else { return true };
        let by_rank = new.rank.cmp(last.rank.bytes());
        let by_rank = if self.largest { by_rank.reverse() } else { by_rank };
        let place = (new.time, new.source, new.offset);
        by_rank.then_with(|| place.cmp(&(last.time, &*last.source, last.offset))) == Ordering::Less
    }

    fn push(&self, heap: &mut BinaryHeap<Entry>, new: &Candidate<'_>, value: &[u8]) {
        let rank = new.rank.into();
        heap.push(Entry {
            rank: if self.largest { Rank::Largest(Reverse(rank)) } else { Rank::Smallest(rank) },
            time: new.time,
            source: new.source.into(),
            offset: new.offset,
            value: value.into(),
        });
        if heap.len() > self.limit() {
            heap.pop();
        }
    }

    fn decode(&self, entries: &[Option<Entry>]) -> Result<ArrayRef> {
        // An encoded NULL stands for no value.
        let values = entries.iter().map(|entry| entry.as_ref().map_or(&[0][..], |e| &e.value));
        match codec::decode(&values.collect::<Vec<_>>(), std::slice::from_ref(&self.value)) {
            Ok(mut columns) => Ok(columns.swap_remove(0)),
            Err(WindowError::TooLarge) => {
                Err(ArrowError::OffsetOverflowError(entries.len()).into())
            }
            Err(error) => internal_err!("{error}"),
        }
    }
}

impl Sketch for Ranked {
    /// The last one on top.
    type Group = BinaryHeap<Entry>;
    type Rows = Rows;

    /// A struct of value and rank, with columns as [`Order::with`](super::first_last::Order::with) gives them.
    fn rows(&self, columns: &[ArrayRef]) -> Rows {
        let pair = columns[0].as_struct();
        Rows {
            values: Encoder::new(&pair.columns()[..1]),
            ranks: ranks(pair.column(1)),
            times: columns[1].as_primitive::<Int64Type>().clone(),
            sources: columns[2].as_binary::<i32>().clone(),
            offsets: columns[3].as_primitive::<Int64Type>().clone(),
        }
    }

    fn add(&self, heap: &mut BinaryHeap<Entry>, rows: &Rows, row: usize) {
        if rows.ranks.is_null(row) {
            return;
        }
        let (rank, source) = (rows.ranks.value(row), rows.sources.value(row));
        let (time, offset) = (rows.times.value(row), rows.offsets.value(row));
        let new = Candidate { rank, time, source, offset };
        if self.takes(heap, &new) {
            let mut value = Vec::new();
            rows.values.append(row, &mut value);
            self.push(heap, &new, &value);
        }
    }

    fn merge(&self, heap: &mut BinaryHeap<Entry>, mut state: &[u8]) -> Option<()> {
        while !state.is_empty() {
            let [time, offset] = [take(&mut state)?, take(&mut state)?].map(i64::from_le_bytes);
            let [rank, source, value] =
                [bytes(&mut state)?, bytes(&mut state)?, bytes(&mut state)?];
            let new = Candidate { rank, time, source, offset };
            if self.takes(heap, &new) {
                self.push(heap, &new, value);
            }
        }
        Some(())
    }

    fn write(&self, heap: BinaryHeap<Entry>, out: &mut Vec<u8>) {
        for Entry { rank, time, source, offset, value } in heap.into_sorted_vec() {
            out.extend_from_slice(&time.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            for part in [rank.bytes(), &source, &value] {
                write_count(part.len() as u64, out);
                out.extend_from_slice(part);
            }
        }
    }

    fn results(&self, groups: Vec<BinaryHeap<Entry>>) -> Result<ArrayRef> {
        let Some(element) = &self.element else {
            let best: Vec<_> = groups.into_iter().map(|mut heap| heap.pop()).collect();
            return self.decode(&best);
        };
        let lengths = OffsetBuffer::from_lengths(groups.iter().map(BinaryHeap::len));
        let nulls: NullBuffer = groups.iter().map(|heap| !heap.is_empty()).collect();
        let entries = groups.into_iter().flat_map(BinaryHeap::into_sorted_vec).map(Some);
        let values = self.decode(&entries.collect::<Vec<_>>())?;
        Ok(Arc::new(ListArray::try_new(Arc::clone(element), lengths, values, Some(nulls))?))
    }

    fn size(heap: &BinaryHeap<Entry>) -> usize {
        let parts =
            |entry: &Entry| entry.rank.bytes().len() + entry.source.len() + entry.value.len();
        heap.iter().map(parts).sum::<usize>() + heap.capacity() * size_of::<Entry>()
    }
}

/// Takes what stands behind its length.
fn bytes<'a>(state: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(read_count(state)?).ok()?;
    let (bytes, rest) = state.split_at_checked(length)?;
    *state = rest;
    Some(bytes)
}
