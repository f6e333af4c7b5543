//! The configuration as it is written: plain serde structs, before validation.
//!
//! The comments of the fields are what the reference page and the JSON Schema say, and the structs' keys are the
//! keys that are known: `shape` refuses others before serde sees them. Everything is optional here;
//! `#[schemars(required)]` marks what must be set.

mod aggregate;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::spec::{
    ChangeColumn, CreateTable, Framing, MetadataColumn, OnBadRecord, OnDataLoss,
    OnIncompatibleSchema, SchemaEvolution, TimestampFormat, UnknownFields,
};

pub(super) use self::aggregate::*;

/// One connector: one Kafka source, one or more Delta tables.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "sluice connector")]
pub(super) struct Connector {
    /// Identity of the connector: progress in the tables, metrics and the consumer group are kept under it. Letters,
    /// digits, `_` and `-`. Renaming a connector makes it a new one.
    #[schemars(required)]
    pub(super) name: Option<String>,
    /// The Kafka side: where records come from.
    #[schemars(required)]
    pub(super) source: Option<Source>,
    /// How bytes become columns. Needed unless every output has a `decode` of its own.
    pub(super) decode: Option<Decode>,
    /// Where bad records are kept under `decode.on_bad_record: dead_letter`.
    pub(super) dead_letters: Option<DeadLetters>,
    /// When a micro-batch starts.
    pub(super) trigger: Option<Trigger>,
    /// How large one batch gets. `trigger.mode: once` ignores the limits.
    pub(super) limits: Option<Limits>,
    /// What happens after a passing fault (a broker away, a store that answers 503).
    pub(super) retry: Option<Retry>,
    /// How long a batch may take to finish after SIGTERM before it is abandoned (nothing of it is then
    /// committed). Keep it below the grace period of whatever stops the process.
    pub(super) shutdown_timeout: Option<DurationText>,
    /// Options of the object store for all tables, by their object_store names (`aws_region`, `aws_endpoint`,
    /// `azure_storage_account_name`, `google_service_account_path`, ...). Without credentials here, the
    /// environment's identity is used.
    pub(super) storage: Option<BTreeMap<String, Property>>,
    /// Serves `/healthz`, `/readyz`, `/metrics` and `/status`. Not set: no server.
    pub(super) http: Option<Http>,
    /// The tables, by output name (letters, digits, `_` and `-`). The name is the output's identity: its progress
    /// is kept under it.
    #[schemars(required)]
    pub(super) outputs: Option<BTreeMap<String, Output>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// Brokers to begin with, as `host:port`.
    #[schemars(required)]
    pub(super) brokers: Option<Vec<String>>,
    /// The topics to read. Either this or `topic_pattern`.
    pub(super) topics: Option<Vec<String>>,
    /// A regular expression for the topics to read; it must match the whole name. Topics that appear later are
    /// picked up.
    pub(super) topic_pattern: Option<String>,
    /// Where a partition starts that has no progress yet: `earliest`, `latest`, `{timestamp: ...}` or
    /// `{offsets: {topic: {partition: offset}}}`. Looked at on the first run only; afterwards the table knows.
    pub(super) start: Option<Start>,
    /// What to do when records that were not read yet are gone (retention, truncation, a recreated topic).
    pub(super) on_data_loss: Option<OnDataLoss>,
    /// The consumer group that committed offsets are published to, so that lag tools see them; sluice never reads
    /// them back. `null`: publish nothing.
    pub(super) group_id: Option<String>,
    /// Properties of librdkafka, for security and tuning (`security.protocol`, `sasl.password`, ...). Those that
    /// sluice sets itself are refused.
    pub(super) client: Option<BTreeMap<String, Property>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Start {
    Word(StartWord),
    At(StartAt),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StartWord {
    /// The oldest record there is.
    Earliest,
    /// Only records that come after the first start.
    Latest,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartAt {
    /// The first record of each partition whose timestamp is this or later (RFC 3339, with a zone).
    pub(super) timestamp: Option<TimeText>,
    /// Topic → partition → the first offset to read. Partitions not named start at the earliest offset.
    pub(super) offsets: Option<BTreeMap<String, BTreeMap<String, u64>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Decode {
    /// How record keys are read. Not set: keys are not decoded. (The metadata column `key` holds their bytes.)
    pub(super) key: Option<Key>,
    /// How record values are read.
    #[schemars(required)]
    pub(super) value: Option<ValueFormat>,
    /// Key and value together; a larger record is a bad record.
    pub(super) max_message_size: Option<SizeText>,
    /// What becomes of a record that can't be decoded.
    pub(super) on_bad_record: Option<OnBadRecord>,
    /// Share of a batch's records that may be bad; more of them stop the connector before the batch is committed,
    /// for a wrong schema must not bury a topic in dead letters.
    pub(super) bad_record_limit: Option<ShareText>,
    /// What becomes of records whose Avro schema can't be read into the columns.
    pub(super) on_incompatible_schema: Option<OnIncompatibleSchema>,
}

/// The key becomes one column: text, bytes, or a STRUCT of the fields of a JSON object or an Avro record.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// The format of record keys.
    pub(super) format: Option<KeyFormat>,
    /// The name of the column.
    pub(super) column: Option<String>,
    /// For `json`, and `avro` where only some fields are wanted: the fields, as in `decode.value.schema`.
    pub(super) schema: Option<String>,
    /// For `json`: how times are written, as in `decode.value.timestamps`.
    pub(super) timestamps: Option<BTreeMap<String, TimestampFormat>>,
    /// For `json`: the time zone of text without one.
    pub(super) timezone: Option<String>,
    /// What stands before the payload, as in `decode.value.framing`.
    pub(super) framing: Option<Framing>,
    /// For `avro` without a registry: the Avro schema, as JSON text.
    pub(super) avro_schema: Option<String>,
    /// For `avro`: the schema registry.
    pub(super) registry: Option<Registry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyFormat {
    /// Keys are not decoded.
    None,
    /// UTF-8 text: a STRING column.
    String,
    /// A BINARY column.
    Bytes,
    /// A JSON object: a STRUCT column.
    Json,
    /// A STRUCT column; for a schema that isn't a record, a column of its type.
    Avro,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueFormat {
    /// The format of record values.
    #[schemars(required)]
    pub(super) format: Option<Format>,
    /// For `debezium`: the format of the change events, `json` or `avro`.
    pub(super) encoding: Option<Encoding>,
    /// The columns, as SQL: `orderId STRING NOT NULL, amount DECIMAL(18,4), event_time TIMESTAMP`. A field is
    /// matched by its exact name. `json` needs it; with `avro` the columns are those of the Avro schema if it isn't
    /// set. For `debezium`, the columns of the row (`before` and `after`).
    pub(super) schema: Option<String>,
    /// For `json`: how DATE, TIMESTAMP and TIMESTAMP_NTZ columns are written, by column (`a.b` for nested ones); those
    /// not named here are ISO 8601 text. Never guessed.
    pub(super) timestamps: Option<BTreeMap<String, TimestampFormat>>,
    /// For `json`: the time zone of text without one in TIMESTAMP columns, by its IANA name.
    pub(super) timezone: Option<String>,
    /// What to do with fields that `schema` doesn't have.
    pub(super) unknown_fields: Option<UnknownFields>,
    /// What stands before the payload. `plain` for `json` and `avro_schema`, `confluent` with a registry, if not set.
    pub(super) framing: Option<Framing>,
    /// For `avro` without a registry: the Avro schema, as JSON text (`${file:order.avsc}` reads a file).
    pub(super) avro_schema: Option<String>,
    /// For `avro`: the schema registry.
    pub(super) registry: Option<Registry>,
    /// For `debezium`: what is kept of the envelope, as columns `change_op`, `change_timestamp`, `change_source`.
    pub(super) change_columns: Option<Vec<ChangeColumn>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// One JSON object per record.
    Json,
    /// Avro, with a schema registry or a schema of its own.
    Avro,
    /// UTF-8 text: one column, `value` STRING.
    String,
    /// One column, `value` BINARY.
    Bytes,
    /// Debezium's change events: the row after the change, or before a deletion.
    Debezium,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    Json,
    Avro,
}

/// A schema registry with Confluent's REST API (Confluent, Karapace, Apicurio's `/apis/ccompat/v7`, Redpanda).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registry {
    /// Its URL, or several that are tried in order.
    #[schemars(required)]
    pub(super) url: Option<OneOrMore>,
    /// `username` and `password`, or `token`. Not set: none.
    pub(super) auth: Option<Auth>,
    /// A PEM file of certificates to trust beside the system's.
    pub(super) ca_file: Option<String>,
    /// The rule by which producers name subjects.
    pub(super) subject_names: Option<SubjectRule>,
    /// The subject that has the newest schema, instead of a rule.
    pub(super) subject: Option<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    /// Basic authentication.
    pub(super) username: Option<Property>,
    /// Basic authentication.
    pub(super) password: Option<Property>,
    /// A bearer token.
    pub(super) token: Option<Property>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names that Confluent's strategies have")]
pub(super) enum SubjectRule {
    /// `<topic>-value` and `<topic>-key`.
    TopicName,
    /// The record's full name: the schemas are those that records name by their ids.
    RecordName,
    /// `<topic>-<full name>`: the same.
    TopicRecordName,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetters {
    /// The table for bad records: raw key, value and headers, coordinates and reason.
    #[schemars(required)]
    pub(super) table: Option<String>,
    /// Options of the object store for this table, over those of the top level.
    pub(super) storage: Option<BTreeMap<String, Property>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trigger {
    /// The kind of trigger, with Spark's meaning.
    pub(super) mode: Option<TriggerMode>,
    /// For `processing_time`: the time from the start of one batch to the start of the next; `0s`: as soon as the
    /// last one is done. Short intervals make many small files.
    pub(super) interval: Option<DurationText>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TriggerMode {
    /// One batch every `interval`.
    ProcessingTime,
    /// Everything that is there now, in one batch; then exit.
    Once,
    /// Everything that is there now, in as many batches as the limits ask for; then exit.
    AvailableNow,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Records per batch, shared fairly among partitions.
    pub(super) max_records: Option<u64>,
    /// Bytes of keys and values per batch.
    pub(super) max_bytes: Option<SizeText>,
    /// Wait until this many records are there, but no longer than `max_delay`; 0: don't wait.
    pub(super) min_records: Option<u64>,
    /// The longest wait for `min_records`.
    pub(super) max_delay: Option<DurationText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// The first wait after a passing fault; it doubles with each failure, with jitter.
    pub(super) initial_backoff: Option<DurationText>,
    /// The longest wait.
    pub(super) max_backoff: Option<DurationText>,
    /// Exit after failing for this long without a commit; `never`: go on trying.
    pub(super) give_up_after: Option<PatienceText>,
    /// How many commits of another instance of the same connector are waited out before the process exits.
    pub(super) fenced_limit: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    /// Address and port to listen on.
    pub(super) listen: Option<String>,
}

/// One table: what it takes, and how it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    /// The topics of the source that this table takes. Not set: all of them.
    pub(super) topics: Option<Vec<String>>,
    /// How the records of `topics` become rows, instead of the top level's `decode`. A topic is decoded in one way.
    pub(super) decode: Option<Decode>,
    /// Where the table is: a path, or a URL with `s3://`, `s3a://`, `az://`, `abfss://` or `gs://`. No two outputs
    /// share one. `{topic}` in it stands for the topic's name: each topic then has a table of its own.
    #[schemars(required)]
    pub(super) table: Option<String>,
    /// Whether a table that isn't there is created.
    pub(super) create: Option<CreateTable>,
    /// The columns, as SQL expressions: `*, CAST(event_time AS DATE) AS event_date`. Not set: all of them. With
    /// `aggregate` they are over its results, `window_start`, `window_end`, the columns of `group_by` and the measures:
    /// `*, revenue / orders AS mean, CAST(window_start AS DATE) AS day`.
    pub(super) select: Option<String>,
    /// Which records become rows, or count for windows, as an SQL condition: `amount > 0 AND country IS NOT NULL`. Not
    /// set: all of them.
    #[serde(rename = "where")]
    pub(super) filter: Option<String>,
    /// The table has a row for each window and group instead of one for each record. `where` is before it, `select`
    /// after it.
    pub(super) aggregate: Option<Aggregate>,
    /// Duplicates are left out: of the rows of a key that are near to each other in event time, only the first is written.
    /// With `mode: append`; or before `aggregate`, whose windows take the first only.
    pub(super) deduplicate: Option<Deduplicate>,
    /// With `aggregate` or `deduplicate`: what they need between commits.
    pub(super) state: Option<State>,
    /// What a record does to the table; not with `aggregate`.
    pub(super) mode: Option<ModeWord>,
    /// For `insert_new` and `upsert`: the columns of the table that identify a row.
    pub(super) merge_key: Option<Vec<String>>,
    /// What may be changed in the table when the rows' columns change.
    pub(super) schema_evolution: Option<SchemaEvolution>,
    /// Columns that the table is partitioned by, in order. Not set: none.
    pub(super) partition_by: Option<Vec<String>>,
    /// What Kafka knows of each record, as columns `kafka_topic`, `kafka_partition`, ... after the declared ones. With
    /// `aggregate`, its expressions see them; they aren't in the table.
    pub(super) metadata_columns: Option<Vec<MetadataColumn>>,
    /// The Parquet files that are written.
    pub(super) files: Option<Files>,
    /// Delta table properties, set when the table is created (`delta.logRetentionDuration: interval 30 days`).
    pub(super) table_properties: Option<BTreeMap<String, Property>>,
    /// Options of the object store for this table, over those of the top level.
    pub(super) storage: Option<BTreeMap<String, Property>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModeWord {
    /// Each record is a row more.
    Append,
    /// A record is a row more if no row has its key.
    InsertNew,
    /// A record replaces the row of its key; a deletion (Debezium's, or a record without a value when keys are
    /// decoded) deletes it.
    Upsert,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    /// Compressed size at which a file is closed and the next one begun.
    pub(super) target_size: Option<SizeText>,
    /// The codec of the files.
    pub(super) compression: Option<Codec>,
    /// The level of zstd, 1 (fast) to 22 (small).
    pub(super) zstd_level: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Codec {
    Zstd,
    Snappy,
    None,
}

/// The extension keyword that says what a text means; `shape` reads it, the published schema doesn't have it.
pub(super) const KIND: &str = "x-kind";

/// Defines a text with a meaning of its own, and its schema.
macro_rules! text_with_meaning {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub(super) String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, KIND: $kind})
            }
        }
    };
}

text_with_meaning!(
    /// `200ms`, `10s`, `1h30m`, `7d`.
    DurationText, "duration", r"^(\s*[0-9]+\s*(ms|s|m|h|d))+\s*$"
);
text_with_meaning!(
    /// `512B`, `10MiB`, `1GB`.
    SizeText, "size", r"^\s*[0-9]+\s*([KMGT]i?)?B\s*$"
);
text_with_meaning!(
    /// `5%`.
    ShareText, "share", r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$"
);
text_with_meaning!(
    /// A duration or `never`.
    PatienceText, "patience", r"^(never|(\s*[0-9]+\s*(ms|s|m|h|d))+\s*)$"
);
text_with_meaning!(
    /// RFC 3339: `2026-11-01T00:00:00Z`.
    TimeText, "time", r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].*([Zz]|[+-][0-9]{2}:[0-9]{2})$"
);

/// The value of a property that goes on to another library as text: numbers and booleans are taken too.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Property(pub(super) String);

impl JsonSchema for Property {
    fn schema_name() -> Cow<'static, str> {
        "Property".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"], KIND: "property"})
    }
}
