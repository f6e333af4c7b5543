//! Event-time windows: what an output with `aggregate` or `deduplicate` makes of rows (docs/WINDOWS.md).
//!
//! Owns windows, watermarks, lateness, aggregation and the state between epochs. But for state on disk, which is a cache,
//! everything here is pure: no I/O, no clock; `now` and the state are arguments. Guarantees: the windows written and the
//! rows that were late depend on the rows of the topic and on the recorded [`Decisions`] alone, not on how batches were cut,
//! in which order partitions came, or which attempts failed; each window is written once. It deliberately plans no SQL,
//! stores nothing, and commits nothing.
//!
//! An epoch: [`Windows::begin`]; per chunk [`Epoch::judge`], which says what rows count, and [`Epoch::add`] or
//! [`Epoch::arrive`] for those; [`Windows::finish`]; and when its commit has landed, [`Windows::commit`].

mod aggregate;
mod assign;
mod calendar;
mod codec;
mod dedup;
mod distinct;
mod distinct_values;
mod emit;
mod epoch;
mod error;
mod exact;
mod extreme;
mod first_last;
mod hash;
mod idle;
mod judge;
mod keys;
mod list;
mod measure;
mod moments;
mod packed;
mod percentile;
mod ranked;
mod session;
mod sketch;
mod state;
mod stored;
mod watermark;
mod wide;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

pub use aggregate::Argument;
pub use assign::{Aligned, LONGEST_WINDOW, MOST_PANES};
pub use dedup::{Duplicates, First};
pub use emit::Closed;
pub use epoch::{ArrivedRows, CountedRows, Epoch, Finished, Next, Windows};
pub use error::WindowError;
pub use idle::{Confirmed, IdleClock, Reading};
pub use judge::{Counts, Judged, Lateness, Times, USABLE_TIMES, Verdict};
pub use keys::KEY_GROUPS;
pub use measure::{Function, Measure};
pub use state::{Changes, GroupSummary, State};
pub use stored::{CHAIN, Restoring, Stored, ToStore};
pub use watermark::{Decisions, Micros, PartitionWatermark, Watermarks};

/// The columns of windows.
pub const BOUNDS: [&str; 2] = ["window_start", "window_end"];

/// How long a session's gap may be.
const GAPS: std::ops::RangeInclusive<Micros> = 1..=LONGEST_WINDOW;

/// What an output makes of rows.
#[derive(Debug, Clone)]
pub struct WindowPlan {
    kind: Kind,
    /// Before rows count. `None`: all do.
    deduplicated: Option<Deduplicated>,
    lateness: Lateness,
    measures: Arc<[Measure]>,
    keys: Vec<FieldRef>,
    schema: SchemaRef,
}

/// The kinds of windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Tumbling and sliding windows.
    Aligned(Aligned),
    /// Rows of a key nearer to each other than the gap.
    Session(Gap),
    /// One window per key that never closes.
    Unbounded,
    /// No windows: rows stay rows. There are duplicates to be dropped.
    Rows,
}

/// Of the rows of a key that are nearer to each other than `within`, only the first counts.
#[derive(Debug, Clone)]
struct Deduplicated {
    within: Micros,
    first: First,
    /// Of a row while it isn't known whether it is one of these.
    columns: Vec<DataType>,
}

impl Deduplicated {
    fn new(within: Micros, first: First, columns: &[FieldRef]) -> Result<Self, WindowError> {
        if !(1..=LONGEST_WINDOW).contains(&within) {
            let message = "`within` is longer than nothing and at most 100 years long";
            return Err(WindowError::Refused(message.to_owned()));
        }
        let waits = first == First::ByEventTime;
        let unfit = columns.iter().find(|column| !codec::encodes_rows(column.data_type()));
        if let Some(column) = unfit.filter(|_| waits) {
            let message = format!("`{}`: such columns can't wait in the state", column.name());
            return Err(WindowError::Refused(message));
        }
        let columns = columns.iter().map(|column| column.data_type().clone()).collect();
        Ok(Self { within, first, columns })
    }
}

/// How long a session goes on after a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    Fixed(Micros),
    /// Each row's is among [`Times`].
    OfRow,
}

impl WindowPlan {
    /// `keys` are the columns of `group_by`, under the names and types that they have in the table.
    pub fn new(
        kind: Kind,
        lateness: Lateness,
        keys: Vec<FieldRef>,
        measures: Vec<Measure>,
    ) -> Result<Self, WindowError> {
        let schema = Arc::new(schema(&kind, &keys, &measures));
        Self::of_schema(kind, lateness, keys, measures, schema)
    }

    /// Rows that have the table's columns and are told apart by `keys`.
    pub fn deduplicating(
        (within, first): (Micros, First),
        lateness: Lateness,
        keys: Vec<FieldRef>,
        rows: &SchemaRef,
    ) -> Result<Self, WindowError> {
        let deduplicated = Some(Deduplicated::new(within, first, rows.fields())?);
        let plan = Self::of_schema(Kind::Rows, lateness, keys, Vec::new(), rows.clone())?;
        Ok(Self { deduplicated, ..plan })
    }

    /// The same windows of rows of which duplicates are dropped before.
    pub fn of_distinct(self, within: Micros, first: First) -> Result<Self, WindowError> {
        let deduplicated = Some(Deduplicated::new(within, first, &packed::columns(&self))?);
        Ok(Self { deduplicated, ..self })
    }

    fn of_schema(
        kind: Kind,
        lateness: Lateness,
        keys: Vec<FieldRef>,
        measures: Vec<Measure>,
        schema: SchemaRef,
    ) -> Result<Self, WindowError> {
        let lengths = [lateness.delay, lateness.max_future.unwrap_or(0)];
        if lengths.iter().any(|length| !(0..=LONGEST_WINDOW).contains(length)) {
            let message = "`delay` and `max_future` are at most 100 years long, and not negative";
            return Err(WindowError::Refused(message.to_owned()));
        }
        if matches!(kind, Kind::Session(Gap::Fixed(gap)) if !GAPS.contains(&gap)) {
            let message = "a session's gap is longer than nothing and at most 100 years long";
            return Err(WindowError::Refused(message.to_owned()));
        }
        if let Some(key) = keys.iter().find(|key| !codec::encodes(key.data_type())) {
            let message = format!("`{}`: rows can't be grouped by nested columns", key.name());
            return Err(WindowError::Refused(message));
        }
        Ok(Self { kind, deduplicated: None, lateness, measures: measures.into(), keys, schema })
    }

    /// The table's columns: `window_start` and `window_end` where windows have them, the keys, the measures.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The column with the ends of windows; `None`: they have none.
    pub fn end_column(&self) -> Option<&'static str> {
        matches!(self.kind, Kind::Aligned(_) | Kind::Session(_)).then_some(BOUNDS[1])
    }

    /// Which rows stay where duplicates are dropped; `None`: all do.
    pub fn first(&self) -> Option<First> {
        self.deduplicated.as_ref().map(|deduplicated| deduplicated.first)
    }

    /// Rows are aggregated; otherwise they stay rows.
    pub fn aggregates(&self) -> bool {
        self.kind != Kind::Rows
    }

    /// By whose windows rows are late: what is told apart has to be so before it counts.
    fn late_by(&self) -> &Kind {
        if self.deduplicated.is_some() { &Kind::Rows } else { &self.kind }
    }

    fn key_types(&self) -> Vec<DataType> {
        self.keys.iter().map(|key| key.data_type().clone()).collect()
    }
}

fn schema(kind: &Kind, keys: &[FieldRef], measures: &[Measure]) -> Schema {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let bounds = match kind {
        Kind::Aligned(_) | Kind::Session(_) => BOUNDS.as_slice(),
        Kind::Unbounded | Kind::Rows => &[],
    };
    let bounds = bounds.iter().map(|name| Arc::new(Field::new(*name, instant.clone(), false)));
    let keys = keys.iter().map(Arc::clone);
    let measures = measures
        .iter()
        .map(|measure| Arc::new(Field::new(measure.name(), measure.result().clone(), true)));
    Schema::new(bounds.chain(keys).chain(measures).collect::<Vec<_>>())
}
