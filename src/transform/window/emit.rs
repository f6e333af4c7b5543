//! Rows of the table: states of windows in, results out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::take;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::aggregate::{Aggregates, state_types};
use super::assign::Aligned;
use super::codec;
use super::error::WindowError;
use super::state::{Attempt, Place, Row};
use super::watermark::Micros;
use super::{Kind, WindowPlan};

/// The windows that end after `before` and not after `after`, which leave the state. `before` is W of the last commit, so
/// that each window is here once.
pub(super) fn close(
    plan: &WindowPlan,
    attempt: &mut Attempt<'_>,
    before: Option<Micros>,
    after: Option<Micros>,
) -> Result<RecordBatch, WindowError> {
    let Some(after) = after.filter(|after| Some(*after) != before) else {
        return results(plan, &[], |_| 0..0);
    };
    let (closed, expired) = {
        let rows = match &plan.kind {
            // Of a sliding window's panes, some are needed longer than the window.
            Kind::Aligned(aligned) => {
                attempt.rows_until(aligned.expiry(aligned.pane(after) - 1))?
            }
            Kind::Session { .. } => attempt.rows_until(after)?,
            Kind::Unbounded => Vec::new(),
        };
        let closed = results(plan, &rows, |place| match &plan.kind {
            Kind::Aligned(aligned) => {
                first_open(aligned, before).max(place.at[1])
                    ..first_open(aligned, Some(after)).min(aligned.last_with(place.at[0]) + 1)
            }
            Kind::Session { .. } | Kind::Unbounded => 0..1,
        })?;
        let expired = rows.iter().filter(|row| row.place.expiry <= after);
        let expired: Vec<_> = expired.map(|row| (row.place, row.key.to_vec())).collect();
        (closed, expired)
    };
    for (place, key) in expired {
        attempt.delete_row(place, &key);
        if matches!(plan.kind, Kind::Session { .. }) {
            attempt.delete_session(&key, place.at[0]);
        }
    }
    Ok(closed)
}

/// The current value of every window that W has not closed.
pub(super) fn open(
    plan: &WindowPlan,
    attempt: &Attempt<'_>,
    watermark: Option<Micros>,
) -> Result<RecordBatch, WindowError> {
    results(plan, &attempt.rows_until(Micros::MAX)?, |place| match &plan.kind {
        Kind::Aligned(aligned) => {
            first_open(aligned, watermark).max(place.at[1])..aligned.last_with(place.at[0]) + 1
        }
        Kind::Session { .. } | Kind::Unbounded => 0..1,
    })
}

/// The first window that W has not closed.
fn first_open(aligned: &Aligned, watermark: Option<Micros>) -> i64 {
    watermark.map_or(i64::MIN, |time| aligned.first_with(aligned.pane(time)))
}

/// The results of windows, of which `windows` says which ones a stored row counts for.
fn results(
    plan: &WindowPlan,
    rows: &[Row<'_>],
    windows: impl Fn(Place) -> std::ops::Range<i64>,
) -> Result<RecordBatch, WindowError> {
    let mut groups: BTreeMap<(Micros, Micros, &[u8]), Vec<u64>> = BTreeMap::new();
    for (position, row) in rows.iter().enumerate() {
        for window in windows(row.place) {
            let (start, end) = match &plan.kind {
                Kind::Aligned(aligned) => aligned.bounds(window),
                Kind::Session { .. } => (row.place.at[0], row.place.expiry),
                Kind::Unbounded => (Micros::MIN, Micros::MAX),
            };
            groups.entry((end, start, row.key)).or_default().push(position as u64);
        }
    }
    let mut columns = Vec::new();
    if !matches!(plan.kind, Kind::Unbounded) {
        let starts = groups.keys().map(|(_, start, _)| *start);
        let ends = groups.keys().map(|(end, ..)| *end);
        columns.extend([times(starts.collect()), times(ends.collect())]);
    }
    let keys: Vec<_> = groups.keys().map(|(.., key)| *key).collect();
    columns.extend(codec::decode(&keys, &plan.key_types())?);
    columns.extend(aggregate(plan, rows, groups.into_values())?);
    let size = RecordBatchOptions::new().with_row_count(Some(keys.len()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(plan.schema()), columns, &size);
    batch.map_err(|error| WindowError::Accumulator(error.to_string()))
}

/// Merges the states of each group's rows, and evaluates them.
fn aggregate(
    plan: &WindowPlan,
    rows: &[Row<'_>],
    members: impl ExactSizeIterator<Item = Vec<u64>>,
) -> Result<Vec<ArrayRef>, WindowError> {
    let total = members.len();
    let (mut positions, mut groups) = (Vec::new(), Vec::new());
    for (group, members) in members.enumerate() {
        groups.resize(groups.len() + members.len(), group);
        positions.extend(members);
    }
    let states: Vec<_> = rows.iter().map(|row| row.states).collect();
    let states = codec::decode(&states, &state_types(&plan.measures))?;
    let positions = UInt64Array::from(positions);
    let taken = states.iter().map(|column| take(column, &positions, None));
    let taken = taken.collect::<Result<Vec<_>, _>>();
    let taken = taken.map_err(|error| WindowError::Accumulator(error.to_string()))?;
    let mut aggregates = Aggregates::new(&plan.measures)?;
    aggregates.merge(&taken, &groups, total)?;
    aggregates.results()
}

fn times(times: Vec<Micros>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
}
