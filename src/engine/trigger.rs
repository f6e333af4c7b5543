//! When a batch starts, with Spark's meaning of the triggers. Pure: the time comes as an argument.

use std::time::Duration;

use crate::config::Trigger;

/// The start of the next batch in milliseconds since the Unix epoch, given when the last one started; `None` for
/// the first: at once.
///
/// Intervals are aligned to the epoch, as Spark aligns them: a batch that takes longer than its interval makes the
/// next one start at once, and missed intervals are not made up for.
pub fn next_start_ms(interval: Duration, last_start_ms: Option<u64>) -> u64 {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    match last_start_ms {
        None => 0,
        Some(last) if interval == 0 => last,
        Some(last) => (last / interval).saturating_add(1).saturating_mul(interval),
    }
}

/// Whether a connector with this trigger ends when what it found at its start is done.
pub fn ends(trigger: Trigger) -> bool {
    !matches!(trigger, Trigger::ProcessingTime { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(interval_ms: u64, last_start_ms: Option<u64>, expected: u64) {
        assert_eq!(next_start_ms(Duration::from_millis(interval_ms), last_start_ms), expected);
    }

    #[test]
    fn the_first_batch_starts_at_once() {
        check(10_000, None, 0);
    }

    #[test]
    fn intervals_are_aligned() {
        check(10_000, Some(12_345), 20_000);
        check(10_000, Some(20_000), 30_000);
    }

    #[test]
    fn no_interval_means_at_once() {
        check(0, Some(12_345), 12_345);
    }

    #[test]
    fn only_processing_time_goes_on_for_ever() {
        assert!(ends(Trigger::Once) && ends(Trigger::AvailableNow));
        assert!(!ends(Trigger::ProcessingTime { interval: Duration::ZERO }));
    }
}
