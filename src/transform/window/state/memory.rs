//! Entries in memory.

use std::collections::BTreeMap;

use super::super::keys::KEY_GROUPS;
use super::super::watermark::Micros;
use super::Bytes;
use super::entry::{group_in, rows_after, span};

#[derive(Debug)]
pub(super) struct Memory {
    /// By key group; keys are whole, the group included.
    groups: Vec<BTreeMap<Bytes, Bytes>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { groups: vec![BTreeMap::new(); KEY_GROUPS] }
    }
}

impl Memory {
    pub(super) fn get(&self, entry: &[u8]) -> Option<&[u8]> {
        self.groups[group_in(entry)].get(entry).map(|value| &**value)
    }

    pub(super) fn range(&self, from: &[u8], end: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = self.groups[group_in(from)].range::<[u8], _>(span(from, end));
        entries.map(|(key, value)| (&**key, &**value))
    }

    pub(super) fn change(&mut self, entries: impl IntoIterator<Item = (Bytes, Option<Bytes>)>) {
        for (key, value) in entries {
            let group = &mut self.groups[group_in(&key)];
            match value {
                Some(value) => group.insert(key, value),
                None => group.remove(&key),
            };
        }
    }

    /// Rows are in the order of expiry, before all else.
    pub(super) fn expire(&mut self, until: Option<Micros>) {
        let Some(until) = until else { return };
        for (number, group) in self.groups.iter_mut().enumerate() {
            let end = rows_after(number as u8, until);
            while let Some(first) = group.first_entry().filter(|first| **first.key() < *end) {
                first.remove();
            }
        }
    }
}
