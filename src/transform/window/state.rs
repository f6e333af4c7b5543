//! What windows keep between epochs: an ordered map of bytes, and the changes of one epoch to it.
//!
//! An epoch reads the committed entries through its own changes and writes only these. They are its changelog: applied when
//! its commit has landed, dropped when it has not. Keys begin with the key group, so that a group is one run of entries; then
//! comes the table:
//!
//! - rows: `group, 0, expiry, place, key` → states. In the order of expiry, so that what closes is at the front.
//! - sessions: `group, 1, key, start` → the end. Finds the open sessions of a key.
//!
//! What deduplication keeps are rows and sessions too, under 2 and 3.
//!
//! Encoded keys of the same columns are never the beginning of each other, so a key can stand before other bytes.

mod attempt;
#[cfg(feature = "rocksdb")]
mod disk;
#[cfg(not(feature = "rocksdb"))]
#[path = "state/no_disk.rs"]
mod disk;
mod entry;
mod memory;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(super) use self::attempt::Attempt;
use self::disk::Disk;
pub(super) use self::entry::{Place, Row, Table, entry_of_source, row_entry};
use self::entry::{
    expiry_of, group_and_table, is_row, rows_after, span, table_end, table_of, table_start,
};
use self::memory::Memory;
use super::error::WindowError;
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
    /// The key groups that windows were put to or taken from, but for those that expired.
    pub fn groups(&self) -> BTreeSet<u8> {
        let places = self.entries.keys().map(|key| group_and_table(table_of(key)));
        places.filter(|(_, table)| *table == Table::Windows).map(|(group, _)| group).collect()
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
            Store::Memory(memory) => memory.change(changes.entries),
            Store::Disk(disk) => {
                let entries = changes.entries.iter();
                disk.change(entries.map(|(key, value)| (&**key, value.as_deref())))?;
            }
        }
        self.expire(changes.expired)
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
            self.each_of_group(number, |entry, states| {
                group.bytes += entry.len() + states.len();
                if is_row(&entry) {
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
            let each = self.each_of_group(group, |key, value| {
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
        for table in Table::ALL {
            self.each_after(changes, (group, table), &table_end(group, table), |key, value| {
                entries.push((key, value));
                Ok(())
            })?;
        }
        Ok(entries)
    }

    /// Shows what `changes` leave of a table of a key group up to before a key: what they don't touch, then what they put.
    fn each_after<'a>(
        &'a self,
        changes: &'a Changes,
        of: (u8, Table),
        end: &[u8],
        mut show: impl FnMut(Cow<'a, [u8]>, Cow<'a, [u8]>) -> Result<(), WindowError>,
    ) -> Result<(), WindowError> {
        let from = changes.first_row(of);
        if *from >= *end {
            return Ok(());
        }
        self.each(&from, end, |key, value| match changes.entries.contains_key(&*key) {
            true => Ok(()),
            false => show(key, value),
        })?;
        for (key, value) in changes.entries.range::<[u8], _>(span(&from, end)) {
            if let Some(value) = value {
                show(Cow::from(&**key), Cow::from(&**value))?;
            }
        }
        Ok(())
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

    /// Shows the entries of a key group.
    fn each_of_group<'a>(
        &'a self,
        group: u8,
        mut show: impl FnMut(Cow<'a, [u8]>, Cow<'a, [u8]>) -> Result<(), WindowError>,
    ) -> Result<(), WindowError> {
        for table in Table::ALL {
            self.each(&table_start(group, table), &table_end(group, table), &mut show)?;
        }
        Ok(())
    }

    /// Shows the entries from one key to before another, of one table.
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
    /// Where a table of a key group begins, but for the rows that go.
    fn first_row(&self, (group, table): (u8, Table)) -> Vec<u8> {
        let start = || table_start(group, table).to_vec();
        self.expired.map_or_else(start, |expired| rows_after(group, table, expired))
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
