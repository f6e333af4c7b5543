//! Payloads kept as they are: the column `value`, STRING or BINARY.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};

use super::bytes::ByteColumn;
use super::flaw::{Flaw, Reject, Scan};

/// The one column's name.
pub(super) const COLUMN: &str = "value";

/// One column while a chunk grows.
pub(super) struct Reader {
    values: ByteColumn,
    nulls: NullBufferBuilder,
    /// Values must be UTF-8.
    text: bool,
}

impl Reader {
    pub(super) fn strings() -> Self {
        Self { values: ByteColumn::new(), nulls: NullBufferBuilder::new(0), text: true }
    }

    pub(super) fn bytes() -> Self {
        Self { text: false, ..Self::strings() }
    }

    pub(super) fn field(&self) -> FieldRef {
        let data_type = if self.text { DataType::Utf8 } else { DataType::Binary };
        Arc::new(Field::new(COLUMN, data_type, true))
    }

    pub(super) fn rows(&self) -> usize {
        self.values.len()
    }

    pub(super) fn read(&mut self, payload: &[u8]) -> Scan<()> {
        if self.text
            && let Err(error) = std::str::from_utf8(payload)
        {
            return Err(Reject::new(Flaw::Utf8, error.valid_up_to()));
        }
        self.values.push(payload);
        self.nulls.append_non_null();
        Ok(())
    }

    pub(super) fn undo_last(&mut self) {
        let rows = self.values.len() - 1;
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    pub(super) fn push_null(&mut self) {
        self.values.push(&[]);
        self.nulls.append_null();
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        match self.text {
            true => self.values.finish_strings(nulls),
            false => self.values.finish_binaries(nulls),
        }
    }
}
