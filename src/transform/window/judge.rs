//! Which rows count, for which windows, and which are late.
//!
//! Rows of one partition are judged in the order of their offsets, by that partition's watermark alone, so that a
//! verdict doesn't depend on how batches were cut or what other partitions brought.

use arrow::array::{Array, BooleanArray, Int64Array};

use super::assign::{Panes, Slot};
use super::watermark::Micros;
use super::{GAPS, Gap, Kind};

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
    /// Rows that were found late before, and stay so; `None`: none was. Without nulls.
    pub late: Option<&'a BooleanArray>,
    /// How long a session goes on after each row, in microseconds, where rows say that themselves. A row that is kept and has
    /// null or none that a session can have is as one without an event time.
    pub gaps: Option<&'a Int64Array>,
}

impl Times<'_> {
    fn gap(&self, row: usize) -> Option<Micros> {
        let gaps = self.gaps.filter(|gaps| gaps.is_valid(row))?;
        Some(gaps.value(row)).filter(|gap| GAPS.contains(gap))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Counts for at least one window.
    Counted,
    /// Every window of it is closed to its partition.
    Late,
    /// Further ahead of its record's timestamp than `max_future`.
    Future,
    /// No event time, one outside [`USABLE_TIMES`], or no gap that a session can have.
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
    pub(super) at: Placed,
}

/// Where rows are in event time.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) times: Vec<Micros>,
    /// Where windows are sessions: when a session of this row alone ends.
    pub(super) ends: Vec<Micros>,
    /// Where windows are tumbling or sliding.
    pub(super) slots: Vec<Slot>,
}

impl Placed {
    /// Rows that no window is closed to. `ends` are theirs where rows have gaps of their own.
    pub(super) fn before_all_ends(kind: &Kind, times: Vec<Micros>, mut ends: Vec<Micros>) -> Self {
        let mut slots = Vec::new();
        match kind {
            Kind::Aligned(aligned) => {
                let mut panes = Panes::new(aligned);
                let slot = |pane| Slot { pane, first: aligned.first_with(pane) };
                slots.extend(times.iter().map(|time| slot(panes.find(*time))));
            }
            Kind::Session(Gap::Fixed(gap)) => ends = times.iter().map(|time| time + gap).collect(),
            Kind::Session(Gap::OfRow) | Kind::Unbounded | Kind::Rows => {}
        }
        Self { times, ends, slots }
    }
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
        at: Placed { times: Vec::with_capacity(rows), ..Placed::default() },
    };
    match kind {
        Kind::Aligned(aligned) => {
            judged.at.slots.reserve(rows);
            let (mut panes, mut closed) = (Panes::new(aligned), Panes::new(aligned));
            each_row(&mut judged, by, times, watermark, |judged, _, time, watermark| {
                let pane = panes.find(time);
                let first = aligned.first_with(pane);
                let open = aligned.first_with(closed.find(watermark)).max(first);
                if open > aligned.last_with(pane) {
                    return false;
                }
                judged.counts.late_partial += u64::from(open > first);
                judged.at.slots.push(Slot { pane, first: open });
                true
            });
        }
        Kind::Session(gap) => {
            judged.at.ends.reserve(rows);
            each_row(&mut judged, by, times, watermark, |judged, row, time, watermark| {
                let of_row = || times.gap(row).expect("a row without one has no event time");
                let on_time = time >= watermark;
                if on_time {
                    judged.at.ends.push(match gap {
                        Gap::Fixed(gap) => time + gap,
                        Gap::OfRow => time + of_row(),
                    });
                }
                on_time
            });
        }
        Kind::Rows => {
            each_row(&mut judged, by, times, watermark, |judged, row, time, watermark| {
                let on_time = time >= watermark;
                if on_time {
                    judged.at.ends.extend(times.gap(row).map(|gap| time + gap));
                }
                on_time
            })
        }
        Kind::Unbounded => each_row(&mut judged, by, times, watermark, |_, _, _, _| true),
    }
    judged
}

/// `on_time` says of a row with a usable event time, and the watermark with it, whether it counts.
fn each_row(
    judged: &mut Judged,
    by: Lateness,
    times: Times<'_>,
    running: &mut Option<Micros>,
    mut on_time: impl FnMut(&mut Judged, usize, Micros, Micros) -> bool,
) {
    let Times { event, record, kept, late, gaps } = times;
    for row in 0..event.len() {
        let kept = kept.is_none_or(|kept| kept.value(row));
        let time = event.value(row);
        let lasts = !kept || gaps.is_none() || times.gap(row).is_some();
        let usable = lasts && event.is_valid(row) && USABLE_TIMES.contains(&time);
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
                true if late.is_none_or(|late| !late.value(row))
                    && on_time(judged, row, time, watermark) =>
                {
                    Verdict::Counted
                }
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
                judged.at.times.push(time);
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

#[cfg(test)]
mod tests {
    use super::super::assign::Aligned;
    use super::Verdict::{Counted, Filtered, Future, Late, Timeless};
    use super::*;

    const LATENESS: Lateness = Lateness { delay: 10, max_future: Some(100) };

    fn aligned(size: Micros, slide: Micros) -> Kind {
        Kind::Aligned(Aligned::new(size, slide, 0, None).expect("valid windows"))
    }

    /// Event times, and the verdicts and the watermark after them.
    fn check(
        kind: &Kind,
        times: &[Option<Micros>],
        verdicts: &[Verdict],
        watermark: Option<Micros>,
    ) {
        let event: Int64Array = times.iter().copied().collect();
        let record = Int64Array::from(vec![0; times.len()]);
        let mut running = None;
        let times = Times { event: &event, record: &record, kept: None, late: None, gaps: None };
        let judged = judge(kind, LATENESS, times, &mut running);
        assert_eq!(judged.verdicts, verdicts, "{kind:?}");
        assert_eq!(running, watermark, "{kind:?}");
        let all = verdicts.iter().all(|verdict| *verdict == Counted);
        assert_eq!(judged.counted().is_none(), all);
    }

    #[test]
    fn a_row_is_late_when_its_windows_end_before_its_partitions_watermark() {
        // The watermark is 10 after the first row: the window 0 to 10 is closed then.
        let times = [Some(20), Some(9), Some(10), Some(9)];
        check(&aligned(10, 10), &times, &[Counted, Late, Counted, Late], Some(10));
        check(&aligned(11, 11), &times, &[Counted; 4], Some(10));
        check(&aligned(20, 10), &times, &[Counted; 4], Some(10));
        let session = Kind::Session(Gap::Fixed(5));
        check(&session, &times, &[Counted, Late, Counted, Late], Some(10));
        check(&Kind::Unbounded, &times, &[Counted; 4], Some(10));
    }

    #[test]
    fn rows_without_a_time_or_from_the_future_move_no_watermark() {
        let times = [Some(0), None, Some(101), Some(100), Some(80), Some(90)];
        let verdicts = [Counted, Timeless, Future, Counted, Late, Counted];
        check(&aligned(10, 10), &times, &verdicts, Some(90));
    }

    #[test]
    fn times_that_nobody_can_mean_are_none_and_the_ends_of_what_can_be_meant_are_times() {
        let (first, last) = USABLE_TIMES.into_inner();
        let zone = Some(chrono_tz::Tz::Pacific__Apia);
        let days = Aligned::new(86_400_000_000, 86_400_000_000, 0, zone).expect("valid windows");
        for kind in [aligned(7, 3), Kind::Aligned(days), Kind::Session(Gap::Fixed(1))] {
            let times = [Some(i64::MIN), Some(first - 1), Some(first)];
            check(&kind, &times, &[Timeless, Timeless, Counted], Some(first - 10));
            let times = [Some(i64::MAX), Some(last + 1), Some(last)];
            check(&kind, &times, &[Timeless, Timeless, Future], None);
        }
    }

    #[test]
    fn rows_that_where_leaves_out_move_the_watermark() {
        let (event, record) = (Int64Array::from(vec![50, 20]), Int64Array::from(vec![0, 0]));
        let kept = BooleanArray::from(vec![false, true]);
        let mut running = None;
        let times =
            Times { event: &event, record: &record, kept: Some(&kept), late: None, gaps: None };
        let judged = judge(&aligned(10, 10), LATENESS, times, &mut running);
        assert_eq!(judged.verdicts, [Filtered, Late]);
        assert!(judged.awake);
    }
}
