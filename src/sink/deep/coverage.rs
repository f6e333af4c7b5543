//! Which offsets the kept log covers, how often, and which of them have been seen. Arithmetic without I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::DeepReport;
use crate::offsets::{Fates, OffsetRange};
use crate::sink::history::PastCommit;
use crate::sink::keyed::KeyedMode;
use crate::sink::progress::Owner;

/// The offsets that the commits of one owner cover, from the oldest kept to the newest.
#[derive(Debug)]
pub struct Coverage {
    owner: Owner,
    /// The log is kept from version 0 on: what is in no commit is in none.
    whole: bool,
    /// By topic and partition.
    partitions: BTreeMap<(String, i32), Vec<OffsetRange>>,
    rows: u64,
    /// Dead letters that were found in ranges which had been passed before the table knew of them.
    added_below: u64,
    /// Other writers' commits that took data out.
    removals: u64,
    /// Of a table that is merged into by key.
    merged: Option<Merged>,
    /// Rows that all commits together leave, those of other writers too; `None`: one doesn't say.
    left: Option<i64>,
    /// Other writers' commits that brought data.
    appends: u64,
    /// Built once all commits are in.
    lanes: Vec<Lane>,
}

/// A key by which rows were replaced: their offsets are no longer in the table.
#[derive(Debug)]
struct Merged {
    key: Vec<String>,
}

/// One partition: where its offsets are covered, and how often.
#[derive(Debug)]
struct Lane {
    topic: String,
    partition: i32,
    segments: Vec<Segment>,
}

/// Offsets that were committed `depth` times: more than once after a rewind, or under another topic id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    range: OffsetRange,
    depth: u64,
}

impl Coverage {
    /// `whole`: the first commit to come is version 0.
    pub fn new(owner: &Owner, whole: bool) -> Self {
        Self {
            owner: owner.clone(),
            whole,
            partitions: BTreeMap::new(),
            rows: 0,
            added_below: 0,
            removals: 0,
            merged: None,
            left: Some(0),
            appends: 0,
            lanes: Vec::new(),
        }
    }

    /// The next version.
    pub fn take(&mut self, commit: &PastCommit) {
        let (added, removed) = (commit.files.added_rows, commit.files.removed_rows);
        let step = added.zip(removed).map(|(added, removed)| added as i64 - removed as i64);
        self.left = self.left.zip(step).map(|(left, step)| left + step);
        let Some(info) = &commit.info else {
            self.appends += u64::from(commit.files.data_added > 0);
            let removes = commit.files.data_removed > 0 || commit.is_restore;
            self.removals += u64::from(removes);
            return;
        };
        if !info.is_of(&self.owner) {
            // Dead letters that became rows: their offsets were covered when they were judged.
            if info.is_of(&Owner::replay(self.owner.connector(), self.owner.stream())) {
                self.rows += commit.files.added_rows.unwrap_or(0);
            }
            return;
        }
        for partition in &info.partitions {
            let key = (partition.topic.clone(), partition.partition);
            let ranges = self.partitions.entry(key).or_insert_with(|| {
                // What was cleaned away is known from the running counts.
                let mut before = partition.cumulative;
                subtract(&mut before, &partition.fates);
                self.rows += before.rows;
                vec![OffsetRange::new(partition.counted_from.min(partition.start), partition.start)]
            });
            let range = OffsetRange::new(partition.start, partition.end.max(partition.start));
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        if let Some(keyed) = info.keyed.as_ref().filter(|keyed| keyed.mode == KeyedMode::Upsert) {
            self.merged = Some(Merged { key: keyed.key.clone() });
        }
        self.rows += commit.files.added_rows.unwrap_or(0);
        self.added_below += info.added_below;
    }

    /// Whether so many rows outside of all ranges are what the commits said.
    pub(super) fn explains(&self, outside: u64) -> bool {
        outside <= self.added_below
    }

    /// The key that no two rows may have in common.
    pub(super) fn key(&self) -> Option<&[String]> {
        self.merged.as_ref().map(|merged| &*merged.key)
    }

    /// Whether rows may have come that no commit of ours brought.
    pub(super) fn has_other_rows(&self) -> bool {
        self.appends > 0 || !self.whole
    }

    /// Topic names with progress.
    pub fn topics(&self) -> usize {
        let topics: BTreeSet<&String> = self.partitions.keys().map(|(topic, _)| topic).collect();
        topics.len()
    }

    /// Everything was taken: how often each offset is covered.
    #[must_use]
    pub fn finish(mut self) -> Self {
        let lanes = self.partitions.iter().map(|((topic, partition), ranges)| {
            let segments = segments(ranges);
            Lane { topic: topic.clone(), partition: *partition, segments }
        });
        self.lanes = lanes.collect();
        self
    }

    /// The lane of a row's coordinates. Without topics in the rows there is only one topic.
    pub(super) fn lane(&self, topic: &str, partition: i64, by_topic: bool) -> Option<usize> {
        self.lanes.iter().position(|lane| {
            i64::from(lane.partition) == partition && (!by_topic || lane.topic == topic)
        })
    }

    /// Cuts the offsets into passes of at most `most` bits.
    pub(super) fn passes(&self, most: u64) -> Vec<Pass> {
        let bounds: Vec<Bounds> = self
            .lanes
            .iter()
            .map(|lane| Bounds {
                segments: lane.segments.iter().map(|s| s.range).collect(),
                before_log: !self.whole,
            })
            .collect();
        let mut passes = vec![Pass::new(&bounds, true)];
        let mut room = most;
        for (at, lane) in self.lanes.iter().enumerate() {
            for segment in &lane.segments {
                let mut rest = segment.range;
                while !rest.is_empty() {
                    let fit = (room / segment.depth).min(rest.len());
                    if fit == 0 {
                        passes.push(Pass::new(&bounds, false));
                        room = most.max(segment.depth);
                        continue;
                    }
                    let end = rest.start.saturating_add_unsigned(fit);
                    let window = Window::new(OffsetRange::new(rest.start, end), segment.depth);
                    passes.last_mut().expect("there is one").windows[at].push(window);
                    room -= fit * segment.depth;
                    rest.start = end;
                }
            }
        }
        let only = passes.len() == 1;
        passes.iter_mut().for_each(|pass| pass.only = only);
        passes
    }

    /// Holds the rows counted against the rows found.
    pub(super) fn compare(&self, report: &mut DeepReport) {
        if self.merged.is_some() {
            return self.compare_merged(report);
        }
        report.expected_rows = self.rows;
        let below = if self.explains(report.outside) { report.outside } else { 0 };
        let (expected, found) = (self.rows, report.rows + below);
        if report.before_log > 0 {
            report.notes.push(format!(
                "{} rows are from before what the kept log tells: only later ones were compared",
                report.before_log
            ));
        }
        if found == expected {
            return;
        }
        if found < expected && self.removals > 0 {
            let (missing, removals) = (expected - found, self.removals);
            report.notes.push(format!(
                "{missing} of {expected} rows are gone; commits of other writers that removed data: {removals}"
            ));
            return;
        }
        if found > expected && !self.whole {
            // Each was looked at as a row alone; only their number was cleaned away with the log.
            let more = found - expected;
            report
                .notes
                .push(format!("{more} rows were counted by commits that are no longer kept"));
            return;
        }
        report.findings.push(format!("the commits counted {expected} rows, the table has {found}"));
    }
}

impl Coverage {
    /// Replaced rows are gone with their offsets: there are as many rows as all commits leave, and that is all.
    fn compare_merged(&self, report: &mut DeepReport) {
        report.notes.push(
            "rows are replaced by key: what was proven is that each row's offset was committed, none is there twice, \
             and no key has two rows; not that every offset has a row"
                .to_owned(),
        );
        let found = report.rows + report.outside + report.before_log;
        match self.left.filter(|_| self.whole).map(u64::try_from) {
            None => report.notes.push(
                "the number of rows was not compared: the log was cleaned, or another writer's commit doesn't say how \
                 many it removed"
                    .to_owned(),
            ),
            Some(left) => {
                report.expected_rows = left.unwrap_or(0);
                let expected = report.expected_rows;
                if found != expected {
                    report
                        .findings
                        .push(format!("the commits leave {expected} rows, the table has {found}"));
                }
            }
        }
    }
}

/// A running count never is below one of its parts; a log that says so is told of by `verify` itself.
fn subtract(from: &mut Fates, part: &Fates) {
    from.rows = from.rows.saturating_sub(part.rows);
}

/// How often each offset is in the ranges.
fn segments(ranges: &[OffsetRange]) -> Vec<Segment> {
    let mut steps: Vec<(i64, i64)> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .flat_map(|range| [(range.start, 1), (range.end, -1)])
        .collect();
    steps.sort_unstable();
    let (mut segments, mut depth, mut from): (Vec<Segment>, i64, i64) = (Vec::new(), 0, 0);
    for (at, step) in steps {
        if at > from && depth > 0 {
            let range = OffsetRange::new(from, at);
            let depth = depth.unsigned_abs();
            match segments.last_mut() {
                Some(last) if last.range.end == from && last.depth == depth => last.range.end = at,
                _ => segments.push(Segment { range, depth }),
            }
        }
        (depth, from) = (depth + step, at);
    }
    segments
}

/// What became of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Inside,
    /// Seen as often as it was committed already.
    Twice,
    /// Covered, but by another pass.
    OtherPass,
    /// Below what the kept log tells.
    BeforeLog,
    /// In no commit.
    Outside,
}

#[derive(Debug, Clone)]
struct Bounds {
    segments: Vec<OffsetRange>,
    before_log: bool,
}

/// The offsets that one reading of the table looks at.
#[derive(Debug)]
pub(super) struct Pass {
    bounds: Vec<Bounds>,
    /// By lane, ascending.
    windows: Vec<Vec<Window>>,
    first: bool,
    only: bool,
}

impl Pass {
    fn new(bounds: &[Bounds], first: bool) -> Self {
        Self {
            bounds: bounds.to_vec(),
            windows: bounds.iter().map(|_| Vec::new()).collect(),
            first,
            only: true,
        }
    }

    /// Rows that no pass looks at are told of by the first.
    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// The offsets that a file must hold to be of interest; `None`: any. The first pass reads all files.
    pub(super) fn limits(&self) -> Option<(i64, i64)> {
        if self.first || self.only {
            return None;
        }
        let windows = || self.windows.iter().flatten();
        let first = windows().map(|w| w.range.start).min()?;
        let end = windows().map(|w| w.range.end).max()?;
        Some((first, end))
    }

    /// Sees one row.
    pub(super) fn take(&mut self, lane: usize, offset: i64) -> Place {
        let windows = &mut self.windows[lane];
        let at = windows.partition_point(|window| window.range.end <= offset);
        if let Some(window) = windows.get_mut(at).filter(|w| w.range.contains(offset)) {
            return window.take(offset);
        }
        let bounds = &self.bounds[lane];
        let at = bounds.segments.partition_point(|range| range.end <= offset);
        match bounds.segments.get(at) {
            Some(range) if range.contains(offset) => Place::OtherPass,
            Some(_) if at == 0 && bounds.before_log => Place::BeforeLog,
            None if bounds.segments.is_empty() && bounds.before_log => Place::BeforeLog,
            _ => Place::Outside,
        }
    }
}

/// A run of offsets with a bit for each time that each was committed.
#[derive(Debug)]
struct Window {
    range: OffsetRange,
    depth: u64,
    /// Made when the first row comes.
    bits: Vec<u64>,
}

impl Window {
    fn new(range: OffsetRange, depth: u64) -> Self {
        Self { range, depth, bits: Vec::new() }
    }

    fn take(&mut self, offset: i64) -> Place {
        let len = self.range.len();
        if self.bits.is_empty() {
            let words = (len * self.depth).div_ceil(64);
            self.bits = vec![0; usize::try_from(words).expect("a pass fits in memory")];
        }
        let at = offset.abs_diff(self.range.start);
        for time in 0..self.depth {
            let bit = time * len + at;
            let word = &mut self.bits[usize::try_from(bit / 64).expect("as above")];
            let mask = 1 << (bit % 64);
            if *word & mask == 0 {
                *word |= mask;
                return Place::Inside;
            }
        }
        Place::Twice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: i64, end: i64) -> OffsetRange {
        OffsetRange::new(start, end)
    }

    #[test]
    fn ranges_that_were_read_again_are_deeper() {
        let check = |ranges: &[(i64, i64)], expected: &[(i64, i64, u64)]| {
            let ranges: Vec<_> = ranges.iter().map(|(a, b)| range(*a, *b)).collect();
            let found: Vec<_> =
                segments(&ranges).iter().map(|s| (s.range.start, s.range.end, s.depth)).collect();
            assert_eq!(found, expected);
        };
        check(&[], &[]);
        check(&[(3, 3)], &[]);
        check(&[(0, 10), (10, 20)], &[(0, 20, 1)]);
        check(&[(0, 10), (4, 20)], &[(0, 4, 1), (4, 10, 2), (10, 20, 1)]);
        check(&[(0, 5), (8, 9)], &[(0, 5, 1), (8, 9, 1)]);
    }

    /// What is told when the commits counted `rows` (`below` of them in no range), and the table has `found`.
    fn compared(whole: bool, (rows, below): (u64, u64), found: DeepReport) -> (usize, usize) {
        let mut coverage = coverage(&[(0, 100)], whole);
        (coverage.rows, coverage.added_below) = (rows, below);
        let mut report = found;
        coverage.compare(&mut report);
        (report.findings.len(), report.notes.len())
    }

    #[test]
    fn rows_are_as_many_as_were_counted() {
        let found = |rows, outside| DeepReport { rows, outside, ..DeepReport::default() };
        assert_eq!(compared(true, (10, 0), found(10, 0)), (0, 0));
        assert_eq!(compared(true, (10, 0), found(9, 0)), (1, 0), "one is gone");
        assert_eq!(compared(true, (10, 0), found(11, 0)), (1, 0), "one too many");
        assert_eq!(compared(true, (10, 2), found(8, 2)), (0, 0), "late dead letters");
        assert_eq!(compared(false, (10, 0), found(11, 0)), (0, 1), "counts were cleaned away");
        assert_eq!(compared(false, (10, 0), found(9, 0)), (1, 0));
    }

    #[test]
    fn a_table_merged_by_key_has_as_many_rows_as_all_commits_leave() {
        let compared = |whole, left, found: DeepReport| {
            let mut coverage = coverage(&[(0, 100)], whole);
            coverage.merged = Some(Merged { key: vec!["id".to_owned()] });
            (coverage.rows, coverage.left) = (1_000, left);
            let mut report = found;
            coverage.compare(&mut report);
            (report.findings.len(), report.notes.len())
        };
        let found = |rows, outside| DeepReport { rows, outside, ..DeepReport::default() };
        assert_eq!(compared(true, Some(10), found(10, 0)), (0, 1));
        assert_eq!(compared(true, Some(10), found(7, 3)), (0, 1), "three of another writer's");
        assert_eq!(compared(true, Some(10), found(9, 0)), (1, 1), "one is gone");
        assert_eq!(compared(true, Some(10), found(11, 0)), (1, 1), "one too many");
        assert_eq!(compared(true, None, found(11, 0)), (0, 2), "somebody doesn't say");
        assert_eq!(compared(false, Some(3), found(11, 0)), (0, 2), "the log was cleaned");
    }

    fn coverage(ranges: &[(i64, i64)], whole: bool) -> Coverage {
        let mut coverage = Coverage::new(&Owner::output("shop", "orders"), whole);
        let ranges = ranges.iter().map(|(a, b)| range(*a, *b)).collect();
        coverage.partitions.insert(("t".to_owned(), 0), ranges);
        coverage.finish()
    }

    /// What one pass after the other says of offsets, `OtherPass` left out.
    fn seen(coverage: &Coverage, bits: u64, offsets: &[i64]) -> Vec<Vec<Place>> {
        let passes = coverage.passes(bits);
        let places = passes.into_iter().map(|mut pass| {
            let places = offsets.iter().map(|offset| pass.take(0, *offset));
            places.filter(|place| *place != Place::OtherPass).collect()
        });
        places.collect()
    }

    #[test]
    fn an_offset_may_be_there_as_often_as_it_was_committed() {
        use Place::{Inside, Outside, Twice};
        let once = coverage(&[(0, 10)], true);
        assert_eq!(seen(&once, 1 << 20, &[0, 9, 0, 10]), [[Inside, Inside, Twice, Outside]]);
        let twice = coverage(&[(0, 10), (5, 10)], true);
        assert_eq!(
            seen(&twice, 1 << 20, &[5, 5, 5, 4, 4]),
            [[Inside, Inside, Twice, Inside, Twice]]
        );
    }

    #[test]
    fn passes_share_the_offsets_among_them() {
        let all: Vec<i64> = (0..100).chain([7, 93]).collect();
        let coverage = coverage(&[(0, 100), (40, 60)], true);
        let passes = seen(&coverage, 13, &all);
        assert_eq!(passes.len(), 120_usize.div_ceil(13));
        let sum = |place| passes.iter().flatten().filter(|p| **p == place).count();
        assert_eq!((sum(Place::Inside), sum(Place::Twice)), (100, 2));
    }

    #[test]
    fn what_is_older_than_the_kept_log_is_not_judged() {
        let kept = coverage(&[(50, 60)], false);
        assert_eq!(
            seen(&kept, 1 << 20, &[10, 55, 60]),
            [[Place::BeforeLog, Place::Inside, Place::Outside]]
        );
    }
}
