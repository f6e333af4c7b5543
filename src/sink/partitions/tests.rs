use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};

use super::*;

/// 2024-02-29T12:34:56.000789Z
const LEAP: i64 = 1_709_210_096_000_789;

fn check(column: impl Array + 'static, expected: &[Option<&str>]) {
    let written: Vec<_> = (0..column.len()).map(|row| text(&column, row)).collect();
    let expected: Vec<_> = expected.iter().map(|e| Ok(e.map(str::to_owned))).collect();
    assert_eq!(written, expected);
}

#[test]
fn every_primitive_type_has_its_text() {
    check(
        BooleanArray::from(vec![Some(true), Some(false), None]),
        &[Some("true"), Some("false"), None],
    );
    check(Int8Array::from(vec![Some(-128), None]), &[Some("-128"), None]);
    check(Int16Array::from(vec![i16::MIN]), &[Some("-32768")]);
    check(Int32Array::from(vec![i32::MAX]), &[Some("2147483647")]);
    check(Int64Array::from(vec![i64::MIN]), &[Some("-9223372036854775808")]);
    check(Float32Array::from(vec![0.1, -0.0, 1e-7]), &[Some("0.1"), Some("-0.0"), Some("1e-7")]);
    check(
        Float64Array::from(vec![1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300]),
        &[Some("1.0"), Some("NaN"), Some("Infinity"), Some("-Infinity"), Some("1e300")],
    );
    check(
        Date32Array::from(vec![Some(0), Some(19_782), Some(-1), None]),
        &[Some("1970-01-01"), Some("2024-02-29"), Some("1969-12-31"), None],
    );
    check(
        TimestampMicrosecondArray::from(vec![LEAP, -1]).with_timezone("UTC"),
        &[Some("2024-02-29T12:34:56.000789Z"), Some("1969-12-31T23:59:59.999999Z")],
    );
    check(TimestampMicrosecondArray::from(vec![LEAP]), &[Some("2024-02-29 12:34:56.000789")]);
    check(StringArray::from(vec![Some("a b/ü"), None]), &[Some("a b/ü"), None]);
    check(BinaryArray::from(vec![Some("é\u{1}".as_bytes()), None]), &[Some("é\u{1}"), None]);
}

#[test]
fn decimals_keep_all_their_digits() {
    let decimals = |values: Vec<i128>, precision, scale| {
        Decimal128Array::from(values).with_precision_and_scale(precision, scale).expect("fits")
    };
    check(
        decimals(vec![5, -5, 12345, 0], 18, 4),
        &[Some("0.0005"), Some("-0.0005"), Some("1.2345"), Some("0.0000")],
    );
    check(decimals(vec![-42, 0], 10, 0), &[Some("-42"), Some("0")]);
    let nines = 10_i128.pow(38) - 1;
    check(decimals(vec![nines], 38, 38), &[Some(&format!("0.{}", "9".repeat(38)))]);
}

#[test]
fn an_empty_text_is_null() {
    check(StringArray::from(vec![""]), &[None]);
    check(BinaryArray::from(vec![b"".as_slice()]), &[None]);
}

#[test]
fn what_the_log_cannot_carry_is_refused() {
    assert_eq!(text(&BinaryArray::from(vec![b"\xff".as_slice()]), 0), Err(UnusableValue::NotUtf8));
    assert_eq!(text(&Date32Array::from(vec![i32::MAX]), 0), Err(UnusableValue::OutOfRange));
    assert_eq!(
        text(&TimestampMicrosecondArray::from(vec![i64::MAX]), 0),
        Err(UnusableValue::OutOfRange)
    );
}

fn check_path(value: Option<&str>, stored: &str, in_log: &str) {
    let folder = folders(&["c".to_owned()], &vec![value.map(str::to_owned)]);
    assert_eq!(folder, format!("c={stored}/"));
    assert_eq!(log_path(&folder), format!("c={in_log}/"));
    let decoded = percent_encoding::percent_decode_str(&log_path(&folder))
        .decode_utf8()
        .map(|p| p.into_owned());
    assert_eq!(decoded, Ok(folder));
}

#[test]
fn odd_characters_are_escaped_as_spark_does_and_encoded_once_more_for_the_log() {
    check_path(Some("plain-1.5_~"), "plain-1.5_~", "plain-1.5_~");
    check_path(Some("a/b"), "a%2Fb", "a%252Fb");
    check_path(Some("100%"), "100%25", "100%2525");
    check_path(Some("a+b"), "a+b", "a%2Bb");
    check_path(Some("#1?"), "%231%3F", "%25231%253F");
    check_path(Some("ü"), "ü", "%C3%BC");
    check_path(Some("a b"), "a b", "a%20b");
    check_path(Some("k=v"), "k%3Dv", "k%253Dv");
    check_path(Some("12:30"), "12%3A30", "12%253A30");
    check_path(Some("\u{1}\n\u{7f}\0"), "%01%0A%7F%00", "%2501%250A%257F%2500");
    check_path(None, NULL_FOLDER, NULL_FOLDER);
}

#[test]
fn a_long_value_gets_a_folder_that_fits_and_is_its_own() {
    let folder = |value: String| folders(&["c".to_owned()], &vec![Some(value)]);
    let (one, other) = (folder("ü".repeat(5000)), folder("ü".repeat(5001)));
    assert!(one.len() <= FOLDER_BYTES + 1 && one.starts_with("c=üü"), "{one}");
    assert_ne!(one, other);
    let columns: Vec<String> = (0..10).map(|i| format!("column_{i}")).collect();
    let values = vec![Some("x".repeat(500)); 10];
    assert!(folders(&columns, &values).len() <= FOLDERS_BYTES + 10);
}

fn batch(days: Vec<Option<i32>>, names: Vec<Option<&str>>) -> RecordBatch {
    let id = Int64Array::from_iter_values(0..days.len() as i64);
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as ArrayRef, false),
        ("day", Arc::new(Date32Array::from(days)) as ArrayRef, true),
        ("name", Arc::new(StringArray::from(names)) as ArrayRef, true),
    ])
    .expect("columns of one length")
}

fn split(batch: &RecordBatch) -> (Vec<(Values, Vec<i64>)>, u64) {
    let mut splitter = Splitter::new(batch, vec![1, 2]).expect("primitive types");
    let Ok(parts) = splitter.split(batch) else { panic!("these values have a text") };
    let ids = |part: &Part| part.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    (parts.iter().map(|part| (part.values.clone(), ids(part))).collect(), splitter.empty_strings)
}

fn values(day: Option<&str>, name: Option<&str>) -> Values {
    vec![day.map(str::to_owned), name.map(str::to_owned)]
}

#[test]
fn rows_are_split_by_all_partition_columns_in_the_order_they_come() {
    let rows = batch(
        vec![Some(0), Some(1), Some(0), None, Some(0)],
        vec![Some("a"), Some("a"), Some("b"), None, Some("a")],
    );
    let expected = vec![
        (values(Some("1970-01-01"), Some("a")), vec![0, 4]),
        (values(Some("1970-01-02"), Some("a")), vec![1]),
        (values(Some("1970-01-01"), Some("b")), vec![2]),
        (values(None, None), vec![3]),
    ];
    assert_eq!(split(&rows), (expected, 0));
}

#[test]
fn rows_of_one_partition_are_not_copied() {
    let rows = batch(vec![Some(3); 4], vec![Some("x"); 4]);
    let mut splitter = Splitter::new(&rows, vec![1, 2]).expect("primitive types");
    let Ok(parts) = splitter.split(&rows) else { panic!("these values have a text") };
    let [part] = parts.as_slice() else { panic!("one part") };
    assert!(Arc::ptr_eq(part.rows.column(0), rows.column(0)));
}

#[test]
fn empty_strings_are_counted() {
    let rows = batch(vec![None; 4], vec![Some(""), None, Some(""), Some("x")]);
    let (parts, empty) = split(&rows);
    assert_eq!(empty, 2);
    assert_eq!(parts.iter().filter(|(v, _)| *v == values(None, None)).count(), 2);
}
