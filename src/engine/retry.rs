//! Waiting between attempts: exponential, with jitter, bounded.

use std::time::{Duration, Instant};

use crate::config::Retry;

/// An instance that was fenced this long ago has nothing to do with one met now (a deployment rolled over, say).
const FENCED_FORGOTTEN: Duration = Duration::from_secs(15 * 60);

/// How long to wait before the next recovery. Success resets it.
#[derive(Debug)]
pub struct Backoff {
    retry: Retry,
    failures: u32,
    failing_since: Option<Instant>,
    fenced: u32,
    last_fenced: Option<Instant>,
}

impl Backoff {
    pub fn new(retry: Retry) -> Self {
        Self { retry, failures: 0, failing_since: None, fenced: 0, last_fenced: None }
    }

    /// A commit landed: whatever was wrong has passed.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    /// How long there has been no success.
    pub fn failing_for(&self, now: Instant) -> Duration {
        self.failing_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// The wait after one more failure; `None`: `give_up_after` has passed.
    pub fn after_failure(&mut self, now: Instant) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert(now);
        if self.retry.give_up_after.is_some_and(|limit| now.duration_since(since) >= limit) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        Some(self.wait(self.failures))
    }

    /// The wait after being fenced once more; `None`: `fenced_limit` was reached. It grows with each time, whatever
    /// was committed in between: two instances that depose each other must not do so for ever.
    pub fn after_fenced(&mut self, now: Instant) -> Option<Duration> {
        if self.last_fenced.is_some_and(|last| now.duration_since(last) >= FENCED_FORGOTTEN) {
            self.fenced = 0;
        }
        self.last_fenced = Some(now);
        self.fenced += 1;
        (self.fenced < self.retry.fenced_limit).then(|| self.wait(self.fenced + 2))
    }

    /// Half of the exponential step for certain, the other half at random ("equal jitter").
    fn wait(&self, failures: u32) -> Duration {
        let step = 2u32.saturating_pow(failures.saturating_sub(1).min(30));
        let full = self.retry.initial_backoff.saturating_mul(step).min(self.retry.max_backoff);
        full / 2 + (full / 2).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(give_up_after: Option<Duration>) -> Backoff {
        Backoff::new(Retry {
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            give_up_after,
            fenced_limit: 3,
        })
    }

    #[test]
    fn waits_double_and_are_bounded() {
        let (mut backoff, now) = (backoff(None), Instant::now());
        for step in [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            let wait = backoff.after_failure(now).expect("never gives up").as_millis();
            assert!((step / 2..=step).contains(&wait), "{wait} ms for a step of {step} ms");
        }
        backoff.succeeded();
        assert!(backoff.after_failure(now).expect("starts anew").as_millis() <= 200);
    }

    #[test]
    fn gives_up_after_the_time_without_any_success() {
        let (mut backoff, now) = (backoff(Some(Duration::from_secs(60))), Instant::now());
        assert!(backoff.after_failure(now).is_some());
        assert!(backoff.after_failure(now + Duration::from_secs(59)).is_some());
        assert!(backoff.after_failure(now + Duration::from_secs(60)).is_none());
    }

    #[test]
    fn being_fenced_is_limited_whatever_is_committed_in_between() {
        let (mut backoff, now) = (backoff(None), Instant::now());
        assert!(backoff.after_fenced(now).is_some());
        backoff.succeeded();
        assert!(backoff.after_fenced(now).is_some());
        assert!(backoff.after_fenced(now).is_none());
    }

    #[test]
    fn being_fenced_long_ago_is_forgotten() {
        let (mut backoff, now) = (backoff(None), Instant::now());
        for time in 0..10 {
            assert!(backoff.after_fenced(now + time * FENCED_FORGOTTEN).is_some());
        }
    }
}
