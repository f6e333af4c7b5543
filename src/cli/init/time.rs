//! Which texts and numbers look like times.
//!
//! A text counts only in the shapes that the JSON decoder reads without loss, so that a column of it can be declared;
//! a number never counts for certain, since any count may look like one.

use chrono::{NaiveDate, NaiveDateTime};

/// What a text can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTime {
    /// `2026-11-01T12:30:00.5Z`
    Zoned,
    /// `2026-11-01 12:30:00`
    Local,
    /// `2026-11-01`
    Date,
}

/// Larger offsets are no zone's.
const MAX_OFFSET_HOURS: u32 = 18;

pub(super) fn text_time(text: &str) -> Option<TextTime> {
    if !text.is_ascii() {
        return None;
    }
    if text.len() == 10 {
        return is_date(text).then_some(TextTime::Date);
    }
    let (moment, rest) = (text.get(..19)?, text.get(19..)?);
    if !is_date(&moment[..10]) || !matches!(moment.as_bytes()[10], b'T' | b't' | b' ') {
        return None;
    }
    let shape = moment[11..].bytes().enumerate().all(|(at, byte)| match at {
        2 | 5 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    // A leap second has no place in a count of microseconds.
    if !shape || &moment[17..] == "60" {
        return None;
    }
    let moment = format!("{}T{}", &moment[..10], &moment[11..]);
    NaiveDateTime::parse_from_str(&moment, "%Y-%m-%dT%H:%M:%S").ok()?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            fraction.get(digits..).filter(|_| (1..=6).contains(&digits))?
        }
        None => rest,
    };
    match zone {
        "" => Some(TextTime::Local),
        "Z" | "z" => Some(TextTime::Zoned),
        // An offset could lead out of the years that are read.
        _ if text.starts_with("0001") || text.starts_with("9999") => None,
        zone => is_offset(zone).then_some(TextTime::Zoned),
    }
}

fn is_date(text: &str) -> bool {
    let shape = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    // Delta's readers disagree on times before the year 1.
    shape && !text.starts_with("0000") && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// `+02:00`
fn is_offset(zone: &str) -> bool {
    let Some((hours, minutes)) = zone.strip_prefix(['+', '-']).and_then(|z| z.split_once(':'))
    else {
        return false;
    };
    let number = |text: &str| match text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u32>().ok(),
        false => None,
    };
    match (number(hours), number(minutes)) {
        (Some(hours), Some(minutes)) => hours < MAX_OFFSET_HOURS && minutes < 60,
        _ => false,
    }
}

/// 2000-01-01 and 2100-01-01: what producers write as a time lies between, and few other numbers do.
const SECONDS: std::ops::Range<i64> = 946_684_800..4_102_444_800;

/// The `timestamps` format that numbers from `min` to `max` look like.
pub(super) fn epoch_format(name: &str, min: i64, max: i64) -> Option<&'static str> {
    let between = |scale: i64| SECONDS.contains(&(min / scale)) && SECONDS.contains(&(max / scale));
    // Seconds are nine or ten digits, as many an id is.
    match () {
        () if between(1) && sounds_like_a_time(name) => Some("epoch_seconds"),
        () if between(1_000) => Some("epoch_millis"),
        () if between(1_000_000) => Some("epoch_micros"),
        () if between(1_000_000_000) => Some("epoch_nanos"),
        () => None,
    }
}

fn sounds_like_a_time(name: &str) -> bool {
    let lower = name.to_lowercase();
    ["time", "date", "ts", "_at"].iter().any(|word| lower.contains(word)) || name.ends_with("At")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_times_are_told_apart() {
        let check = |text: &str, expected| assert_eq!(text_time(text), expected, "{text}");
        for text in
            ["2026-11-01T12:30:00Z", "2026-11-01t12:30:00.123456z", "2026-11-01 12:30:00+02:00"]
        {
            check(text, Some(TextTime::Zoned));
        }
        for text in ["2026-11-01T12:30:00", "2026-11-01 12:30:00.5", "0001-01-01 00:00:00"] {
            check(text, Some(TextTime::Local));
        }
        check("2024-02-29", Some(TextTime::Date));
        for text in [
            "",
            "2026",
            "2026-02-30",
            "20260230Z0",
            "0000-01-01",
            "2026-11-01T",
            "2026-11-01T12:30",
            "2026-11-01T24:00:00Z",
            "2026-11-01T12:30:60Z",
            "2026-11-01T12:30:00.Z",
            "2026-11-01T12:30:00.1234567Z",
            "2026-11-01T12:30:00+18:00",
            "2026-11-01T12:30:00+2:00",
            "2026-11-01T12:30:00 UTC",
            "9999-12-31T23:30:00-01:00",
            "2026-11-01T+2:30:00Z",
            "２０２６-11-01",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn numbers_between_2000_and_2100_look_like_times() {
        let check = |name, min, max, expected| assert_eq!(epoch_format(name, min, max), expected);
        check("x", 1_760_000_000_000, 1_760_000_000_001, Some("epoch_millis"));
        check("x", 1_760_000_000_000_000, 1_760_000_000_000_001, Some("epoch_micros"));
        check("x", 1_760_000_000_000_000_000, 1_760_000_000_000_000_001, Some("epoch_nanos"));
        check("created_at", 1_760_000_000, 1_760_000_001, Some("epoch_seconds"));
        check("createdAt", 1_760_000_000, 1_760_000_001, Some("epoch_seconds"));
        check("customer", 1_760_000_000, 1_760_000_001, None);
        check("created_at", 0, 1_760_000_000, None);
        check("created_at", -5, -1, None);
        check("created_at", i64::MIN, i64::MAX, None);
    }
}
