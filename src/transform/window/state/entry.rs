//! Entries: what is kept where in the ordered map of bytes.

use std::borrow::Cow;
use std::ops::Bound;

use super::super::error::WindowError;
use super::super::keys::group_of;
use super::super::watermark::Micros;
use super::{Bytes, Size};

/// The key group that an entry's key begins with.
pub(super) fn group_in(entry: &[u8]) -> usize {
    entry.first().map_or(0, |group| usize::from(*group))
}

/// After every entry of a key group.
pub(super) fn group_end(group: u8) -> [u8; 2] {
    [group, u8::MAX]
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

pub(super) const ROWS: u8 = 0;
pub(super) const SESSIONS: u8 = 1;

/// The group, the table, and the place.
const BEFORE_KEY: usize = 2 + 3 * 8;

/// The bytes of a session's end.
pub(super) const SESSION_BYTES: usize = 8;

/// Where a row is found in the state.
pub(in crate::transform::window) fn row_entry(place: Place, key: &[u8]) -> Bytes {
    entry_of_source(place, key, &[])
}

/// The same for a row that is told from others of its key by where it is from.
pub(in crate::transform::window) fn entry_of_source(
    Place { expiry, at: [a, b] }: Place,
    key: &[u8],
    source: &[u8],
) -> Bytes {
    let table = [group_of(key), ROWS];
    [&table[..], &ordered(expiry), &ordered(a), &ordered(b), key, source].concat().into()
}

pub(super) fn session_entry(key: &[u8], first: Micros) -> Bytes {
    let table = [group_of(key), SESSIONS];
    [&table[..], key, &ordered(first)].concat().into()
}

/// After every row of a key group that expires up to a time.
pub(super) fn rows_after(group: u8, expiry: Micros) -> Vec<u8> {
    // No place reaches the end: event times are far from the ends of 64 bits.
    [&[group, ROWS], &ordered(expiry)[..], &[u8::MAX; 16]].concat()
}

/// When the row of an entry expires; `None`: it isn't a row's.
pub(super) fn expiry_of(entry: &[u8]) -> Option<Micros> {
    let expiry = entry.get(1..)?.strip_prefix(&[ROWS])?.first_chunk()?;
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
