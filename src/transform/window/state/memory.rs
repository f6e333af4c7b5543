//! Entries in memory.

use std::collections::BTreeMap;

use super::super::watermark::Micros;
use super::Bytes;
use super::entry::{TABLES, group_and_table, rows_after, span, table_of};

#[derive(Debug)]
pub(super) struct Memory {
    /// Keys are whole, group and table included.
    tables: Vec<BTreeMap<Bytes, Bytes>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { tables: vec![BTreeMap::new(); TABLES] }
    }
}

impl Memory {
    pub(super) fn get(&self, entry: &[u8]) -> Option<&[u8]> {
        self.tables[table_of(entry)].get(entry).map(|value| &**value)
    }

    /// Entries of one table.
    pub(super) fn range(&self, from: &[u8], end: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = self.tables[table_of(from)].range::<[u8], _>(span(from, end));
        entries.map(|(key, value)| (&**key, &**value))
    }

    pub(super) fn change(&mut self, entries: impl IntoIterator<Item = (Bytes, Option<Bytes>)>) {
        for (key, value) in entries {
            let table = &mut self.tables[table_of(&key)];
            match value {
                Some(value) => table.insert(key, value),
                None => table.remove(&key),
            };
        }
    }

    /// Rows are in the order of expiry, before all else.
    pub(super) fn expire(&mut self, until: Option<Micros>) {
        let Some(until) = until else { return };
        for (number, entries) in self.tables.iter_mut().enumerate() {
            let (group, table) = group_and_table(number);
            let end = rows_after(group, table, until);
            while let Some(first) = entries.first_entry().filter(|first| **first.key() < *end) {
                first.remove();
            }
        }
    }
}
