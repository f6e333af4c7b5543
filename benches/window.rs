//! What windows cost per record: counts and sums over a thousand keys, rows out of order by up to half a minute; and over
//! keys that are all different, where each row is a state of its own.
//!
//! `cargo bench --bench window`. Times are of the processor; the bar is 0.15 CPU-s per million for the first case.

mod timing;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use sluice::chunk::{MAX_CHUNK_ROWS, SourcePartition};
use sluice::offsets::{TopicId, TopicPartition};
use sluice::transform::window::{
    Aligned, Argument, CountedRows, Decisions, Function, Gap, Kind, Lateness, Measure, Times,
    WindowError, WindowPlan, Windows,
};
use timing::timed;

const ROUNDS: usize = 7;
const EPOCHS: usize = 5;
const CHUNKS: usize = 25;
const KEYS: i64 = 1_000;
const MANY_KEYS: i64 = 1 << 40;
const SECOND: i64 = 1_000_000;
/// Rows per second of event time.
const RATE: i64 = 5_000;

struct Rows {
    times: Int64Array,
    stamps: Int64Array,
    offsets: Int64Array,
    keys: ArrayRef,
    amounts: ArrayRef,
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn main() {
    let aligned = |size, slide| Kind::Aligned(Aligned::new(size, slide, 0, None).expect("valid"));
    let cases = [
        ("tumbling 1 min", aligned(60 * SECOND, 60 * SECOND), KEYS),
        ("sliding 5 min, 1 min", aligned(300 * SECOND, 60 * SECOND), KEYS),
        ("session 1 s", Kind::Session(Gap::Fixed(SECOND)), KEYS),
        ("none", Kind::Unbounded, KEYS),
        ("tumbling, keys differ", aligned(60 * SECOND, 60 * SECOND), MANY_KEYS),
    ];
    for (name, kind, keys) in cases {
        let chunks: Vec<_> = (0..EPOCHS * CHUNKS).map(|chunk| rows(chunk, keys)).collect();
        let mut best = Duration::MAX;
        let mut closed = 0;
        for _ in 0..ROUNDS {
            best = best.min(timed(|| closed = run(&kind, &chunks)));
        }
        let nanos = best.as_nanos() as f64 / (EPOCHS * CHUNKS * MAX_CHUNK_ROWS) as f64;
        let seconds = nanos / 1000.0;
        println!("{name:<24} {nanos:>7.1} ns/record {seconds:>7.3} s per million, {closed} closed");
    }
}

fn run(kind: &Kind, chunks: &[Rows]) -> usize {
    let measures = vec![
        Measure::new("orders", Function::Count, None).expect("a measure"),
        Measure::new("revenue", Function::Sum, Some(&DataType::Int64)).expect("a measure"),
    ];
    let keys = vec![Arc::new(Field::new("country", DataType::Utf8, true))];
    let lateness = Lateness { delay: 60 * SECOND, max_future: Some(3_600 * SECOND) };
    let plan = WindowPlan::new(kind.clone(), lateness, keys, measures).expect("a plan");
    let partition =
        SourcePartition { id: TopicPartition::new("orders", 0), topic_id: TopicId::unknown() };
    let mut windows = Windows::new(Arc::new(plan));
    let mut closed = 0;
    for epoch_chunks in chunks.chunks(CHUNKS) {
        let mut epoch = windows.begin().expect("accumulators");
        for rows in epoch_chunks {
            let times = Times {
                event: &rows.times,
                record: &rows.stamps,
                kept: None,
                late: None,
                gaps: None,
            };
            let judged = epoch.judge(&partition, times);
            assert!(judged.counted().is_none(), "no row is late");
            let arguments = [
                Argument { values: None, filter: None },
                Argument { values: Some(Arc::clone(&rows.amounts)), filter: None },
            ];
            let rows = CountedRows {
                partition: &partition,
                offsets: &rows.offsets,
                distinct: &[],
                keys: &[Arc::clone(&rows.keys)],
                arguments: &arguments,
            };
            epoch.add(judged, rows).expect("accumulators");
        }
        let finished = windows.finish(epoch, &Decisions::default(), |rows| {
            closed += black_box(rows).num_rows();
            Ok::<_, WindowError>(())
        });
        let finished = finished.expect("no overflow");
        windows.commit(finished.next).expect("in memory");
    }
    closed
}

fn rows(chunk: usize, keys: i64) -> Rows {
    let mut random = fastrand::Rng::with_seed(chunk as u64);
    let from = (chunk * MAX_CHUNK_ROWS) as i64;
    let offsets = || from..from + MAX_CHUNK_ROWS as i64;
    let time = |offset| 1_790_000_000 * SECOND + offset * SECOND / RATE;
    let times: Int64Array =
        offsets().map(|offset| Some(time(offset) - random.i64(0..30 * SECOND))).collect();
    let keys: StringArray =
        offsets().map(|_| Some(format!("country-{}", random.i64(0..keys)))).collect();
    let amounts: Int64Array = offsets().map(|_| Some(random.i64(0..1_000_000))).collect();
    Rows {
        times,
        stamps: offsets().map(|offset| Some(time(offset))).collect(),
        offsets: offsets().map(Some).collect(),
        keys: Arc::new(keys),
        amounts: Arc::new(amounts),
    }
}
