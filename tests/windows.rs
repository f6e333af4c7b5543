//! An output with windows, as whole runs on librdkafka's mock cluster: the examples of docs/WINDOWS.md, with restarts.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sluice::config::{Connector, Trigger};
use sluice::sink::history::WindowsInfo;

use super::engine::Bench;

/// Records of the page, in the order of offsets, by partition.
const RECORDS: [(&str, &str, i64); 8] = [
    ("10:00:10", "de", 5),
    ("10:00:20", "de", 7),
    ("10:00:50", "fr", 3),
    ("10:03:20", "de", 4),
    ("10:01:30", "de", 2),
    ("10:04:10", "de", 8),
    ("10:03:05", "fr", 1),
    // The partitions take turns: this one is for partition 1, where it is late as well.
    ("10:00:59", "de", 9),
];

fn record((time, country, amount): (&str, &str, i64)) -> String {
    format!(r#"{{"event_time": "2026-11-01T{time}Z", "country": "{country}", "amount": {amount}}}"#)
}

fn produce(bench: &Bench, records: &[(&str, &str, i64)]) {
    let values: Vec<_> = records.iter().copied().map(record).collect();
    bench.produce(values.iter().map(|value| Some(value.as_str())));
}

const TUMBLING: &str = "kind: tumbling, size: 1m";

/// `more`: keys of `aggregate` beside the others.
fn spec(bench: &Bench, window: &str, more: &str, max_records: u64) -> Connector {
    bench.spec(&format!(
        "dead_letters: {{table: ./dead}}\n\
         decode: {{on_bad_record: dead_letter, value: {{format: json, schema: 'event_time TIMESTAMP, country STRING, amount BIGINT'}}}}\n\
         limits: {{max_records: {max_records}}}\n\
         outputs:\n  \
           raw: {{table: ./raw}}\n  \
           per_minute:\n    \
             table: ./per_minute\n    \
             aggregate:\n      \
               watermark: {{column: event_time, delay: 2m, idle_timeout: never}}\n      \
               window: {{{window}}}\n      \
               group_by: [country]\n      \
               measures: {{orders: count(*), revenue: sum(amount)}}\n      \
               {more}"
    ))
}

/// The entries of a log, in order.
pub(super) fn entries(bench: &Bench, table: &str) -> Vec<Vec<serde_json::Value>> {
    let Ok(folder) = std::fs::read_dir(bench.log(table)) else { return Vec::new() };
    let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let lines = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("an entry");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    paths.iter().map(lines).collect()
}

/// The live files of a table.
pub(super) fn files(bench: &Bench, table: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for action in entries(bench, table).iter().flatten() {
        if let Some(path) = action["remove"]["path"].as_str() {
            assert!(files.remove(path), "{path} is taken out, but isn't there");
        }
        if let Some(path) = action["add"]["path"].as_str() {
            assert!(files.insert(path.to_owned()), "{path} is there already");
        }
    }
    files
}

/// The rows of a table, each a line of text, in order.
pub(super) fn rows(bench: &Bench, table: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for file in files(bench, table) {
        let path = bench.folder.path().join(table).join(file);
        let file = File::open(path).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        for batch in reader.build().expect("a reader") {
            let batch = batch.expect("rows");
            let options = FormatOptions::default().with_null("-");
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).expect("a type"))
                .collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
                rows.push(cells.join(" ").replace("2026-11-01T", ""));
            }
        }
    }
    rows.sort();
    rows
}

/// What the newest commit of the output says of windows.
fn newest(bench: &Bench) -> Option<WindowsInfo> {
    newest_of(bench, "per_minute")
}

pub(super) fn newest_of(bench: &Bench, table: &str) -> Option<WindowsInfo> {
    let entries = entries(bench, table);
    let newest_first = entries.iter().rev().flatten();
    let mut infos = newest_first.filter_map(|action| {
        serde_json::from_value(action["commitInfo"]["sluice"]["windows"].clone()).ok()
    });
    infos.next()
}

#[test]
fn the_epoch_of_a_row_is_that_of_its_commit() {
    let bench = Bench::new();
    produce(&bench, &RECORDS);
    bench.run(spec(&bench, TUMBLING, "epoch_column: batch", 2)).expect("a run");
    let epoch = newest(&bench).expect("a commit with windows").epoch;
    assert!(epoch > 1);
    let closed: Vec<_> = entries(&bench, "per_minute")
        .iter()
        .flatten()
        .map(|action| action["commitInfo"]["sluice"]["windows"].clone())
        .filter(|windows| windows["closed"].as_u64().is_some_and(|closed| closed > 0))
        .map(|windows| windows["epoch"].to_string())
        .collect();
    let [closed] = &closed[..] else { panic!("closed by {closed:?}") };
    let expected = ["de 2 12", "fr 1 3"].map(|row| format!("10:00:00Z 10:01:00Z {row} {closed}"));
    assert_eq!(rows(&bench, "per_minute"), expected);
}

#[test]
fn windows_are_written_once_whatever_the_batches_and_restarts() {
    for max_records in [1, 2, 3, 100] {
        let bench = Bench::new();
        produce(&bench, &RECORDS[..3]);
        bench.run(spec(&bench, TUMBLING, "", max_records)).expect("a run");
        produce(&bench, &[RECORDS[4], RECORDS[3]]);
        bench.run(spec(&bench, TUMBLING, "", max_records)).expect("a second run");
        assert_eq!(rows(&bench, "per_minute"), [""; 0], "{max_records}");
        produce(&bench, &[RECORDS[6], RECORDS[5]]);
        bench.run(spec(&bench, TUMBLING, "", max_records)).expect("a third run");
        let expected = ["10:00:00Z 10:01:00Z de 2 12", "10:00:00Z 10:01:00Z fr 1 3"];
        assert_eq!(rows(&bench, "per_minute"), expected, "{max_records}");
        let windows = newest(&bench).expect("a commit with windows");
        assert_eq!(windows.watermark.as_deref(), Some("2026-11-01T10:01:05Z"));

        produce(&bench, &[("10:00:59", "de", 9), ("10:00:58", "de", 9)]);
        bench.run(spec(&bench, TUMBLING, "", max_records)).expect("a run with late rows");
        assert_eq!(rows(&bench, "per_minute").len(), 2, "{max_records}");
        let report = bench.report("per_minute", "per_minute");
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!((report.fates.aggregated, report.fates.late), (7, 2), "{max_records}");
        assert_eq!(report.fates.rows, 0);
        assert_eq!(rows(&bench, "raw").len(), 9);
    }
}

#[test]
fn an_idle_partition_lets_windows_close_without_a_record() {
    let bench = Bench::new();
    // Both to partition 0; the other one has nothing.
    produce(&bench, &RECORDS[..1]);
    produce(&bench, &[("10:05:00", "fr", 1)]);
    let mut spec = spec(&bench, TUMBLING, "", 100);
    spec.trigger = Trigger::ProcessingTime { interval: Duration::ZERO };
    let output = spec.outputs.get_mut("per_minute").expect("the output");
    let watermark = &mut output.aggregate.as_mut().expect("windows").watermark;
    watermark.idle_timeout = Some(Duration::from_millis(300));
    bench.run_until(spec, || newest(&bench).is_some_and(|windows| windows.closed == 1));
    let windows = newest(&bench).expect("a commit with windows");
    assert_eq!(windows.watermark.as_deref(), Some("2026-11-01T10:03:00Z"));
    assert!(windows.idle.contains(&"orders/1".to_owned()), "{windows:?}");
    assert_eq!(rows(&bench, "per_minute"), ["10:00:00Z 10:01:00Z de 1 5"]);
    let report = bench.report("per_minute", "per_minute");
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.fates.aggregated, 2);
}

#[test]
fn open_windows_are_in_the_table_until_they_close() {
    for (max_records, every) in [(1, "0s"), (2, "0s"), (3, "1h"), (100, "1h")] {
        let bench = Bench::new();
        let changes = format!("emit: {{changes: {{every: {every}}}}}");
        let run = || {
            bench.run(spec(&bench, TUMBLING, &changes, max_records)).expect("a run");
        };
        produce(&bench, &RECORDS[..3]);
        run();
        let expected = ["10:00:00Z 10:01:00Z de 2 12", "10:00:00Z 10:01:00Z fr 1 3"];
        assert_eq!(rows(&bench, "per_minute"), expected, "{max_records}");
        produce(&bench, &[RECORDS[4], RECORDS[3]]);
        run();
        let expected = [
            "10:00:00Z 10:01:00Z de 2 12",
            "10:00:00Z 10:01:00Z fr 1 3",
            "10:01:00Z 10:02:00Z de 1 2",
            "10:03:00Z 10:04:00Z de 1 4",
        ];
        assert_eq!(rows(&bench, "per_minute"), expected, "{max_records}");
        produce(&bench, &[RECORDS[6], RECORDS[5]]);
        run();
        let expected = [
            "10:00:00Z 10:01:00Z de 2 12",
            "10:00:00Z 10:01:00Z fr 1 3",
            "10:01:00Z 10:02:00Z de 1 2",
            "10:03:00Z 10:04:00Z de 1 4",
            "10:03:00Z 10:04:00Z fr 1 1",
            "10:04:00Z 10:05:00Z de 1 8",
        ];
        assert_eq!(rows(&bench, "per_minute"), expected, "{max_records}");
        let report = bench.report("per_minute", "per_minute");
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!(report.fates.aggregated, 7);
        run();
        assert_eq!(rows(&bench, "per_minute"), expected, "nothing happened");
    }
}

#[test]
fn what_was_written_as_changes_does_not_go_on_as_final() {
    let bench = Bench::new();
    produce(&bench, &RECORDS[..3]);
    let asked = |emit: &str| spec(&bench, TUMBLING, emit, 100);
    bench.run(asked("emit: {changes: {every: 0s}}")).expect("a run");
    let error = bench.run(asked("emit: final")).expect_err("open windows are in the table");
    assert!(error.to_string().contains("`emit` was changes"), "{error}");
    bench.run(asked("emit: {changes: {every: 0s}}")).expect("it goes on as it was");
}

#[test]
fn what_was_written_as_final_goes_on_as_changes() {
    let bench = Bench::new();
    let asked = |emit: &str| spec(&bench, TUMBLING, emit, 100);
    produce(&bench, &RECORDS[..7]);
    bench.run(asked("emit: final")).expect("a run");
    assert_eq!(rows(&bench, "per_minute").len(), 2, "those that are closed");
    bench.run(asked("emit: {changes: {every: 0s}}")).expect("another");
    assert_eq!(rows(&bench, "per_minute").len(), 6, "all that there are");
    let report = bench.report("per_minute", "per_minute");
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_running_value_per_key_is_always_in_the_table() {
    let bench = Bench::new();
    let run = || {
        let spec = spec(&bench, "kind: none", "emit: {changes: {every: 0s}}", 2);
        bench.run(spec).expect("a run");
    };
    produce(&bench, &RECORDS);
    run();
    assert_eq!(rows(&bench, "per_minute"), ["de 6 35", "fr 2 4"]);
    produce(&bench, &[("10:04:30", "fr", 6)]);
    run();
    assert_eq!(rows(&bench, "per_minute"), ["de 6 35", "fr 3 10"]);
    let report = bench.report("per_minute", "per_minute");
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn late_rows_are_kept_once_where_they_are_asked_for() {
    let bench = Bench::new();
    let run = || {
        bench.run(spec(&bench, TUMBLING, "late_rows: dead_letter", 2)).expect("a run");
    };
    produce(&bench, &RECORDS[..7]);
    run();
    // Both are late; so is the tombstone's neighbour without a time.
    produce(&bench, &[("10:00:59", "de", 9), ("10:00:58", "de", 9)]);
    bench.produce([Some(r#"{"country": "fr"}"#), None]);
    run();
    let kept = rows(&bench, "dead");
    assert_eq!(kept.len(), 3, "{kept:?}");
    let late = kept.iter().filter(|row| row.contains("SL6301 late: its windows were closed"));
    assert_eq!(late.count(), 2, "{kept:?}");
    assert!(kept.iter().all(|row| row.ends_with("per_minute")), "{kept:?}");
    for (table, output) in
        [("per_minute", "per_minute"), ("dead", "per_minute.late"), ("raw", "raw")]
    {
        let report = bench.report(table, output);
        assert!(report.is_clean(), "{output}: {:?}", report.findings);
    }
    let report = bench.report("per_minute", "per_minute");
    assert_eq!((report.fates.late, report.fates.timeless, report.fates.tombstones), (2, 1, 1));
}

#[test]
fn a_partition_far_ahead_waits_for_one_that_has_records_to_read() {
    const RECORDS: i64 = 200;
    let bench = Bench::new();
    // Minutes in the first partition, seconds in the second.
    let at = |seconds: i64| {
        let time = chrono::DateTime::from_timestamp(1_793_520_000 + seconds, 0).expect("a time");
        format!(r#"{{"event_time": "{}", "country": "de", "amount": 1}}"#, time.to_rfc3339())
    };
    let values: Vec<_> = (0..RECORDS).flat_map(|n| [at(60 * n), at(n)]).collect();
    bench.produce(values.iter().map(|value| Some(value.as_str())));
    let mut spec = spec(&bench, TUMBLING, "emit: final", 10);
    let output = spec.outputs.get_mut("per_minute").expect("the output");
    let watermark = &mut output.aggregate.as_mut().expect("windows").watermark;
    watermark.max_ahead = Some(Duration::from_secs(600));
    bench.run(spec).expect("a run");

    let mut most_ahead = 0;
    for action in entries(&bench, "per_minute").iter().flatten() {
        let info = &action["commitInfo"]["sluice"];
        let Ok(windows) = serde_json::from_value::<WindowsInfo>(info["windows"].clone()) else {
            continue;
        };
        let moved = |of: &serde_json::Value| of["partition"] == 1 && of["end"] != RECORDS;
        if !info["partitions"].as_array().into_iter().flatten().any(moved) {
            continue;
        }
        let reached = windows.watermarks.iter().map(|each| {
            let text = each.watermark.as_deref().expect("both have records");
            chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp()
        });
        let (least, most) = (reached.clone().min(), reached.max());
        most_ahead = most_ahead.max(most.expect("two") - least.expect("two"));
    }
    // A batch has five records of each, as long as both are read.
    assert!((300..=600 + 5 * 60).contains(&most_ahead), "{most_ahead} s");
    let report = bench.report("per_minute", "per_minute");
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.fates.aggregated + report.fates.late, 2 * RECORDS as u64);
}
