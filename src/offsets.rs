//! Positions in Kafka, as plain data: which partition, which offsets, and what became of them.
//!
//! Everything here is arithmetic without I/O. An [`OffsetRange`] is half open, `[start, end)`, as in
//! Kafka's own "next offset to read" convention.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A topic's identity as the broker knows it (KIP-516): base64 text, or `0` where the broker has none.
///
/// A recreated topic has the old name and a new id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(Arc<str>);

impl TopicId {
    /// The id of a topic on a broker that knows no ids.
    pub fn unknown() -> Self {
        Self(Arc::from("0"))
    }

    /// An id as the broker printed it.
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    pub fn is_unknown(&self) -> bool {
        &*self.0 == "0"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One partition of one topic, without the topic's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The offsets `[start, end)` of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    pub start: i64,
    pub end: i64,
}

impl OffsetRange {
    /// # Panics
    /// When `end < start`: ranges are made from positions that only grow.
    pub fn new(start: i64, end: i64) -> Self {
        assert!(start <= end, "an offset range runs forward, not [{start}, {end})");
        Self { start, end }
    }

    /// Offsets in the range, holes included.
    pub fn len(self) -> u64 {
        (self.end - self.start).unsigned_abs()
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub fn contains(self, offset: i64) -> bool {
        (self.start..self.end).contains(&offset)
    }

    /// The part that both ranges cover; `None` when they share no offset.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// What became of the records of a range. The sum of all fates is the length of the range: that is
/// what `sluice verify` proves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fates {
    /// Written to the output's table.
    pub rows: u64,
    /// Bad records kept in the dead-letter table.
    pub dead_letters: u64,
    /// Bad records dropped under `on_bad_record: skip`.
    pub skipped: u64,
    /// Records without a value.
    pub tombstones: u64,
    /// Records that the output's `where` left out.
    pub filtered: u64,
    /// Records whose key had a row already under `mode: insert_new`.
    pub existing: u64,
    /// Records of whose key there was a row near in event time, under `deduplicate`.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Records that wait for the watermark under `deduplicate: {order: event_time}`; rows and duplicates among them are told
    /// by the commit that releases them.
    #[serde(skip_serializing_if = "is_zero")]
    pub held: u64,
    /// Records that count for windows of an output with `aggregate`.
    #[serde(skip_serializing_if = "is_zero")]
    pub aggregated: u64,
    /// Records all of whose windows were closed.
    #[serde(skip_serializing_if = "is_zero")]
    pub late: u64,
    /// Records with an event time further ahead than `max_future`.
    #[serde(skip_serializing_if = "is_zero")]
    pub future: u64,
    /// Records without a usable event time.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeless: u64,
    /// Offsets that hold no record: control records, compaction, aborted transactions, or data that
    /// was lost and that `on_data_loss: continue` allowed.
    pub gaps: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Fates {
    /// Their names, in the order of [`counts`](Self::counts).
    pub const NAMES: [&str; 13] = [
        "rows",
        "dead_letters",
        "skipped",
        "tombstones",
        "filtered",
        "existing",
        "duplicates",
        "held",
        "aggregated",
        "late",
        "future",
        "timeless",
        "gaps",
    ];

    pub fn counts(&self) -> [u64; Self::NAMES.len()] {
        let &Self {
            rows,
            dead_letters,
            skipped,
            tombstones,
            filtered,
            existing,
            duplicates,
            held,
            aggregated,
            late,
            future,
            timeless,
            gaps,
        } = self;
        [
            rows,
            dead_letters,
            skipped,
            tombstones,
            filtered,
            existing,
            duplicates,
            held,
            aggregated,
            late,
            future,
            timeless,
            gaps,
        ]
    }

    /// Records of any fate, without gaps.
    pub fn records(&self) -> u64 {
        self.total() - self.gaps
    }

    /// Records and gaps: the length of the range.
    pub fn total(&self) -> u64 {
        self.counts().iter().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.dead_letters += other.dead_letters;
        self.skipped += other.skipped;
        self.tombstones += other.tombstones;
        self.filtered += other.filtered;
        self.existing += other.existing;
        self.duplicates += other.duplicates;
        self.held += other.held;
        self.aggregated += other.aggregated;
        self.late += other.late;
        self.future += other.future;
        self.timeless += other.timeless;
        self.gaps += other.gaps;
    }
}

/// A count with commas between thousands, for messages.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let texts = [grouped(7), grouped(999), grouped(100_000), grouped(1_234_567)];
        assert_eq!(texts, ["7", "999", "100,000", "1,234,567"]);
    }

    #[test]
    fn ranges_are_half_open() {
        let range = OffsetRange::new(3, 5);
        assert_eq!(range.len(), 2);
        assert!(range.contains(3) && range.contains(4) && !range.contains(5));
        assert_eq!(range.intersect(OffsetRange::new(4, 9)), Some(OffsetRange::new(4, 5)));
        assert_eq!(range.intersect(OffsetRange::new(5, 9)), None);
    }

    #[test]
    fn fates_add_up() {
        let mut sum = Fates { rows: 2, gaps: 1, ..Fates::default() };
        sum.add(&Fates { dead_letters: 3, skipped: 1, tombstones: 1, ..Fates::default() });
        assert_eq!((sum.records(), sum.total()), (7, 8));
    }
}
