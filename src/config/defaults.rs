//! The defaults, each with its reason, and the layer they form under everything else.

use serde_json::{Map, Value, json};

/// Latency against files: at 10 s a partition makes 8,640 files a day; at 0 s a connector would commit 576,000 times.
pub(super) const TRIGGER_INTERVAL: &str = "10s";
/// About 260 MB of typical JSON: a batch that a small pod decodes in a second or two.
pub(super) const MAX_RECORDS: u64 = 1_000_000;
/// Bounds memory and replay when records are large.
pub(super) const MAX_BYTES: &str = "256MiB";
/// Don't wait: freshness first.
pub(super) const MIN_RECORDS: u64 = 0;
/// Spark's `maxTriggerDelay`.
pub(super) const MAX_DELAY: &str = "15m";
/// Ten times Kafka's own default limit of 1 MiB.
pub(super) const MAX_MESSAGE_SIZE: &str = "10MiB";
/// Nothing is dropped unless somebody decided so.
pub(super) const ON_BAD_RECORD: &str = "fail";
/// More than stray bad records, far fewer than a wrong schema makes.
pub(super) const BAD_RECORD_LIMIT: &str = "5%";
/// Lost data stops the connector: only a person can say that it doesn't matter.
pub(super) const ON_DATA_LOSS: &str = "fail";
/// All the data there is.
pub(super) const START: &str = "earliest";
/// Producers add fields all the time; a schema says what is wanted.
pub(super) const UNKNOWN_FIELDS: &str = "ignore";
/// A schema that the table can't take is somebody's mistake, or a decision: a person looks.
pub(super) const ON_INCOMPATIBLE_SCHEMA: &str = "fail";
/// The column that a decoded key is in.
pub(super) const KEY_COLUMN: &str = "key";
/// Short, since most faults (a leader election, a 503) pass within a second.
pub(super) const INITIAL_BACKOFF: &str = "200ms";
/// Long enough to spare a broken service, short enough to be back soon after it.
pub(super) const MAX_BACKOFF: &str = "30s";
/// A stream outlives its outages; whoever wants an exit sets a time.
pub(super) const GIVE_UP_AFTER: &str = "never";
/// A rolling update makes one or two; five means that two instances stay.
pub(super) const FENCED_LIMIT: u64 = 5;
/// Below Kubernetes' grace period of 30 s.
pub(super) const SHUTDOWN_TIMEOUT: &str = "25s";
/// All addresses: a probe comes from outside the pod. Only when `http` is given at all.
pub(super) const HTTP_LISTEN: &str = "0.0.0.0:9480";
/// What delta-rs and Spark's optimize aim at, so that no rewriting is asked for at once.
pub(super) const FILE_SIZE: &str = "128MiB";
/// Best ratio for its cost (docs/adr has the figures).
pub(super) const COMPRESSION: &str = "zstd";
/// Higher levels cost far more CPU than the bytes they save.
pub(super) const ZSTD_LEVEL: u64 = 1;
/// What `verify --deep` needs, and cheap: they compress to almost nothing.
pub(super) const METADATA_COLUMNS: [&str; 3] = ["partition", "offset", "timestamp"];
/// A partition is silent for so long by chance; longer, and it would hold every window back.
pub(super) const IDLE_TIMEOUT: &str = "1m";
/// Only who knows the producers' clocks can say what is too far ahead.
pub(super) const MAX_FUTURE: &str = "never";
/// Waiting costs speed, and partitions are read in proportion to what they have anyway.
pub(super) const MAX_AHEAD: &str = "never";
/// Each row once, for whatever reads the table.
pub(super) const EMIT: &str = "final";
/// The one policy that asks for nothing else.
pub(super) const LATE_ROWS: &str = "drop";
/// Windows begin with the hour, the day of UTC.
pub(super) const WINDOW_OFFSET: &str = "0s";
/// Some millions of windows and keys, and some 1.3 GiB of memory.
pub(super) const STATE_MAX_BYTES: &str = "512MiB";
/// Some hundred millions, and minutes for a start to read them.
pub(super) const STATE_MAX_BYTES_ON_DISK: &str = "64GiB";
/// No start takes so long to read state; a few hundred to a few ten thousand small objects.
pub(super) const STATE_RETENTION: &str = "1h";
/// Rows need not wait.
pub(super) const DUPLICATE_ORDER: &str = "arrival";
/// The state of open windows is as large as their keys.
pub(super) const STATE_BACKEND: &str = "memory";

/// The defaults for a configuration in which `explicit` is set: some depend on it (a name, a mode, the outputs).
pub(super) fn layer(explicit: &Value) -> Value {
    let mut layer = json!({
        "source": {
            "start": START,
            "on_data_loss": ON_DATA_LOSS,
        },
        "trigger": {"mode": "processing_time"},
        "limits": {
            "max_records": MAX_RECORDS,
            "max_bytes": MAX_BYTES,
            "min_records": MIN_RECORDS,
            "max_delay": MAX_DELAY,
        },
        "retry": {
            "initial_backoff": INITIAL_BACKOFF,
            "max_backoff": MAX_BACKOFF,
            "give_up_after": GIVE_UP_AFTER,
            "fenced_limit": FENCED_LIMIT,
        },
        "shutdown_timeout": SHUTDOWN_TIMEOUT,
    });
    if explicit["decode"].is_object() {
        layer["decode"] = of_decode(&explicit["decode"]);
    }
    if let Some(name) = explicit["name"].as_str() {
        layer["source"]["group_id"] = format!("sluice-{name}").into();
    }
    if matches!(explicit["trigger"]["mode"].as_str(), None | Some("processing_time")) {
        layer["trigger"]["interval"] = TRIGGER_INTERVAL.into();
    }
    if explicit["http"].is_object() {
        layer["http"] = json!({"listen": HTTP_LISTEN});
    }
    if let Some(outputs) = explicit["outputs"].as_object() {
        let defaults: Map<String, Value> =
            outputs.iter().map(|(name, output)| (name.clone(), of_output(output))).collect();
        layer["outputs"] = Value::Object(defaults);
    }
    layer
}

fn of_decode(explicit: &Value) -> Value {
    let mut decode = json!({
        "value": of_payload(&explicit["value"]),
        "max_message_size": MAX_MESSAGE_SIZE,
        "on_bad_record": ON_BAD_RECORD,
        "bad_record_limit": BAD_RECORD_LIMIT,
        "on_incompatible_schema": ON_INCOMPATIBLE_SCHEMA,
    });
    let key = &explicit["key"];
    decode["key"] = json!({"format": "none"});
    if !matches!(key["format"].as_str(), None | Some("none")) {
        decode["key"] = of_payload(key);
        decode["key"]["column"] = KEY_COLUMN.into();
        if let Some(map) = decode["key"].as_object_mut() {
            map.remove("unknown_fields");
        }
    }
    decode
}

/// What a value or a key has by default, by its format.
fn of_payload(explicit: &Value) -> Value {
    let format = match explicit["format"].as_str() {
        Some("debezium") => explicit["encoding"].as_str(),
        other => other,
    };
    let mut payload = match format {
        None | Some("json") => {
            json!({"timezone": "UTC", "unknown_fields": UNKNOWN_FIELDS, "framing": "plain"})
        }
        Some("avro") if explicit["registry"].is_object() => json!({"framing": "confluent"}),
        Some("avro") => json!({"framing": "plain"}),
        _ => json!({}),
    };
    if format == Some("avro") && explicit["schema"].is_string() {
        payload["unknown_fields"] = UNKNOWN_FIELDS.into();
    }
    if explicit["registry"].is_object() && explicit["registry"]["subject"].is_null() {
        payload["registry"] = json!({"subject_names": "topic_name"});
    }
    payload
}

fn of_output(explicit: &Value) -> Value {
    let mut output = json!({
        "create": "if_missing",
        "mode": "append",
        "schema_evolution": "fail",
        "metadata_columns": METADATA_COLUMNS,
        "files": {"target_size": FILE_SIZE, "compression": COMPRESSION},
    });
    if matches!(explicit["files"]["compression"].as_str(), None | Some("zstd")) {
        output["files"]["zstd_level"] = ZSTD_LEVEL.into();
    }
    if explicit["decode"].is_object() {
        output["decode"] = of_decode(&explicit["decode"]);
    }
    if explicit["aggregate"].is_object() {
        output["aggregate"] = of_aggregate(&explicit["aggregate"]);
    }
    if explicit["deduplicate"].is_object() {
        output["deduplicate"] =
            of_deduplicate(&explicit["deduplicate"], explicit["aggregate"].is_object());
    }
    if explicit["aggregate"].is_object() || explicit["deduplicate"].is_object() {
        let max_bytes = match explicit["state"]["backend"].as_str() {
            Some("rocksdb") => STATE_MAX_BYTES_ON_DISK,
            _ => STATE_MAX_BYTES,
        };
        output["state"] = json!({
            "retention": STATE_RETENTION,
            "backend": STATE_BACKEND,
            "max_bytes": max_bytes,
        });
    }
    output
}

/// `aggregated`: what is of event time stands under `aggregate`.
fn of_deduplicate(explicit: &Value, aggregated: bool) -> Value {
    let mut deduplicate = json!({"order": DUPLICATE_ORDER});
    if !aggregated {
        deduplicate["late_rows"] = LATE_ROWS.into();
    }
    if explicit["watermark"].is_object() {
        deduplicate["watermark"] = of_watermark();
    }
    deduplicate
}

fn of_aggregate(explicit: &Value) -> Value {
    let mut aggregate = json!({"group_by": [], "emit": EMIT, "late_rows": LATE_ROWS});
    if explicit["watermark"].is_object() {
        aggregate["watermark"] = of_watermark();
    }
    if matches!(explicit["window"]["kind"].as_str(), Some("tumbling" | "sliding")) {
        aggregate["window"] = json!({"offset": WINDOW_OFFSET, "timezone": "UTC"});
    }
    aggregate
}

fn of_watermark() -> Value {
    json!({"idle_timeout": IDLE_TIMEOUT, "max_future": MAX_FUTURE, "max_ahead": MAX_AHEAD})
}
