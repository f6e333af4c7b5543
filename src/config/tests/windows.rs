//! Windows: every message of a broken `aggregate`, the order of measures, the fingerprint.

use super::broken::told_of;
use super::*;

/// A valid file; every case changes some text of it.
const BASE: &str = "\
name: shop
source: {brokers: [kafka-0:9092], topics: [orders]}
decode: {value: {format: json, schema: \"id BIGINT, country STRING, at TIMESTAMP\"}}
outputs:
  orders:
    table: s3://lake/orders
    aggregate:
      watermark: {column: at, delay: 10m}
      window: {kind: tumbling, size: 1m}
      measures: {orders: count(*), last: max(id)}
";

const WINDOW: &str = "{kind: tumbling, size: 1m}";
const DELAY: &str = "delay: 10m";
const MEASURES: &str = "{orders: count(*), last: max(id)}";

/// `expected`: without the file's name and the path of the output.
fn check(cases: &[(&str, &str, &str)]) {
    let mut wrong = String::new();
    for (from, to, expected) in cases {
        let told = told_of(BASE, &[(from, to)]);
        let told = told.replace("connector.yaml:", "").replace(" outputs.orders.", " ");
        if told != *expected {
            wrong.push_str(&format!("\n{to:?}\n  told: {told}\n  not:  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn aggregate(text: &str) -> Aggregate {
    let loaded = load(&sources(text)).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.connector.outputs["orders"].aggregate.clone().expect("windows")
}

#[test]
fn a_kind_of_window_has_what_it_needs_and_nothing_else() {
    check(&[
        (
            WINDOW,
            "{kind: tumbling, size: 1m, slide: 1m}",
            "9: SL1008 aggregate.window.slide: has no effect with `kind: tumbling`; remove it",
        ),
        (
            WINDOW,
            "{kind: tumbling}",
            "9: SL1004 aggregate.window.size: must be set with `kind: tumbling`; for example `size: 1m`",
        ),
        (
            WINDOW,
            "{kind: sliding, size: 1m}",
            "9: SL1004 aggregate.window.slide: must be set with `kind: sliding`; for example `slide: 1m`",
        ),
        (
            WINDOW,
            "{kind: session, size: 1m}",
            "9: SL1008 aggregate.window.size: has no effect with `kind: session`; remove it\n\
             9: SL1004 aggregate.window.gap: must be set with `kind: session`; for example `gap: 1m`",
        ),
        (
            WINDOW,
            "{kind: session, gap: 1m, gap_seconds: amount}",
            "9: SL1008 aggregate.window.gap: has no effect with `gap_seconds`; remove it",
        ),
        (
            WINDOW,
            "{kind: tumbling, size: 1m, gap_seconds: amount}",
            "9: SL1008 aggregate.window.gap_seconds: has no effect with `kind: tumbling`; remove it",
        ),
        (
            WINDOW,
            "{kind: session, gap: 1m, timezone: Europe/Berlin}",
            "9: SL1008 aggregate.window.timezone: has no effect with `kind: session`; remove it",
        ),
        (
            WINDOW,
            "{kind: none, ttl: 30d, gap: 1m}",
            "9: SL1008 aggregate.window.gap: has no effect with `kind: none`; remove it",
        ),
        (
            WINDOW,
            "{size: 1m}",
            "9: SL1004 aggregate.window.kind: must be set; `tumbling`, `sliding`, `session` or `none`",
        ),
        (
            WINDOW,
            "{kind: hopping, size: 1m}",
            "9: SL1006 aggregate.window.kind: `hopping` is not `tumbling`, `sliding`, `session` or `none`",
        ),
    ]);
}

#[test]
fn windows_have_lengths_that_can_be() {
    check(&[
        (
            WINDOW,
            "{kind: tumbling, size: 0s}",
            "9: SL1007 aggregate.window.size: must be more than 0",
        ),
        (
            WINDOW,
            "{kind: session, gap: 36526d}",
            "9: SL1007 aggregate.window.gap: is more than 100 years",
        ),
        (
            WINDOW,
            "{kind: tumbling, size: 60}",
            "9: SL1005 aggregate.window.size: `60` needs a unit; write `60s` or `60ms`",
        ),
        (
            WINDOW,
            "{kind: sliding, size: 1m, slide: 2m}",
            "9: SL1008 aggregate.window.slide: is longer than `size`: rows between two windows would be in none",
        ),
        (
            WINDOW,
            "{kind: sliding, size: 1h, slide: 59m59s999ms}",
            "9: SL1008 aggregate.window.slide: and `size` have no common part of at least 1/100,000 of `size`; let the slide divide the size",
        ),
        (
            WINDOW,
            "{kind: sliding, size: 36h, slide: 1h, timezone: Europe/Berlin, offset: 24h}",
            "9: SL1008 aggregate.window.size: must be whole days with `timezone: Europe/Berlin`; write `1d`, or leave `timezone` away\n\
             9: SL1008 aggregate.window.slide: must be whole days with `timezone: Europe/Berlin`; write `1d`, or leave `timezone` away\n\
             9: SL1008 aggregate.window.offset: must be shorter than a day with `timezone: Europe/Berlin`",
        ),
        (
            WINDOW,
            "{kind: tumbling, size: 1d, timezone: Berlin}",
            "9: SL1007 aggregate.window.timezone: `Berlin` is not a time zone; use an IANA name: `UTC`, `Europe/Berlin`",
        ),
        (DELAY, "delay: 36526d", "8: SL1007 aggregate.watermark.delay: is more than 100 years"),
        (
            DELAY,
            "delay: 1m, idle_timeout: 0s",
            "8: SL1007 aggregate.watermark.idle_timeout: must be more than 0",
        ),
        (
            DELAY,
            "delay: 1m, max_future: soon",
            "8: SL1005 aggregate.watermark.max_future: `soon` is not a duration; write a whole number and a unit: `10s`",
        ),
    ]);
}

#[test]
fn what_windows_can_not_do_without_is_asked_for() {
    check(&[
        (
            "      watermark: {column: at, delay: 10m}\n",
            "",
            "7: SL1004 aggregate.watermark: must be set; for example `watermark: {column: event_time, delay: 10m}`",
        ),
        (
            "{column: at, delay: 10m}",
            "{column: at}",
            "8: SL1004 aggregate.watermark.delay: must be set; how late a row may come: `delay: 10m`",
        ),
        (
            "      window: {kind: tumbling, size: 1m}\n",
            "",
            "7: SL1004 aggregate.window: must be set; for example `window: {kind: tumbling, size: 1m}`",
        ),
        (
            "      measures: {orders: count(*), last: max(id)}\n",
            "",
            "7: SL1004 aggregate.measures: must be set; for example `measures: {orders: count(*)}`",
        ),
        (
            MEASURES,
            "{}",
            "10: SL1004 aggregate.measures: must name at least one measure; for example `measures: {rows: count(*)}`",
        ),
        (
            "      window:",
            "      group_by: [country, ' ', country]\n      window:",
            "9: SL1007 aggregate.group_by[1]: is empty; remove it, or write a column or an SQL expression with a name\n\
             9: SL1008 aggregate.group_by[2]: `country` stands twice in the list; remove one of them",
        ),
    ]);
}

#[test]
fn measures_have_names_that_columns_can_have() {
    check(&[
        (
            MEASURES,
            "{orders: count(*), Orders: max(id)}",
            "10: SL1013 aggregate.measures.Orders: `orders` and `Orders` are the same name to Delta Lake, which ignores case; rename one",
        ),
        (
            MEASURES,
            "{Window_End: max(at)}",
            "10: SL1013 aggregate.measures.Window_End: windows have a column `window_end` themselves; rename it",
        ),
        (
            MEASURES,
            "{'a b': max(at), kafka_offset: max(id)}",
            "10: SL1013 aggregate.measures.a b: column `a b` holds ' '; rename it\n\
             10: SL1013 aggregate.measures.kafka_offset: column `kafka_offset` is the name of a metadata column; rename it, or use the metadata column `offset`",
        ),
        (
            MEASURES,
            "{orders: ''}",
            "10: SL1007 aggregate.measures.orders: is empty; write an aggregate: `count(*)`",
        ),
        (MEASURES, "[count(*)]", "10: SL1003 aggregate.measures: must be a map, not a list"),
    ]);
}

#[test]
fn emission_and_late_rows_fit_each_other() {
    let more = |text: &str| format!("{WINDOW}\n      {text}");
    let none = "{kind: none}";
    let needs_changes = "9: SL1008 aggregate.window.kind: `none` without a `ttl` needs `emit: changes`, for nothing is ever final there; write `emit: {changes: {every: 10s}}`, or give the window a `ttl`";
    check(&[
        (
            WINDOW,
            &more("emit: changes"),
            "10: SL1006 aggregate.emit: `changes` doesn't stand alone; write `{changes: {every: 10s}}`",
        ),
        (
            WINDOW,
            &more("emit: {changes: {}}"),
            "10: SL1004 aggregate.emit.changes.every: must be set",
        ),
        (WINDOW, &more("emit: later"), "10: SL1006 aggregate.emit: `later` is not `final`"),
        (WINDOW, none, needs_changes),
        (WINDOW, "{kind: none}\n      emit: final", needs_changes),
        (
            WINDOW,
            &more("late_rows: {update: {allowed_lateness: 1h}}"),
            "10: SL1008 aggregate.late_rows: `update` needs `emit: changes`: a final row is never written again; write `emit: {changes: {every: 10s}}`, or raise `watermark.delay`",
        ),
        (
            WINDOW,
            &more(
                "emit: {changes: {every: 0s}}\n      late_rows: {update: {allowed_lateness: 0s}}",
            ),
            "11: SL1007 aggregate.late_rows.update.allowed_lateness: must be more than 0",
        ),
        (
            WINDOW,
            "{kind: none}\n      emit: {changes: {every: 0s}}\n      late_rows: {update: {allowed_lateness: 1s}}",
            "11: SL1008 aggregate.late_rows: `update` has no effect with `kind: none`: no row is late there; remove it",
        ),
    ]);
}

#[test]
fn an_output_with_windows_has_no_keys_and_one_without_no_state() {
    let windows = &BASE[BASE.find("    aggregate").expect("windows")..];
    check(&[
        (
            "    aggregate:",
            "    mode: upsert\n    merge_key: [country]\n    aggregate:",
            "7: SL1008 mode: has no effect with `aggregate`; remove it\n\
             8: SL1008 merge_key: has no effect with `aggregate`; remove it",
        ),
        (
            windows,
            "    state: {retention: 2h}\n",
            "7: SL1008 state: has no effect without `aggregate` or `deduplicate`; remove it",
        ),
        (
            "    aggregate:",
            "    state: {directory: /var/lib/sluice}\n    aggregate:",
            "7: SL1008 state.directory: has no effect with `backend: memory`; remove it",
        ),
        (
            "    aggregate:",
            "    state: {retention: 59s}\n    aggregate:",
            "7: SL1007 state.retention: must be `1m` or more",
        ),
    ]);
}

#[test]
fn measures_are_in_the_order_in_which_files_have_them_first() {
    let names = |sources: &Sources| {
        let loaded = load(sources).unwrap_or_else(|errors| panic!("{errors}"));
        let aggregate = loaded.connector.outputs["orders"].aggregate.clone();
        let measures = aggregate.expect("windows").measures;
        measures.into_iter().map(|measure| measure.name).collect::<Vec<_>>()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let more =
        "outputs: {orders: {aggregate: {measures: {z: min(id), last: min(id), a: sum(id)}}}}";
    fs::write(folder.path().join("base.yaml"), BASE).expect("a file");
    fs::write(folder.path().join("more.yaml"), more).expect("a file");
    let set = |name: &str| format!("outputs.orders.aggregate.measures.{name}=count(id)");
    let sources = Sources {
        files: vec!["base.yaml".into(), "more.yaml".into()],
        current_dir: folder.path().to_path_buf(),
        sets: vec![set("y"), set("b"), set("orders")],
        ..Sources::default()
    };
    assert_eq!(names(&sources), ["orders", "last", "z", "a", "b", "y"]);
    let shown = show(&load(&sources).expect("valid"));
    let again = super::sources(&shown);
    assert_eq!(names(&again), names(&sources), "{shown}");
}

#[test]
fn partition_columns_are_for_whoever_knows_the_results() {
    let text = BASE.replace("    aggregate:", "    partition_by: [window_start]\n    aggregate:");
    assert_eq!(aggregate(&text), aggregate(BASE));
}

#[test]
fn utc_is_no_zone_of_its_own() {
    let hours = BASE.replace("size: 1m", "size: 1h, timezone: UTC");
    assert!(matches!(aggregate(&hours).window, Window::Tumbling { timezone: None, .. }));
}

#[test]
fn the_fingerprint_follows_what_windows_mean() {
    let fingerprint = |text: &str| {
        let loaded = load(&sources(text)).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.connector.fingerprint
    };
    let base = fingerprint(BASE);
    for (from, to) in [
        (DELAY, "delay: 600s, idle_timeout: never"),
        ("    aggregate:", "    state: {retention: 2h}\n    aggregate:"),
        ("size: 1m", "size: 60s, offset: 0s"),
    ] {
        assert_eq!(fingerprint(&BASE.replace(from, to)), base, "{to}");
    }
    let changes = |every| {
        fingerprint(&BASE.replace(
            "      window",
            &format!("      emit: {{changes: {{every: {every}}}}}\n      window"),
        ))
    };
    assert_eq!(changes("1s"), changes("1m"));
    assert_ne!(changes("1s"), base);
    for (from, to) in [
        (DELAY, "delay: 1m"),
        (DELAY, "delay: 10m, max_future: 1h"),
        ("column: at", "column: kafka_timestamp"),
        ("size: 1m", "size: 2m"),
        ("      window", "      group_by: [country]\n      window"),
        (MEASURES, "{last: max(id), orders: count(*)}"),
        ("max(id)", "min(id)"),
    ] {
        assert_ne!(fingerprint(&BASE.replace(from, to)), base, "{to}");
    }
}

/// The same with duplicates left out instead.
fn deduplicating() -> String {
    let windows = BASE.find("    aggregate").expect("windows");
    let more = "    deduplicate:\n      keys: [id]\n      within: 1h\n      watermark: {column: at, delay: 10m}\n";
    format!("{}{more}", &BASE[..windows])
}

#[test]
fn deduplication_has_what_it_needs_and_nothing_beside_it() {
    let base = deduplicating();
    let told = |from: &str, to: &str| {
        let told = told_of(&base, &[(from, to)]);
        told.replace("connector.yaml:", "").replace(" outputs.orders.", " ")
    };
    for (from, to, expected) in [
        (
            "      keys: [id]\n",
            "",
            "7: SL1004 deduplicate.keys: must be set; for example `keys: [order_id]`",
        ),
        (
            "[id]",
            "[]",
            "8: SL1004 deduplicate.keys: must name at least one column or expression; for example `keys: [order_id]`",
        ),
        (
            "[id]",
            "[id, id]",
            "8: SL1008 deduplicate.keys[1]: `id` stands twice in the list; remove one of them",
        ),
        (
            "      within: 1h\n",
            "",
            "7: SL1004 deduplicate.within: must be set; for example `within: 1h`",
        ),
        ("within: 1h", "within: 0s", "9: SL1007 deduplicate.within: must be more than 0"),
        (
            "within: 1h",
            "within: 1h\n      order: first",
            "10: SL1006 deduplicate.order: `first` is not `arrival` or `event_time`",
        ),
        (
            "      watermark: {column: at, delay: 10m}\n",
            "",
            "7: SL1004 deduplicate.watermark: must be set; for example `watermark: {column: event_time, delay: 10m}`",
        ),
        (
            ", delay: 10m",
            "",
            "10: SL1004 deduplicate.watermark.delay: must be set; how late a row may come: `delay: 10m`",
        ),
        (
            "    deduplicate:",
            "    mode: upsert\n    merge_key: [id]\n    deduplicate:",
            "9: SL1008 deduplicate: needs `mode: append`; remove one of them",
        ),
        (
            "    deduplicate:",
            "    aggregate:\n      watermark: {column: at, delay: 1m}\n      window: {kind: tumbling, size: 1m}\n      measures: {n: count(*)}\n    deduplicate:",
            "14: SL1008 deduplicate.watermark: beside `aggregate`, the one there holds for both; remove it",
        ),
    ] {
        assert_eq!(told(from, to), expected, "{to:?}");
    }
}

#[test]
fn beside_windows_their_watermark_and_late_rows_hold_for_duplicates_too() {
    let step = "    deduplicate: {keys: [id], within: 1h}\n";
    let text = BASE.replace("    aggregate:", &format!("{step}    aggregate:"));
    let loaded = load(&sources(&text)).unwrap_or_else(|errors| panic!("{errors}"));
    let output = &loaded.connector.outputs["orders"];
    let (Some(windows), Some(step)) = (&output.aggregate, &output.deduplicate) else {
        panic!("both are there")
    };
    assert_eq!(step.watermark, windows.watermark);
    assert!(!step.keeps_late_rows);
    let told = told_of(&text, &[("within: 1h", "within: 1h, late_rows: drop")]);
    assert!(
        told.ends_with(
            "deduplicate.late_rows: beside `aggregate`, the one there holds for both; remove it"
        ),
        "{told}"
    );
}

#[test]
fn the_fingerprint_follows_what_duplicates_are() {
    let base = deduplicating();
    let fingerprint = |text: &str| {
        let loaded = load(&sources(text)).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.connector.fingerprint
    };
    let with = |from, to| fingerprint(&base.replace(from, to));
    assert_eq!(with("within: 1h", "within: 60m\n      order: arrival"), fingerprint(&base));
    for (from, to) in [
        ("[id]", "[country]"),
        ("within: 1h", "within: 2h"),
        ("within: 1h", "within: 1h\n      order: event_time"),
        (DELAY, "delay: 1m"),
    ] {
        assert_ne!(with(from, to), fingerprint(&base), "{to}");
    }
}
