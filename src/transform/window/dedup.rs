//! Deduplication: of the rows of a key that are nearer than `within` to each other, the first one stays.
//!
//! A key's times are kept until W is so far beyond them that no row which isn't late can be near: forgetting never decides.
//! By arrival, rows are judged in the epoch that they came in, by partition and in the order of offsets. By event time they
//! wait in the state until W has passed them, and are judged in the one order. Both are entries as those of windows:
//!
//! - a kept time is a session of one instant, which expires `within` later;
//! - a waiting row expires right after its time. Its source stands behind its key, its columns are its states.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use super::WindowPlan;
use super::codec::{self, Encoder};
use super::emit::{broken, some_groups};
use super::error::WindowError;
use super::first_last::source;
use super::keys::{KEY_GROUPS, Keys};
use super::state::{Attempt, Bytes, Place, Row, Size, entry_of_source, row_entry};
use super::watermark::Micros;
use crate::chunk::{MAX_CHUNK_ROWS, SourcePartition};

/// Which of the rows of a key is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// In the order of offsets. Rows are written at once.
    ByArrival,
    /// By event time, topic, partition, offset. Rows wait until W has passed them.
    ByEventTime,
}

/// Rows that were dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Of the rows of this epoch.
    pub arrived: BTreeMap<SourcePartition, u64>,
    /// Of those that waited.
    pub waited: u64,
}

/// The rows of an epoch that are not late, by partition and in the order of offsets.
pub(super) type Arrived = BTreeMap<SourcePartition, Vec<Part>>;

/// Rows of one chunk.
pub(super) struct Part {
    pub(super) times: Vec<Micros>,
    pub(super) offsets: Int64Array,
    /// Numbers of keys.
    pub(super) keys: Vec<u32>,
    pub(super) rows: RecordBatch,
}

/// In the place of an offset, where a kept time has none.
const KEPT: i64 = -1;

/// What became of rows, of this epoch and of those before.
pub(super) struct Settled {
    /// Rows that waited and were written.
    pub(super) released: usize,
    pub(super) duplicates: Duplicates,
}

/// Gives `write` what an epoch writes, of which these rows `arrived`. `passed`: W before it and after it.
pub(super) fn settle<E: From<WindowError>>(
    plan: &WindowPlan,
    attempt: &mut Attempt<'_>,
    (within, first): (Micros, First),
    keys: &Keys,
    arrived: Arrived,
    passed: (Option<Micros>, Option<Micros>),
    mut write: impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<Settled, E> {
    let mut duplicates = Duplicates::default();
    match first {
        First::ByArrival => {
            let by = (within, passed.1);
            duplicates.arrived = take_first(attempt, by, keys, arrived, &mut write)?;
        }
        First::ByEventTime => hold(attempt, keys, &arrived),
    }
    let (released, waited) = release(plan, within, attempt, passed, write)?;
    duplicates.waited = waited;
    Ok(Settled { released, duplicates })
}

/// Writes the first of the rows that arrived, by partition; how many of each were not.
fn take_first<E: From<WindowError>>(
    attempt: &mut Attempt<'_>,
    (within, watermark): (Micros, Option<Micros>),
    keys: &Keys,
    arrived: Arrived,
    write: &mut impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<BTreeMap<SourcePartition, u64>, E> {
    let mut duplicates = BTreeMap::new();
    let mut seen: Vec<Option<Vec<Micros>>> = vec![None; keys.len()];
    for (partition, parts) in arrived {
        let mut dropped = 0;
        for part in parts {
            let mut mask = Vec::with_capacity(part.times.len());
            for (time, number) in part.times.iter().zip(&part.keys) {
                let key = keys.key(*number);
                let times = match &mut seen[*number as usize] {
                    Some(times) => times,
                    unknown => unknown.insert(kept_times(attempt, key)?),
                };
                let is_first = keep(times, *time, within);
                if is_first {
                    remember(attempt, key, *time, within, watermark);
                }
                mask.push(is_first);
            }
            let mask = BooleanArray::from(mask);
            let some = mask.false_count();
            dropped += some as u64;
            let rows = match some {
                0 => part.rows,
                _ => filter_record_batch(&part.rows, &mask).map_err(broken)?,
            };
            if rows.num_rows() > 0 {
                write(rows)?;
            }
        }
        if dropped > 0 {
            duplicates.insert(partition, dropped);
        }
    }
    Ok(duplicates)
}

/// Puts rows where they wait.
fn hold(attempt: &mut Attempt<'_>, keys: &Keys, arrived: &Arrived) {
    for (partition, parts) in arrived {
        let (number, source) = (i64::from(partition.id.partition), source(partition));
        for part in parts {
            let columns = Encoder::new(part.rows.columns());
            for (row, (time, key)) in part.times.iter().zip(&part.keys).enumerate() {
                let place = Place { expiry: time + 1, at: [number, part.offsets.value(row)] };
                let mut waiting = (source.len() as u16).to_le_bytes().to_vec();
                waiting.extend_from_slice(&source);
                columns.append(row, &mut waiting);
                let entry = entry_of_source(place, keys.key(*key), &source);
                attempt.put_row(entry, waiting.into(), None);
            }
        }
    }
}

/// Judges the rows that W has passed, and forgets the times that no row can be near to any more. All rows of a key are in its
/// group, so it is done by some groups at a time. How many rows were written, and how many were duplicates.
fn release<E: From<WindowError>>(
    plan: &WindowPlan,
    within: Micros,
    attempt: &mut Attempt<'_>,
    (before, after): (Option<Micros>, Option<Micros>),
    mut write: impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<(usize, u64), E> {
    let (mut released, mut duplicates) = (0, 0);
    let Some(watermark) = after.filter(|after| Some(*after) != before) else {
        return Ok((released, duplicates));
    };
    let types: Vec<_> = plan.schema().fields().iter().map(|f| f.data_type().clone()).collect();
    let (mut group, mut gone) = (0, Size::default());
    while group < KEY_GROUPS {
        let passed = some_groups(attempt, group..KEY_GROUPS, watermark)?;
        group = passed.next;
        let is_kept = |row: &&Row<'_>| row.place.at[1] == KEPT;
        let forgotten = passed.rows.iter().filter(is_kept);
        let forgotten: Vec<(Bytes, Micros)> =
            forgotten.map(|row| (Box::from(row.key()), row.place.at[0])).collect();
        let waiting = passed.rows.iter().filter(|row| !is_kept(row)).map(Waiting::read);
        let mut waiting = waiting.collect::<Result<Vec<_>, _>>()?;
        waiting.sort_unstable_by_key(|row| (row.time, row.source, row.offset));
        let (first, kept) = first_of(attempt, within, &waiting)?;
        released += first.len();
        duplicates += (waiting.len() - first.len()) as u64;
        for rows in first.chunks(MAX_CHUNK_ROWS) {
            write(batch(plan, &types, rows)?)?;
        }
        gone = passed.rows.iter().fold(gone, |sum, row| sum + row.size());
        forgotten.iter().for_each(|(key, time)| attempt.delete_session(key, *time));
        for (key, time) in kept {
            remember(attempt, &key, time, within, after);
        }
    }
    if gone != Size::default() {
        attempt.expire(watermark, gone);
    }
    Ok((released, duplicates))
}

/// A row that waited.
struct Waiting<'a> {
    time: Micros,
    source: &'a [u8],
    offset: i64,
    key: &'a [u8],
    columns: &'a [u8],
}

impl<'a> Waiting<'a> {
    fn read(row: &'a Row<'_>) -> Result<Self, WindowError> {
        let read = || {
            let (length, rest) = row.states.split_first_chunk::<2>()?;
            let (source, columns) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            let key = row.key().strip_suffix(source)?;
            let (time, offset) = (row.place.expiry - 1, row.place.at[1]);
            Some(Self { time, source, offset, key, columns })
        };
        read().ok_or(WindowError::Corrupt)
    }
}

/// The columns of rows that are the first of their keys, and their keys and times. `waiting`: in the one order.
type FirstRows<'a> = (Vec<&'a [u8]>, Vec<(Bytes, Micros)>);

fn first_of<'a>(
    attempt: &Attempt<'_>,
    within: Micros,
    waiting: &[Waiting<'a>],
) -> Result<FirstRows<'a>, WindowError> {
    let (mut first, mut kept) = (Vec::new(), Vec::new());
    let mut seen: HashMap<&[u8], Vec<Micros>> = HashMap::new();
    for row in waiting {
        if !seen.contains_key(row.key) {
            seen.insert(row.key, kept_times(attempt, row.key)?);
        }
        let times = seen.get_mut(row.key).expect("it was put there");
        if keep(times, row.time, within) {
            first.push(row.columns);
            kept.push((Box::from(row.key), row.time));
        }
    }
    Ok((first, kept))
}

fn batch(
    plan: &WindowPlan,
    types: &[DataType],
    rows: &[&[u8]],
) -> Result<RecordBatch, WindowError> {
    let columns = codec::decode(rows, types)?;
    RecordBatch::try_new(Arc::clone(plan.schema()), columns).map_err(broken)
}

/// The times of a key that were kept before this epoch, in order.
fn kept_times(attempt: &Attempt<'_>, key: &[u8]) -> Result<Vec<Micros>, WindowError> {
    Ok(attempt.committed_sessions(key)?.into_iter().map(|(time, _)| time).collect())
}

/// Adds a time to others in order, unless it is near to one of them.
fn keep(times: &mut Vec<Micros>, time: Micros, within: Micros) -> bool {
    let at = times.partition_point(|kept| *kept <= time - within);
    let is_first = times.get(at).is_none_or(|kept| *kept >= time + within);
    if is_first {
        times.insert(at, time);
    }
    is_first
}

/// Keeps a time, unless no row can be near to it any more.
fn remember(
    attempt: &mut Attempt<'_>,
    key: &[u8],
    time: Micros,
    within: Micros,
    watermark: Option<Micros>,
) {
    let expiry = time + within;
    if watermark.is_none_or(|watermark| watermark < expiry) {
        let entry = row_entry(Place { expiry, at: [time, KEPT] }, key);
        attempt.put_row(entry, Bytes::default(), None);
        attempt.put_session(key, time, time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_kept_unless_one_is_nearer_than_within() {
        let mut times = Vec::new();
        for (time, kept) in [(100, true), (109, false), (91, false), (110, true), (90, true)] {
            assert_eq!(keep(&mut times, time, 10), kept, "{time}");
        }
        assert_eq!(times, [90, 100, 110]);
    }
}
