//! What windows are, a row at a time: no batches, no state, no accumulators. Every window keeps its rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeZone};

use super::case::{Case, Record, Windowing};
use super::floats::fsum;

/// What was committed with an epoch: how far each partition was read, and what the clock had decided.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    pub(crate) ends: Vec<usize>,
    pub(crate) joined: BTreeSet<usize>,
    pub(crate) idle: BTreeSet<usize>,
    pub(crate) back: BTreeSet<usize>,
}

/// One row of the table; `bounds` are `None` without windows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Result {
    pub(crate) bounds: Option<(i64, i64)>,
    pub(crate) key: Option<String>,
    pub(crate) rows: i64,
    pub(super) flagged: i64,
    pub(crate) sum: Option<i64>,
    /// Bits of a double.
    pub(super) mean: Option<u64>,
    /// Of the rows that are flagged.
    pub(super) least: Option<i64>,
    pub(super) most: Option<i64>,
    pub(crate) first: Option<String>,
    pub(crate) last: Option<String>,
    /// Of the amounts.
    pub(super) distinct: i64,
    /// Of the amounts of rows that are flagged.
    pub(super) exact: i64,
    /// Of the row with the largest amount.
    pub(super) richest: Option<String>,
    /// Of the flagged rows with the smallest amounts.
    pub(super) poorest: Option<Vec<String>>,
    /// Bits of a double: about the middle one of the amounts.
    pub(super) median: Option<u64>,
    /// Bits of a double: the sum of tenths of the amounts.
    pub(super) tenths: Option<u64>,
    /// Bits of a double: the variance of the amounts.
    pub(super) spread: Option<u64>,
    /// The first of the rows that are flagged.
    pub(super) names: Option<Vec<String>>,
}

/// How many names are kept.
pub(super) const NAMES: usize = 3;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) closed: Vec<Result>,
    pub(crate) open: Vec<Result>,
    pub(super) counted: u64,
    pub(super) late: u64,
    pub(super) late_partial: u64,
    pub(super) future: u64,
    pub(super) timeless: u64,
    pub(super) filtered: u64,
    pub(super) watermark: Option<i64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Standing {
    Unknown,
    Counts,
    Idle,
}

pub(crate) type Place = (usize, usize);

/// Reads the case's partitions as the commits say, each up to its `ends`. `on_time` is told of each row with a usable time,
/// and of its partition's watermark with it.
pub(super) fn walk(
    case: &Case,
    commits: &[Recorded],
    mut on_time: impl FnMut(&mut Outcome, Place, i64, i64),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut standing = vec![(Standing::Unknown, None); case.partitions.len()];
    let mut w: Option<i64> = None;
    let mut position = vec![0; case.partitions.len()];

    for commit in commits {
        for (partition, records) in case.partitions.iter().enumerate() {
            let (state, running) = &mut standing[partition];
            let unread = position[partition]..commit.ends[partition];
            for (offset, record) in unread.clone().zip(&records[unread]) {
                let of_row = matches!(case.windowing, Windowing::OwnGaps { .. });
                let gapless = of_row && record.kept && case.windowing.gap(record).is_none();
                let usable = |_: &i64| !gapless && !too_far(case, record);
                let Some(time) = record.time.filter(usable) else {
                    match record {
                        Record { kept: false, .. } => outcome.filtered += 1,
                        Record { time: None, .. } => outcome.timeless += 1,
                        _ if gapless => outcome.timeless += 1,
                        _ => outcome.future += 1,
                    }
                    continue;
                };
                if *state != Standing::Counts {
                    *running = (*running).max(w);
                    *state = Standing::Counts;
                }
                let watermark = running.unwrap_or(i64::MIN).max(time - case.delay);
                *running = Some(watermark);
                if !record.kept {
                    outcome.filtered += 1;
                    continue;
                }
                on_time(&mut outcome, (partition, offset), time, watermark);
            }
            position[partition] = commit.ends[partition];
        }
        for partition in commit.joined.iter().chain(&commit.back) {
            let (state, running) = &mut standing[*partition];
            if *state != Standing::Counts {
                (*state, *running) = (Standing::Counts, (*running).max(w));
            }
        }
        for partition in &commit.idle {
            standing[*partition].0 = Standing::Idle;
        }
        let of = |wanted| {
            let with = standing.iter().filter(move |(state, _)| *state == wanted);
            with.map(|(_, running)| *running)
        };
        let now = of(Standing::Counts).min().unwrap_or(of(Standing::Idle).max().flatten());
        w = w.max(now);
    }

    outcome.watermark = w;
    outcome
}

/// What windows come to.
pub(crate) fn run(case: &Case, commits: &[Recorded]) -> Outcome {
    // The rows of each window; of sessions, the rows of each key.
    let mut windows: BTreeMap<(i64, i64, Option<u8>), Vec<Place>> = BTreeMap::new();
    let mut outcome = walk(case, commits, |outcome, place, time, watermark| {
        let key = case.partitions[place.0][place.1].key;
        let all = windows_of(case.windowing, time);
        let mut open = all.clone();
        match case.windowing {
            Windowing::Session { .. } | Windowing::OwnGaps { .. } => {
                open.retain(|_| time >= watermark)
            }
            Windowing::Unbounded => {}
            _ => open.retain(|(_, end)| *end > watermark),
        }
        match open.len() {
            0 => outcome.late += 1,
            some => {
                outcome.counted += 1;
                outcome.late_partial += u64::from(some < all.len());
            }
        }
        for (start, end) in open {
            windows.entry((start, end, key)).or_default().push(place);
        }
    });
    let w = outcome.watermark;

    let windows = match case.windowing {
        Windowing::Session { .. } | Windowing::OwnGaps { .. } => sessions(case, windows),
        _ => windows,
    };
    for ((start, end, key), places) in windows {
        let unbounded = matches!(case.windowing, Windowing::Unbounded);
        let bounds = (!unbounded).then_some((start, end));
        let result = result(case, bounds, key, places);
        let closed = !unbounded && w.is_some_and(|w| w >= end);
        if closed { &mut outcome.closed } else { &mut outcome.open }.push(result);
    }
    outcome.closed.sort();
    outcome.open.sort();
    outcome
}

fn too_far(case: &Case, record: &Record) -> bool {
    match (record.time, record.record_time(), case.max_future) {
        (Some(time), Some(stamp), Some(most)) => time - stamp > most,
        _ => false,
    }
}

/// All windows that contain a time. Sessions are put together later: one window for all times.
fn windows_of(windowing: Windowing, time: i64) -> Vec<(i64, i64)> {
    match windowing {
        Windowing::Session { .. } | Windowing::OwnGaps { .. } | Windowing::Unbounded => {
            vec![(0, 0)]
        }
        Windowing::Sliding { size, slide, offset } => (time - size + 1..=time)
            .filter(|start| (start - offset).rem_euclid(slide) == 0)
            .map(|start| (start, start + size))
            .collect(),
        Windowing::Days { size, slide, zone } => {
            let utc = DateTime::from_timestamp_micros(time).expect("a time");
            let today = i64::from(utc.with_timezone(&zone).date_naive().to_epoch_days());
            let midnight = |day: i64| {
                let date = NaiveDate::from_epoch_days(day as i32).expect("a day");
                let local = zone.from_local_datetime(&date.and_time(NaiveTime::MIN));
                local.single().expect("no midnight is skipped in these zones").timestamp_micros()
            };
            (today - size + 1..=today)
                .filter(|day| day.rem_euclid(slide) == 0)
                .map(|day| (midnight(day), midnight(day + size)))
                .collect()
        }
    }
}

fn sessions(
    case: &Case,
    rows: BTreeMap<(i64, i64, Option<u8>), Vec<Place>>,
) -> BTreeMap<(i64, i64, Option<u8>), Vec<Place>> {
    let mut sessions = BTreeMap::new();
    for ((.., key), mut places) in rows {
        places.sort_by_key(|place| time(case, *place));
        let end = |place: &Place| {
            let gap = case.windowing.gap(&case.partitions[place.0][place.1]);
            time(case, *place) + gap.expect("rows that count have one")
        };
        let ends = |places: &[Place]| places.iter().map(end).max().expect("a row");
        while !places.is_empty() {
            // All up to the first row that none before it reaches.
            let apart = |at: &usize| time(case, places[*at]) >= ends(&places[..*at]);
            let next = (1..places.len()).find(apart).unwrap_or(places.len());
            let session: Vec<_> = places.drain(..next).collect();
            sessions.insert((time(case, session[0]), ends(&session), key), session);
        }
    }
    sessions
}

fn result(
    case: &Case,
    bounds: Option<(i64, i64)>,
    key: Option<u8>,
    mut places: Vec<Place>,
) -> Result {
    places.sort_by_key(|place| (time(case, *place), *place));
    let record = |(partition, offset): &Place| &case.partitions[*partition][*offset];
    let amounts: Vec<_> = places.iter().filter_map(|place| record(place).amount).collect();
    let flagged = || places.iter().filter(|place| record(place).flag == Some(true));
    let sum = (!amounts.is_empty()).then(|| amounts.iter().sum::<i64>());
    let amount = |place: &&Place| record(place).amount;
    let priced = places.iter().filter(|place| amount(place).is_some());
    // The first of those with the largest.
    let richest = priced.min_by_key(|place| std::cmp::Reverse(amount(place)));
    let mut poorest: Vec<_> = flagged().filter(|place| amount(place).is_some()).collect();
    poorest.sort_by_key(amount);
    let poorest: Vec<_> = poorest.into_iter().take(NAMES).map(|place| name(*place)).collect();
    let names: Vec<_> = flagged().take(NAMES).map(|place| name(*place)).collect();
    Result {
        bounds,
        key: key.map(|key| format!("key {key}")),
        rows: places.len() as i64,
        flagged: flagged().count() as i64,
        sum,
        mean: sum.map(|sum| (sum as f64 / amounts.len() as f64).to_bits()),
        least: flagged().filter_map(|place| record(place).amount).min(),
        most: amounts.iter().copied().max(),
        first: places.first().copied().map(name),
        last: places.last().copied().map(name),
        distinct: amounts.iter().collect::<BTreeSet<_>>().len() as i64,
        exact: flagged().filter_map(|place| record(place).amount).collect::<BTreeSet<_>>().len()
            as i64,
        richest: richest.copied().map(name),
        poorest: (!poorest.is_empty()).then_some(poorest),
        tenths: sum
            .map(|_| fsum(&amounts.iter().copied().map(tenth).collect::<Vec<_>>()).to_bits()),
        spread: sum.map(|sum| variance(&amounts, sum).to_bits()),
        median: median(amounts).map(f64::to_bits),
        names: (!names.is_empty()).then_some(names),
    }
}

/// Of which the sum depends on the order, if it is rounded in between.
pub(super) fn tenth(amount: i64) -> f64 {
    amount as f64 / 10.0
}

fn variance(amounts: &[i64], sum: i64) -> f64 {
    let count = amounts.len() as i64;
    let squares: i64 = amounts.iter().map(|amount| amount * amount).sum();
    (count * squares - sum * sum) as f64 / (count * count) as f64
}

/// The middle of the 64th of a power of two that the median is in; the ends are exact.
fn median(mut amounts: Vec<i64>) -> Option<f64> {
    amounts.sort_unstable();
    let (least, most) = (*amounts.first()? as f64, *amounts.last()? as f64);
    let rank = amounts.len().div_ceil(2);
    let exact = amounts[rank - 1] as f64;
    if rank == 1 || rank == amounts.len() || exact == 0.0 {
        return Some(exact);
    }
    let width = 2_f64.powi(exact.abs().log2().floor() as i32) / 64.0;
    let middle = ((exact.abs() / width).floor() + 0.5) * width;
    Some(middle.copysign(exact).clamp(least, most))
}

pub(crate) fn name((partition, offset): Place) -> String {
    format!("{partition}/{offset}")
}

fn time(case: &Case, (partition, offset): Place) -> i64 {
    case.partitions[partition][offset].time.expect("rows that count have a time")
}
