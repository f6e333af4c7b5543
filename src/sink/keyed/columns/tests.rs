//! Bounds as writers leave them never exclude a value that is there.

use std::sync::Arc;

use arrow::array::{Array, Date32Array, Int8Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Field;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn columns(data_type: DataType) -> KeyColumns {
    let table = Schema::new(vec![Field::new("k", data_type, true)]);
    KeyColumns::new(&table, &[], &["K".to_owned()]).expect("a key")
}

fn encoded(columns: &KeyColumns, values: ArrayRef) -> Vec<Vec<u8>> {
    let count = values.len();
    let keys = columns.encode(&[values]).expect("of the column's type");
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let one = |row| {
        keys.write(row, &mut bytes, &mut ends);
        bytes.clone()
    };
    (0..count).map(one).collect()
}

/// All values of a file must be in the domain that its statistics give.
fn check(values: ArrayRef, min: Value, max: Value) -> Domain {
    let columns = columns(values.data_type().clone());
    let stats = json!({"numRecords": values.len(), "minValues": {"k": min}, "maxValues": {"k": max},
        "nullCount": {"k": values.null_count()}});
    let domain = columns.domains(&BTreeMap::new(), Some(&stats.to_string()))[0].clone();
    for value in encoded(&columns, values) {
        assert!(domain.holds(&value), "{stats}: {value:?}");
    }
    domain
}

fn between(domain: &Domain) -> bool {
    matches!(domain.values, Values::Between(..))
}

proptest! {
    #[test]
    fn texts_cut_by_their_writer_are_in(texts in proptest::collection::vec("[a-c]{28,40}|[é\u{10ffff}]{30,34}", 1..9)) {
        let cut = |text: &String| text.chars().take(32).collect::<String>();
        // Neither rounded up nor down, as some writers leave it.
        let (min, max) = (texts.iter().min().map(cut), texts.iter().max().map(cut));
        assert!(between(&check(Arc::new(StringArray::from(texts)), json!(min), json!(max))));
    }

    #[test]
    fn times_cut_to_milliseconds_are_in(times in proptest::collection::vec(-5_000_000i64..5_000_000, 1..9)) {
        let text = |us: i64| {
            // Towards zero, before 1970 too.
            let time = chrono::DateTime::from_timestamp_millis(us / 1000).expect("in range");
            time.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()
        };
        let (min, max) = (times.iter().min().copied(), times.iter().max().copied());
        let (min, max) = (min.map(text).expect("some"), max.map(text).expect("some"));
        let values = TimestampMicrosecondArray::from(times);
        assert!(between(&check(Arc::new(values.clone()), json!(min), json!(max))));
        let utc = values.with_timezone("UTC");
        for zone in ["Z", "+00:00"] {
            let (min, max) = (format!("{min}{zone}"), format!("{max}{zone}"));
            assert!(between(&check(Arc::new(utc.clone()), json!(min), json!(max))));
        }
    }

    #[test]
    fn numbers_are_in(numbers in proptest::collection::vec(any::<i64>(), 1..9)) {
        let (min, max) = (numbers.iter().min().copied(), numbers.iter().max().copied());
        assert!(between(&check(Arc::new(Int64Array::from(numbers)), json!(min), json!(max))));
    }

    #[test]
    fn decimals_are_in_or_not_judged(numbers in proptest::collection::vec(-10i128.pow(30)..10i128.pow(30), 1..9), small in any::<bool>()) {
        let numbers: Vec<i128> = numbers.into_iter().map(|n| if small { n % 10i128.pow(12) } else { n }).collect();
        let number = |n: Option<&i128>| {
            let text = crate::sink::partitions::decimal_text(*n.expect("some"), 4);
            serde_json::from_str::<Value>(&text).expect("a number")
        };
        let (min, max) = (number(numbers.iter().min()), number(numbers.iter().max()));
        let values = Decimal128Array::from(numbers).with_precision_and_scale(38, 4).expect("it fits");
        let domain = check(Arc::new(values), min, max);
        assert!(between(&domain) || !small, "short ones are judged");
    }
}

#[test]
fn what_statistics_do_not_say_is_anything() {
    let columns = columns(DataType::Int64);
    let domain =
        |stats: Value| columns.domains(&BTreeMap::new(), Some(&stats.to_string()))[0].clone();
    assert_eq!(columns.domains(&BTreeMap::new(), None)[0], Domain::ANY);
    assert_eq!(columns.domains(&BTreeMap::new(), Some("{"))[0], Domain::ANY);
    assert_eq!(domain(json!({"numRecords": 3})), Domain::ANY);
    assert_eq!(domain(json!({"minValues": {"k": 3}, "nullCount": {"k": 0}})).values, Values::Any);
    assert_eq!(domain(json!({"minValues": {"k": 3.5}, "maxValues": {"k": 4.5}})), Domain::ANY);
    assert_eq!(domain(json!({"minValues": {"k": "3"}, "maxValues": {"k": "4"}})), Domain::ANY);
    let bounded = domain(json!({"minValues": {"k": 3}, "maxValues": {"k": 4}}));
    assert!(bounded.nulls && between(&bounded), "NULLs may be there when nobody counted them");
    let nulls = domain(json!({"numRecords": 3, "nullCount": {"k": 3}}));
    assert_eq!(nulls, Domain { nulls: true, values: Values::None });
}

#[test]
fn a_bound_beyond_the_columns_type_is_none() {
    let columns = columns(DataType::Int8);
    let stats = json!({"minValues": {"k": -1000}, "maxValues": {"k": 4}, "nullCount": {"k": 0}});
    assert_eq!(columns.domains(&BTreeMap::new(), Some(&stats.to_string()))[0].values, Values::Any);
    check(Arc::new(Int8Array::from(vec![Some(-3), None])), json!(-3), json!(-3));
    check(Arc::new(Date32Array::from(vec![0, 1])), json!("1970-01-01"), json!("1970-01-02"));
}

/// The one value of a partition.
fn partition(data_type: DataType, text: Option<&str>) -> Domain {
    let table = Schema::new(vec![Field::new("p", data_type, true)]);
    let key = KeyColumns::new(&table, &["p".to_owned()], &["p".to_owned()]).expect("a key");
    key.domains(&BTreeMap::from([("p".to_owned(), text.map(str::to_owned))]), None)[0].clone()
}

#[test]
fn a_partition_has_the_value_that_the_log_says() {
    let decimal = DataType::Decimal128(10, 2);
    assert_eq!(partition(decimal.clone(), Some("1.50")), partition(decimal.clone(), Some("1.5")));
    assert_ne!(partition(decimal.clone(), Some("1.50")), partition(decimal.clone(), Some("-1.50")));
    let instant = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let zulu = partition(instant.clone(), Some("2026-11-01T00:00:00.000000Z"));
    assert_eq!(zulu, partition(instant, Some("2026-11-01 00:00:00")));
    assert!(zulu.is_point());
    assert_eq!(partition(DataType::Utf8, Some("")), partition(DataType::Utf8, None));
    assert!(partition(DataType::Utf8, None).is_point());
    assert_eq!(partition(decimal, Some("a third")), Domain::ANY);
}
