//! Keys and values that a later version will have: refused by name, so that nobody takes them for typing errors.

use super::path::Path;

/// Keys, where `*` stands for an output's name, each with what to do meanwhile.
const KEYS: [(&str, &str); 13] = [
    ("decode.key.schema", "remove it"),
    ("decode.value.registry", "declare the columns in `schema`"),
    ("trigger.max_latency", "set `interval`"),
    ("outputs.*.select", "remove it; the table takes the columns of `decode.value.schema`"),
    ("outputs.*.where", "remove it; the table takes every record"),
    ("outputs.*.decode", "remove it; all outputs share the top level's `decode`"),
    ("outputs.*.aggregate", "remove it; the table takes raw rows"),
    ("outputs.*.state", "remove it; raw rows need no state"),
    ("outputs.*.mode", "remove it; rows are appended"),
    ("outputs.*.merge_key", "remove it; rows are appended"),
    ("outputs.*.schema_evolution", "remove it; the table's columns stay as they are"),
    ("outputs.*.late_rows", "remove it; raw rows are never late"),
    ("source.co_partitioned", "remove it; one instance reads all partitions"),
];

/// Words that a key of the path will take.
const VALUES: [(&str, &[&str], &str); 4] = [
    ("decode.value.format", &["avro", "string", "bytes", "debezium"], "use `json`"),
    ("decode.key.format", &["string", "bytes", "json", "avro"], "use `none`"),
    ("decode.value.unknown_fields", &["rescue"], "use `ignore` or `fail`"),
    ("trigger.mode", &["adaptive"], "use `processing_time`"),
];

/// What to do instead of a key that isn't there yet; `None`: it is not one of these.
pub(super) fn key(path: &Path) -> Option<&'static str> {
    KEYS.iter().find(|(pattern, _)| path.matches(pattern)).map(|(_, hint)| *hint)
}

/// What to do instead of a value that isn't there yet.
pub(super) fn value(path: &Path, word: &str) -> Option<&'static str> {
    let here = VALUES.iter().find(|(pattern, ..)| path.matches(pattern));
    here.filter(|(_, words, _)| words.contains(&word)).map(|(.., hint)| *hint)
}

/// All of them, for the reference page: keys, and values as `key: value`.
pub(super) fn all() -> Vec<String> {
    let keys = KEYS.iter().map(|(key, _)| (*key).to_owned());
    let values = VALUES.iter().map(|(key, words, _)| format!("{key}: {}", words.join(" | ")));
    let fan_out = "outputs.*.table: a name with {topic}".to_owned();
    keys.chain(values).chain([fan_out]).map(|line| line.replace('*', "<name>")).collect()
}
