//! A digest of what gives the data its meaning, so that two commits tell whether they were made by the same rules.
//!
//! Not in it: secrets, addresses, tuning (limits, trigger, retry, files), what only decides when to stop.

use std::fmt::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::location;
use super::spec::{Connector, Output, Start, Topics};
use crate::schema::ddl;

/// Raised when what is digested changes, so that a new sluice's fingerprints are told from an old one's.
const VERSION: u32 = 1;

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
    let Connector { name, source, decode, dead_letters, outputs, .. } = connector;
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
    let timestamps: Vec<String> =
        decode.timestamps.iter().map(|(column, format)| format!("{column}={format:?}")).collect();
    let outputs: Vec<Value> = outputs.values().map(of_output).collect();
    json!({
        "version": VERSION,
        "name": name,
        "source": {
            "topics": topics,
            "start": start,
            "on_data_loss": format!("{:?}", source.on_data_loss),
        },
        "decode": {
            "schema": ddl::format(&decode.schema),
            "timestamps": timestamps,
            "timezone": decode.timezone.name(),
            "unknown_fields": format!("{:?}", decode.unknown_fields),
            "max_message_size": decode.max_message_size,
            "on_bad_record": format!("{:?}", decode.on_bad_record),
        },
        "dead_letters": dead_letters.as_ref().map(|dead| location::identity(&dead.table)),
        "outputs": outputs,
    })
}

fn of_output(output: &Output) -> Value {
    let topics = output.topics.as_ref().map(|topics| {
        let mut topics = topics.clone();
        topics.sort();
        topics
    });
    let metadata: Vec<&str> =
        output.metadata_columns.iter().map(|column| column.column()).collect();
    json!({
        "name": output.name,
        "topics": topics,
        "table": location::identity(&output.table),
        "partition_by": output.partition_by,
        "metadata_columns": metadata,
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
