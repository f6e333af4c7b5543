//! `deduplicate` in the configuration's words: what is planned, what is refused, what state means.

use std::time::Duration;

use super::{rows, text};
use crate::config::{Deduplicate, DuplicateOrder, Watermark};
use crate::transform::deduplication::Deduplication;

const COLUMNS: &str =
    "at TIMESTAMP, id STRING, amount INT, tags ARRAY<STRING>, local TIMESTAMP_NTZ";

fn spec(keys: &[&str], order: DuplicateOrder) -> Deduplicate {
    Deduplicate {
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
        within: Duration::from_secs(3_600),
        keeps_late_rows: false,
        order,
        watermark: Watermark {
            column: "at".into(),
            delay: Duration::from_secs(60),
            idle_timeout: None,
            max_future: None,
            max_ahead: None,
        },
    }
}

fn plan(spec: &Deduplicate, select: Option<&str>) -> Result<Deduplication, String> {
    let rows = rows(COLUMNS, &[]);
    let planned = Deduplication::new(&rows.schema(), spec, None, select);
    planned.map_err(|error| format!("{} {error}", error.code()))
}

#[test]
fn keys_are_of_the_record_whatever_select_shows() {
    let record = rows("at TIMESTAMP, id STRING, amount INT", &["2026-11-01T10:00:00Z|a|7"]);
    let spec = spec(&["upper(id)", "amount + 1"], DuplicateOrder::Arrival);
    let planned = Deduplication::new(&record.schema(), &spec, Some("amount > 0"), Some("at"));
    let planned = planned.expect("it can be planned");
    assert!(planned.kept(&record).expect("a condition").is_none(), "all are kept");
    let keys = planned.distinct(&record).expect("keys");
    let shown: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
    assert!(shown[0].contains("\"A\"") && shown[1].contains('8'), "{shown:?}");
    let selected = planned.select(&record).expect("rows");
    assert_eq!(text(&selected), ["2026-11-01T10:00:00Z"]);
    assert_eq!(planned.event_times(&record).expect("times").value(0), 1_793_527_200_000_000);
}

#[test]
fn what_can_not_tell_rows_apart_is_refused() {
    let refused = |keys: &[&str]| {
        plan(&spec(keys, DuplicateOrder::Arrival), None).err().expect("it is refused")
    };
    let told = refused(&["id", "nr"]);
    assert!(told.starts_with("SL6002 `keys[1]` (line 1, column 1): no column `nr`"), "{told}");
    let told = refused(&["tags"]);
    assert!(told.contains("rows can't be told apart by nested columns"), "{told}");
    let told = refused(&["count(id)"]);
    assert!(told.starts_with("SL6004 `keys[0]`"), "{told}");
    let mut local = spec(&["id"], DuplicateOrder::Arrival);
    local.watermark.column = "local".into();
    let told = plan(&local, None).err().expect("no instant");
    assert!(told.contains("an event time is an instant"), "{told}");
}

#[test]
fn rows_that_wait_give_their_columns_to_the_meaning_of_state() {
    let meaning = |order, select| {
        let planned = plan(&spec(&["id"], order), Some(select)).expect("it can be planned");
        planned.meaning()
    };
    let arrival = meaning(DuplicateOrder::Arrival, "id");
    assert_eq!(arrival, meaning(DuplicateOrder::Arrival, "amount"));
    assert_eq!(arrival["deduplicate.keys"], "id STRING");
    assert_eq!(arrival["deduplicate.within"], "3600 s");
    let waiting = meaning(DuplicateOrder::EventTime, "id, tags");
    assert_eq!(waiting["columns"], "id STRING, tags ARRAY<STRING>");
    assert_eq!(waiting["deduplicate.order"], "event_time");
}
