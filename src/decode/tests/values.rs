//! Each type: what is read, and what a bad row in the middle leaves.

use super::*;

/// Decodes one column, each text as a value of it, null for the last row.
fn check_column(data_type: &str, texts: &[&str], expected: impl Array + 'static) {
    let values: Vec<String> = texts.iter().map(|text| format!("{{\"c\":{text}}}")).collect();
    let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
    values.push("{}");
    let chunk = chunk(&spec(&format!("c {data_type}")), &values);
    assert_eq!(chunk.fates.rows as usize, values.len(), "{data_type}: {:?}", chunk.dead_letters);
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
    check_column("TINYINT", &["127", "-128"], Int8Array::from(vec![Some(127), Some(-128), None]));
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
    let strings = vec![Some(""), Some("a\"\\/\u{8}\u{c}\n\r\tä€😀\0"), Some("plain ä text"), None];
    let texts =
        ["\"\"", r#""a\"\\\/\b\f\n\r\t\u00e4\u20AC\ud83d\ude00\u0000""#, "\"plain ä text\""];
    check_column("STRING", &texts, StringArray::from(strings));
    let bytes: Vec<Option<&[u8]>> = vec![Some(b""), Some(b"a"), Some(b"\xFF\xFE\xFD"), None];
    check_column("BINARY", &["\"\"", "\"YQ==\"", "\"\\/\\/79\""], BinaryArray::from(bytes));
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
    let texts = ["\"1970-01-01T01:00:01.500+01:00\"", "\"1969-12-31T23:00:00\""];
    check_column("TIMESTAMP", &texts, micros.with_timezone("UTC"));
}

#[test]
fn epoch_numbers_are_read_in_the_declared_unit() {
    let mut spec = spec(
        "d DATE, t TIMESTAMP, s STRUCT<n: TIMESTAMP_NTZ>, l ARRAY<TIMESTAMP>, m MAP<STRING, STRUCT<n: DATE>>",
    );
    let formats = [
        ("d", TimestampFormat::EpochSeconds),
        ("t", TimestampFormat::EpochMillis),
        ("s.n", TimestampFormat::EpochMicros),
        ("l.element", TimestampFormat::EpochNanos),
        ("m.value.n", TimestampFormat::EpochMicros),
    ];
    json(&mut spec).timestamps = formats.map(|(name, format)| (name.to_owned(), format)).into();
    let rows =
        chunk(&spec, &[r#"{"d":86400,"t":1.5,"s":{"n":-7},"l":[1999,-1],"m":{"k":{"n":-1}}}"#])
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
    let days = rows.column(4).as_map().values().as_struct();
    assert_eq!(days.column(0).as_ref(), &Date32Array::from(vec![-1]));
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
    assert_eq!((maps.value_offsets(), maps.is_null(1)), (&[0, 2, 2, 2][..], true));
    assert_eq!(maps.keys().as_ref(), &StringArray::from(vec!["k", ""]));
    assert!(maps.values().is_null(1));
    let structs = rows.column(2).as_struct();
    assert!(structs.is_null(1));
    assert_eq!(structs.column(0).as_primitive::<Int32Type>().value(2), 2);
    assert_eq!(structs.column(1).as_ref(), &StringArray::from(vec![None, None, Some("z")]));
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
            decoder.push(&message(offset, value)).expect("no policy `fail`");
            offset += 1;
        }
    }
    let mixed = decoder.finish(offset);
    let clean: Vec<&str> = (0..bad.len()).map(|i| good[i % 3]).collect();
    let clean = chunk(&spec, &clean);
    assert_eq!(
        mixed.fates,
        Fates { rows: clean.fates.rows, dead_letters: bad.len() as u64, ..Fates::default() }
    );
    assert_eq!(mixed.rows, clean.rows);
    assert_eq!(
        mixed.row_offsets.values().iter().copied().collect::<Vec<_>>(),
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
