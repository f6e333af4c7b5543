//! An epoch's changes, over the committed entries.

use std::borrow::Cow;

use super::super::error::WindowError;
use super::super::watermark::Micros;
use super::entry::{
    Row, SESSION_BYTES, TABLES, Table, group_and_table, rows_after, session_entry, sessions_end,
    span, table_start, time_of,
};
use super::{Bytes, Changes, Size, State};

/// The committed entries with the changes of an epoch over them.
pub(in crate::transform::window) struct Attempt<'a> {
    committed: &'a State,
    changes: Changes,
}

impl<'a> Attempt<'a> {
    pub(in crate::transform::window) fn new(committed: &'a State) -> Self {
        Self::with(committed, Changes::default())
    }

    pub(in crate::transform::window) fn with(committed: &'a State, changes: Changes) -> Self {
        Self { committed, changes }
    }

    pub(in crate::transform::window) fn into_changes(self) -> Changes {
        self.changes
    }

    /// The states of a row, as they were before this epoch.
    pub(in crate::transform::window) fn committed_row(
        &self,
        entry: &[u8],
    ) -> Result<Option<Cow<'a, [u8]>>, WindowError> {
        self.committed.get(entry)
    }

    /// `committed`: how many bytes of states there were before this epoch, if there were any.
    pub(in crate::transform::window) fn put_row(
        &mut self,
        entry: Bytes,
        states: Bytes,
        committed: Option<usize>,
    ) {
        self.change(entry, Some(states), committed);
    }

    /// Removes a row that was there before this epoch, with so many bytes of states.
    pub(in crate::transform::window) fn delete_row(&mut self, entry: Bytes, committed: usize) {
        self.change(entry, None, Some(committed));
    }

    /// Removes the rows that expire up to a time; they are so much.
    pub(in crate::transform::window) fn expire(&mut self, until: Micros, rows: Size) {
        self.changes.expired = Some(until);
        self.changes.grown -= rows;
        for (group, table) in (0..TABLES).map(group_and_table) {
            let (from, end) = (table_start(group, table), rows_after(group, table, until));
            let entries = self.changes.entries.range::<[u8], _>(span(&from, &end));
            let gone: Vec<_> = entries.map(|(entry, _)| entry.clone()).collect();
            gone.iter().for_each(|entry| drop(self.changes.entries.remove(entry)));
        }
    }

    /// Appends a table's rows of a key group that expire up to a time, this epoch's among them.
    pub(in crate::transform::window) fn rows_until<'b>(
        &'b self,
        group: u8,
        table: Table,
        expiry: Micros,
        found: &mut Vec<Row<'b>>,
    ) -> Result<(), WindowError> {
        let end = rows_after(group, table, expiry);
        self.committed.each_after(&self.changes, (group, table), &end, |key, states| {
            found.push(Row::parse(key, states)?);
            Ok(())
        })
    }

    /// The open sessions of a key before this epoch, as first event times and ends.
    pub(in crate::transform::window) fn committed_sessions(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Vec<(Micros, Micros)>, WindowError> {
        let (from, end) = (session_entry(table, key, Micros::MIN), sessions_end(table, key));
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
    pub(in crate::transform::window) fn put_session(
        &mut self,
        table: Table,
        key: &[u8],
        first: Micros,
        end: Micros,
    ) {
        self.change(session_entry(table, key, first), Some(Box::from(end.to_le_bytes())), None);
    }

    pub(in crate::transform::window) fn delete_session(
        &mut self,
        table: Table,
        key: &[u8],
        first: Micros,
    ) {
        self.change(session_entry(table, key, first), None, Some(SESSION_BYTES));
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

#[cfg(test)]
mod tests {
    use super::super::super::keys::group_of;
    use super::super::entry::{Place, row_entry};
    use super::*;

    fn entry(expiry: Micros, key: &[u8]) -> Bytes {
        row_entry(Table::Windows, Place { expiry, at: [-1, 1] }, key)
    }

    fn rows(attempt: &Attempt<'_>, expiry: Micros) -> Vec<(Micros, Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        for group in [b"a", b"b"].map(|key| group_of(key)) {
            attempt.rows_until(group, Table::Windows, expiry, &mut found).expect("whole rows");
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
        attempt.put_session(Table::Windows, b"\x01a", -7, 3);
        attempt.put_session(Table::Windows, b"\x01a", 20, 20);
        attempt.put_session(Table::Windows, b"\x01b", 5, 6);
        let changes = attempt.into_changes();
        state.apply(changes).expect("in memory");
        let mut attempt = Attempt::new(&state);
        assert_eq!(
            attempt.committed_sessions(Table::Windows, b"\x01a").expect("whole"),
            [(-7, 3), (20, 20)]
        );
        attempt.delete_session(Table::Windows, b"\x01a", 20);
        let changes = attempt.into_changes();
        state.apply(changes).expect("in memory");
        let left =
            Attempt::new(&state).committed_sessions(Table::Windows, b"\x01a").expect("whole");
        assert_eq!(left, [(-7, 3)]);
    }
}
