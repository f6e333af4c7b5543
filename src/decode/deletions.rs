//! Which rows of a chunk delete.

use arrow::array::{BooleanArray, BooleanBufferBuilder};

use crate::chunk::Deletions;

/// The marks of a chunk's rows while it grows.
pub(super) struct DeletionRows {
    deletes: BooleanBufferBuilder,
    tombstones: BooleanBufferBuilder,
    any: bool,
}

/// What a row does to the row of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    /// It takes its place.
    Row,
    /// It deletes it.
    Deletion,
    /// The same, and there is nothing else in the record.
    Tombstone,
}

impl DeletionRows {
    pub(super) fn new() -> Self {
        let builder = || BooleanBufferBuilder::new(0);
        Self { deletes: builder(), tombstones: builder(), any: false }
    }

    pub(super) fn push(&mut self, kind: RowKind) {
        self.deletes.append(kind != RowKind::Row);
        self.tombstones.append(kind == RowKind::Tombstone);
        self.any |= kind != RowKind::Row;
    }

    /// The marks so far, `None` when no row deletes; leaves them empty.
    pub(super) fn finish(&mut self) -> Option<Deletions> {
        let array = |builder: &mut BooleanBufferBuilder| BooleanArray::new(builder.finish(), None);
        let (deletes, tombstones) = (array(&mut self.deletes), array(&mut self.tombstones));
        std::mem::take(&mut self.any).then_some(Deletions { deletes, tombstones })
    }
}
