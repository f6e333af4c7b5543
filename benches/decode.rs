//! What decoding costs: JSON records of about 260 B into chunks, against `serde_json` parsing alone.
//!
//! `cargo bench --bench decode`. Takes the best of several rounds of each, interleaved, because the machine is shared:
//! only the ratio of one run counts. Times are of the processor, not of the wall.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice::chunk::{MAX_CHUNK_ROWS, SourcePartition};
use sluice::config::{Decode, Json, MetadataColumn, Payload, TimestampFormat};
use sluice::decode::{Decoder, Schemas};
use sluice::message::Message;
use sluice::offsets::{TopicId, TopicPartition};
use sluice::schema::ddl;

const RECORDS: usize = 20 * MAX_CHUNK_ROWS;
const ROUNDS: usize = 7;
/// Over the records in a round: Linux counts a thread's time in ticks of some milliseconds.
const PASSES: usize = 8;
const SCHEMA: &str = "orderId STRING NOT NULL, customer STRING, amount DECIMAL(18,4), quantity INT, price DOUBLE, \
                      country STRING, status STRING, event_time TIMESTAMP, note STRING, tags ARRAY<STRING>";

/// How the records are written.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// No blanks, the schema's order of fields, times as numbers.
    Compact,
    /// Blanks after colons and commas (Python's default), times as ISO 8601 text.
    Spaced,
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn main() {
    for (name, style) in
        [("compact, epoch_millis", Style::Compact), ("spaced, ISO 8601", Style::Spaced)]
    {
        let records: Vec<Vec<u8>> = (0..RECORDS).map(|i| record(i, style)).collect();
        let bytes: usize = records.iter().map(Vec::len).sum();
        let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            ours = ours.min(timed(|| decode(&records, style)) / PASSES as u32);
            theirs = theirs.min(timed(|| parse(&records)) / PASSES as u32);
        }
        println!("{name}: {} B a record, {RECORDS} records, best of {ROUNDS}", bytes / RECORDS);
        for (what, time) in [("decoder to Arrow", ours), ("serde_json::Value", theirs)] {
            let nanos = time.as_nanos() as f64 / RECORDS as f64;
            println!("  {what:<18} {nanos:>6.0} ns/record  {:>6.3} s per million", nanos / 1000.0);
        }
        println!("  ratio {:.1}", theirs.as_secs_f64() / ours.as_secs_f64());
    }
}

/// The thread's time on a processor; by the clock where Linux doesn't tell.
fn timed(run: impl Fn()) -> Duration {
    let on_cpu = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    let (start, clock) = (on_cpu(), Instant::now());
    (0..PASSES).for_each(|_| run());
    let elapsed = clock.elapsed();
    start.zip(on_cpu()).map_or(elapsed, |(start, end)| end - start)
}

fn decode(records: &[Vec<u8>], style: Style) {
    let metadata = BTreeSet::from([
        MetadataColumn::Partition,
        MetadataColumn::Offset,
        MetadataColumn::Timestamp,
    ]);
    let mut decoder =
        Decoder::new(&spec(style), &Schemas::none(), &metadata, false).expect("a valid schema");
    let partition =
        SourcePartition { id: TopicPartition::new("orders", 0), topic_id: TopicId::unknown() };
    decoder.begin(Arc::new(partition), 0, None);
    for (offset, value) in (0..).zip(records) {
        let message = Message {
            offset,
            timestamp_ms: Some(1_700_000_000_000 + offset),
            key: None,
            value: Some(value),
            headers: &[],
        };
        decoder.push(&message).expect("a good record");
        if decoder.is_full() {
            black_box(decoder.finish(offset + 1));
        }
    }
    black_box(decoder.finish(records.len() as i64));
}

fn parse(records: &[Vec<u8>]) {
    for value in records {
        black_box(serde_json::from_slice::<serde_json::Value>(value).expect("JSON"));
    }
}

fn spec(style: Style) -> Decode {
    let format = match style {
        Style::Compact => TimestampFormat::EpochMillis,
        Style::Spaced => TimestampFormat::Iso8601,
    };
    Decode::new(Payload::Json(Json {
        timestamps: BTreeMap::from([("event_time".to_owned(), format)]),
        ..Json::new(ddl::parse(SCHEMA).expect("a valid schema"))
    }))
}

fn record(i: usize, style: Style) -> Vec<u8> {
    let mut random = i as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = |below: u64| {
        // xorshift64*, so that runs are alike
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    };
    let country = ["DE", "FR", "US", "JP", "BR"][next(5) as usize];
    let status = ["new", "paid", "shipped", "returned"][next(4) as usize];
    let note = "leave the parcel with a neighbour or at the back door, ring twice";
    let note = &note[..30 + next(35) as usize];
    let time = match style {
        Style::Compact => (1_700_000_000_000 + next(86_400_000)).to_string(),
        Style::Spaced => format!(
            "\"2024-03-{:02}T{:02}:{:02}:07.{:03}Z\"",
            1 + next(30),
            next(24),
            next(60),
            next(1000)
        ),
    };
    let text = format!(
        "{{\"orderId\":\"o-{:09}\",\"customer\":\"customer-{}\",\"amount\":{}.{:02},\"quantity\":{},\"price\":{}.{:02},\
         \"country\":\"{country}\",\"status\":\"{status}\",\"event_time\":{time},\"note\":\"{note}\",\"tags\":[\"a{}\",\"b\"]}}",
        i,
        next(100_000),
        next(10_000),
        next(100),
        1 + next(20),
        next(500),
        next(100),
        next(10),
    );
    let spaced = style == Style::Spaced;
    let text = if spaced { text.replace("\":", "\": ").replace(",\"", ", \"") } else { text };
    text.into_bytes()
}
