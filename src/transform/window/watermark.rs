//! Watermarks: how far each partition's event time has come, and how far the output's.
//!
//! Owns the state that an epoch stores of them. Guarantees: no watermark ever falls, and every partition that counts is
//! at or above the output's watermark, so that no row that is not late meets a closed window. Where the clock decides,
//! it decides in [`Decisions`], which are data: with them, the same rows give the same watermarks.

use std::collections::{BTreeMap, BTreeSet};

use crate::chunk::SourcePartition;

/// Microseconds since 1970-01-01T00:00:00Z, or a length of time.
pub type Micros = i64;

/// The watermarks of an output after an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watermarks {
    overall: Option<Micros>,
    partitions: BTreeMap<SourcePartition, PartitionWatermark>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionWatermark {
    /// `None`: no usable event time so far, and nothing that it could have started from.
    pub watermark: Option<Micros>,
    /// An idle partition doesn't hold the output's watermark back.
    pub idle: bool,
}

/// What was decided by the clock, or by what the broker said, at the end of an epoch; stored with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Partitions that count from now on, though nothing was read of them yet.
    pub joined: BTreeSet<SourcePartition>,
    /// Partitions that are no more.
    pub left: BTreeSet<SourcePartition>,
    pub idle: BTreeSet<SourcePartition>,
    /// Partitions that are idle no longer, though no row said so.
    pub back: BTreeSet<SourcePartition>,
}

impl Watermarks {
    /// Watermarks as they were stored.
    pub(super) fn restored(
        overall: Option<Micros>,
        partitions: BTreeMap<SourcePartition, PartitionWatermark>,
    ) -> Self {
        Self { overall, partitions }
    }

    /// W: a window whose end it has reached is closed. `None`: no window is.
    pub fn overall(&self) -> Option<Micros> {
        self.overall
    }

    pub fn partitions(&self) -> &BTreeMap<SourcePartition, PartitionWatermark> {
        &self.partitions
    }

    /// Where a partition's next row is judged from: one that is new, or was idle, starts from W of the last commit.
    pub fn before_next_row(&self, partition: &SourcePartition) -> Option<Micros> {
        match self.partitions.get(partition) {
            Some(known) if !known.idle => known.watermark,
            Some(known) => known.watermark.max(self.overall),
            None => self.overall,
        }
    }

    /// A partition's rows brought it to `watermark`; it isn't idle.
    pub fn advance(&mut self, partition: &SourcePartition, watermark: Micros) {
        let watermark = Some(watermark).max(self.before_next_row(partition));
        match self.partitions.get_mut(partition) {
            Some(known) => *known = PartitionWatermark { watermark, idle: false },
            None => {
                let new = PartitionWatermark { watermark, idle: false };
                self.partitions.insert(partition.clone(), new);
            }
        }
    }

    /// The end of an epoch, whose rows have advanced the partitions: W follows.
    pub fn close_epoch(&mut self, decisions: &Decisions) {
        self.partitions.retain(|partition, _| !decisions.left.contains(partition));
        for partition in decisions.joined.iter().chain(&decisions.back) {
            let watermark = self.before_next_row(partition);
            let counts = PartitionWatermark { watermark, idle: false };
            self.partitions.insert(partition.clone(), counts);
        }
        for partition in &decisions.idle {
            if let Some(known) = self.partitions.get_mut(partition) {
                known.idle = true;
            }
        }
        self.overall = self.overall.max(self.slowest());
    }

    /// The smallest watermark of the partitions that count; of all idle ones the largest, so that W never runs to
    /// infinity. A partition that counts and has none yet holds W where it is.
    fn slowest(&self) -> Option<Micros> {
        let counting = self.partitions.values().filter(|known| !known.idle);
        let smallest = counting.map(|known| known.watermark).min();
        let largest = || self.partitions.values().map(|known| known.watermark).max();
        smallest.or_else(largest).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::{TopicId, TopicPartition};

    fn partition(number: i32) -> SourcePartition {
        SourcePartition { id: TopicPartition::new("t", number), topic_id: TopicId::unknown() }
    }

    fn set(numbers: &[i32]) -> BTreeSet<SourcePartition> {
        numbers.iter().map(|&number| partition(number)).collect()
    }

    fn joined(numbers: &[i32]) -> Watermarks {
        let mut watermarks = Watermarks::default();
        watermarks.close_epoch(&Decisions { joined: set(numbers), ..Decisions::default() });
        watermarks
    }

    fn idle(numbers: &[i32]) -> Decisions {
        Decisions { idle: set(numbers), ..Decisions::default() }
    }

    #[test]
    fn the_smallest_partition_holds_all_back_and_nothing_falls() {
        let mut watermarks = joined(&[0, 1]);
        watermarks.advance(&partition(0), 50);
        watermarks.close_epoch(&Decisions::default());
        assert_eq!(watermarks.overall(), None, "partition 1 has brought nothing yet");
        watermarks.advance(&partition(1), 20);
        watermarks.close_epoch(&Decisions::default());
        assert_eq!(watermarks.overall(), Some(20));
        watermarks.advance(&partition(0), 10);
        watermarks.close_epoch(&Decisions::default());
        assert_eq!(watermarks.partitions()[&partition(0)].watermark, Some(50));
        assert_eq!(watermarks.overall(), Some(20));
    }

    #[test]
    fn idle_partitions_hold_nothing_back_and_all_idle_is_the_largest() {
        let mut watermarks = joined(&[0, 1, 2]);
        watermarks.advance(&partition(0), 50);
        watermarks.advance(&partition(1), 80);
        watermarks.close_epoch(&idle(&[2]));
        assert_eq!(watermarks.overall(), Some(50));
        watermarks.close_epoch(&idle(&[0]));
        assert_eq!(watermarks.overall(), Some(80));
        watermarks.close_epoch(&idle(&[1]));
        assert_eq!(watermarks.overall(), Some(80));
    }

    #[test]
    fn who_joins_or_comes_back_starts_from_the_last_commit() {
        let mut watermarks = joined(&[0, 1]);
        watermarks.advance(&partition(0), 50);
        watermarks.close_epoch(&idle(&[1]));
        assert_eq!(watermarks.overall(), Some(50));
        for stranger in [1, 2] {
            assert_eq!(watermarks.before_next_row(&partition(stranger)), Some(50));
        }
        let mut by_rows = watermarks.clone();
        by_rows.advance(&partition(1), 30);
        by_rows.advance(&partition(2), 70);
        by_rows.close_epoch(&Decisions::default());
        assert_eq!(by_rows.partitions()[&partition(1)].watermark, Some(50));
        assert_eq!(by_rows.overall(), Some(50));

        let decisions = Decisions { back: set(&[1]), joined: set(&[2]), ..Decisions::default() };
        watermarks.advance(&partition(0), 90);
        watermarks.close_epoch(&decisions);
        assert_eq!(watermarks.partitions()[&partition(1)].watermark, Some(50));
        assert_eq!(watermarks.partitions()[&partition(2)].watermark, Some(50));
        assert_eq!(watermarks.overall(), Some(50));
    }

    #[test]
    fn who_leaves_holds_nothing_back() {
        let mut watermarks = joined(&[0, 1]);
        watermarks.advance(&partition(0), 50);
        let decisions = Decisions { left: set(&[1]), ..Decisions::default() };
        watermarks.close_epoch(&decisions);
        assert_eq!(watermarks.overall(), Some(50));
    }
}
