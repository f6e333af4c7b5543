//! Random topics and random ways through them.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use proptest::prelude::*;

/// A record of a partition; its offset is its position.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) time: Option<i64>,
    /// How far the Kafka timestamp is behind the event time; `None`: the record has none.
    pub(crate) behind: Option<i64>,
    pub(crate) key: Option<u8>,
    pub(crate) amount: Option<i64>,
    pub(crate) flag: Option<bool>,
    pub(crate) kept: bool,
}

impl Record {
    pub(crate) fn record_time(&self) -> Option<i64> {
        Some(self.time.unwrap_or(0) - self.behind?)
    }
}

/// Windows as they are configured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Windowing {
    Sliding {
        size: i64,
        slide: i64,
        offset: i64,
    },
    Days {
        size: i64,
        slide: i64,
        zone: Tz,
    },
    Session {
        gap: i64,
    },
    /// Sessions of which each row has a gap of its own, one to three times this; without an amount it has none.
    OwnGaps {
        gap: i64,
    },
    Unbounded,
}

impl Windowing {
    /// What times of a case are made of.
    pub(crate) fn unit(self) -> i64 {
        if matches!(self, Self::Days { .. }) { HOUR } else { 1 }
    }

    /// How long a session goes on after a row; `None`: it is in no session.
    pub(crate) fn gap(self, record: &Record) -> Option<i64> {
        match self {
            Self::Session { gap } => Some(gap),
            Self::OwnGaps { gap } => record.amount.map(|amount| gap * (1 + amount.rem_euclid(3))),
            Self::Sliding { .. } | Self::Days { .. } | Self::Unbounded => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Reads some rows of a partition, as a chunk.
    Read { partition: usize, rows: usize },
    /// Ends the epoch; it is committed.
    Commit { toggled: BTreeSet<usize> },
    /// Ends the epoch; nothing of it stays.
    Fail,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) windowing: Windowing,
    pub(crate) delay: i64,
    pub(crate) max_future: Option<i64>,
    pub(crate) partitions: Vec<Vec<Record>>,
    pub(crate) steps: Vec<Step>,
    /// Partitions that the first commit doesn't know yet.
    pub(crate) strangers: BTreeSet<usize>,
}

/// Of the units that a kind's times are made in.
const HOUR: i64 = 3_600_000_000;

pub(crate) fn tumbling() -> impl Strategy<Value = Windowing> {
    (1..30_i64, -40..40_i64).prop_map(|(size, offset)| Windowing::Sliding {
        size,
        slide: size,
        offset,
    })
}

pub(crate) fn sliding() -> impl Strategy<Value = Windowing> {
    (1..30_i64, 1..30_i64, -40..40_i64).prop_map(|(a, b, offset)| Windowing::Sliding {
        size: a.max(b),
        slide: a.min(b),
        offset,
    })
}

pub(crate) fn session() -> impl Strategy<Value = Windowing> {
    (1..15_i64).prop_map(|gap| Windowing::Session { gap })
}

pub(crate) fn own_gaps() -> impl Strategy<Value = Windowing> {
    (1..10_i64).prop_map(|gap| Windowing::OwnGaps { gap })
}

pub(crate) fn unbounded() -> impl Strategy<Value = Windowing> {
    Just(Windowing::Unbounded)
}

pub(crate) fn days() -> impl Strategy<Value = Windowing> {
    const ZONES: [Tz; 4] =
        [Tz::UTC, Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe];
    (1..4_i64, 1..4_i64, prop::sample::select(&ZONES[..]))
        .prop_map(|(a, b, zone)| Windowing::Days { size: a.max(b), slide: a.min(b), zone })
}

/// Cases of one kind. With `clock`, partitions join late, become idle and come back.
pub(crate) fn cases(
    windowing: impl Strategy<Value = Windowing>,
    clock: bool,
) -> impl Strategy<Value = Case> {
    (windowing, 1..4_usize, any::<bool>(), 0..25_i64).prop_flat_map(
        move |(windowing, partitions, bounded, delay)| {
            // Days of March 2026, when clocks go forward in the north, and of October 2026.
            let unit = windowing.unit();
            let base = match windowing {
                Windowing::Days { .. } if bounded => 1_774_400_000_000_000,
                Windowing::Days { .. } => 1_792_600_000_000_000,
                _ => 0,
            };
            let topic = prop::collection::vec(partition(unit, base), partitions);
            let steps = prop::collection::vec(step(partitions, clock), 0..30);
            let strangers = prop::collection::btree_set(0..partitions, 0..=partitions);
            (topic, steps, strangers).prop_map(move |(partitions, steps, strangers)| Case {
                windowing,
                delay: delay * unit,
                max_future: bounded.then_some(30 * unit),
                partitions,
                steps,
                strangers: if clock { strangers } else { BTreeSet::new() },
            })
        },
    )
}

/// Rows that are out of order by up to 25 units, and move on by one or so.
fn partition(unit: i64, base: i64) -> impl Strategy<Value = Vec<Record>> {
    let lag = 0..40_i64;
    (lag, prop::collection::vec(record(), 0..40)).prop_map(move |(lag, mut records)| {
        for (position, record) in records.iter_mut().enumerate() {
            let drift = position as i64 * 2 - lag;
            record.time = record.time.map(|time| base + (time + drift) * unit);
            record.behind = record.behind.map(|behind| behind * unit);
        }
        records
    })
}

fn record() -> impl Strategy<Value = Record> {
    let time = prop_oneof![
        12 => (-25..25_i64).prop_map(Some),
        1 => (100..200_i64).prop_map(Some),
        1 => Just(None),
    ];
    let behind =
        prop_oneof![8 => (-5..20_i64).prop_map(Some), 1 => Just(Some(31)), 1 => Just(None)];
    let key = prop::option::weighted(0.9, 0..3_u8);
    let amount = prop::option::weighted(0.8, -100..100_i64);
    let flag = prop::option::weighted(0.8, any::<bool>());
    let kept = prop::bool::weighted(0.9);
    (time, behind, key, amount, flag, kept).prop_map(|(time, behind, key, amount, flag, kept)| {
        Record { time, behind, key, amount, flag, kept }
    })
}

fn step(partitions: usize, clock: bool) -> impl Strategy<Value = Step> {
    let toggled = prop::collection::btree_set(0..partitions, 0..=partitions);
    let toggled = toggled.prop_map(move |set| if clock { set } else { BTreeSet::new() });
    prop_oneof![
        6 => (0..partitions, 1..12_usize)
            .prop_map(|(partition, rows)| Step::Read { partition, rows }),
        3 => toggled.prop_map(|toggled| Step::Commit { toggled }),
        1 => Just(Step::Fail),
    ]
}
