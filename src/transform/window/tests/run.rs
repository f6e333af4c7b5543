//! A case through the windows, as an engine would take it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, StructArray};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::case::{Case, Record, Step, Windowing};
use super::model::{self, Outcome, Recorded};
use super::restarts::Restarts;
use crate::chunk::SourcePartition;
use crate::offsets::{TopicId, TopicPartition};
use crate::transform::window::*;

pub(crate) fn partition(number: usize) -> SourcePartition {
    let id = TopicPartition::new("orders", number as i32);
    SourcePartition { id, topic_id: TopicId::unknown() }
}

pub(super) fn partitions(numbers: &BTreeSet<usize>) -> BTreeSet<SourcePartition> {
    numbers.iter().map(|number| partition(*number)).collect()
}

/// Who is idle comes back, and who isn't becomes idle. Partitions that nobody knows join.
pub(super) fn toggle(windows: &Windows, toggled: &BTreeSet<usize>) -> Recorded {
    let mut recorded = Recorded::default();
    for number in toggled {
        match windows.watermarks().partitions().get(&partition(*number)) {
            None => recorded.joined.insert(*number),
            Some(known) if known.idle => recorded.back.insert(*number),
            Some(_) => recorded.idle.insert(*number),
        };
    }
    recorded
}

/// How rows are told from duplicates before they count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distinct {
    pub(crate) within: i64,
    pub(crate) first: First,
}

impl Distinct {
    /// As SQL says it.
    pub(crate) const KEY: &str = "(amount % 3 + 3) % 3";

    pub(super) fn key(record: &Record) -> Option<i64> {
        record.amount.map(|amount| amount.rem_euclid(3))
    }
}

fn plan(case: &Case, distinct: Option<Distinct>) -> WindowPlan {
    let aligned = |size, slide, offset, zone| {
        Kind::Aligned(Aligned::new(size, slide, offset, zone).expect("valid windows"))
    };
    let kind = match case.windowing {
        Windowing::Sliding { size, slide, offset } => aligned(size, slide, offset, None),
        Windowing::Days { size, slide, zone } => {
            const DAY: i64 = 86_400_000_000;
            aligned(size * DAY, slide * DAY, 0, Some(zone))
        }
        Windowing::Session { gap } => Kind::Session(Gap::Fixed(gap)),
        Windowing::OwnGaps { .. } => Kind::Session(Gap::OfRow),
        Windowing::Unbounded => Kind::Unbounded,
    };
    let measure = |name, function, argument: Option<&DataType>| {
        Measure::new(name, function, argument).expect("a valid measure")
    };
    let pair = DataType::Struct(pair());
    let (int, text) = (Some(&DataType::Int64), Some(&DataType::Utf8));
    let measures = vec![
        measure("rows", Function::Count, None),
        measure("flagged", Function::Count, None),
        measure("sum", Function::Sum, int),
        measure("mean", Function::Avg, int),
        measure("least", Function::Min, int),
        measure("most", Function::Max, int),
        measure("first", Function::First, text),
        measure("last", Function::Last, text),
        measure("distinct", Function::ApproxCountDistinct, int),
        measure("exact", Function::CountDistinct, int),
        measure("median", Function::ApproxPercentile(500_000), int),
        measure("richest", Function::MaxBy(None), Some(&pair)),
        measure("poorest", Function::MinBy(Some(model::NAMES as u32)), Some(&pair)),
        measure("tenths", Function::Sum, Some(&DataType::Float64)),
        measure("spread", Function::VarPop, int),
        measure("names", Function::ArrayAgg(model::NAMES as u32), text),
    ];
    let lateness = Lateness { delay: case.delay, max_future: case.max_future };
    let keys = vec![Arc::new(Field::new("key", DataType::Utf8, true))];
    let plan = WindowPlan::new(kind, lateness, keys, measures).expect("a valid plan");
    match distinct {
        None => plan,
        Some(Distinct { within, first }) => plan.of_distinct(within, first).expect("a valid step"),
    }
}

/// A name and the amount that it is ranked by.
fn pair() -> Fields {
    let field = |name, data_type| Field::new(name, data_type, true);
    Fields::from(vec![field("x", DataType::Utf8), field("y", DataType::Int64)])
}

/// What came out, what was recorded with each commit, and the windows as they are then.
pub(super) fn run(case: &Case) -> (Outcome, Vec<Recorded>, Windows) {
    run_in(case, State::default())
}

/// `state` is empty.
pub(super) fn run_in(case: &Case, state: State) -> (Outcome, Vec<Recorded>, Windows) {
    let windows = Windows::restored(Arc::new(plan(case, None)), Watermarks::default(), state);
    all(Run::new(case, windows))
}

/// With a restart now and then. Rows count when they are known to be the first of theirs.
pub(super) fn run_distinct(
    case: &Case,
    distinct: Distinct,
    restarts: Restarts<'_>,
) -> (Outcome, Vec<Recorded>) {
    let windows = Windows::new(Arc::new(plan(case, Some(distinct))));
    let run = Run { restarts: Some(restarts), ..Run::new(case, windows) };
    let (outcome, commits, _) = all(run);
    (outcome, commits)
}

fn all(mut run: Run<'_>) -> (Outcome, Vec<Recorded>, Windows) {
    let case = run.case;
    let count = case.partitions.len();
    let known = (0..count).filter(|partition| !case.strangers.contains(partition)).collect();
    run.commit(Recorded { joined: known, ..Recorded::default() });
    for step in &case.steps {
        match step {
            Step::Read { partition, rows } => run.pending.push((*partition, *rows)),
            Step::Fail => run.fail(),
            Step::Commit { toggled } => run.commit(toggle(&run.windows, toggled)),
        }
    }
    // What is left, the last partition first.
    run.pending.extend((0..count).rev().map(|partition| (partition, usize::MAX)));
    run.commit(Recorded::default());
    let open = run.windows.open().expect("no overflow");
    run.outcome.open = open.iter().flat_map(rows).collect();
    run.outcome.open.sort();
    run.outcome.closed.sort();
    run.outcome.watermark = run.windows.watermarks().overall();
    (run.outcome, run.commits, run.windows)
}

struct Attempted {
    finished: Finished,
    closed: Vec<model::Result>,
    decisions: Decisions,
    position: Vec<usize>,
}

struct Run<'a> {
    case: &'a Case,
    windows: Windows,
    position: Vec<usize>,
    /// Reads of the epoch under way.
    pending: Vec<(usize, usize)>,
    outcome: Outcome,
    commits: Vec<Recorded>,
    restarts: Option<Restarts<'a>>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, windows: Windows) -> Self {
        Self {
            case,
            windows,
            position: vec![0; case.partitions.len()],
            pending: Vec::new(),
            outcome: Outcome::default(),
            commits: Vec::new(),
            restarts: None,
        }
    }

    fn attempt(&mut self, recorded: &Recorded) -> Attempted {
        let mut position = self.position.clone();
        let mut epoch = self.windows.begin().expect("accumulators");
        for (number, count) in self.pending.drain(..) {
            let records = &self.case.partitions[number];
            let from = position[number];
            let to = from.saturating_add(count).min(records.len());
            read(&mut epoch, self.case.windowing, number, (from, &records[from..to]));
            position[number] = to;
        }
        let decisions = Decisions {
            joined: partitions(&recorded.joined),
            idle: partitions(&recorded.idle),
            back: partitions(&recorded.back),
            left: BTreeSet::new(),
        };
        let mut closed = Vec::new();
        let finished = self.windows.finish(epoch, &decisions, |batch| {
            closed.extend(rows(&batch));
            Ok::<_, WindowError>(())
        });
        let finished = finished.expect("no overflow");
        assert_eq!(finished.closed.count, closed.len());
        Attempted { finished, closed, decisions, position }
    }

    fn fail(&mut self) {
        let before = self.windows.state().dump();
        self.attempt(&Recorded::default());
        assert_eq!(self.windows.state().dump(), before);
    }

    fn commit(&mut self, mut recorded: Recorded) {
        let Attempted { finished, closed, decisions, position } = self.attempt(&recorded);
        self.outcome.closed.extend(closed);
        let Counts { counted, late, late_partial, future, timeless, filtered } = finished.counts;
        self.outcome.counted += counted;
        self.outcome.late += late;
        self.outcome.late_partial += late_partial;
        self.outcome.future += future;
        self.outcome.timeless += timeless;
        self.outcome.filtered += filtered;
        match &mut self.restarts {
            None => self.windows.commit(finished.next).expect("a disk with room"),
            Some(restarts) => restarts.commit(&mut self.windows, finished.next, &decisions),
        }
        self.position = position;
        recorded.ends.clone_from(&self.position);
        self.commits.push(recorded);
    }
}

fn read(
    epoch: &mut Epoch,
    windowing: Windowing,
    number: usize,
    (from, records): (usize, &[Record]),
) {
    let partition = partition(number);
    let event: Int64Array = records.iter().map(|record| record.time).collect();
    let record: Int64Array = records.iter().map(Record::record_time).collect();
    let kept: BooleanArray = records.iter().map(|record| Some(record.kept)).collect();
    let kept = records.iter().any(|record| !record.kept).then_some(&kept);
    let gaps: Int64Array = records.iter().map(|record| windowing.gap(record)).collect();
    let gaps = matches!(windowing, Windowing::OwnGaps { .. }).then_some(&gaps);
    let times = Times { event: &event, record: &record, kept, late: None, gaps };
    let judged = epoch.judge(&partition, times);

    let counted = judged.counted();
    let keep = |column: ArrayRef| match &counted {
        Some(counted) => filter(&column, counted).expect("a mask"),
        None => column,
    };
    let text = |text: Vec<Option<String>>| Arc::new(StringArray::from(text)) as ArrayRef;
    let keys = records.iter().map(|record| record.key.map(|key| format!("key {key}"))).collect();
    let names = (from..).take(records.len()).map(|offset| Some(model::name((number, offset))));
    let names = keep(text(names.collect()));
    let amounts: Int64Array = records.iter().map(|record| record.amount).collect();
    let amounts = keep(Arc::new(amounts));
    let flags: BooleanArray = records.iter().map(|record| record.flag).collect();
    let flags = keep(Arc::new(flags)).as_boolean().clone();
    let offsets: Int64Array =
        (from..).take(records.len()).map(|offset| Some(offset as i64)).collect();

    let offsets = keep(Arc::new(offsets));

    let ranked = vec![Arc::clone(&names), Arc::clone(&amounts)];
    let ranked: ArrayRef = Arc::new(StructArray::new(pair(), ranked, None));

    let tenths = amounts.as_primitive::<Int64Type>();
    let tenths: ArrayRef = Arc::new(tenths.unary::<_, Float64Type>(model::tenth));

    let argument = |values: &ArrayRef| Argument { values: Some(Arc::clone(values)), filter: None };
    let arguments = [
        Argument { values: None, filter: None },
        Argument { values: None, filter: Some(flags.clone()) },
        argument(&amounts),
        argument(&amounts),
        Argument { values: Some(Arc::clone(&amounts)), filter: Some(flags.clone()) },
        argument(&amounts),
        argument(&names),
        argument(&names),
        argument(&amounts),
        Argument { values: Some(Arc::clone(&amounts)), filter: Some(flags.clone()) },
        argument(&amounts),
        argument(&ranked),
        Argument { values: Some(ranked), filter: Some(flags.clone()) },
        argument(&tenths),
        argument(&amounts),
        Argument { values: Some(names), filter: Some(flags) },
    ];
    let distinct: Int64Array = records.iter().map(Distinct::key).collect();
    let rows = CountedRows {
        partition: &partition,
        offsets: offsets.as_primitive(),
        distinct: &[keep(Arc::new(distinct))],
        keys: &[keep(text(keys))],
        arguments: &arguments,
    };
    epoch.add(judged, rows).expect("accumulators");
}

fn rows(batch: &RecordBatch) -> Vec<model::Result> {
    let windowed = batch.schema().column_with_name("window_start").is_some();
    let first = if windowed { 2 } else { 0 };
    let column = |position: usize| batch.column(first + position);
    let int = |position: usize, row: usize| {
        let values = column(position).as_primitive::<Int64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let text = |position: usize, row: usize| {
        let values = column(position).as_string::<i32>();
        values.is_valid(row).then(|| values.value(row).to_owned())
    };
    let time = |column: usize, row| {
        batch.column(column).as_primitive::<TimestampMicrosecondType>().value(row)
    };
    let bits = |position: usize, row: usize| {
        let values = column(position).as_primitive::<Float64Type>();
        values.is_valid(row).then(|| values.value(row).to_bits())
    };
    let names = |position: usize, row: usize| {
        let lists = column(position).as_list::<i32>();
        let names = lists.is_valid(row).then(|| lists.value(row))?;
        Some(names.as_string::<i32>().iter().map(|name| name.expect("a name").to_owned()).collect())
    };
    let row = |row| model::Result {
        bounds: windowed.then(|| (time(0, row), time(1, row))),
        key: text(0, row),
        rows: int(1, row).expect("a count"),
        flagged: int(2, row).expect("a count"),
        sum: int(3, row),
        mean: bits(4, row),
        least: int(5, row),
        most: int(6, row),
        first: text(7, row),
        last: text(8, row),
        distinct: int(9, row).expect("a count"),
        exact: int(10, row).expect("a count"),
        median: bits(11, row),
        richest: text(12, row),
        poorest: names(13, row),
        tenths: bits(14, row),
        spread: bits(15, row),
        names: names(16, row),
    };
    (0..batch.num_rows()).map(row).collect()
}
