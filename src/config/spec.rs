//! The configuration after validation: types that can't be wrong.
//!
//! Everything downstream takes these; only `config` makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::schema::TableSchema;

/// One connector: one source, one or more outputs.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Identity: progress, state and metrics are kept under it.
    pub name: String,
    pub source: Source,
    pub decode: Decode,
    pub dead_letters: Option<DeadLetters>,
    pub trigger: Trigger,
    pub limits: Limits,
    pub retry: Retry,
    pub shutdown_timeout: Duration,
    /// `None`: no HTTP server.
    pub http: Option<SocketAddr>,
    /// Never empty; by name.
    pub outputs: BTreeMap<String, Output>,
    /// A digest of what gives the data its meaning (source, decode, outputs; no secrets, no tuning):
    /// 16 hex digits, written into each commit.
    pub fingerprint: String,
}

#[derive(Debug, Clone)]
pub struct Source {
    pub brokers: Vec<String>,
    pub topics: Topics,
    pub start: Start,
    pub on_data_loss: OnDataLoss,
    /// The group that offsets are published to, as a hint for lag tools; `None`: published nowhere.
    pub group_id: Option<String>,
    /// librdkafka properties of the user's; none that sluice owns.
    pub client: BTreeMap<String, Secret>,
}

#[derive(Debug, Clone)]
pub enum Topics {
    /// Never empty, no name twice.
    List(Vec<String>),
    /// Matches whole names.
    Pattern(Regex),
}

/// Where a partition starts that has no progress yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// The first record whose timestamp is this or later; milliseconds since the Unix epoch.
    Timestamp(i64),
    /// Topic → partition → offset. Partitions not named start at the earliest offset.
    Offsets(BTreeMap<String, BTreeMap<i32, i64>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDataLoss {
    /// Stop: a person decides.
    Fail,
    /// Go on behind the gap, and write the gap into the commit.
    Continue,
}

#[derive(Debug, Clone)]
pub struct Decode {
    pub schema: Arc<TableSchema>,
    /// How each TIMESTAMP, TIMESTAMP_NTZ or DATE column that isn't ISO 8601 text is written, by column name
    /// (dotted for nested fields).
    pub timestamps: BTreeMap<String, TimestampFormat>,
    /// For text without a zone in TIMESTAMP columns.
    pub timezone: Tz,
    pub unknown_fields: UnknownFields,
    /// Bytes of key plus value; a larger record is a bad record.
    pub max_message_size: u64,
    pub on_bad_record: OnBadRecord,
    /// Share of a batch's records, 0 to 1: more bad ones than this stop the connector.
    pub bad_record_limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// Text: `2026-11-01T12:30:00.5Z`; for DATE `2026-11-01`.
    Iso8601,
    /// A number: seconds since 1970-01-01T00:00:00Z.
    EpochSeconds,
    /// A number: milliseconds.
    EpochMillis,
    /// A number: microseconds.
    EpochMicros,
    /// A number: nanoseconds, cut to microseconds.
    EpochNanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// Leave them out.
    Ignore,
    /// Such a record is a bad record.
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// Stop before the batch is committed.
    Fail,
    /// Leave the record out; it is counted.
    Skip,
    /// Keep the record in the table of `dead_letters`.
    DeadLetter,
}

#[derive(Debug, Clone)]
pub struct DeadLetters {
    pub table: TableLocation,
    pub storage: Storage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Zero: the next batch as soon as the last one is done.
    ProcessingTime {
        interval: Duration,
    },
    Once,
    AvailableNow,
}

/// Limits of one batch; `once` ignores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_records: u64,
    /// Bytes of keys and values.
    pub max_bytes: u64,
    /// Wait for this many records, but no longer than `max_delay`; 0: don't wait.
    pub min_records: u64,
    pub max_delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub initial_backoff: Duration,
    pub max_backoff: Duration,
    /// `None`: never.
    pub give_up_after: Option<Duration>,
    /// Times fenced by another instance's commits before the process exits.
    pub fenced_limit: u32,
}

#[derive(Debug, Clone)]
pub struct Output {
    pub name: String,
    /// `None`: all topics of the source.
    pub topics: Option<Vec<String>>,
    pub table: TableLocation,
    pub storage: Storage,
    pub create: CreateTable,
    /// Columns of the table (value or metadata columns), in order.
    pub partition_by: Vec<String>,
    /// In order, none twice.
    pub metadata_columns: Vec<MetadataColumn>,
    pub files: Files,
    pub table_properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreateTable {
    /// Create it on the first commit.
    IfMissing,
    /// A missing table is an error.
    Never,
}

/// What Kafka says of a record, as a column `kafka_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetadataColumn {
    /// `kafka_topic` STRING NOT NULL
    Topic,
    /// `kafka_partition` INT NOT NULL
    Partition,
    /// `kafka_offset` BIGINT NOT NULL
    Offset,
    /// `kafka_timestamp` TIMESTAMP; null where the record has none
    Timestamp,
    /// `kafka_key` BINARY
    Key,
    /// `kafka_headers` ARRAY<STRUCT<key: STRING, value: BINARY>>; null where there are none
    Headers,
}

impl MetadataColumn {
    pub const ALL: [Self; 6] =
        [Self::Topic, Self::Partition, Self::Offset, Self::Timestamp, Self::Key, Self::Headers];

    /// The column's name in the table.
    pub fn column(self) -> &'static str {
        match self {
            Self::Topic => "kafka_topic",
            Self::Partition => "kafka_partition",
            Self::Offset => "kafka_offset",
            Self::Timestamp => "kafka_timestamp",
            Self::Key => "kafka_key",
            Self::Headers => "kafka_headers",
        }
    }

    /// The column's name in the configuration.
    pub fn word(self) -> &'static str {
        self.column().trim_start_matches("kafka_")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// Compressed bytes at which a data file is closed and the next one begun.
    pub target_size: u64,
    pub compression: Compression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Zstd { level: i32 },
    Snappy,
    None,
}

/// Where a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLocation {
    /// Ends in `/`. Schemes: file, s3, s3a, az, abfss, gs (and memory, in tests).
    pub url: Url,
    /// As the user wrote it, for messages.
    pub as_written: String,
}

impl fmt::Display for TableLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_written)
    }
}

/// object_store keys (`aws_region`, ...) to values.
#[derive(Debug, Clone, Default)]
pub struct Storage(pub BTreeMap<String, Secret>);

/// Text that may hold a secret: `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Never print or log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
