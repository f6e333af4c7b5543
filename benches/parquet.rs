//! What writing a data file costs, by encoding: CPU seconds per million rows, and bytes per row.
//!
//! `cargo bench --bench parquet` prints the table of docs/adr/0002-parquet-encodings.md. All variants write
//! the same rows (the columns of a 260 B JSON order and three metadata columns) in turn, in several rounds;
//! the least of the rounds counts, for a busy neighbour only ever adds.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use sluice::chunk::MAX_CHUNK_ROWS;
use sluice::config::{Compression, Files};
use sluice::sink::files::{FilesSpec, FilesWriter, Naming};
use uuid::Uuid;

const BATCHES: usize = 64;
/// Times that the batches are written: a million rows.
const REPEATS: usize = 2;
const ROUNDS: usize = 5;

const INTEGERS: [&str; 6] =
    ["quantity", "event_time", "amount", "kafka_partition", "kafka_offset", "kafka_timestamp"];
const FEW_VALUES: [&str; 3] = ["country", "status", "channel"];
const MANY_VALUES: [&str; 3] = ["order_id", "customer", "note"];

/// Writes the batches, and says how many bytes they became.
type WriteBatches = Box<dyn Fn(&[RecordBatch]) -> u64>;

fn main() -> io::Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let batches: Vec<RecordBatch> = (0..BATCHES).map(|i| orders(i, &mut random)).collect();
    let rows = (BATCHES * MAX_CHUNK_ROWS * REPEATS) as f64;
    let variants = variants();
    let mut best = vec![(f64::MAX, 0); variants.len()];
    for _ in 0..ROUNDS {
        for ((_, write), best) in variants.iter().zip(&mut best) {
            let before = cpu_seconds()?;
            let bytes = write(&batches);
            *best = (best.0.min(cpu_seconds()? - before), bytes);
        }
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| variant | CPU-s per million rows | bytes per row |
|---|---|---|"
    )?;
    for ((name, _), (spent, bytes)) in variants.iter().zip(best) {
        let (cpu, bytes) = (spent * 1e6 / rows, bytes as f64 / rows);
        writeln!(out, "| {name} | {cpu:.2} | {bytes:.0} |")?;
    }
    Ok(())
}

fn variants() -> Vec<(&'static str, WriteBatches)> {
    let zstd = |level| Codec::ZSTD(ZstdLevel::try_new(level).expect("a level"));
    let chunk = |codec| base(codec).set_statistics_enabled(EnabledStatistics::Chunk);
    let packed = |codec| few_dictionaries(delta_integers(chunk(codec)));
    let lengths = |codec| strings(packed(codec), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    vec![
        plain("Parquet's defaults, zstd 1", base(zstd(1))),
        plain("+ chunk statistics only", chunk(zstd(1))),
        plain("+ integers and times delta-packed", delta_integers(chunk(zstd(1)))),
        plain("+ dictionaries only for few values", packed(zstd(1))),
        plain("+ other strings DELTA_LENGTH_BYTE_ARRAY", lengths(zstd(1))),
        plain(
            "other strings DELTA_BYTE_ARRAY instead",
            strings(packed(zstd(1)), Encoding::DELTA_BYTE_ARRAY),
        ),
        plain(
            "row groups of 128 k rows",
            lengths(zstd(1)).set_max_row_group_row_count(Some(131_072)),
        ),
        plain(
            "pages without a limit of rows",
            lengths(zstd(1)).set_data_page_row_count_limit(1 << 30),
        ),
        plain("integers left uncompressed", uncompressed_integers(lengths(zstd(1)))),
        plain("no statistics", lengths(zstd(1)).set_statistics_enabled(EnabledStatistics::None)),
        plain("zstd 3", lengths(zstd(3))),
        plain("snappy", lengths(Codec::SNAPPY)),
        plain("no compression", lengths(Codec::UNCOMPRESSED)),
        ("`FilesWriter`, to a local disk, synced", Box::new(files_writer)),
    ]
}

fn base(codec: Codec) -> WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(codec).set_max_row_group_row_count(Some(1 << 20))
}

fn delta_integers(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    INTEGERS.iter().fold(builder, |builder, name| {
        builder
            .set_column_dictionary_enabled(ColumnPath::from(*name), false)
            .set_column_encoding(ColumnPath::from(*name), Encoding::DELTA_BINARY_PACKED)
    })
}

fn uncompressed_integers(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    INTEGERS.iter().fold(builder, |builder, name| {
        builder.set_column_compression(ColumnPath::from(*name), Codec::UNCOMPRESSED)
    })
}

fn few_dictionaries(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    let builder = builder.set_dictionary_enabled(false);
    let on = |builder: WriterPropertiesBuilder, name: &&str| {
        builder.set_column_dictionary_enabled(ColumnPath::from(*name), true)
    };
    FEW_VALUES.iter().fold(builder, on)
}

fn strings(builder: WriterPropertiesBuilder, encoding: Encoding) -> WriterPropertiesBuilder {
    MANY_VALUES.iter().fold(builder, |builder, name| {
        builder.set_column_encoding(ColumnPath::from(*name), encoding)
    })
}

/// Parquet's own writer into nothing.
fn plain(name: &'static str, properties: WriterPropertiesBuilder) -> (&'static str, WriteBatches) {
    let properties = properties.build();
    let write = move |batches: &[RecordBatch]| {
        let (schema, properties) = (batches[0].schema(), properties.clone());
        let mut writer =
            ArrowWriter::try_new(io::sink(), schema, Some(properties)).expect("valid properties");
        for batch in (0..REPEATS).flat_map(|_| batches) {
            writer.write(batch).expect("nothing can fail");
        }
        writer.finish().expect("nothing can fail");
        writer.bytes_written() as u64
    };
    (name, Box::new(write))
}

fn files_writer(batches: &[RecordBatch]) -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = LocalFileSystem::new_with_prefix(folder.path()).expect("it exists");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let files = Files { target_size: 1 << 30, compression: Compression::Zstd { level: 1 } };
    let mut spec = FilesSpec::plain(batches[0].schema(), &files);
    spec.local_root = Some(folder.path().to_path_buf());
    let naming = Naming { output: "bench".into(), epoch: 1, attempt: Uuid::nil() };
    let mut writer = FilesWriter::new(&spec, Arc::new(store), naming, runtime.handle().clone());
    for batch in (0..REPEATS).flat_map(|_| batches) {
        writer.write(batch).expect("a disk that works");
    }
    let files = writer.finish().expect("a disk that works");
    files.iter().map(|file| file.size_bytes).sum()
}

fn orders(batch: usize, random: &mut fastrand::Rng) -> RecordBatch {
    let rows = MAX_CHUNK_ROWS;
    let first = (batch * rows) as i64;
    let offsets = || first..first + rows as i64;
    let start = 1_790_000_000_000_000;
    let mut texts = |make: &mut dyn FnMut(&mut fastrand::Rng) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..rows).map(|_| make(random))))
    };
    let order_id = texts(&mut |r| format!("{:016x}{:016x}", r.u64(..), r.u64(..)));
    let customer = texts(&mut |r| format!("customer-{:06}", r.u32(..200_000)));
    let country =
        texts(&mut |r| ["de", "fr", "it", "es", "pl", "nl", "se"][r.usize(..7)].to_owned());
    let status =
        texts(&mut |r| ["created", "paid", "shipped", "cancelled"][r.usize(..4)].to_owned());
    let channel = texts(&mut |r| format!("channel-{:02}", r.u8(..40)));
    let note =
        texts(&mut |r| (0..8).map(|_| WORDS[r.usize(..WORDS.len())]).collect::<Vec<_>>().join(" "));
    let quantity: ArrayRef =
        Arc::new(Int32Array::from_iter_values((0..rows).map(|_| random.i32(1..20))));
    let amount =
        Decimal128Array::from_iter_values((0..rows).map(|_| i128::from(random.u32(..50_000_000))));
    let amount = amount.with_precision_and_scale(18, 4).expect("in range");
    let weight =
        Float64Array::from_iter_values((0..rows).map(|_| f64::from(random.u32(..30_000)) / 1000.0));
    let times = |step: i64, jitter: &mut dyn FnMut() -> i64| -> ArrayRef {
        let times = offsets().map(|i| start + i * step + jitter());
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let event_time = times(200, &mut || random.i64(..5_000_000) / 1000 * 1000);
    RecordBatch::try_from_iter([
        ("order_id", order_id),
        ("customer", customer),
        ("country", country),
        ("status", status),
        ("channel", channel),
        ("note", note),
        ("quantity", quantity),
        ("amount", Arc::new(amount) as ArrayRef),
        ("weight", Arc::new(weight) as ArrayRef),
        ("event_time", event_time),
        ("kafka_partition", Arc::new(Int32Array::from_value(2, rows)) as ArrayRef),
        ("kafka_offset", Arc::new(Int64Array::from_iter_values(offsets())) as ArrayRef),
        ("kafka_timestamp", times(200, &mut || 0)),
    ])
    .expect("columns of one length")
}

const WORDS: [&str; 24] = [
    "please",
    "deliver",
    "before",
    "noon",
    "ring",
    "twice",
    "leave",
    "with",
    "neighbour",
    "gift",
    "wrap",
    "fragile",
    "no",
    "invoice",
    "second",
    "floor",
    "call",
    "first",
    "urgent",
    "standard",
    "pick",
    "up",
    "refund",
    "express",
];

/// User and system time of this process.
fn cpu_seconds() -> io::Result<f64> {
    /// `sysconf(_SC_CLK_TCK)` on every Linux there is.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}
