//! Windows of an output, with their I/O: a batch's rows into an epoch, the epoch into files and a state object, and the
//! windows back from what the table's last commit names. An output with `deduplicate` is one of these: it has the same state,
//! of rows instead of windows.
//!
//! An epoch is a batch. Its rows are taken on the writing thread; when the batch is read, the epoch is finished: the clock's
//! decisions are taken, windows are closed into files, and the state object is made. Its commit puts that object, then the
//! log entry that names it. Only then do the epoch's changes become the state.

mod finish;
mod late_rows;
mod open;
mod restore;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::finish::Finishing;
use self::late_rows::LateRows;
use self::open::{Changes, Emission, Pace};
use self::restore::{Restored, refuse_open_rows};
use super::EngineError;
use super::plan::PlannedRange;
use super::side::Side;
use super::table::Table;
use crate::chunk::SourcePartition;
use crate::config::{Emit, Output};
use crate::observability::WindowMetrics;
use crate::sink::Committed;
use crate::sink::error::CommitError;
use crate::sink::history::PartitionInfo;
use crate::sink::keyed::open_windows::{EndsAfter, OpenFile};
use crate::sink::state::{StateCleaner, StateStore, StateVersion};
use crate::transform::window::{
    CHAIN, Decisions, Epoch, IdleClock, Micros, Reading, Watermarks, Windows,
};

pub(super) use self::finish::EpochDone;
pub(super) use self::late_rows::NEEDED as NEEDED_OF_LATE_ROWS;
pub use self::restore::{Inspected, inspect};
pub use self::rows::WindowRows;
pub use self::shape::WindowShape;

/// The windows of an output as a session holds them.
pub(super) struct Windowed {
    shape: Arc<WindowShape>,
    meaning: Arc<BTreeMap<String, String>>,
    states: StateStore,
    /// As of the last commit.
    windows: Arc<Windows>,
    /// As of the last epoch that was finished, whether or not it is committed yet.
    watermarks: Watermarks,
    /// The objects that the next one stands on, oldest first.
    chain: Vec<StateVersion>,
    /// The epoch that began with nothing.
    begun: u64,
    cleaner: StateCleaner,
    /// Of the state.
    max_bytes: u64,
    clock: IdleClock,
    idle_timeout: Option<Duration>,
    max_ahead: Option<Duration>,
    started: Instant,
    metrics: WindowMetrics,
    /// With `emit: changes`.
    changes: Option<Changes>,
    /// With `late_rows: dead_letter`.
    late: Option<LateRows>,
}

/// How far an output has been read, and where its partitions were found to end.
pub(super) type Readings = BTreeMap<SourcePartition, Reading>;

impl Windowed {
    /// The windows as the table's last commit left them.
    pub(super) async fn restore(
        shape: Arc<WindowShape>,
        output: &Output,
        table: &mut Table,
        metrics: WindowMetrics,
    ) -> Result<Self, EngineError> {
        let meaning = shape.meaning();
        let plan = shape.windows().clone();
        let Restored { windows, chain, begun, open } =
            restore::restore(plan, &meaning, &output.state.backend, table).await?;
        let changes = match output.aggregate.as_ref().map(|aggregate| aggregate.emit) {
            None => None,
            Some(Emit::Final) => {
                refuse_open_rows(table.store.table(), open.as_ref())?;
                None
            }
            Some(Emit::Changes { every }) => {
                let open = Emission::found(open, table).await?;
                Some(Changes { pace: Pace::new(every), open })
            }
        };
        let watermark = output.watermark();
        let idle_timeout = watermark.and_then(|watermark| watermark.idle_timeout);
        let restored = Self {
            meaning: Arc::new(meaning),
            states: table.states(),
            watermarks: windows.watermarks().clone(),
            windows: Arc::new(windows),
            chain,
            begun,
            cleaner: StateCleaner::new(output.state.retention),
            max_bytes: output.state.max_bytes,
            clock: IdleClock::new(idle_timeout),
            idle_timeout,
            max_ahead: watermark.and_then(|watermark| watermark.max_ahead),
            started: Instant::now(),
            shape,
            metrics,
            changes,
            late: None,
        };
        table.hold_files(restored.held_files());
        restored.tell();
        Ok(restored)
    }

    /// After so long without a row, a partition read to its end is idle; `None`: never.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// Partitions that are so far ahead of the slowest that they should wait for it.
    pub(super) fn ahead(&self) -> Vec<&SourcePartition> {
        let Some(most) = self.max_ahead else { return Vec::new() };
        let most = Micros::try_from(most.as_micros()).unwrap_or(Micros::MAX);
        let counting = || self.watermarks.partitions().iter().filter(|(_, known)| !known.idle);
        let reached = || counting().filter_map(|(of, known)| Some((of, known.watermark?)));
        let Some(slowest) = reached().map(|(_, watermark)| watermark).min() else {
            return Vec::new();
        };
        let far = reached().filter(|(_, watermark)| watermark.saturating_sub(slowest) > most);
        far.map(|(partition, _)| partition).collect()
    }

    /// Time since this session began, by which partitions are idle.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Keeps rows that no window takes.
    pub(super) fn keep_late_rows(&mut self, side: Side, output: &str, config: &str) {
        self.late = Some(LateRows::new(side, output, config, &self.shape.rows));
    }

    /// The stream of rows that no window takes, if they are kept.
    pub(super) fn late_rows(&self) -> Option<&Side> {
        self.late.as_ref().map(|late| &late.side)
    }

    /// Where the next batch's rows go.
    pub(super) async fn begin(&self, planned: &[PlannedRange]) -> Result<WindowRows, EngineError> {
        let plan = self.shape.windows();
        let epoch = Epoch::begin(plan, self.watermarks.clone())?;
        let late = match &self.late {
            Some(late) => Some(late.begin(planned).await?),
            None => None,
        };
        Ok(WindowRows { shape: self.shape.clone(), epoch, judged: BTreeMap::new(), late })
    }

    /// Whether there is something to commit without a row: the clock or the broker has changed what W is, or open windows
    /// are to be written. `ends`: the last epoch was the last one, but for such; windows stay open then.
    pub(super) fn is_due(&mut self, readings: &Readings, ends: bool) -> bool {
        let now = self.uptime();
        let decided =
            !ends && self.clock.decide(&self.watermarks, readings, now) != Decisions::default();
        let asked = |changes: &mut Changes| changes.pace.asks(&changes.open, ends);
        self.changes.as_mut().is_some_and(asked) || decided
    }

    /// Finishes an epoch. `moved`: it covers offsets. `None`: there is nothing to commit.
    pub(super) async fn finish(
        &mut self,
        rows: WindowRows,
        moved: bool,
        readings: &Readings,
        table: &Table,
    ) -> Result<Option<EpochDone>, EngineError> {
        let now = self.uptime();
        for (partition, _) in rows.judged.iter().filter(|(_, seen)| seen.awake) {
            self.clock.saw_row(partition, now);
        }
        let decisions = self.clock.decide(rows.epoch.watermarks(), readings, now);
        let bytes = self.windows.state().bytes() as u64;
        if bytes > self.max_bytes {
            return Err(EngineError::StateTooLarge { bytes, max_bytes: self.max_bytes });
        }
        let asked = self.changes.as_ref().is_some_and(|changes| changes.pace.is_asked());
        if !moved && !asked && decisions == Decisions::default() {
            return Ok(None);
        }
        let emitting = match &self.changes {
            None => None,
            Some(changes) => Some(changes.emitting(table, self.ends_after()).await?),
        };
        let finishing = Finishing {
            windows: self.windows.clone(),
            meaning: self.meaning.clone(),
            version: StateVersion::attempt(self.next_epoch()),
            begun: self.begun,
            before: self.chain.iter().map(|version| version.0).collect(),
            decisions,
            rows,
            emitting,
            spec: table.files_spec().clone(),
            writers: Box::new(table.writers()),
        };
        let done = tokio::task::spawn_blocking(move || finishing.run()).await;
        let done = done.map_err(|_| EngineError::ThreadGone("that finishes an epoch"))??;
        self.watermarks = done.next.watermarks.clone();
        Ok(Some(done))
    }

    fn next_epoch(&self) -> u64 {
        self.chain.last().map_or(self.begun, |last| last.epoch() + 1)
    }

    /// Which rows of the table are of windows that the last commit left open; `None`: all.
    fn ends_after(&self) -> Option<EndsAfter> {
        let time = self.windows.watermarks().overall()?;
        let column = self.shape.windows().end_column()?;
        Some(EndsAfter { column: column.to_owned(), time })
    }

    /// Commits an epoch: its state object, then the table's entry that names it. The inner result is the entry's.
    ///
    /// # Errors
    /// When the state can't be written, or the entry: windows are to be restored then.
    pub(super) async fn commit(
        &mut self,
        mut done: EpochDone,
        infos: Vec<PartitionInfo>,
        table: &mut Table,
    ) -> Result<Result<Committed, CommitError>, EngineError> {
        self.states.put(done.version, std::mem::take(&mut done.object)).await?;
        let (files, info) = (std::mem::take(&mut done.files), done.info.clone());
        let committed = table.commit_windows(infos, files, done.version, info).await;
        if committed.is_ok() {
            self.landed(done).await?;
            table.hold_files(self.held_files());
        }
        Ok(committed)
    }

    /// The files that no other writer may touch.
    fn held_files(&self) -> BTreeSet<String> {
        let changes = self.changes.iter();
        changes.flat_map(|changes| changes.open.windows.files()).map(OpenFile::held).collect()
    }

    fn tell(&self) {
        let state = self.windows.state();
        let watermark = self.windows.watermarks().overall();
        self.metrics.reached(watermark, state.len(), state.bytes());
    }

    /// Waits for work off the hot path.
    pub(super) async fn close(self) {
        self.cleaner.finish().await;
    }

    /// The table's commit has landed.
    ///
    /// # Errors
    /// When the state on disk can't be written. Windows are to be restored then.
    async fn landed(&mut self, done: EpochDone) -> Result<(), EngineError> {
        let nothing = Arc::new(Windows::new(self.windows.plan().clone()));
        let windows = std::mem::replace(&mut self.windows, nothing);
        let mut windows = Arc::into_inner(windows).expect("the epoch is finished");
        let next = done.next;
        let committed =
            tokio::task::spawn_blocking(move || windows.commit(next).map(|()| windows)).await;
        let committed = committed.map_err(|_| EngineError::ThreadGone("that keeps the state"))?;
        self.windows = Arc::new(committed?);
        if let (Some(changes), Some((open, all))) = (&mut self.changes, done.open) {
            changes.open = open;
            if all {
                changes.pace.written();
            }
        }
        self.tell();
        self.chain.push(done.version);
        let extra = self.chain.len().saturating_sub(CHAIN);
        self.chain.drain(..extra);
        if let [oldest, .., newest] = self.chain[..] {
            self.cleaner.after_commit(&self.states, oldest, newest);
        }
        Ok(())
    }
}
