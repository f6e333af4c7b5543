//! A growing column of texts or byte strings: one buffer and the offsets in it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

/// Written at the end, truncated to roll back. Arrow's own builders can't be truncated.
#[derive(Debug)]
pub(super) struct ByteColumn {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl ByteColumn {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Appends a value: what `write` puts at the end of the buffer. When it fails, the column is as it was.
    #[inline]
    pub(super) fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        match written {
            Ok(()) => self.close(),
            Err(_) => self.bytes.truncate(start),
        }
        written
    }

    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.close();
    }

    /// What has been written at the end and is no value yet; `truncate` takes it back.
    pub(super) fn tail(&self) -> &[u8] {
        let start = self.offsets.last().map_or(0, |start| *start as usize);
        &self.bytes[start..]
    }

    /// Where more of the tail is written.
    pub(super) fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes a value of the tail.
    #[inline]
    pub(super) fn close(&mut self) {
        self.offsets.push(offset(self.bytes.len()));
    }

    /// The bytes of one value.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.bytes.truncate(self.offsets[len] as usize);
    }

    /// The column so far as STRING; the values must be UTF-8.
    pub(super) fn finish_strings(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let (offsets, bytes) = self.finish();
        Arc::new(
            StringArray::try_new(offsets, bytes, nulls)
                .expect("each value was checked as it was read"),
        )
    }

    pub(super) fn finish_binaries(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let (offsets, bytes) = self.finish();
        Arc::new(BinaryArray::new(offsets, bytes, nulls))
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let bytes = take(&mut self.bytes);
        (finish_offsets(&mut self.offsets), Buffer::from_vec(bytes))
    }
}

/// A position in a chunk's buffer as Arrow wants it.
#[inline]
pub(super) fn offset(position: usize) -> i32 {
    i32::try_from(position).expect("`is_full` ends a chunk long before 2 GiB")
}

/// The offsets so far; leaves those of an empty column.
pub(super) fn finish_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let finished = take(offsets);
    offsets.push(0);
    OffsetBuffer::new(ScalarBuffer::from(finished))
}

/// The values so far. The next chunk will be about as large, so it starts with as much room: no growing by doubling.
pub(super) fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = values.len();
    std::mem::replace(values, Vec::with_capacity(room))
}
