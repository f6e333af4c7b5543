//! Dates and times: the fixed shapes of ISO 8601 that producers write, and numbers since the Unix epoch.
//!
//! Nothing is guessed and nothing is lost: a text of another shape, a zone where none belongs, a local time that does
//! not exist and digits beyond microseconds are refused.

use chrono::DateTime;
use chrono::offset::{LocalResult, Offset, TimeZone};
use chrono_tz::Tz;

use super::super::flaw::{Flaw, bounded};
use super::number::Number;
use crate::config::TimestampFormat;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;
/// As in java.time and Spark.
const MAX_OFFSET_MINUTES: i64 = 18 * 60;

/// Days since the epoch of `YYYY-MM-DD`.
#[inline]
pub(super) fn date(text: &[u8]) -> Result<i32, Flaw> {
    let text: &[u8; 10] = text.try_into().map_err(|_| Flaw::Date)?;
    days(text, Flaw::Date)
}

/// Microseconds since the epoch of `YYYY-MM-DDTHH:MM[:SS[.f…]][zone]`. With a `zone`, text that names none is local
/// there; without one, text must name none.
#[inline]
pub(super) fn timestamp(text: &[u8], zone: Option<Tz>) -> Result<i64, Flaw> {
    let (head, rest) = text.split_first_chunk::<16>().ok_or(Flaw::Timestamp)?;
    let (date, time) = head.split_first_chunk::<10>().ok_or(Flaw::Timestamp)?;
    if !matches!(time[0], b'T' | b't' | b' ') || time[3] != b':' {
        return Err(Flaw::Timestamp);
    }
    let two = |tens: u8, ones: u8| two_digits(tens, ones).ok_or(Flaw::Timestamp);
    let (hour, minute) = (two(time[1], time[2])?, two(time[4], time[5])?);
    let (second, micros, rest) = match rest {
        [b':', tens, ones, b'.' | b',', rest @ ..] => {
            let (micros, rest) = fraction(rest)?;
            (two(*tens, *ones)?, micros, rest)
        }
        [b':', tens, ones, rest @ ..] => (two(*tens, *ones)?, 0, rest),
        _ => (0, 0, rest),
    };
    let offset = offset_minutes(rest)?;
    let days = days(date, Flaw::Timestamp)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Flaw::NoSuchTime);
    }
    let seconds = i64::from(days) * SECONDS_PER_DAY + (hour * 60 + minute) * 60 + second;
    let local = seconds * MICROS_PER_SECOND + micros;
    match (offset, zone) {
        (Some(_), None) => Err(Flaw::Zone),
        (None, None) => Ok(local),
        (Some(minutes), Some(_)) => bounded(local - minutes * 60 * MICROS_PER_SECOND),
        (None, Some(Tz::UTC)) => Ok(local),
        (None, Some(zone)) => {
            bounded(local - local_offset_seconds(local, zone)? * MICROS_PER_SECOND)
        }
    }
}

/// Microseconds since the epoch of a number in the unit that `format` says. Fractions are read exactly. Nanoseconds are
/// rounded down to microseconds: who declares `epoch_nanos` for a column of microseconds asks for that.
#[inline]
pub(super) fn epoch_micros(number: &Number<'_>, format: TimestampFormat) -> Result<i64, Flaw> {
    let scale = match format {
        TimestampFormat::EpochSeconds => 6,
        TimestampFormat::EpochMillis => 3,
        TimestampFormat::EpochMicros
        | TimestampFormat::EpochNanos
        | TimestampFormat::EpochDays
        | TimestampFormat::Iso8601 => 0,
    };
    let value = number.scaled(scale).map_err(|flaw| match flaw {
        Flaw::DecimalScale => Flaw::Submicroseconds,
        _ => Flaw::Years,
    })?;
    let micros = match format {
        TimestampFormat::EpochNanos => value.div_euclid(1000),
        TimestampFormat::EpochDays => value.saturating_mul(MICROS_PER_DAY.into()),
        _ => value,
    };
    bounded(i64::try_from(micros).map_err(|_| Flaw::Years)?)
}

/// The day in UTC that holds the instant.
#[inline]
pub(super) fn epoch_days(number: &Number<'_>, format: TimestampFormat) -> Result<i32, Flaw> {
    let days = epoch_micros(number, format)?.div_euclid(MICROS_PER_DAY);
    i32::try_from(days).map_err(|_| Flaw::Years)
}

/// Days since the epoch by the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", days_from_civil).
#[inline]
fn days(text: &[u8; 10], shape: Flaw) -> Result<i32, Flaw> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *text else {
        return Err(shape);
    };
    let pairs = [two_digits(y0, y1), two_digits(y2, y3), two_digits(m0, m1), two_digits(d0, d1)];
    let [Some(century), Some(year), Some(month), Some(day)] = pairs else {
        return Err(shape);
    };
    let year = century * 100 + year;
    if year == 0 {
        return Err(Flaw::Years);
    }
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return Err(Flaw::NoSuchTime);
    }
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Ok((era * 146_097 + day_of_era - 719_468) as i32)
}

#[inline]
fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens * 10 + ones))
}

/// Microseconds of the digits after the point, and what follows them.
#[inline]
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), Flaw> {
    let count = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    if count == 0 {
        return Err(Flaw::Timestamp);
    }
    let (digits, rest) = text.split_at(count);
    let mut micros = 0;
    for i in 0..6 {
        micros = micros * 10 + digits.get(i).map_or(0, |b| i64::from(b - b'0'));
    }
    if digits.iter().skip(6).any(|b| *b != b'0') {
        return Err(Flaw::Submicroseconds);
    }
    Ok((micros, rest))
}

/// Minutes east of UTC: `Z`, `±HH`, `±HHMM`, `±HH:MM`; `None` for no zone.
#[inline]
fn offset_minutes(text: &[u8]) -> Result<Option<i64>, Flaw> {
    let (sign, hours, minutes) = match text {
        [] => return Ok(None),
        [b'Z' | b'z'] => return Ok(Some(0)),
        [sign, h0, h1] => (sign, two_digits(*h0, *h1), Some(0)),
        [sign, h0, h1, m0, m1] | [sign, h0, h1, b':', m0, m1] => {
            (sign, two_digits(*h0, *h1), two_digits(*m0, *m1))
        }
        _ => return Err(Flaw::Timestamp),
    };
    let (Some(hours), Some(minutes)) = (hours, minutes) else {
        return Err(Flaw::Timestamp);
    };
    let total = hours * 60 + minutes;
    match sign {
        _ if minutes > 59 || total > MAX_OFFSET_MINUTES => Err(Flaw::NoSuchTime),
        b'+' => Ok(Some(total)),
        b'-' => Ok(Some(-total)),
        _ => Err(Flaw::Timestamp),
    }
}

/// Seconds east of UTC that clocks in `zone` show at a local time; of two, those of the earlier instant.
fn local_offset_seconds(local: i64, zone: Tz) -> Result<i64, Flaw> {
    let local = DateTime::from_timestamp_micros(local).ok_or(Flaw::Years)?.naive_utc();
    let seconds = |offset: <Tz as TimeZone>::Offset| i64::from(offset.fix().local_minus_utc());
    match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) => Ok(seconds(offset)),
        LocalResult::Ambiguous(one, other) => Ok(seconds(one).max(seconds(other))),
        LocalResult::None => Err(Flaw::ClockGap(zone.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::flaw::{END_MICROS, FIRST_MICROS};
    use super::*;
    use chrono_tz::Europe::Berlin;

    fn utc(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("RFC 3339").timestamp_micros()
    }

    #[test]
    fn shapes_of_iso_8601_are_read() {
        let cases = [
            ("2024-02-29T12:34:56Z", "2024-02-29T12:34:56Z"),
            ("2024-02-29t12:34:56z", "2024-02-29T12:34:56Z"),
            ("2024-02-29 12:34:56", "2024-02-29T12:34:56Z"),
            ("2024-02-29T12:34", "2024-02-29T12:34:00Z"),
            ("2024-02-29T12:34Z", "2024-02-29T12:34:00Z"),
            ("2024-02-29T12:34:56.7", "2024-02-29T12:34:56.7Z"),
            ("2024-02-29T12:34:56,789012Z", "2024-02-29T12:34:56.789012Z"),
            ("2024-02-29T12:34:56.789012000Z", "2024-02-29T12:34:56.789012Z"),
            ("2024-02-29T12:34:56+02:00", "2024-02-29T10:34:56Z"),
            ("2024-02-29T12:34:56-0530", "2024-02-29T18:04:56Z"),
            ("2024-02-29T12:34:56.5+02", "2024-02-29T10:34:56.5Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(timestamp(text.as_bytes(), Some(Tz::UTC)), Ok(utc(expected)), "{text}");
        }
    }

    #[test]
    fn text_without_a_zone_is_local_in_the_given_one() {
        let cases = [
            ("2024-07-01T12:00:00", Ok(utc("2024-07-01T10:00:00Z"))),
            ("2024-01-01T12:00:00", Ok(utc("2024-01-01T11:00:00Z"))),
            ("2024-07-01T12:00:00Z", Ok(utc("2024-07-01T12:00:00Z"))),
            ("2024-10-27T02:30:00", Ok(utc("2024-10-27T00:30:00Z"))), // twice: the earlier one
            ("2024-03-31T02:30:00", Err(Flaw::ClockGap("Europe/Berlin"))),
            ("0001-01-01T00:00:00", Err(Flaw::Years)),
        ];
        for (text, expected) in cases {
            assert_eq!(timestamp(text.as_bytes(), Some(Berlin)), expected, "{text}");
        }
        assert_eq!(timestamp(b"2024-03-31T02:30:00", None), Ok(utc("2024-03-31T02:30:00Z")));
        assert_eq!(timestamp(b"2024-03-31T02:30:00Z", None), Err(Flaw::Zone));
        assert_eq!(timestamp(b"2024-03-31T02:30:00+01:00", None), Err(Flaw::Zone));
    }

    #[test]
    fn other_texts_are_refused() {
        let cases = [
            ("", Flaw::Timestamp),
            ("2024-02-29", Flaw::Timestamp),
            ("2024-02-29T", Flaw::Timestamp),
            ("2024-02-29T12", Flaw::Timestamp),
            ("2024-02-29T12:34:5", Flaw::Timestamp),
            ("2024-02-29T12:34.5", Flaw::Timestamp), // half a minute, by ISO 8601
            ("2024-02-29T12:34:56.", Flaw::Timestamp),
            ("2024-02-29T12:34:56.Z", Flaw::Timestamp),
            ("2024-02-29T12:34:56 Z", Flaw::Timestamp),
            ("2024-02-29T12:34:56Z ", Flaw::Timestamp),
            ("2024-02-29T12:34:56Z[UTC]", Flaw::Timestamp),
            ("2024-02-29T12:34:56+2:00", Flaw::Timestamp),
            ("2024-02-29T12:34:56+02:00:00", Flaw::Timestamp),
            ("2024-02-29T12:34:56x0200", Flaw::Timestamp),
            ("2024-02-29_12:34:56", Flaw::Timestamp),
            ("24-02-29T12:34:56Z", Flaw::Timestamp),
            ("-024-02-29T12:34:56Z", Flaw::Timestamp),
            ("2024-02-29T-1:34:56Z", Flaw::Timestamp),
            ("+12024-02-29T12:34:56Z", Flaw::Timestamp),
            ("2023-02-29T12:34:56Z", Flaw::NoSuchTime),
            ("1900-02-29T12:34:56Z", Flaw::NoSuchTime),
            ("2024-13-01T12:34:56Z", Flaw::NoSuchTime),
            ("2024-00-01T12:34:56Z", Flaw::NoSuchTime),
            ("2024-04-31T12:34:56Z", Flaw::NoSuchTime),
            ("2024-04-00T12:34:56Z", Flaw::NoSuchTime),
            ("2024-02-29T24:00:00Z", Flaw::NoSuchTime),
            ("2024-02-29T23:60:00Z", Flaw::NoSuchTime),
            ("2024-02-29T23:59:60Z", Flaw::NoSuchTime),
            ("2024-02-29T12:34:56+18:01", Flaw::NoSuchTime),
            ("2024-02-29T12:34:56+02:60", Flaw::NoSuchTime),
            ("2024-02-29T12:34:56.1234567Z", Flaw::Submicroseconds),
            ("0000-01-01T00:00:00Z", Flaw::Years),
            ("0001-01-01T00:00:00+01:00", Flaw::Years),
            ("9999-12-31T23:59:59-01:00", Flaw::Years),
        ];
        for (text, flaw) in cases {
            assert_eq!(timestamp(text.as_bytes(), Some(Tz::UTC)), Err(flaw), "{text}");
        }
    }

    #[test]
    fn every_day_is_where_the_calendar_has_it() {
        let mut expected = -719_162;
        for year in 1..=9999 {
            let leap = i32::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
            if (5..96).contains(&(year % 100)) {
                expected += 365 + leap; // only years around a century, day by day
                continue;
            }
            for (month, last) in (1..).zip([31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
            {
                for day in 1..=last {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    assert_eq!(date(text.as_bytes()), Ok(expected), "{text}");
                    expected += 1;
                }
                let text = format!("{year:04}-{month:02}-{:02}", last + 1);
                assert_eq!(date(text.as_bytes()), Err(Flaw::NoSuchTime), "{text}");
            }
        }
        assert_eq!(i64::from(expected) * 86_400_000_000, END_MICROS, "up to 9999-12-31");
        for (text, flaw) in [
            ("2024-1-01", Flaw::Date),
            ("2024-01-01T", Flaw::Date),
            ("20240101", Flaw::Date),
            ("2024/01/01", Flaw::Date),
            ("2024-02-30", Flaw::NoSuchTime),
            ("0000-01-01", Flaw::Years),
        ] {
            assert_eq!(date(text.as_bytes()), Err(flaw), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_in_their_unit_exactly() {
        use TimestampFormat::{EpochDays, EpochMicros, EpochMillis, EpochNanos, EpochSeconds};
        let cases = [
            ("1700000000", EpochSeconds, Ok(1_700_000_000_000_000)),
            ("1700000000.123456", EpochSeconds, Ok(1_700_000_000_123_456)),
            ("1.7e9", EpochSeconds, Ok(1_700_000_000_000_000)),
            ("1700000000.1234567", EpochSeconds, Err(Flaw::Submicroseconds)),
            ("1700000000123", EpochMillis, Ok(1_700_000_000_123_000)),
            ("-1", EpochMillis, Ok(-1000)),
            ("0.001", EpochMillis, Ok(1)),
            ("1700000000123456", EpochMicros, Ok(1_700_000_000_123_456)),
            ("0.5", EpochMicros, Err(Flaw::Submicroseconds)),
            ("1700000000123456789", EpochNanos, Ok(1_700_000_000_123_456)),
            ("-1", EpochNanos, Ok(-1)),
            ("1700000000000000", EpochSeconds, Err(Flaw::Years)),
            ("1e40", EpochMicros, Err(Flaw::Years)),
            ("19783", EpochDays, Ok(1_709_251_200_000_000)),
            ("-719162", EpochDays, Ok(FIRST_MICROS)),
            ("-719163", EpochDays, Err(Flaw::Years)),
            ("2932897", EpochDays, Err(Flaw::Years)),
            ("1e38", EpochDays, Err(Flaw::Years)),
            ("0.5", EpochDays, Err(Flaw::Submicroseconds)),
            ("253402300799.999999", EpochSeconds, Ok(END_MICROS - 1)),
            ("253402300800", EpochSeconds, Err(Flaw::Years)),
            ("-62135596800", EpochSeconds, Ok(FIRST_MICROS)),
            ("-62135596801", EpochSeconds, Err(Flaw::Years)),
        ];
        for (text, format, expected) in cases {
            let number = Number::read(text.as_bytes()).expect("a number");
            assert_eq!(epoch_micros(&number, format), expected, "{text} {format:?}");
        }
        let number = Number::read(b"-1").expect("a number");
        assert_eq!(epoch_days(&number, EpochMillis), Ok(-1), "the day before the epoch");
        assert_eq!(epoch_days(&number, EpochDays), Ok(-1));
    }
}
