//! A batch's changes, reduced to one per key.
//!
//! Owns which change of a key counts, and the set of keys by which files and rows are looked up. Pure.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::columns::{Domain, EncodedKeys, KeyColumns, Values};

/// What a batch does to the table's keys, in the order in which it arrived.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The output's columns, in its order; all rows count.
    pub rows: Vec<RecordBatch>,
    /// By batch, the rows that delete their key's row; of such a row only the key's columns count. `None`: none does.
    pub deletes: Vec<Option<BooleanArray>>,
}

impl Changes {
    pub fn push(&mut self, rows: RecordBatch, deletes: Option<BooleanArray>) {
        debug_assert!(deletes.as_ref().is_none_or(|d| d.len() == rows.num_rows()));
        self.rows.push(rows);
        self.deletes.push(deletes);
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.rows.iter().map(|rows| rows.num_rows() as u64).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the rows hold in memory.
    pub fn memory_bytes(&self) -> usize {
        self.rows.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    fn is_delete(&self, batch: usize, row: usize) -> bool {
        self.deletes[batch].as_ref().is_some_and(|d| d.is_valid(row) && d.value(row))
    }
}

/// Which of several changes of a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wins {
    First,
    Last,
}

/// The change that counts for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Winner {
    pub batch: u32,
    pub row: u32,
    pub deletes: bool,
}

/// The keys of a batch, each with the change that counts.
#[derive(Debug)]
pub(super) struct KeySet {
    columns: usize,
    /// All keys, one after the other.
    bytes: Vec<u8>,
    starts: Vec<usize>,
    /// Where each key's columns end but the last, from the key's start.
    ends: Vec<u32>,
    winners: Vec<Winner>,
    /// Open addressing: a key's number plus one, or zero.
    slots: Vec<u32>,
    hasher: RandomState,
    /// Keys by their order, once all are in.
    sorted: Vec<u32>,
}

/// Keys looked at one by one to see whether a file can hold one; beyond that it counts as one that can.
const LOOKED_AT: usize = 1024;

impl KeySet {
    /// The winners of `changes`; how many changes lost. `key`: the key's columns of a batch.
    pub fn reduce(
        columns: &KeyColumns,
        changes: &Changes,
        wins: Wins,
        key: impl Fn(&RecordBatch) -> Vec<ArrayRef>,
    ) -> Result<(Self, u64), ArrowError> {
        let mut set = Self::new(columns.len());
        let (mut bytes, mut ends, mut lost) = (Vec::new(), Vec::new(), 0);
        for (batch, rows) in changes.rows.iter().enumerate() {
            let keys: EncodedKeys = columns.encode(&key(rows))?;
            for row in 0..rows.num_rows() {
                if wins == Wins::First && changes.is_delete(batch, row) {
                    // Nothing is deleted where the first row stays.
                    lost += 1;
                    continue;
                }
                keys.write(row, &mut bytes, &mut ends);
                let winner = Winner {
                    batch: u32::try_from(batch).expect("a batch has fewer chunks"),
                    row: u32::try_from(row).expect("a chunk has fewer rows"),
                    deletes: changes.is_delete(batch, row),
                };
                lost += u64::from(!set.put(&bytes, &ends, winner, wins));
            }
        }
        set.sort();
        Ok((set, lost))
    }

    fn new(columns: usize) -> Self {
        Self {
            columns,
            bytes: Vec::new(),
            starts: vec![0],
            ends: Vec::new(),
            winners: Vec::new(),
            slots: vec![0; 1024],
            hasher: RandomState::new(),
            sorted: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.winners.len()
    }

    pub fn winner(&self, key: u32) -> Winner {
        self.winners[key as usize]
    }

    /// All keys, by their order.
    pub fn sorted(&self) -> &[u32] {
        &self.sorted
    }

    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.slot(key).1
    }

    /// Whether a file with these domains can hold one of the keys.
    pub fn may_be_in(&self, file: &[Domain]) -> bool {
        let (column, runs) = self.runs(file);
        let rest = column + 1..self.columns;
        runs.into_iter().any(|run| {
            rest.is_empty() && !run.is_empty()
                || run.len() > LOOKED_AT
                || self.sorted[run]
                    .iter()
                    .any(|&key| rest.clone().all(|at| file[at].holds(self.column(key, at))))
        })
    }

    /// Runs of sorted keys that a file can hold by its first columns: as long as those hold one value each, and one
    /// more. NULLs and values of that last column, whose number it is, have a run each.
    pub fn runs(&self, file: &[Domain]) -> (usize, [Range<usize>; 2]) {
        let mut run = 0..self.sorted.len();
        for (at, domain) in file.iter().enumerate() {
            let first_value = self.first_from(&run, at, |value| !super::columns::is_null(value));
            let nulls = if domain.nulls { run.start..first_value } else { run.start..run.start };
            let values = match &domain.values {
                Values::None => first_value..first_value,
                Values::Any => first_value..run.end,
                Values::Between(min, max) => {
                    let rest = first_value..run.end;
                    let from = self.first_from(&rest, at, |value| value >= &**min);
                    from..self.first_from(&(from..run.end), at, |value| value > &**max)
                }
            };
            if !domain.is_point() || at + 1 == file.len() {
                return (at, [nulls, values]);
            }
            run = if nulls.is_empty() { values } else { nulls };
        }
        unreachable!("a key has columns")
    }

    /// One column of a key.
    pub fn column(&self, key: u32, at: usize) -> &[u8] {
        let whole = self.key(key);
        let first = key as usize * (self.columns - 1);
        let from = if at == 0 { 0 } else { self.ends[first + at - 1] as usize };
        let to = if at + 1 == self.columns { whole.len() } else { self.ends[first + at] as usize };
        &whole[from..to]
    }

    fn key(&self, key: u32) -> &[u8] {
        &self.bytes[self.starts[key as usize]..self.starts[key as usize + 1]]
    }

    /// The first sorted key of a run whose column passes; in a run, all that pass come last.
    fn first_from(&self, run: &Range<usize>, at: usize, passes: impl Fn(&[u8]) -> bool) -> usize {
        let keys = &self.sorted[run.clone()];
        run.start + keys.partition_point(|&key| !passes(self.column(key, at)))
    }

    /// `false`: the key was there already.
    fn put(&mut self, key: &[u8], ends: &[u32], winner: Winner, wins: Wins) -> bool {
        let (slot, found) = self.slot(key);
        if let Some(found) = found {
            if wins == Wins::Last {
                self.winners[found as usize] = winner;
            }
            return false;
        }
        self.bytes.extend_from_slice(key);
        self.starts.push(self.bytes.len());
        self.ends.extend_from_slice(ends);
        self.winners.push(winner);
        self.slots[slot] = u32::try_from(self.winners.len()).expect("a batch has fewer rows");
        if self.winners.len() * 2 > self.slots.len() {
            self.grow();
        }
        true
    }

    /// Where a key is, or would be.
    fn slot(&self, key: &[u8]) -> (usize, Option<u32>) {
        let mask = self.slots.len() - 1;
        let hash = self.hasher.hash_one(key);
        let mut slot = usize::try_from(hash & mask as u64).expect("below the number of slots");
        loop {
            match self.slots[slot].checked_sub(1) {
                None => return (slot, None),
                Some(found) if self.key(found) == key => return (slot, Some(found)),
                Some(_) => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for key in 0..self.winners.len() {
            let key = u32::try_from(key).expect("as many as before");
            let (slot, _) = self.slot(self.key(key));
            self.slots[slot] = key + 1;
        }
    }

    fn sort(&mut self) {
        let mut sorted: Vec<u32> = (0..u32::try_from(self.len()).expect("as above")).collect();
        sorted.sort_unstable_by(|&a, &b| self.key(a).cmp(self.key(b)));
        self.sorted = sorted;
    }
}

#[cfg(test)]
mod tests;
