//! Deduplication against a naive model: random rows, cuts, failed attempts, idle partitions, and a restart from the stored
//! objects after every other commit.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "rocksdb")]
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::case::{
    Case, Record, Step, Windowing, cases, days, own_gaps, session, sliding, tumbling, unbounded,
};
#[cfg(feature = "rocksdb")]
use super::for_a_tenth;
use super::for_all;
use super::model::{self, Place, Recorded};
use super::restarts::Restarts;
use super::run::{self, Distinct, partition, partitions, toggle};
use crate::transform::window::*;

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) rows: BTreeSet<Place>,
    duplicates: u64,
    /// Rows with times, but late.
    late: u64,
}

/// A column of a row: its place.
pub(crate) fn place(number: usize, offset: usize) -> i64 {
    number as i64 * 1_000 + offset as i64
}

/// `apart`: the key of a row is of its partition.
struct Run<'a> {
    case: &'a Case,
    first: First,
    apart: bool,
    windows: Windows,
    position: Vec<usize>,
    pending: Vec<(usize, usize)>,
    commits: Vec<Recorded>,
    restarts: Restarts<'a>,
    found: Found,
}

struct Attempted {
    finished: Finished,
    written: Vec<RecordBatch>,
    decisions: Decisions,
    position: Vec<usize>,
}

fn plan(case: &Case, first: First) -> WindowPlan {
    let Windowing::Session { gap: within } = case.windowing else { unreachable!("as it is made") };
    let lateness = Lateness { delay: case.delay, max_future: case.max_future };
    let keys = vec![Arc::new(Field::new("key", DataType::Utf8, true))];
    let columns = vec![
        Field::new("place", DataType::Int64, false),
        Field::new("amount", DataType::Int64, true),
    ];
    let rows = Arc::new(Schema::new(columns));
    WindowPlan::deduplicating((within, first), lateness, keys, &rows).expect("a valid plan")
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, first: First, apart: bool) -> Self {
        let windows = Windows::new(Arc::new(plan(case, first)));
        let position = vec![0; case.partitions.len()];
        let found = Found { rows: BTreeSet::new(), duplicates: 0, late: 0 };
        let (pending, commits, restarts) = (Vec::new(), Vec::new(), Restarts::default());
        Self { case, first, apart, windows, position, pending, commits, restarts, found }
    }

    #[cfg(feature = "rocksdb")]
    fn on_disk(self, folder: &'a Path) -> Self {
        Self { restarts: Restarts::on_disk(folder), ..self }
    }

    fn all(mut self) -> Self {
        let count = self.case.partitions.len();
        let known = |partition: &usize| !self.case.strangers.contains(partition);
        let joined = (0..count).filter(known).collect();
        self.commit(Recorded { joined, ..Recorded::default() });
        for step in &self.case.steps {
            match step {
                Step::Read { partition, rows } => self.pending.push((*partition, *rows)),
                Step::Fail => drop(self.attempt(&Recorded::default())),
                Step::Commit { toggled } => self.commit(toggle(&self.windows, toggled)),
            }
        }
        self.pending.extend((0..count).rev().map(|partition| (partition, usize::MAX)));
        self.commit(Recorded::default());
        self
    }

    fn attempt(&mut self, recorded: &Recorded) -> Attempted {
        let mut position = self.position.clone();
        let mut epoch = self.windows.begin().expect("no accumulators");
        for (number, count) in self.pending.drain(..) {
            let from = position[number];
            let to = from.saturating_add(count).min(self.case.partitions[number].len());
            read(self.case, self.apart, &mut epoch, number, from..to);
            position[number] = to;
        }
        let decisions = Decisions {
            joined: partitions(&recorded.joined),
            idle: partitions(&recorded.idle),
            back: partitions(&recorded.back),
            left: BTreeSet::new(),
        };
        let mut written = Vec::new();
        let finished = self.windows.finish(epoch, &decisions, |batch| {
            written.push(batch);
            Ok::<_, WindowError>(())
        });
        Attempted { finished: finished.expect("whole state"), written, decisions, position }
    }

    fn commit(&mut self, mut recorded: Recorded) {
        let Attempted { finished, written, decisions, position } = self.attempt(&recorded);
        let mut last = BTreeMap::new();
        for batch in &written {
            for at in batch.column(0).as_primitive::<Int64Type>().values() {
                let place = ((at / 1_000) as usize, (at % 1_000) as usize);
                let record = &self.case.partitions[place.0][place.1];
                let order = (record.time, place);
                if self.first == First::ByEventTime {
                    let before = last.insert(record.key, order);
                    assert!(before < Some(order), "out of order: {before:?}, {order:?}");
                }
                assert!(self.found.rows.insert(place), "{place:?} is written twice");
            }
        }
        let duplicates = &finished.duplicates;
        self.found.duplicates += duplicates.arrived.values().sum::<u64>() + duplicates.waited;
        self.found.late += finished.counts.late;

        self.restarts.commit(&mut self.windows, finished.next, &decisions);
        self.position = position;
        recorded.ends.clone_from(&self.position);
        self.commits.push(recorded);
    }
}

fn read(
    case: &Case,
    apart: bool,
    epoch: &mut Epoch,
    number: usize,
    offsets: std::ops::Range<usize>,
) {
    let records = &case.partitions[number][offsets.clone()];
    let partition = partition(number);
    let event: Int64Array = records.iter().map(|record| record.time).collect();
    let record: Int64Array = records.iter().map(|record| record.record_time()).collect();
    let kept: BooleanArray = records.iter().map(|record| Some(record.kept)).collect();
    let times = Times { event: &event, record: &record, kept: Some(&kept), late: None, gaps: None };
    let judged = epoch.judge(&partition, times);
    let counted: BooleanArray =
        judged.verdicts.iter().map(|verdict| Some(*verdict == Verdict::Counted)).collect();
    let keys = records.iter().map(|record| {
        let key = record.key?;
        Some(if apart { format!("{number}: {key}") } else { format!("key {key}") })
    });
    let keys: ArrayRef = Arc::new(keys.collect::<StringArray>());
    let places: Int64Array = offsets.clone().map(|offset| Some(place(number, offset))).collect();
    let amounts: Int64Array = records.iter().map(|record| record.amount).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(places), Arc::new(amounts)];
    let schema = epoch_schema();
    let rows = RecordBatch::try_new(schema, columns).expect("as planned");
    let rows = filter_record_batch(&rows, &counted).expect("a mask");
    let offsets: Int64Array = offsets.map(|offset| Some(offset as i64)).collect();
    let offsets = filter(&offsets, &counted).expect("a mask").as_primitive::<Int64Type>().clone();
    let keys = [filter(&keys, &counted).expect("a mask")];
    epoch.arrive(judged, ArrivedRows { partition: &partition, offsets, distinct: &keys, rows });
}

fn epoch_schema() -> Arc<Schema> {
    let place = Field::new("place", DataType::Int64, false);
    Arc::new(Schema::new(vec![place, Field::new("amount", DataType::Int64, true)]))
}

/// What comes of rows. `apart`: the key of a row is of its partition.
pub(crate) fn model(case: &Case, commits: &[Recorded], first: First, apart: bool) -> Found {
    let Windowing::Session { gap: within } = case.windowing else { unreachable!("as it is made") };
    let key = |place: Place, record: &Record| (record.key, apart.then_some(place.0));
    firsts(case, commits, (within, first), key).0
}

/// What comes of rows, and which rows have a time. Every time that was kept is compared with; nothing is forgotten.
fn firsts<K: PartialEq>(
    case: &Case,
    commits: &[Recorded],
    (within, first): (i64, First),
    key: impl Fn(Place, &Record) -> K,
) -> (Found, BTreeSet<Place>) {
    let (mut on_time, mut timely) = (Vec::new(), BTreeSet::new());
    let outcome = model::walk(case, commits, |outcome, place, time, watermark| {
        timely.insert(place);
        match time < watermark {
            true => outcome.late += 1,
            false => on_time.push((time, place)),
        }
    });
    if first == First::ByEventTime {
        on_time.retain(|(time, _)| outcome.watermark.is_some_and(|w| *time < w));
        on_time.sort_unstable();
    }
    let mut kept: Vec<(K, i64)> = Vec::new();
    let mut found = Found { rows: BTreeSet::new(), duplicates: 0, late: outcome.late };
    for (time, place) in on_time {
        let key = key(place, &case.partitions[place.0][place.1]);
        if kept.iter().any(|(other, t)| *other == key && (t - time).abs() < within) {
            found.duplicates += 1;
        } else {
            kept.push((key, time));
            found.rows.insert(place);
        }
    }
    (found, timely)
}

/// The case with all rows left out by `where` that are not the first of theirs.
pub(crate) fn only_firsts(
    case: &Case,
    commits: &[Recorded],
    Distinct { within, first }: Distinct,
) -> (Case, Found) {
    let key = |_, record: &Record| Distinct::key(record);
    let (found, timely) = firsts(case, commits, (within, first), key);
    let mut only = case.clone();
    for place in timely.difference(&found.rows) {
        only.partitions[place.0][place.1].kept = false;
    }
    (only, found)
}

fn windows_of_distinct(case: &Case, distinct: Distinct, restarts: Restarts<'_>) -> TestCaseResult {
    let (found, commits) = run::run_distinct(case, distinct, restarts);
    let (only, firsts) = only_firsts(case, &commits, distinct);
    let expected = model::run(&only, &commits);
    prop_assert_eq!(found.late, firsts.late);
    prop_assert_eq!(found.watermark, expected.watermark);
    prop_assert_eq!(found.closed, expected.closed, "closed (left), the model's (right)");
    prop_assert_eq!(found.open, expected.open, "open (left), the model's (right)");
    Ok(())
}

fn any_windows() -> impl Strategy<Value = (Case, Distinct)> {
    let kinds = prop_oneof![tumbling(), sliding(), session(), own_gaps(), unbounded(), days()];
    let first = prop_oneof![Just(First::ByArrival), Just(First::ByEventTime)];
    (cases(kinds, true), 1..15_i64, first).prop_map(|(case, within, first)| {
        let within = within * case.windowing.unit();
        (case, Distinct { within, first })
    })
}

#[test]
fn windows_take_the_first_of_duplicates_only() {
    for_all(any_windows(), |(case, distinct)| {
        windows_of_distinct(&case, distinct, Restarts::default())
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn windows_take_the_first_of_duplicates_only_with_state_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    for_a_tenth(any_windows(), |(case, distinct)| {
        windows_of_distinct(&case, distinct, Restarts::on_disk(folder.path()))
    });
}

/// All rows in one commit.
fn at_once(case: &Case) -> [Recorded; 2] {
    let count = case.partitions.len();
    let first =
        Recorded { ends: vec![0; count], joined: (0..count).collect(), ..Recorded::default() };
    let ends = case.partitions.iter().map(Vec::len).collect();
    [first, Recorded { ends, ..Recorded::default() }]
}

#[test]
fn duplicates_are_the_models_given_the_recorded_commits() {
    for first in [First::ByArrival, First::ByEventTime] {
        let seen = Cell::new((0_u64, 0_u64));
        for_all(cases(session(), true), |case| {
            let run = Run::new(&case, first, false).all();
            let expected = model(&case, &run.commits, first, false);
            let (cases, dropped) = seen.get();
            seen.set((cases + 1, dropped + u64::from(expected.duplicates > 0)));
            prop_assert_eq!(&run.found, &expected, "found (left), the model's (right)");
            Ok(())
        });
        let (cases, dropped) = seen.get();
        assert!(dropped > cases / 4, "duplicates in {dropped} of {cases} cases");
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn duplicates_are_the_models_with_state_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    for first in [First::ByArrival, First::ByEventTime] {
        for_a_tenth(cases(session(), true), |case| {
            let run = Run::new(&case, first, false).on_disk(folder.path()).all();
            let expected = model(&case, &run.commits, first, false);
            prop_assert_eq!(&run.found, &expected, "found (left), the model's (right)");
            Ok(())
        });
    }
}

#[test]
fn the_first_by_event_time_is_the_same_whatever_the_cuts() {
    for_all(cases(session(), false), |case| {
        let run = Run::new(&case, First::ByEventTime, false).all();
        let expected = model(&case, &at_once(&case), First::ByEventTime, false);
        prop_assert_eq!(&run.found, &expected, "found (left), the model's (right)");
        Ok(())
    });
}

#[test]
fn the_first_by_arrival_is_the_same_whatever_the_cuts_where_a_key_stays_in_its_partition() {
    for_all(cases(session(), false), |mut case| {
        case.partitions.iter_mut().flatten().for_each(|record| record.key = record.key.or(Some(0)));
        let run = Run::new(&case, First::ByArrival, true).all();
        let expected = model(&case, &at_once(&case), First::ByArrival, true);
        prop_assert_eq!(&run.found, &expected, "found (left), the model's (right)");
        Ok(())
    });
}

#[test]
fn times_that_no_row_can_be_near_to_are_forgotten() {
    /// In 2096.
    const LATER: i64 = 3_999_974_400_000_000;
    for first in [First::ByArrival, First::ByEventTime] {
        for_all(cases(session(), false), |mut case| {
            let mut last = case.partitions.iter().flatten().next().cloned();
            let Some(last) = &mut last else { return Ok(()) };
            (last.time, last.behind, last.key, last.kept) = (Some(LATER), None, None, true);
            case.delay = 0;
            case.partitions.iter_mut().for_each(|records| records.push(last.clone()));
            let count = case.partitions.len();
            let run = Run::new(&case, first, false).all();
            // A kept time has two entries; the last rows of all partitions wait.
            let left = if first == First::ByArrival { 2 } else { count };
            prop_assert_eq!(run.windows.state().len(), left, "entries for the last rows");
            Ok(())
        });
    }
}
