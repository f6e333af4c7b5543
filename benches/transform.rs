//! What `select` and `where` cost per record: chunks of the same records as in `decode`, half of them kept.
//!
//! `cargo bench --bench transform`. Times are of the processor; only the ratio of one run counts.

mod timing;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use sluice::chunk::MAX_CHUNK_ROWS;
use sluice::transform::Plan;
use timing::timed;

const CHUNKS: usize = 50;
const ROUNDS: usize = 9;

const CASES: [(&str, Option<&str>, Option<&str>); 5] = [
    ("*", Some("*"), None),
    (
        "*, CAST(event_time AS DATE) AS event_date",
        Some("*, CAST(event_time AS DATE) AS event_date"),
        None,
    ),
    ("where amount > 0", None, Some("amount > 0")),
    ("both", Some("*, CAST(event_time AS DATE) AS event_date"), Some("amount > 0")),
    (
        "five expressions",
        Some(
            "orderId, amount * 1.19 AS gross, upper(country) AS country, quantity + 1 AS next, \
              CASE WHEN quantity <> 0 THEN amount / quantity END AS each",
        ),
        None,
    ),
];

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn main() {
    let chunk = chunk();
    for (name, select, filter) in CASES {
        let plan = Plan::new(&chunk.schema(), select, filter).expect("a plan");
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            best = best.min(timed(|| {
                for _ in 0..CHUNKS {
                    black_box(apply(&plan, &chunk));
                }
            }));
        }
        let nanos = best.as_nanos() as f64 / (CHUNKS * MAX_CHUNK_ROWS) as f64;
        println!("{name:<44} {nanos:>7.1} ns/record  {:>6.3} s per million", nanos / 1000.0);
    }
    let start = Instant::now();
    for _ in 0..100 {
        black_box(Plan::new(&chunk.schema(), CASES[4].1, CASES[3].2).expect("a plan"));
    }
    println!("planning: {:.2} ms", start.elapsed().as_secs_f64() * 10.0);
}

fn apply(plan: &Plan, chunk: &RecordBatch) -> RecordBatch {
    match plan.filter(chunk).expect("no failure") {
        Some(kept) => plan.select(&filter_record_batch(chunk, &kept).expect("a mask")),
        None => plan.select(chunk),
    }
    .expect("no failure")
}

fn chunk() -> RecordBatch {
    let rows = 0..MAX_CHUNK_ROWS as i64;
    let text = |make: fn(i64) -> String| -> ArrayRef {
        Arc::new(rows.clone().map(|i| Some(make(i))).collect::<StringArray>())
    };
    let amount: Decimal128Array = rows.clone().map(|i| Some(i128::from(i % 2) * 105_000)).collect();
    let amount = amount.with_precision_and_scale(18, 4).expect("a valid type");
    let time: TimestampMicrosecondArray =
        rows.clone().map(|i| Some(1_790_000_000_000_000 + i * 1_000_003)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("orderId", text(|i| format!("order-{i:08}"))),
        ("country", text(|i| ["de", "fr", "nl", "pl"][(i % 4) as usize].into())),
        ("note", text(|i| format!("the quick brown fox {i}"))),
        ("amount", Arc::new(amount)),
        ("quantity", Arc::new(rows.clone().map(|i| Some(i % 7)).collect::<Int64Array>())),
        ("event_time", Arc::new(time.with_timezone("UTC"))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}
