//! Delta table properties: which may be set when a table is created, and how they are written.
//!
//! What is refused here would give the table a feature that sluice can't write, or that current readers lack. Tables
//! that others made are checked by the sink.

use std::time::Duration;

use super::units;

/// How the value of a property is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Flag,
    /// A whole number from here on.
    Number(i64),
    Interval,
    /// An interval of this many hours or more.
    LongInterval(u64),
    /// One of these, without regard to case.
    Word(&'static [&'static str]),
    Free,
    /// Only this value changes nothing; others for this reason can't be.
    Only(&'static str, &'static str),
    Refused(&'static str),
}

/// Sluice writes a partition's progress again before a quarter of the time has passed; below a day that would be many
/// commits for nothing, and a pause over a weekend would lose the progress.
const SHORTEST_TXN_RETENTION_HOURS: u64 = 24;

const NEWER_PROTOCOL: &str = "it needs a newer table protocol than current readers have in common";

const PROPERTIES: [(&str, Form); 41] = [
    ("delta.appendOnly", Form::Flag),
    ("delta.autoOptimize.autoCompact", Form::Free),
    ("delta.autoOptimize.optimizeWrite", Form::Flag),
    ("delta.checkpoint.writeStatsAsJson", Form::Flag),
    ("delta.checkpoint.writeStatsAsStruct", Form::Flag),
    ("delta.checkpointInterval", Form::Number(1)),
    (
        "delta.checkpointPolicy",
        Form::Only("classic", "v2 checkpoints are a table feature that not all readers have"),
    ),
    ("delta.checkpointRetentionDuration", Form::Interval),
    ("delta.columnMapping.maxColumnId", Form::Refused("sluice writes columns by name")),
    ("delta.columnMapping.mode", Form::Only("none", "sluice writes columns by name")),
    (
        "delta.compatibility.symlinkFormatManifest.enabled",
        Form::Only("false", "sluice writes no manifests"),
    ),
    ("delta.dataSkippingNumIndexedCols", Form::Number(-1)),
    ("delta.dataSkippingStatsColumns", Form::Free),
    ("delta.deletedFileRetentionDuration", Form::Interval),
    ("delta.enableChangeDataFeed", Form::Only("false", NEWER_PROTOCOL)),
    (
        "delta.enableDeletionVectors",
        Form::Only("false", "readers without them could not read the table"),
    ),
    ("delta.enableExpiredLogCleanup", Form::Flag),
    ("delta.enableIcebergCompatV1", Form::Only("false", "sluice writes no Iceberg metadata")),
    ("delta.enableIcebergCompatV2", Form::Only("false", "sluice writes no Iceberg metadata")),
    ("delta.enableIcebergWriterCompatV1", Form::Only("false", "sluice writes no Iceberg metadata")),
    (
        "delta.enableInCommitTimestamps",
        Form::Only("false", "sluice can't write in-commit timestamps"),
    ),
    ("delta.enableRowTracking", Form::Only("false", "sluice can't write row ids")),
    // Not all readers have it, and `schema_evolution: widen` can't do without: the user's choice.
    ("delta.enableTypeWidening", Form::Flag),
    ("delta.enableVariantShredding", Form::Only("false", NEWER_PROTOCOL)),
    ("delta.identity.allowExplicitInsert", Form::Refused("sluice writes no identity columns")),
    ("delta.ignoreProtocolDefaults", Form::Flag),
    (
        "delta.isolationLevel",
        Form::Word(&["Serializable", "WriteSerializable", "SnapshotIsolation"]),
    ),
    ("delta.logRetentionDuration", Form::Interval),
    ("delta.minReaderVersion", Form::Refused("the protocol follows from the columns")),
    ("delta.minWriterVersion", Form::Refused("the protocol follows from the columns")),
    ("delta.parquet.compression.codec", Form::Refused("set `files.compression`")),
    ("delta.parquet.vorder.enabled", Form::Only("false", "sluice writes no V-Order")),
    ("delta.randomizeFilePrefixes", Form::Only("false", "sluice names its files itself")),
    ("delta.randomPrefixLength", Form::Refused("sluice names its files itself")),
    ("delta.requireCheckpointProtectionBeforeVersion", Form::Refused(NEWER_PROTOCOL)),
    ("delta.sampleRetentionDuration", Form::Interval),
    ("delta.setTransactionRetentionDuration", Form::LongInterval(SHORTEST_TXN_RETENTION_HOURS)),
    ("delta.targetFileSize", Form::Free),
    ("delta.tuneFileSizesForRewrites", Form::Flag),
    (
        "delta.universalFormat.enabledFormats",
        Form::Refused("sluice writes no Iceberg or Hudi metadata"),
    ),
    ("delta.writePartitionColumnsToParquet", Form::Only("false", NEWER_PROTOCOL)),
];

/// Families of properties that are refused whatever comes after the prefix.
const REFUSED_PREFIXES: [(&str, &str); 7] = [
    ("sluice.", "these properties are sluice's own"),
    ("delta.feature.", "table features follow from the columns"),
    ("delta.constraints.", "sluice can't check SQL conditions"),
    ("delta.coordinatedCommits.", "sluice commits to the log in the store, not through a catalog"),
    ("delta.rowTracking.", "sluice can't write row ids"),
    ("delta.columnMapping.", "sluice writes columns by name"),
    ("io.unitycatalog.", "sluice commits to the log in the store, not through a catalog"),
];

/// Why a property can't be set: what is wrong, and what to do.
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) hint: String,
}

/// Properties with a spelling that matters.
pub(super) fn known_names() -> impl Iterator<Item = &'static str> {
    PROPERTIES.iter().map(|(name, _)| *name)
}

/// The property as it is written into the table.
pub(super) fn check(name: &str, value: &str) -> Result<String, Refusal> {
    let refuse = |what: String, hint: &str| Err(Refusal { what, hint: hint.to_owned() });
    if let Some((known, form)) = PROPERTIES.iter().find(|(known, _)| *known == name) {
        return form.check(known, value);
    }
    if let Some((_, reason)) = REFUSED_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))
    {
        return refuse(format!("is refused: {reason}"), "remove it");
    }
    if !name.starts_with("delta.") {
        // Properties outside `delta.` are the user's notes.
        return Ok(value.to_owned());
    }
    let names: Vec<String> = known_names().map(str::to_owned).collect();
    let hint = super::shape::did_you_mean(name, names.iter());
    refuse("is not a table property that sluice knows".to_owned(), &hint)
}

impl Form {
    fn check(self, name: &str, value: &str) -> Result<String, Refusal> {
        let refuse = |what: String, hint: &str| Err(Refusal { what, hint: hint.to_owned() });
        let value = value.trim();
        let lower = value.to_ascii_lowercase();
        match self {
            Self::Free => Ok(value.to_owned()),
            Self::Flag if matches!(lower.as_str(), "true" | "false") => Ok(lower),
            Self::Flag => refuse("must be `true` or `false`".to_owned(), ""),
            Self::Number(least) => match value.parse::<i64>() {
                Ok(number) if number >= least => Ok(number.to_string()),
                _ => refuse(format!("must be a whole number, {least} or more"), ""),
            },
            Self::Interval => match units::interval(value) {
                Some(_) => Ok(with_word(&lower)),
                None => {
                    refuse("is not an interval of Delta's".to_owned(), "write `interval 30 days`")
                }
            },
            Self::LongInterval(hours) => match units::interval(value) {
                Some(length) if length >= Duration::from_secs(hours * 3600) => {
                    Ok(with_word(&lower))
                }
                Some(_) => refuse(
                    "is too short: progress would expire between two commits".to_owned(),
                    "write `interval 1 day` or more",
                ),
                None => {
                    refuse("is not an interval of Delta's".to_owned(), "write `interval 30 days`")
                }
            },
            Self::Word(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
                Some(word) => Ok((*word).to_owned()),
                None => refuse(format!("must be one of {}", words.join(", ")), ""),
            },
            Self::Only(allowed, _) if lower == allowed => Ok(lower),
            Self::Only(allowed, reason) => {
                let hint = format!("set {name} to {allowed}, or remove it");
                refuse(format!("is refused: {reason}"), &hint)
            }
            Self::Refused(reason) if reason.starts_with("set ") => {
                refuse("is refused: sluice has a key for it".to_owned(), reason)
            }
            Self::Refused(reason) => refuse(format!("is refused: {reason}"), "remove it"),
        }
    }
}

/// Readers other than Spark ask for the word.
fn with_word(interval: &str) -> String {
    let words: Vec<&str> = interval.split_whitespace().filter(|word| *word != "interval").collect();
    format!("interval {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> String {
        match check(name, value) {
            Ok(value) => value,
            Err(refusal) => format!("{}; {}", refusal.what, refusal.hint),
        }
    }

    #[test]
    fn properties_are_written_as_delta_reads_them() {
        assert_eq!(checked("delta.appendOnly", "TRUE"), "true");
        assert_eq!(checked("delta.logRetentionDuration", "30 Days"), "interval 30 days");
        assert_eq!(checked("delta.isolationLevel", "serializable"), "Serializable");
        assert_eq!(checked("delta.enableDeletionVectors", "false"), "false");
        assert_eq!(checked("owner", "team A"), "team A");
    }

    #[test]
    fn what_sluice_cannot_write_is_refused_with_the_reason() {
        for (name, value, reason) in [
            ("delta.enableInCommitTimestamps", "true", "in-commit timestamps"),
            ("delta.enableRowTracking", "true", "row ids"),
            ("delta.columnMapping.mode", "name", "columns by name"),
            ("delta.enableDeletionVectors", "true", "readers without them"),
            ("delta.feature.catalogManaged", "supported", "table features follow"),
            ("delta.coordinatedCommits.commitCoordinator-preview", "x", "not through a catalog"),
            ("delta.constraints.positive", "a > 0", "SQL conditions"),
            ("sluice.orders.orders", "x", "sluice's own"),
            ("delta.minWriterVersion", "7", "the protocol follows"),
            ("delta.parquet.compression.codec", "snappy", "set `files.compression`"),
            ("delta.setTransactionRetentionDuration", "interval 23 hours", "too short"),
            ("delta.logRetentionDuration", "30d", "not an interval"),
            ("delta.checkpointInterval", "0", "1 or more"),
            ("delta.apendOnly", "true", "did you mean `delta.appendOnly`?"),
        ] {
            let refusal = checked(name, value);
            assert!(refusal.contains(reason), "{name}: {refusal}");
        }
    }

    #[test]
    fn names_are_sorted_and_stand_once() {
        let mut names: Vec<String> = known_names().map(str::to_lowercase).collect();
        names.dedup();
        assert_eq!(names.len(), PROPERTIES.len());
    }
}
