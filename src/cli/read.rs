//! Which records a command that looks at some reads, and the reading of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::chunk::SourcePartition;
use crate::config::{Source, Start};
use crate::engine::EngineError;
use crate::engine::recovery::Extent;
use crate::engine::view::View;
use crate::offsets::TopicPartition;
use crate::source::{Event, ReadError, Reader, Target};

/// Payload at most.
const MAX_BYTES: u64 = 64 << 20;

/// What a partition has to show: the offsets `[start, end)`.
#[derive(Debug, Clone)]
pub struct Budget {
    pub partition: Arc<SourcePartition>,
    pub start: i64,
    pub end: i64,
}

impl Budget {
    fn room(&self) -> u64 {
        self.end.saturating_sub(self.start).max(0).unsigned_abs()
    }
}

/// Where a first run would start in a partition.
pub fn start_of(start: &Start, id: &TopicPartition, extent: &Extent) -> i64 {
    let at = |offsets: &BTreeMap<TopicPartition, i64>| offsets.get(id).copied();
    let (earliest, latest) = (at(&extent.earliest).unwrap_or(0), at(&extent.latest).unwrap_or(0));
    match start {
        Start::Earliest => earliest,
        Start::Latest => latest,
        Start::Timestamp(_) => at(&extent.at_time).unwrap_or(latest),
        Start::Offsets(offsets) => {
            let given =
                offsets.get(&*id.topic).and_then(|partitions| partitions.get(&id.partition));
            given.map_or(earliest, |offset| (*offset).clamp(earliest, latest.max(earliest)))
        }
    }
}

/// With `start: latest` there is nothing yet: the newest records are shown instead.
pub fn last_of(budgets: &mut [Budget], view: &View, limit: u64) {
    for budget in budgets.iter_mut() {
        budget.start = view.bounds(&budget.partition.id).map_or(budget.end, |(first, _)| first);
    }
    let rooms: Vec<u64> = budgets.iter().map(Budget::room).collect();
    for (budget, share) in budgets.iter_mut().zip(shares(limit, &rooms)) {
        budget.start = budget.end.saturating_sub_unsigned(share);
    }
}

/// `limit` dealt out evenly, no more to any than it has room for.
fn shares(limit: u64, rooms: &[u64]) -> Vec<u64> {
    let mut shares = vec![0; rooms.len()];
    let mut left = limit;
    loop {
        let open: Vec<usize> = (0..rooms.len()).filter(|at| shares[*at] < rooms[*at]).collect();
        if open.is_empty() || left == 0 {
            return shares;
        }
        let each = (left / open.len() as u64).max(1);
        for at in open {
            let more = each.min(rooms[at] - shares[at]).min(left);
            shares[at] += more;
            left -= more;
        }
    }
}

/// Told to the reader when there is enough.
enum Stop {
    Enough,
    Failed(EngineError),
}

/// Reads up to `limit` records, and tells of them as the reader does. Blocks.
///
/// Offsets are dealt out first; where they turn out to be holes (compaction, transactions), twice as many are, until
/// there are enough records or no more offsets.
pub fn read(
    source: &Source,
    mut budgets: Vec<Budget>,
    limit: u64,
    want_headers: bool,
    on_event: &mut OnEvent<'_>,
) -> Result<(), EngineError> {
    budgets.retain(|budget| budget.room() > 0);
    if budgets.is_empty() {
        return Ok(());
    }
    let starts = budgets.iter().map(|b| (b.partition.clone(), b.start)).collect();
    let mut reader = Reader::assign(source, &starts, want_headers)?;
    let (mut seen, mut stretch) = (0, 1);
    while seen < limit && budgets.iter().any(|budget| budget.room() > 0) {
        let rooms: Vec<u64> = budgets.iter().map(Budget::room).collect();
        let mut targets = Vec::new();
        for (budget, share) in budgets.iter_mut().zip(shares((limit - seen) * stretch, &rooms)) {
            budget.start = budget.start.saturating_add_unsigned(share);
            targets.push(Target { partition: budget.partition.clone(), end: budget.start });
        }
        stretch = (stretch * 2).min(1 << 20);
        if !round(&mut reader, &targets, limit, &mut seen, on_event)? {
            break;
        }
    }
    Ok(())
}

/// Hears of runs and their records.
pub type OnEvent<'a> = dyn FnMut(Event<'_>) -> Result<(), EngineError> + 'a;

/// Reads up to the targets; `false`: there are enough records.
fn round(
    reader: &mut Reader,
    targets: &[Target],
    limit: u64,
    seen: &mut u64,
    on_event: &mut OnEvent<'_>,
) -> Result<bool, EngineError> {
    let mut last = 0;
    let ended = reader.read(targets, MAX_BYTES, &AtomicBool::new(false), |event| {
        let offset = match &event {
            Event::Record(message) => Some(message.offset),
            _ => None,
        };
        on_event(event).map_err(Stop::Failed)?;
        if let Some(offset) = offset {
            (*seen, last) = (*seen + 1, offset);
            if *seen >= limit {
                return Err(Stop::Enough);
            }
        }
        Ok(())
    });
    match ended {
        Ok(_) => Ok(true),
        Err(ReadError::Receiver(Stop::Enough)) => {
            on_event(Event::End(last + 1))?;
            Ok(false)
        }
        Err(ReadError::Receiver(Stop::Failed(error))) => Err(error),
        Err(ReadError::Source(error)) => Err(error.into()),
        Err(ReadError::Stopped) => Err(EngineError::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_dealt_out_evenly_and_used_up() {
        let check = |limit, rooms: &[u64], expected: &[u64]| {
            assert_eq!(shares(limit, rooms), expected, "{limit} over {rooms:?}");
        };
        check(20, &[3, 0, 0, 0], &[3, 0, 0, 0]);
        check(1, &[9, 9, 9], &[1, 0, 0]);
        check(20, &[100, 100], &[10, 10]);
        check(20, &[2, 100, 100], &[2, 9, 9]);
        check(5, &[], &[]);
    }

    #[test]
    fn reading_starts_where_a_first_run_would() {
        let id = TopicPartition::new("t", 0);
        let extent = Extent {
            earliest: [(id.clone(), 5)].into(),
            latest: [(id.clone(), 90)].into(),
            at_time: BTreeMap::new(),
        };
        let check = |start, expected| assert_eq!(start_of(&start, &id, &extent), expected);
        check(Start::Earliest, 5);
        check(Start::Latest, 90);
        check(Start::Timestamp(1), 90);
        let given = |offset| Start::Offsets([("t".to_owned(), [(0, offset)].into())].into());
        check(given(42), 42);
        check(given(1), 5);
        check(Start::Offsets(BTreeMap::new()), 5);
    }
}
