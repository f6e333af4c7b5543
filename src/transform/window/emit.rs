//! Rows of the table: states of windows in, results out.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::take;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::aggregate::{Aggregates, state_types};
use super::assign::Aligned;
use super::codec;
use super::error::WindowError;
use super::keys::KEY_GROUPS;
use super::state::{Attempt, Bytes, Place, Row, Size, Table};
use super::watermark::Micros;
use super::{Kind, WindowPlan};
use crate::chunk::MAX_CHUNK_ROWS;

/// Windows that were closed.
#[derive(Debug, Default)]
pub struct Closed {
    pub count: usize,
    /// The key groups that they were in.
    pub groups: BTreeSet<u8>,
}

/// The windows that end after `before` and not after `after`, and how much of the state expires with them, which is for the
/// caller to do. `before` is W of the last commit, so
/// that each window is here once. All rows of a key are in its group, so it is done by some groups at a time, whose results
/// `write` takes.
pub(super) fn close<E: From<WindowError>>(
    plan: &WindowPlan,
    attempt: &mut Attempt<'_>,
    (before, after): (Option<Micros>, Option<Micros>),
    mut write: impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<(Closed, Size), E> {
    let (mut closed, mut gone) = (Closed::default(), Size::default());
    let Some(after) = after.filter(|after| Some(*after) != before) else {
        return Ok((closed, gone));
    };
    let until = match &plan.kind {
        // Most epochs move W and close nothing.
        Kind::Aligned(aligned)
            if first_open(aligned, before) == first_open(aligned, Some(after)) =>
        {
            return Ok((closed, gone));
        }
        // Of a sliding window's panes, some are needed longer than the window.
        Kind::Aligned(aligned) => aligned.expiry(aligned.pane(after) - 1),
        Kind::Session(_) => after,
        Kind::Unbounded | Kind::Rows => return Ok((closed, gone)),
    };
    let windows = |place: Place| match &plan.kind {
        Kind::Aligned(aligned) => {
            first_open(aligned, before).max(place.at[1])
                ..first_open(aligned, Some(after)).min(aligned.last_with(place.at[0]) + 1)
        }
        Kind::Session(_) | Kind::Unbounded => 0..1,
        Kind::Rows => 0..0,
    };
    let mut group = 0;
    while group < KEY_GROUPS {
        let rows = some_groups(attempt, Table::Windows, group..KEY_GROUPS, until)?;
        group = rows.next;
        let rows = rows.rows;
        let closing = rows.iter().filter(|row| !windows(row.place).is_empty());
        closed.groups.extend(closing.map(Row::group));
        if let Some(results) = results(plan, &rows, windows)? {
            closed.count += results.num_rows();
            write(results)?;
        }
        let expired = rows.iter().filter(|row| row.place.expiry <= after);
        let mut sessions: Vec<(Bytes, Micros)> = Vec::new();
        for row in expired {
            gone += row.size();
            if matches!(plan.kind, Kind::Session(_)) {
                sessions.push((row.key().into(), row.place.at[0]));
            }
        }
        sessions
            .iter()
            .for_each(|(key, first)| attempt.delete_session(Table::Windows, key, *first));
    }
    Ok((closed, gone))
}

/// The current value of every window of some key groups that W has not closed.
pub(super) fn open(
    plan: &WindowPlan,
    attempt: &Attempt<'_>,
    watermark: Option<Micros>,
    groups: Range<usize>,
) -> Result<Vec<RecordBatch>, WindowError> {
    let windows = |place: Place| match &plan.kind {
        Kind::Aligned(aligned) => {
            first_open(aligned, watermark).max(place.at[1])..aligned.last_with(place.at[0]) + 1
        }
        Kind::Session(_) | Kind::Unbounded => 0..1,
        Kind::Rows => 0..0,
    };
    let (mut open, mut group) = (Vec::new(), groups.start);
    while group < groups.end {
        let rows = some_groups(attempt, Table::Windows, group..groups.end, Micros::MAX)?;
        group = rows.next;
        open.extend(results(plan, &rows.rows, windows)?);
    }
    Ok(open)
}

/// The rows of a few key groups.
pub(super) struct SomeGroups<'a> {
    pub(super) rows: Vec<Row<'a>>,
    /// The group after them.
    pub(super) next: usize,
}

/// A table's rows of the first of these key groups, until there are as many as in a chunk.
pub(super) fn some_groups<'a>(
    attempt: &'a Attempt<'_>,
    table: Table,
    groups: Range<usize>,
    until: Micros,
) -> Result<SomeGroups<'a>, WindowError> {
    let mut some = SomeGroups { rows: Vec::new(), next: groups.start };
    while some.next < groups.end && some.rows.len() < MAX_CHUNK_ROWS {
        attempt.rows_until(some.next as u8, table, until, &mut some.rows)?;
        some.next += 1;
    }
    Ok(some)
}

/// The first window that W has not closed.
fn first_open(aligned: &Aligned, watermark: Option<Micros>) -> i64 {
    watermark.map_or(i64::MIN, |time| aligned.first_with(aligned.pane(time)))
}

/// Which window of which key: end, start, key.
type WindowOfKey<'a> = (Micros, Micros, &'a [u8]);

/// The results of windows, of which `windows` says which ones a stored row counts for; `None`: there are none.
fn results(
    plan: &WindowPlan,
    rows: &[Row<'_>],
    windows: impl Fn(Place) -> Range<i64>,
) -> Result<Option<RecordBatch>, WindowError> {
    let mut states = Vec::new();
    let mut members: Vec<(WindowOfKey<'_>, u64)> = Vec::new();
    for row in rows {
        let windows = windows(row.place);
        if windows.is_empty() {
            continue;
        }
        states.push(&*row.states);
        for window in windows {
            let (start, end) = match &plan.kind {
                Kind::Aligned(aligned) => aligned.bounds(window),
                Kind::Session(_) => (row.place.at[0], row.place.expiry),
                Kind::Unbounded | Kind::Rows => (Micros::MIN, Micros::MAX),
            };
            members.push(((end, start, row.key()), states.len() as u64 - 1));
        }
    }
    if members.is_empty() {
        return Ok(None);
    }
    members.sort_unstable();
    let windows: Vec<_> = members.chunk_by(|(a, _), (b, _)| a == b).collect();
    let ids = || windows.iter().map(|members| members[0].0);
    let mut columns = Vec::new();
    if !matches!(plan.kind, Kind::Unbounded) {
        columns.push(times(ids().map(|(_, start, _)| start).collect()));
        columns.push(times(ids().map(|(end, ..)| end).collect()));
    }
    let keys: Vec<_> = ids().map(|(.., key)| key).collect();
    columns.extend(codec::decode(&keys, &plan.key_types())?);
    columns.extend(aggregate(plan, &states, &windows)?);
    let size = RecordBatchOptions::new().with_row_count(Some(keys.len()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(plan.schema()), columns, &size);
    batch.map(Some).map_err(broken)
}

/// Merges the states that belong to each window, and evaluates them.
fn aggregate(
    plan: &WindowPlan,
    states: &[&[u8]],
    windows: &[&[(WindowOfKey<'_>, u64)]],
) -> Result<Vec<ArrayRef>, WindowError> {
    let (mut positions, mut groups) = (Vec::new(), Vec::new());
    for (window, members) in windows.iter().enumerate() {
        groups.resize(groups.len() + members.len(), window);
        positions.extend(members.iter().map(|(_, position)| *position));
    }
    let positions = UInt64Array::from(positions);
    let states = codec::decode(states, &state_types(&plan.measures))?;
    let states = states.iter().map(|column| take(column, &positions, None));
    let states = states.collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let mut aggregates = Aggregates::new(&plan.measures)?;
    aggregates.merge(&states, &groups, windows.len())?;
    aggregates.results()
}

pub(super) fn broken(error: ArrowError) -> WindowError {
    match error {
        ArrowError::OffsetOverflowError(_) => WindowError::TooLarge,
        error => WindowError::Accumulator(error.to_string()),
    }
}

fn times(times: Vec<Micros>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
}
