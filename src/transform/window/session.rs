//! Sessions: rows of a key of which each is there before the sessions of those before it end, a gap after them.
//!
//! A chunk is sorted by key and time and cut at gaps, so that accumulators see few groups. At the end of an epoch what was
//! cut is merged, with each other and with the open sessions of its key.

use std::sync::Arc;

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::aggregate::{Aggregates, state_types};
use super::codec;
use super::error::WindowError;
use super::keys::Keys;
use super::measure::Measure;
use super::state::{Attempt, Place, Table, row_entry};
use super::watermark::Micros;

/// Rows of a key within a chunk that are of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) key: u32,
    pub(super) first: Micros,
    /// A gap after the last of them: that of one of the rows.
    pub(super) end: Micros,
}

/// Appends the intervals of a chunk's rows, and answers which one each row is in. `ends`: of sessions of one row each.
pub(super) fn cut(
    times: &[Micros],
    ends: &[Micros],
    keys: &[u32],
    intervals: &mut Vec<Interval>,
) -> Vec<usize> {
    let mut order: Vec<_> = (0..times.len()).map(|row| (keys[row], times[row], row)).collect();
    order.sort_unstable();
    let mut groups = vec![0; times.len()];
    let chunk = intervals.len();
    for (key, time, row) in order {
        match intervals[chunk..].last_mut() {
            Some(open) if open.key == key && time < open.end => open.end = open.end.max(ends[row]),
            _ => intervals.push(Interval { key, first: time, end: ends[row] }),
        }
        groups[row] = intervals.len() - 1;
    }
    groups
}

/// Where the states of a session are kept.
fn place(first: Micros, end: Micros) -> Place {
    Place { expiry: end, at: [first, 0] }
}

/// A session after an epoch, and what it was made of.
struct Merged {
    interval: Interval,
    /// Of this epoch, as positions in its intervals.
    cut: Vec<usize>,
    /// As they were stored: first event times, and ends.
    stored: Vec<(Micros, Micros)>,
}

/// Merges an epoch's intervals, whose states `drained` are, into the open sessions.
pub(super) fn settle(
    attempt: &mut Attempt<'_>,
    measures: &Arc<[Measure]>,
    keys: &Keys,
    intervals: &[Interval],
    drained: &[ArrayRef],
) -> Result<(), WindowError> {
    let merged = merge(attempt, keys, intervals)?;
    let mut aggregates = Aggregates::new(measures)?;

    let mut groups = vec![0; intervals.len()];
    for (group, session) in merged.iter().enumerate() {
        session.cut.iter().for_each(|position| groups[*position] = group);
    }
    aggregates.merge(drained, &groups, merged.len())?;

    let (mut rows, mut groups) = (Vec::new(), Vec::new());
    for (group, session) in merged.iter().enumerate() {
        let key = keys.key(session.interval.key);
        for (first, end) in &session.stored {
            let entry = row_entry(Table::Windows, place(*first, *end), key);
            let states = attempt.committed_row(&entry)?.ok_or(WindowError::Corrupt)?;
            attempt.delete_row(entry, states.len());
            rows.push(states);
            groups.push(group);
            attempt.delete_session(Table::Windows, key, *first);
        }
    }
    if !rows.is_empty() {
        let rows: Vec<_> = rows.iter().map(|states| &**states).collect();
        let states = codec::decode(&rows, &state_types(measures))?;
        aggregates.merge(&states, &groups, merged.len())?;
    }

    let states = codec::Encoder::new(&aggregates.drain()?);
    for (group, session) in merged.iter().enumerate() {
        let Interval { key, first, end } = session.interval;
        let mut bytes = Vec::new();
        states.append(group, &mut bytes);
        let key = keys.key(key);
        // Where one of these bounds was stored, it is deleted by now.
        let entry = row_entry(Table::Windows, place(first, end), key);
        attempt.put_row(entry, bytes.into(), None);
        attempt.put_session(Table::Windows, key, first, end);
    }
    Ok(())
}

/// The sessions that an epoch's intervals are part of.
fn merge(
    attempt: &Attempt<'_>,
    keys: &Keys,
    intervals: &[Interval],
) -> Result<Vec<Merged>, WindowError> {
    let mut by_key: BTreeMap<u32, Vec<(Micros, Micros, Option<usize>)>> = BTreeMap::new();
    for (position, Interval { key, first, end }) in intervals.iter().enumerate() {
        by_key.entry(*key).or_default().push((*first, *end, Some(position)));
    }
    let mut merged: Vec<Merged> = Vec::new();
    for (key, mut parts) in by_key {
        let stored = attempt.committed_sessions(Table::Windows, keys.key(key))?;
        parts.extend(stored.into_iter().map(|(first, end)| (first, end, None)));
        parts.sort_unstable();
        let own = merged.len();
        for (first, end, position) in parts {
            let near = |session: &&mut Merged| first < session.interval.end;
            let session = match merged[own..].last_mut().filter(near) {
                Some(session) => session,
                None => {
                    let interval = Interval { key, first, end };
                    merged.push(Merged { interval, cut: Vec::new(), stored: Vec::new() });
                    merged.last_mut().expect("it was pushed")
                }
            };
            session.interval.end = session.interval.end.max(end);
            match position {
                Some(position) => session.cut.push(position),
                None => session.stored.push((first, end)),
            }
        }
    }
    // What no row was added to stays as it is stored.
    merged.retain(|session| !session.cut.is_empty());
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_cut_where_rows_are_a_gap_apart() {
        let mut intervals = vec![Interval { key: 1, first: 0, end: 110 }];
        let times = [12, 5, 100, 9, 15];
        let groups = cut(&times, &times.map(|time| time + 10), &[1, 1, 1, 2, 1], &mut intervals);
        let of = |key, first, end| Interval { key, first, end };
        let new = [of(1, 5, 25), of(1, 100, 110), of(2, 9, 19)];
        assert_eq!(intervals[1..], new);
        assert_eq!(groups, [1, 1, 2, 3, 1]);
        let mut intervals = Vec::new();
        assert_eq!(cut(&[0, 10, 19], &[10, 20, 29], &[0, 0, 0], &mut intervals), [0, 1, 1]);
        // The first row's gap is longer than the second's.
        let mut intervals = Vec::new();
        assert_eq!(cut(&[0, 10, 19], &[20, 11, 20], &[0, 0, 0], &mut intervals), [0, 0, 0]);
        assert_eq!(intervals, [of(0, 0, 20)]);
    }
}
