//! The JSON of `/status`: a [`Snapshot`] with names and units for readers. An interface: fields are added,
//! not renamed, and `format_version` tells when that could not be kept.

use std::collections::BTreeMap;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::metrics::Phase;
use super::status::{LastBatch, OutputStatus, PartitionStatus, Snapshot};
use crate::offsets::{Fates, TopicPartition};

#[derive(Serialize)]
pub(super) struct StatusView<'a> {
    format_version: u32,
    connector: &'a str,
    version: &'static str,
    state: &'static str,
    state_since: String,
    started: String,
    ready: bool,
    last_error: Option<ErrorView<'a>>,
    outputs: BTreeMap<&'a str, OutputView<'a>>,
}

#[derive(Serialize)]
struct ErrorView<'a> {
    code: &'a str,
    message: &'a str,
    at: String,
}

#[derive(Serialize)]
struct OutputView<'a> {
    table: &'a str,
    table_version: Option<u64>,
    last_commit: Option<String>,
    lag_records: u64,
    lag_seconds: f64,
    records_since_start: Fates,
    last_batch: Option<BatchView>,
    partitions: Vec<PartitionView<'a>>,
}

#[derive(Serialize)]
struct BatchView {
    records: Fates,
    payload_bytes: u64,
    input_records_per_second: f64,
    processed_records_per_second: f64,
    duration_ms: BTreeMap<&'static str, f64>,
}

#[derive(Serialize)]
struct PartitionView<'a> {
    topic: &'a str,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    lag_records: Option<u64>,
    lag_seconds: f64,
}

impl<'a> From<&'a Snapshot> for StatusView<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            format_version: 1,
            connector: &snapshot.connector,
            version: env!("CARGO_PKG_VERSION"),
            state: snapshot.state.as_str(),
            state_since: instant(snapshot.state_since),
            started: instant(snapshot.started),
            ready: snapshot.is_ready(),
            last_error: snapshot.last_error.as_ref().map(|error| ErrorView {
                code: &error.code,
                message: &error.message,
                at: instant(error.at),
            }),
            outputs: snapshot.outputs.iter().map(|(name, o)| (name.as_str(), o.into())).collect(),
        }
    }
}

impl<'a> From<&'a OutputStatus> for OutputView<'a> {
    fn from(output: &'a OutputStatus) -> Self {
        let partitions = output.partitions.values();
        Self {
            table: &output.table,
            table_version: output.table_version,
            last_commit: output.last_commit.map(instant),
            lag_records: partitions.clone().filter_map(PartitionStatus::lag_records).sum(),
            lag_seconds: partitions.map(|partition| partition.lag_seconds).fold(0.0, f64::max),
            records_since_start: output.fates,
            last_batch: output.last_batch.as_ref().map(Into::into),
            partitions: output.partitions.iter().map(Into::into).collect(),
        }
    }
}

impl From<&LastBatch> for BatchView {
    fn from(batch: &LastBatch) -> Self {
        let duration = |phase| batch.durations.get(phase).as_secs_f64() * 1000.0;
        Self {
            records: batch.fates,
            payload_bytes: batch.payload_bytes,
            input_records_per_second: batch.rates.input_per_second,
            processed_records_per_second: batch.rates.processed_per_second,
            duration_ms: Phase::ALL.map(|phase| (phase.as_str(), duration(phase))).into(),
        }
    }
}

impl<'a> From<(&'a TopicPartition, &'a PartitionStatus)> for PartitionView<'a> {
    fn from((id, partition): (&'a TopicPartition, &'a PartitionStatus)) -> Self {
        Self {
            topic: &id.topic,
            partition: id.partition,
            committed: partition.committed,
            end: partition.end,
            lag_records: partition.lag_records(),
            lag_seconds: partition.lag_seconds,
        }
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn instant(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}
