//! The proof over the rows themselves: no offset is in the table more often than the log covers it.
//!
//! [`Coverage`] gathers from the kept log which offsets were committed; [`look`] reads the coordinates that rows keep
//! (`kafka_topic`, `kafka_partition`, `kafka_offset`) back from every live file and holds them against it. Memory is
//! bounded: one bit per committed offset, at most [`PASS_BITS`] at a time; a larger table is read in several passes.
//! Where rows are replaced by key, [`keys`] looks besides whether a key has two rows.
//! Of the files, a path and a size each are held. Says by name what it couldn't look at.

mod coverage;
pub(super) mod keys;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use delta_kernel::expressions::Predicate;
use delta_kernel::scan::state::ScanFile;
use delta_kernel::{DeltaResult, Engine, Error as KernelError, Expression};
use futures::TryStreamExt;
use object_store::path::Path;
use serde::Serialize;

pub use self::coverage::Coverage;
use self::coverage::{Pass, Place};
use super::error::SinkError;
use super::log::TableLog;
use super::maintenance::in_kernel;
use super::scan::{self, TableScan};
use super::store::TableStore;

/// Offsets held at a time: 128 MiB of bits.
pub const PASS_BITS: u64 = 1 << 30;

/// Findings of one kind that are told one by one.
const EXAMPLES: usize = 10;

pub(super) const TOPIC: &str = "kafka_topic";
pub(super) const PARTITION: &str = "kafka_partition";
pub(super) const OFFSET: &str = "kafka_offset";

/// What the rows prove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeepReport {
    pub files: u64,
    /// Rows whose coordinates were read.
    pub rows: u64,
    /// Rows that the commits counted, where the kept log tells.
    pub expected_rows: u64,
    /// Where rows are replaced by key: rows beyond the first of their key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated_keys: Option<u64>,
    /// Rows whose offset is there more often than it was committed.
    pub duplicates: u64,
    /// Rows whose offset is in no commit.
    pub outside: u64,
    /// Rows from before what the kept log tells: neither inside nor outside of it.
    pub before_log: u64,
    pub findings: Vec<String>,
    /// What could not be looked at, or explains a difference.
    pub notes: Vec<String>,
}

impl DeepReport {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Reads all rows' coordinates of one version and compares them.
///
/// # Errors
/// When the store can't be reached. A data file that is missing or broken is a finding.
pub async fn look(
    store: &TableStore,
    log: &TableLog,
    coverage: Coverage,
) -> Result<DeepReport, SinkError> {
    look_in_passes(store, log, coverage, PASS_BITS).await
}

async fn look_in_passes(
    store: &TableStore,
    log: &TableLog,
    coverage: Coverage,
    pass_bits: u64,
) -> Result<DeepReport, SinkError> {
    let version = log.version();
    let metadata = log.metadata().clone();
    let mut report = DeepReport::default();
    let files = in_kernel(store, move |engine| sizes(engine, version)).await?;
    report.files = files.len() as u64;
    damaged(store, files, &mut report.findings).await?;
    if !report.is_clean() {
        report.notes.push("the rows were not read: a data file is missing or damaged".to_owned());
        return Ok(report);
    }
    in_kernel(store, move |engine| {
        if let Some(key) = coverage.key() {
            let keys = keys::look(engine.clone(), version, &metadata, key, keys::PASS_KEYS)?;
            keys.tell(coverage.has_other_rows(), &mut report);
        }
        let columns = Columns::of(&*engine, version, &coverage, &mut report.notes)?;
        let Some(columns) = columns else {
            return Ok(report);
        };
        let looking = Looking { engine, version, columns };
        for pass in coverage.passes(pass_bits) {
            if !looking.pass(pass, &coverage, &mut report)? {
                return Ok(report);
            }
        }
        coverage.compare(&mut report);
        Ok(report)
    })
    .await
}

/// The live files' sizes as the log has them, by path.
fn sizes(engine: Arc<dyn Engine>, version: u64) -> DeltaResult<HashMap<String, u64>> {
    let scan = TableScan::new(engine, version, &[], None)?;
    let size = |file: ScanFile| (file.path, file.size.unsigned_abs());
    scan.files()?.map(|file| file.map(size)).collect()
}

/// Tells of live files that are not there, or not of the size that the log says.
async fn damaged(
    store: &TableStore,
    mut files: HashMap<String, u64>,
    findings: &mut Vec<String>,
) -> Result<(), SinkError> {
    // Other tables' files (of a shallow clone) are not listed here.
    files.retain(|path, _| !path.contains("://"));
    let mut by_location: HashMap<Path, (String, u64)> = files
        .into_iter()
        .filter_map(|(path, size)| Some((Path::from_url_path(&path).ok()?, (path, size))))
        .collect();
    let mut wrong = Vec::new();
    let mut listing = store.objects().list(None);
    let failed = |e| store.failed("the table's files cannot be listed", e);
    while let Some(object) = listing.try_next().await.map_err(failed)? {
        if let Some((path, size)) = by_location.remove(&object.location)
            && size != object.size
        {
            let there = object.size;
            wrong.push(format!("{path}: the log says {size} bytes, there are {there}"));
        }
    }
    let missing = by_location.into_values();
    wrong.extend(missing.map(|(path, _)| format!("{path}: the data file is not there")));
    wrong.sort_unstable();
    tell(findings, wrong, "data files");
    Ok(())
}

fn tell(findings: &mut Vec<String>, mut all: Vec<String>, what: &str) {
    let more = all.len().saturating_sub(EXAMPLES);
    all.truncate(EXAMPLES);
    findings.append(&mut all);
    if more > 0 {
        findings.push(format!("and {more} more {what}"));
    }
}

/// Which coordinates the rows keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    pub(super) topic: bool,
}

impl Columns {
    /// `None`: too little to tell offsets apart; `notes` says what is missing.
    fn of(
        engine: &dyn Engine,
        version: u64,
        coverage: &Coverage,
        notes: &mut Vec<String>,
    ) -> DeltaResult<Option<Self>> {
        let schema = scan::schema(engine, version)?;
        let has = |name: &str| schema.field(name).is_some();
        let missing: Vec<_> = [PARTITION, OFFSET].into_iter().filter(|name| !has(name)).collect();
        if !missing.is_empty() {
            let missing = missing.join(" and ");
            notes.push(format!("the rows were not compared: the table has no column {missing}"));
            return Ok(None);
        }
        if !has(TOPIC) && coverage.topics() > 1 {
            notes.push(format!(
                "the rows were not compared: {} topics, and no column {TOPIC} to tell them apart",
                coverage.topics()
            ));
            return Ok(None);
        }
        Ok(Some(Self { topic: has(TOPIC) }))
    }

    pub(super) fn names(self) -> Vec<&'static str> {
        let topic = self.topic.then_some(TOPIC);
        topic.into_iter().chain([PARTITION, OFFSET]).collect()
    }
}

struct Looking {
    engine: Arc<dyn Engine>,
    version: u64,
    columns: Columns,
}

impl Looking {
    /// Reads the files that can hold offsets of one pass; `false`: a file can't be read, and that has been told.
    fn pass(
        &self,
        mut pass: Pass,
        coverage: &Coverage,
        report: &mut DeepReport,
    ) -> DeltaResult<bool> {
        let columns = self.columns.names();
        let predicate = pass.limits().map(|(first, end)| {
            let offset = || Expression::column([OFFSET]);
            Predicate::and_from([
                Predicate::ge(offset(), Expression::literal(first)),
                Predicate::lt(offset(), Expression::literal(end)),
            ])
        });
        let scan = TableScan::new(self.engine.clone(), self.version, &columns, predicate)?;
        let mut wrong = Wrong::default();
        for file in scan.files()? {
            let file = file?;
            let mut shape = Ok(());
            let read = scan.read(&file, |rows| {
                if shape.is_ok() {
                    shape = self.take(rows, &file.path, &mut pass, coverage, report, &mut wrong);
                }
            });
            if let Err(error) = read.and(shape) {
                if !is_of_the_file(&error) {
                    return Err(error);
                }
                report.findings.push(format!("{}: cannot be read: {error}", file.path));
                return Ok(false);
            }
        }
        tell(&mut report.findings, wrong.twice, "rows that are there too often");
        if !coverage.explains(report.outside) {
            tell(&mut report.findings, wrong.outside, "rows with offsets in no commit");
        }
        Ok(true)
    }

    fn take(
        &self,
        rows: &RecordBatch,
        path: &str,
        pass: &mut Pass,
        coverage: &Coverage,
        report: &mut DeepReport,
        wrong: &mut Wrong,
    ) -> DeltaResult<()> {
        let coordinates = Coordinates::of(rows, self.columns)?;
        let mut last: Option<(&str, i64, Option<usize>)> = None;
        for row in 0..rows.num_rows() {
            let (topic, partition, offset) = coordinates.row(row);
            let lane = match last {
                Some((t, p, lane)) if t == topic && p == partition => lane,
                _ => coverage.lane(topic, partition, self.columns.topic),
            };
            last = Some((topic, partition, lane));
            let place = lane.map_or(Place::Outside, |lane| pass.take(lane, offset));
            let name = || format!("{path}: {topic}/{partition} offset {offset}");
            match place {
                Place::Inside => report.rows += 1,
                Place::Twice => {
                    report.rows += 1;
                    report.duplicates += 1;
                    wrong
                        .twice
                        .push_few(|| format!("{} is there more often than committed", name()));
                }
                Place::OtherPass => {}
                Place::BeforeLog => report.before_log += u64::from(pass.is_first()),
                Place::Outside if pass.is_first() => {
                    report.outside += 1;
                    wrong.outside.push_few(|| format!("{} is in no commit", name()));
                }
                Place::Outside => {}
            }
        }
        Ok(())
    }
}

/// Findings by kind, some of them in words.
#[derive(Default)]
struct Wrong {
    twice: Vec<String>,
    outside: Vec<String>,
}

trait PushFew {
    fn push_few(&mut self, text: impl FnOnce() -> String);
}

impl PushFew for Vec<String> {
    /// All are counted in the report; a handful is told in words.
    fn push_few(&mut self, text: impl FnOnce() -> String) {
        if self.len() < EXAMPLES {
            self.push(text());
        }
    }
}

/// A batch's coordinates.
pub(super) struct Coordinates {
    topic: Option<arrow::array::ArrayRef>,
    partition: arrow::array::ArrayRef,
    offset: arrow::array::ArrayRef,
}

impl Coordinates {
    pub(super) fn of(rows: &RecordBatch, columns: Columns) -> DeltaResult<Self> {
        let at = usize::from(columns.topic);
        let topic = columns.topic.then(|| cast(rows.column(0), &DataType::Utf8)).transpose()?;
        Ok(Self {
            topic,
            partition: cast(rows.column(at), &DataType::Int64)?,
            offset: cast(rows.column(at + 1), &DataType::Int64)?,
        })
    }

    /// −1 where another writer left a coordinate out: no offset of ours.
    pub(super) fn row(&self, row: usize) -> (&str, i64, i64) {
        let topic = self.topic.as_ref().map_or("", |topic| {
            let topic = topic.as_string::<i32>();
            if topic.is_null(row) { "" } else { topic.value(row) }
        });
        let number = |column: &arrow::array::ArrayRef| {
            let column = column.as_primitive::<Int64Type>();
            if column.is_null(row) { -1 } else { column.value(row) }
        };
        (topic, number(&self.partition), number(&self.offset))
    }
}

/// Whether it is the file that is wrong, not the way to it.
fn is_of_the_file(error: &KernelError) -> bool {
    match error {
        KernelError::Backtraced { source, .. } => is_of_the_file(source),
        KernelError::ObjectStore(object_store::Error::NotFound { .. }) => true,
        KernelError::ObjectStore(_) | KernelError::IOError(_) | KernelError::JoinFailure(_) => {
            false
        }
        _ => true,
    }
}
