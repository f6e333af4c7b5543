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

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array};
use arrow::compute::filter;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::aggregate::Sources;
use super::codec::{self, Encoder};
use super::emit::{broken, some_groups};
use super::error::WindowError;
use super::first_last::source;
use super::keys::{KEY_GROUPS, Keys};
use super::state::{Attempt, Bytes, Place, Row, Size, Table, entry_of_source, row_entry};
use super::watermark::Micros;
use super::{Deduplicated, WindowPlan};
use crate::chunk::{MAX_CHUNK_ROWS, SourcePartition};

/// Which of the rows of a key is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// In the order of offsets. It is told at once.
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

/// The rows of an epoch that are not late.
#[derive(Default)]
pub(super) struct Arrived {
    keys: Keys,
    /// By partition and in the order of offsets.
    parts: BTreeMap<SourcePartition, Vec<Part>>,
}

/// Rows of one chunk.
struct Part {
    times: Vec<Micros>,
    offsets: Int64Array,
    /// Numbers of keys.
    keys: Vec<u32>,
    columns: Vec<ArrayRef>,
}

impl Arrived {
    /// Adds rows of a partition. `keys`: the columns that they are told apart by.
    pub(super) fn add(
        &mut self,
        partition: &SourcePartition,
        (times, offsets): (Vec<Micros>, Int64Array),
        keys: &[ArrayRef],
        columns: Vec<ArrayRef>,
    ) {
        let mut numbers = Vec::with_capacity(times.len());
        self.keys.number(keys, times.len(), &mut numbers);
        let part = Part { times, offsets, keys: numbers, columns };
        match self.parts.get_mut(partition) {
            Some(parts) => parts.push(part),
            None => drop(self.parts.insert(partition.clone(), vec![part])),
        }
    }
}

/// Rows that are the first of their keys.
pub(super) struct Firsts<'a> {
    pub(super) sources: Sources<'a>,
    pub(super) times: Vec<Micros>,
    pub(super) offsets: Int64Array,
    pub(super) columns: Vec<ArrayRef>,
}

impl Firsts<'_> {
    /// As the table has them, where they stay rows.
    pub(super) fn rows(self, plan: &WindowPlan) -> Result<RecordBatch, WindowError> {
        RecordBatch::try_new(Arc::clone(plan.schema()), self.columns).map_err(broken)
    }
}

/// In the place of an offset, where a kept time has none.
const KEPT: i64 = -1;

/// What became of rows, of this epoch and of those before.
#[derive(Default)]
pub(super) struct Settled {
    /// Rows that waited, and are the first.
    pub(super) released: usize,
    pub(super) duplicates: Duplicates,
    /// What of the state expires, which is for the caller to do.
    pub(super) gone: Size,
}

/// Gives `take` the rows that are known to be the first when these `arrived`. `passed`: W before the epoch and after it.
pub(super) fn settle<E: From<WindowError>>(
    deduplicated: &Deduplicated,
    attempt: &mut Attempt<'_>,
    arrived: Arrived,
    passed: (Option<Micros>, Option<Micros>),
    mut take: impl FnMut(Firsts<'_>) -> Result<(), E>,
) -> Result<Settled, E> {
    let mut settled = Settled::default();
    match deduplicated.first {
        First::ByArrival => {
            let by = (deduplicated.within, passed.1);
            settled.duplicates.arrived = take_first(attempt, by, arrived, &mut take)?;
        }
        First::ByEventTime => hold(attempt, &arrived),
    }
    release(deduplicated, attempt, passed, &mut settled, take)?;
    Ok(settled)
}

/// Gives the first of the rows that arrived, by partition; how many of each were not.
fn take_first<E: From<WindowError>>(
    attempt: &mut Attempt<'_>,
    (within, watermark): (Micros, Option<Micros>),
    Arrived { keys, parts }: Arrived,
    take: &mut impl FnMut(Firsts<'_>) -> Result<(), E>,
) -> Result<BTreeMap<SourcePartition, u64>, E> {
    let mut duplicates = BTreeMap::new();
    let mut seen: Vec<Option<Vec<Micros>>> = vec![None; keys.len()];
    for (partition, parts) in parts {
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
            dropped += mask.iter().filter(|is_first| !**is_first).count() as u64;
            let firsts = part.firsts(&partition, mask)?;
            if !firsts.times.is_empty() {
                take(firsts)?;
            }
        }
        if dropped > 0 {
            duplicates.insert(partition, dropped);
        }
    }
    Ok(duplicates)
}

impl Part {
    fn firsts(
        self,
        partition: &SourcePartition,
        mask: Vec<bool>,
    ) -> Result<Firsts<'_>, WindowError> {
        let Self { mut times, mut offsets, mut columns, .. } = self;
        if mask.contains(&false) {
            let mut kept = mask.iter();
            times.retain(|_| kept.next().copied().unwrap_or(false));
            let mask = BooleanArray::from(mask);
            offsets = filter(&offsets, &mask).map_err(broken)?.as_primitive::<Int64Type>().clone();
            let filtered = columns.iter().map(|column| filter(column, &mask).map_err(broken));
            columns = filtered.collect::<Result<_, _>>()?;
        }
        Ok(Firsts { sources: Sources::One(partition), times, offsets, columns })
    }
}

/// Puts rows where they wait.
fn hold(attempt: &mut Attempt<'_>, Arrived { keys, parts }: &Arrived) {
    for (partition, parts) in parts {
        let (number, source) = (i64::from(partition.id.partition), source(partition));
        for part in parts {
            let columns = Encoder::new(&part.columns);
            for (row, (time, key)) in part.times.iter().zip(&part.keys).enumerate() {
                let place = Place { expiry: time + 1, at: [number, part.offsets.value(row)] };
                let mut waiting = (source.len() as u16).to_le_bytes().to_vec();
                waiting.extend_from_slice(&source);
                columns.append(row, &mut waiting);
                let entry = entry_of_source(Table::Firsts, place, keys.key(*key), &source);
                attempt.put_row(entry, waiting.into(), None);
            }
        }
    }
}

/// Judges the rows that W has passed, and forgets the times that no row can be near to any more. All rows of a key are in its
/// group, so it is done by some groups at a time.
fn release<E: From<WindowError>>(
    Deduplicated { within, columns: types, .. }: &Deduplicated,
    attempt: &mut Attempt<'_>,
    (before, after): (Option<Micros>, Option<Micros>),
    settled: &mut Settled,
    mut take: impl FnMut(Firsts<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let Some(watermark) = after.filter(|after| Some(*after) != before) else { return Ok(()) };
    let mut group = 0;
    while group < KEY_GROUPS {
        let passed = some_groups(attempt, Table::Firsts, group..KEY_GROUPS, watermark)?;
        group = passed.next;
        let is_kept = |row: &&Row<'_>| row.place.at[1] == KEPT;
        let forgotten = passed.rows.iter().filter(is_kept);
        let forgotten: Vec<(Bytes, Micros)> =
            forgotten.map(|row| (Box::from(row.key()), row.place.at[0])).collect();
        let waiting = passed.rows.iter().filter(|row| !is_kept(row)).map(Waiting::read);
        let mut waiting = waiting.collect::<Result<Vec<_>, _>>()?;
        waiting.sort_unstable_by_key(|row| (row.time, row.source, row.offset));
        let firsts = first_of(attempt, *within, &waiting)?;
        settled.released += firsts.len();
        settled.duplicates.waited += (waiting.len() - firsts.len()) as u64;
        for rows in firsts.chunks(MAX_CHUNK_ROWS) {
            let columns: Vec<_> = rows.iter().map(|row| row.columns).collect();
            let sources = rows.iter().map(|row| row.source);
            take(Firsts {
                sources: Sources::Each(&BinaryArray::from_iter_values(sources)),
                times: rows.iter().map(|row| row.time).collect(),
                offsets: rows.iter().map(|row| Some(row.offset)).collect(),
                columns: codec::decode(&columns, types)?,
            })?;
        }
        let kept: Vec<(Bytes, Micros)> =
            firsts.iter().map(|row| (Box::from(row.key), row.time)).collect();
        settled.gone = passed.rows.iter().fold(settled.gone, |sum, row| sum + row.size());
        for (key, time) in forgotten {
            attempt.delete_session(Table::Firsts, &key, time);
        }
        for (key, time) in kept {
            remember(attempt, &key, time, *within, after);
        }
    }
    Ok(())
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

/// The rows that are the first of their keys. `waiting`: in the one order.
fn first_of<'a>(
    attempt: &Attempt<'_>,
    within: Micros,
    waiting: &'a [Waiting<'a>],
) -> Result<Vec<&'a Waiting<'a>>, WindowError> {
    let mut firsts = Vec::new();
    let mut seen: HashMap<&[u8], Vec<Micros>> = HashMap::new();
    for row in waiting {
        if !seen.contains_key(row.key) {
            seen.insert(row.key, kept_times(attempt, row.key)?);
        }
        let times = seen.get_mut(row.key).expect("it was put there");
        if keep(times, row.time, within) {
            firsts.push(row);
        }
    }
    Ok(firsts)
}

/// The times of a key that were kept before this epoch, in order.
fn kept_times(attempt: &Attempt<'_>, key: &[u8]) -> Result<Vec<Micros>, WindowError> {
    Ok(attempt.committed_sessions(Table::Firsts, key)?.into_iter().map(|(time, _)| time).collect())
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
        let entry = row_entry(Table::Firsts, Place { expiry, at: [time, KEPT] }, key);
        attempt.put_row(entry, Bytes::default(), None);
        attempt.put_session(Table::Firsts, key, time, time);
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
