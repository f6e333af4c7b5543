use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type};

use super::*;
use crate::config::{TimestampFormat, UnknownFields};
use crate::disposition::{Disposition, Exit};
use crate::message::Header;
use crate::offsets::{TopicId, TopicPartition};
use crate::schema::ddl;

fn spec(schema: &str) -> Decode {
    Decode {
        schema: Arc::new(ddl::parse(schema).expect("a valid schema")),
        timestamps: BTreeMap::new(),
        timezone: chrono_tz::UTC,
        unknown_fields: UnknownFields::Ignore,
        max_message_size: 10 << 20,
        on_bad_record: OnBadRecord::DeadLetter,
        bad_record_limit: 1.0,
    }
}

fn partition() -> Arc<SourcePartition> {
    let id = TopicPartition::new("orders", 3);
    Arc::new(SourcePartition {
        id,
        topic_id: TopicId::new("tid"),
    })
}

fn decoder(spec: &Decode) -> Decoder {
    let mut decoder = Decoder::new(spec, &BTreeSet::new()).expect("a valid spec");
    decoder.begin(partition(), 0, None);
    decoder
}

fn message(offset: i64, value: &[u8]) -> Message<'_> {
    Message {
        offset,
        timestamp_ms: None,
        key: None,
        value: Some(value),
        headers: &[],
    }
}

/// Decodes values at the offsets 0, 1, …
fn chunk(spec: &Decode, values: &[&str]) -> Chunk {
    let mut decoder = decoder(spec);
    for (offset, value) in (0..).zip(values) {
        decoder
            .push(&message(offset, value.as_bytes()))
            .expect("no policy `fail`");
    }
    decoder.finish(values.len() as i64)
}

/// The code and reason that a value is refused with.
fn refusal(spec: &Decode, value: &[u8]) -> Option<(String, String)> {
    let mut decoder = decoder(spec);
    decoder.push(&message(0, value)).expect("no policy `fail`");
    let chunk = decoder.finish(1);
    assert_eq!(chunk.fates.records(), 1);
    let bad = decoder.take_first_bad()?;
    let letters = chunk.dead_letters.expect("a bad record is a dead letter");
    let text = |name: &str| {
        letters
            .column_by_name(name)
            .expect(name)
            .as_string::<i32>()
            .value(0)
            .to_owned()
    };
    assert_eq!(
        (text("reason_code").as_str(), text("reason")),
        (bad.code, bad.reason.clone())
    );
    Some((bad.code.to_owned(), bad.reason))
}

fn check_refused(spec: &Decode, cases: &[(&[u8], &str, &str)]) {
    for (value, code, reason) in cases {
        let expected = Some(((*code).to_owned(), (*reason).to_owned()));
        assert_eq!(refusal(spec, value), expected, "{}", value.escape_ascii());
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    let deep = |levels: usize| format!("{{\"x\":{}", "[".repeat(levels)).into_bytes();
    let deep_known = format!("{{\"s\":{{\"x\":{}", "{\"y\":".repeat(64)).into_bytes();
    let spec = spec("a INT, t STRING, s STRUCT<b: INT>");
    let cases: &[(&[u8], &str, &str)] = &[
        (
            b"",
            "SL3001",
            "byte 0: the value is empty (a tombstone would be null)",
        ),
        (
            b" \n ",
            "SL3001",
            "byte 3: the value is empty (a tombstone would be null)",
        ),
        (
            b"[1]",
            "SL3002",
            "byte 0: the value is an array, not an object",
        ),
        (
            b"\"{}\"",
            "SL3002",
            "byte 0: the value is a string, not an object",
        ),
        (
            b"null",
            "SL3002",
            "byte 0: the value is null, not an object",
        ),
        (
            b"17",
            "SL3002",
            "byte 0: the value is a number, not an object",
        ),
        (
            b"true",
            "SL3002",
            "byte 0: the value is a boolean, not an object",
        ),
        (
            b"\x00\x00\x00\x00\x01\x02",
            "SL3003",
            "byte 0 is 0x00 (schema registry's wire format): use `format: avro`",
        ),
        (
            b"\xEF\xBB\xBF{}",
            "SL3004",
            "byte 0: a byte order mark, which JSON does not allow",
        ),
        (b"<xml/>", "SL3005", "byte 0: 0x3C where a value should be"),
        (
            b"{a:1}",
            "SL3005",
            "byte 1: 0x61 where a field name in quotes should be",
        ),
        (
            b"{'a':1}",
            "SL3005",
            "byte 1: 0x27 where a field name in quotes should be",
        ),
        (
            b"{\"a\":1,}",
            "SL3005",
            "byte 7: 0x7D where a field name in quotes should be",
        ),
        (
            b"{\"a\" 1}",
            "SL3005",
            "byte 5: 0x31 where a colon should be",
        ),
        (
            b"{\"a\":}",
            "SL3005",
            "`a`, byte 5: 0x7D where a value should be",
        ),
        (
            b"{\"a\":1;\"t\":2}",
            "SL3005",
            "byte 6: 0x3B where a comma or `}` should be",
        ),
        (
            b"{\"x\":[1,]}",
            "SL3005",
            "byte 8: 0x5D where a value should be",
        ),
        (
            b"{\"x\":[1}",
            "SL3005",
            "byte 7: 0x7D where a comma or `]` should be",
        ),
        (
            b"{\"x\":{1}}",
            "SL3005",
            "byte 6: 0x31 where a field name should be",
        ),
        (
            b"{\"x\":nul}",
            "SL3005",
            "byte 8: 0x7D where `true`, `false` or `null` should be",
        ),
        (
            b"{\"a\":nan}",
            "SL3005",
            "`a`, byte 6: 0x61 where `true`, `false` or `null` should be",
        ),
        (
            b"{\"a\":1/**/}",
            "SL3005",
            "byte 6: 0x2F where a comma or `}` should be",
        ),
        (
            b"{\"a\":\xA01}",
            "SL3005",
            "`a`, byte 5: 0xA0 where a value should be",
        ),
        (b"{", "SL3006", "byte 1: the value ends too early"),
        (b"{\"a\"", "SL3006", "byte 4: the value ends too early"),
        (
            b"{\"a\":",
            "SL3006",
            "`a`, byte 5: the value ends too early",
        ),
        (b"{\"a\":1", "SL3006", "byte 6: the value ends too early"),
        (
            b"{\"a\":-",
            "SL3006",
            "`a`, byte 6: the value ends too early",
        ),
        (
            b"{\"t\":\"abc",
            "SL3006",
            "`t`, byte 9: the value ends too early",
        ),
        (
            b"{\"t\":\"abc\\",
            "SL3006",
            "`t`, byte 10: the value ends too early",
        ),
        (
            b"{\"t\":\"\\u12",
            "SL3006",
            "`t`, byte 10: the value ends too early",
        ),
        (b"{\"x\":tru", "SL3006", "byte 8: the value ends too early"),
        (
            b"{}{}",
            "SL3007",
            "byte 2: 0x7B after the end of the object",
        ),
        (
            b"{} \x00",
            "SL3007",
            "byte 3: 0x00 after the end of the object",
        ),
        (
            b"{\"t\":\"ab\xFFc\"}",
            "SL3008",
            "`t`, byte 8: text that is not UTF-8",
        ),
        (
            b"{\"t\":\"\xED\xA0\x80\"}",
            "SL3008",
            "`t`, byte 6: text that is not UTF-8",
        ),
        (
            b"{\"t\":\"\xC3\"}",
            "SL3008",
            "`t`, byte 6: text that is not UTF-8",
        ),
        (
            b"{\"x\":\"long enough for a word \xC0\x80\"}",
            "SL3008",
            "byte 29: text that is not UTF-8",
        ),
        (b"{\"n\xFF\":1}", "SL3008", "byte 3: text that is not UTF-8"),
        (
            b"{\"t\":\"a\nb\"}",
            "SL3009",
            "`t`, byte 7: control character 0x0A in a string must be escaped",
        ),
        (
            b"{\"x\":\"0123456789\x00\"}",
            "SL3009",
            "byte 16: control character 0x00 in a string must be escaped",
        ),
        (
            b"{\"t\":\"\\x41\"}",
            "SL3010",
            "`t`, byte 7: 0x78 is no escape that JSON has",
        ),
        (
            b"{\"t\":\"\\u00g0\"}",
            "SL3010",
            "`t`, byte 10: 0x67 is no escape that JSON has",
        ),
        (
            b"{\"t\":\"\\ud83d\"}",
            "SL3011",
            "`t`, byte 6: half of a surrogate pair stands alone",
        ),
        (
            b"{\"t\":\"\\ude00\"}",
            "SL3011",
            "`t`, byte 6: half of a surrogate pair stands alone",
        ),
        (
            b"{\"t\":\"\\ud83d\\u0041\"}",
            "SL3011",
            "`t`, byte 6: half of a surrogate pair stands alone",
        ),
        (
            b"{\"x\":\"\\ud83dx\"}",
            "SL3011",
            "byte 6: half of a surrogate pair stands alone",
        ),
        (
            b"{\"a\":01}",
            "SL3012",
            "`a`, byte 6: not a JSON number: a leading zero",
        ),
        (
            b"{\"a\":-x}",
            "SL3012",
            "`a`, byte 6: not a JSON number: no digit after the minus sign",
        ),
        (
            b"{\"x\":1.}",
            "SL3012",
            "byte 7: not a JSON number: no digit after the point",
        ),
        (
            b"{\"x\":1e}",
            "SL3012",
            "byte 7: not a JSON number: no digit in the exponent",
        ),
        (
            b"{\"a\":+1}",
            "SL3012",
            "`a`, byte 5: not a JSON number: a plus sign before it",
        ),
        (
            b"{\"a\":.5}",
            "SL3012",
            "`a`, byte 5: not a JSON number: no digit before the point",
        ),
        (
            b"{\"a\":NaN}",
            "SL3013",
            "`a`, byte 5: NaN and Infinity are not JSON",
        ),
        (
            b"{\"x\":Infinity}",
            "SL3013",
            "byte 5: NaN and Infinity are not JSON",
        ),
        (
            b"{\"a\":-Infinity}",
            "SL3013",
            "`a`, byte 5: NaN and Infinity are not JSON",
        ),
        (&deep(64), "SL3014", "byte 68: nested deeper than 64 levels"),
        (
            &deep(100_000),
            "SL3014",
            "byte 68: nested deeper than 64 levels",
        ),
        (
            &deep_known,
            "SL3014",
            "`s`, byte 320: nested deeper than 64 levels",
        ),
    ];
    check_refused(&spec, cases);
}

#[test]
fn what_does_not_fit_its_column_is_refused() {
    let mut spec = spec(
        "a INT, b TINYINT, c SMALLINT, d BIGINT, e FLOAT, f DOUBLE, g DECIMAL(6,2), h BOOLEAN, i DATE,
         j TIMESTAMP, k TIMESTAMP_NTZ, l BINARY, m MAP<STRING, INT>, n ARRAY<STRUCT<x: INT NOT NULL, y: ARRAY<DATE>>>,
         o STRING, p TIMESTAMP, q STRUCT<r: STRUCT<s: TINYINT>>",
    );
    spec.timestamps = BTreeMap::from([("P".to_owned(), TimestampFormat::EpochMillis)]);
    spec.timezone = chrono_tz::Europe::Berlin;
    let cases: &[(&[u8], &str, &str)] = &[
        (
            br#"{"a":1,"a":1}"#,
            "SL3015",
            "`a`, byte 7: the field stands there twice",
        ),
        (
            br#"{"a":null,"\u0061":1}"#,
            "SL3015",
            "`a`, byte 10: the field stands there twice",
        ),
        (
            br#"{"m":{"k":1,"\u006b":1}}"#,
            "SL3016",
            "`m`, byte 5: a key of the map stands there twice",
        ),
        (
            br#"{"n":[{"x":1},{}]}"#,
            "SL3017",
            "`n[1].x`, byte 15: the field is missing, and the column is NOT NULL",
        ),
        (
            br#"{"n":[{"x":null}]}"#,
            "SL3018",
            "`n[0].x`, byte 11: null, and the column is NOT NULL",
        ),
        (
            br#"{"a":"1"}"#,
            "SL3020",
            "`a`, byte 5: a string, and the column is INT",
        ),
        (
            br#"{"g":"1.5"}"#,
            "SL3020",
            "`g`, byte 5: a string, and the column is DECIMAL(6,2)",
        ),
        (
            br#"{"f":true}"#,
            "SL3020",
            "`f`, byte 5: a boolean, and the column is DOUBLE",
        ),
        (
            br#"{"h":1}"#,
            "SL3020",
            "`h`, byte 5: a number, and the column is BOOLEAN",
        ),
        (
            br#"{"h":"true"}"#,
            "SL3020",
            "`h`, byte 5: a string, and the column is BOOLEAN",
        ),
        (
            br#"{"o":1}"#,
            "SL3020",
            "`o`, byte 5: a number, and the column is STRING",
        ),
        (
            br#"{"o":{}}"#,
            "SL3020",
            "`o`, byte 5: an object, and the column is STRING",
        ),
        (
            br#"{"j":1700000000}"#,
            "SL3020",
            "`j`, byte 5: a number, and the column is TIMESTAMP",
        ),
        (
            br#"{"p":"2024-01-01T00:00:00Z"}"#,
            "SL3020",
            "`p`, byte 5: a string, and the column is TIMESTAMP",
        ),
        (
            br#"{"i":1}"#,
            "SL3020",
            "`i`, byte 5: a number, and the column is DATE",
        ),
        (
            br#"{"l":[1]}"#,
            "SL3020",
            "`l`, byte 5: an array, and the column is BINARY",
        ),
        (
            br#"{"m":[]}"#,
            "SL3020",
            "`m`, byte 5: an array, and the column is MAP<STRING, INT>",
        ),
        (
            br#"{"m":{"k":[]}}"#,
            "SL3020",
            "`m[0]`, byte 10: an array, and the column is INT",
        ),
        (
            br#"{"q":{"r":{"s":[]}}}"#,
            "SL3020",
            "`q.r.s`, byte 15: an array, and the column is TINYINT",
        ),
        (
            br#"{"q":1}"#,
            "SL3020",
            "`q`, byte 5: a number, and the column is STRUCT<r: STRUCT<s: TINYINT>>",
        ),
        (
            br#"{"a":1.0}"#,
            "SL3021",
            "`a`, byte 5: a fraction or an exponent, and the column is INT",
        ),
        (
            br#"{"d":1e3}"#,
            "SL3021",
            "`d`, byte 5: a fraction or an exponent, and the column is BIGINT",
        ),
        (
            br#"{"b":128}"#,
            "SL3022",
            "`b`, byte 5: the number is outside the range of TINYINT",
        ),
        (
            br#"{"c":-32769}"#,
            "SL3022",
            "`c`, byte 5: the number is outside the range of SMALLINT",
        ),
        (
            br#"{"a":2147483648}"#,
            "SL3022",
            "`a`, byte 5: the number is outside the range of INT",
        ),
        (
            br#"{"d":9223372036854775808}"#,
            "SL3022",
            "`d`, byte 5: the number is outside the range of BIGINT",
        ),
        (
            br#"{"e":1e39}"#,
            "SL3023",
            "`e`, byte 5: the number is larger than FLOAT can hold",
        ),
        (
            br#"{"f":-1e309}"#,
            "SL3023",
            "`f`, byte 5: the number is larger than DOUBLE can hold",
        ),
        (
            br#"{"g":10000}"#,
            "SL3024",
            "`g`, byte 5: the number has more digits before the point than DECIMAL(6,2) can hold",
        ),
        (
            br#"{"g":0.001}"#,
            "SL3025",
            "`g`, byte 5: the number has more digits after the point than DECIMAL(6,2) can hold",
        ),
        (
            br#"{"i":"2024-1-1"}"#,
            "SL3026",
            "`i`, byte 5: not a date of the form YYYY-MM-DD",
        ),
        (
            br#"{"n":[{"x":1,"y":["2024"]}]}"#,
            "SL3026",
            "`n[0].y[0]`, byte 18: not a date of the form YYYY-MM-DD",
        ),
        (
            br#"{"j":"yesterday"}"#,
            "SL3027",
            "`j`, byte 5: not a timestamp of the form YYYY-MM-DDTHH:MM:SS[.ffffff][zone]",
        ),
        (
            br#"{"i":"2023-02-29"}"#,
            "SL3028",
            "`i`, byte 5: no such day or time of day",
        ),
        (
            br#"{"j":"2024-02-29T24:00:00Z"}"#,
            "SL3028",
            "`j`, byte 5: no such day or time of day",
        ),
        (
            br#"{"k":"2024-02-29T12:00:00Z"}"#,
            "SL3029",
            "`k`, byte 5: a time zone, and the column is TIMESTAMP_NTZ",
        ),
        (
            br#"{"j":"2024-03-31T02:30:00"}"#,
            "SL3030",
            "`j`, byte 5: a local time that clocks in Europe/Berlin skipped",
        ),
        (
            br#"{"p":1e30}"#,
            "SL3031",
            "`p`, byte 5: outside the years 0001 to 9999",
        ),
        (
            br#"{"j":"2024-02-29T12:00:00.0000001Z"}"#,
            "SL3032",
            "`j`, byte 5: digits beyond microseconds, which TIMESTAMP would lose",
        ),
        (
            br#"{"p":0.0001}"#,
            "SL3032",
            "`p`, byte 5: digits beyond microseconds, which TIMESTAMP would lose",
        ),
        (
            br#"{"l":"YQ"}"#,
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
        (
            br#"{"l":"Y-=="}"#,
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
        (
            br#"{"l":"YR=="}"#,
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
        (
            b"{\"l\":\"YQ==\\n\"}",
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
    ];
    check_refused(&spec, cases);
}

#[test]
fn unknown_fields_are_ignored_or_refused_as_declared() {
    let mut spec = spec("a INT, s STRUCT<b: INT>");
    let values = [
        r#"{"A":1,"x":{"a":[1,{}]},"a":2}"#,
        r#"{"s":{"c":"\ud83d\ude00","b":3}}"#,
    ];
    let rows = chunk(&spec, &values).rows;
    assert_eq!(
        rows.column(0)
            .as_primitive::<Int32Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(2), None]
    );
    spec.unknown_fields = UnknownFields::Fail;
    let reason = "a field that the schema does not declare (`unknown_fields: fail`)";
    check_refused(
        &spec,
        &[
            (br#"{"A":1}"#, "SL3019", &format!("byte 1: {reason}")),
            (
                br#"{"a":1,"s":{"c":1}}"#,
                "SL3019",
                &format!("`s`, byte 12: {reason}"),
            ),
        ],
    );
}

/// Decodes one column, each text as a value of it, null for the last row.
fn check_column(data_type: &str, texts: &[&str], expected: impl Array + 'static) {
    let values: Vec<String> = texts
        .iter()
        .map(|text| format!("{{\"c\":{text}}}"))
        .collect();
    let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
    values.push("{}");
    let chunk = chunk(&spec(&format!("c {data_type}")), &values);
    assert_eq!(
        chunk.fates.rows as usize,
        values.len(),
        "{data_type}: {:?}",
        chunk.dead_letters
    );
    let expected: ArrayRef = Arc::new(expected);
    assert_eq!(chunk.rows.column(0), &expected, "{data_type}");
}

#[test]
fn each_type_is_read_to_its_limits() {
    check_column(
        "BOOLEAN",
        &["true", "false", "null"],
        BooleanArray::from(vec![Some(true), Some(false), None, None]),
    );
    check_column(
        "TINYINT",
        &["127", "-128"],
        Int8Array::from(vec![Some(127), Some(-128), None]),
    );
    check_column(
        "SMALLINT",
        &["32767", "-32768"],
        Int16Array::from(vec![Some(32767), Some(-32768), None]),
    );
    check_column(
        "INT",
        &["-2147483648", "0"],
        Int32Array::from(vec![Some(i32::MIN), Some(0), None]),
    );
    let longs = vec![Some(i64::MIN), Some(i64::MAX), None];
    check_column(
        "BIGINT",
        &["-9223372036854775808", "9223372036854775807"],
        Int64Array::from(longs),
    );
    check_column(
        "FLOAT",
        &["3.4028235e38", "-0.1"],
        Float32Array::from(vec![Some(f32::MAX), Some(-0.1), None]),
    );
    let doubles = vec![Some(0.1), Some(f64::MAX), Some(5e-324), Some(12.0), None];
    check_column(
        "DOUBLE",
        &["0.1", "1.7976931348623157E+308", "5e-324", "12"],
        Float64Array::from(doubles),
    );
    let decimals = Decimal128Array::from(vec![Some(150), Some(-999_999), Some(0), None]);
    let decimals = decimals.with_precision_and_scale(6, 2).expect("valid");
    check_column("DECIMAL(6,2)", &["1.5", "-9999.990", "0"], decimals);
    let strings = vec![
        Some(""),
        Some("a\"\\/\u{8}\u{c}\n\r\tä€😀\0"),
        Some("plain ä text"),
        None,
    ];
    let texts = [
        "\"\"",
        r#""a\"\\\/\b\f\n\r\t\u00e4\u20AC\ud83d\ude00\u0000""#,
        "\"plain ä text\"",
    ];
    check_column("STRING", &texts, StringArray::from(strings));
    let bytes: Vec<Option<&[u8]>> = vec![Some(b""), Some(b"a"), Some(b"\xFF\xFE\xFD"), None];
    check_column(
        "BINARY",
        &["\"\"", "\"YQ==\"", "\"\\/\\/79\""],
        BinaryArray::from(bytes),
    );
    check_column(
        "DATE",
        &["\"1970-01-02\"", "\"0001-01-01\""],
        Date32Array::from(vec![Some(1), Some(-719_162), None]),
    );
    let micros = TimestampMicrosecondArray::from(vec![Some(1_500_000), Some(-3_600_000_000), None]);
    check_column(
        "TIMESTAMP_NTZ",
        &["\"1970-01-01T00:00:01.5\"", "\"1969-12-31 23:00\""],
        micros.clone(),
    );
    let texts = [
        "\"1970-01-01T01:00:01.500+01:00\"",
        "\"1969-12-31T23:00:00\"",
    ];
    check_column("TIMESTAMP", &texts, micros.with_timezone("UTC"));
}

#[test]
fn epoch_numbers_are_read_in_the_declared_unit() {
    let mut spec = spec("d DATE, t TIMESTAMP, s STRUCT<n: TIMESTAMP_NTZ>, l ARRAY<TIMESTAMP>");
    let formats = [
        ("d", TimestampFormat::EpochSeconds),
        ("t", TimestampFormat::EpochMillis),
        ("s.n", TimestampFormat::EpochMicros),
        ("l", TimestampFormat::EpochNanos),
    ];
    spec.timestamps = formats
        .map(|(name, format)| (name.to_owned(), format))
        .into();
    let rows = chunk(
        &spec,
        &[r#"{"d":86400,"t":1.5,"s":{"n":-7},"l":[1999,-1]}"#],
    )
    .rows;
    assert_eq!(rows.column(0).as_ref(), &Date32Array::from(vec![1]));
    assert_eq!(
        rows.column(1).as_ref(),
        &TimestampMicrosecondArray::from(vec![1500]).with_timezone("UTC")
    );
    assert_eq!(
        rows.column(2).as_struct().column(0).as_ref(),
        &TimestampMicrosecondArray::from(vec![-7])
    );
    let elements = rows.column(3).as_list::<i32>().values();
    assert_eq!(
        elements.as_ref(),
        &TimestampMicrosecondArray::from(vec![1, -1]).with_timezone("UTC")
    );
}

#[test]
fn nested_values_are_read_with_nulls_at_every_level() {
    let spec = spec(
        "l ARRAY<ARRAY<INT>>, m MAP<STRING, STRUCT<a: INT>>, s STRUCT<x: INT NOT NULL, y: STRING>",
    );
    let rows = chunk(
        &spec,
        &[
            r#"{"l":[[1,null],null,[]],"m":{"k":{"a":1},"":null},"s":{"x":1}}"#,
            r#"{"l":null,"m":null,"s":null}"#,
            r#" { "l" : [ ] , "m" : { } , "s" : { "y" : "z" , "x" : 2 } } "#,
        ],
    )
    .rows;
    let lists = rows.column(0).as_list::<i32>();
    assert_eq!(lists.value_offsets(), [0, 3, 3, 3]);
    assert!(lists.is_null(1) && !lists.is_null(2));
    let inner = lists.values().as_list::<i32>();
    assert_eq!(
        (inner.value_offsets(), inner.is_null(1), inner.is_null(2)),
        (&[0, 2, 2, 2][..], true, false)
    );
    let numbers: Vec<_> = inner.values().as_primitive::<Int32Type>().iter().collect();
    assert_eq!(numbers, [Some(1), None]);
    let maps = rows.column(1).as_map();
    assert_eq!(
        (maps.value_offsets(), maps.is_null(1)),
        (&[0, 2, 2, 2][..], true)
    );
    assert_eq!(maps.keys().as_ref(), &StringArray::from(vec!["k", ""]));
    assert!(maps.values().is_null(1));
    let structs = rows.column(2).as_struct();
    assert!(structs.is_null(1));
    assert_eq!(structs.column(0).as_primitive::<Int32Type>().value(2), 2);
    assert_eq!(
        structs.column(1).as_ref(),
        &StringArray::from(vec![None, None, Some("z")])
    );
}

#[test]
fn a_bad_row_in_the_middle_leaves_the_others_as_they_were() {
    let spec = spec(
        "a INT NOT NULL, b STRING, c ARRAY<STRUCT<x: STRING, y: ARRAY<BINARY>>>, d MAP<STRING, ARRAY<INT>>,
         e STRUCT<f: BOOLEAN, g: STRUCT<h: DECIMAL(5,1)>>, z INT NOT NULL",
    );
    let good = [
        r#"{"a":1,"b":"one","c":[{"x":"p","y":["YQ==","Yg=="]}],"d":{"k":[1,2]},"e":{"f":true,"g":{"h":1.5}},"z":1}"#,
        r#"{"a":2,"z":2}"#,
        r#"{"a":3,"b":"three","c":[null,{"y":null}],"d":{"l":null},"e":{"g":null},"z":3}"#,
    ];
    let full = good[0];
    // Cut at every byte, and spoilt at every byte: whatever was read before must be taken back.
    let cut = (0..full.len()).map(|end| full.as_bytes()[..end].to_vec());
    let spoilt = (0..full.len()).map(|at| {
        let mut value = full.as_bytes().to_vec();
        value[at] = 0x01;
        value
    });
    let bad: Vec<Vec<u8>> = cut.chain(spoilt).collect();
    let mut decoder = decoder(&spec);
    let mut offset = 0;
    for (i, bad) in bad.iter().enumerate() {
        for value in [bad.as_slice(), good[i % 3].as_bytes()] {
            decoder
                .push(&message(offset, value))
                .expect("no policy `fail`");
            offset += 1;
        }
    }
    let mixed = decoder.finish(offset);
    let clean: Vec<&str> = (0..bad.len()).map(|i| good[i % 3]).collect();
    let clean = chunk(&spec, &clean);
    assert_eq!(
        mixed.fates,
        Fates {
            rows: clean.fates.rows,
            dead_letters: bad.len() as u64,
            ..Fates::default()
        }
    );
    assert_eq!(mixed.rows, clean.rows);
    assert_eq!(
        mixed
            .row_offsets
            .values()
            .iter()
            .copied()
            .collect::<Vec<_>>(),
        (1..offset).step_by(2).collect::<Vec<_>>()
    );
}

#[test]
fn fields_are_found_in_any_order_and_spelling() {
    let spec = spec("a INT, b INT, `c\"\\ö` INT");
    let values = [
        r#"{"a":1,"b":2,"c\"\\ö":3}"#,
        r#"{"c\"\\ö":3,"b":2,"a":1}"#,
        r#"{"b":2,"x":0,"a":1,"c\u0022\u005c\u00f6":3}"#,
        r#"{"\u0061" :1 , "b"	:2,
            "c\"\\ö"
            :3}"#,
    ];
    let rows = chunk(&spec, &values).rows;
    assert_eq!(rows.num_rows(), 4);
    for (column, expected) in rows.columns().iter().zip(1..) {
        assert_eq!(column.as_ref(), &Int32Array::from(vec![expected; 4]));
    }
}

#[test]
fn many_keys_of_a_map_are_compared_without_quadratic_work() {
    let spec = spec("m MAP<STRING, INT>");
    let object = |keys: &mut dyn Iterator<Item = usize>| {
        let entries: Vec<String> = keys.map(|key| format!("\"{key}\":1")).collect();
        format!("{{\"m\":{{{}}}}}", entries.join(","))
    };
    assert_eq!(refusal(&spec, object(&mut (0..100_000)).as_bytes()), None);
    let twins = object(&mut (0..100_000).chain([77_777]));
    assert_eq!(
        refusal(&spec, twins.as_bytes())
            .map(|(code, _)| code)
            .as_deref(),
        Some("SL3016")
    );
}

#[test]
fn every_offset_of_the_range_has_a_fate() {
    let metadata = BTreeSet::from([MetadataColumn::Offset]);
    let mut decoder = Decoder::new(&spec("a INT"), &metadata)
        .expect("valid")
        .with_fingerprint("f00d");
    let held = Arc::new(BTreeSet::from([12, 13, 14]));
    decoder.begin(partition(), 10, Some(held));
    decoder.push(&message(11, b"{\"a\":1}")).expect("good");
    decoder
        .push(&message(12, b"{\"a\":2}"))
        .expect("held, though good now");
    decoder.push(&message(13, b"bad")).expect("held");
    decoder
        .push(&Message {
            value: None,
            ..message(14, b"")
        })
        .expect("held, though a tombstone now");
    decoder.push(&message(15, b"bad")).expect("a dead letter");
    decoder
        .push(&Message {
            value: None,
            key: Some(b"k"),
            ..message(17, b"")
        })
        .expect("a tombstone");
    assert_eq!(decoder.rows(), 1);
    let chunk = decoder.finish(20);
    assert_eq!(chunk.range, OffsetRange::new(10, 20));
    let expected = Fates {
        rows: 1,
        dead_letters: 4,
        skipped: 0,
        tombstones: 1,
        gaps: 4,
    };
    assert_eq!(chunk.fates, expected);
    assert_eq!(chunk.fates.total(), chunk.range.len());
    assert_eq!(chunk.payload_bytes, 7 + 7 + 3 + 3 + 1);
    assert_eq!(
        chunk.rows.column(1).as_primitive::<Int64Type>().values(),
        &[11]
    );
    let letters = chunk.dead_letters.expect("one that was not held");
    assert_eq!(letters.num_rows(), 1);
    assert_eq!(letters.schema(), dead_letter_schema());
    let text = |name: &str| {
        letters
            .column_by_name(name)
            .expect(name)
            .as_string::<i32>()
            .value(0)
            .to_owned()
    };
    assert_eq!(
        [
            text("kafka_topic"),
            text("kafka_topic_id"),
            text("config_fingerprint")
        ],
        ["orders", "tid", "f00d"]
    );
    assert_eq!(
        letters["kafka_offset"].as_primitive::<Int64Type>().values(),
        &[15]
    );
    assert_eq!(letters["kafka_value"].as_binary::<i32>().value(0), b"bad");

    // The partition goes on where the chunk ended.
    decoder.push(&message(20, b"{}")).expect("good");
    let next = decoder.finish(21);
    assert_eq!(
        (next.range, next.fates),
        (
            OffsetRange::new(20, 21),
            Fates {
                rows: 1,
                ..Fates::default()
            }
        )
    );
    assert!(next.dead_letters.is_none());
    let empty = decoder.finish(30);
    assert_eq!(
        empty.fates,
        Fates {
            gaps: 9,
            ..Fates::default()
        }
    );
    assert_eq!(empty.rows.num_rows(), 0);
}

#[test]
fn metadata_columns_say_what_kafka_said() {
    let metadata: BTreeSet<_> = [
        MetadataColumn::Headers,
        MetadataColumn::Topic,
        MetadataColumn::Partition,
        MetadataColumn::Key,
        MetadataColumn::Timestamp,
    ]
    .into();
    let mut decoder = Decoder::new(&spec("a INT"), &metadata).expect("valid");
    assert!(decoder.wants_headers());
    let names: Vec<_> = decoder
        .row_schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "a",
            "kafka_topic",
            "kafka_partition",
            "kafka_timestamp",
            "kafka_key",
            "kafka_headers"
        ]
    );
    decoder.begin(partition(), 0, None);
    let headers = [
        Header {
            name: b"h",
            value: Some(b"\xFF"),
        },
        Header {
            name: b"h",
            value: None,
        },
    ];
    let full = Message {
        timestamp_ms: Some(1500),
        key: Some(b"k"),
        headers: &headers,
        ..message(0, b"{}")
    };
    decoder.push(&full).expect("good");
    decoder.push(&message(1, b"{}")).expect("good");
    let odd = [Header {
        name: b"\xFF",
        value: None,
    }];
    decoder
        .push(&Message {
            headers: &odd,
            ..message(2, b"{}")
        })
        .expect("a dead letter");
    assert_eq!(
        decoder
            .take_first_bad()
            .map(|bad| (bad.code, bad.to_string())),
        Some((
            "SL3035",
            "orders/3 offset 2: a header's name is not UTF-8, and `headers` is a metadata column"
                .into()
        ))
    );
    decoder
        .push(&Message {
            timestamp_ms: Some(i64::MAX),
            ..message(3, b"{}")
        })
        .expect("a dead letter");
    assert_eq!(decoder.take_first_bad().map(|bad| bad.code), Some("SL3036"));
    let chunk = decoder.finish(4);
    assert_eq!(chunk.rows.num_rows(), 2);
    assert_eq!(
        chunk.rows["kafka_topic"].as_ref(),
        &StringArray::from(vec!["orders"; 2])
    );
    assert_eq!(
        chunk.rows["kafka_partition"].as_ref(),
        &Int32Array::from(vec![3, 3])
    );
    let times = TimestampMicrosecondArray::from(vec![Some(1_500_000), None]).with_timezone("UTC");
    assert_eq!(chunk.rows["kafka_timestamp"].as_ref(), &times);
    assert_eq!(
        chunk.rows["kafka_key"].as_ref(),
        &BinaryArray::from(vec![Some(&b"k"[..]), None])
    );
    let lists = chunk.rows["kafka_headers"].as_list::<i32>();
    assert!(lists.is_null(1));
    let pairs = lists.value(0);
    assert_eq!(
        pairs.as_struct().column(0).as_ref(),
        &StringArray::from(vec!["h", "h"])
    );
    assert_eq!(
        pairs.as_struct().column(1).as_ref(),
        &BinaryArray::from(vec![Some(&b"\xFF"[..]), None])
    );
    let letters = chunk.dead_letters.expect("two");
    assert_eq!(
        letters["kafka_timestamp"].null_count(),
        2,
        "one had none, one can't be shown"
    );
}

#[test]
fn policies_fail_and_skip() {
    let mut spec = spec("quantity INT");
    spec.on_bad_record = OnBadRecord::Skip;
    let chunk = chunk(&spec, &["{}", "[]", "{}"]);
    assert_eq!(
        chunk.fates,
        Fates {
            rows: 2,
            skipped: 1,
            ..Fates::default()
        }
    );
    assert!(chunk.dead_letters.is_none());
    spec.on_bad_record = OnBadRecord::Fail;
    let mut decoder = decoder(&spec);
    assert!(!decoder.wants_headers());
    decoder.push(&message(0, b"{}")).expect("good");
    let error = decoder
        .push(&message(1, b"{\"quantity\":\"7\"}"))
        .expect_err("bad");
    assert_eq!(
        error.to_string(),
        "bad record in orders/3 offset 1: `quantity`, byte 12: a string, and the column is INT; repair \
         `decode.value.schema`, or set `decode.on_bad_record` to `dead_letter` or `skip`"
    );
    assert_eq!(
        (error.code(), error.disposition()),
        ("SL3020", Disposition::Stop(Exit::DataRefused))
    );
    decoder.begin(partition(), 0, None);
    decoder.push(&message(0, b"{}")).expect("good");
    assert_eq!(
        decoder.finish(1).fates,
        Fates {
            rows: 1,
            ..Fates::default()
        },
        "begun anew"
    );
}

#[test]
fn large_messages_are_refused_and_large_chunks_are_full() {
    let mut spec = spec("a INT");
    spec.max_message_size = 9;
    let mut decoder = decoder(&spec);
    decoder
        .push(&Message {
            key: Some(b"12"),
            ..message(0, b"{\"a\":1}")
        })
        .expect("just fits");
    decoder
        .push(&Message {
            key: Some(b"123"),
            ..message(1, b"{\"a\":1}")
        })
        .expect("a dead letter");
    let bad = decoder.take_first_bad().expect("too large");
    assert_eq!(
        (bad.code, bad.reason.as_str()),
        (
            "SL3034",
            "key and value have 10 bytes, and `max_message_size` is 9"
        )
    );
    assert!(!decoder.is_full());
    let large = vec![b' '; MAX_CHUNK_BYTES as usize];
    decoder.push(&message(2, &large)).expect("a dead letter");
    assert!(decoder.is_full());
    assert_eq!(
        decoder.finish(3).fates,
        Fates {
            rows: 1,
            dead_letters: 2,
            ..Fates::default()
        }
    );
    assert!(!decoder.is_full());
    for offset in 3..3 + MAX_CHUNK_ROWS as i64 {
        assert!(!decoder.is_full());
        decoder.push(&message(offset, b"{}")).expect("good");
    }
    assert!(decoder.is_full());
}

#[test]
fn impossible_specs_are_refused() {
    let refused = |spec: &Decode, metadata: &[MetadataColumn]| {
        let metadata = metadata.iter().copied().collect();
        let error = Decoder::new(spec, &metadata).err().expect("refused");
        assert_eq!(error.disposition(), Disposition::Stop(Exit::Configuration));
        (error.code(), error.to_string())
    };
    let mut named = spec("a INT");
    named.timestamps = BTreeMap::from([("a".to_owned(), TimestampFormat::EpochMillis)]);
    let message = "`decode.value.timestamps.a`: the schema has no TIMESTAMP, TIMESTAMP_NTZ or DATE column of that name";
    assert_eq!(refused(&named, &[]), ("SL3101", message.into()));
    let message = "`decode.value.schema`: the keys of the MAP `s.m` must be STRING, as the keys of a JSON object are";
    assert_eq!(
        refused(&spec("s STRUCT<m: MAP<INT, INT>>"), &[]),
        ("SL3102", message.into())
    );
    let message = "`decode.value.schema`: `Kafka_Topic` is the name of a metadata column; rename it, or drop the metadata column";
    assert_eq!(
        refused(&spec("Kafka_Topic STRING"), &[MetadataColumn::Topic]),
        ("SL3104", message.into())
    );
}
