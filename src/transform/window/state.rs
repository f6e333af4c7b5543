//! What windows keep between epochs: an ordered map of bytes, and the changes of one epoch to it.
//!
//! An epoch reads the committed entries through its own changes and writes only these. They are its changelog: applied when
//! its commit has landed, dropped when it has not. Keys begin with the key group, so that a group is one run of entries; then
//! comes the table:
//!
//! - rows: `group, 0, expiry, place, key` → states. In the order of expiry, so that what closes is at the front.
//! - sessions: `group, 1, key, start` → the last event time. Finds the open sessions of a key.
//!
//! What deduplication keeps are rows and sessions too.
//!
//! Encoded keys of the same columns are never the beginning of each other, so a key can stand before other bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::error::WindowError;
use super::keys::{KEY_GROUPS, group_of};
use super::watermark::Micros;

pub(super) type Bytes = Box<[u8]>;

/// The committed entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// By key group; keys are whole, the group included.
    groups: Vec<BTreeMap<Bytes, Bytes>>,
    /// Of keys and values.
    bytes: usize,
}

/// A key group of the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupSummary {
    /// Of windows and keys; a sliding window's panes are rows.
    pub rows: usize,
    /// Of keys and values, those that find sessions included.
    pub bytes: usize,
    /// When the first of the rows isn't needed any more: for tumbling windows and sessions, the end of the oldest.
    pub first_expiry: Option<Micros>,
}

/// What an epoch changes; `None`: the entry goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub(super) entries: BTreeMap<Bytes, Option<Bytes>>,
}

impl Changes {
    /// The key groups that they are in.
    pub fn groups(&self) -> BTreeSet<u8> {
        self.entries.keys().filter_map(|key| key.first().copied()).collect()
    }
}

impl Default for State {
    fn default() -> Self {
        Self { groups: vec![BTreeMap::new(); KEY_GROUPS], bytes: 0 }
    }
}

impl State {
    /// Takes over the changes of an epoch that is committed.
    pub fn apply(&mut self, changes: Changes) {
        for (key, value) in changes.entries {
            let entries = &mut self.groups[group_in(&key)];
            let length = key.len();
            let before = match value {
                Some(value) => {
                    self.bytes += length + value.len();
                    entries.insert(key, value)
                }
                None => entries.remove(&key),
            };
            self.bytes -= before.map_or(0, |before| length + before.len());
        }
    }

    /// Entries, those that find sessions included.
    pub fn len(&self) -> usize {
        self.groups.iter().map(BTreeMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(BTreeMap::is_empty)
    }

    /// Bytes of keys and values; the map itself comes on top.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is in each key group, in their order.
    pub fn summary(&self) -> Result<Vec<GroupSummary>, WindowError> {
        let summary = |entries: &BTreeMap<Bytes, Bytes>| {
            let mut group = GroupSummary::default();
            for (entry, states) in entries {
                group.bytes += entry.len() + states.len();
                if entry.get(1) == Some(&ROWS) {
                    let expiry = parse_row(entry, states)?.place.expiry;
                    group.rows += 1;
                    // What never closes has no end.
                    let end = Some(expiry).filter(|expiry| *expiry < Micros::MAX);
                    group.first_expiry = group.first_expiry.or(end).min(end.or(group.first_expiry));
                }
            }
            Ok(group)
        };
        self.groups.iter().map(summary).collect()
    }

    /// A key group's entries as they are after `changes`.
    pub(super) fn group_after<'a>(
        &'a self,
        group: u8,
        changes: &'a Changes,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let committed = self.groups[usize::from(group)].iter();
        let kept = committed.filter(|(key, _)| !changes.entries.contains_key(*key));
        let from = [group];
        let changed =
            changes.entries.range::<[u8], _>((Bound::Included(&from[..]), Bound::Unbounded));
        let changed = changed.take_while(move |(key, _)| group_in(key) == usize::from(group));
        let put = changed.filter_map(|(key, value)| Some((&**key, &**value.as_ref()?)));
        kept.map(|(key, value)| (&**key, &**value)).chain(put)
    }

    /// Puts a key group's entries in the place of those that it has.
    pub(super) fn replace_group(&mut self, group: u8, entries: BTreeMap<Bytes, Bytes>) {
        let size = |entries: &BTreeMap<Bytes, Bytes>| -> usize {
            entries.iter().map(|(key, value)| key.len() + value.len()).sum()
        };
        let there = &mut self.groups[usize::from(group)];
        self.bytes = self.bytes - size(there) + size(&entries);
        *there = entries;
    }

    fn get(&self, entry: &[u8]) -> Option<&[u8]> {
        self.groups[group_in(entry)].get(entry).map(|value| &**value)
    }

    fn range(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        group: u8,
    ) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.groups[usize::from(group)].range::<[u8], _>(range)
    }
}

/// The key group that an entry's key begins with.
fn group_in(entry: &[u8]) -> usize {
    entry.first().map_or(0, |group| usize::from(*group))
}

/// Where a row's states are kept, next to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// When nothing is needed of the row any more: W has reached it.
    pub(super) expiry: Micros,
    /// What its kind of window tells rows of one expiry and key apart by.
    pub(super) at: [i64; 2],
}

/// A row of the table, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) entry: &'a [u8],
    pub(super) place: Place,
    pub(super) key: &'a [u8],
    pub(super) states: &'a [u8],
}

const ROWS: u8 = 0;
const SESSIONS: u8 = 1;

/// The committed entries with the changes of an epoch over them.
pub(super) struct Attempt<'a> {
    committed: &'a State,
    changes: Changes,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(committed: &'a State) -> Self {
        Self::with(committed, Changes::default())
    }

    pub(super) fn with(committed: &'a State, changes: Changes) -> Self {
        Self { committed, changes }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }

    /// The states of a row, as they were before this epoch.
    pub(super) fn committed_row(&self, entry: &[u8]) -> Option<&'a [u8]> {
        self.committed.get(entry)
    }

    pub(super) fn put_row(&mut self, entry: Bytes, states: Bytes) {
        self.changes.entries.insert(entry, Some(states));
    }

    pub(super) fn delete_row(&mut self, entry: Bytes) {
        self.changes.entries.insert(entry, None);
    }

    /// Appends the rows of a key group that expire up to a time, this epoch's among them.
    pub(super) fn rows_until<'b>(
        &'b self,
        group: u8,
        expiry: Micros,
        found: &mut Vec<Row<'b>>,
    ) -> Result<(), WindowError> {
        let table = [group, ROWS];
        // No place reaches the end: event times are far from the ends of 64 bits.
        let end = [&table[..], &ordered(expiry), &[u8::MAX; 16]].concat();
        let range = (Bound::Included(table.as_slice()), Bound::Excluded(end.as_slice()));
        for (key, states) in self.committed.range(range, group) {
            if !self.changes.entries.contains_key(key) {
                found.push(parse_row(key, states)?);
            }
        }
        for (key, states) in self.changes.entries.range::<[u8], _>(range) {
            if let Some(states) = states {
                found.push(parse_row(key, states)?);
            }
        }
        Ok(())
    }

    /// The open sessions of a key before this epoch, as first and last event times.
    pub(super) fn committed_sessions(
        &self,
        key: &[u8],
    ) -> Result<Vec<(Micros, Micros)>, WindowError> {
        let from = session_entry(key, Micros::MIN);
        let to = session_entry(key, Micros::MAX);
        let range = (Bound::Included(&*from), Bound::Included(&*to));
        let sessions = self.committed.range(range, group_of(key)).map(|(found, last)| {
            let start = found.last_chunk().ok_or(WindowError::Corrupt)?;
            let last = last.first_chunk().ok_or(WindowError::Corrupt)?;
            Ok((time_of(*start), Micros::from_le_bytes(*last)))
        });
        sessions.collect()
    }

    pub(super) fn put_session(&mut self, key: &[u8], first: Micros, last: Micros) {
        let last = Box::from(last.to_le_bytes());
        self.changes.entries.insert(session_entry(key, first), Some(last));
    }

    pub(super) fn delete_session(&mut self, key: &[u8], first: Micros) {
        self.changes.entries.insert(session_entry(key, first), None);
    }
}

/// Where a row is found in the state.
pub(super) fn row_entry(Place { expiry, at: [a, b] }: Place, key: &[u8]) -> Bytes {
    let table = [group_of(key), ROWS];
    [&table[..], &ordered(expiry), &ordered(a), &ordered(b), key].concat().into()
}

/// The same for a row that is told from others of its key by where it is from.
pub(super) fn entry_of_source(
    Place { expiry, at: [a, b] }: Place,
    key: &[u8],
    source: &[u8],
) -> Bytes {
    let table = [group_of(key), ROWS];
    [&table[..], &ordered(expiry), &ordered(a), &ordered(b), key, source].concat().into()
}

fn session_entry(key: &[u8], first: Micros) -> Bytes {
    let table = [group_of(key), SESSIONS];
    [&table[..], key, &ordered(first)].concat().into()
}

fn parse_row<'a>(entry: &'a [u8], states: &'a [u8]) -> Result<Row<'a>, WindowError> {
    let parse = || {
        let (_table, rest) = entry.split_first_chunk::<2>()?;
        let (expiry, rest) = rest.split_first_chunk::<8>()?;
        let (a, rest) = rest.split_first_chunk::<8>()?;
        let (b, key) = rest.split_first_chunk::<8>()?;
        let at = [time_of(*a), time_of(*b)];
        Some(Row { entry, place: Place { expiry: time_of(*expiry), at }, key, states })
    };
    parse().ok_or(WindowError::Corrupt)
}

/// Bytes that are ordered as the numbers are.
fn ordered(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

fn time_of(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(expiry: Micros, key: &[u8]) -> Bytes {
        row_entry(Place { expiry, at: [-1, 1] }, key)
    }

    fn rows<'a>(attempt: &'a Attempt<'_>, expiry: Micros) -> Vec<(Micros, &'a [u8], &'a [u8])> {
        let mut found = Vec::new();
        for group in [b"a", b"b"].map(|key| group_of(key)) {
            attempt.rows_until(group, expiry, &mut found).expect("whole rows");
        }
        let mut rows: Vec<_> =
            found.into_iter().map(|row| (row.place.expiry, row.key, row.states)).collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn an_attempt_sees_its_changes_and_leaves_the_state_alone_until_they_are_applied() {
        let mut state = State::default();
        let mut first = Attempt::new(&state);
        first.put_row(entry(-5, b"a"), Box::from(*b"1"));
        first.put_row(entry(5, b"b"), Box::from(*b"2"));
        assert_eq!(rows(&first, 5).len(), 2);
        let changes = first.into_changes();
        assert!(state.is_empty());
        state.apply(changes);

        let mut second = Attempt::new(&state);
        assert_eq!(second.committed_row(&entry(-5, b"a")), Some(&b"1"[..]));
        assert_eq!(second.committed_row(&entry(-5, b"b")), None);
        second.delete_row(entry(-5, b"a"));
        second.put_row(entry(5, b"b"), Box::from(*b"3"));
        second.put_row(entry(6, b"b"), Box::from(*b"4"));
        assert_eq!(rows(&second, 5), [(5, &b"b"[..], &b"3"[..])]);
        assert_eq!(rows(&Attempt::new(&state), 5).len(), 2, "the attempt was dropped");
        let changes = second.into_changes();
        state.apply(changes);
        assert_eq!(rows(&Attempt::new(&state), 9).len(), 2);
    }

    #[test]
    fn sessions_are_found_by_their_whole_key() {
        let mut state = State::default();
        let mut attempt = Attempt::new(&state);
        attempt.put_session(b"\x01a", -7, 3);
        attempt.put_session(b"\x01a", 20, 20);
        attempt.put_session(b"\x01b", 5, 6);
        let changes = attempt.into_changes();
        state.apply(changes);
        let mut attempt = Attempt::new(&state);
        assert_eq!(attempt.committed_sessions(b"\x01a").expect("whole"), [(-7, 3), (20, 20)]);
        attempt.delete_session(b"\x01a", 20);
        let changes = attempt.into_changes();
        state.apply(changes);
        let left = Attempt::new(&state).committed_sessions(b"\x01a").expect("whole");
        assert_eq!(left, [(-7, 3)]);
    }
}
