//! What windows keep between epochs: an ordered map of bytes, and the changes of one epoch to it.
//!
//! An epoch reads the committed entries through its own changes and writes only these. They are its changelog: applied when
//! its commit has landed, dropped when it has not. Keys begin with the key group, so that a group is one run of entries; then
//! comes the table:
//!
//! - rows: `group, 0, expiry, place, key` → states. In the order of expiry, so that what closes is at the front.
//! - sessions: `group, 1, key, start` → the end. Finds the open sessions of a key.
//!
//! What deduplication keeps are rows and sessions too.
//!
//! Encoded keys of the same columns are never the beginning of each other, so a key can stand before other bytes.

#[cfg(feature = "rocksdb")]
mod disk;
#[cfg(not(feature = "rocksdb"))]
#[path = "state/no_disk.rs"]
mod disk;
mod memory;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, AddAssign, Bound, Sub, SubAssign};
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::disk::Disk;
use self::memory::Memory;
use super::error::WindowError;
use super::keys::group_of;
use super::watermark::Micros;

pub(super) type Bytes = Box<[u8]>;
/// A key and its value.
pub(super) type Entry<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The committed entries.
#[derive(Debug, Default)]
pub struct State {
    store: Store,
    size: Size,
}

/// Where entries are kept. Both keep them in the order of their keys.
#[derive(Debug)]
enum Store {
    Memory(Memory),
    Disk(Disk),
}

/// Of entries, or what it differs by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Size {
    entries: i64,
    /// Of keys and values.
    bytes: i64,
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

/// What an epoch changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// `None`: the entry goes. None of them expires up to `expired`.
    pub(super) entries: BTreeMap<Bytes, Option<Bytes>>,
    /// Rows that expire up to then go, too: there may be as many as there are rows.
    pub(super) expired: Option<Micros>,
    pub(super) grown: Size,
}

impl Changes {
    /// The key groups that entries were put to or taken from, but for those that expired.
    pub fn groups(&self) -> BTreeSet<u8> {
        self.entries.keys().filter_map(|key| key.first().copied()).collect()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::Memory(Memory::default())
    }
}

impl State {
    /// State that is kept in files, of which a bounded part is in memory. They are made anew in `folder`, and are gone when
    /// the state is: they are a copy of what commits keep. What dead processes have left there is removed.
    pub fn on_disk(folder: &Path) -> Result<Self, WindowError> {
        Ok(Self { store: Store::Disk(Disk::create(folder)?), size: Size::default() })
    }

    /// Takes over the changes of an epoch that is committed.
    pub fn apply(&mut self, changes: Changes) -> Result<(), WindowError> {
        self.size += changes.grown;
        match &mut self.store {
            Store::Memory(memory) => {
                memory.change(changes.entries);
                memory.expire(changes.expired);
                Ok(())
            }
            Store::Disk(disk) => {
                let entries = changes.entries.iter();
                disk.change(entries.map(|(key, value)| (&**key, value.as_deref())))?;
                disk.expire(changes.expired)
            }
        }
    }

    /// Entries, those that find sessions included.
    pub fn len(&self) -> usize {
        usize::try_from(self.size.entries).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values; what keeps them comes on top.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.size.bytes).unwrap_or(0)
    }

    /// What is in each key group, in their order.
    pub fn summary(&self) -> Result<Vec<GroupSummary>, WindowError> {
        let summary = |number| {
            let mut group = GroupSummary::default();
            self.each(&[number, ROWS], &group_end(number), |entry, states| {
                group.bytes += entry.len() + states.len();
                if entry.get(1) == Some(&ROWS) {
                    let expiry = expiry_of(&entry).ok_or(WindowError::Corrupt)?;
                    group.rows += 1;
                    // What never closes has no end.
                    let end = Some(expiry).filter(|expiry| *expiry < Micros::MAX);
                    group.first_expiry = group.first_expiry.or(end).min(end.or(group.first_expiry));
                }
                Ok(())
            })?;
            Ok(group)
        };
        (0..=u8::MAX).map(summary).collect()
    }

    /// Of each kind that there is.
    #[cfg(test)]
    pub(super) fn empty_ones(folder: &Path) -> Vec<Self> {
        let on_disk = cfg!(feature = "rocksdb").then(|| Self::on_disk(folder).expect("it opens"));
        [Self::default()].into_iter().chain(on_disk).collect()
    }

    #[cfg(test)]
    pub(super) fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut entries = Vec::new();
        for group in 0..=u8::MAX {
            let each = self.each(&[group, ROWS], &group_end(group), |key, value| {
                entries.push((key.into_owned(), value.into_owned()));
                Ok(())
            });
            each.expect("the state can be read");
        }
        entries
    }

    /// The size after `changes`.
    pub(super) fn size_after(&self, changes: &Changes) -> Size {
        self.size + changes.grown
    }

    /// A key group's entries as they are after `changes`.
    pub(super) fn group_after<'a>(
        &'a self,
        group: u8,
        changes: &'a Changes,
    ) -> Result<Vec<Entry<'a>>, WindowError> {
        let mut entries = Vec::new();
        let (from, end) = (changes.first_row(group), group_end(group));
        self.each(&from, &end, |key, value| {
            if !changes.entries.contains_key(&*key) {
                entries.push((key, value));
            }
            Ok(())
        })?;
        for (key, value) in changes.entries.range::<[u8], _>(span(&from, &end)) {
            if let Some(value) = value {
                entries.push((Cow::from(&**key), Cow::from(&**value)));
            }
        }
        Ok(entries)
    }

    /// Puts and removes entries as an object of state lists them.
    pub(super) fn load<'b>(
        &mut self,
        entries: impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)>,
    ) -> Result<(), WindowError> {
        match &mut self.store {
            Store::Memory(memory) => {
                memory.change(entries.map(|(key, value)| (key.into(), value.map(Bytes::from))));
                Ok(())
            }
            Store::Disk(disk) => disk.change(entries),
        }
    }

    /// Drops rows as an object of state says.
    pub(super) fn expire(&mut self, until: Option<Micros>) -> Result<(), WindowError> {
        match &mut self.store {
            Store::Memory(memory) => {
                memory.expire(until);
                Ok(())
            }
            Store::Disk(disk) => disk.expire(until),
        }
    }

    /// Nothing counts what is loaded: objects say how much it is.
    pub(super) fn set_size(&mut self, size: Size) {
        self.size = size;
    }

    fn get(&self, entry: &[u8]) -> Result<Option<Cow<'_, [u8]>>, WindowError> {
        match &self.store {
            Store::Memory(memory) => Ok(memory.get(entry).map(Cow::from)),
            Store::Disk(disk) => Ok(disk.get(entry)?.map(Cow::from)),
        }
    }

    /// Shows the entries from one key to before another, of one key group.
    fn each<'a>(
        &'a self,
        from: &[u8],
        end: &[u8],
        mut show: impl FnMut(Cow<'a, [u8]>, Cow<'a, [u8]>) -> Result<(), WindowError>,
    ) -> Result<(), WindowError> {
        match &self.store {
            Store::Memory(memory) => {
                for (key, value) in memory.range(from, end) {
                    show(Cow::from(key), Cow::from(value))?;
                }
                Ok(())
            }
            Store::Disk(disk) => disk.each(from, end, |key, value| {
                show(Cow::from(key.to_vec()), Cow::from(value.to_vec()))
            }),
        }
    }
}

impl Changes {
    /// Where a key group begins, but for the rows that go.
    fn first_row(&self, group: u8) -> Vec<u8> {
        self.expired.map_or_else(|| vec![group, ROWS], |expired| rows_after(group, expired))
    }
}

impl Size {
    fn of(key: &[u8], value_bytes: usize) -> Self {
        Self { entries: 1, bytes: (key.len() + value_bytes) as i64 }
    }
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Size {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { entries: self.entries - other.entries, bytes: self.bytes - other.bytes }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// The key group that an entry's key begins with.
fn group_in(entry: &[u8]) -> usize {
    entry.first().map_or(0, |group| usize::from(*group))
}

/// After every entry of a key group.
fn group_end(group: u8) -> [u8; 2] {
    [group, u8::MAX]
}

fn span<'a>(from: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from), Bound::Excluded(end))
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
#[derive(Debug, Clone)]
pub(super) struct Row<'a> {
    pub(super) place: Place,
    pub(super) states: Cow<'a, [u8]>,
    entry: Cow<'a, [u8]>,
}

const ROWS: u8 = 0;
const SESSIONS: u8 = 1;

/// The group, the table, and the place.
const BEFORE_KEY: usize = 2 + 3 * 8;

/// The bytes of a session's end.
const SESSION_BYTES: usize = 8;

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
    pub(super) fn committed_row(&self, entry: &[u8]) -> Result<Option<Cow<'a, [u8]>>, WindowError> {
        self.committed.get(entry)
    }

    /// `committed`: how many bytes of states there were before this epoch, if there were any.
    pub(super) fn put_row(&mut self, entry: Bytes, states: Bytes, committed: Option<usize>) {
        self.change(entry, Some(states), committed);
    }

    /// Removes a row that was there before this epoch, with so many bytes of states.
    pub(super) fn delete_row(&mut self, entry: Bytes, committed: usize) {
        self.change(entry, None, Some(committed));
    }

    /// Removes the rows that expire up to a time; they are so much.
    pub(super) fn expire(&mut self, until: Micros, rows: Size) {
        self.changes.expired = Some(until);
        self.changes.grown -= rows;
        for group in 0..=u8::MAX {
            let (from, end) = (vec![group, ROWS], rows_after(group, until));
            let entries = self.changes.entries.range::<[u8], _>(span(&from, &end));
            let gone: Vec<_> = entries.map(|(entry, _)| entry.clone()).collect();
            gone.iter().for_each(|entry| drop(self.changes.entries.remove(entry)));
        }
    }

    /// Appends the rows of a key group that expire up to a time, this epoch's among them.
    pub(super) fn rows_until<'b>(
        &'b self,
        group: u8,
        expiry: Micros,
        found: &mut Vec<Row<'b>>,
    ) -> Result<(), WindowError> {
        let (from, end) = (self.changes.first_row(group), rows_after(group, expiry));
        if from >= end {
            return Ok(());
        }
        self.committed.each(&from, &end, |key, states| {
            if !self.changes.entries.contains_key(&*key) {
                found.push(Row::parse(key, states)?);
            }
            Ok(())
        })?;
        for (key, states) in self.changes.entries.range::<[u8], _>(span(&from, &end)) {
            if let Some(states) = states {
                found.push(Row::parse(Cow::from(&**key), Cow::from(&**states))?);
            }
        }
        Ok(())
    }

    /// The open sessions of a key before this epoch, as first event times and ends.
    pub(super) fn committed_sessions(
        &self,
        key: &[u8],
    ) -> Result<Vec<(Micros, Micros)>, WindowError> {
        let from = session_entry(key, Micros::MIN);
        // Longer than the last that could be.
        let end = [&[group_of(key), SESSIONS], key, &[u8::MAX; 9]].concat();
        let mut sessions = Vec::new();
        self.committed.each(&from, &end, |found, end| {
            let first = found.last_chunk().ok_or(WindowError::Corrupt)?;
            let end = end.first_chunk().ok_or(WindowError::Corrupt)?;
            sessions.push((time_of(*first), Micros::from_le_bytes(*end)));
            Ok(())
        })?;
        Ok(sessions)
    }

    /// Of the sessions before this epoch, those that began at `first` are deleted already.
    pub(super) fn put_session(&mut self, key: &[u8], first: Micros, end: Micros) {
        self.change(session_entry(key, first), Some(Box::from(end.to_le_bytes())), None);
    }

    pub(super) fn delete_session(&mut self, key: &[u8], first: Micros) {
        self.change(session_entry(key, first), None, Some(SESSION_BYTES));
    }

    fn change(&mut self, entry: Bytes, value: Option<Bytes>, committed: Option<usize>) {
        let key_bytes = Size::of(&entry, 0);
        let size = |value: Option<usize>| {
            let value = value.map(|bytes| key_bytes + Size { entries: 0, bytes: bytes as i64 });
            value.unwrap_or_default()
        };
        let is = size(value.as_ref().map(|value| value.len()));
        let was = match self.changes.entries.insert(entry, value) {
            Some(there) => size(there.map(|value| value.len())),
            None => size(committed),
        };
        self.changes.grown += is - was;
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

/// After every row of a key group that expires up to a time.
fn rows_after(group: u8, expiry: Micros) -> Vec<u8> {
    // No place reaches the end: event times are far from the ends of 64 bits.
    [&[group, ROWS], &ordered(expiry)[..], &[u8::MAX; 16]].concat()
}

/// When the row of an entry expires; `None`: it isn't a row's.
fn expiry_of(entry: &[u8]) -> Option<Micros> {
    let expiry = entry.get(1..)?.strip_prefix(&[ROWS])?.first_chunk()?;
    Some(time_of(*expiry))
}

impl<'a> Row<'a> {
    fn parse(entry: Cow<'a, [u8]>, states: Cow<'a, [u8]>) -> Result<Self, WindowError> {
        let numbers = entry.get(2..BEFORE_KEY).ok_or(WindowError::Corrupt)?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let [expiry, a, b] = numbers else { return Err(WindowError::Corrupt) };
        let place = Place { expiry: time_of(*expiry), at: [time_of(*a), time_of(*b)] };
        Ok(Self { place, states, entry })
    }

    pub(super) fn group(&self) -> u8 {
        self.entry[0]
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.entry[BEFORE_KEY..]
    }

    pub(super) fn size(&self) -> Size {
        Size::of(&self.entry, self.states.len())
    }
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

    fn rows(attempt: &Attempt<'_>, expiry: Micros) -> Vec<(Micros, Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        for group in [b"a", b"b"].map(|key| group_of(key)) {
            attempt.rows_until(group, expiry, &mut found).expect("whole rows");
        }
        let row = |row: Row<'_>| (row.place.expiry, row.key().to_vec(), row.states.to_vec());
        let mut rows: Vec<_> = found.into_iter().map(row).collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn an_attempt_sees_its_changes_and_leaves_the_state_alone_until_they_are_applied() {
        let mut state = State::default();
        let mut first = Attempt::new(&state);
        first.put_row(entry(-5, b"a"), Box::from(*b"1"), None);
        first.put_row(entry(5, b"b"), Box::from(*b"2"), None);
        assert_eq!(rows(&first, 5).len(), 2);
        let changes = first.into_changes();
        assert!(state.is_empty());
        state.apply(changes).expect("in memory");

        let mut second = Attempt::new(&state);
        let committed = |entry: &[u8]| second.committed_row(entry).expect("in memory");
        assert_eq!(committed(&entry(-5, b"a")).as_deref(), Some(&b"1"[..]));
        assert_eq!(committed(&entry(-5, b"b")), None);
        second.delete_row(entry(-5, b"a"), 1);
        second.put_row(entry(5, b"b"), Box::from(*b"3"), Some(1));
        second.put_row(entry(6, b"b"), Box::from(*b"4"), None);
        assert_eq!(rows(&second, 5), [(5, b"b".to_vec(), b"3".to_vec())]);
        assert_eq!(rows(&Attempt::new(&state), 5).len(), 2, "the attempt was dropped");
        let changes = second.into_changes();
        state.apply(changes).expect("in memory");
        assert_eq!(rows(&Attempt::new(&state), 9).len(), 2);
        assert_eq!((state.len(), state.bytes()), (2, 2 * (entry(5, b"b").len() + 1)));
    }

    #[test]
    fn what_expires_goes_whether_it_was_committed_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        for mut state in State::empty_ones(folder.path()) {
            let mut attempt = Attempt::new(&state);
            for expiry in 0..10 {
                attempt.put_row(entry(expiry, b"a"), Box::from(*b"1"), None);
            }
            let changes = attempt.into_changes();
            state.apply(changes).expect("written");
            let mut attempt = Attempt::new(&state);
            attempt.put_row(entry(4, b"b"), Box::from(*b"2"), None);
            attempt.put_row(entry(5, b"b"), Box::from(*b"2"), None);
            let one = Size::of(&entry(4, b"b"), 1);
            attempt.expire(4, (0..6).fold(Size::default(), |sum, _| sum + one));
            let left: Vec<_> = rows(&attempt, 9).into_iter().map(|(expiry, ..)| expiry).collect();
            assert_eq!(left, [5, 5, 6, 7, 8, 9]);
            let changes = attempt.into_changes();
            state.apply(changes).expect("written");
            assert_eq!(rows(&Attempt::new(&state), 9).len(), 6);
            assert_eq!((state.len(), state.dump().len()), (6, 6));
        }
    }

    #[test]
    fn sessions_are_found_by_their_whole_key() {
        let mut state = State::default();
        let mut attempt = Attempt::new(&state);
        attempt.put_session(b"\x01a", -7, 3);
        attempt.put_session(b"\x01a", 20, 20);
        attempt.put_session(b"\x01b", 5, 6);
        let changes = attempt.into_changes();
        state.apply(changes).expect("in memory");
        let mut attempt = Attempt::new(&state);
        assert_eq!(attempt.committed_sessions(b"\x01a").expect("whole"), [(-7, 3), (20, 20)]);
        attempt.delete_session(b"\x01a", 20);
        let changes = attempt.into_changes();
        state.apply(changes).expect("in memory");
        let left = Attempt::new(&state).committed_sessions(b"\x01a").expect("whole");
        assert_eq!(left, [(-7, 3)]);
    }
}
