//! Which partitions are idle: the one place where a clock decides anything about windows.
//!
//! Decides at the end of an epoch, from what the source saw and the time that is passed in, and answers with
//! [`Decisions`]. It keeps no more than when each partition may become idle; nothing of that is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use super::watermark::{Decisions, Watermarks};
use crate::chunk::SourcePartition;

/// What the source knows of a partition at the end of an epoch. Times are of this process's uptime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The next offset to read.
    pub position: i64,
    /// `None`: no fetch has confirmed an end yet.
    pub high_watermark: Option<Confirmed>,
    /// We don't fetch it at the moment.
    pub paused: bool,
}

/// The high watermark (not the last stable offset: an open transaction is a backlog), and when a fetch last said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    pub offset: i64,
    pub at: Duration,
}

/// When each partition may become idle.
#[derive(Debug)]
pub struct IdleClock {
    /// `None`: never.
    timeout: Option<Duration>,
    idle_from: BTreeMap<SourcePartition, Duration>,
}

impl IdleClock {
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, idle_from: BTreeMap::new() }
    }

    /// A row with a usable event time was read.
    pub fn saw_row(&mut self, partition: &SourcePartition, now: Duration) {
        if let Some(timeout) = self.timeout {
            self.idle_from.insert(partition.clone(), now.saturating_add(timeout));
        }
    }

    /// What changes at the end of an epoch. `partitions` are all that the output reads, `before` the watermarks with
    /// the epoch's rows in them.
    pub fn decide(
        &mut self,
        before: &Watermarks,
        partitions: &BTreeMap<SourcePartition, Reading>,
        now: Duration,
    ) -> Decisions {
        let mut decisions = Decisions::default();
        for (partition, reading) in partitions {
            let known = before.partitions().get(partition);
            let was_idle = known.is_some_and(|known| known.idle);
            let is_idle = self.is_idle(partition, was_idle, reading, now);
            if known.is_none() {
                decisions.joined.insert(partition.clone());
            }
            match (was_idle, is_idle) {
                (false, true) => decisions.idle.insert(partition.clone()),
                (true, false) => decisions.back.insert(partition.clone()),
                _ => continue,
            };
        }
        let gone = before.partitions().keys().filter(|known| !partitions.contains_key(known));
        decisions.left.extend(gone.cloned());
        self.idle_from.retain(|partition, _| partitions.contains_key(partition));
        decisions
    }

    fn is_idle(
        &mut self,
        partition: &SourcePartition,
        was_idle: bool,
        reading: &Reading,
        now: Duration,
    ) -> bool {
        let Some(timeout) = self.timeout else { return false };
        // One that was idle when this process started need not wait again.
        let first_seen = if was_idle { now } else { now.saturating_add(timeout) };
        let idle_from = *self.idle_from.entry(partition.clone()).or_insert(first_seen);
        let at_its_end = reading.high_watermark.is_some_and(|end| {
            end.offset == reading.position && now.saturating_sub(end.at) <= timeout
        });
        now >= idle_from && at_its_end && !reading.paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::{TopicId, TopicPartition};

    fn partition(number: i32) -> SourcePartition {
        SourcePartition { id: TopicPartition::new("t", number), topic_id: TopicId::unknown() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn reading(position: i64, end: Option<(i64, u64)>, paused: bool) -> Reading {
        let high_watermark = end.map(|(offset, at)| Confirmed { offset, at: seconds(at) });
        Reading { position, high_watermark, paused }
    }

    /// One partition, seen first at 0 s, with a timeout of 60 s: is it idle at `now`?
    fn check(reading: Reading, now: u64, idle: bool) {
        let mut clock = IdleClock::new(Some(seconds(60)));
        let only = BTreeMap::from([(partition(0), reading)]);
        let mut watermarks = Watermarks::default();
        watermarks.close_epoch(&clock.decide(&watermarks, &only, seconds(0)));
        let decisions = clock.decide(&watermarks, &only, seconds(now));
        assert_eq!(decisions.idle.contains(&partition(0)), idle, "{reading:?} at {now} s");
    }

    #[test]
    fn only_a_partition_read_to_a_confirmed_end_is_idle() {
        check(reading(7, Some((7, 55)), false), 60, true);
        check(reading(7, Some((7, 55)), false), 59, false);
        // A backlog, an open transaction.
        check(reading(7, Some((8, 55)), false), 60, false);
        // No leader: nobody confirms the end.
        check(reading(7, Some((7, 55)), false), 116, false);
        check(reading(7, None, false), 60, false);
        check(reading(7, Some((7, 55)), true), 60, false);
    }

    #[test]
    fn a_row_starts_the_time_anew_and_without_a_timeout_nothing_is_idle() {
        let only = BTreeMap::from([(partition(0), reading(7, Some((7, 100)), false))]);
        let mut clock = IdleClock::new(Some(seconds(60)));
        clock.saw_row(&partition(0), seconds(50));
        let watermarks = Watermarks::default();
        assert!(clock.decide(&watermarks, &only, seconds(109)).idle.is_empty());
        assert_eq!(clock.decide(&watermarks, &only, seconds(110)).idle.len(), 1);
        let mut never = IdleClock::new(None);
        assert!(never.decide(&watermarks, &only, seconds(110)).idle.is_empty());
    }

    #[test]
    fn one_that_was_idle_before_a_restart_is_back_until_its_end_is_confirmed() {
        let mut watermarks = Watermarks::default();
        watermarks.advance(&partition(0), 5);
        let idle = Decisions { idle: [partition(0)].into(), ..Decisions::default() };
        watermarks.close_epoch(&idle);
        let mut clock = IdleClock::new(Some(seconds(60)));
        let unconfirmed = BTreeMap::from([(partition(0), reading(7, None, false))]);
        let decisions = clock.decide(&watermarks, &unconfirmed, seconds(1));
        assert_eq!(decisions.back.len(), 1);
        watermarks.close_epoch(&decisions);
        let confirmed = BTreeMap::from([(partition(0), reading(7, Some((7, 2)), false))]);
        assert_eq!(clock.decide(&watermarks, &confirmed, seconds(2)).idle.len(), 1);
    }

    #[test]
    fn partitions_join_and_leave() {
        let mut clock = IdleClock::new(None);
        let mut watermarks = Watermarks::default();
        watermarks.advance(&partition(0), 5);
        let other = BTreeMap::from([(partition(1), reading(0, None, false))]);
        let decisions = clock.decide(&watermarks, &other, seconds(0));
        assert_eq!(decisions.joined, [partition(1)].into());
        assert_eq!(decisions.left, [partition(0)].into());
    }
}
