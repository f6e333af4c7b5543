//! What measures share whose state is one value of bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion_common::{Result, internal_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};

/// A state that takes rows and other states in any order, and is the same bytes after the same rows.
pub(super) trait Sketch: Send {
    type Group: Default + Send;
    /// The rows of a batch, made ready to be added.
    type Rows;

    fn rows(&self, values: &[ArrayRef]) -> Self::Rows;
    fn add(&self, group: &mut Self::Group, rows: &Self::Rows, row: usize);
    /// Adds what [`write`](Self::write) wrote; `None`: it didn't write that.
    fn merge(&self, group: &mut Self::Group, state: &[u8]) -> Option<()>;
    /// Comes before `write` and `results`.
    fn finish(&self, _group: &mut Self::Group) -> Result<()> {
        Ok(())
    }
    fn write(&self, group: Self::Group, out: &mut Vec<u8>);
    /// A result for each group.
    fn results(&self, groups: Vec<Self::Group>) -> Result<ArrayRef>;
    /// Bytes on the heap.
    fn size(group: &Self::Group) -> usize;
}

/// The groups of one measure.
pub(super) struct Sketches<S: Sketch> {
    sketch: S,
    groups: Vec<S::Group>,
}

impl<S: Sketch> Sketches<S> {
    pub(super) fn new(sketch: S) -> Self {
        Self { sketch, groups: Vec::new() }
    }
}

/// The columns that states are kept in.
pub(super) fn state_types() -> Vec<DataType> {
    vec![DataType::Binary]
}

impl<S: Sketch + 'static> GroupsAccumulator for Sketches<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize_with(total, S::Group::default);
        let rows = self.sketch.rows(values);
        for (row, group) in groups.iter().enumerate() {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.sketch.add(&mut self.groups[*group], &rows, row);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize_with(total, S::Group::default);
        let states = states[0].as_binary::<i32>();
        for (row, group) in groups.iter().enumerate() {
            if self.sketch.merge(&mut self.groups[*group], states.value(row)).is_none() {
                return internal_err!("a state is damaged, or of another measure");
            }
        }
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for mut group in emit_to.take_needed(&mut self.groups) {
            self.sketch.finish(&mut group)?;
            self.sketch.write(group, &mut bytes);
            let end = i32::try_from(bytes.len());
            ends.push(end.map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?);
        }
        let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
        Ok(vec![Arc::new(BinaryArray::try_new(ends, Buffer::from_vec(bytes), None)?)])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut groups = emit_to.take_needed(&mut self.groups);
        groups.iter_mut().try_for_each(|group| self.sketch.finish(group))?;
        self.sketch.results(groups)
    }

    fn convert_to_state(
        &self,
        _values: &[ArrayRef],
        _filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        internal_err!("rows are always grouped before they are kept")
    }

    fn size(&self) -> usize {
        let own = self.groups.capacity() * size_of::<S::Group>();
        own + self.groups.iter().map(S::size).sum::<usize>()
    }
}

/// Takes bytes off the front of a state.
pub(super) fn take<const COUNT: usize>(state: &mut &[u8]) -> Option<[u8; COUNT]> {
    let (taken, rest) = state.split_first_chunk()?;
    *state = rest;
    Some(*taken)
}

/// Appends a count or a length in as few bytes as it needs (LEB128).
pub(super) fn write_count(mut count: u64, out: &mut Vec<u8>) {
    while count >= 0x80 {
        out.push(count as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
}

/// Takes what [`write_count`] wrote off the front.
pub(super) fn read_count(state: &mut &[u8]) -> Option<u64> {
    let mut count = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = take(state)?;
        count |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(count);
        }
    }
    None
}
