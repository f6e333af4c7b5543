//! Keys and values that a later version will have: refused by name, so that nobody takes them for typing errors.

use super::path::Path;

/// Keys, where `*` stands for an output's name, each with what to do meanwhile.
const KEYS: [(&str, &str); 2] = [
    ("trigger.max_latency", "set `interval`"),
    ("source.co_partitioned", "remove it; one instance reads all partitions"),
];

/// Words that a key of the path will take.
const VALUES: [(&str, &[&str], &str); 1] =
    [("trigger.mode", &["adaptive"], "use `processing_time`")];

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
    keys.chain(values).map(|line| line.replace('*', "<name>")).collect()
}
