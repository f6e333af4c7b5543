//! Durations, sizes and shares as text: a number never stands without its unit.

use std::time::Duration;

use super::problem::Code;

/// Why a text is no quantity: what is wrong, and how to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) what: String,
    pub(super) hint: String,
}

fn refuse<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code: Code::Unit, what: what.into(), hint: hint.into() })
}

/// Units of time, the largest first, in milliseconds.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of size in bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads `200ms`, `10s`, `1h30m`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return refuse("is empty", "write a duration: `10s`");
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, tail) = quantity(rest);
        let Some(number) = number else {
            return refuse("is not a duration", "write a whole number and a unit: `10s`");
        };
        if unit.is_empty() {
            return refuse("needs a unit", format!("write `{number}s` or `{number}ms`"));
        }
        let Some((_, factor)) = TIME_UNITS.iter().find(|(name, _)| *name == unit) else {
            return refuse(format!("`{unit}` is not a unit of time"), "use ms, s, m, h or d");
        };
        let part = number.checked_mul(*factor);
        let Some(sum) = part.and_then(|part| total.checked_add(part)) else {
            return refuse("is too long", "");
        };
        total = sum;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// Reads `512B`, `256MiB`, `1GB` as bytes.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    let (number, unit, tail) = quantity(text.trim());
    let Some(number) = number.filter(|_| tail.is_empty()) else {
        return refuse("is not a size", "write a whole number and a unit: `256MiB`");
    };
    if unit.is_empty() {
        return refuse("needs a unit", format!("write `{number}MiB`, or `{number}B` for bytes"));
    }
    if let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        return number.checked_mul(*factor).map_or_else(|| refuse("is too large", ""), Ok);
    }
    let letter = unit.trim_end_matches(['b', 'B']).trim_end_matches('i').to_uppercase();
    match letter.as_str() {
        "K" | "M" | "G" | "T" => refuse(
            format!("`{unit}` could be 1000s or 1024s"),
            format!("write `{number}{letter}B` or `{number}{letter}iB`"),
        ),
        _ => refuse(
            format!("`{unit}` is not a unit of size"),
            "use B, KB, MB, GB, TB, KiB, MiB, GiB or TiB",
        ),
    }
}

/// Reads `5%` or `0.5%` as a share from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, Refusal> {
    let text = text.trim();
    let Some(number) = text.strip_suffix('%') else {
        return match text.parse::<f64>() {
            Ok(_) => refuse("needs a unit", format!("write `{text}%`")),
            Err(_) => refuse("is not a share", "write a percentage: `5%`"),
        };
    };
    match number.trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Ok(_) => refuse("is not between 0% and 100%", ""),
        Err(_) => refuse("is not a share", "write a percentage: `5%`"),
    }
}

/// Splits `30sabc` into 30, `s`... : digits, then letters, then the rest.
fn quantity(text: &str) -> (Option<u64>, &str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(letters);
    (number.parse().ok(), unit, tail)
}

/// Parses Delta's own interval text, `interval 30 days` (the word may be missing, as in Spark).
pub(super) fn interval(text: &str) -> Option<Duration> {
    let lower = text.trim().to_ascii_lowercase();
    let mut words = lower.split_whitespace().peekable();
    words.next_if_eq(&"interval");
    let number: u64 = words.next()?.parse().ok()?;
    let unit = words.next()?;
    if words.next().is_some() {
        return None;
    }
    let nanos: u64 = match unit.strip_suffix('s').unwrap_or(unit) {
        "nanosecond" => 1,
        "microsecond" => 1000,
        "millisecond" => 1_000_000,
        "second" => 1_000_000_000,
        "minute" => 60_000_000_000,
        "hour" => 3_600_000_000_000,
        "day" => 86_400_000_000_000,
        "week" => 604_800_000_000_000,
        _ => return None,
    };
    number.checked_mul(nanos).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        let refusal = result.expect_err("must be refused");
        format!("{}; {}", refusal.what, refusal.hint)
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in
            [("0s", 0), ("200ms", 200), ("10s", 10_000), ("1h30m", 5_400_000), ("7 d", 604_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(refusal(duration("10")), "needs a unit; write `10s` or `10ms`");
        assert_eq!(refusal(duration("1h30")), "needs a unit; write `30s` or `30ms`");
        assert_eq!(refusal(duration("5 min")), "`min` is not a unit of time; use ms, s, m, h or d");
        for text in ["", "s", "-1s", "1.5s", "99999999999999999999s", "ever"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("18446744073709551615d").is_err());
    }

    #[test]
    fn sizes_need_a_unit_that_is_certain() {
        for (text, bytes) in
            [("512B", 512), ("1KB", 1000), ("256MiB", 256 << 20), ("2 GB", 2_000_000_000)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!(refusal(size("256M")), "`M` could be 1000s or 1024s; write `256MB` or `256MiB`");
        assert_eq!(refusal(size("1kb")), "`kb` could be 1000s or 1024s; write `1KB` or `1KiB`");
        assert_eq!(refusal(size("10")), "needs a unit; write `10MiB`, or `10B` for bytes");
        for text in ["", "B", "1MiBx1", "1.5GiB", "-1B", "1 apple", "18446744073709551615TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0%"), Ok(0.0));
        assert_eq!(share("0.5 %"), Ok(0.005));
        assert_eq!(refusal(share("5")), "needs a unit; write `5%`");
        for text in ["", "%", "101%", "-1%", "NaN%", "five"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn delta_intervals_are_one_number_and_one_unit() {
        let day = Duration::from_secs(86_400);
        assert_eq!(interval("interval 30 days"), Some(30 * day));
        assert_eq!(interval("INTERVAL 1 week"), Some(7 * day));
        assert_eq!(interval("2 hours"), Some(day / 12));
        for text in ["interval 1 month", "30 days ago", "30d", "interval days", "interval -1 days"]
        {
            assert_eq!(interval(text), None, "{text}");
        }
    }
}
