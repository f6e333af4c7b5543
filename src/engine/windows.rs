//! Windows of an output, with their I/O: a batch's rows into an epoch, the epoch into files and a state object, and the
//! windows back from what the table's last commit names. An output with `deduplicate` is one of these: it has the same state,
//! of rows instead of windows.
//!
//! An epoch is a batch. Its rows are taken on the writing thread; when the batch is read, the epoch is finished: the clock's
//! decisions are taken, windows are closed into files, and the state object is made. Its commit puts that object, then the
//! log entry that names it. Only then do the epoch's changes become the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::{and, filter, filter_record_batch, not};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, SecondsFormat};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::EngineError;
use super::late_rows::{LateRows, Letters};
use super::open_windows::{Emission, Emitting, OpenWindows, Pace};
use super::plan::PlannedRange;
use super::shape::{failed_on, refuse_unknown, visible};
use super::side::{Side, SideRows};
use super::table::{Table, WindowFiles};
use crate::chunk::{Chunk, SourcePartition};
use crate::config::{Emit, MetadataColumn, Output};
use crate::observability::WindowMetrics;
use crate::offsets::Fates;
use crate::sink::error::SinkError;
use crate::sink::files::{FilesError, FilesSpec, FilesWriter};
use crate::sink::history::{PartitionWatermark, WindowsInfo};
use crate::sink::keyed::open_windows::{self, EndsAfter, OpenFile};
use crate::sink::state::{StateCleaner, StateStore, StateVersion};
use crate::transform::TransformError;
use crate::transform::aggregation::Aggregation;
use crate::transform::deduplication::Deduplication;
use crate::transform::window::{
    ArrivedRows, CHAIN, CountedRows, Counts, Decisions, Epoch, First, IdleClock, Micros, Next,
    Reading, Restoring, State, Stored, Times, ToStore, Watermarks, WindowError, WindowPlan,
    Windows,
};

/// What an output with `aggregate` or `deduplicate` makes of rows: planned once.
pub struct WindowShape {
    /// The columns that expressions see, among a chunk's.
    visible: Vec<usize>,
    /// A chunk's columns.
    rows: SchemaRef,
    /// The records' timestamps among a chunk's columns, if anybody asked for them.
    timestamps: Option<usize>,
    computes: Computes,
}

enum Computes {
    Aggregation(Box<Aggregation>),
    Deduplication(Box<Deduplication>),
}

impl WindowShape {
    /// `rows`: a chunk's columns. `None`: rows become rows as they are.
    ///
    /// # Errors
    /// Expressions that can't be planned, columns named in `partition_by` that the table wouldn't have.
    pub fn new(output: &Output, rows: &SchemaRef) -> Result<Option<Self>, EngineError> {
        let visible = visible(output, rows);
        let seen = SchemaRef::from(rows.project(&visible).map_err(FilesError::Rows)?);
        let (select, filter) = (output.select.as_deref(), output.filter.as_deref());
        let computes = match (&output.aggregate, &output.deduplicate) {
            (Some(aggregate), _) => {
                let planned = Aggregation::new(&seen, aggregate, filter, select)?;
                Computes::Aggregation(Box::new(planned))
            }
            (None, Some(deduplicate)) => {
                let planned = Deduplication::new(&seen, deduplicate, filter, select)?;
                Computes::Deduplication(Box::new(planned))
            }
            (None, None) => return Ok(None),
        };
        let timestamps = rows.index_of(MetadataColumn::Timestamp.column()).ok();
        let shape = Self { visible, rows: rows.clone(), timestamps, computes };
        refuse_unknown(output, shape.schema())?;
        Ok(Some(shape))
    }

    /// The table's columns.
    pub fn schema(&self) -> &SchemaRef {
        match &self.computes {
            Computes::Aggregation(of) => of.schema(),
            Computes::Deduplication(of) => of.schema(),
        }
    }

    fn windows(&self) -> &Arc<WindowPlan> {
        match &self.computes {
            Computes::Aggregation(of) => of.windows(),
            Computes::Deduplication(of) => of.windows(),
        }
    }

    fn meaning(&self) -> BTreeMap<String, String> {
        match &self.computes {
            Computes::Aggregation(of) => of.meaning(),
            Computes::Deduplication(of) => of.meaning(),
        }
    }

    fn kept(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, TransformError> {
        match &self.computes {
            Computes::Aggregation(of) => of.kept(rows),
            Computes::Deduplication(of) => of.kept(rows),
        }
    }

    fn event_times(&self, rows: &RecordBatch) -> Result<Int64Array, TransformError> {
        match &self.computes {
            Computes::Aggregation(of) => of.event_times(rows),
            Computes::Deduplication(of) => of.event_times(rows),
        }
    }

    /// What an epoch writes, as the table has it.
    fn select(&self, closed: RecordBatch) -> Result<RecordBatch, TransformError> {
        match &self.computes {
            Computes::Aggregation(of) => of.select(&closed),
            Computes::Deduplication(_) => Ok(closed),
        }
    }
}

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

/// The current values of open windows, in the table.
struct Changes {
    pace: Pace,
    open: Emission,
}

/// One batch's rows on their way into an epoch.
pub struct WindowRows {
    shape: Arc<WindowShape>,
    epoch: Epoch,
    judged: BTreeMap<Arc<SourcePartition>, Seen>,
    late: Option<Letters>,
}

/// What became of a partition's rows.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    counts: Counts,
    /// Of those left out, records without a value.
    tombstones: u64,
    /// There was a usable event time.
    awake: bool,
}

/// What rows that count become.
#[derive(Debug, Clone, Copy)]
enum Becomes {
    Aggregated,
    /// Rows at once, but for duplicates.
    Rows,
    /// Rows or duplicates later on.
    Held,
}

/// An epoch that is to be committed.
pub(super) struct EpochDone {
    pub(super) files: WindowFiles,
    pub(super) info: WindowsInfo,
    pub(super) version: StateVersion,
    /// Rows that are to be kept elsewhere, before this is committed.
    pub(super) late: SideRows,
    becomes: Becomes,
    judged: BTreeMap<Arc<SourcePartition>, Seen>,
    /// Of the rows that count.
    duplicates: BTreeMap<SourcePartition, u64>,
    object: Vec<u8>,
    next: Next,
    /// With `emit: changes`, and whether all that changed is written.
    open: Option<(Emission, bool)>,
}

/// An epoch with all that it takes to finish it, on a thread that may block.
struct Finishing {
    windows: Arc<Windows>,
    meaning: Arc<BTreeMap<String, String>>,
    version: StateVersion,
    begun: u64,
    before: Vec<i64>,
    decisions: Decisions,
    rows: WindowRows,
    emitting: Option<Emitting>,
    spec: FilesSpec,
    writers: Writers,
}

/// Makes writers of the table's files.
type Writers = Box<dyn Fn(&FilesSpec) -> FilesWriter + Send>;

/// How far an output has been read, and where its partitions were found to end.
pub(super) type Readings = BTreeMap<SourcePartition, Reading>;

impl Windowed {
    /// The windows as the table's last commit left them.
    pub(super) async fn restore(
        shape: Arc<WindowShape>,
        output: &Output,
        table: &Table,
        metrics: WindowMetrics,
    ) -> Result<Self, EngineError> {
        let meaning = shape.meaning();
        let (plan, states) = (shape.windows().clone(), table.states());
        let (windows, chain, begun, open) = match table.state() {
            None => (Windows::new(plan), Vec::new(), 1, Some(OpenWindows::default())),
            Some(newest) if newest.is_given_up() => {
                let begun = newest.epoch() + 1;
                (Windows::new(plan), Vec::new(), begun, Some(OpenWindows::default()))
            }
            Some(newest) => {
                let name = table.store.table();
                let head = Head::read(&states, name, newest).await?;
                refuse_other(name, &head.stored.meaning, &meaning)?;
                let (chain, begun) = (head.chain(), head.stored.begun);
                let open = OpenWindows::read(&head.stored.rest);
                let watermarks = head.stored.watermarks.clone();
                let state = head.state(State::default()).await?;
                (Windows::restored(plan, watermarks, state), chain, begun, open)
            }
        };
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
            states,
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

    /// Commits an epoch's state object, so that the table's commit can name it.
    pub(super) async fn put(&self, done: &mut EpochDone) -> Result<(), SinkError> {
        self.states.put(done.version, std::mem::take(&mut done.object)).await
    }

    /// The files that no other writer may touch.
    pub(super) fn held_files(&self) -> BTreeSet<String> {
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
    pub(super) async fn landed(&mut self, done: EpochDone) -> Result<(), EngineError> {
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

impl Finishing {
    fn run(self) -> Result<EpochDone, EngineError> {
        let Self { windows, meaning, version, begun, before, decisions, rows, .. } = self;
        let writer = || (self.writers)(&self.spec);
        let WindowRows { shape, epoch, judged, late } = rows;
        let late = late.map(Letters::finish).transpose()?.unwrap_or_default();
        let mut closed = writer();
        let finished = windows.finish(epoch, &decisions, |rows| {
            closed.write(&shape.select(rows)?)?;
            Ok::<_, EngineError>(())
        })?;
        let mut files = WindowFiles { adds: closed.finish()?, removes: Vec::new() };
        let mut next = finished.next;
        let count = finished.closed.count as u64;
        let mut info = info(version, finished.counts, &next.watermarks, &decisions);
        let becomes = shape.becomes();
        match becomes {
            Becomes::Aggregated => info.closed = count,
            // These are counted as the records that they are.
            Becomes::Rows => {}
            Becomes::Held => {
                info.released = count;
                info.duplicates = finished.duplicates.waited;
            }
        }
        let (mut open, mut rest) = (None, Value::Null);
        if let (Some(emitting), Computes::Aggregation(of)) = (self.emitting, &shape.computes) {
            let due = emitting.due;
            let windows = (&*windows, &mut next);
            let written = (&mut files, &mut info);
            let emission = emitting.run(windows, &finished.closed, of, writer, written)?;
            rest = serde_json::to_value(&emission.windows)
                .map_err(|e| WindowError::Encoding(e.to_string()))?;
            open = Some((emission, due));
        }
        let to_store = ToStore {
            epoch: version.epoch(),
            begun,
            meaning: &meaning,
            decisions: &decisions,
            before: &before,
            rest: &rest,
        };
        let object = windows.object(&next, to_store)?;
        let duplicates = finished.duplicates.arrived;
        Ok(EpochDone {
            files,
            info,
            version,
            late,
            becomes,
            judged,
            duplicates,
            object,
            next,
            open,
        })
    }
}

impl Emission {
    /// What a commit left of open windows, or what became of it.
    async fn found(kept: Option<OpenWindows>, table: &Table) -> Result<Self, EngineError> {
        // State of an output that wrote closed windows only, until now.
        let windows = kept.unwrap_or_else(OpenWindows::all_changed);
        let files: Vec<_> = windows.files().cloned().collect();
        if files.is_empty() {
            return Ok(Self { windows, scattered: false });
        }
        let untouched = open_windows::are_untouched(&table.store, table.log(), files).await?;
        Ok(Self { windows, scattered: !untouched })
    }
}

impl Changes {
    /// What an epoch is to do. `ends_after`: which rows of the table are of windows that the last commit left open.
    async fn emitting(
        &self,
        table: &Table,
        ends_after: Option<EndsAfter>,
    ) -> Result<Emitting, EngineError> {
        let (open, due) = (self.open.clone(), self.pace.is_due());
        let taken = match open.scattered {
            false => None,
            true => Some(table.take_out(ends_after).await?),
        };
        Ok(Emitting { open, due, taken })
    }
}

/// The state of an output's windows, for people to look at.
pub struct Inspected {
    pub epoch: u64,
    pub meaning: BTreeMap<String, String>,
    pub watermarks: Watermarks,
    pub state: State,
    /// Objects that a start reads.
    pub objects: usize,
}

/// Reads the state that a table's commit names; `None`: it was given up.
///
/// # Errors
/// When objects are missing or damaged, or the store can't be reached.
pub async fn inspect(
    states: &StateStore,
    table: &str,
    newest: StateVersion,
) -> Result<Option<Inspected>, EngineError> {
    if newest.is_given_up() {
        return Ok(None);
    }
    let head = Head::read(states, table, newest).await?;
    let (epoch, objects) = (head.stored.epoch, head.chain().len());
    let (meaning, watermarks) = (head.stored.meaning.clone(), head.stored.watermarks.clone());
    let state = head.state(State::default()).await?;
    Ok(Some(Inspected { epoch, meaning, watermarks, state, objects }))
}

/// The newest object of a table, and what it says of those before.
struct Head<'a> {
    states: &'a StateStore,
    table: &'a str,
    newest: StateVersion,
    object: bytes::Bytes,
    stored: Stored,
}

impl<'a> Head<'a> {
    async fn read(
        states: &'a StateStore,
        table: &'a str,
        newest: StateVersion,
    ) -> Result<Self, SinkError> {
        let object = states.read(newest).await?;
        let stored = Stored::decode(&object).ok_or_else(|| damaged(states, table, newest))?;
        Ok(Self { states, table, newest, object, stored })
    }

    /// All that the state is made of, oldest first.
    fn chain(&self) -> Vec<StateVersion> {
        let before = self.stored.before.iter().map(|version| StateVersion(*version));
        before.chain([self.newest]).collect()
    }

    /// Fills an empty state, an object at a time: together they are larger than it.
    async fn state(self, empty: State) -> Result<State, EngineError> {
        let Self { states, table, newest, object, stored } = self;
        let before: Vec<_> = stored.before.iter().map(|version| StateVersion(*version)).collect();
        let older = states.read_ahead(&before).zip(stream::iter(&before));
        let older = older.map(|(object, version)| Ok::<_, SinkError>((object?, *version)));
        let mut objects = std::pin::pin!(older.chain(stream::iter([Ok((object, newest))])));
        let mut restoring = Restoring::new(empty);
        while let Some((object, version)) = objects.try_next().await? {
            let added =
                tokio::task::spawn_blocking(move || restoring.add(&object).map(|()| restoring));
            let added = added.await.map_err(|_| EngineError::ThreadGone("that restores state"))?;
            restoring = added.map_err(|error| match error {
                WindowError::Corrupt => damaged(states, table, version).into(),
                error => EngineError::from(error),
            })?;
        }
        Ok(restoring.finish().ok_or_else(|| damaged(states, table, newest))?)
    }
}

fn damaged(states: &StateStore, table: &str, version: StateVersion) -> SinkError {
    SinkError::StateDamaged { table: table.to_owned(), path: states.path(version).to_string() }
}

/// Rows of open windows can't stay where nothing replaces them any more: each would be there twice once it is closed.
fn refuse_open_rows(table: &str, open: Option<&OpenWindows>) -> Result<(), SinkError> {
    if open.is_none_or(|open| open.files().next().is_none()) {
        return Ok(());
    }
    let change = "`emit` was changes, now it is final, and rows of open windows are in the table";
    Err(SinkError::StateOther { table: table.to_owned(), changes: vec![change.to_owned()] })
}

/// State that was kept for something else must not go on as this.
fn refuse_other(
    table: &str,
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
) -> Result<(), SinkError> {
    let mut changes = Vec::new();
    for part in was.keys().chain(is.keys().filter(|part| !was.contains_key(*part))) {
        match (was.get(part), is.get(part)) {
            (Some(was), Some(is)) if was != is => {
                changes.push(format!("`{part}` was {was}, now it is {is}"));
            }
            (Some(was), None) => changes.push(format!("`{part}` was {was}, now it is gone")),
            (None, Some(is)) => changes.push(format!("`{part}` is new: {is}")),
            _ => {}
        }
    }
    match changes.is_empty() {
        true => Ok(()),
        false => Err(SinkError::StateOther { table: table.to_owned(), changes }),
    }
}

impl WindowRows {
    pub(super) fn chunk(&mut self, chunk: &Chunk) -> Result<(), EngineError> {
        let Self { shape, epoch, judged, late } = self;
        let seen = chunk.rows.project(&shape.visible).map_err(FilesError::Rows)?;
        let failed =
            |error: TransformError, kept: Option<&BooleanArray>| failed_on(error, chunk, kept);
        let wanted = shape.kept(&seen).map_err(|error| failed(error, None))?;
        let tombstones = chunk.deletions.as_ref().map(|deletions| &deletions.tombstones);
        let kept = without(wanted, tombstones).map_err(FilesError::Rows)?;
        let event = shape.event_times(&seen).map_err(|error| failed(error, None))?;
        let known = late.as_ref().and_then(|late| late.known(chunk));
        let verdicts = epoch.judge(
            &chunk.partition,
            Times {
                event: &event,
                record: &shape.stamps(chunk),
                kept: kept.as_ref(),
                late: known.as_ref(),
            },
        );
        if let Some(late) = late {
            late.take(chunk, &verdicts.verdicts)?;
        }

        let of_partition = judged.entry(chunk.partition.clone()).or_default();
        of_partition.counts.add(&verdicts.counts);
        of_partition.awake |= verdicts.awake;
        of_partition.tombstones += tombstones.map_or(0, |mask| mask.true_count() as u64);

        let counted = verdicts.counted();
        let (rows, offsets) = match &counted {
            None => (seen, chunk.row_offsets.clone()),
            Some(mask) => {
                let offsets = filter(&chunk.row_offsets, mask).map_err(FilesError::Rows)?;
                let rows = filter_record_batch(&seen, mask).map_err(FilesError::Rows)?;
                (rows, offsets.as_primitive::<Int64Type>().clone())
            }
        };
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mask = counted.as_ref();
        let failed = |error| failed(error, mask);
        let partition = &chunk.partition;
        match &shape.computes {
            Computes::Aggregation(of) => {
                let (offsets, keys) = (&offsets, &of.keys(&rows).map_err(failed)?);
                let arguments = &of.arguments(&rows).map_err(failed)?;
                epoch.add(verdicts, CountedRows { partition, offsets, keys, arguments })?;
            }
            Computes::Deduplication(of) => {
                let keys = &of.keys(&rows).map_err(failed)?;
                let rows = of.select(&rows).map_err(failed)?;
                epoch.arrive(verdicts, ArrivedRows { partition, offsets, keys, rows });
            }
        }
        Ok(())
    }

    /// Rows wait in memory for the end of the batch.
    pub(super) fn wait_in_memory(&self) -> bool {
        matches!(self.shape.computes, Computes::Deduplication(_))
    }
}

impl WindowShape {
    fn becomes(&self) -> Becomes {
        match self.windows().first() {
            None => Becomes::Aggregated,
            Some(First::ByArrival) => Becomes::Rows,
            Some(First::ByEventTime) => Becomes::Held,
        }
    }

    /// The records' timestamps in microseconds.
    fn stamps(&self, chunk: &Chunk) -> Int64Array {
        let Some(column) = self.timestamps else {
            return Int64Array::new_null(chunk.rows.num_rows());
        };
        micros(chunk.rows.column(column))
    }
}

/// Instants as numbers.
fn micros(times: &ArrayRef) -> Int64Array {
    times.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>()
}

/// The rows wanted, without those masked.
fn without(
    wanted: Option<BooleanArray>,
    masked: Option<&BooleanArray>,
) -> Result<Option<BooleanArray>, ArrowError> {
    Ok(match (wanted, masked) {
        (wanted, None) => wanted,
        (None, Some(masked)) => Some(not(masked)?),
        (Some(wanted), Some(masked)) => Some(and(&wanted, &not(masked)?)?),
    })
}

impl EpochDone {
    /// A partition's rows, by what became of them.
    pub(super) fn settle(&self, partition: &SourcePartition, fates: &mut Fates) {
        let Some(Seen { counts, tombstones, .. }) = self.judged.get(partition) else { return };
        let filtered = counts.filtered - tombstones;
        fates.rows -= counts.counted + counts.late + counts.future + counts.timeless + filtered;
        fates.filtered += filtered;
        match self.becomes {
            Becomes::Aggregated => fates.aggregated += counts.counted,
            Becomes::Rows => {
                let duplicates = self.duplicates.get(partition).copied().unwrap_or(0);
                fates.rows += counts.counted - duplicates;
                fates.duplicates += duplicates;
            }
            Becomes::Held => fates.held += counts.counted,
        }
        fates.late += counts.late;
        fates.future += counts.future;
        fates.timeless += counts.timeless;
    }
}

fn info(
    version: StateVersion,
    counts: Counts,
    watermarks: &Watermarks,
    decisions: &Decisions,
) -> WindowsInfo {
    let names = |partitions: &BTreeSet<SourcePartition>| {
        partitions.iter().map(|partition| partition.id.to_string()).collect()
    };
    let each = watermarks.partitions().iter().map(|(partition, known)| PartitionWatermark {
        topic: partition.id.topic.to_string(),
        partition: partition.id.partition,
        watermark: known.watermark.and_then(text),
        idle: known.idle,
    });
    WindowsInfo {
        epoch: version.epoch(),
        watermark: watermarks.overall().and_then(text),
        closed: 0,
        opened: 0,
        replaced: 0,
        copied: 0,
        released: 0,
        duplicates: 0,
        late_partial: counts.late_partial,
        watermarks: each.collect(),
        joined: names(&decisions.joined),
        left: names(&decisions.left),
        idle: names(&decisions.idle),
        back: names(&decisions.back),
    }
}

fn text(time: Micros) -> Option<String> {
    let time = DateTime::from_timestamp_micros(time)?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
