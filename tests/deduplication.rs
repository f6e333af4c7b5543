//! An output with `deduplicate`, as whole runs on librdkafka's mock cluster, with restarts.

use sluice::config::{Connector, Trigger};
use sluice::engine::EngineError;

use super::engine::Bench;
use super::windows::{entries, newest_of, rows};

/// Event time and id. The partitions take turns, so that ids stay in theirs: `a` in 0, `b` in 1.
type Record = (&'static str, &'static str);

fn produce(bench: &Bench, records: &[Record]) {
    let values: Vec<_> = records
        .iter()
        .map(|(time, id)| {
            format!(r#"{{"at": "2026-11-01T{time}Z", "id": "{id}", "tags": ["x", "{time}"]}}"#)
        })
        .collect();
    bench.produce(values.iter().map(|value| Some(value.as_str())));
}

/// `more`: keys of the output beside the others.
fn spec(bench: &Bench, order: &str, within: &str, more: &str, max_records: u64) -> Connector {
    bench.spec(&format!(
        "decode: {{value: {{format: json, schema: 'at TIMESTAMP, id STRING, tags ARRAY<STRING>'}}}}\n\
         limits: {{max_records: {max_records}}}\n\
         outputs:\n  \
           raw: {{table: ./raw}}\n  \
           orders:\n    \
             table: ./orders\n    \
             metadata_columns: []\n    \
             deduplicate:\n      \
               keys: [upper(id)]\n      \
               within: {within}\n      \
               order: {order}\n      \
               watermark: {{column: at, delay: 2m, idle_timeout: never}}\n    \
             {more}"
    ))
}

/// A row of the table.
fn row((time, id): Record) -> String {
    format!("{time}Z {id} [x, {time}]")
}

const FIRST: [Record; 4] =
    [("10:00:50", "a"), ("10:00:20", "b"), ("10:00:10", "a"), ("10:00:20", "b")];
const SECOND: [Record; 4] =
    // The fourth is exactly `within` after the first of its id.
    [("10:01:30", "A"), ("10:01:19", "b"), ("10:02:10", "a"), ("10:01:20", "b")];
/// They bring the partitions to 10:03:00 and 10:02:30. The last two are late.
const THIRD: [Record; 4] =
    [("10:05:00", "a"), ("10:04:30", "b"), ("10:02:59", "a"), ("10:02:29", "b")];

#[test]
fn by_arrival_the_first_of_a_key_is_written_at_once_whatever_the_batches_and_restarts() {
    for max_records in [1, 2, 3, 100] {
        let bench = Bench::new();
        let run = || bench.run(spec(&bench, "arrival", "1m", "", max_records)).expect("a run");
        produce(&bench, &FIRST);
        run();
        let mut expected = vec![row(FIRST[0]), row(FIRST[1])];
        expected.sort();
        assert_eq!(rows(&bench, "orders"), expected, "{max_records}");
        produce(&bench, &SECOND);
        run();
        // 10:01:30 is near to 10:00:50 and 10:02:10 isn't, 10:01:20 is a minute after 10:00:20.
        expected.extend([row(SECOND[2]), row(SECOND[3])]);
        expected.sort();
        assert_eq!(rows(&bench, "orders"), expected, "{max_records}");
        produce(&bench, &THIRD);
        run();
        expected.extend([row(THIRD[0]), row(THIRD[1])]);
        expected.sort();
        assert_eq!(rows(&bench, "orders"), expected, "{max_records}");
        let report = bench.report("orders", "orders");
        assert!(report.is_clean(), "{:?}", report.findings);
        let fates = report.fates;
        assert_eq!((fates.rows, fates.duplicates, fates.late), (6, 4, 2), "{max_records}");
        assert_eq!(rows(&bench, "raw").len(), 12);
    }
}

#[test]
fn by_event_time_rows_wait_for_the_watermark_and_the_earliest_stays() {
    for max_records in [1, 2, 3, 100] {
        let bench = Bench::new();
        let run = || bench.run(spec(&bench, "event_time", "1m", "", max_records)).expect("a run");
        produce(&bench, &FIRST);
        run();
        produce(&bench, &SECOND);
        run();
        assert_eq!(rows(&bench, "orders"), [""; 0], "{max_records}");
        produce(&bench, &THIRD);
        run();
        // W is 10:02:30: the latest of `a` and `b` wait.
        let first = [FIRST[2], FIRST[1], SECOND[0], SECOND[3]];
        let mut expected: Vec<_> = first.into_iter().map(row).collect();
        expected.sort();
        assert_eq!(rows(&bench, "orders"), expected, "{max_records}");
        let report = bench.report("orders", "orders");
        assert!(report.is_clean(), "{:?}", report.findings);
        let fates = report.fates;
        assert_eq!((fates.rows, fates.held, fates.late), (0, 10, 2), "{max_records}");
        let infos = entries(&bench, "orders");
        let sum = |key: &str| -> u64 {
            let infos = infos.iter().flatten();
            infos.filter_map(|of| of["commitInfo"]["sluice"]["windows"][key].as_u64()).sum()
        };
        assert_eq!((sum("released"), sum("duplicates")), (4, 4), "{max_records}");
    }
}

#[test]
fn select_and_where_are_of_the_rows_that_stay() {
    let bench = Bench::new();
    produce(&bench, &FIRST);
    let more = "select: 'upper(id) AS id, at'\n    \
                where: \"at > TIMESTAMP '2026-11-01T10:00:15Z'\"";
    bench.run(spec(&bench, "arrival", "1m", more, 100)).expect("a run");
    assert_eq!(rows(&bench, "orders"), ["A 10:00:50Z", "B 10:00:20Z"]);
    let report = bench.report("orders", "orders");
    assert!(report.is_clean(), "{:?}", report.findings);
    let fates = report.fates;
    assert_eq!((fates.rows, fates.duplicates, fates.filtered), (2, 1, 1));
}

#[test]
fn an_idle_partition_lets_rows_go_without_a_record() {
    let bench = Bench::new();
    produce(&bench, &[("10:00:00", "a")]);
    produce(&bench, &[("10:05:00", "a")]);
    let mut spec = spec(&bench, "event_time", "1m", "", 100);
    spec.trigger = Trigger::ProcessingTime { interval: std::time::Duration::ZERO };
    let output = spec.outputs.get_mut("orders").expect("the output");
    let watermark = &mut output.deduplicate.as_mut().expect("it is set").watermark;
    watermark.idle_timeout = Some(std::time::Duration::from_millis(300));
    bench.run_until(spec, || newest_of(&bench, "orders").is_some_and(|info| info.released == 1));
    assert_eq!(rows(&bench, "orders"), [row(("10:00:00", "a"))]);
    let report = bench.report("orders", "orders");
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn state_of_other_keys_or_lengths_is_refused_by_name() {
    let bench = Bench::new();
    produce(&bench, &FIRST);
    bench.run(spec(&bench, "arrival", "1m", "", 100)).expect("a run");
    let refused = |order: &str, within: &str| {
        let error = bench.run(spec(&bench, order, within, "", 100)).expect_err("other state");
        error.to_string()
    };
    let told = refused("arrival", "2m");
    assert!(told.contains("`deduplicate.within` was 60 s, now it is 120 s"), "{told}");
    let told = refused("event_time", "1m");
    assert!(told.contains("`deduplicate.order` was arrival, now it is event_time"), "{told}");
    bench.run(spec(&bench, "arrival", "60s", "where: id <> 'z'", 100)).expect("the same state");
}

#[test]
fn a_batch_that_has_to_fit_into_memory_is_refused_beyond_its_limits() {
    let bench = Bench::new();
    produce(&bench, &FIRST);
    for order in ["arrival", "event_time"] {
        let mut spec = spec(&bench, order, "1m", "", 3);
        spec.trigger = Trigger::Once;
        let error = bench.run(spec).expect_err("four records");
        assert!(matches!(error, EngineError::OnceTooLarge { max_records: 3, .. }), "{error}");
    }
}
