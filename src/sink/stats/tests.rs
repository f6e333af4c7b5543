//! The statistics against a naive reading of the same rows, for every type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, Int64Builder, ListArray, ListBuilder,
    MapBuilder, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::Decimal128Type;
use arrow::datatypes::DecimalType;
use chrono::NaiveDateTime;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::schema::{list_type, map_type};
use crate::sink::files::testing::{Bench, spec};

/// A row with a column of every type.
#[derive(Debug, Clone)]
struct Row {
    flag: Option<bool>,
    tiny: Option<i8>,
    small: Option<i16>,
    int: Option<i32>,
    long: Option<i64>,
    float: Option<f32>,
    double: Option<f64>,
    /// Stored as INT32, INT64 and FIXED_LEN_BYTE_ARRAY.
    dec9: Option<i128>,
    dec18: Option<i128>,
    dec38: Option<i128>,
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    day: Option<i32>,
    at: Option<i64>,
    local: Option<i64>,
    list: Option<Vec<Option<i64>>>,
    map: Option<Vec<(String, Option<i64>)>>,
    nested: Option<Nested>,
}

#[derive(Debug, Clone)]
struct Nested {
    text: Option<String>,
    double: Option<f64>,
    list: Option<Vec<Option<i64>>>,
}

/// Short, around the 32nd character with every width of character and both ends of the surrogates, huge.
fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        'a',
        '~',
        '\u{7f}',
        '\u{80}',
        'ü',
        '\u{7ff}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{ffff}',
        '\u{10000}',
        '\u{10ffff}',
        '"',
        '\\',
        '\0',
    ]);
    prop_oneof![
        ".{0,6}",
        prop::collection::vec(odd.clone(), 28..40).prop_map(String::from_iter),
        (prop::collection::vec(odd.clone(), 0..34), odd, 0..3000usize).prop_map(
            |(begin, c, times)| begin.into_iter().chain(std::iter::repeat_n(c, times)).collect()
        ),
    ]
}

fn micros() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        -10_000..10_000i64,
        // Around the first day of year 1, the last of year 9999, and today.
        (-62_135_596_800_000_000i64 - 2000..-62_135_596_800_000_000 + 2000),
        (253_402_300_800_000_000i64 - 2000..253_402_300_800_000_000 + 2000),
        1_700_000_000_000_000..1_800_000_000_000_000i64,
    ]
}

fn digits(precision: u32) -> impl Strategy<Value = i128> {
    let limit = 10i128.pow(precision);
    prop_oneof![-limit + 1..limit, -10..10i128]
}

fn list() -> impl Strategy<Value = Vec<Option<i64>>> {
    prop::collection::vec(any::<Option<i64>>(), 0..4)
}

fn map() -> impl Strategy<Value = Vec<(String, Option<i64>)>> {
    prop::collection::vec(("[a-c]{1,2}", any::<Option<i64>>()), 0..3)
}

fn or_null<S: Strategy>(value: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop::option::weighted(0.8, value)
}

fn nested() -> impl Strategy<Value = Nested> {
    (or_null(text()), or_null(prop_oneof![4 => -2.0..2.0f64, 1 => Just(f64::NAN)]), or_null(list()))
        .prop_map(|(text, double, list)| Nested { text, double, list })
}

prop_compose! {
    fn row()(
        (flag, tiny, small, int, long) in any::<(Option<bool>, Option<i8>, Option<i16>, Option<i32>, Option<i64>)>(),
        float in or_null(prop_oneof![any::<f32>(), Just(0.0), Just(-0.0), -1.0..1.0f32]),
        double in or_null(prop_oneof![prop::num::f64::ANY, Just(0.0), Just(-0.0), Just(f64::INFINITY)]),
        (dec9, dec18, dec38) in (or_null(digits(9)), or_null(digits(18)), or_null(digits(38))),
        (text, bytes) in (or_null(text()), any::<Option<Vec<u8>>>()),
        day in or_null(prop_oneof![-800_000..3_000_000, 0..20_000]),
        (at, local) in (or_null(micros()), or_null(micros())),
        (list, map, nested) in (or_null(list()), or_null(map()), or_null(nested())),
    ) -> Row {
        Row { flag, tiny, small, int, long, float, double, dec9, dec18, dec38, text, bytes, day, at, local, list, map,
              nested }
    }
}

fn decimals(values: impl Iterator<Item = Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
    let array = Decimal128Array::from_iter(values);
    Arc::new(array.with_precision_and_scale(precision, scale).expect("in range"))
}

fn lists(rows: impl Iterator<Item = Option<Vec<Option<i64>>>>) -> ArrayRef {
    let DataType::List(item) = list_type(DataType::Int64) else { unreachable!("a list") };
    let mut builder = ListBuilder::new(Int64Builder::new()).with_field(item);
    rows.for_each(|row| builder.append_option(row));
    Arc::new(builder.finish())
}

fn maps(rows: &[Row]) -> ArrayRef {
    let names = arrow::array::MapFieldNames {
        entry: "key_value".into(),
        key: "key".into(),
        value: "value".into(),
    };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), Int64Builder::new());
    for row in rows {
        for (key, value) in row.map.iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_option(*value);
        }
        builder.append(row.map.is_some()).expect("keys and values of one length");
    }
    let map = builder.finish();
    assert_eq!(map.data_type(), &map_type(DataType::Utf8, DataType::Int64));
    Arc::new(map)
}

/// Under a NULL struct lie values that nobody must see.
fn structs(rows: &[Row]) -> ArrayRef {
    let hidden = || Nested {
        text: Some("~ hidden".into()),
        double: Some(f64::NAN),
        list: Some(vec![Some(7)]),
    };
    let nested = || rows.iter().map(|r| r.nested.clone().unwrap_or_else(hidden));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from_iter(nested().map(|n| n.text)))),
        ("double", Arc::new(Float64Array::from_iter(nested().map(|n| n.double)))),
        ("list", lists(nested().map(|n| n.list))),
    ];
    let fields: Fields =
        columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    let nulls = NullBuffer::from_iter(rows.iter().map(|r| r.nested.is_some()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Arc::new(StructArray::new(fields, columns, Some(nulls)))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let r = || rows.iter();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("flag", Arc::new(BooleanArray::from_iter(r().map(|r| r.flag)))),
        ("tiny", Arc::new(Int8Array::from_iter(r().map(|r| r.tiny)))),
        ("small", Arc::new(Int16Array::from_iter(r().map(|r| r.small)))),
        ("int", Arc::new(Int32Array::from_iter(r().map(|r| r.int)))),
        ("long", Arc::new(Int64Array::from_iter(r().map(|r| r.long)))),
        ("float", Arc::new(Float32Array::from_iter(r().map(|r| r.float)))),
        ("double", Arc::new(Float64Array::from_iter(r().map(|r| r.double)))),
        ("dec9", decimals(r().map(|r| r.dec9), 9, 2)),
        ("dec18", decimals(r().map(|r| r.dec18), 18, 4)),
        ("dec38", decimals(r().map(|r| r.dec38), 38, 38)),
        ("te\"xt", Arc::new(StringArray::from_iter(r().map(|r| r.text.as_deref())))),
        ("bytes", Arc::new(BinaryArray::from_iter(r().map(|r| r.bytes.as_deref())))),
        ("day", Arc::new(Date32Array::from_iter(r().map(|r| r.day)))),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter(r().map(|r| r.at)).with_timezone("UTC")),
        ),
        ("local", Arc::new(TimestampMicrosecondArray::from_iter(r().map(|r| r.local)))),
        ("list", lists(r().map(|r| r.list.clone()))),
        ("map", maps(rows)),
        ("nested", structs(rows)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("columns of one length")
}

/// `minValues` and `maxValues` of a column (a path for nested ones).
fn bounds<'a>(stats: &'a Json, column: &[&str]) -> (Option<&'a Json>, Option<&'a Json>) {
    let at = |key| column.iter().try_fold(&stats[key], |value: &Json, name| value.get(*name));
    (at("minValues"), at("maxValues"))
}

fn check_exact<T: Copy + Ord + Into<Json>>(
    stats: &Json,
    column: &str,
    values: impl Iterator<Item = Option<T>>,
) {
    let all: Vec<T> = values.flatten().collect();
    let (min, max) = bounds(stats, &[column]);
    assert_eq!(min, all.iter().min().map(|v| (*v).into()).as_ref(), "minimum of {column}");
    assert_eq!(max, all.iter().max().map(|v| (*v).into()).as_ref(), "maximum of {column}");
}

fn check_float(stats: &Json, column: &[&str], values: impl Iterator<Item = Option<f64>>) {
    let all: Vec<f64> = values.flatten().collect();
    let any_nan = all.iter().any(|v| v.is_nan());
    let finite = |v: f64| (v.is_finite() && !any_nan).then_some(v);
    let (min, max) = bounds(stats, column);
    // JSON's -0.0 equals 0.0, which is as it should be.
    let min_value = all.iter().copied().reduce(f64::min).and_then(finite);
    let max_value = all.iter().copied().reduce(f64::max).and_then(finite);
    assert_eq!(min.and_then(Json::as_f64), min_value, "minimum of {column:?}");
    assert_eq!(max.and_then(Json::as_f64), max_value, "maximum of {column:?}");
}

/// The text of a decimal in the statistics must be exact, which a JSON parser's numbers are not.
fn check_decimal(
    text: &str,
    column: &str,
    values: impl Iterator<Item = Option<i128>>,
    precision: u8,
    scale: i8,
) {
    let all: Vec<i128> = values.flatten().collect();
    let (min_part, max_part) = text.split_once("\"maxValues\"").expect("both parts");
    let number = |part: &str| {
        let (_, rest) = part.split_once(&format!("\"{column}\":"))?;
        Some(rest[..rest.find([',', '}'])?].to_owned())
    };
    let expected =
        |v: Option<&i128>| v.map(|v| Decimal128Type::format_decimal(*v, precision, scale));
    let max_part = max_part.split_once("\"nullCount\"").expect("the last part").0;
    assert_eq!(number(min_part), expected(all.iter().min()), "minimum of {column}");
    assert_eq!(number(max_part), expected(all.iter().max()), "maximum of {column}");
}

fn check_text(stats: &Json, column: &[&str], values: impl Iterator<Item = Option<String>>) {
    let all: Vec<String> = values.flatten().collect();
    let (min, max) = bounds(stats, column);
    let cut = |text: &String| text.chars().take(32).collect::<String>();
    assert_eq!(
        min.and_then(Json::as_str),
        all.iter().min().map(cut).as_deref(),
        "minimum of {column:?}"
    );
    let Some(greatest) = all.iter().max() else {
        return assert_eq!(max, None);
    };
    match max.and_then(Json::as_str) {
        Some(bound) if greatest.chars().count() <= 32 => assert_eq!(bound, greatest),
        Some(bound) => {
            assert!(
                bound > greatest.as_str() && bound.chars().count() <= 32,
                "{bound} for {greatest}"
            );
            // No looser than by its last character.
            let kept: Vec<char> = bound.chars().collect();
            assert!(
                greatest.chars().zip(&kept[..kept.len() - 1]).all(|(a, b)| a == *b),
                "{bound} for {greatest}"
            );
        }
        None => {
            assert!(greatest.chars().take(32).all(|c| c == char::MAX), "no maximum for {greatest}")
        }
    }
}

fn check_time(stats: &Json, column: &str, values: impl Iterator<Item = Option<i64>>, zone: &str) {
    let all: Vec<i64> = values.flatten().collect();
    let (min, max) = bounds(stats, &[column]);
    let micros = |bound: &Json| {
        let text = bound.as_str().expect("text").strip_suffix(zone).expect("the zone");
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.3f").expect("a time");
        time.and_utc().timestamp_micros()
    };
    let years_1_to_9999 = |v: i64| (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&v);
    match (min.map(micros), all.iter().min()) {
        (Some(bound), Some(least)) => {
            assert!((0..1000).contains(&(least - bound)), "{bound} for {least}")
        }
        (None, Some(least)) => assert!(!years_1_to_9999(*least), "no minimum for {least}"),
        (bound, None) => assert_eq!(bound, None),
    }
    match (max.map(micros), all.iter().max()) {
        (Some(bound), Some(most)) => {
            assert!((0..1000).contains(&(bound - most)), "{bound} for {most}")
        }
        (None, Some(most)) => assert!(!years_1_to_9999(most + 1000), "no maximum for {most}"),
        (bound, None) => assert_eq!(bound, None),
    }
}

fn check_day(stats: &Json, values: impl Iterator<Item = Option<i32>>) {
    let all: Vec<i32> = values.flatten().collect();
    let expected = |day: Option<&i32>| {
        let date = NaiveDate::from_epoch_days(*day?).expect("in range");
        (1..=9999).contains(&date.year()).then(|| json!(date.format("%Y-%m-%d").to_string()))
    };
    let (min, max) = bounds(stats, &["day"]);
    assert_eq!(min, expected(all.iter().min()).as_ref());
    assert_eq!(max, expected(all.iter().max()).as_ref());
}

fn expected_nulls(rows: &[Row]) -> Json {
    let nulls = |is_null: fn(&Row) -> bool| rows.iter().filter(|r| is_null(r)).count();
    json!({
        "flag": nulls(|r| r.flag.is_none()),
        "tiny": nulls(|r| r.tiny.is_none()),
        "small": nulls(|r| r.small.is_none()),
        "int": nulls(|r| r.int.is_none()),
        "long": nulls(|r| r.long.is_none()),
        "float": nulls(|r| r.float.is_none()),
        "double": nulls(|r| r.double.is_none()),
        "dec9": nulls(|r| r.dec9.is_none()),
        "dec18": nulls(|r| r.dec18.is_none()),
        "dec38": nulls(|r| r.dec38.is_none()),
        "te\"xt": nulls(|r| r.text.is_none()),
        "bytes": nulls(|r| r.bytes.is_none()),
        "day": nulls(|r| r.day.is_none()),
        "at": nulls(|r| r.at.is_none()),
        "local": nulls(|r| r.local.is_none()),
        "list": nulls(|r| r.list.is_none()),
        "map": nulls(|r| r.map.is_none()),
        "nested": {
            "text": nulls(|r| r.nested.as_ref().is_none_or(|n| n.text.is_none())),
            "double": nulls(|r| r.nested.as_ref().is_none_or(|n| n.double.is_none())),
            "list": nulls(|r| r.nested.as_ref().is_none_or(|n| n.list.is_none())),
        },
    })
}

fn check_statistics(text: &str, rows: &[Row]) {
    let stats: Json = serde_json::from_str(text).expect("JSON");
    let r = || rows.iter();
    assert_eq!(stats["numRecords"], rows.len());
    assert_eq!(stats["nullCount"], expected_nulls(rows));
    check_exact(&stats, "tiny", r().map(|r| r.tiny));
    check_exact(&stats, "small", r().map(|r| r.small));
    check_exact(&stats, "int", r().map(|r| r.int));
    check_exact(&stats, "long", r().map(|r| r.long));
    // The shortest text of a single is not that of the double next to it.
    check_float(
        &stats,
        &["float"],
        r().map(|r| r.float.map(|v| format!("{v:?}").parse().expect("a number"))),
    );
    check_float(&stats, &["double"], r().map(|r| r.double));
    check_float(
        &stats,
        &["nested", "double"],
        r().map(|r| r.nested.as_ref().and_then(|n| n.double)),
    );
    check_decimal(text, "dec9", r().map(|r| r.dec9), 9, 2);
    check_decimal(text, "dec18", r().map(|r| r.dec18), 18, 4);
    check_decimal(text, "dec38", r().map(|r| r.dec38), 38, 38);
    check_text(&stats, &["te\"xt"], r().map(|r| r.text.clone()));
    check_text(&stats, &["nested", "text"], r().map(|r| r.nested.clone().and_then(|n| n.text)));
    check_day(&stats, r().map(|r| r.day));
    check_time(&stats, "at", r().map(|r| r.at), "Z");
    check_time(&stats, "local", r().map(|r| r.local), "");
    for column in ["flag", "bytes", "list", "map"] {
        assert_eq!(bounds(&stats, &[column]), (None, None), "{column}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Rows of every type, in several row groups, read back equal, and the statistics say what is in them.
    #[test]
    fn statistics_are_those_of_a_naive_reading(
        rows in prop::collection::vec(row(), 1..40),
        cut in 1..40usize,
    ) {
        let bench = Bench::in_memory();
        let batches: Vec<RecordBatch> = rows.chunks(cut).map(batch).collect();
        let mut spec = spec(&batches[0].schema());
        // Each batch is a row group.
        spec.bounds.row_group_bytes = 1;
        let files = bench.write(&spec, &batches);
        prop_assert_eq!(files.len(), 1);
        let all = concat_batches(&batches[0].schema(), &batches).expect("one schema");
        let read = bench.read(&files[0]);
        for (read, written) in read.columns().iter().zip(all.columns()) {
            prop_assert_eq!(read, written);
        }
        check_statistics(&files[0].stats, &rows);
    }
}

fn check_upper_bound(text: String, expected: Option<String>) {
    assert_eq!(upper_bound(&text), expected);
}

#[test]
fn a_cut_maximum_is_rounded_up_by_code_points() {
    let a31 = "a".repeat(31);
    check_upper_bound("a".repeat(32), Some("a".repeat(32)));
    check_upper_bound("a".repeat(33), Some(format!("{a31}b")));
    check_upper_bound(format!("{a31}\u{7f}x"), Some(format!("{a31}\u{80}")));
    check_upper_bound(format!("{a31}\u{d7ff}x"), Some(format!("{a31}\u{e000}")));
    check_upper_bound(format!("{a31}\u{10ffff}x"), Some(format!("{}b", "a".repeat(30))));
    check_upper_bound("\u{10ffff}".repeat(33), None);
    check_upper_bound("ü".repeat(33), Some(format!("{}ý", "ü".repeat(31))));
}

fn table_of(columns: usize) -> Schema {
    Schema::new(
        (0..columns)
            .map(|i| Field::new(format!("c{i}"), DataType::Int64, true))
            .collect::<Vec<_>>(),
    )
}

fn indexed(table: &Schema, properties: &[(&str, &str)]) -> Vec<String> {
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let indexed = IndexedColumns::of(table, &["c1".to_owned()], &properties);
    indexed.paths.iter().map(|path| path.join("/")).collect()
}

#[test]
fn the_first_32_leaves_are_indexed_unless_the_table_says_otherwise() {
    let table = table_of(50);
    let all = indexed(&table, &[("delta.dataSkippingNumIndexedCols", "-1")]);
    assert_eq!(all.len(), 49);
    let default = indexed(&table, &[]);
    assert_eq!(default.len(), 32);
    assert!(
        default.contains(&"c32".into())
            && !default.contains(&"c1".into())
            && !default.contains(&"c33".into())
    );
    assert_eq!(indexed(&table, &[("delta.dataSkippingNumIndexedCols", "2")]), ["c0", "c2"]);
    assert_eq!(indexed(&table, &[("delta.dataSkippingNumIndexedCols", "0")]), [""; 0]);
    assert_eq!(indexed(&table, &[("delta.dataSkippingNumIndexedCols", "x")]).len(), 32);
}

#[test]
fn named_columns_are_indexed_with_all_below_them() {
    let inner = |names: [&str; 2]| {
        DataType::Struct(names.map(|n| Field::new(n, DataType::Int64, true)).to_vec().into())
    };
    let table = Schema::new(vec![
        Field::new("a", inner(["x", "odd,na.me"]), true),
        Field::new("b", inner(["x", "y"]), true),
        Field::new("c", DataType::Int64, true),
    ]);
    let named = |list| indexed(&table, &[("delta.dataSkippingStatsColumns", list)]);
    assert_eq!(named("A.x, b"), ["a/x", "b/x", "b/y"]);
    assert_eq!(named("a.`odd,na.me`,c"), ["a/odd,na.me", "c"]);
    assert_eq!(named("nothing"), [""; 0]);
}

#[test]
fn columns_that_are_not_indexed_have_no_statistics_at_all() {
    let bench = Bench::in_memory();
    let columns =
        (0..3).map(|i| (format!("c{i}"), Arc::new(Int64Array::from(vec![i])) as ArrayRef));
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut spec = spec(&rows.schema());
    let properties =
        BTreeMap::from([("delta.dataSkippingStatsColumns".to_owned(), "c1".to_owned())]);
    spec.indexed = IndexedColumns::of(&rows.schema(), &[], &properties);
    let files = bench.write(&spec, &[rows]);
    assert_eq!(
        files[0].stats,
        r#"{"numRecords":1,"minValues":{"c1":1},"maxValues":{"c1":1},"nullCount":{"c1":0}}"#
    );
}

#[test]
fn a_list_is_one_leaf_whatever_it_holds() {
    let table =
        Schema::new(vec![Field::new("l", ListArray::DATA_TYPE_CONSTRUCTOR(list_item()), true)]);
    assert_eq!(IndexedColumns::leaves(&table, &[]), [["l".to_owned()]]);
}

fn list_item() -> arrow::datatypes::FieldRef {
    let inner = Fields::from(vec![
        Field::new("x", DataType::Int64, true),
        Field::new("y", DataType::Int64, true),
    ]);
    Arc::new(Field::new("element", DataType::Struct(inner), true))
}
