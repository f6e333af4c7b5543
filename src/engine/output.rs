//! One output as a session holds it: its table, its columns, and how far it will be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::datatypes::{Schema, SchemaRef};

use super::EngineError;
use super::batch::Share;
use super::pipeline::Batch;
use super::table::{Table, TableSpec};
use crate::chunk::SourcePartition;
use crate::config::{self, Connector, MetadataColumn};
use crate::decode::metadata_field;
use crate::observability::{BatchReport, CommitResult, OutputMetrics, Phase, PhaseDurations};
use crate::offsets::TopicPartition;
use crate::schema::Origins;
use crate::sink::error::CommitError;
use crate::sink::history::PartitionInfo;
use crate::sink::progress::Owner;
use crate::sink::{Committed, DataFile};

/// The columns of an output's table: the declared ones, then its metadata columns.
pub fn output_schema(spec: &Connector, metadata: &[MetadataColumn]) -> Schema {
    let declared = spec
        .decode
        .value
        .declared()
        .into_iter()
        .flat_map(|s| s.arrow().fields())
        .map(|field| field.as_ref().clone());
    Schema::new(declared.chain(metadata.iter().map(|&c| metadata_field(c))).collect::<Vec<_>>())
}

pub(super) struct Output {
    pub(super) table: Table,
    pub(super) metrics: OutputMetrics,
    /// The output's columns among a chunk's.
    pub(super) columns: Vec<usize>,
    /// Progress once every batch that was read is committed.
    pub(super) planned: BTreeMap<Arc<SourcePartition>, i64>,
}

impl Output {
    /// Opens the output's table; its progress is not looked at yet. `rows`: a chunk's columns.
    pub(super) async fn open(
        spec: &Connector,
        output: &config::Output,
        rows: &SchemaRef,
        metrics: OutputMetrics,
    ) -> Result<Self, EngineError> {
        let schema = output_schema(spec, &output.metadata_columns);
        let table = Table::open(&TableSpec {
            owner: Owner::output(&spec.name, &output.name),
            location: &output.table,
            storage: &output.storage,
            schema: &schema,
            partition_by: &output.partition_by,
            evolution: output.schema_evolution,
            origins: Origins::NONE,
            create: output.create,
            properties: &output.table_properties,
            files: &output.files,
            config: &spec.fingerprint,
        })
        .await?;
        let columns = positions(rows, &schema);
        Ok(Self { table, metrics, columns, planned: BTreeMap::new() })
    }

    pub(super) fn name(&self) -> &str {
        self.table.owner.stream()
    }

    /// Commits this output's part of the batch; the version that it became.
    pub(super) async fn commit(
        &mut self,
        batch: &Batch,
        takes: &BTreeSet<Arc<SourcePartition>>,
        files: Vec<DataFile>,
        durations: &mut PhaseDurations,
    ) -> Result<u64, EngineError> {
        let began = Instant::now();
        let (infos, share) = ranges(&self.table, batch, takes);
        let (count, bytes) = (files.len() as u64, files.iter().map(|file| file.size_bytes).sum());
        let before = self.table.version();
        let committed = self.table.commit(infos, files).await;
        self.metrics.commit(commit_result(&committed, before));
        let committed = committed?;
        self.metrics.landed(committed.version, SystemTime::now());
        self.metrics.files(count, bytes);
        self.metrics.records(&share.fates, share.payload_bytes);
        self.metrics.batch(Phase::Commit, began.elapsed());
        if let Some(oldest) = batch.seen.oldest_ms {
            self.metrics.latency(age(oldest));
        }
        durations.set(Phase::Commit, began.elapsed());
        Ok(committed.version)
    }

    pub(super) fn report(
        &self,
        batch: &Batch,
        takes: &BTreeSet<Arc<SourcePartition>>,
        version: u64,
        began: Instant,
        durations: PhaseDurations,
    ) -> Report {
        let moved = batch.ranges.iter().filter(|(partition, _)| takes.contains(partition));
        let ends = moved.map(|(partition, range)| (partition.id.clone(), range.end)).collect();
        let mut share = Share::default();
        let shares =
            batch.written.shares.iter().filter(|(partition, _)| takes.contains(*partition));
        shares.for_each(|(_, part)| share.add(part));
        Report { version, began, share, durations, ends }
    }
}

/// What the status is told of a commit.
pub(super) struct Report {
    version: u64,
    began: Instant,
    share: Share,
    durations: PhaseDurations,
    ends: Vec<(TopicPartition, i64)>,
}

impl Report {
    pub(super) fn borrow(&self) -> BatchReport<'_> {
        BatchReport {
            version: self.version,
            committed_at: SystemTime::now(),
            began: self.began,
            fates: self.share.fates,
            payload_bytes: self.share.payload_bytes,
            durations: self.durations,
            committed: &self.ends,
        }
    }
}
/// An output's part of a batch, in words: each partition's range, and the sum.
fn ranges(
    table: &Table,
    batch: &Batch,
    takes: &BTreeSet<Arc<SourcePartition>>,
) -> (Vec<PartitionInfo>, Share) {
    let mut total = Share::default();
    let infos = batch
        .ranges
        .iter()
        .filter(|(partition, range)| takes.contains(partition) && !range.is_empty())
        .filter_map(|(partition, range)| {
            let share = batch.written.shares.get(partition).copied().unwrap_or_default();
            total.add(&share);
            Some(table.last(partition)?.next(range.end, share.fates))
        })
        .collect();
    (infos, total)
}

fn commit_result(committed: &Result<Committed, CommitError>, before: u64) -> CommitResult {
    match committed {
        Ok(committed) if committed.version == before + 1 => CommitResult::Committed,
        Ok(_) => CommitResult::Rebased,
        Err(CommitError::Fenced { .. }) => CommitResult::Fenced,
        Err(_) => CommitResult::Failed,
    }
}

fn positions(rows: &SchemaRef, output: &Schema) -> Vec<usize> {
    output
        .fields()
        .iter()
        .map(|field| rows.index_of(field.name()).expect("a chunk holds all outputs' columns"))
        .collect()
}
/// Time since a moment in milliseconds since the Unix epoch; zero for the future.
pub(super) fn age(ms: i64) -> Duration {
    let then = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    SystemTime::now().duration_since(then).unwrap_or_default()
}
