//! Which offsets an output has judged, and how many of them were dead letters: what the kept log tells.
//!
//! Pure: takes what [`super::history`] read. Of what was cleaned away the running counts tell.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{PartitionInfo, PastCommit};
use super::progress::Owner;
use crate::chunk::SourcePartition;
use crate::offsets::OffsetRange;

/// Takes an output's commits in order.
#[derive(Debug)]
pub struct Judged {
    owner: Owner,
    partitions: BTreeMap<SourcePartition, Vec<Judgement>>,
}

/// Offsets that were judged in one run of contiguous commits, and the dead letters among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judgement {
    range: OffsetRange,
    dead_letters: u64,
}

impl Judged {
    pub fn new(owner: Owner) -> Self {
        Self { owner, partitions: BTreeMap::new() }
    }

    /// The next version.
    pub fn take(&mut self, commit: &PastCommit) {
        let ours = commit.info.iter().filter(|info| info.is_of(&self.owner));
        for now in ours.flat_map(|info| &info.partitions) {
            let runs = self.partitions.entry(now.source_partition()).or_default();
            if runs.is_empty() {
                runs.push(before(now));
            }
            let range = OffsetRange::new(now.start, now.end.max(now.start));
            match runs.last_mut() {
                Some(last) if last.range.end == range.start => {
                    last.range.end = range.end;
                    last.dead_letters += now.fates.dead_letters;
                }
                _ => runs.push(Judgement { range, dead_letters: now.fates.dead_letters }),
            }
        }
    }

    /// Whether the output judged an offset; where the kept log tells nothing of a partition, it may have.
    pub fn covers(&self, partition: &SourcePartition, offset: i64) -> bool {
        let runs = self.partitions.get(partition);
        runs.is_none_or(|runs| runs.iter().any(|run| run.range.contains(offset)))
    }

    /// Where the output first read a partition; `None`: the kept log doesn't tell.
    pub fn start(&self, partition: &SourcePartition) -> Option<i64> {
        self.partitions.get(partition)?.iter().map(|run| run.range.start).min()
    }

    /// Of `letters`, all dead letters there are of a partition, those that were certainly dead letters to this output,
    /// and no rows: it counted as many in its commits as there are.
    pub fn certain<'a>(
        &self,
        partition: &SourcePartition,
        letters: impl IntoIterator<Item = &'a i64>,
    ) -> BTreeSet<i64> {
        let runs = self.partitions.get(partition).map_or(&[][..], Vec::as_slice);
        let letters: Vec<i64> = letters.into_iter().copied().collect();
        let adds_up = |run: &&Judgement| {
            let inside = letters.iter().filter(|offset| run.range.contains(**offset)).count();
            inside as u64 == run.dead_letters
        };
        let (sound, unsound): (Vec<&Judgement>, Vec<_>) = runs.iter().partition(adds_up);
        let within = |runs: &[&Judgement], offset| runs.iter().any(|r| r.range.contains(offset));
        let is_certain = |offset: &i64| within(&sound, *offset) && !within(&unsound, *offset);
        letters.iter().copied().filter(is_certain).collect()
    }
}

/// What was cleaned away before the oldest commit that is kept.
fn before(first: &PartitionInfo) -> Judgement {
    let start = first.counted_from.min(first.start);
    let counted = first.cumulative.dead_letters.saturating_sub(first.fates.dead_letters);
    Judgement { range: OffsetRange::new(start, first.start), dead_letters: counted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::Fates;
    use crate::sink::entry::Entry;
    use crate::sink::history::SluiceInfo;

    fn owner() -> Owner {
        Owner::output("shop", "orders")
    }

    fn partition() -> SourcePartition {
        PartitionInfo::at(
            &SourcePartition {
                id: crate::offsets::TopicPartition::new("t", 0),
                topic_id: crate::offsets::TopicId::new("A"),
            },
            0,
            None,
        )
        .source_partition()
    }

    fn commit(info: PartitionInfo) -> PastCommit {
        let mut commit = PastCommit::of(0, &Entry::default());
        commit.info = Some(SluiceInfo::new(&owner(), "c", vec![info]));
        commit
    }

    fn letters(dead_letters: u64, range: u64) -> Fates {
        Fates { dead_letters, gaps: range - dead_letters, ..Fates::default() }
    }

    /// Commits `[10, 20)` and `[20, 30)` with so many dead letters, then a rewind to 25 and `[25, 40)`.
    fn judged(first: u64, second: u64, again: u64) -> Judged {
        let start = PartitionInfo::at(&partition(), 10, None);
        let one = start.next(20, letters(first, 10));
        let two = one.next(30, letters(second, 10));
        let rewound = PartitionInfo::at(&partition(), 25, None);
        let three = rewound.next(40, letters(again, 15));
        let mut judged = Judged::new(owner());
        for info in [start, one, two, rewound, three] {
            judged.take(&commit(info));
        }
        judged
    }

    #[test]
    fn an_output_begins_where_it_first_read() {
        assert_eq!(judged(0, 0, 0).start(&partition()), Some(10));
        assert_eq!(Judged::new(owner()).start(&partition()), None);
        let covered = |offset| judged(0, 0, 0).covers(&partition(), offset);
        assert_eq!([9, 10, 39, 40].map(covered), [false, true, true, false]);
        assert!(Judged::new(owner()).covers(&partition(), 9), "nothing is known");
    }

    #[test]
    fn letters_are_certain_where_the_counts_add_up() {
        let check = |judged: Judged, letters: &[i64], expected: &[i64]| {
            let certain = judged.certain(&partition(), letters);
            assert_eq!(certain.into_iter().collect::<Vec<_>>(), expected, "{letters:?}");
        };
        check(judged(1, 1, 0), &[12, 22], &[12, 22]);
        check(judged(1, 1, 1), &[12, 27], &[12, 27]);
        // 35 was a row when it was read: another output made it a dead letter.
        check(judged(1, 1, 0), &[12, 22, 35], &[12, 22]);
        // One of the two was a row.
        check(judged(1, 0, 0), &[12, 22], &[]);
        // 27 was a row at first, and a dead letter when it was read again.
        check(judged(1, 0, 1), &[12, 27], &[]);
        // Outside of what was judged.
        check(judged(0, 0, 0), &[5, 50], &[]);
    }

    #[test]
    fn counts_of_what_was_cleaned_away_are_known() {
        let mut judged = Judged::new(owner());
        let kept = PartitionInfo::at(&partition(), 10, None).next(20, letters(1, 10));
        judged.take(&commit(kept.next(30, letters(1, 10))));
        assert_eq!(judged.start(&partition()), Some(10));
        assert_eq!(judged.certain(&partition(), &[12, 22]).len(), 2);
        assert_eq!(judged.certain(&partition(), &[12, 15, 22]).len(), 0);
    }
}
