//! The metrics facade: typed handles over the catalog, resolved once.
//!
//! Recording is an atomic add; nothing is looked up or allocated per record or per batch, but for lag (one lock
//! per partition and batch) and errors (rare). The recorder belongs to [`Metrics`] and is not the process's
//! global one, so two connectors in one process, or two tests, don't mix.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::catalog::{self, CATALOG, Descriptor, Kind};
use crate::offsets::{Fates, TopicPartition};

/// A phase of a batch, as in Spark's `durationMs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Asking Kafka for the ends and cutting the ranges.
    Plan,
    /// Fetching and decoding.
    Read,
    /// Parquet files, until the store has them.
    Write,
    /// The log entry: compare, then put.
    Commit,
    /// Telling the consumer group.
    Acknowledge,
    /// From the trigger to the acknowledgement.
    Batch,
}

impl Phase {
    pub const ALL: [Self; 6] =
        [Self::Plan, Self::Read, Self::Write, Self::Commit, Self::Acknowledge, Self::Batch];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Read => "read",
            Self::Write => "write",
            Self::Commit => "commit",
            Self::Acknowledge => "acknowledge",
            Self::Batch => "batch",
        }
    }
}

/// How an attempt to commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitResult {
    Committed,
    /// Committed, after other writers had taken the version first.
    Rebased,
    Fenced,
    Failed,
}

impl CommitResult {
    const ALL: [Self; 4] = [Self::Committed, Self::Rebased, Self::Fenced, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Rebased => "rebased",
            Self::Fenced => "fenced",
            Self::Failed => "failed",
        }
    }
}

/// Whether lag has one series per partition, or one per topic (the sum of records, the largest age).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LagDetail {
    PerPartition,
    PerTopic,
}

/// All metrics of one connector. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    phases: [Histogram; Phase::ALL.len()],
    trigger_interval: Gauge,
    trigger_delay: Histogram,
    recoveries: Counter,
    lag_detail: LagDetail,
    lag: Mutex<BTreeMap<TopicPartition, Lag>>,
    /// Batches since the histograms' samples were last folded into their buckets.
    batches: AtomicU32,
}

struct Lag {
    records: u64,
    seconds: f64,
    handles: LagHandles,
}

#[derive(Clone)]
struct LagHandles {
    records: Gauge,
    seconds: Gauge,
}

/// Samples wait in memory until they are folded into buckets, which only a scrape does by itself; without
/// one they would grow for ever.
const FOLD_EVERY_BATCHES: u32 = 64;

impl Metrics {
    /// `connector` becomes a label of every series.
    pub fn new(connector: &str, lag_detail: LagDetail) -> Self {
        let recorder = recorder(connector);
        let version = gauge(&recorder, &catalog::BUILD_INFO, &[env!("CARGO_PKG_VERSION")]);
        version.set(1.0);
        Self(Arc::new(Inner {
            handle: recorder.handle(),
            phases: Phase::ALL
                .map(|phase| histogram(&recorder, &catalog::BATCH_DURATION, &["", phase.as_str()])),
            trigger_interval: gauge(&recorder, &catalog::TRIGGER_INTERVAL, &[]),
            trigger_delay: histogram(&recorder, &catalog::TRIGGER_DELAY, &[]),
            recoveries: counter(&recorder, &catalog::RECOVERIES, &[]),
            lag_detail,
            lag: Mutex::default(),
            batches: AtomicU32::new(0),
            recorder,
        }))
    }

    /// The metrics of one output; every series exists from now on, at 0.
    pub fn output(&self, name: &str) -> OutputMetrics {
        let recorder = &self.0.recorder;
        OutputMetrics {
            fates: Fates::NAMES.map(|fate| counter(recorder, &catalog::RECORDS, &[name, fate])),
            bytes: counter(recorder, &catalog::BYTES, &[name]),
            files: counter(recorder, &catalog::FILES, &[name]),
            file_bytes: counter(recorder, &catalog::FILE_BYTES, &[name]),
            commits: CommitResult::ALL
                .map(|result| counter(recorder, &catalog::COMMITS, &[name, result.as_str()])),
            phases: Phase::ALL.map(|phase| {
                histogram(recorder, &catalog::BATCH_DURATION, &[name, phase.as_str()])
            }),
            last_commit: gauge(recorder, &catalog::LAST_COMMIT, &[name]),
            table_version: gauge(recorder, &catalog::TABLE_VERSION, &[name]),
            latency: histogram(recorder, &catalog::LATENCY, &[name]),
        }
    }

    /// The metrics that an output has if it has windows.
    pub fn windows(&self, output: &str) -> WindowMetrics {
        let recorder = &self.0.recorder;
        WindowMetrics {
            watermark: gauge(recorder, &catalog::WATERMARK, &[output]),
            state_rows: gauge(recorder, &catalog::STATE_ROWS, &[output]),
            state_bytes: gauge(recorder, &catalog::STATE_BYTES, &[output]),
        }
    }

    /// A phase that all outputs share.
    pub fn batch(&self, phase: Phase, took: Duration) {
        self.0.phases[phase as usize].record(took.as_secs_f64());
        if phase == Phase::Batch {
            self.fold_now_and_then();
        }
    }

    pub fn trigger_interval(&self, interval: Duration) {
        self.0.trigger_interval.set(interval.as_secs_f64());
    }

    /// How much later than planned a batch began.
    pub fn trigger_delay(&self, delay: Duration) {
        self.0.trigger_delay.record(delay.as_secs_f64());
    }

    /// Progress was read from the tables.
    pub fn recovered(&self) {
        self.0.recoveries.increment(1);
    }

    /// An error ended a batch; `code` is its message code.
    pub fn error(&self, code: &str) {
        counter(&self.0.recorder, &catalog::ERRORS, &[code]).increment(1);
    }

    /// Lag of a partition, of its slowest output.
    pub fn lag(&self, partition: &TopicPartition, records: u64, seconds: f64) {
        let mut lag = self.0.lag.lock().unwrap_or_else(PoisonError::into_inner);
        if !lag.contains_key(partition) {
            let handles = self.lag_handles(partition);
            lag.insert(partition.clone(), Lag { records: 0, seconds: 0.0, handles });
        }
        let entry = lag.get_mut(partition).expect("it was inserted above");
        (entry.records, entry.seconds) = (records, seconds);
        let handles = entry.handles.clone();
        let (records, seconds) = match self.0.lag_detail {
            LagDetail::PerPartition => (records, seconds),
            LagDetail::PerTopic => topic_lag(&lag, &partition.topic),
        };
        handles.records.set(records as f64);
        handles.seconds.set(seconds);
    }

    /// A partition that no longer exists (a topic recreated with fewer): its lag is 0 from now on.
    pub fn partition_gone(&self, partition: &TopicPartition) {
        self.lag(partition, 0, 0.0);
    }

    /// All series in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.handle.render()
    }

    fn lag_handles(&self, partition: &TopicPartition) -> LagHandles {
        let number = match self.0.lag_detail {
            LagDetail::PerPartition => partition.partition.to_string(),
            LagDetail::PerTopic => String::new(),
        };
        let labels = [&*partition.topic, &*number];
        LagHandles {
            records: gauge(&self.0.recorder, &catalog::LAG_RECORDS, &labels),
            seconds: gauge(&self.0.recorder, &catalog::LAG_SECONDS, &labels),
        }
    }

    fn fold_now_and_then(&self) {
        let batches = self.0.batches.fetch_add(1, Ordering::Relaxed) + 1;
        if batches.is_multiple_of(FOLD_EVERY_BATCHES) {
            self.0.handle.run_upkeep();
        }
    }
}

/// What an output with windows tells besides.
#[derive(Clone)]
pub struct WindowMetrics {
    watermark: Gauge,
    state_rows: Gauge,
    state_bytes: Gauge,
}

impl WindowMetrics {
    /// The windows as of a commit; the watermark in microseconds since 1970, if there is one yet.
    pub fn reached(&self, watermark: Option<i64>, state_rows: usize, state_bytes: usize) {
        self.watermark.set(watermark.unwrap_or(0) as f64 / 1e6);
        self.state_rows.set(state_rows as f64);
        self.state_bytes.set(state_bytes as f64);
    }
}

/// One output's metrics. Cheap to clone.
#[derive(Clone)]
pub struct OutputMetrics {
    /// In the order of [`Fates::NAMES`].
    fates: [Counter; Fates::NAMES.len()],
    bytes: Counter,
    files: Counter,
    file_bytes: Counter,
    commits: [Counter; CommitResult::ALL.len()],
    phases: [Histogram; Phase::ALL.len()],
    last_commit: Gauge,
    table_version: Gauge,
    latency: Histogram,
}

impl OutputMetrics {
    /// What became of a committed batch's offsets, and the bytes of its keys and values.
    pub fn records(&self, fates: &Fates, payload_bytes: u64) {
        for (counter, count) in self.fates.iter().zip(fates.counts()) {
            counter.increment(count);
        }
        self.bytes.increment(payload_bytes);
    }

    /// The data files that a commit added.
    pub fn files(&self, files: u64, bytes: u64) {
        self.files.increment(files);
        self.file_bytes.increment(bytes);
    }

    /// An attempt to commit ended.
    pub fn commit(&self, result: CommitResult) {
        self.commits[result as usize].increment(1);
    }

    /// A commit landed as this version, now.
    pub fn landed(&self, version: u64, at: SystemTime) {
        self.table_version.set(version as f64);
        self.last_commit.set(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// A phase of this output's own.
    pub fn batch(&self, phase: Phase, took: Duration) {
        self.phases[phase as usize].record(took.as_secs_f64());
    }

    /// From the oldest record of a batch to its commit.
    pub fn latency(&self, oldest: Duration) {
        self.latency.record(oldest.as_secs_f64());
    }
}

fn topic_lag(lag: &BTreeMap<TopicPartition, Lag>, topic: &str) -> (u64, f64) {
    lag.iter()
        .filter(|(partition, _)| &*partition.topic == topic)
        .fold((0, 0.0), |(records, seconds), (_, l)| (records + l.records, l.seconds.max(seconds)))
}

fn recorder(connector: &str) -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new().add_global_label("connector", connector);
    for metric in CATALOG.iter().filter(|metric| metric.kind == Kind::Histogram) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
            .expect("the catalog's histograms have buckets");
    }
    let recorder = builder.build_recorder();
    for metric in CATALOG {
        describe(&recorder, metric);
    }
    recorder
}

fn describe(recorder: &PrometheusRecorder, metric: &Descriptor) {
    let help = SharedString::const_str(metric.help);
    match metric.kind {
        Kind::Counter => recorder.describe_counter(metric.name.into(), None, help),
        Kind::Gauge => recorder.describe_gauge(metric.name.into(), None, help),
        Kind::Histogram => recorder.describe_histogram(metric.name.into(), None, help),
    }
}

const METADATA: Metadata<'static> = Metadata::new("sluice", Level::INFO, None);

fn counter(recorder: &PrometheusRecorder, metric: &Descriptor, labels: &[&str]) -> Counter {
    recorder.register_counter(&key(metric, labels), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, metric: &Descriptor, labels: &[&str]) -> Gauge {
    recorder.register_gauge(&key(metric, labels), &METADATA)
}

fn histogram(recorder: &PrometheusRecorder, metric: &Descriptor, labels: &[&str]) -> Histogram {
    recorder.register_histogram(&key(metric, labels), &METADATA)
}

fn key(metric: &Descriptor, values: &[&str]) -> Key {
    assert_eq!(
        metric.labels.len(),
        values.len(),
        "{} has the labels {:?}",
        metric.name,
        metric.labels
    );
    let labels =
        metric.labels.iter().zip(values).map(|(&name, &value)| Label::new(name, value.to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(metrics: &Metrics, expected: &[&str]) {
        let text = metrics.render();
        for line in expected {
            assert!(text.lines().any(|l| l == *line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn a_batch_is_counted_by_fate() {
        let metrics = Metrics::new("orders", LagDetail::PerPartition);
        let output = metrics.output("raw");
        let fates = Fates { rows: 7, dead_letters: 2, tombstones: 1, gaps: 3, ..Fates::default() };
        output.records(&fates, 4096);
        output.records(&fates, 4);
        output.files(2, 1000);
        output.commit(CommitResult::Rebased);
        output.landed(12, UNIX_EPOCH + Duration::from_millis(1500));
        check(
            &metrics,
            &[
                r#"sluice_records_total{connector="orders",output="raw",fate="rows"} 14"#,
                r#"sluice_records_total{connector="orders",output="raw",fate="dead_letters"} 4"#,
                r#"sluice_records_total{connector="orders",output="raw",fate="skipped"} 0"#,
                r#"sluice_records_total{connector="orders",output="raw",fate="tombstones"} 2"#,
                r#"sluice_records_total{connector="orders",output="raw",fate="gaps"} 6"#,
                r#"sluice_bytes_total{connector="orders",output="raw"} 4100"#,
                r#"sluice_files_total{connector="orders",output="raw"} 2"#,
                r#"sluice_file_bytes_total{connector="orders",output="raw"} 1000"#,
                r#"sluice_commits_total{connector="orders",output="raw",result="rebased"} 1"#,
                r#"sluice_commits_total{connector="orders",output="raw",result="committed"} 0"#,
                r#"sluice_table_version{connector="orders",output="raw"} 12"#,
                r#"sluice_last_commit_timestamp_seconds{connector="orders",output="raw"} 1.5"#,
            ],
        );
    }

    #[test]
    fn durations_fall_into_their_buckets() {
        let metrics = Metrics::new("orders", LagDetail::PerPartition);
        metrics.batch(Phase::Plan, Duration::from_millis(3));
        metrics.output("raw").batch(Phase::Commit, Duration::from_millis(20));
        check(
            &metrics,
            &[
                r#"sluice_batch_duration_seconds_bucket{connector="orders",output="",phase="plan",le="0.0025"} 0"#,
                r#"sluice_batch_duration_seconds_bucket{connector="orders",output="",phase="plan",le="0.005"} 1"#,
                r#"sluice_batch_duration_seconds_sum{connector="orders",output="raw",phase="commit"} 0.02"#,
                r#"sluice_batch_duration_seconds_count{connector="orders",output="raw",phase="commit"} 1"#,
            ],
        );
    }

    #[test]
    fn lag_per_topic_is_the_sum_of_records_and_the_largest_age() {
        let metrics = Metrics::new("orders", LagDetail::PerTopic);
        metrics.lag(&TopicPartition::new("a", 0), 10, 4.0);
        metrics.lag(&TopicPartition::new("a", 1), 5, 9.0);
        metrics.lag(&TopicPartition::new("b", 0), 99, 99.0);
        metrics.lag(&TopicPartition::new("a", 0), 1, 0.5);
        check(
            &metrics,
            &[
                r#"sluice_lag_records{connector="orders",topic="a",partition=""} 6"#,
                r#"sluice_lag_seconds{connector="orders",topic="a",partition=""} 9"#,
            ],
        );
        metrics.partition_gone(&TopicPartition::new("a", 1));
        check(&metrics, &[r#"sluice_lag_seconds{connector="orders",topic="a",partition=""} 0.5"#]);
    }

    #[test]
    fn lag_per_partition_keeps_partitions_apart() {
        let metrics = Metrics::new("orders", LagDetail::PerPartition);
        metrics.lag(&TopicPartition::new("a", 0), 10, 4.0);
        metrics.lag(&TopicPartition::new("a", 1), 5, 9.0);
        check(
            &metrics,
            &[
                r#"sluice_lag_records{connector="orders",topic="a",partition="0"} 10"#,
                r#"sluice_lag_records{connector="orders",topic="a",partition="1"} 5"#,
            ],
        );
    }

    #[test]
    fn every_metric_of_the_catalog_is_exposed_and_nothing_else() {
        let metrics = Metrics::new("orders", LagDetail::PerPartition);
        metrics.output("raw").latency(Duration::from_secs(1));
        metrics.windows("raw").reached(None, 0, 0);
        metrics.lag(&TopicPartition::new("a", 0), 0, 0.0);
        metrics.error("SL2001");
        metrics.recovered();
        metrics.trigger_interval(Duration::from_secs(10));
        metrics.trigger_delay(Duration::ZERO);
        let text = metrics.render();
        let exposed: BTreeSet<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| line.split_once(' ').expect("name and type"))
            .collect();
        let described = CATALOG.iter().map(|metric| (metric.name, metric.kind.as_str())).collect();
        assert_eq!(exposed, described);
    }
}
