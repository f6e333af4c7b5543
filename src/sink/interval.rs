//! Delta's interval literals, as table properties write them: `interval 30 days`, `interval 1 week 12 hours`.

use std::time::Duration;

/// Reads an interval. The word `interval` may be missing; months and years have no fixed length and are refused,
/// as Delta itself does.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let lower = text.trim().to_ascii_lowercase();
    let mut words = lower.strip_prefix("interval").unwrap_or(&lower).split_ascii_whitespace();
    let mut total = None;
    while let Some(number) = words.next() {
        let count: u32 = number.parse().ok()?;
        let part = unit(words.next()?)?.checked_mul(count)?;
        total = Some(total.unwrap_or(Duration::ZERO).checked_add(part)?);
    }
    total
}

fn unit(word: &str) -> Option<Duration> {
    Some(match word.trim_end_matches('s') {
        "microsecond" => Duration::from_micros(1),
        "millisecond" => Duration::from_millis(1),
        "second" => Duration::from_secs(1),
        "minute" => Duration::from_secs(60),
        "hour" => Duration::from_secs(60 * 60),
        "day" => Duration::from_secs(24 * 60 * 60),
        "week" => Duration::from_secs(7 * 24 * 60 * 60),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, seconds: Option<u64>) {
        assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text}");
    }

    #[test]
    fn intervals_are_read_as_delta_writes_them() {
        check("interval 30 days", Some(30 * 86_400));
        check("INTERVAL 1 week 12 hours", Some(7 * 86_400 + 12 * 3_600));
        check("2 minutes", Some(120));
        check("interval 0 seconds", Some(0));
        check("interval 1 month", None);
        check("interval days", None);
        check("interval -1 days", None);
        check("interval 3", None);
        check("", None);
    }
}
