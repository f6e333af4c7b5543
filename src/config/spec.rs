//! The configuration after validation: types that can't be wrong.
//!
//! Everything downstream takes these; only `config` makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::aggregate::{Aggregate, Deduplicate, State, Watermark};
use crate::schema::TableSchema;

/// One connector: one source, one or more outputs.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Identity: progress, state and metrics are kept under it.
    pub name: String,
    pub source: Source,
    pub dead_letters: Option<DeadLetters>,
    pub trigger: Trigger,
    pub limits: Limits,
    pub retry: Retry,
    pub shutdown_timeout: Duration,
    /// `None`: no HTTP server.
    pub http: Option<SocketAddr>,
    /// Never empty; by name. An output with a table for each topic is there once for each topic that is known, as
    /// `name/topic` ([`Connector::with_topics`]).
    pub outputs: BTreeMap<String, Output>,
    /// A digest of what gives the data its meaning (source, decode, outputs; no secrets, no tuning):
    /// 16 hex digits, written into each commit.
    pub fingerprint: String,
}

impl Connector {
    /// How the records of a topic are decoded; `None`: no output takes it.
    pub fn decode_of(&self, topic: &str) -> Option<&Arc<Decode>> {
        self.outputs.values().find(|output| output.takes(topic)).map(|output| &output.decode)
    }

    /// The same connector with one output for each table, given the topics that the source has. Without `{topic}` in
    /// a table nothing changes.
    #[must_use]
    pub fn with_topics(&self, topics: &BTreeSet<String>) -> Self {
        let mut spec = self.clone();
        spec.outputs.clear();
        for (label, output) in &self.outputs {
            if !output.table.is_per_topic() {
                spec.outputs.insert(label.clone(), output.clone());
                continue;
            }
            for topic in topics.iter().filter(|topic| output.takes(topic)) {
                let mut own = output.clone();
                own.topics = Some(vec![topic.clone()]);
                own.table = output.table.of_topic(topic);
                spec.outputs.insert(format!("{label}/{topic}"), own);
            }
        }
        spec
    }

    /// Whether anything goes into the dead-letter table: bad records or late rows.
    pub fn uses_dead_letters(&self) -> bool {
        self.keeps_dead_letters() || self.outputs.values().any(Output::keeps_late_rows)
    }

    /// Whether bad records of any topic go into the dead-letter table.
    pub fn keeps_dead_letters(&self) -> bool {
        self.outputs.values().any(|o| o.decode.on_bad_record == OnBadRecord::DeadLetter)
    }
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

/// How the records of a topic become rows, and what becomes of those that can't.
#[derive(Debug, Clone)]
pub struct Decode {
    pub value: Payload,
    /// `None`: keys are not decoded.
    pub key: Option<DecodeKey>,
    /// Values are Debezium's change events: `value` describes the row inside the envelope.
    pub debezium: Option<Debezium>,
    /// Bytes of key plus value; a larger record is a bad record.
    pub max_message_size: u64,
    pub on_bad_record: OnBadRecord,
    /// Share of a batch's records, 0 to 1: more bad ones than this stop the connector.
    pub bad_record_limit: f64,
    pub on_incompatible_schema: OnIncompatibleSchema,
}

impl Decode {
    /// Values of this kind; everything else as it is by default.
    pub fn new(value: Payload) -> Self {
        Self {
            value,
            key: None,
            debezium: None,
            max_message_size: 10 << 20,
            on_bad_record: OnBadRecord::Fail,
            bad_record_limit: 0.05,
            on_incompatible_schema: OnIncompatibleSchema::Fail,
        }
    }
}

impl Decode {
    /// Whether columns, of the value or in the key, are those of schemas that come with the records.
    pub fn follows_schemas(&self) -> bool {
        self.value.follows_schemas()
            || self.key.as_ref().is_some_and(|key| key.payload.follows_schemas())
    }
}

/// The record key, as one column.
#[derive(Debug, Clone)]
pub struct DecodeKey {
    /// The column's name.
    pub column: String,
    /// JSON and Avro records become a STRUCT.
    pub payload: Payload,
}

/// How the bytes of a value or a key become columns.
#[derive(Debug, Clone)]
pub enum Payload {
    /// A JSON object.
    Json(Json),
    Avro(Avro),
    /// UTF-8 text, as it is: the column `value` STRING.
    String,
    /// Bytes, as they are: the column `value` BINARY.
    Bytes,
}

#[derive(Debug, Clone)]
pub struct Json {
    pub schema: Arc<TableSchema>,
    /// How each TIMESTAMP, TIMESTAMP_NTZ or DATE column that isn't ISO 8601 text is written, by column name
    /// (dotted for nested fields).
    pub timestamps: BTreeMap<String, TimestampFormat>,
    /// For text without a zone in TIMESTAMP columns.
    pub timezone: Tz,
    pub unknown_fields: UnknownFields,
    /// `Plain` or `Confluent`: a schema registry's prefix of five bytes before the text.
    pub framing: Framing,
}

impl Payload {
    /// Whether the columns are those of schemas that come with the records.
    pub fn follows_schemas(&self) -> bool {
        matches!(self, Self::Avro(avro) if avro.columns.is_none())
    }

    /// What becomes of fields without a column.
    pub fn unknown_fields(&self) -> UnknownFields {
        match self {
            Self::Json(json) => json.unknown_fields,
            Self::Avro(avro) => avro.unknown_fields,
            Self::String | Self::Bytes => UnknownFields::Ignore,
        }
    }

    /// The declared columns; `None`: they come from elsewhere.
    pub fn declared(&self) -> Option<&TableSchema> {
        match self {
            Self::Json(json) => Some(&json.schema),
            Self::Avro(avro) => avro.columns.as_deref(),
            Self::String | Self::Bytes => None,
        }
    }
}

impl Json {
    /// Objects with these columns; everything else as it is by default.
    pub fn new(schema: TableSchema) -> Self {
        Self {
            schema: Arc::new(schema),
            timestamps: BTreeMap::new(),
            timezone: Tz::UTC,
            unknown_fields: UnknownFields::Ignore,
            framing: Framing::Plain,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Avro {
    pub schemas: AvroSchemas,
    pub framing: Framing,
    /// The columns; `None`: those of the Avro schema, followed as it evolves.
    pub columns: Option<Arc<TableSchema>>,
    /// Of fields that `columns` doesn't have; without `columns` there are none.
    pub unknown_fields: UnknownFields,
}

/// Where Avro schemas come from.
#[derive(Debug, Clone)]
pub enum AvroSchemas {
    Registry(Arc<Registry>),
    /// The text of an `.avsc` file, for every record.
    Fixed(Arc<str>),
}

/// What stands before the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Nothing.
    Plain,
    /// Confluent's wire format: a zero byte and the schema's id in four.
    Confluent,
    /// Avro's single-object encoding: `C3 01` and the schema's fingerprint in eight bytes.
    SingleObject,
}

/// A schema registry with Confluent's REST API.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Tried in order; never empty.
    pub urls: Vec<Url>,
    pub auth: RegistryAuth,
    /// A PEM file of certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    pub subjects: SubjectNames,
}

#[derive(Debug, Clone)]
pub enum RegistryAuth {
    None,
    Basic { username: Secret, password: Secret },
    Bearer(Secret),
}

/// Which subject holds the newest schema of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectNames {
    /// `<topic>-value` or `<topic>-key`.
    TopicName,
    /// The subject is the record's full name, which only a record tells: the schemas are those that records name.
    RecordName,
    /// `<topic>-<full name>`: the same.
    TopicRecordName,
    /// This one, for every topic.
    Named(String),
}

/// What is kept of a Debezium envelope beside the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debezium {
    /// In order, none twice.
    pub columns: Vec<ChangeColumn>,
}

/// What Debezium says of a change, as a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeColumn {
    /// `change_op` STRING NOT NULL: `c`, `u`, `d` or `r` (snapshot)
    Op,
    /// `change_timestamp` TIMESTAMP: when the connector saw the change (`ts_ms`)
    Timestamp,
    /// `change_source` STRING: the envelope's `source`, the position in the database's log, as JSON text
    Source,
}

impl ChangeColumn {
    pub const ALL: [Self; 3] = [Self::Op, Self::Timestamp, Self::Source];

    /// The column's name in the table.
    pub fn column(self) -> &'static str {
        match self {
            Self::Op => "change_op",
            Self::Timestamp => "change_timestamp",
            Self::Source => "change_source",
        }
    }
}

/// What to do with records whose schema the columns can't take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnIncompatibleSchema {
    /// Stop before the batch is committed.
    Fail,
    /// Keep the records in the table of `dead_letters`.
    DeadLetter,
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
    /// A whole number: days since 1970-01-01.
    EpochDays,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// Leave them out.
    Ignore,
    /// Such a record is a bad record.
    Fail,
    /// Keep the top level's as a JSON object in the column `rescued_data` STRING; null where there are none.
    Rescue,
}

/// The column of [`UnknownFields::Rescue`].
pub const RESCUE_COLUMN: &str = "rescued_data";

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
    /// Its own, or the connector's. A topic has one: two outputs that read it have the same.
    pub decode: Arc<Decode>,
    pub table: TableLocation,
    /// It is one of an output's tables for each topic, or holds them all until the topics are known.
    pub per_topic: bool,
    pub storage: Storage,
    pub create: CreateTable,
    /// SQL expressions, separated by commas; `None`: every column.
    pub select: Option<String>,
    /// An SQL condition on a record's columns; `None`: every record.
    pub filter: Option<String>,
    pub mode: Mode,
    /// `None`: records become rows as they are.
    pub aggregate: Option<Aggregate>,
    /// Before `aggregate`, if that is there. `None`: every record becomes a row, or counts.
    pub deduplicate: Option<Deduplicate>,
    /// Raw rows have none.
    pub state: State,
    pub schema_evolution: SchemaEvolution,
    /// Columns of the table, in order. Where only the engine knows the columns (`select`, followed schemas), it looks
    /// whether they exist.
    pub partition_by: Vec<String>,
    /// In order, none twice.
    pub metadata_columns: Vec<MetadataColumn>,
    pub files: Files,
    pub table_properties: BTreeMap<String, String>,
}

impl Output {
    /// Whether rows that come too late go into the table of `dead_letters`.
    pub fn keeps_late_rows(&self) -> bool {
        self.aggregate.as_ref().is_some_and(Aggregate::keeps_late_rows)
            || self.deduplicate.as_ref().is_some_and(|deduplicate| deduplicate.keeps_late_rows)
    }

    /// How far its event time has come, if it goes by that.
    pub fn watermark(&self) -> Option<&Watermark> {
        let of_windows = self.aggregate.as_ref().map(|aggregate| &aggregate.watermark);
        of_windows.or_else(|| self.deduplicate.as_ref().map(|of| &of.watermark))
    }

    pub fn takes(&self, topic: &str) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.iter().any(|own| own == topic))
    }
}

/// What a record does to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// It is a row more.
    Append,
    /// It is a row more if no row has its key; the first of a key stays.
    InsertNew { key: Vec<String> },
    /// It replaces the row of its key, or deletes it; the last of a key stays.
    Upsert { key: Vec<String> },
    /// It counts for windows whose rows are replaced until they close: `emit: changes`.
    OpenWindows,
}

impl Mode {
    /// Columns of the table; empty without a key.
    pub fn key(&self) -> &[String] {
        match self {
            Self::Append | Self::OpenWindows => &[],
            Self::InsertNew { key } | Self::Upsert { key } => key,
        }
    }
}

/// What may be changed in a table so that rows fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaEvolution {
    /// Nothing: stop.
    Fail,
    /// Columns and nested fields are added, as nullable ones at the end.
    AddColumns,
    /// That, and types are widened in tables with `delta.enableTypeWidening`.
    Widen,
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
    /// `kafka_value` BINARY: the value as it came
    Value,
}

impl MetadataColumn {
    pub const ALL: [Self; 7] = [
        Self::Topic,
        Self::Partition,
        Self::Offset,
        Self::Timestamp,
        Self::Key,
        Self::Headers,
        Self::Value,
    ];

    /// The column's name in the table.
    pub fn column(self) -> &'static str {
        match self {
            Self::Topic => "kafka_topic",
            Self::Partition => "kafka_partition",
            Self::Offset => "kafka_offset",
            Self::Timestamp => "kafka_timestamp",
            Self::Key => "kafka_key",
            Self::Headers => "kafka_headers",
            Self::Value => "kafka_value",
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

/// `{topic}` as a URL's path holds it.
const TOPIC_IN_URL: &str = "%7Btopic%7D";

impl TableLocation {
    /// Whether `{topic}` is still to be filled in.
    pub fn is_per_topic(&self) -> bool {
        self.url.path().contains(TOPIC_IN_URL)
    }

    /// The table of a topic, where the location holds `{topic}`. A topic's name needs no escapes in a path.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&self.url.path().replace(TOPIC_IN_URL, topic));
        Self { url, as_written: self.as_written.replace("{topic}", topic) }
    }
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
