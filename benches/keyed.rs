//! What a commit by key costs as the table grows: CPU seconds, bytes read and written, wall time.
//!
//! `cargo bench --bench keyed` prints the tables of docs/reference/modes.md. Each line is the mean of some commits to
//! a table on a local disk, whose rows are about 150 B as JSON; "apart" are keys that lie anywhere in the table, "near" are
//! keys among the newest 2 %, as those of orders that are still open.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use sluice::chunk::MAX_CHUNK_ROWS;
use sluice::config::{
    Compression, CreateTable, Files, Mode, SchemaEvolution, Storage, TableLocation,
};
use sluice::engine::{Table, TableSpec};
use sluice::schema::{Origins, ddl};
use sluice::sink::keyed::{Changes, KeyedCounts};
use sluice::sink::progress::Owner;

const COLUMNS: &str = "id BIGINT NOT NULL, customer BIGINT, country STRING, amount DECIMAL(18,4), note STRING, \
                       changed_at TIMESTAMP";
const COUNTRIES: [&str; 8] = ["DE", "FR", "NL", "PL", "ES", "IT", "SE", "AT"];
const FILL: u64 = 500_000;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| mode | table | target size | changes | keys | files read | files written again | rows copied | MB read | \
         MB written | CPU-s | s |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    let sizes = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let mut sizes: Vec<u64> = sizes.collect();
    if sizes.is_empty() {
        sizes = vec![200_000, 1_000_000, 2_000_000];
    }
    for rows in sizes {
        for (mode, target_mib, changes, keys, commits) in [
            (Word::Upsert, 128, 50_000, Keys::Apart, 3),
            (Word::Upsert, 128, 1_000, Keys::Apart, 3),
            (Word::Upsert, 128, 1_000, Keys::Near, 5),
            (Word::Upsert, 16, 1_000, Keys::Near, 5),
            (Word::Upsert, 16, 50_000, Keys::Near, 3),
            (Word::Upsert, 128, 50_000, Keys::New, 5),
            (Word::InsertNew, 128, 50_000, Keys::New, 5),
            (Word::InsertNew, 128, 50_000, Keys::Apart, 3),
        ] {
            let case = Case { mode, rows, target_mib, changes, keys, commits };
            let cost = runtime.block_on(case.run())?;
            writeln!(out, "{}", case.line(&cost))?;
            out.flush()?;
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Word {
    InsertNew,
    Upsert,
}

#[derive(Debug, Clone, Copy)]
enum Keys {
    Apart,
    Near,
    New,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    mode: Word,
    rows: u64,
    target_mib: u64,
    changes: u64,
    keys: Keys,
    commits: u32,
}

/// Of all commits.
#[derive(Default)]
struct Cost {
    counts: KeyedCounts,
    cpu_seconds: f64,
    seconds: f64,
    read: u64,
    written: u64,
}

impl Case {
    async fn run(self) -> io::Result<Cost> {
        let folder = tempfile::tempdir()?;
        let mut table = self.open(folder.path()).await;
        let mut random = fastrand::Rng::with_seed(1);
        for from in (0..self.rows).step_by(FILL as usize) {
            let ids: Vec<i64> = (from..self.rows.min(from + FILL)).map(|id| id as i64).collect();
            merge(&mut table, &ids, &mut random).await;
        }
        let (mut cost, mut next) = (Cost::default(), self.rows);
        for _ in 0..self.commits {
            let ids = self.ids(&mut next, &mut random);
            let (cpu, begun, (read, written)) = (cpu_seconds()?, Instant::now(), bytes_moved()?);
            cost.counts.add(&merge(&mut table, &ids, &mut random).await);
            cost.cpu_seconds += cpu_seconds()? - cpu;
            cost.seconds += begun.elapsed().as_secs_f64();
            let after = bytes_moved()?;
            cost.read += after.0 - read;
            cost.written += after.1 - written;
        }
        table.close().await;
        Ok(cost)
    }

    async fn open(self, folder: &std::path::Path) -> Table {
        let schema = ddl::parse(COLUMNS).expect("valid");
        let url = url::Url::from_directory_path(folder).expect("an absolute path");
        let key = vec!["id".to_owned()];
        let mode = match self.mode {
            Word::InsertNew => Mode::InsertNew { key },
            Word::Upsert => Mode::Upsert { key },
        };
        let files = Files {
            target_size: self.target_mib << 20,
            compression: Compression::Zstd { level: 1 },
        };
        let spec = TableSpec {
            owner: Owner::output("bench", "orders"),
            location: &TableLocation { url, as_written: "orders".to_owned() },
            storage: &Storage::default(),
            schema: schema.arrow(),
            partition_by: &[],
            mode: &mode,
            evolution: SchemaEvolution::Fail,
            origins: Origins::NONE,
            create: CreateTable::IfMissing,
            properties: &BTreeMap::new(),
            files: &files,
            config: "bench",
        };
        Table::open(&spec).await.expect("a local table")
    }

    fn ids(self, next: &mut u64, random: &mut fastrand::Rng) -> Vec<i64> {
        // Near ones: the newest 2 % of the table.
        let near = self.rows - self.rows / 50;
        let ids = (0..self.changes).map(|n| match self.keys {
            Keys::Apart => random.u64(0..self.rows),
            Keys::Near => random.u64(near..self.rows),
            Keys::New => *next + n,
        });
        let ids = ids.map(|id| id as i64).collect();
        *next += self.changes;
        ids
    }

    fn line(self, cost: &Cost) -> String {
        let Self { mode, rows, target_mib, changes, keys, commits } = self;
        let each = |total: u64| total / u64::from(commits);
        let mb = |total: u64| total as f64 / 1e6 / f64::from(commits);
        let (mode, keys) = match (mode, keys) {
            (Word::Upsert, Keys::Apart) => ("upsert", "apart"),
            (Word::Upsert, Keys::Near) => ("upsert", "near"),
            (Word::Upsert, Keys::New) => ("upsert", "new"),
            (Word::InsertNew, Keys::Apart) => ("insert_new", "apart"),
            (Word::InsertNew, Keys::Near) => ("insert_new", "near"),
            (Word::InsertNew, Keys::New) => ("insert_new", "new"),
        };
        let c = &cost.counts;
        format!(
            "| {mode} | {rows} | {target_mib} MiB | {changes} | {keys} | {} | {} | {} | {:.1} | {:.1} | {:.2} | {:.2} |",
            each(c.files_read),
            each(c.files_rewritten),
            each(c.copied),
            mb(cost.read),
            mb(cost.written),
            cost.cpu_seconds / f64::from(commits),
            cost.seconds / f64::from(commits),
        )
    }
}

async fn merge(table: &mut Table, ids: &[i64], random: &mut fastrand::Rng) -> KeyedCounts {
    let mut changes = Changes::default();
    for ids in ids.chunks(MAX_CHUNK_ROWS) {
        changes.push(rows(ids, random), None);
    }
    let merged = table.merge(changes).await.expect("a table that nobody else writes to");
    let counts = merged.counts;
    table.commit_merged(Vec::new(), merged).await.expect("as above");
    counts
}

fn rows(ids: &[i64], random: &mut fastrand::Rng) -> RecordBatch {
    let text = |random: &mut fastrand::Rng| {
        format!("please ring twice {:016x}{:016x}", random.u64(..), random.u64(..))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        Arc::new(Int64Array::from_iter_values(ids.iter().map(|_| random.i64(0..100_000)))),
        Arc::new(StringArray::from_iter_values(ids.iter().map(|_| COUNTRIES[random.usize(..8)]))),
        Arc::new(
            Decimal128Array::from_iter_values(ids.iter().map(|_| i128::from(random.u32(..))))
                .with_precision_and_scale(18, 4)
                .expect("it fits"),
        ),
        Arc::new(StringArray::from_iter_values(ids.iter().map(|_| text(random)))),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(
                ids.iter().map(|_| 1_760_000_000_000_000 + random.i64(0..1_000_000_000_000)),
            )
            .with_timezone("UTC"),
        ),
    ];
    let schema = ddl::parse(COLUMNS).expect("valid").arrow().clone();
    RecordBatch::try_new(schema, columns).expect("the columns")
}

/// Bytes read and written by this process so far, by its system calls.
fn bytes_moved() -> io::Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let value = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
    };
    Ok((value("rchar:"), value("wchar:")))
}

/// User and system time of this process so far.
fn cpu_seconds() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15, in ticks of 10 ms.
    Ok((ticks(11) + ticks(12)) / 100.0)
}
