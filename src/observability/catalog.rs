//! Every metric that sluice exposes: name, type, unit, labels, meaning. One table.
//!
//! The facade in [`super::metrics`] registers from it and docs/reference/metrics.md is written from it, so a
//! metric that isn't described here can't exist. Names and labels are an interface: dashboards and alerts
//! depend on them.

use std::fmt::Write;

/// How Prometheus reads a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric. Besides `labels`, each carries the label `connector`.
#[derive(Debug)]
pub struct Descriptor {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets; empty otherwise.
    pub buckets: &'static [f64],
}

/// From a local commit (a few ms) to an upload that is stuck.
const DURATIONS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// From a 100 ms trigger to a backlog of a day.
const LATENCIES: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0,
    86400.0,
];

pub const BUILD_INFO: Descriptor = gauge(
    "sluice_build_info",
    "",
    &["version"],
    "Always 1; the label `version` says which sluice this is.",
);
pub const RECORDS: Descriptor = counter(
    "sluice_records_total",
    "records",
    &["output", "fate"],
    "Offsets committed, by what became of them: `rows`, `dead_letters`, `skipped`, `tombstones`, `filtered`, `existing`, `duplicates`, `held`, `aggregated`, `late`, `future`, `timeless`, `gaps`. Their sum is the offsets passed.",
);
pub const BYTES: Descriptor = counter(
    "sluice_bytes_total",
    "bytes",
    &["output"],
    "Bytes of Kafka keys and values in committed batches.",
);
pub const FILES: Descriptor =
    counter("sluice_files_total", "files", &["output"], "Parquet files added to the table.");
pub const FILE_BYTES: Descriptor = counter(
    "sluice_file_bytes_total",
    "bytes",
    &["output"],
    "Bytes of the Parquet files added to the table.",
);
pub const COMMITS: Descriptor = counter(
    "sluice_commits_total",
    "commits",
    &["output", "result"],
    "Attempts to commit, by result: `committed`; `rebased` (committed after other writers took the version first); `fenced` (another instance of this connector committed); `failed`.",
);
pub const LAST_COMMIT: Descriptor = gauge(
    "sluice_last_commit_timestamp_seconds",
    "seconds since the Unix epoch",
    &["output"],
    "Time of the last commit of this process; 0 before the first.",
);
pub const TABLE_VERSION: Descriptor = gauge(
    "sluice_table_version",
    "",
    &["output"],
    "Version of the table that the last commit of this process became.",
);
pub const BATCH_DURATION: Descriptor = histogram(
    "sluice_batch_duration_seconds",
    &["output", "phase"],
    "Duration of a batch by phase: `plan`, `read` (fetch and decode), `write`, `commit`, `acknowledge`, and `batch` (from the trigger to the end). `output` is empty for what all outputs share. Reading overlaps writing, so phases don't add up to `batch`.",
    DURATIONS,
);
pub const TRIGGER_INTERVAL: Descriptor = gauge(
    "sluice_trigger_interval_seconds",
    "seconds",
    &[],
    "The configured trigger interval; 0: the next batch as soon as the last is done.",
);
pub const TRIGGER_DELAY: Descriptor = histogram(
    "sluice_trigger_delay_seconds",
    &[],
    "How much later than planned a batch began (scheduling delay). Near 0 while batches fit into the interval.",
    DURATIONS,
);
pub const LATENCY: Descriptor = histogram(
    "sluice_end_to_end_latency_seconds",
    &["output"],
    "From a record's Kafka timestamp to its commit; one observation per batch, of its oldest record.",
    LATENCIES,
);
pub const LAG_RECORDS: Descriptor = gauge(
    "sluice_lag_records",
    "records",
    &["topic", "partition"],
    "Offsets between what the slowest output committed and the end of the partition. Without per-partition lag, `partition` is empty and this is the topic's sum.",
);
pub const LAG_SECONDS: Descriptor = gauge(
    "sluice_lag_seconds",
    "seconds",
    &["topic", "partition"],
    "Age of the oldest record that is not committed yet; 0 when there is none. Without per-partition lag, `partition` is empty and this is the topic's largest.",
);
pub const WATERMARK: Descriptor = gauge(
    "sluice_watermark_timestamp_seconds",
    "seconds",
    &["output"],
    "The watermark of an output with windows, in seconds since 1970: windows that end by then are closed. Time minus this is how far windows are behind.",
);
pub const STATE_ROWS: Descriptor = gauge(
    "sluice_state_rows",
    "rows",
    &["output"],
    "What an output with windows keeps between commits: open windows times keys, and a little more for sessions.",
);
pub const STATE_BYTES: Descriptor = gauge(
    "sluice_state_bytes",
    "bytes",
    &["output"],
    "The bytes of `sluice_state_rows`, keys and values.",
);
pub const ERRORS: Descriptor = counter(
    "sluice_errors_total",
    "errors",
    &["code"],
    "Errors that ended a batch, by message code. The connector recovers from the passing ones by itself.",
);
pub const RECOVERIES: Descriptor = counter(
    "sluice_recoveries_total",
    "recoveries",
    &[],
    "Times that progress was read from the tables: once at the start, then after each error.",
);

pub const CATALOG: &[&Descriptor] = &[
    &BUILD_INFO,
    &RECORDS,
    &BYTES,
    &FILES,
    &FILE_BYTES,
    &COMMITS,
    &LAST_COMMIT,
    &TABLE_VERSION,
    &BATCH_DURATION,
    &TRIGGER_INTERVAL,
    &TRIGGER_DELAY,
    &LATENCY,
    &LAG_RECORDS,
    &LAG_SECONDS,
    &WATERMARK,
    &STATE_ROWS,
    &STATE_BYTES,
    &ERRORS,
    &RECOVERIES,
];

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Descriptor {
    Descriptor { name, kind: Kind::Gauge, unit, labels, help, buckets: &[] }
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Descriptor {
    Descriptor { name, kind: Kind::Counter, unit, labels, help, buckets: &[] }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    buckets: &'static [f64],
) -> Descriptor {
    Descriptor { name, kind: Kind::Histogram, unit: "seconds", labels, help, buckets }
}

/// The reference page, Markdown.
pub fn reference() -> String {
    let mut page = String::from(REFERENCE_HEAD);
    for metric in CATALOG {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.unit,
            labels.join(", "),
            metric.help
        );
    }
    page.push_str(REFERENCE_TAIL);
    page
}

const REFERENCE_HEAD: &str = "\
# Metrics

<!-- Written from src/observability/catalog.rs by `UPDATE=1 cargo test --release metrics_reference`. -->

`GET /metrics` on `http.listen`, in Prometheus' text format. Every series also has the label `connector`, the
`name` of the configuration. Counters start at 0 with the process; rates are for queries to make.

| name | type | unit | labels | meaning |
|---|---|---|---|---|
";

const REFERENCE_TAIL: &str = "
## Queries to start with

```promql
# Records per second into each table
sum by (connector, output) (rate(sluice_records_total{fate=\"rows\"}[5m]))

# Share of records that are bad
sum by (connector, output) (rate(sluice_records_total{fate=~\"dead_letters|skipped\"}[5m]))
  / sum by (connector, output) (rate(sluice_records_total{fate!=\"gaps\"}[5m]))

# Is it falling behind? Lag in seconds, worst partition
max by (connector, topic) (sluice_lag_seconds)

# There is something to read, and nothing has been committed for ten minutes
(time() - sluice_last_commit_timestamp_seconds > 600)
  and on (connector) (sum by (connector) (sluice_lag_records) > 0)

# Where the time of a batch goes
sum by (connector, output, phase) (rate(sluice_batch_duration_seconds_sum[5m]))
```
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md");

    #[test]
    fn metrics_reference_is_current() {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(PAGE, reference()).expect("the page can be written");
        }
        let page = std::fs::read_to_string(PAGE).expect("the page exists");
        assert!(
            page == reference(),
            "docs/reference/metrics.md is out of date: run UPDATE=1 cargo test --release metrics_reference"
        );
    }

    #[test]
    fn names_follow_prometheus_conventions() {
        let mut seen = BTreeSet::new();
        for metric in CATALOG {
            let name = metric.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("sluice_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{name}");
            assert!(metric.buckets.is_sorted_by(|a, b| a < b), "{name}");
            assert_eq!(name.contains("_seconds"), metric.unit.starts_with("seconds"), "{name}");
            assert!(!metric.help.contains('|') && metric.help.ends_with('.'), "{name}");
        }
    }
}
