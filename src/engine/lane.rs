//! One reader and the outputs that it serves: the steps that a batch goes through.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{BatchWriter, OutputRows, OutputWritten, Share};
use super::decoders::Decoders;
use super::lanes::{self, Shared};
use super::output::{Ends, Output, age};
use super::pipeline::{Batch, Held, Pipeline, ReadJob};
use super::plan::{self, Backlog, PlannedRange};
use super::side::SideRows;
use super::table::now_ms;
use super::view::look;
use super::{Ended, EngineError, trigger};
use crate::chunk::SourcePartition;
use crate::config::{Connector, Trigger};
use crate::observability::{Phase, PhaseDurations};
use crate::offsets::{Fates, TopicPartition};
use crate::source::{Control, OffsetSpec, Reader, Target};

/// With an interval of zero and nothing to do: how often the broker is asked. Half of it is added to the latency of
/// a record that comes after a pause.
const IDLE_POLL: Duration = Duration::from_millis(20);
/// How often `txn`s are looked at that would expire. The shortest life they may have is an hour.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(60);
/// How often topics are looked at while nothing comes.
const TOPICS_EVERY: Duration = Duration::from_secs(10);
/// Fewer records than this are not judged by `bad_record_limit` alone, but with the batches after them: one bad
/// record in a batch of one is no wrong schema.
const JUDGED_RECORDS: u64 = 100;
/// The longest pause between looks at the ends by which partitions are idle.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// A commit that takes longer than all its time-outs together is stuck: `/healthz` says so.
const COMMIT_PROMISE: Option<Duration> = Some(Duration::from_secs(600));
/// The same for the pauses between batches, beyond the trigger's interval.
const IDLE_PROMISE: Duration = Duration::from_secs(60);

/// Reads and writes a batch; of what is written, there is a part for each of the lane's outputs.
type Work = dyn Future<Output = Result<(Batch, Vec<OutputWritten>), EngineError>> + Send;

/// A batch under way: planned, and being read and written.
pub(super) struct Reading {
    work: Pin<Box<Work>>,
    planned: Planned,
}

/// A batch that was read and written.
pub(super) struct Done {
    batch: Batch,
    /// In the order of the lane's outputs.
    written: Vec<OutputWritten>,
    planned: Planned,
}

/// What is known of a batch from its plan.
struct Planned {
    /// Per output, the partitions whose ranges are new to it.
    takes: Vec<BTreeSet<Arc<SourcePartition>>>,
    began: Instant,
    took: Duration,
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

pub(super) struct Lane<'a> {
    shared: Shared<'a>,
    outputs: Vec<Output>,
    /// Its outputs are behind: it reads without pauses until one has caught up.
    catches_up: bool,
    pipeline: Pipeline,
    ends: BTreeMap<TopicPartition, i64>,
    newest_ms: BTreeMap<Arc<SourcePartition>, i64>,
    /// By which partitions are idle; asked for only where windows wait for it.
    confirmed: Ends,
    ends_asked: Option<Instant>,
    last_start_ms: Option<u64>,
    topics_seen: Instant,
    kept_alive: Instant,
    /// There have been records, but fewer than `min_records`, since then.
    waiting_since: Option<Instant>,
    /// Not yet enough to be judged by `bad_record_limit`.
    unjudged: Vec<Fates>,
    once_planned: bool,
    ended: Ended,
}

impl<'a> Lane<'a> {
    /// Starts to fetch where the outputs go on.
    pub(super) fn start(
        shared: Shared<'a>,
        outputs: Vec<Output>,
        decoders: Decoders,
        catches_up: bool,
    ) -> Result<Self, EngineError> {
        let source = &shared.engine.spec.source;
        let reader = Reader::assign(source, &lanes::starts(&outputs), decoders.wants_headers())?;
        Ok(Self {
            pipeline: Pipeline::start(reader, decoders)?,
            outputs,
            catches_up,
            ends: shared.view.extent.latest.clone(),
            newest_ms: BTreeMap::new(),
            confirmed: Ends::new(),
            ends_asked: None,
            last_start_ms: None,
            topics_seen: Instant::now(),
            kept_alive: Instant::now(),
            waiting_since: None,
            unjudged: vec![Fates::default(); shared.groups.len()],
            once_planned: false,
            ended: Ended::Done,
            shared,
        })
    }

    /// Waits for the trigger and for something to read, then starts to read it. `None`: the lane is at its end.
    pub(super) async fn next_batch(&mut self) -> Result<Option<Reading>, EngineError> {
        let shutdown = self.shared.engine.shutdown.clone();
        loop {
            self.promise(Some(self.until_trigger() + IDLE_PROMISE));
            tokio::select! {
                () = tokio::time::sleep(self.until_trigger()) => {}
                () = shutdown.requested() => return Ok(None),
            }
            if let Some(reading) = self.plan().await? {
                return Ok(Some(reading));
            }
            if self.ends() {
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
                () = tokio::time::sleep(IDLE_POLL) => {}
                () = shutdown.requested() => return Ok(None),
            }
        }
    }

    /// Starts to read the next batch if its trigger is due and there is something; waits for neither.
    pub(super) async fn next_batch_if_due(&mut self) -> Result<Option<Reading>, EngineError> {
        if self.shared.engine.shutdown.is_requested() || self.until_trigger() > Duration::ZERO {
            return Ok(None);
        }
        self.plan().await
    }

    /// The batch, once it is read and written, judged by `bad_record_limit`.
    pub(super) async fn read(&mut self, reading: Reading) -> Result<Done, EngineError> {
        let Reading { work, planned } = reading;
        // A large batch may rightly take hours; the reader itself notices when nothing comes.
        self.promise(None);
        let (batch, written) = work.await?;
        self.judge(&batch)?;
        for (output, takes) in self.outputs.iter_mut().zip(&planned.takes) {
            for (partition, range) in &batch.ranges {
                if takes.contains(partition) {
                    output.planned.insert(partition.clone(), range.end);
                }
            }
        }
        self.newest_ms.extend(batch.seen.newest_ms.clone());
        let written = self.finish(&batch, written, &planned).await?;
        Ok(Done { batch, written, planned })
    }

    /// Finishes the epochs of outputs with windows.
    async fn finish(
        &mut self,
        batch: &Batch,
        written: Vec<OutputWritten>,
        planned: &Planned,
    ) -> Result<Vec<OutputWritten>, EngineError> {
        let mut finished = Vec::new();
        for ((output, takes), mut written) in
            self.outputs.iter_mut().zip(&planned.takes).zip(written)
        {
            let moved =
                batch.ranges.iter().any(|(p, range)| takes.contains(p) && !range.is_empty());
            written.rows = output.finish(written.rows, moved, &self.confirmed).await?;
            finished.push(written);
        }
        Ok(finished)
    }

    /// Asks the broker for the topics. What was read under ids that are still the same belongs to them.
    pub(super) async fn look_at_topics(&mut self) -> Result<Changes, EngineError> {
        let now = look(&self.shared.view.control, Control::discover).await?;
        self.topics_seen = Instant::now();
        let catalog = &self.shared.view.catalog;
        Ok(Changes { other_topics: catalog.lost_by(&now), more: now != *catalog })
    }

    /// Commits the batch: its dead letters first, then each output that it moves.
    pub(super) async fn commit(&mut self, done: Done) -> Result<(), EngineError> {
        let Done { mut batch, written, planned } = done;
        self.promise(COMMIT_PROMISE);
        let committing = Instant::now();
        if let Some(letters) = &self.shared.dead_letters {
            let files = std::mem::take(&mut batch.written.dead_letters);
            let new = std::mem::take(&mut batch.written.new_dead_letters);
            letters.commit(SideRows { files, new }, batch.ranges.iter()).await?;
        }
        let mut durations = PhaseDurations::default();
        durations.set(Phase::Plan, planned.took);
        durations.set(Phase::Read, batch.read_took);
        durations.set(Phase::Write, batch.write_took);
        for ((output, takes), written) in self.outputs.iter_mut().zip(&planned.takes).zip(written) {
            if written.is_to_be_committed(takes) {
                let landed = output.commit(&batch, takes, written, &mut durations).await?;
                durations.set(Phase::Batch, planned.began.elapsed());
                let report = output.report(&batch, takes, landed, planned.began, durations);
                self.shared.engine.status.committed(output.name(), &report.borrow());
            }
        }
        durations.set(Phase::Commit, committing.elapsed());
        durations.set(Phase::Batch, planned.began.elapsed());
        self.tell_batch(&batch, durations);
        self.compare_with_front();
        self.keep_alive().await
    }

    /// Tells the consumer group, and the metrics, how far the slowest output is.
    pub(super) fn acknowledge(&self) {
        self.tell_lag();
        if self.catches_up {
            // The group's offsets are those of the outputs that stand together.
            return;
        }
        let next = lanes::starts(&self.outputs);
        let next = next.into_iter().map(|(partition, next)| (partition.id.clone(), next)).collect();
        let control = self.shared.view.control.clone();
        tokio::task::spawn_blocking(move || control.publish(&next));
    }

    /// How the lane ended when there was no next batch.
    pub(super) fn ended(&self) -> Ended {
        self.ended
    }

    /// Whether an output of the catch-up lane stands with the others now.
    pub(super) fn has_caught_up(&self) -> bool {
        self.ended == Ended::Changed
    }

    /// Lets work off the hot path come to its end.
    pub(super) async fn close(self) {
        for output in self.outputs {
            output.close().await;
        }
        if let Some(letters) = self.shared.dead_letters {
            letters.close().await;
        }
    }

    fn spec(&self) -> &Connector {
        &self.shared.engine.spec
    }

    /// Whether the lane is done when what was there at the start is.
    fn ends(&self) -> bool {
        trigger::ends(self.spec().trigger)
    }

    /// By when the loop will be back here, for `/healthz`.
    fn promise(&self, within: Option<Duration>) {
        self.shared.engine.status.loop_returns_within(within);
    }

    /// Time left until the trigger is due; zero: now.
    fn until_trigger(&self) -> Duration {
        Duration::from_millis(self.due_ms().saturating_sub(wall_ms()))
    }

    fn due_ms(&self) -> u64 {
        match self.spec().trigger {
            Trigger::ProcessingTime { interval } if !self.catches_up => {
                trigger::next_start_ms(interval, self.last_start_ms)
            }
            _ => 0,
        }
    }

    /// Looks at the ends and starts to read, unless there is nothing or not yet enough.
    async fn plan(&mut self) -> Result<Option<Reading>, EngineError> {
        let began = Instant::now();
        let once = self.spec().trigger == Trigger::Once;
        if once && std::mem::replace(&mut self.once_planned, true) {
            return Ok(None);
        }
        if self.last_start_ms.is_some() && self.due_ms() > 0 {
            let delay = wall_ms().saturating_sub(self.due_ms());
            self.shared.engine.metrics.trigger_delay(Duration::from_millis(delay));
        }
        self.last_start_ms = Some(wall_ms());
        let ids = self.ids();
        self.ends =
            look(&self.shared.view.control, move |c| c.offsets(&ids, OffsetSpec::Latest)).await?;
        self.confirm_ends().await?;
        self.tell_lag();
        let limits = self.spec().limits;
        let (max_records, max_bytes) =
            if once { (u64::MAX, u64::MAX) } else { (limits.max_records, limits.max_bytes) };
        let ahead: BTreeSet<_> = self.outputs.iter().flat_map(Output::ahead).collect();
        let backlogs = plan::without(self.backlogs().await, &ahead);
        let planned = match self.is_enough(plan::waiting(&backlogs)) {
            true => plan::plan(&backlogs, max_records),
            false => Vec::new(),
        };
        if planned.is_empty() && !self.is_due() {
            return Ok(None);
        }
        self.waiting_since = None;
        let held = match &self.shared.dead_letters {
            Some(letters) => letters.held(&planned).await?,
            None => Held::new(),
        };
        let (writer, takes) = self.writer(&planned).await?;
        let target = |p: &PlannedRange| Target { partition: p.partition.clone(), end: p.range.end };
        let targets = planned.iter().map(target).collect();
        let work = self.pipeline.start_batch(ReadJob { targets, max_bytes, held }, writer);
        let planned = Planned { takes, began, took: began.elapsed() };
        Ok(Some(Reading { work: Box::pin(work), planned }))
    }

    /// Each partition's progress per output, and its end as this trigger sees it. Where the dead-letter table is
    /// ahead, its progress is a cut, so that a range lies wholly within what it has judged or wholly after.
    async fn backlogs(&self) -> Vec<Backlog> {
        let judged = match &self.shared.dead_letters {
            Some(letters) => letters.judged().await,
            None => BTreeMap::new(),
        };
        let available = self.shared.engine.available.get();
        plan::gather(self.outputs.iter().map(|output| &output.planned))
            .into_iter()
            .map(|(partition, mut next)| {
                let latest = self.ends.get(&partition.id).copied().unwrap_or(0);
                let at_start = available.map(|ends| ends.get(&partition.id).copied().unwrap_or(0));
                let end = at_start.map_or(latest, |at_start| latest.min(at_start));
                let cut = judged.get(&partition).copied();
                next.extend(cut.filter(|cut| next.first().is_some_and(|first| first < cut)));
                Backlog { partition, next, end }
            })
            .collect()
    }

    /// Whether windows of an output have something to commit though there is nothing to read: a partition has become idle,
    /// or is new; open windows are to be written.
    fn is_due(&mut self) -> bool {
        let ends = self.ends();
        let confirmed = &self.confirmed;
        self.outputs.iter_mut().any(|output| output.is_due(confirmed, ends))
    }

    /// Asks for the high watermarks by which partitions are idle, often enough for the shortest time-out. An open
    /// transaction holds back the end that is read to, but not these.
    async fn confirm_ends(&mut self) -> Result<(), EngineError> {
        let Some(timeout) = self.outputs.iter().filter_map(Output::idle_timeout).min() else {
            return Ok(());
        };
        let pause = (timeout / 4).min(CONFIRM_EVERY);
        if self.ends_asked.is_some_and(|asked| asked.elapsed() < pause) {
            return Ok(());
        }
        let asked = Instant::now();
        let ids = self.ids();
        let ends = look(&self.shared.view.control, move |c| c.high_watermarks(&ids)).await?;
        self.confirmed = ends.into_iter().map(|(id, end)| (id, (end, asked))).collect();
        self.ends_asked = Some(asked);
        Ok(())
    }

    fn ids(&self) -> Vec<TopicPartition> {
        self.shared.view.catalog.partitions().map(|partition| partition.id).collect()
    }

    /// Whether so many records are reason for a batch: `min_records`, but no longer than `max_delay`.
    fn is_enough(&mut self, waiting: u64) -> bool {
        if waiting == 0 {
            self.waiting_since = None;
            return false;
        }
        let limits = self.spec().limits;
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        self.ends() || waiting >= limits.min_records || since.elapsed() >= limits.max_delay
    }

    async fn writer(
        &self,
        planned: &[PlannedRange],
    ) -> Result<(BatchWriter, Vec<BTreeSet<Arc<SourcePartition>>>), EngineError> {
        let takes = |output: &Output| -> BTreeSet<Arc<SourcePartition>> {
            let is_next =
                |p: &&PlannedRange| output.planned.get(&p.partition) == Some(&p.range.start);
            planned.iter().filter(is_next).map(|p| p.partition.clone()).collect()
        };
        let takes: Vec<_> = self.outputs.iter().map(takes).collect();
        let mut outputs = Vec::new();
        for (output, takes) in self.outputs.iter().zip(&takes) {
            outputs.push(OutputRows::new(output.rows(planned).await?, takes.clone()));
        }
        let dead_letters = match &self.shared.dead_letters {
            Some(letters) => Some(letters.files().await),
            None => None,
        };
        let once = self.spec().trigger == Trigger::Once;
        let holds = outputs.iter().any(|output| output.rows.wait_in_memory());
        let most = (once && holds).then_some(self.spec().limits);
        Ok((BatchWriter { outputs, dead_letters, most }, takes))
    }

    /// Topics that are decoded alike are judged together.
    fn judge(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let groups = self.shared.groups.clone();
        for (unjudged, group) in self.unjudged.iter_mut().zip(groups.iter()) {
            for (partition, share) in &batch.written.shares {
                if group.topics.contains(&*partition.id.topic) {
                    unjudged.add(&share.fates);
                }
            }
            let records = unjudged.records();
            if records < JUDGED_RECORDS {
                continue;
            }
            let bad = unjudged.dead_letters + unjudged.skipped;
            *unjudged = Fates::default();
            let limit = group.decode.bad_record_limit;
            if bad as f64 > limit * records as f64 {
                let first =
                    batch.seen.first_bad.clone().unwrap_or_else(|| "in a batch before".to_owned());
                return Err(EngineError::TooManyBad { bad, records, limit, first });
            }
        }
        Ok(())
    }

    /// After a commit: those that stand together move the front, one behind looks whether it has reached it.
    fn compare_with_front(&mut self) {
        let front = &self.shared.front;
        if !self.catches_up {
            self.outputs.iter().for_each(|output| front.reached(&output.planned));
            return;
        }
        // Half a batch: the front goes on while the lanes are put together.
        let near = self.spec().limits.max_records / 2;
        if self.outputs.iter().any(|output| front.ahead_of(&output.planned) <= near) {
            self.ended = Ended::Changed;
        }
    }

    /// Writes `txn`s again that would expire: those of partitions in which nothing comes.
    async fn keep_alive(&mut self) -> Result<(), EngineError> {
        if self.kept_alive.elapsed() < KEEP_ALIVE_EVERY {
            return Ok(());
        }
        self.kept_alive = Instant::now();
        for output in &mut self.outputs {
            output.refresh_txns().await?;
        }
        match &self.shared.dead_letters {
            Some(letters) => letters.refresh_txns().await,
            None => Ok(()),
        }
    }

    fn tell_batch(&self, batch: &Batch, durations: PhaseDurations) {
        for phase in [Phase::Plan, Phase::Read, Phase::Write, Phase::Commit, Phase::Batch] {
            self.shared.engine.metrics.batch(phase, durations.get(phase));
        }
        let Share { fates, payload_bytes } = batch.written.total();
        let ms = |phase| u64::try_from(durations.get(phase).as_millis()).unwrap_or(u64::MAX);
        let versions: Vec<_> =
            self.outputs.iter().map(|o| format!("{}={}", o.name(), o.table.version())).collect();
        tracing::info!(
            records = fates.records(),
            rows = fates.rows,
            dead_letters = fates.dead_letters,
            gaps = fates.gaps,
            payload_bytes,
            versions = versions.join(","),
            read_ms = ms(Phase::Read),
            write_ms = ms(Phase::Write),
            commit_ms = ms(Phase::Commit),
            batch_ms = ms(Phase::Batch),
            "committed"
        );
    }

    fn tell_lag(&self) {
        for output in &self.outputs {
            let mut ends = Vec::new();
            for (partition, next) in output.table.next() {
                let Some(&end) = self.ends.get(&partition.id) else { continue };
                let records = end.saturating_sub(next).max(0).unsigned_abs();
                let newest = self.newest_ms.get(&partition).filter(|_| records > 0);
                let seconds = newest.map_or(0.0, |&ms| age(ms).as_secs_f64());
                self.shared.engine.metrics.lag(&partition.id, records, seconds);
                ends.push((partition.id.clone(), end, seconds));
            }
            self.shared.engine.status.end(output.name(), &ends);
        }
    }
}

fn wall_ms() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0)
}
