//! Entries: what is kept where in the ordered map of bytes.

use std::borrow::Cow;
use std::ops::Bound;

use super::super::error::WindowError;
use super::super::keys::{KEY_GROUPS, group_of};
use super::super::watermark::Micros;
use super::{Bytes, Size};

/// Whose entries there are in a key group: each has rows, and sessions behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform::window) enum Table {
    Windows = 0,
    /// Of deduplication.
    Firsts = 2,
}

impl Table {
    pub(super) const ALL: [Self; 2] = [Self::Windows, Self::Firsts];

    /// The byte behind the key group.
    const fn rows(self) -> u8 {
        self as u8
    }

    const fn sessions(self) -> u8 {
        self as u8 + 1
    }
}

/// How many tables there are in all key groups.
pub(super) const TABLES: usize = KEY_GROUPS * Table::ALL.len();

/// The number of the table that an entry is in, in the order of key groups.
pub(super) fn table_of(entry: &[u8]) -> usize {
    let byte = |at: usize| entry.get(at).map_or(0, |byte| usize::from(*byte));
    byte(0) * Table::ALL.len() + (byte(1) / 2).min(Table::ALL.len() - 1)
}

/// Of a table's number.
pub(super) fn group_and_table(number: usize) -> (u8, Table) {
    ((number / Table::ALL.len()) as u8, Table::ALL[number % Table::ALL.len()])
}

/// Before every entry of a table of a key group.
pub(super) fn table_start(group: u8, table: Table) -> [u8; 2] {
    [group, table.rows()]
}

/// After every row of one.
pub(super) fn rows_end(group: u8, table: Table) -> [u8; 2] {
    [group, table.sessions()]
}

/// After every entry of one.
pub(super) fn table_end(group: u8, table: Table) -> [u8; 2] {
    [group, table.sessions() + 1]
}

pub(super) fn span<'a>(from: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from), Bound::Excluded(end))
}

/// Where a row's states are kept, next to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform::window) struct Place {
    /// When nothing is needed of the row any more: W has reached it.
    pub(in crate::transform::window) expiry: Micros,
    /// What its kind of window tells rows of one expiry and key apart by.
    pub(in crate::transform::window) at: [i64; 2],
}

/// A row of the table, read.
#[derive(Debug, Clone)]
pub(in crate::transform::window) struct Row<'a> {
    pub(in crate::transform::window) place: Place,
    pub(in crate::transform::window) states: Cow<'a, [u8]>,
    entry: Cow<'a, [u8]>,
}

/// The group, the table, and the place.
const BEFORE_KEY: usize = 2 + 3 * 8;

/// The bytes of a session's end.
pub(super) const SESSION_BYTES: usize = 8;

/// Where a row is found in the state.
pub(in crate::transform::window) fn row_entry(table: Table, place: Place, key: &[u8]) -> Bytes {
    entry_of_source(table, place, key, &[])
}

/// The same for a row that is told from others of its key by where it is from.
pub(in crate::transform::window) fn entry_of_source(
    table: Table,
    Place { expiry, at: [a, b] }: Place,
    key: &[u8],
    source: &[u8],
) -> Bytes {
    let table = table_start(group_of(key), table);
    [&table[..], &ordered(expiry), &ordered(a), &ordered(b), key, source].concat().into()
}

pub(super) fn session_entry(table: Table, key: &[u8], first: Micros) -> Bytes {
    [&rows_end(group_of(key), table)[..], key, &ordered(first)].concat().into()
}

/// After every session of a key: longer than the last that could be.
pub(super) fn sessions_end(table: Table, key: &[u8]) -> Vec<u8> {
    [&rows_end(group_of(key), table)[..], key, &[u8::MAX; 9]].concat()
}

/// Before every row of a table that expires then or later.
pub(super) fn rows_from(group: u8, table: Table, expiry: Micros) -> Vec<u8> {
    [&table_start(group, table)[..], &ordered(expiry)].concat()
}

/// After every row of a table that expires up to a time.
pub(super) fn rows_after(group: u8, table: Table, expiry: Micros) -> Vec<u8> {
    // No place reaches the end: event times are far from the ends of 64 bits.
    [&rows_from(group, table, expiry)[..], &[u8::MAX; 16]].concat()
}

/// Whether an entry is a row.
pub(super) fn is_row(entry: &[u8]) -> bool {
    entry.get(1).is_some_and(|byte| Table::ALL.iter().any(|table| table.rows() == *byte))
}

/// When the row of an entry expires; `None`: it isn't a row's.
pub(super) fn expiry_of(entry: &[u8]) -> Option<Micros> {
    let expiry = entry.get(2..).filter(|_| is_row(entry))?.first_chunk()?;
    Some(time_of(*expiry))
}

impl<'a> Row<'a> {
    pub(super) fn parse(entry: Cow<'a, [u8]>, states: Cow<'a, [u8]>) -> Result<Self, WindowError> {
        let numbers = entry.get(2..BEFORE_KEY).ok_or(WindowError::Corrupt)?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let [expiry, a, b] = numbers else { return Err(WindowError::Corrupt) };
        let place = Place { expiry: time_of(*expiry), at: [time_of(*a), time_of(*b)] };
        Ok(Self { place, states, entry })
    }

    pub(in crate::transform::window) fn group(&self) -> u8 {
        self.entry[0]
    }

    pub(in crate::transform::window) fn key(&self) -> &[u8] {
        &self.entry[BEFORE_KEY..]
    }

    pub(in crate::transform::window) fn size(&self) -> Size {
        Size::of(&self.entry, self.states.len())
    }
}

/// Bytes that are ordered as the numbers are.
pub(super) fn ordered(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

pub(super) fn time_of(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}
