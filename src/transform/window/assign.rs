//! Tumbling and sliding windows: which of them a time belongs to, and when they end.
//!
//! Time is cut into panes; windows are runs of `size` panes that begin every `slide`
//! panes. A tumbling window is one pane. All that windows decide (which one closes, which one a row is late for) is
//! arithmetic on the indexes of panes and windows, so that it is the same for days of 23 hours.

use chrono_tz::Tz;

use super::calendar::{self, MICROS_OF_DAY};
use super::error::WindowError;
use super::watermark::Micros;

/// The longest window: beyond it, something else was meant.
pub const LONGEST_WINDOW: Micros = 36_525 * MICROS_OF_DAY;

/// The most panes in a window: a day every second. Each has a state of its own, and is merged into each of its windows.
pub const MOST_PANES: i64 = 100_000;

/// Tumbling and sliding windows of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aligned {
    grid: Grid,
    /// Panes in a window.
    size: i64,
    /// Panes from one window's start to the next one's.
    slide: i64,
}

/// How time is cut into panes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Grid {
    Fixed {
        pane: Micros,
        offset: Micros,
    },
    /// Calendar days of a zone, each beginning `offset` after the day's start.
    Days {
        pane: i64,
        offset: Micros,
        zone: Tz,
    },
}

/// Where a row is counted: its pane, and the first window that it still counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    pub pane: i64,
    pub first: i64,
}

impl Aligned {
    /// Windows of `size` that begin every `slide`, counted from 1970-01-01 and `offset`. In a `zone`, both are whole
    /// days; without one, whole days are days of UTC.
    pub fn new(
        size: Micros,
        slide: Micros,
        offset: Micros,
        zone: Option<Tz>,
    ) -> Result<Self, WindowError> {
        let refuse = |message: &str| Err(WindowError::Refused(message.to_owned()));
        if !(1..=LONGEST_WINDOW).contains(&size) {
            return refuse("a window is longer than nothing and at most 100 years long");
        }
        if !(1..=size).contains(&slide) {
            return refuse("a slide is longer than nothing and at most as long as the window");
        }
        let pane = greatest_common_divisor(size, slide);
        if size / pane > MOST_PANES {
            return refuse(
                "window and slide have no common part of at least 1/100,000 of the window",
            );
        }
        let grid = match zone {
            None => Grid::Fixed { pane, offset: offset.rem_euclid(slide) },
            Some(_) if pane % MICROS_OF_DAY != 0 => {
                return refuse("in a time zone, window and slide are whole days");
            }
            Some(_) if !(0..MICROS_OF_DAY).contains(&offset) => {
                return refuse("in a time zone, an offset is shorter than a day");
            }
            Some(zone) => Grid::Days { pane: pane / MICROS_OF_DAY, offset, zone },
        };
        Ok(Self { grid, size: size / pane, slide: slide / pane })
    }

    /// The pane that a time is in.
    pub fn pane(&self, time: Micros) -> i64 {
        match self.grid {
            Grid::Fixed { pane, offset } => (time - offset).div_euclid(pane),
            Grid::Days { pane, offset, zone } => {
                calendar::day_at(zone, time - offset).div_euclid(pane)
            }
        }
    }

    /// When a pane begins; the one before it ends then.
    pub fn start_of_pane(&self, index: i64) -> Micros {
        match self.grid {
            Grid::Fixed { pane, offset } => index * pane + offset,
            Grid::Days { pane, offset, zone } => calendar::start_of(zone, index * pane) + offset,
        }
    }

    /// The first window that a pane is part of: the first that ends after a time in it.
    pub fn first_with(&self, pane: i64) -> i64 {
        (pane - self.size).div_euclid(self.slide) + 1
    }

    /// The last window that a pane is part of.
    pub fn last_with(&self, pane: i64) -> i64 {
        pane.div_euclid(self.slide)
    }

    /// `[start, end)` of a window.
    pub fn bounds(&self, window: i64) -> (Micros, Micros) {
        let first = window * self.slide;
        (self.start_of_pane(first), self.start_of_pane(first + self.size))
    }

    /// When the last window that a pane is part of ends: nothing is needed of the pane after that.
    pub fn expiry(&self, pane: i64) -> Micros {
        self.bounds(self.last_with(pane)).1
    }
}

/// Finds panes of times, of which many in a row are in the same one.
pub(super) struct Panes<'a> {
    aligned: &'a Aligned,
    pane: i64,
    start: Micros,
    end: Micros,
}

impl<'a> Panes<'a> {
    pub(super) fn new(aligned: &'a Aligned) -> Self {
        // No time is in an empty pane: the first one asked for is looked up.
        Self { aligned, pane: 0, start: 0, end: 0 }
    }

    pub(super) fn find(&mut self, time: Micros) -> i64 {
        if !(self.start..self.end).contains(&time) {
            self.pane = self.aligned.pane(time);
            self.start = self.aligned.start_of_pane(self.pane);
            self.end = self.aligned.start_of_pane(self.pane + 1);
        }
        self.pane
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Micros = 60_000_000;

    fn aligned(size: Micros, slide: Micros, offset: Micros, zone: Option<Tz>) -> Aligned {
        Aligned::new(size, slide, offset, zone).expect("valid windows")
    }

    /// The windows of a time, as starts and ends in minutes.
    fn check(aligned: &Aligned, minute: i64, expected: &[(i64, i64)]) {
        let pane = aligned.pane(minute * MINUTE);
        let windows = aligned.first_with(pane)..=aligned.last_with(pane);
        let bounds = windows.map(|window| aligned.bounds(window));
        let found: Vec<_> = bounds.map(|(start, end)| (start / MINUTE, end / MINUTE)).collect();
        assert_eq!(found, expected, "minute {minute} of {aligned:?}");
    }

    #[test]
    fn a_time_is_in_every_window_that_has_begun_and_not_ended() {
        let tumbling = aligned(5 * MINUTE, 5 * MINUTE, 0, None);
        check(&tumbling, 0, &[(0, 5)]);
        check(&tumbling, 4, &[(0, 5)]);
        check(&tumbling, 5, &[(5, 10)]);
        check(&tumbling, -1, &[(-5, 0)]);
        check(&aligned(5 * MINUTE, 5 * MINUTE, 2 * MINUTE, None), 1, &[(-3, 2)]);
        check(&aligned(4 * MINUTE, 2 * MINUTE, 0, None), 5, &[(2, 6), (4, 8)]);
        check(&aligned(4 * MINUTE, 2 * MINUTE, MINUTE, None), 5, &[(3, 7), (5, 9)]);
        // The slide doesn't divide the size.
        let uneven = aligned(5 * MINUTE, 2 * MINUTE, 0, None);
        check(&uneven, 4, &[(0, 5), (2, 7), (4, 9)]);
        check(&uneven, 5, &[(2, 7), (4, 9)]);
    }

    #[test]
    fn days_of_a_zone_are_counted_from_1970() {
        let days = aligned(2 * MICROS_OF_DAY, MICROS_OF_DAY, 0, Some(Tz::Europe__Berlin));
        // 2026-03-29T10:00Z, in the day of 23 hours; the windows are 28–30 and 29–31 March, local.
        let windows = [(29_577_540, 29_580_360), (29_578_980, 29_581_800)];
        check(&days, 29_579_640, &windows);
    }

    #[test]
    fn windows_that_can_not_be_are_refused() {
        let refused = |size, slide, offset, zone| Aligned::new(size, slide, offset, zone).is_err();
        assert!(refused(0, 0, 0, None));
        assert!(refused(MINUTE, 0, 0, None));
        assert!(refused(MINUTE, 2 * MINUTE, 0, None));
        assert!(refused(LONGEST_WINDOW + 1, MINUTE, 0, None));
        assert!(refused(60 * MINUTE, 60 * MINUTE - 1, 0, None));
        assert!(!refused(MICROS_OF_DAY, 1_000_000, 0, None));
        assert!(refused(MINUTE, MINUTE, 0, Some(Tz::Europe__Berlin)));
        assert!(refused(MICROS_OF_DAY, MICROS_OF_DAY, MICROS_OF_DAY, Some(Tz::Europe__Berlin)));
    }

    proptest! {
        #[test]
        fn windows_are_those_that_the_definition_says(
            size in 1..40_i64, slide in 1..40_i64, offset in -50..50_i64, time in -200..200_i64,
        ) {
            prop_assume!(slide <= size);
            let aligned = aligned(size, slide, offset, None);
            let pane = aligned.pane(time);
            let found: Vec<_> =
                (aligned.first_with(pane)..=aligned.last_with(pane)).map(|w| aligned.bounds(w)).collect();
            let starts = (time - size + 1..=time).filter(|start| (start - offset) % slide == 0);
            let expected: Vec<_> = starts.map(|start| (start, start + size)).collect();
            prop_assert_eq!(found, expected);
            let first = aligned.first_with(pane);
            prop_assert!(aligned.bounds(first).1 > time && aligned.bounds(first - 1).1 <= time);
            prop_assert_eq!(aligned.expiry(pane), aligned.bounds(aligned.last_with(pane)).1);
        }
    }
}
