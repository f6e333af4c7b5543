//! What an output with windows makes of rows, planned once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use crate::chunk::Chunk;
use crate::config::{MetadataColumn, Output};
use crate::engine::EngineError;
use crate::engine::shape::{refuse_unknown, visible};
use crate::sink::files::FilesError;
use crate::transform::TransformError;
use crate::transform::aggregation::Aggregation;
use crate::transform::deduplication::Deduplication;
use crate::transform::window::{First, WindowPlan};

/// What an output with `aggregate` or `deduplicate` makes of rows: planned once.
pub struct WindowShape {
    /// The columns that expressions see, among a chunk's.
    pub(super) visible: Vec<usize>,
    /// A chunk's columns.
    pub(super) rows: SchemaRef,
    /// The records' timestamps among a chunk's columns, if anybody asked for them.
    timestamps: Option<usize>,
    pub(super) computes: Computes,
}

pub(super) enum Computes {
    Aggregation(Box<Aggregation>),
    Deduplication(Box<Deduplication>),
}

impl WindowShape {
    /// `rows`: a chunk's columns. `None`: rows become rows as they are.
    ///
    /// # Errors
    /// Expressions that can't be planned, columns named in `partition_by` that the table wouldn't have.
    pub fn new(output: &Output, rows: &SchemaRef) -> Result<Option<Self>, EngineError> {
        let visible = visible(output, rows);
        let seen = SchemaRef::from(rows.project(&visible).map_err(FilesError::Rows)?);
        let (select, filter) = (output.select.as_deref(), output.filter.as_deref());
        let computes = match (&output.aggregate, &output.deduplicate) {
            (Some(aggregate), deduplicate) => {
                let deduplicate = deduplicate.as_ref();
                let planned = Aggregation::new(&seen, aggregate, deduplicate, filter, select)?;
                Computes::Aggregation(Box::new(planned))
            }
            (None, Some(deduplicate)) => {
                let planned = Deduplication::new(&seen, deduplicate, filter, select)?;
                Computes::Deduplication(Box::new(planned))
            }
            (None, None) => return Ok(None),
        };
        let timestamps = rows.index_of(MetadataColumn::Timestamp.column()).ok();
        let shape = Self { visible, rows: rows.clone(), timestamps, computes };
        refuse_unknown(output, shape.schema())?;
        Ok(Some(shape))
    }

    /// The table's columns.
    pub fn schema(&self) -> &SchemaRef {
        match &self.computes {
            Computes::Aggregation(of) => of.schema(),
            Computes::Deduplication(of) => of.schema(),
        }
    }

    pub(super) fn windows(&self) -> &Arc<WindowPlan> {
        match &self.computes {
            Computes::Aggregation(of) => of.windows(),
            Computes::Deduplication(of) => of.windows(),
        }
    }

    pub(super) fn meaning(&self) -> BTreeMap<String, String> {
        match &self.computes {
            Computes::Aggregation(of) => of.meaning(),
            Computes::Deduplication(of) => of.meaning(),
        }
    }

    pub(super) fn kept(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, TransformError> {
        match &self.computes {
            Computes::Aggregation(of) => of.kept(rows),
            Computes::Deduplication(of) => of.kept(rows),
        }
    }

    pub(super) fn event_times(&self, rows: &RecordBatch) -> Result<Int64Array, TransformError> {
        match &self.computes {
            Computes::Aggregation(of) => of.event_times(rows),
            Computes::Deduplication(of) => of.event_times(rows),
        }
    }

    /// How long a session goes on after each of the rows that are kept; `None`: rows don't say.
    pub(super) fn gaps(
        &self,
        rows: &RecordBatch,
        kept: Option<&BooleanArray>,
    ) -> Result<Option<Int64Array>, TransformError> {
        match &self.computes {
            Computes::Aggregation(of) => of.gaps(rows, kept),
            Computes::Deduplication(_) => Ok(None),
        }
    }

    /// What an epoch writes, as the table has it.
    pub(super) fn select(
        &self,
        closed: RecordBatch,
        epoch: u64,
    ) -> Result<RecordBatch, TransformError> {
        match &self.computes {
            Computes::Aggregation(of) => of.select(&closed, epoch),
            Computes::Deduplication(_) => Ok(closed),
        }
    }
}

/// What rows that count become, but for duplicates among them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Becomes {
    Aggregated,
    Rows,
    /// It is told later on.
    Held,
}

impl WindowShape {
    pub(super) fn becomes(&self) -> Becomes {
        let windows = self.windows();
        match windows.first() {
            Some(First::ByEventTime) => Becomes::Held,
            Some(First::ByArrival) | None if windows.aggregates() => Becomes::Aggregated,
            Some(First::ByArrival) | None => Becomes::Rows,
        }
    }

    /// The records' timestamps in microseconds.
    pub(super) fn stamps(&self, chunk: &Chunk) -> Int64Array {
        let Some(column) = self.timestamps else {
            return Int64Array::new_null(chunk.rows.num_rows());
        };
        micros(chunk.rows.column(column))
    }
}

/// Instants as numbers.
fn micros(times: &ArrayRef) -> Int64Array {
    times.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>()
}
