//! The fields that an object has and the schema doesn't, kept as the text of a JSON object.

use arrow::array::{ArrayRef, NullBufferBuilder};

use super::super::bytes::ByteColumn;

/// A STRING column: per object its unknown fields in the order they came in, twins included; null where there are none.
/// Names and values are the source's own text, for what was read is exact.
pub(super) struct Rescued {
    texts: ByteColumn,
    nulls: NullBufferBuilder,
    /// Of the object that is being read.
    pending: Vec<u8>,
}

impl Rescued {
    pub(super) fn new() -> Self {
        Self { texts: ByteColumn::new(), nulls: NullBufferBuilder::new(0), pending: Vec::new() }
    }

    /// Begins an object; what an object that was given up left is dropped.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.pending.clear();
    }

    /// Keeps a field: its name in quotes and its value, both as they were written.
    pub(super) fn keep(&mut self, name: &[u8], value: &[u8]) {
        self.pending.push(if self.pending.is_empty() { b'{' } else { b',' });
        self.pending.extend_from_slice(name);
        self.pending.push(b':');
        self.pending.extend_from_slice(value);
    }

    /// Ends the object: one value more.
    #[inline]
    pub(super) fn close(&mut self) {
        let any = !self.pending.is_empty();
        if any {
            self.pending.push(b'}');
        }
        self.texts.push(&self.pending);
        self.nulls.append(any);
    }

    pub(super) fn append_null(&mut self) {
        self.begin();
        self.close();
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.texts.truncate(len);
        self.nulls.truncate(len);
    }

    /// The column so far; leaves it empty.
    pub(super) fn finish(&mut self) -> ArrayRef {
        self.texts.finish_strings(self.nulls.finish())
    }
}
