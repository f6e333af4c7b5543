//! The rows of a chunk while it grows: value and key of each record, and what it does.
//!
//! A record is one row in all columns, or in none.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::FieldRef;

use super::debezium::{Changes, nullable};
use super::deletions::{DeletionRows, RowKind};
use super::error::ColumnOrigin;
use super::flaw::{Part, Scan};
use super::key::KeyRows;
use super::{DecodeError, Schemas, payload};
use crate::chunk::Deletions;
use crate::config::{Decode, Json, Payload, UnknownFields};

pub(super) struct Rows {
    values: Values,
    key: Option<KeyRows>,
    /// `None`: no row can delete.
    deletions: Option<DeletionRows>,
    /// A record without a value is a row.
    tombstones: bool,
    /// Columns of the value that a tombstone's key fills, and the fields of the key.
    shared: Vec<(usize, usize)>,
}

enum Values {
    /// A payload is a row.
    Plain(payload::Reader),
    /// A payload is Debezium's envelope around a row.
    Changes(Changes),
}

impl Rows {
    pub(super) fn new(
        spec: &Decode,
        schemas: &Schemas,
        tombstones: bool,
    ) -> Result<Self, DecodeError> {
        let values = match &spec.debezium {
            None => Values::Plain(payload::Reader::new(&spec.value, Part::Value, schemas)?),
            Some(changes) => Values::Changes(Changes::new(&spec.value, changes, schemas)?),
        };
        let is_stream = spec.debezium.is_some();
        let key = spec.key.as_ref().map(|key| KeyRows::new(key, is_stream, schemas)).transpose()?;
        let tombstones = tombstones && key.is_some();
        let deletions = (is_stream || tombstones).then(DeletionRows::new);
        let shared = key.iter().flat_map(|key| key.shared_with(&values.fields())).collect();
        Ok(Self { values, key, deletions, tombstones, shared })
    }

    /// The columns in their order, each with where it comes from.
    pub(super) fn fields(&self, spec: &Decode) -> Vec<(FieldRef, ColumnOrigin)> {
        let mut values = self.values.fields();
        let changes = match &self.values {
            Values::Plain(_) => Vec::new(),
            Values::Changes(changes) => changes.change_fields(),
        };
        let rescued = rescues(&spec.value).then(|| values.pop()).flatten();
        let of = |origin| move |field| (field, origin);
        let values = values.into_iter().map(of(ColumnOrigin::Value));
        let key = self.key.iter().map(|key| Arc::clone(key.field()));
        let columns = values
            .chain(rescued.map(of(ColumnOrigin::Rescued)))
            .chain(key.map(of(ColumnOrigin::Key)))
            .chain(changes.into_iter().map(of(ColumnOrigin::Change)));
        match self.tombstones {
            true => columns.map(|(field, origin)| (nullable(&field), origin)).collect(),
            false => columns.collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Plain(reader) => reader.rows(),
            Values::Changes(changes) => changes.rows(),
        }
    }

    /// Sees to it that the schemas of a record are known, before it is read.
    ///
    /// # Errors
    /// What no policy for bad records covers.
    #[inline]
    pub(super) fn prepare(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), DecodeError> {
        if let Some(value) = value {
            match &mut self.values {
                Values::Plain(reader) => reader.prepare(value)?,
                Values::Changes(changes) => changes.prepare(value)?,
            }
        }
        match (&mut self.key, key) {
            (Some(rows), Some(key)) => rows.prepare(key),
            _ => Ok(()),
        }
    }

    /// Whether the rows take as much memory as a chunk may, though their bytes are few.
    pub(super) fn is_full(&self) -> bool {
        let values = match &self.values {
            Values::Plain(reader) => reader.is_full(),
            Values::Changes(changes) => changes.is_full(),
        };
        values || self.key.as_ref().is_some_and(KeyRows::is_full)
    }

    /// Appends a record, or nothing when its value or its key is flawed.
    #[inline]
    pub(super) fn read(&mut self, key: Option<&[u8]>, value: &[u8]) -> Scan<()> {
        let deletes = match &mut self.values {
            Values::Plain(reader) => reader.read(value).map(|()| false)?,
            Values::Changes(changes) => changes.read(value)?,
        };
        self.finish_row(key, if deletes { RowKind::Deletion } else { RowKind::Row })
    }

    /// Whether a record without a value but with this key is a row. One without a key either has nothing to delete.
    pub(super) fn takes_tombstone(&self, key: Option<&[u8]>) -> bool {
        self.tombstones && key.is_some()
    }

    /// Appends a record without a value, or nothing when its key is flawed.
    pub(super) fn read_tombstone(&mut self, key: Option<&[u8]>) -> Scan<()> {
        match &mut self.values {
            Values::Plain(reader) => reader.push_null(),
            Values::Changes(changes) => changes.push_null(),
        }
        self.finish_row(key, RowKind::Tombstone)
    }

    #[inline]
    fn finish_row(&mut self, key: Option<&[u8]>, kind: RowKind) -> Scan<()> {
        if let Some(rows) = &mut self.key
            && let Err(reject) = rows.read(key)
        {
            match &mut self.values {
                Values::Plain(reader) => reader.undo_last(),
                Values::Changes(changes) => changes.undo_last(),
            }
            return Err(reject);
        }
        if let Some(deletions) = &mut self.deletions {
            deletions.push(kind);
        }
        Ok(())
    }

    /// The columns so far, as `fields` says, and which rows delete; leaves them empty.
    pub(super) fn finish(&mut self) -> (Vec<ArrayRef>, Option<Deletions>) {
        let deletions = self.deletions.as_mut().and_then(DeletionRows::finish);
        let (mut columns, changes) = match &mut self.values {
            Values::Plain(reader) => (reader.finish(), Vec::new()),
            Values::Changes(changes) => {
                let finished = changes.finish(deletions.as_ref().map(|d| &d.deletes));
                (finished.rows, finished.changes)
            }
        };
        if let Some(key) = self.key.as_mut().map(KeyRows::finish) {
            if let Some(deletions) = &deletions {
                fill(&mut columns, &self.shared, &key, &deletions.tombstones);
            }
            columns.push(key);
        }
        columns.extend(changes);
        (columns, deletions)
    }
}

impl Values {
    /// The row's columns.
    fn fields(&self) -> Vec<FieldRef> {
        match self {
            Self::Plain(reader) => reader.fields(),
            Self::Changes(changes) => changes.row_fields(),
        }
    }
}

/// Sets what a tombstone's key says of the value's columns, so that they find the row that it deletes.
fn fill(
    columns: &mut [ArrayRef],
    shared: &[(usize, usize)],
    key: &ArrayRef,
    tombstones: &BooleanArray,
) {
    if tombstones.true_count() == 0 {
        return;
    }
    for (at, part) in shared {
        let part = key.as_struct().column(*part);
        columns[*at] = zip(tombstones, part, &columns[*at])
            .expect("a column of the value and its field of the key have one type and length");
    }
}

fn rescues(value: &Payload) -> bool {
    match value {
        Payload::Json(Json { unknown_fields, .. }) => *unknown_fields == UnknownFields::Rescue,
        Payload::Avro(avro) => {
            avro.columns.is_some() && avro.unknown_fields == UnknownFields::Rescue
        }
        Payload::String | Payload::Bytes => false,
    }
}
