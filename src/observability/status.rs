//! The status of the running connector: one snapshot, written by the engine per batch, read by probes, the
//! status page and the progress bar.
//!
//! Readers get an `Arc` of the whole snapshot, so what they show is of one moment, and a slow reader never
//! holds the engine up. Nothing here is progress: the Delta log alone says what has been done.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::metrics::Phase;
use crate::offsets::{Fates, TopicPartition};

/// Where the connector stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Starting,
    /// Reading progress from the tables.
    Recovering,
    Running,
    /// Waiting after a passing error.
    BackingOff,
    /// Another instance commits: waiting for it to stop.
    StandingDown,
    Stopping,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Running => "running",
            Self::BackingOff => "backing off",
            Self::StandingDown => "standing down",
            Self::Stopping => "stopping",
        }
    }
}

/// The handle: the engine writes, everyone reads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Status(Arc<RwLock<Arc<Snapshot>>>);

/// Everything known at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub connector: String,
    pub started: SystemTime,
    pub state: State,
    pub state_since: SystemTime,
    /// A first recovery has succeeded.
    pub recovered: bool,
    pub last_error: Option<LastError>,
    pub outputs: BTreeMap<String, OutputStatus>,
    /// By when the loop promised to be back; `None`: no promise.
    pub loop_due: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    pub code: String,
    pub message: String,
    pub at: SystemTime,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutputStatus {
    /// As the user wrote it.
    pub table: String,
    /// `None` until progress has been read.
    pub table_version: Option<u64>,
    /// The last commit of this process.
    pub last_commit: Option<SystemTime>,
    pub last_batch: Option<LastBatch>,
    /// Since the process started.
    pub fates: Fates,
    pub partitions: BTreeMap<TopicPartition, PartitionStatus>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LastBatch {
    pub fates: Fates,
    pub payload_bytes: u64,
    pub durations: PhaseDurations,
    pub rates: Rates,
    began: Instant,
}

/// How long each phase of a batch took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseDurations([Duration; Phase::ALL.len()]);

impl PhaseDurations {
    pub fn set(&mut self, phase: Phase, took: Duration) {
        self.0[phase as usize] = took;
    }

    pub fn get(&self, phase: Phase) -> Duration {
        self.0[phase as usize]
    }
}

/// Spark's two rates, of the last batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Records of the batch over the time since the batch before it began; 0 for the first.
    pub input_per_second: f64,
    /// Records of the batch over its own duration. Below the input rate, the connector falls behind.
    pub processed_per_second: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartitionStatus {
    /// Next offset to read; `None`: no progress yet.
    pub committed: Option<i64>,
    /// The partition's end as last asked; `None` before that.
    pub end: Option<i64>,
    /// Age of the oldest record that is not committed.
    pub lag_seconds: f64,
}

impl PartitionStatus {
    /// Offsets to go; `None` while one of both is unknown.
    pub fn lag_records(&self) -> Option<u64> {
        Some(self.end?.saturating_sub(self.committed?).max(0).unsigned_abs())
    }
}

/// A batch that one output has committed.
#[derive(Debug, Clone)]
pub struct BatchReport<'a> {
    pub version: u64,
    pub committed_at: SystemTime,
    /// When the batch's trigger fired.
    pub began: Instant,
    pub fates: Fates,
    pub payload_bytes: u64,
    pub durations: PhaseDurations,
    /// Partition → next offset to read, of those that moved.
    pub committed: &'a [(TopicPartition, i64)],
}

impl Status {
    /// `outputs`: name and table, as the user wrote it.
    pub fn new<'a>(connector: &str, outputs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let outputs = outputs.into_iter().map(|(name, table)| {
            (name.to_owned(), OutputStatus { table: table.to_owned(), ..OutputStatus::default() })
        });
        let now = SystemTime::now();
        Self(Arc::new(RwLock::new(Arc::new(Snapshot {
            connector: connector.to_owned(),
            started: now,
            state: State::Starting,
            state_since: now,
            recovered: false,
            last_error: None,
            outputs: outputs.collect(),
            loop_due: None,
        }))))
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn enter(&self, state: State) {
        self.update(|s| {
            if s.state != state {
                (s.state, s.state_since) = (state, SystemTime::now());
            }
            s.recovered |= state == State::Running;
        });
    }

    /// An error ended a batch. The message must hold neither secrets nor payloads.
    pub fn failed(&self, code: &str, message: &str) {
        let error =
            LastError { code: code.to_owned(), message: message.to_owned(), at: SystemTime::now() };
        self.update(|s| s.last_error = Some(error));
    }

    /// Progress was read from an output's table.
    pub fn recovered(&self, output: &str, version: u64, committed: &[(TopicPartition, i64)]) {
        self.update(|s| {
            let output = s.output(output);
            output.table_version = Some(version);
            output.commit_offsets(committed);
        });
    }

    pub fn committed(&self, output: &str, report: &BatchReport<'_>) {
        self.update(|s| s.output(output).committed(report));
    }

    /// A partition's end as the broker told it, and the age of the oldest record that the output has to go.
    pub fn end(&self, output: &str, ends: &[(TopicPartition, i64, f64)]) {
        self.update(|s| {
            let output = s.output(output);
            for (partition, end, lag_seconds) in ends {
                let entry = output.partition(partition);
                (entry.end, entry.lag_seconds) = (Some(*end), *lag_seconds);
            }
        });
    }

    /// The loop promises to call again within `promise`; past it, `/healthz` fails. `None`: no promise.
    pub fn loop_returns_within(&self, promise: Option<Duration>) {
        self.update(|s| s.loop_due = promise.map(|promise| Instant::now() + promise));
    }

    fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current));
    }
}

impl Snapshot {
    /// Ready: progress has been read once, and the connector is not about to go.
    pub fn is_ready(&self) -> bool {
        self.recovered && self.state != State::Stopping
    }

    /// Alive: the loop has kept its promise to come back.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.loop_due.is_none_or(|due| now <= due)
    }

    /// Of all outputs and partitions: offsets committed by this process, and offsets to go.
    pub fn totals(&self) -> (u64, u64) {
        let partitions = self.outputs.values().flat_map(|output| output.partitions.values());
        let done = self.outputs.values().map(|output| output.fates.total()).sum();
        (done, partitions.filter_map(PartitionStatus::lag_records).sum())
    }

    fn output(&mut self, name: &str) -> &mut OutputStatus {
        self.outputs.entry(name.to_owned()).or_default()
    }
}

impl OutputStatus {
    fn committed(&mut self, report: &BatchReport<'_>) {
        self.table_version = Some(report.version);
        self.last_commit = Some(report.committed_at);
        self.fates.add(&report.fates);
        self.commit_offsets(report.committed);
        let before = self.last_batch.as_ref().map(|batch| batch.began);
        self.last_batch = Some(LastBatch {
            fates: report.fates,
            payload_bytes: report.payload_bytes,
            durations: report.durations,
            rates: rates(report, before),
            began: report.began,
        });
    }

    fn commit_offsets(&mut self, committed: &[(TopicPartition, i64)]) {
        for (partition, offset) in committed {
            self.partition(partition).committed = Some(*offset);
        }
    }

    fn partition(&mut self, partition: &TopicPartition) -> &mut PartitionStatus {
        self.partitions.entry(partition.clone()).or_default()
    }
}

fn rates(report: &BatchReport<'_>, before: Option<Instant>) -> Rates {
    let records = report.fates.records();
    let since = before.map(|before| report.began.saturating_duration_since(before));
    Rates {
        input_per_second: since.map_or(0.0, |since| per_second(records, since)),
        processed_per_second: per_second(records, report.durations.get(Phase::Batch)),
    }
}

fn per_second(records: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { records as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status::new("orders", [("raw", "./lake/orders")])
    }

    fn report(began: Instant, rows: u64, committed: &[(TopicPartition, i64)]) -> BatchReport<'_> {
        let mut durations = PhaseDurations::default();
        durations.set(Phase::Batch, Duration::from_secs(2));
        BatchReport {
            version: 7,
            committed_at: SystemTime::UNIX_EPOCH,
            began,
            fates: Fates { rows, gaps: 1, ..Fates::default() },
            payload_bytes: 10,
            durations,
            committed,
        }
    }

    #[test]
    fn ready_after_the_first_recovery_until_stopping() {
        let status = status();
        for (state, ready) in [
            (State::Starting, false),
            (State::Recovering, false),
            (State::BackingOff, false),
            (State::Running, true),
            (State::Recovering, true),
            (State::BackingOff, true),
            (State::StandingDown, true),
            (State::Stopping, false),
        ] {
            status.enter(state);
            assert_eq!(status.snapshot().is_ready(), ready, "{state:?}");
        }
    }

    #[test]
    fn alive_unless_the_loop_breaks_its_promise() {
        let status = status();
        let now = Instant::now();
        let year = Duration::from_secs(365 * 86400);
        assert!(status.snapshot().is_alive(now + year), "no promise, nothing to break");
        status.loop_returns_within(Some(Duration::from_secs(60)));
        assert!(status.snapshot().is_alive(now + Duration::from_secs(59)));
        assert!(!status.snapshot().is_alive(now + Duration::from_secs(3600)));
        status.loop_returns_within(None);
        assert!(status.snapshot().is_alive(now + year));
    }

    #[test]
    fn rates_are_sparks() {
        let (status, began) = (status(), Instant::now());
        status.committed("raw", &report(began, 100, &[]));
        let first = status.snapshot().outputs["raw"].last_batch.clone().expect("a batch").rates;
        assert_eq!(first, Rates { input_per_second: 0.0, processed_per_second: 50.0 });
        status.committed("raw", &report(began + Duration::from_secs(10), 100, &[]));
        let second = status.snapshot().outputs["raw"].last_batch.clone().expect("a batch").rates;
        assert_eq!(second, Rates { input_per_second: 10.0, processed_per_second: 50.0 });
    }

    #[test]
    fn lag_is_what_is_left_to_commit() {
        let status = status();
        let partition = TopicPartition::new("orders", 0);
        status.recovered("raw", 3, &[(partition.clone(), 40)]);
        assert_eq!(status.snapshot().totals(), (0, 0), "the end is not known yet");
        status.end("raw", &[(partition.clone(), 100, 1.5)]);
        assert_eq!(status.snapshot().totals(), (0, 60));
        status.committed("raw", &report(Instant::now(), 59, &[(partition.clone(), 100)]));
        assert_eq!(status.snapshot().totals(), (60, 0));
        let partition = status.snapshot().outputs["raw"].partitions[&partition];
        assert_eq!((partition.committed, partition.lag_records()), (Some(100), Some(0)));
    }

    #[test]
    fn a_reader_keeps_its_moment() {
        let status = status();
        let before = status.snapshot();
        status.failed("SL2001", "kafka-0:9093 closed the connection");
        assert_eq!(before.last_error, None);
        assert_eq!(status.snapshot().last_error.as_ref().expect("an error").code, "SL2001");
    }
}
