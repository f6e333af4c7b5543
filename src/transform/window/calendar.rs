//! Calendar days of a time zone: days of 23, 24 and 25 hours, days whose midnight is skipped, days that never were.
//!
//! A day is the time from its start to the start of the next one. It starts at its local midnight, the first one where
//! clocks are set back over it; where midnight is skipped, at the first instant whose local time is past it.

use chrono::offset::LocalResult;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;

use super::watermark::Micros;

pub(super) const MICROS_OF_DAY: Micros = 86_400_000_000;

/// No zone moves its clock by more than this against UTC, nor at once.
const FURTHEST: Micros = 2 * MICROS_OF_DAY;

/// When the day begins that is `day` days after 1970-01-01.
pub(super) fn start_of(zone: Tz, day: i64) -> Micros {
    let date = i32::try_from(day).ok().and_then(NaiveDate::from_epoch_days);
    let date = date.expect("event times are of the years 1 to 9999, windows shorter than that");
    let midnight = date.and_time(NaiveTime::MIN);
    match zone.from_local_datetime(&midnight) {
        LocalResult::Single(start) | LocalResult::Ambiguous(start, _) => start.timestamp_micros(),
        LocalResult::None => first_past(zone, midnight),
    }
}

/// The day that has begun last at `time`.
pub(super) fn day_at(zone: Tz, time: Micros) -> i64 {
    let mut day = i64::from(local(zone, time).date().to_epoch_days());
    // Where clocks are set back over midnight, the local date runs ahead of the day or falls behind it.
    while start_of(zone, day) > time {
        day -= 1;
    }
    while start_of(zone, day + 1) <= time {
        day += 1;
    }
    day
}

/// The first instant whose local time is not before `midnight`, which the zone skips.
fn first_past(zone: Tz, midnight: NaiveDateTime) -> Micros {
    let around = midnight.and_utc().timestamp_micros();
    let (mut before, mut past) = (around - FURTHEST, around + FURTHEST);
    while past - before > 1 {
        let middle = before + (past - before) / 2;
        if local(zone, middle) < midnight { before = middle } else { past = middle }
    }
    past
}

fn local(zone: Tz, time: Micros) -> NaiveDateTime {
    let utc =
        DateTime::from_timestamp_micros(time).expect("event times are of the years 1 to 9999");
    utc.with_timezone(&zone).naive_local()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> i64 {
        let date: NaiveDate = text.parse().expect("a date");
        i64::from(date.to_epoch_days())
    }

    fn check(zone: Tz, date: &str, start: &str, hours: i64) {
        let begins = start_of(zone, day(date));
        let shown = DateTime::from_timestamp_micros(begins).expect("a time").to_rfc3339();
        assert_eq!(shown, format!("{start}:00+00:00"), "{zone} {date}");
        let length = start_of(zone, day(date) + 1) - begins;
        assert_eq!(length / 3_600_000_000, hours, "{zone} {date}");
    }

    #[test]
    fn days_are_as_long_as_the_zone_says() {
        check(Tz::UTC, "2026-03-29", "2026-03-29T00:00", 24);
        check(Tz::Europe__Berlin, "2026-03-28", "2026-03-27T23:00", 24);
        check(Tz::Europe__Berlin, "2026-03-29", "2026-03-28T23:00", 23);
        check(Tz::Europe__Berlin, "2026-10-25", "2026-10-24T22:00", 25);
        check(Tz::America__New_York, "2026-11-01", "2026-11-01T04:00", 25);
        check(Tz::Asia__Kolkata, "2026-11-01", "2026-10-31T18:30", 24);
        // Midnight is skipped: the day begins at 01:00.
        check(Tz::America__Sao_Paulo, "2018-11-04", "2018-11-04T03:00", 23);
        // Clocks were set back at midnight, to 23:00 of the day before.
        check(Tz::America__Sao_Paulo, "2018-02-17", "2018-02-17T02:00", 25);
        // Samoa had no 30 December 2011.
        check(Tz::Pacific__Apia, "2011-12-29", "2011-12-29T10:00", 24);
        check(Tz::Pacific__Apia, "2011-12-30", "2011-12-30T10:00", 0);
        check(Tz::Pacific__Apia, "2011-12-31", "2011-12-30T10:00", 24);
        // Clocks were set back at 00:01: midnight came twice, and the day has begun at the first.
        check(Tz::America__St_Johns, "2006-10-29", "2006-10-29T02:30", 25);
    }

    const ZONES: [Tz; 7] = [
        Tz::UTC,
        Tz::Europe__Berlin,
        Tz::America__Sao_Paulo,
        Tz::America__St_Johns,
        Tz::Pacific__Apia,
        Tz::Asia__Kathmandu,
        Tz::Australia__Lord_Howe,
    ];

    proptest! {
        #[test]
        fn every_instant_is_in_the_day_that_has_begun_last(
            zone in prop::sample::select(&ZONES[..]),
            time in -3_000_000_000_i64..5_000_000_000,
        ) {
            let time = time * 1_000_000;
            let day = day_at(zone, time);
            prop_assert!(start_of(zone, day) <= time);
            prop_assert!(time < start_of(zone, day + 1));
        }

        #[test]
        fn days_follow_each_other(zone in prop::sample::select(&ZONES[..]), day in -30_000..80_000_i64) {
            prop_assert!(start_of(zone, day) <= start_of(zone, day + 1));
        }
    }
}
