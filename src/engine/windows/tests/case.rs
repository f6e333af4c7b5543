//! Random topics with random ways through them, mishaps included.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use url::Url;

use crate::config::{
    Aggregate, Compression, CreateTable, Decode, Deduplicate, DuplicateOrder, Emit, Files, Gap,
    LateRows, MeasureSpec, MetadataColumn, Mode, Output, Payload, SchemaEvolution, State,
    StateBackend, Storage, TableLocation, Watermark, Window,
};
use crate::sink::testing::Fault;
use crate::transform::window::tests::case::{Case, Windowing, cases};
use crate::transform::window::tests::run::Distinct;

/// What the topic becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    /// Rows of windows, once they are closed.
    Closed,
    /// The same, and before that their current values; `slow`: when windows are closed, or at the end.
    Changes { slow: bool },
    /// Rows, of which duplicates are dropped.
    Distinct(DuplicateOrder),
    /// Windows of these.
    DistinctWindows { order: DuplicateOrder, changes: bool },
}

impl Becomes {
    /// The table has open windows at once.
    pub(super) fn shows_open(self) -> bool {
        matches!(self, Self::Changes { .. } | Self::DistinctWindows { changes: true, .. })
    }
}

/// Steps are those of one of two instances, which are started when they are first needed. Each takes itself for the only one.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Reads some rows of a partition into the epoch under way.
    Read { by: usize, partition: usize, rows: usize },
    /// Ends the epoch: it waits for its commit while the next one is read.
    Finish { by: usize, toggled: BTreeSet<usize> },
    /// Commits the epoch that waits, and before that finishes it.
    Commit { by: usize, mishap: Mishap },
    /// Whatever it has in memory is gone.
    Crash { by: usize },
    /// Another writer puts the rows of some files into one.
    Optimize(Rewrite),
}

/// What goes wrong with a commit.
#[derive(Debug, Clone)]
pub(super) enum Mishap {
    None,
    /// The put of the state object meets this.
    State(Fault),
    /// The puts of the log entry meet these.
    Entry(Vec<Fault>),
    /// No answer, however often it is tried, and the entry lands when nobody waits for it any more.
    Late,
    /// So many reads fail.
    Reads(u32),
    /// Another writer is faster.
    Raced(Rewrite),
}

/// An OPTIMIZE of the live files whose number has its bit set; all of them if none has.
#[derive(Debug, Clone)]
pub(super) struct Rewrite {
    pub(super) files: u16,
    /// It says no more of the file than how many rows there are.
    pub(super) without_stats: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) case: Case,
    pub(super) becomes: Becomes,
    /// By the key, if windows are what it has.
    pub(super) partitioned: bool,
    /// There is a checkpoint after every third version.
    pub(super) checkpoints: bool,
    pub(super) events: Vec<Event>,
}

pub(super) fn stories(
    windowing: impl Strategy<Value = Windowing>,
    becomes: impl Strategy<Value = Becomes>,
) -> impl Strategy<Value = Story> {
    let events = prop::collection::vec(event(), 0..30);
    let table = (prop::bool::weighted(0.3), prop::bool::weighted(0.1));
    (cases(windowing, true), becomes, table, events).prop_map(
        |(case, becomes, (partitioned, checkpoints), events)| {
            // The way is told by the events.
            let case = Case { steps: Vec::new(), ..case };
            let partitioned = partitioned && !matches!(becomes, Becomes::Distinct(_));
            Story { case, becomes, partitioned, checkpoints, events }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    const PARTITIONS: usize = 3;
    let by = || prop_oneof![4 => Just(0_usize), 1 => Just(1)];
    let toggled = prop::collection::btree_set(0..PARTITIONS, 0..=PARTITIONS);
    prop_oneof![
        10 => (by(), 0..PARTITIONS, 1..12_usize)
            .prop_map(|(by, partition, rows)| Event::Read { by, partition, rows }),
        3 => (by(), toggled).prop_map(|(by, toggled)| Event::Finish { by, toggled }),
        6 => (by(), mishap()).prop_map(|(by, mishap)| Event::Commit { by, mishap }),
        1 => by().prop_map(|by| Event::Crash { by }),
        1 => rewrite().prop_map(Event::Optimize),
    ]
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        8 => Just(Mishap::None),
        1 => fault().prop_map(Mishap::State),
        3 => prop::collection::vec(fault(), 1..6).prop_map(Mishap::Entry),
        1 => Just(Mishap::Late),
        1 => (1..4_u32).prop_map(Mishap::Reads),
        1 => rewrite().prop_map(Mishap::Raced),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    use Fault::*;
    let all = [
        Refused,
        TimeoutBefore,
        TimeoutAfter,
        Conflict,
        PreconditionAfter,
        ServerError,
        CutThenLands,
    ];
    prop::sample::select(all.to_vec())
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    (any::<u16>(), any::<bool>())
        .prop_map(|(files, without_stats)| Rewrite { files, without_stats })
}

impl Story {
    /// As it would be configured.
    pub(super) fn output(&self, backend: &StateBackend) -> Output {
        let url = Url::parse("memory:///story/").expect("a URL");
        let (aggregate, deduplicate) = match self.becomes {
            Becomes::Closed => (Some(self.aggregate(Emit::Final)), None),
            Becomes::Changes { slow } => {
                let every = Duration::from_secs(if slow { 3_600 } else { 0 });
                (Some(self.aggregate(Emit::Changes { every })), None)
            }
            Becomes::Distinct(order) => {
                let Windowing::Session { gap } = self.case.windowing else {
                    unreachable!("as it is made")
                };
                (None, Some(self.deduplicate(order, "key", gap)))
            }
            Becomes::DistinctWindows { order, changes } => {
                let every = Duration::ZERO;
                let emit = if changes { Emit::Changes { every } } else { Emit::Final };
                let before = self.deduplicate(order, Distinct::KEY, self.distinct(order).within);
                (Some(self.aggregate(emit)), Some(before))
            }
        };
        Output {
            name: "story".to_owned(),
            topics: None,
            decode: Arc::new(Decode::new(Payload::Bytes)),
            table: TableLocation { url, as_written: "memory:///story".to_owned() },
            per_topic: false,
            storage: Storage::default(),
            create: CreateTable::IfMissing,
            select: aggregate.is_none().then(|| "place".to_owned()),
            filter: Some("kept".to_owned()),
            mode: match self.becomes.shows_open() {
                true => Mode::OpenWindows,
                false => Mode::Append,
            },
            aggregate,
            deduplicate,
            state: State {
                backend: backend.clone(),
                retention: Duration::from_secs(3_600),
                max_bytes: u64::MAX,
            },
            schema_evolution: SchemaEvolution::Fail,
            partition_by: self.partitioned.then(|| "key".to_owned()).into_iter().collect(),
            metadata_columns: vec![MetadataColumn::Timestamp],
            files: Files { target_size: 1 << 30, compression: Compression::None },
            table_properties: self.checkpoints.then(interval).into_iter().collect(),
        }
    }

    fn aggregate(&self, emit: Emit) -> Aggregate {
        let measure = |(name, text): (&str, &str)| MeasureSpec {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let measures = [
            ("rows", "count(*)"),
            ("sum", "sum(amount)"),
            ("first", "first(name)"),
            ("last", "last(name)"),
        ];
        Aggregate {
            watermark: self.watermark(),
            window: window(self.case.windowing),
            group_by: vec!["key".to_owned()],
            measures: measures.map(measure).into(),
            epoch_column: None,
            emit,
            late_rows: LateRows::Drop,
        }
    }

    /// The step before windows.
    pub(super) fn distinct(&self, order: DuplicateOrder) -> Distinct {
        Distinct { within: 7 * self.case.windowing.unit(), first: order.into() }
    }

    fn deduplicate(&self, order: DuplicateOrder, key: &str, within: i64) -> Deduplicate {
        Deduplicate {
            keys: vec![key.to_owned()],
            within: micros(within),
            order,
            keeps_late_rows: false,
            watermark: self.watermark(),
        }
    }

    fn watermark(&self) -> Watermark {
        Watermark {
            column: "time".to_owned(),
            delay: micros(self.case.delay),
            // Whoever is at its end is idle: which is told by the ends that are given out.
            idle_timeout: Some(Duration::ZERO),
            max_future: self.case.max_future.map(micros),
            max_ahead: None,
        }
    }
}

fn window(windowing: Windowing) -> Window {
    const DAY: i64 = 86_400_000_000;
    match windowing {
        Windowing::Sliding { size, slide, offset } => Window::Sliding {
            size: micros(size),
            slide: micros(slide),
            offset: micros(offset.rem_euclid(slide)),
            timezone: None,
        },
        Windowing::Days { size, slide, zone } => Window::Sliding {
            size: micros(size * DAY),
            slide: micros(slide * DAY),
            offset: Duration::ZERO,
            timezone: Some(zone),
        },
        Windowing::Session { gap } => Window::Session { gap: Gap::Fixed(micros(gap)) },
        Windowing::OwnGaps { gap } => {
            let units = format!("{gap} * (1 + (amount % 3 + 3) % 3)");
            let seconds = format!("CAST({units} AS DOUBLE) / 1000000");
            Window::Session { gap: Gap::OfRecord { seconds } }
        }
        Windowing::Unbounded => Window::None,
    }
}

fn interval() -> (String, String) {
    ("delta.checkpointInterval".to_owned(), "3".to_owned())
}

fn micros(length: i64) -> Duration {
    Duration::from_micros(length.unsigned_abs())
}
