//! Which offsets the next batch covers. Pure arithmetic on positions, ends and limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::chunk::SourcePartition;
use crate::offsets::OffsetRange;

/// One partition in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRange {
    pub partition: Arc<SourcePartition>,
    pub range: OffsetRange,
}

/// What is known of a partition when a batch is planned.
#[derive(Debug, Clone)]
pub struct Backlog {
    pub partition: Arc<SourcePartition>,
    /// The next offsets of the outputs that read it; they differ after a crash between two outputs' commits.
    pub next: BTreeSet<i64>,
    /// One past the last offset to read.
    pub end: i64,
}

impl Backlog {
    /// From the output furthest behind up to the end, but no further than where the next output joins: so a range
    /// lies either wholly before or wholly after each output's progress.
    fn range(&self) -> Option<OffsetRange> {
        let mut next = self.next.iter().copied();
        let start = next.next()?;
        let end = next.next().map_or(self.end, |joins| joins.min(self.end));
        (start < end).then(|| OffsetRange::new(start, end))
    }
}

/// The ranges of a batch of at most about `max_records` offsets: each partition gets its share of the limit in
/// proportion to its backlog, and one offset at least, so that none starves. Holes count as offsets.
pub fn plan(backlogs: &[Backlog], max_records: u64) -> Vec<PlannedRange> {
    let open: Vec<(&Backlog, OffsetRange)> =
        backlogs.iter().filter_map(|b| b.range().map(|range| (b, range))).collect();
    let total: u128 = open.iter().map(|(_, range)| u128::from(range.len())).sum();
    open.into_iter()
        .map(|(backlog, range)| {
            let share = u128::from(range.len()) * u128::from(max_records) / total;
            let offsets = u64::try_from(share).unwrap_or(u64::MAX).clamp(1, range.len());
            let end = range.start.saturating_add_unsigned(offsets);
            PlannedRange {
                partition: backlog.partition.clone(),
                range: OffsetRange::new(range.start, end),
            }
        })
        .collect()
}

/// Without partitions that are to wait for others, as long as others have something to read.
pub fn without(backlogs: Vec<Backlog>, ahead: &BTreeSet<&SourcePartition>) -> Vec<Backlog> {
    let is_behind = |backlog: &&Backlog| !ahead.contains(&*backlog.partition);
    if !backlogs.iter().any(|backlog| is_behind(&backlog) && backlog.range().is_some()) {
        return backlogs;
    }
    backlogs.into_iter().filter(|backlog| is_behind(&backlog)).collect()
}

/// Offsets waiting over all partitions, from the output furthest behind.
pub fn waiting(backlogs: &[Backlog]) -> u64 {
    backlogs
        .iter()
        .filter_map(|b| {
            b.next.first().map(|&next| b.end.saturating_sub(next).max(0).unsigned_abs())
        })
        .sum()
}

/// The positions of several outputs, gathered by partition.
pub fn gather<'a>(
    outputs: impl IntoIterator<Item = &'a BTreeMap<Arc<SourcePartition>, i64>>,
) -> BTreeMap<Arc<SourcePartition>, BTreeSet<i64>> {
    let mut gathered: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    for positions in outputs {
        for (partition, &next) in positions {
            gathered.entry(partition.clone()).or_default().insert(next);
        }
    }
    gathered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::offsets::{TopicId, TopicPartition};

    fn backlog(partition: i32, next: &[i64], end: i64) -> Backlog {
        let id = TopicPartition::new("t", partition);
        let partition = Arc::new(SourcePartition { id, topic_id: TopicId::unknown() });
        Backlog { partition, next: next.iter().copied().collect(), end }
    }

    fn check(backlogs: &[Backlog], max_records: u64, expected: &[(i32, i64, i64)]) {
        let planned: Vec<_> = plan(backlogs, max_records)
            .iter()
            .map(|p| (p.partition.id.partition, p.range.start, p.range.end))
            .collect();
        assert_eq!(planned, expected);
    }

    #[test]
    fn who_is_ahead_waits_while_others_have_something() {
        let ahead = backlog(0, &[5], 9).partition;
        let ahead = BTreeSet::from([&*ahead]);
        let check = |backlogs: Vec<Backlog>, expected: &[i32]| {
            let left = without(backlogs, &ahead);
            let left: Vec<_> = left.iter().map(|backlog| backlog.partition.id.partition).collect();
            assert_eq!(left, expected);
        };
        check(vec![backlog(0, &[5], 9), backlog(1, &[0], 9)], &[1]);
        check(vec![backlog(0, &[5], 9), backlog(1, &[9], 9)], &[0, 1]);
        check(vec![backlog(0, &[5], 9)], &[0]);
    }

    #[test]
    fn everything_when_it_fits() {
        check(&[backlog(0, &[0], 10), backlog(1, &[5], 6)], 100, &[(0, 0, 10), (1, 5, 6)]);
    }

    #[test]
    fn partitions_without_backlog_are_left_out() {
        check(&[backlog(0, &[10], 10), backlog(1, &[12], 6)], 100, &[]);
    }

    #[test]
    fn each_partition_gets_a_fair_share_and_one_at_least() {
        let backlogs = [backlog(0, &[0], 900), backlog(1, &[0], 100), backlog(2, &[0], 1)];
        check(&backlogs, 100, &[(0, 0, 89), (1, 0, 9), (2, 0, 1)]);
    }

    #[test]
    fn a_range_ends_where_another_output_joins() {
        check(&[backlog(0, &[5, 8], 20)], 100, &[(0, 5, 8)]);
        check(&[backlog(0, &[5, 30], 20)], 100, &[(0, 5, 20)]);
    }

    proptest! {
        #[test]
        fn plans_stay_in_the_backlog_and_near_the_limit(
            parts in prop::collection::vec((0i64..1_000, 0i64..1_000), 1..20),
            max_records in 1u64..2_000,
        ) {
            let backlogs: Vec<_> = parts
                .iter()
                .zip(0..)
                .map(|(&(next, len), p)| backlog(p, &[next], next + len))
                .collect();
            let planned = plan(&backlogs, max_records);
            let total: u64 = planned.iter().map(|p| p.range.len()).sum();
            prop_assert!(total <= max_records + planned.len() as u64);
            prop_assert_eq!(planned.is_empty(), waiting(&backlogs) == 0);
            for p in &planned {
                let (next, len) = parts[usize::try_from(p.partition.id.partition).expect("made above")];
                prop_assert!(p.range.start == next && p.range.end <= next + len && !p.range.is_empty());
            }
        }
    }
}
