//! Debezium's change events: the row inside the envelope, and what the envelope says of it.
//!
//! An event is read as the columns `before`, `after` and `op` and those that are wanted beside the row. Of the two
//! rows one is taken, whole chunks at a time: `before` of a deletion, `after` of anything else.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, StructArray};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimestampMicrosecondType};

use super::flaw::{Flaw, Reject, Scan, Step, bounded};
use super::payload::{JSON_TEXT, Reader};
use super::{DecodeError, Schemas};
use crate::config::{ChangeColumn, Debezium, Payload};
use crate::schema::timestamp_type;

/// Columns of the reader; those wanted beside the row follow.
const BEFORE: usize = 0;
const AFTER: usize = 1;
const OP: usize = 2;

/// The change events of a chunk while it grows.
pub(super) struct Changes {
    reader: Reader,
    wanted: Vec<ChangeColumn>,
    /// The reader's column `ts_ms`.
    timestamp: Option<usize>,
}

/// A chunk's columns.
pub(super) struct ChangedRows {
    /// As `Changes::row_fields` says.
    pub(super) rows: Vec<ArrayRef>,
    /// As `Changes::change_fields` says.
    pub(super) changes: Vec<ArrayRef>,
}

impl Changes {
    pub(super) fn new(
        row: &Payload,
        spec: &Debezium,
        schemas: &Schemas,
    ) -> Result<Self, DecodeError> {
        let wanted = spec.columns.clone();
        let beside = wanted.iter().filter(|column| **column != ChangeColumn::Op);
        let others: Vec<FieldRef> =
            [ChangeColumn::Op].iter().chain(beside.clone()).map(|c| envelope_field(*c)).collect();
        let timestamp = beside.clone().position(|column| *column == ChangeColumn::Timestamp);
        let timestamp = timestamp.map(|place| OP + 1 + place);
        Ok(Self { reader: Reader::of_changes(row, &others, schemas)?, wanted, timestamp })
    }

    /// The row's columns, all of them nullable: a deletion may hold only the key's.
    pub(super) fn row_fields(&self) -> Vec<FieldRef> {
        let fields = self.reader.fields();
        match fields[BEFORE].data_type() {
            DataType::Struct(row) => row.iter().map(nullable).collect(),
            other => unreachable!("`before` is a STRUCT, not {other}"),
        }
    }

    pub(super) fn change_fields(&self) -> Vec<FieldRef> {
        self.wanted.iter().map(|column| change_field(*column)).collect()
    }

    pub(super) fn rows(&self) -> usize {
        self.reader.rows()
    }

    /// Appends an event, or nothing when it is flawed; answers whether it deletes.
    pub(super) fn read(&mut self, value: &[u8]) -> Scan<bool> {
        self.reader.read(value)?;
        let judged = self.judge();
        if judged.is_err() {
            self.reader.undo_last();
        }
        judged
    }

    /// Whether the last event deletes.
    fn judge(&self) -> Scan<bool> {
        let deletes = match self.reader.last_text(OP) {
            Some(b"c" | b"u" | b"r") => false,
            Some(b"d") => true,
            other => return Err(Reject::outside_value(no_operation(other))),
        };
        if deletes && self.reader.last_is_null(BEFORE) {
            return Err(Reject::outside_value(Flaw::NoBefore));
        }
        if !deletes && self.reader.last_is_null(AFTER) {
            return Err(Reject::outside_value(Flaw::NoAfter));
        }
        if let Some(millis) = self.timestamp.and_then(|column| self.reader.last_long(column)) {
            let at = || Step::Field("ts_ms".into());
            micros(millis).map_err(|flaw| Reject::outside_value(flaw).inside(at()))?;
        }
        Ok(deletes)
    }

    pub(super) fn prepare(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        self.reader.prepare(value)
    }

    pub(super) fn is_full(&self) -> bool {
        self.reader.is_full()
    }

    pub(super) fn undo_last(&mut self) {
        self.reader.undo_last();
    }

    pub(super) fn push_null(&mut self) {
        self.reader.push_null();
    }

    /// The columns so far; leaves them empty. `deletes`: as `read` answered; `None`: no event deletes.
    pub(super) fn finish(&mut self, deletes: Option<&BooleanArray>) -> ChangedRows {
        let columns = self.reader.finish();
        let (before, after) = (columns[BEFORE].as_struct(), columns[AFTER].as_struct());
        let mut beside = columns[OP + 1..].iter();
        let changes = self.wanted.iter().map(|column| match column {
            ChangeColumn::Op => Arc::clone(&columns[OP]),
            ChangeColumn::Timestamp => timestamps(beside.next().expect("a column each")),
            ChangeColumn::Source => Arc::clone(beside.next().expect("a column each")),
        });
        ChangedRows { changes: changes.collect(), rows: pick(before, after, deletes) }
    }
}

#[cold]
fn no_operation(op: Option<&[u8]>) -> Flaw {
    match op {
        None => Flaw::NoOperation,
        Some(b"t") => Flaw::NoRow("the table was truncated (`op` is `t`)"),
        Some(b"m") => Flaw::NoRow("a message in the database's log (`op` is `m`)"),
        Some(_) => Flaw::Operation,
    }
}

/// The columns of `before` where `deletes` says so, those of `after` elsewhere.
fn pick(
    before: &StructArray,
    after: &StructArray,
    deletes: Option<&BooleanArray>,
) -> Vec<ArrayRef> {
    let Some(deletes) = deletes else {
        return after.columns().to_vec();
    };
    let pairs = before.columns().iter().zip(after.columns());
    pairs
        .map(|(before, after)| {
            zip(deletes, before, after).expect("the rows have one length and the same types")
        })
        .collect()
}

/// A column of the table.
fn change_field(column: ChangeColumn) -> FieldRef {
    let (data_type, nullable) = match column {
        ChangeColumn::Op => (DataType::Utf8, false),
        ChangeColumn::Timestamp => (timestamp_type(), true),
        ChangeColumn::Source => (DataType::Utf8, true),
    };
    Arc::new(Field::new(column.column(), data_type, nullable))
}

/// The same as the envelope has it.
fn envelope_field(column: ChangeColumn) -> FieldRef {
    let json_text = || HashMap::from([(JSON_TEXT.to_owned(), String::new())]);
    Arc::new(match column {
        ChangeColumn::Op => Field::new("op", DataType::Utf8, true),
        ChangeColumn::Timestamp => Field::new("ts_ms", DataType::Int64, true),
        ChangeColumn::Source => {
            Field::new("source", DataType::Utf8, true).with_metadata(json_text())
        }
    })
}

pub(super) fn nullable(field: &FieldRef) -> FieldRef {
    match field.is_nullable() {
        true => Arc::clone(field),
        false => Arc::new(field.as_ref().clone().with_nullable(true)),
    }
}

fn timestamps(millis: &ArrayRef) -> ArrayRef {
    let millis: &Int64Array = millis.as_primitive::<Int64Type>();
    // What stands under a null was not looked at.
    let array = millis.unary::<_, TimestampMicrosecondType>(|ms| micros(ms).unwrap_or_default());
    Arc::new(array.with_timezone("UTC"))
}

fn micros(millis: i64) -> Result<i64, Flaw> {
    bounded(millis.checked_mul(1000).ok_or(Flaw::Years)?)
}
