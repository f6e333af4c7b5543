//! A growing column of texts or byte strings: one buffer and where each value ends in it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};

use super::buffers::{Ends, take};

#[derive(Debug)]
pub(super) struct ByteColumn {
    bytes: Vec<u8>,
    ends: Ends,
}

impl ByteColumn {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), ends: Ends::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
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
        &self.bytes[self.ends.last()..]
    }

    /// Where more of the tail is written.
    pub(super) fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes a value of the tail.
    #[inline]
    pub(super) fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// The bytes of one value.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.ends.range(index)]
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.ends.truncate(len));
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
        (self.ends.finish(), Buffer::from_vec(bytes))
    }
}
