//! From one recovery to the next: tables and source as they are held while batches go through.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::datatypes::{Schema, SchemaRef};

use super::batch::{BatchWriter, OutputFiles, Share};
use super::pipeline::{Batch, Held, Pipeline, ReadJob};
use super::plan::{self, Backlog, PlannedRange};
use super::recovery::{self, Extent, Rules};
use super::table::{Table, TableSpec, now_ms};
use super::trigger;
use super::{Ended, Engine, EngineError};
use crate::chunk::SourcePartition;
use crate::config::{
    Compression, Connector, CreateTable, Files, MetadataColumn, OnBadRecord, Start, Trigger,
};
use crate::decode::{Decoder, dead_letter_schema, metadata_field};
use crate::observability::{BatchReport, CommitResult, OutputMetrics, Phase, PhaseDurations};
use crate::offsets::{Fates, TopicPartition};
use crate::sink::error::CommitError;
use crate::sink::history::PartitionInfo;
use crate::sink::progress::{Owner, Topic};
use crate::sink::{DataFile, dead_letters};
use crate::source::{Catalog, Control, OffsetSpec, Reader, Target};

/// With an interval of zero and nothing to do: how often the broker is asked. Half of it is added to the latency of
/// a record that comes after a pause.
const IDLE_POLL: Duration = Duration::from_millis(20);
/// How often topics are looked at while nothing comes.
const TOPICS_EVERY: Duration = Duration::from_secs(10);
/// Fewer records than this are not judged by `bad_record_limit` alone, but with the batches after them: one bad
/// record in a batch of one is no wrong schema.
const JUDGED_RECORDS: u64 = 100;
/// Dead letters are few: a file of this size never comes to be, and one batch's letters are one file.
const DEAD_LETTER_FILES: Files =
    Files { target_size: 128 << 20, compression: Compression::Zstd { level: 1 } };

/// A commit that takes longer than all its time-outs together is stuck: `/healthz` says so.
const COMMIT_PROMISE: Option<Duration> = Some(Duration::from_secs(600));
/// The same for the pauses between batches, beyond the trigger's interval.
const IDLE_PROMISE: Duration = Duration::from_secs(60);

/// The columns of an output's table: the declared ones, then its metadata columns.
pub fn output_schema(spec: &Connector, metadata: &[MetadataColumn]) -> Schema {
    let declared = spec.decode.schema.arrow().fields().iter().map(|field| field.as_ref().clone());
    Schema::new(declared.chain(metadata.iter().map(|&c| metadata_field(c))).collect::<Vec<_>>())
}

/// A batch under way: planned, and being read and written.
pub(super) struct Reading {
    work: Pin<Box<dyn Future<Output = Result<Batch, EngineError>> + Send>>,
    /// Per output, the partitions whose ranges are new to it.
    takes: Vec<BTreeSet<Arc<SourcePartition>>>,
    began: Instant,
    plan_took: Duration,
}

/// A batch that was read and written.
pub(super) struct Done {
    batch: Batch,
    takes: Vec<BTreeSet<Arc<SourcePartition>>>,
    began: Instant,
    plan_took: Duration,
}

/// How the topics differ from those that the session was begun with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changes {
    other_topics: bool,
    more: bool,
}

impl Changes {
    /// A topic is gone or has another id: what was read under its name may be anyone's.
    pub(super) fn are_other_topics(self) -> bool {
        self.other_topics
    }

    pub(super) fn any(self) -> bool {
        self.other_topics || self.more
    }
}

struct Output {
    table: Table,
    metrics: OutputMetrics,
    /// The output's columns among a chunk's.
    columns: Vec<usize>,
    /// Progress once every batch that was read is committed.
    planned: BTreeMap<Arc<SourcePartition>, i64>,
}

impl Output {
    /// Commits this output's part of the batch; the version that it became.
    async fn commit(
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

    fn report(
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
struct Report {
    version: u64,
    began: Instant,
    share: Share,
    durations: PhaseDurations,
    ends: Vec<(TopicPartition, i64)>,
}

impl Report {
    fn borrow(&self) -> BatchReport<'_> {
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

pub(super) struct Session<'a> {
    engine: &'a Engine,
    control: Arc<Control>,
    catalog: Catalog,
    outputs: Vec<Output>,
    dead_letters: Option<Table>,
    pipeline: Pipeline,
    ends: BTreeMap<TopicPartition, i64>,
    newest_ms: BTreeMap<Arc<SourcePartition>, i64>,
    last_start_ms: Option<u64>,
    topics_seen: Instant,
    waiting_since: Option<Instant>,
    judged: Fates,
    ended: Ended,
    once_planned: bool,
}

impl<'a> Session<'a> {
    /// Reads progress, settles where every partition goes on, and starts to fetch there.
    pub(super) async fn recover(engine: &'a Engine) -> Result<Self, EngineError> {
        let spec = engine.spec.clone();
        let control = Arc::new(Control::connect(&spec.source)?);
        let catalog = look(&control, Control::discover).await?;
        let extent = extent(&control, &catalog, &spec.source.start).await?;
        if trigger::ends(spec.trigger) {
            engine.available.get_or_init(|| extent.latest.clone());
        }

        let metadata: BTreeSet<MetadataColumn> =
            spec.outputs.values().flat_map(|output| output.metadata_columns.clone()).collect();
        let decoder = Decoder::new(&spec.decode, &metadata)?.with_fingerprint(&spec.fingerprint);
        let mut outputs = Vec::new();
        for output in spec.outputs.values() {
            let schema = output_schema(&spec, &output.metadata_columns);
            let owner = Owner::output(&spec.name, &output.name);
            let mut table = Table::open(&TableSpec {
                owner,
                location: &output.table,
                storage: &output.storage,
                schema: &schema,
                partition_by: &output.partition_by,
                create: output.create,
                properties: &output.table_properties,
                files: &output.files,
                config: &spec.fingerprint,
            })
            .await?;
            begin(&mut table, &spec, &topics(&catalog, output.topics.as_deref()), &extent).await?;
            let columns = positions(&decoder.row_schema(), &schema);
            let planned = table.next();
            let metrics = engine.metrics.output(&output.name);
            let committed: Vec<_> = planned.iter().map(|(p, next)| (p.id.clone(), *next)).collect();
            engine.status.recovered(&output.name, table.version(), &committed);
            outputs.push(Output { table, metrics, columns, planned });
        }
        let starts: BTreeMap<Arc<SourcePartition>, i64> =
            plan::gather(outputs.iter().map(|output| &output.planned))
                .into_iter()
                .filter_map(|(partition, next)| Some((partition, *next.first()?)))
                .collect();
        let dead_letters = open_dead_letters(&spec, &catalog, &starts).await?;
        let reader = Reader::assign(&spec.source, &starts, decoder.wants_headers())?;
        let pipeline = Pipeline::start(reader, decoder)?;
        engine.metrics.recovered();
        Ok(Self {
            engine,
            control,
            catalog,
            outputs,
            dead_letters,
            pipeline,
            ends: extent.latest,
            newest_ms: BTreeMap::new(),
            last_start_ms: None,
            topics_seen: Instant::now(),
            waiting_since: None,
            judged: Fates::default(),
            ended: Ended::Done,
            once_planned: false,
        })
    }

    /// Waits for the trigger and for something to read, then starts to read it. `None`: the session is over.
    pub(super) async fn next_batch(&mut self) -> Result<Option<Reading>, EngineError> {
        let shutdown = self.engine.shutdown.clone();
        loop {
            self.promise(Some(self.until_trigger() + IDLE_PROMISE));
            if shutdown.is_requested() {
                return Ok(None);
            }
            if !self.wait_for_trigger().await {
                return Ok(None);
            }
            if let Some(reading) = self.plan().await? {
                return Ok(Some(reading));
            }
            if trigger::ends(self.spec().trigger) {
                return Ok(None);
            }
            if self.topics_seen.elapsed() >= TOPICS_EVERY {
                self.keep_alive().await?;
                if self.look_at_topics().await?.any() {
                    self.ended = Ended::Changed;
                    return Ok(None);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.idle_pause()) => {}
                () = shutdown.requested() => return Ok(None),
            }
        }
    }

    /// Starts to read the next batch if its trigger is due and there is something; waits for neither.
    pub(super) async fn next_batch_if_due(&mut self) -> Result<Option<Reading>, EngineError> {
        if self.engine.shutdown.is_requested() || self.until_trigger() > Duration::ZERO {
            return Ok(None);
        }
        self.plan().await
    }

    /// The batch, once it is read and written, judged by `bad_record_limit`.
    pub(super) async fn read(&mut self, reading: Reading) -> Result<Done, EngineError> {
        let Reading { work, takes, began, plan_took } = reading;
        let batch = work.await?;
        self.judge(&batch)?;
        for (output, takes) in self.outputs.iter_mut().zip(&takes) {
            for (partition, range) in &batch.ranges {
                if takes.contains(partition) {
                    output.planned.insert(partition.clone(), range.end);
                }
            }
        }
        self.newest_ms.extend(batch.seen.newest_ms.clone());
        Ok(Done { batch, takes, began, plan_took })
    }

    /// Asks the broker for the topics. What was read under ids that are still the same belongs to them.
    pub(super) async fn look_at_topics(&mut self) -> Result<Changes, EngineError> {
        let now = look(&self.control, Control::discover).await?;
        self.topics_seen = Instant::now();
        let other_topics = self.catalog.0.iter().any(|(name, was)| {
            now.0
                .get(name)
                .is_none_or(|is| is.id != was.id || is.partitions.len() < was.partitions.len())
        });
        Ok(Changes { other_topics, more: now != self.catalog })
    }

    /// Commits the batch: its dead letters first, then each output that it moves.
    pub(super) async fn commit(&mut self, done: Done) -> Result<(), EngineError> {
        let Done { mut batch, takes, began, plan_took } = done;
        self.promise(COMMIT_PROMISE);
        let committing = Instant::now();
        self.commit_dead_letters(&mut batch).await?;
        let mut durations = PhaseDurations::default();
        durations.set(Phase::Plan, plan_took);
        durations.set(Phase::Read, batch.read_took);
        durations.set(Phase::Write, batch.write_took);
        let files = std::mem::take(&mut batch.written.outputs);
        for ((output, takes), files) in self.outputs.iter_mut().zip(&takes).zip(files) {
            if !takes.is_empty() {
                let version = output.commit(&batch, takes, files, &mut durations).await?;
                durations.set(Phase::Batch, began.elapsed());
                let report = output.report(&batch, takes, version, began, durations);
                self.engine.status.committed(output.table.owner.stream(), &report.borrow());
            }
        }
        durations.set(Phase::Commit, committing.elapsed());
        durations.set(Phase::Batch, began.elapsed());
        for phase in [Phase::Plan, Phase::Read, Phase::Write, Phase::Commit, Phase::Batch] {
            self.engine.metrics.batch(phase, durations.get(phase));
        }
        let Share { fates, payload_bytes } = batch.written.total();
        let ms = |phase| u64::try_from(durations.get(phase).as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            records = fates.records(),
            rows = fates.rows,
            dead_letters = fates.dead_letters,
            gaps = fates.gaps,
            payload_bytes,
            versions = ?self.outputs.iter().map(|o| o.table.version()).collect::<Vec<_>>(),
            read_ms = ms(Phase::Read),
            write_ms = ms(Phase::Write),
            commit_ms = ms(Phase::Commit),
            batch_ms = ms(Phase::Batch),
            "committed"
        );
        Ok(())
    }

    /// Tells the consumer group, and the metrics, how far the slowest output is.
    pub(super) fn acknowledge(&self) {
        let next: BTreeMap<TopicPartition, i64> = self
            .committed()
            .into_iter()
            .filter_map(|(partition, next)| Some((partition.id.clone(), *next.first()?)))
            .collect();
        self.tell_lag();
        let control = self.control.clone();
        tokio::task::spawn_blocking(move || control.publish(&next));
    }

    pub(super) fn ended(&self) -> Ended {
        self.ended
    }

    /// Lets work off the hot path come to its end.
    pub(super) async fn close(self) {
        for output in self.outputs {
            output.table.close().await;
        }
        if let Some(table) = self.dead_letters {
            table.close().await;
        }
    }

    /// By when the loop will be back here, for `/healthz`.
    fn promise(&self, within: Option<Duration>) {
        self.engine.status.loop_returns_within(within);
    }

    fn spec(&self) -> &Connector {
        &self.engine.spec
    }

    fn committed(&self) -> BTreeMap<Arc<SourcePartition>, BTreeSet<i64>> {
        let next: Vec<_> = self.outputs.iter().map(|output| output.table.next()).collect();
        plan::gather(&next)
    }

    /// Time left until the trigger is due; zero: now.
    fn until_trigger(&self) -> Duration {
        let Trigger::ProcessingTime { interval } = self.spec().trigger else {
            return Duration::ZERO;
        };
        let due = trigger::next_start_ms(interval, self.last_start_ms);
        Duration::from_millis(due.saturating_sub(wall_ms()))
    }

    /// Whether the trigger came; a stop that was requested comes first.
    async fn wait_for_trigger(&self) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.until_trigger()) => true,
            () = self.engine.shutdown.requested() => false,
        }
    }

    /// After a look that found nothing.
    fn idle_pause(&self) -> Duration {
        match self.spec().trigger {
            Trigger::ProcessingTime { interval }
                if interval > IDLE_POLL && self.waiting_since.is_none() =>
            {
                Duration::ZERO
            }
            _ => IDLE_POLL,
        }
    }

    /// Looks at the ends and starts to read, unless there is nothing or not yet enough.
    async fn plan(&mut self) -> Result<Option<Reading>, EngineError> {
        let began = Instant::now();
        let once = self.spec().trigger == Trigger::Once;
        if once && std::mem::replace(&mut self.once_planned, true) {
            return Ok(None);
        }
        self.last_start_ms = Some(wall_ms());
        let ids: Vec<TopicPartition> = self.catalog.partitions().map(|p| p.id).collect();
        self.ends = look(&self.control, move |c| c.offsets(&ids, OffsetSpec::Latest)).await?;
        self.tell_lag();
        let backlogs = self.backlogs();
        if !self.is_enough(plan::waiting(&backlogs)) {
            return Ok(None);
        }
        let limits = self.spec().limits;
        let (max_records, max_bytes) =
            if once { (u64::MAX, u64::MAX) } else { (limits.max_records, limits.max_bytes) };
        let planned = plan::plan(&backlogs, max_records);
        if planned.is_empty() {
            return Ok(None);
        }
        self.waiting_since = None;
        let held = self.held(&planned).await?;
        let (writer, takes) = self.writer(&planned);
        let targets = planned
            .iter()
            .map(|p| Target { partition: p.partition.clone(), end: p.range.end })
            .collect();
        let work = self.pipeline.start_batch(ReadJob { targets, max_bytes, held }, writer);
        Ok(Some(Reading { work: Box::pin(work), takes, began, plan_took: began.elapsed() }))
    }

    /// Each partition's progress per output, and its end as this trigger sees it. Where the dead-letter table is
    /// ahead, its progress is a cut, so that a range lies wholly within what it has judged or wholly after.
    fn backlogs(&self) -> Vec<Backlog> {
        plan::gather(self.outputs.iter().map(|output| &output.planned))
            .into_iter()
            .map(|(partition, mut next)| {
                let latest = self.ends.get(&partition.id).copied().unwrap_or(0);
                let end = match self.engine.available.get() {
                    Some(available) => {
                        latest.min(available.get(&partition.id).copied().unwrap_or(0))
                    }
                    None => latest,
                };
                let judged = self.dead_letters.as_ref().and_then(|t| t.next_of(&partition));
                next.extend(
                    judged.filter(|judged| next.first().is_some_and(|first| first < judged)),
                );
                Backlog { partition, next, end }
            })
            .collect()
    }

    /// Whether so many records are reason for a batch: `min_records`, but no longer than `max_delay`.
    fn is_enough(&mut self, waiting: u64) -> bool {
        if waiting == 0 {
            self.waiting_since = None;
            return false;
        }
        let limits = self.spec().limits;
        let ends = trigger::ends(self.spec().trigger);
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        ends || waiting >= limits.min_records || since.elapsed() >= limits.max_delay
    }

    /// Offsets in the planned ranges that are dead letters already.
    async fn held(&self, planned: &[PlannedRange]) -> Result<Held, EngineError> {
        let Some(table) = &self.dead_letters else {
            return Ok(Held::new());
        };
        let judged: Vec<_> = planned
            .iter()
            .filter(|p| table.next_of(&p.partition).is_some_and(|next| p.range.start < next))
            .map(|p| (p.partition.clone(), p.range))
            .collect();
        if judged.is_empty() {
            return Ok(Held::new());
        }
        let held = dead_letters::held(&table.store, &judged).await?;
        Ok(held.into_iter().map(|(partition, offsets)| (partition, Arc::new(offsets))).collect())
    }

    fn writer(
        &self,
        planned: &[PlannedRange],
    ) -> (BatchWriter, Vec<BTreeSet<Arc<SourcePartition>>>) {
        let takes: Vec<BTreeSet<Arc<SourcePartition>>> = self
            .outputs
            .iter()
            .map(|output| {
                let is_next = |p: &&PlannedRange| {
                    output.planned.get(&p.partition).is_some_and(|next| *next == p.range.start)
                };
                planned.iter().filter(is_next).map(|p| p.partition.clone()).collect()
            })
            .collect();
        let outputs = self
            .outputs
            .iter()
            .zip(&takes)
            .map(|(output, takes)| OutputFiles {
                files: output.table.files(),
                columns: output.columns.clone(),
                takes: takes.clone(),
            })
            .collect();
        let dead_letters = self.dead_letters.as_ref().map(Table::files);
        (BatchWriter { outputs, dead_letters }, takes)
    }

    fn judge(&mut self, batch: &Batch) -> Result<(), EngineError> {
        self.judged.add(&batch.written.total().fates);
        let records = self.judged.records();
        if records < JUDGED_RECORDS {
            return Ok(());
        }
        let bad = self.judged.dead_letters + self.judged.skipped;
        self.judged = Fates::default();
        let limit = self.spec().decode.bad_record_limit;
        if bad as f64 > limit * records as f64 {
            let first =
                batch.seen.first_bad.clone().unwrap_or_else(|| "in a batch before".to_owned());
            return Err(EngineError::TooManyBad { bad, records, limit, first });
        }
        Ok(())
    }

    /// Dead letters are a side stream with progress of its own. It is committed only when it has something to say:
    /// what lies between its progress and an output's was judged, and had none (docs/adr/0004).
    async fn commit_dead_letters(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        let files = std::mem::take(&mut batch.written.dead_letters);
        let Some(table) = self.dead_letters.as_mut().filter(|_| !files.is_empty()) else {
            return Ok(());
        };
        let (mut infos, mut below) = (Vec::new(), 0);
        for (partition, range) in &batch.ranges {
            let Some(last) = table.last(partition) else {
                continue;
            };
            let letters = batch.written.new_dead_letters.get(partition).copied().unwrap_or(0);
            if range.end > last.end {
                let gaps = last.end.abs_diff(range.end).saturating_sub(letters);
                infos.push(last.next(range.end, Fates { rows: letters, gaps, ..Fates::default() }));
            } else if letters > 0 {
                // Added to what was judged before: it moves nothing.
                below += letters;
                infos.push(last.next(last.end, Fates::default()));
            }
        }
        table.commit_with(infos, files, below).await?;
        Ok(())
    }

    /// While nothing comes: `txn`s that would expire are written again.
    async fn keep_alive(&mut self) -> Result<(), EngineError> {
        for output in &mut self.outputs {
            output.table.refresh_txns().await?;
        }
        if let Some(table) = &mut self.dead_letters {
            table.refresh_txns().await?;
        }
        Ok(())
    }

    fn tell_lag(&self) {
        for output in &self.outputs {
            let mut ends = Vec::new();
            for (partition, next) in output.table.next() {
                let Some(&end) = self.ends.get(&partition.id) else {
                    continue;
                };
                let records = end.saturating_sub(next).max(0).unsigned_abs();
                let newest = self.newest_ms.get(&partition).filter(|_| records > 0);
                let seconds = newest.map_or(0.0, |&ms| age(ms).as_secs_f64());
                self.engine.metrics.lag(&partition.id, records, seconds);
                ends.push((partition.id.clone(), end, seconds));
            }
            self.engine.status.end(output.table.owner.stream(), &ends);
        }
    }
}

/// Calls a look-up of Kafka's where blocking is allowed.
async fn look<T: Send + 'static>(
    control: &Arc<Control>,
    call: impl FnOnce(&Control) -> Result<T, crate::source::SourceError> + Send + 'static,
) -> Result<T, EngineError> {
    let control = control.clone();
    let answer = tokio::task::spawn_blocking(move || call(&control)).await;
    answer.map_err(|_| EngineError::ThreadGone("blocking"))?.map_err(EngineError::from)
}

async fn extent(
    control: &Arc<Control>,
    catalog: &Catalog,
    start: &Start,
) -> Result<Extent, EngineError> {
    let ids: Vec<TopicPartition> = catalog.partitions().map(|p| p.id).collect();
    let at = |spec| {
        let ids = ids.clone();
        look(control, move |c| c.offsets(&ids, spec))
    };
    let (earliest, latest) = (at(OffsetSpec::Earliest).await?, at(OffsetSpec::Latest).await?);
    let at_time = match start {
        Start::Timestamp(ms) => at(OffsetSpec::Timestamp(*ms)).await?,
        _ => BTreeMap::new(),
    };
    // −1: no record is that young.
    let at_time = at_time.into_iter().filter(|(_, offset)| *offset >= 0).collect();
    Ok(Extent { earliest, latest, at_time })
}

/// The topics that an output reads, as progress is told by them.
fn topics(catalog: &Catalog, wanted: Option<&[String]>) -> BTreeMap<String, Topic> {
    let is_wanted = |name: &String| wanted.is_none_or(|wanted| wanted.contains(name));
    catalog
        .0
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, entry)| {
            let partitions = i32::try_from(entry.partitions.len()).unwrap_or(i32::MAX);
            (name.clone(), Topic { id: entry.id.clone(), partitions })
        })
        .collect()
}

/// Holds a table's progress, and commits what must be said before anything is read.
async fn begin(
    table: &mut Table,
    spec: &Connector,
    topics: &BTreeMap<String, Topic>,
    extent: &Extent,
) -> Result<(), EngineError> {
    let standing = table.standing(topics)?;
    table.refuse_unanswered_restore().await?;
    table.hold(&standing).await?;
    let rules = Rules { start: &spec.source.start, on_data_loss: spec.source.on_data_loss };
    if !standing.first_run && spec.source.start != Start::Earliest {
        tracing::info!(
            table = table.store.table(),
            version = table.version(),
            "`source.start` is ignored: progress exists; use `sluice rewind` to read again"
        );
    }
    let infos = recovery::opening(rules, &standing, extent, |p| table.last(p).cloned())?;
    if !infos.is_empty() {
        table.begin(infos, &standing).await?;
    }
    Ok(())
}

/// The dead-letter table; partitions new to it begin where the outputs go on.
async fn open_dead_letters(
    spec: &Connector,
    catalog: &Catalog,
    starts: &BTreeMap<Arc<SourcePartition>, i64>,
) -> Result<Option<Table>, EngineError> {
    let Some(letters) =
        spec.dead_letters.as_ref().filter(|_| spec.decode.on_bad_record == OnBadRecord::DeadLetter)
    else {
        return Ok(None);
    };
    let mut table = Table::open(&TableSpec {
        owner: Owner::dead_letters(&spec.name),
        location: &letters.table,
        storage: &letters.storage,
        schema: &dead_letter_schema(),
        partition_by: &[],
        create: CreateTable::IfMissing,
        properties: &BTreeMap::new(),
        files: &DEAD_LETTER_FILES,
        config: &spec.fingerprint,
    })
    .await?;
    let standing = table.standing(&topics(catalog, None))?;
    table.hold(&standing).await?;
    let infos: Vec<PartitionInfo> = starts
        .iter()
        .filter(|(partition, _)| table.next_of(partition).is_none())
        .map(|(partition, &start)| PartitionInfo::at(partition, start, None))
        .collect();
    if !infos.is_empty() {
        table.begin(infos, &standing).await?;
    }
    Ok(Some(table))
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

fn commit_result(
    committed: &Result<crate::sink::Committed, CommitError>,
    before: u64,
) -> CommitResult {
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

fn wall_ms() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0)
}

/// Time since a moment in milliseconds since the Unix epoch; zero for the future.
fn age(ms: i64) -> Duration {
    let then = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    SystemTime::now().duration_since(then).unwrap_or_default()
}
