//! A digest of what gives the data its meaning, so that two commits tell whether they were made by the same rules.
//!
//! Not in it: secrets, addresses, tuning (limits, trigger, retry, files), what only decides when to stop.

use std::fmt::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::aggregate::{Aggregate, Deduplicate, Emit, LateRows};
use super::location;
use super::spec::{AvroSchemas, Connector, Decode, Output, Payload, Start, Topics};
use crate::schema::ddl;

/// Raised when what is digested changes, so that a new sluice's fingerprints are told from an old one's.
const VERSION: u32 = 2;

/// Hex digits kept: a change is told, not an attack fended off.
const DIGITS: usize = 16;

pub(super) fn of(connector: &Connector) -> String {
    let text = sorted(&meaning(connector)).to_string();
    let digest = Sha256::digest(text.as_bytes());
    let mut hex = String::new();
    for byte in digest.iter().take(DIGITS / 2) {
        write!(hex, "{byte:02x}").expect("writing to a string can't fail");
    }
    hex
}

fn meaning(connector: &Connector) -> Value {
    let Connector { name, source, dead_letters, outputs, .. } = connector;
    let topics = match &source.topics {
        Topics::List(list) => {
            let mut list = list.clone();
            list.sort();
            json!(list)
        }
        Topics::Pattern(pattern) => json!({"pattern": pattern.as_str()}),
    };
    let start = match &source.start {
        Start::Earliest => json!("earliest"),
        Start::Latest => json!("latest"),
        Start::Timestamp(millis) => json!({"timestamp": millis}),
        Start::Offsets(offsets) => json!({"offsets": offsets}),
    };
    let outputs: Vec<Value> = outputs.values().map(of_output).collect();
    json!({
        "version": VERSION,
        "name": name,
        "source": {
            "topics": topics,
            "start": start,
            "on_data_loss": format!("{:?}", source.on_data_loss),
        },
        "dead_letters": dead_letters.as_ref().map(|dead| location::identity(&dead.table)),
        "outputs": outputs,
    })
}

fn of_decode(decode: &Decode) -> Value {
    let key = decode.key.as_ref().map(|key| json!([key.column, of_payload(&key.payload)]));
    json!({
        "value": of_payload(&decode.value),
        "key": key,
        "debezium": decode.debezium.as_ref().map(|debezium| format!("{:?}", debezium.columns)),
        "max_message_size": decode.max_message_size,
        "on_bad_record": format!("{:?}", decode.on_bad_record),
        "on_incompatible_schema": format!("{:?}", decode.on_incompatible_schema),
    })
}

fn of_payload(payload: &Payload) -> Value {
    match payload {
        Payload::Json(json) => {
            let formats = json.timestamps.iter();
            let timestamps: Vec<String> =
                formats.map(|(column, format)| format!("{column}={format:?}")).collect();
            json!({
                "schema": ddl::format(&json.schema),
                "timestamps": timestamps,
                "timezone": json.timezone.name(),
                "unknown_fields": format!("{:?}", json.unknown_fields),
                "framing": format!("{:?}", json.framing),
            })
        }
        Payload::Avro(avro) => {
            let schemas = match &avro.schemas {
                AvroSchemas::Registry(registry) => format!("registry {:?}", registry.subjects),
                AvroSchemas::Fixed(text) => text.to_string(),
            };
            json!({
                "avro": schemas,
                "schema": avro.columns.as_ref().map(|columns| ddl::format(columns)),
                "unknown_fields": format!("{:?}", avro.unknown_fields),
                "framing": format!("{:?}", avro.framing),
            })
        }
        Payload::String => json!("string"),
        Payload::Bytes => json!("bytes"),
    }
}

fn of_output(output: &Output) -> Value {
    let topics = output.topics.as_ref().map(|topics| {
        let mut topics = topics.clone();
        topics.sort();
        topics
    });
    let metadata: Vec<&str> =
        output.metadata_columns.iter().map(|column| column.column()).collect();
    let mut meaning = json!({
        "name": output.name,
        "decode": of_decode(&output.decode),
        "topics": topics,
        "table": location::identity(&output.table),
        "partition_by": output.partition_by,
        "select": output.select,
        "where": output.filter,
        "mode": format!("{:?}", output.mode),
        "metadata_columns": metadata,
    });
    // Not there where it is not set: the digests of raw rows stay what they were.
    if let Some(aggregate) = &output.aggregate {
        meaning["aggregate"] = of_aggregate(aggregate);
    }
    if let Some(deduplicate) = &output.deduplicate {
        meaning["deduplicate"] = of_deduplicate(deduplicate);
    }
    meaning
}

fn of_deduplicate(deduplicate: &Deduplicate) -> Value {
    let Deduplicate { keys, within, order, keeps_late_rows, watermark } = deduplicate;
    json!({
        "column": watermark.column,
        "delay": format!("{:?}", watermark.delay),
        "max_future": format!("{:?}", watermark.max_future),
        "keys": keys,
        "within": format!("{within:?}"),
        "order": order.word(),
        "late_rows": if *keeps_late_rows { "dead_letter" } else { "drop" },
    })
}

fn of_aggregate(aggregate: &Aggregate) -> Value {
    let watermark = &aggregate.watermark;
    let measures = aggregate.measures.iter();
    let measures: Vec<_> = measures.map(|measure| (&measure.name, &measure.text)).collect();
    let emit = match aggregate.emit {
        Emit::Final => "final",
        Emit::Changes { .. } => "changes",
    };
    let late_rows = match aggregate.late_rows {
        LateRows::Drop => json!("drop"),
        LateRows::DeadLetter => json!("dead_letter"),
        LateRows::Update { allowed_lateness } => json!(format!("update {allowed_lateness:?}")),
    };
    json!({
        "column": watermark.column,
        "delay": format!("{:?}", watermark.delay),
        "max_future": format!("{:?}", watermark.max_future),
        "window": format!("{:?}", aggregate.window),
        "group_by": aggregate.group_by,
        "measures": measures,
        "emit": emit,
        "late_rows": late_rows,
    })
}

/// The same value with its keys in order, whichever order serde_json keeps them in.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
