//! The keys of an epoch, each with a number, and the group that its state is kept in.

use arrow::array::ArrayRef;
use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::codec::Encoder;
use super::hash::fnv1a;

/// How many groups keys are divided into; part of the form of stored state.
pub const KEY_GROUPS: usize = 256;

/// Distinct keys, numbered as they were first seen.
#[derive(Default)]
pub(super) struct Keys {
    keys: IndexSet<Box<[u8]>, RandomState>,
    scratch: Vec<u8>,
}

impl Keys {
    /// Appends the number of each row's key to `numbers`.
    pub(super) fn number(&mut self, columns: &[ArrayRef], rows: usize, numbers: &mut Vec<u32>) {
        let encoder = Encoder::of_keys(columns);
        for row in 0..rows {
            self.scratch.clear();
            encoder.append(row, &mut self.scratch);
            let number = match self.keys.get_index_of(self.scratch.as_slice()) {
                Some(number) => number,
                None => self.keys.insert_full(self.scratch.as_slice().into()).0,
            };
            numbers.push(u32::try_from(number).expect("a batch has fewer rows"));
        }
    }

    /// The encoded key of a number.
    pub(super) fn key(&self, number: u32) -> &[u8] {
        &self.keys[number as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// The group of an encoded key.
pub(super) fn group_of(key: &[u8]) -> u8 {
    let hash = fnv1a(key);
    let folded = hash ^ (hash >> 32);
    let folded = folded ^ (folded >> 16);
    ((folded ^ (folded >> 8)) % KEY_GROUPS as u64) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_were() {
        let groups = ["", "a", "de", "foobar"].map(|key| group_of(key.as_bytes()));
        assert_eq!(groups, [225, 187, 139, 96]);
    }

    #[test]
    fn keys_are_spread_over_all_groups() {
        let mut sizes = [0; KEY_GROUPS];
        for key in 0..100_000_i64 {
            sizes[usize::from(group_of(&key.to_le_bytes()))] += 1;
        }
        assert!(sizes.iter().all(|size| (250..550).contains(size)), "{sizes:?}");
    }
}
