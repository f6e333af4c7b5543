//! One output as a session holds it: its table, its columns, and how far it will be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;

use super::EngineError;
use super::batch::{Change, Finished, OutputWritten, Rows, Share};
use super::decoders::Group;
use super::pipeline::Batch;
use super::plan::PlannedRange;
use super::shape::Shape;
use super::side::Side;
use super::table::{Table, TableSpec};
use super::windows::{Readings, WindowShape, Windowed};
use crate::chunk::SourcePartition;
use crate::config::{self, Connector, Mode};
use crate::observability::{
    BatchReport, CommitResult, Metrics, OutputMetrics, Phase, PhaseDurations,
};
use crate::offsets::{OffsetRange, TopicPartition};
use crate::sink::error::CommitError;
use crate::sink::history::PartitionInfo;
use crate::sink::keyed::{Changes, Merged};
use crate::sink::progress::{Owner, Topic};
use crate::sink::{Committed, DataFile};
use crate::transform::window::{Confirmed, Reading};

/// The high watermark of each partition, and when the broker last said so.
pub(super) type Ends = BTreeMap<TopicPartition, (i64, Instant)>;

pub(super) struct Output {
    pub(super) table: Table,
    pub(super) metrics: OutputMetrics,
    /// The name that it goes by: with the topic, where each has a table.
    label: String,
    makes: Makes,
    /// Progress once every batch that was read is committed.
    pub(super) planned: BTreeMap<Arc<SourcePartition>, i64>,
}

/// What an output makes of rows.
enum Makes {
    Rows {
        shape: Arc<Shape>,
        mode: Mode,
    },
    /// Not restored until the table's progress is settled.
    Windows {
        shape: Arc<WindowShape>,
        windows: Option<Box<Windowed>>,
    },
}

impl Makes {
    fn new(output: &config::Output, rows: &SchemaRef) -> Result<Self, EngineError> {
        Ok(match WindowShape::new(output, rows)? {
            None => {
                let shape = Arc::new(Shape::new(output, rows)?);
                Self::Rows { shape, mode: output.mode.clone() }
            }
            Some(shape) => Self::Windows { shape: Arc::new(shape), windows: None },
        })
    }

    /// The table's columns.
    fn schema(&self) -> &SchemaRef {
        match self {
            Self::Rows { shape, .. } => shape.schema(),
            Self::Windows { shape, .. } => shape.schema(),
        }
    }
}

impl Output {
    /// Opens the output's table; its progress is not looked at yet. `group`: what its rows come from.
    pub(super) async fn open(
        spec: &Connector,
        label: &str,
        output: &config::Output,
        group: &Group,
        metrics: OutputMetrics,
    ) -> Result<Self, EngineError> {
        let rows = group.row_schema()?;
        let makes = Makes::new(output, &rows)?;
        let table = Table::open(&TableSpec {
            owner: Owner::output(&spec.name, &output.name),
            location: &output.table,
            storage: &output.storage,
            schema: makes.schema(),
            partition_by: &output.partition_by,
            mode: &output.mode,
            evolution: output.schema_evolution,
            origins: &group.origins(&rows),
            create: output.create,
            properties: &output.table_properties,
            files: &output.files,
            config: &spec.fingerprint,
        })
        .await?;
        Ok(Self { table, metrics, label: label.to_owned(), makes, planned: BTreeMap::new() })
    }

    pub(super) fn name(&self) -> &str {
        &self.label
    }

    /// Puts the windows back as the table's last commit left them, once its progress is settled.
    pub(super) async fn restore(
        &mut self,
        output: &config::Output,
        metrics: &Metrics,
    ) -> Result<(), EngineError> {
        if let Makes::Windows { shape, windows } = &mut self.makes {
            let metrics = metrics.windows(&self.label);
            let table = &mut self.table;
            let restored = Windowed::restore(shape.clone(), output, table, metrics).await?;
            *windows = Some(Box::new(restored));
        }
        Ok(())
    }

    /// Opens the stream of its late rows, where they are kept, once it is known where the output goes on.
    pub(super) async fn open_late_rows(
        &mut self,
        spec: &Connector,
        output: &config::Output,
        topics: &BTreeMap<String, Topic>,
    ) -> Result<(), EngineError> {
        let side = Side::late_rows(spec, output, topics, &self.planned).await?;
        if let (Some(side), Some(windows)) = (side, self.windows()) {
            windows.keep_late_rows(side, &output.name, &spec.fingerprint);
        }
        Ok(())
    }

    /// Writes `txn`s again that would expire.
    pub(super) async fn refresh_txns(&mut self) -> Result<(), EngineError> {
        self.table.refresh_txns().await?;
        match self.windows().and_then(|windows| windows.late_rows()) {
            Some(side) => side.refresh_txns().await,
            None => Ok(()),
        }
    }

    /// Where a batch's rows go.
    pub(super) async fn rows(&self, planned: &[PlannedRange]) -> Result<Rows, EngineError> {
        Ok(match &self.makes {
            Makes::Rows { shape, mode: Mode::Append | Mode::OpenWindows } => {
                Rows::Files(shape.clone(), Box::new(self.table.files()))
            }
            Makes::Rows { shape, mode: Mode::InsertNew { .. } | Mode::Upsert { .. } } => {
                Rows::Changes(shape.clone(), Vec::new())
            }
            Makes::Windows { windows, .. } => {
                let windows = windows.as_ref().expect("restored before anything is read");
                Rows::Windows(Box::new(windows.begin(planned).await?))
            }
        })
    }

    fn windows(&mut self) -> Option<&mut Windowed> {
        match &mut self.makes {
            Makes::Windows { windows, .. } => windows.as_deref_mut(),
            Makes::Rows { .. } => None,
        }
    }

    /// After so long without a row, a partition read to its end holds windows open no longer; `None`: it always does.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        match &self.makes {
            Makes::Windows { windows, .. } => windows.as_deref()?.idle_timeout(),
            Makes::Rows { .. } => None,
        }
    }

    /// Lets work off the hot path come to its end.
    pub(super) async fn close(self) {
        if let Makes::Windows { windows: Some(windows), .. } = self.makes {
            windows.close().await;
        }
        self.table.close().await;
    }

    /// Partitions that should wait for slower ones, so that windows don't stay open without bound.
    pub(super) fn ahead(&self) -> Vec<&SourcePartition> {
        match &self.makes {
            Makes::Windows { windows: Some(windows), .. } => windows.ahead(),
            _ => Vec::new(),
        }
    }

    /// Whether windows have something to commit without a row. `ends`: nothing more is going to be read.
    pub(super) fn is_due(&mut self, confirmed: &Ends, ends: bool) -> bool {
        let readings = self.readings(confirmed);
        self.windows().is_some_and(|windows| windows.is_due(&readings, ends))
    }

    /// A batch is read: finishes the epoch that its rows make.
    pub(super) async fn finish(
        &mut self,
        rows: Finished,
        moved: bool,
        ends: &Ends,
    ) -> Result<Finished, EngineError> {
        let Finished::Windows(rows) = rows else { return Ok(rows) };
        let readings = self.readings(ends);
        let Makes::Windows { windows: Some(windows), .. } = &mut self.makes else {
            unreachable!("rows for windows come from windows");
        };
        let done = windows.finish(*rows, moved, &readings, &self.table).await?;
        Ok(Finished::Epoch(done.map(Box::new)))
    }

    fn readings(&self, ends: &Ends) -> Readings {
        let Makes::Windows { windows: Some(windows), .. } = &self.makes else {
            return Readings::new();
        };
        let uptime = windows.uptime();
        let reading = |(partition, position): (&Arc<SourcePartition>, &i64)| {
            let high_watermark = ends.get(&partition.id).map(|(offset, at)| Confirmed {
                offset: *offset,
                at: uptime.saturating_sub(at.elapsed()),
            });
            let reading = Reading { position: *position, high_watermark, paused: false };
            (partition.as_ref().clone(), reading)
        };
        self.planned.iter().map(reading).collect()
    }

    /// Commits this output's part of the batch; the version that it became, and what was in it.
    pub(super) async fn commit(
        &mut self,
        batch: &Batch,
        takes: &BTreeSet<Arc<SourcePartition>>,
        written: OutputWritten,
        durations: &mut PhaseDurations,
    ) -> Result<(u64, Share), EngineError> {
        let began = Instant::now();
        let before = self.table.version();
        let (mut infos, mut share) = ranges(&self.table, batch, takes, &written);
        let (committed, count, bytes) = match written.rows {
            Finished::Files(files) => {
                let (count, bytes) = weigh(&files);
                (self.table.commit(infos, files).await, count, bytes)
            }
            Finished::Epoch(done) => {
                let mut done = done.expect("there is something to commit");
                let windows = self.windows().expect("an epoch is of windows");
                if let Some(side) = windows.late_rows() {
                    let moved = |of: &&(Arc<SourcePartition>, OffsetRange)| takes.contains(&of.0);
                    let late = std::mem::take(&mut done.late);
                    side.commit(late, batch.ranges.iter().filter(moved)).await?;
                }
                let (count, bytes) = weigh(&done.files.adds);
                let Makes::Windows { windows: Some(windows), .. } = &mut self.makes else {
                    unreachable!("as above");
                };
                (windows.commit(*done, infos, &mut self.table).await?, count, bytes)
            }
            Finished::Windows(_) => unreachable!("an epoch is finished when its batch is read"),
            Finished::Changes(changes) => {
                let (merged, existing) = self.merge(changes).await?;
                for info in &mut infos {
                    let existing = existing.get(&info.source_partition()).copied().unwrap_or(0);
                    leave_out(info, existing);
                    share.fates.rows -= existing;
                    share.fates.existing += existing;
                }
                let (count, bytes) = weigh(&merged.adds);
                (self.table.commit_merged(infos, merged).await, count, bytes)
            }
        };
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
        Ok((committed.version, share))
    }

    /// Merges a batch's changes into the table's rows; by partition, how many rows were left out since their key had
    /// one.
    async fn merge(
        &mut self,
        collected: Vec<Change>,
    ) -> Result<(Merged, BTreeMap<Arc<SourcePartition>, u64>), EngineError> {
        let (mut changes, mut partitions) = (Changes::default(), Vec::new());
        for Change { partition, rows, deletes } in collected {
            partitions.push(partition);
            changes.push(rows, deletes);
        }
        let merged = self.table.merge(changes).await?;
        let mut existing: BTreeMap<Arc<SourcePartition>, u64> = BTreeMap::new();
        for (partition, kept) in partitions.into_iter().zip(&merged.kept) {
            *existing.entry(partition).or_default() += kept.false_count() as u64;
        }
        Ok((merged, existing))
    }

    pub(super) fn report(
        &self,
        batch: &Batch,
        takes: &BTreeSet<Arc<SourcePartition>>,
        (version, share): (u64, Share),
        began: Instant,
        durations: PhaseDurations,
    ) -> Report {
        let moved = batch.ranges.iter().filter(|(partition, _)| takes.contains(partition));
        let ends = moved.map(|(partition, range)| (partition.id.clone(), range.end)).collect();
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
    written: &OutputWritten,
) -> (Vec<PartitionInfo>, Share) {
    let mut total = Share::default();
    let infos = batch
        .ranges
        .iter()
        .filter(|(partition, range)| takes.contains(partition) && !range.is_empty())
        .filter_map(|(partition, range)| {
            let mut share = batch.written.shares.get(partition).copied().unwrap_or_default();
            written.settle(partition, &mut share.fates);
            total.add(&share);
            Some(table.last(partition)?.next(range.end, share.fates))
        })
        .collect();
    (infos, total)
}

/// How many files, and their bytes.
fn weigh(files: &[DataFile]) -> (u64, u64) {
    (files.len() as u64, files.iter().map(|file| file.size_bytes).sum())
}

/// So many of the rows weren't written: their key had one.
fn leave_out(info: &mut PartitionInfo, existing: u64) {
    for fates in [&mut info.fates, &mut info.cumulative] {
        fates.rows -= existing;
        fates.existing += existing;
    }
}

fn commit_result(committed: &Result<Committed, CommitError>, before: u64) -> CommitResult {
    match committed {
        Ok(committed) if committed.version == before + 1 => CommitResult::Committed,
        Ok(_) => CommitResult::Rebased,
        Err(CommitError::Fenced { .. }) => CommitResult::Fenced,
        Err(_) => CommitResult::Failed,
    }
}

/// Time since a moment in milliseconds since the Unix epoch; zero for the future.
pub(super) fn age(ms: i64) -> Duration {
    let then = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    SystemTime::now().duration_since(then).unwrap_or_default()
}
