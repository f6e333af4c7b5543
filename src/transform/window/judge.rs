//! Which rows count, for which windows, and which are late.
//!
//! Rows of one partition are judged in the order of their offsets, by that partition's watermark alone, so that a
//! verdict doesn't depend on how batches were cut or what other partitions brought.

use arrow::array::{Array, BooleanArray, Int64Array};

use super::Kind;
use super::assign::{Panes, Slot};
use super::watermark::Micros;

/// The years 1 to 9999: what Spark and SQL can write down. Beyond them no watermark can be taken seriously.
pub const USABLE_TIMES: std::ops::RangeInclusive<Micros> =
    -62_135_596_800_000_000..=253_402_300_799_999_999;

/// What rows are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// How far the watermark stays behind the largest event time.
    pub delay: Micros,
    /// How far an event time may be ahead of its record's timestamp; `None`: any distance.
    pub max_future: Option<Micros>,
}

/// The times of a chunk's rows.
#[derive(Debug, Clone, Copy)]
pub struct Times<'a> {
    /// In microseconds.
    pub event: &'a Int64Array,
    /// The records' Kafka timestamps, in microseconds; null: the record has none.
    pub record: &'a Int64Array,
    /// The rows that `where` keeps; `None`: all. Without nulls. The others move the watermark and are not judged.
    pub kept: Option<&'a BooleanArray>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Counts for at least one window.
    Counted,
    /// Every window of it is closed to its partition.
    Late,
    /// Further ahead of its record's timestamp than `max_future`.
    Future,
    /// No event time, or one outside [`USABLE_TIMES`].
    Timeless,
    /// Left out by `where`.
    Filtered,
}

/// How many rows had which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub counted: u64,
    pub late: u64,
    /// Of `counted`: some of the windows were closed to the row.
    pub late_partial: u64,
    pub future: u64,
    pub timeless: u64,
    pub filtered: u64,
}

/// A chunk's rows, judged. Only the rows that count go on to the windows.
#[derive(Debug)]
pub struct Judged {
    /// Of every row.
    pub verdicts: Vec<Verdict>,
    pub counts: Counts,
    /// Whether any row had a usable event time: the partition is not idle.
    pub awake: bool,
    /// Of the rows that count.
    pub(super) times: Vec<Micros>,
    /// Of the rows that count, where windows are tumbling or sliding.
    pub(super) slots: Vec<Slot>,
}

impl Judged {
    /// The rows that count; `None`: all do.
    pub fn counted(&self) -> Option<BooleanArray> {
        let all = self.counts.counted == self.verdicts.len() as u64;
        let counted = || self.verdicts.iter().map(|verdict| *verdict == Verdict::Counted);
        (!all).then(|| BooleanArray::from(counted().collect::<Vec<_>>()))
    }
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.counted += other.counted;
        self.late += other.late;
        self.late_partial += other.late_partial;
        self.future += other.future;
        self.timeless += other.timeless;
        self.filtered += other.filtered;
    }
}

/// Judges rows from the partition's watermark on, and moves it.
pub(super) fn judge(
    kind: &Kind,
    by: Lateness,
    times: Times<'_>,
    watermark: &mut Option<Micros>,
) -> Judged {
    let rows = times.event.len();
    let mut judged = Judged {
        verdicts: Vec::with_capacity(rows),
        counts: Counts::default(),
        awake: false,
        times: Vec::with_capacity(rows),
        slots: Vec::new(),
    };
    match kind {
        Kind::Aligned(aligned) => {
            judged.slots.reserve(rows);
            let (mut panes, mut closed) = (Panes::new(aligned), Panes::new(aligned));
            each_row(&mut judged, by, times, watermark, |judged, time, watermark| {
                let pane = panes.find(time);
                let first = aligned.first_with(pane);
                let open = aligned.first_with(closed.find(watermark)).max(first);
                if open > aligned.last_with(pane) {
                    return false;
                }
                judged.counts.late_partial += u64::from(open > first);
                judged.slots.push(Slot { pane, first: open });
                true
            });
        }
        Kind::Session { .. } => {
            each_row(&mut judged, by, times, watermark, |_, time, watermark| time >= watermark);
        }
        Kind::Unbounded => each_row(&mut judged, by, times, watermark, |_, _, _| true),
    }
    judged
}

/// `on_time` says of a usable event time, and the watermark with it, whether the row counts.
fn each_row(
    judged: &mut Judged,
    by: Lateness,
    times: Times<'_>,
    running: &mut Option<Micros>,
    mut on_time: impl FnMut(&mut Judged, Micros, Micros) -> bool,
) {
    let Times { event, record, kept } = times;
    for row in 0..event.len() {
        let kept = kept.is_none_or(|kept| kept.value(row));
        let time = event.value(row);
        let usable = event.is_valid(row) && USABLE_TIMES.contains(&time);
        let future = usable
            && record.is_valid(row)
            && by.max_future.is_some_and(|most| time.saturating_sub(record.value(row)) > most);
        let verdict = if usable && !future {
            // A row can't be late by its own event time: its windows end after it.
            let reached = time - by.delay;
            let watermark = running.map_or(reached, |before| before.max(reached));
            *running = Some(watermark);
            judged.awake = true;
            match kept {
                false => Verdict::Filtered,
                true if on_time(judged, time, watermark) => Verdict::Counted,
                true => Verdict::Late,
            }
        } else {
            match kept {
                false => Verdict::Filtered,
                true if future => Verdict::Future,
                true => Verdict::Timeless,
            }
        };
        let count = match verdict {
            Verdict::Counted => {
                judged.times.push(time);
                &mut judged.counts.counted
            }
            Verdict::Late => &mut judged.counts.late,
            Verdict::Future => &mut judged.counts.future,
            Verdict::Timeless => &mut judged.counts.timeless,
            Verdict::Filtered => &mut judged.counts.filtered,
        };
        *count += 1;
        judged.verdicts.push(verdict);
    }
}
