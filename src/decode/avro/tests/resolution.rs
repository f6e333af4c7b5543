//! One schema's data in columns that are declared, or that other schemas have: Avro's rules of schema resolution.

use super::*;
use crate::decode::payload::JSON_TEXT;

/// What stands in a declared column `f` after reading one datum of a type.
fn check(of: &str, column: &str, datum: &[u8], expected: Json) {
    let mut reader = reader(&declared(&record(of), &format!("f {column}")));
    push(&mut reader, datum).unwrap_or_else(|reject| panic!("{of} in {column}: {reject}"));
    assert_eq!(rows(&mut reader), [json!({"f": expected})], "{of} in {column}");
}

fn refused(of: &str, column: &str, expected: &str) {
    let error = try_reader(&declared(&record(of), &format!("f {column}")));
    let error = error.err().unwrap_or_else(|| panic!("{of} in {column} is taken")).to_string();
    assert_eq!(error, format!("`decode.value.avro_schema`: {expected}"));
}

#[test]
fn numbers_and_texts_are_promoted() {
    for (of, column, datum, expected) in [
        (r#""int""#, "BIGINT", long(-7), json!(-7)),
        (r#""int""#, "FLOAT", long(-7), json!(-7.0)),
        (r#""int""#, "DOUBLE", long(-7), json!(-7.0)),
        (r#""int""#, "TINYINT", long(-128), json!(-128)),
        (r#""int""#, "SMALLINT", long(32_767), json!(32_767)),
        (r#""long""#, "FLOAT", long(1 << 24), json!(16_777_216.0)),
        (r#""long""#, "DOUBLE", long(1 << 53), json!(9_007_199_254_740_992.0)),
        (r#""float""#, "DOUBLE", 1.5f32.to_le_bytes().to_vec(), json!(1.5)),
        (r#""string""#, "BINARY", sized(b"a"), json!("61")),
        (r#""bytes""#, "STRING", sized("ä".as_bytes()), json!("ä")),
        (r#"{"type": "fixed", "name": "x", "size": 2}"#, "BINARY", vec![1, 2], json!("0102")),
        (
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#,
            "BINARY",
            sized(&[1, 0]),
            json!("0100"),
        ),
        (
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#,
            "DECIMAL(10,2)",
            sized(&[1, 0]),
            json!("2.56"),
        ),
        (r#"{"type": "int", "logicalType": "date"}"#, "INT", long(1), json!(1)),
        (
            r#"{"type": "long", "logicalType": "timestamp-nanos"}"#,
            "BIGINT",
            long(1_001),
            json!(1_001),
        ),
        (r#"{"type": "array", "items": "int"}"#, "ARRAY<DOUBLE>", vec![2, 2, 0], json!([1.0])),
        (
            r#"{"type": "map", "values": "int"}"#,
            "MAP<STRING, BIGINT>",
            vec![2, 2, b'a', 2, 0],
            json!({"a": 1}),
        ),
    ] {
        check(of, column, &datum, expected);
    }
}

#[test]
fn what_has_no_rule_is_refused_by_name_and_type() {
    for (of, column, expected) in [
        (r#""long""#, "INT", "`f`: long can't be read as INT"),
        (r#""double""#, "FLOAT", "`f`: double can't be read as FLOAT"),
        (r#""int""#, "STRING", "`f`: int can't be read as STRING"),
        (r#""string""#, "INT", "`f`: string can't be read as INT"),
        (r#""boolean""#, "INT", "`f`: boolean can't be read as INT"),
        (r#""long""#, "TIMESTAMP", "`f`: long can't be read as TIMESTAMP"),
        (
            r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
            "TIMESTAMP_NTZ",
            "`f`: long (timestamp-millis) can't be read as TIMESTAMP_NTZ",
        ),
        (
            r#"{"type": "long", "logicalType": "local-timestamp-micros"}"#,
            "TIMESTAMP",
            "`f`: long (local-timestamp-micros) can't be read as TIMESTAMP",
        ),
        (
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#,
            "DECIMAL(10,3)",
            "`f`: bytes (decimal(4,2)) can't be read as DECIMAL(10,3)",
        ),
        (
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#,
            "STRING",
            "`f`: bytes (decimal(4,2)) can't be read as STRING",
        ),
        (r#""bytes""#, "DECIMAL(10,3)", "`f`: bytes can't be read as DECIMAL(10,3)"),
        (
            r#"{"type": "array", "items": "long"}"#,
            "ARRAY<INT>",
            "`f.element`: long can't be read as INT",
        ),
        (
            r#"{"type": "map", "values": "string"}"#,
            "MAP<STRING, INT>",
            "`f.value`: string can't be read as INT",
        ),
        (
            r#"{"type": "array", "items": "int"}"#,
            "MAP<STRING, INT>",
            "`f`: array of int can't be read as MAP<STRING, INT>",
        ),
        (
            r#"{"type": "record", "name": "s", "fields": [{"name": "x", "type": "int"}]}"#,
            "STRUCT<x: STRING>",
            "`f.x`: int can't be read as STRING",
        ),
        (
            r#"{"type": "record", "name": "s", "fields": [{"name": "x", "type": "int"}]}"#,
            "STRUCT<y: STRING NOT NULL>",
            "`f.y`: the schema has no such field, and the column is NOT NULL",
        ),
        (r#"["null", "string"]"#, "INT", "`f`: string can't be read as INT"),
        (r#"["string", "boolean"]"#, "INT", "`f`: union of string, boolean can't be read as INT"),
    ] {
        refused(of, column, expected);
    }
    let error =
        try_reader(&declared(r#""string""#, "f STRING")).err().expect("no record").to_string();
    assert_eq!(
        error,
        "`decode.value.avro_schema`: `value`: string, and no record: declare the one column `value`"
    );
    let error = try_reader(&declared(&record(r#""string""#), "f MAP<INT, STRING>")).err();
    let (part, column, data_type) = (Part::Value, "f".into(), "MAP<INT, STRING>".into());
    assert_eq!(error, Some(DecodeError::AvroType { part, column, data_type }));
}

#[test]
fn fields_are_found_by_name_or_by_the_writers_alias() {
    let schema = r#"{"type": "record", "name": "r", "fields": [
        {"name": "a", "type": "int"}, {"name": "new", "aliases": ["old"], "type": "int"}, {"name": "A", "type": "int"}]}"#;
    let mut reader = reader(&declared(schema, "old INT, none STRING, a INT NOT NULL"));
    push(&mut reader, &[2, 4, 6]).expect("a datum");
    assert_eq!(rows(&mut reader), [json!({"old": 2, "none": null, "a": 1})]);
    // A field that has its own column is nobody's alias.
    let mut reader = super::reader(&declared(schema, "old INT, `new` INT"));
    push(&mut reader, &[2, 4, 6]).expect("a datum");
    assert_eq!(rows(&mut reader), [json!({"old": null, "new": 2})]);
}

#[test]
fn unknown_fields_are_left_out_refused_or_kept_as_json() {
    let schema = r#"{"type": "record", "name": "r", "fields": [
        {"name": "x", "type": {"type": "map", "values": "bytes"}}, {"name": "a", "type": "int"},
        {"name": "s", "type": {"type": "record", "name": "s", "fields": [{"name": "b", "type": "int"}, {"name": "c", "type": "int"}]}},
        {"name": "y\u005f", "type": ["null", "double"]}]}"#;
    let datum =
        [&[2][..], &sized(b"k"), &sized(b"\xFF"), &[0, 2, 4, 6, 2], &0.5f64.to_le_bytes()].concat();
    let read = |unknown_fields| {
        let spec = Avro { unknown_fields, ..declared(schema, "a INT, s STRUCT<c: INT>") };
        let mut reader = reader(&spec);
        let read = push(&mut reader, &datum).map_err(|reject| reject.to_string());
        (read, definitions(&reader), rows(&mut reader))
    };
    let (read_well, columns, rows) = read(UnknownFields::Ignore);
    assert_eq!((read_well, columns.as_str()), (Ok(()), "a INT, s STRUCT<c: INT>"));
    assert_eq!(rows, [json!({"a": 1, "s": {"c": 3}})]);
    let (refused, _, rows) = read(UnknownFields::Fail);
    let reason = "`x`, a field that the schema does not declare (`unknown_fields: fail`)";
    assert_eq!((refused, rows.len()), (Err(reason.into()), 0));
    let (read_well, columns, rows) = read(UnknownFields::Rescue);
    assert_eq!(
        (read_well, columns.as_str()),
        (Ok(()), "a INT, s STRUCT<c: INT>, rescued_data STRING")
    );
    assert_eq!(
        rows,
        [json!({"a": 1, "s": {"c": 3}, "rescued_data": r#"{"x":{"k":"/w=="},"y_":0.5}"#})]
    );
    // Fields inside of columns are under `fail` as well; nothing unknown leaves the rescue column null.
    let inner = r#"{"type": "record", "name": "r", "fields": [{"name": "s", "type": {"type": "record", "name": "s", "fields": [{"name": "b", "type": "int"}]}}]}"#;
    let spec = |rule| Avro { unknown_fields: rule, ..declared(inner, "s STRUCT<c: INT>") };
    let (reason, code) = refusal(&mut reader(&spec(UnknownFields::Fail)), &[2]);
    assert_eq!(
        (reason.as_str(), code),
        ("`s.b`, a field that the schema does not declare (`unknown_fields: fail`)", "SL3019")
    );
    let mut rescuing = reader(&spec(UnknownFields::Rescue));
    push(&mut rescuing, &[2]).expect("a datum");
    assert_eq!(super::rows(&mut rescuing), [json!({"s": {"c": null}, "rescued_data": null})]);
}

#[test]
fn a_rescue_that_fails_half_way_leaves_nothing() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "x", "type": "string"}, {"name": "y", "type": "int"}, {"name": "a", "type": "int"}]}"#;
    let mut reader =
        reader(&Avro { unknown_fields: UnknownFields::Rescue, ..declared(schema, "a INT") });
    push(&mut reader, &[&sized(b"1")[..], &[2]].concat()).expect_err("cut short");
    push(&mut reader, &[&sized(b"2")[..], &[2, 4]].concat()).expect("a datum");
    push(&mut reader, &sized(b"3")).expect_err("cut short");
    push(&mut reader, &[&sized(b"4")[..], &[2, 4]].concat()).expect("a datum");
    let row = |x| json!({"a": 2, "rescued_data": format!(r#"{{"x":"{x}","y":1}}"#)});
    assert_eq!(rows(&mut reader), [row(2), row(4)]);
}

#[test]
fn unions_go_where_their_types_can() {
    // Into one column: what fits, fits; the rest is bad record by record.
    let mut one =
        reader(&declared(&record(r#"["string", "int", "null", "boolean"]"#), "f BIGINT NOT NULL"));
    push(&mut one, &[2, 14]).expect("an int");
    let (reason, code) = refusal(&mut one, &[&[0][..], &sized(b"x")].concat());
    assert_eq!((reason.as_str(), code), ("`f`, byte 1: string can't be read as BIGINT", "SL3066"));
    let (reason, code) = refusal(&mut one, &[4]);
    assert_eq!(
        (reason.as_str(), code),
        ("`f`, byte 1: null, and the column is NOT NULL", "SL3018")
    );
    assert_eq!(rows(&mut one), [json!({"f": 7})]);
    // Into a STRUCT that is declared as a union's.
    let of = record(r#"["null", "int", "string"]"#);
    let mut members = reader(&declared(&of, "f STRUCT<member1: STRING, member0: BIGINT>"));
    push(&mut members, &[2, 14]).expect("an int");
    push(&mut members, &[&[4][..], &sized(b"x")].concat()).expect("a string");
    push(&mut members, &[0]).expect("null");
    let members = rows(&mut members);
    assert_eq!(members[0], json!({"f": {"member0": 7, "member1": null}}));
    assert_eq!(members[1], json!({"f": {"member0": null, "member1": "x"}}));
    assert_eq!(members[2], json!({"f": null}));
    let mut some = reader(&declared(&of, "f STRUCT<member0: INT>"));
    let (reason, _) = refusal(&mut some, &[&[4][..], &sized(b"x")].concat());
    assert_eq!(reason, "`f`, byte 1: string, for which `member1` is not declared");
}

fn json_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
        .with_metadata([(JSON_TEXT.to_owned(), String::new())].into())
}

#[test]
fn a_column_of_json_text_takes_any_type() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "f", "type": ["null", {"type": "record", "name": "s", "fields": [
        {"name": "b", "type": "boolean"}, {"name": "n", "type": ["null", "int"]}, {"name": "l", "type": "long"},
        {"name": "x", "type": "float"}, {"name": "d", "type": "double"}, {"name": "nan", "type": "double"},
        {"name": "t", "type": "string"}, {"name": "y", "type": "bytes"},
        {"name": "m", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "id", "type": {"type": "fixed", "name": "u", "size": 16, "logicalType": "uuid"}},
        {"name": "long", "type": {"type": "fixed", "name": "dur", "size": 12, "logicalType": "duration"}},
        {"name": "e", "type": {"type": "enum", "name": "e", "symbols": ["A", "B"]}},
        {"name": "a", "type": {"type": "array", "items": "int"}}]}]}]}"#;
    let spec = Avro {
        columns: Some(Arc::new(crate::schema::TableSchema::new(vec![json_text("f")]))),
        ..fixed(schema)
    };
    let mut reader = reader(&spec);
    let datum = [
        &[2, 1, 0][..],
        &long(-5),
        &1.25f32.to_le_bytes(),
        &1e300f64.to_le_bytes(),
        &f64::NAN.to_le_bytes(),
        &sized("\"\\\n\u{1}ä".as_bytes()),
        &sized(&[0xFF, 0]),
        &sized(&[0xFB, 0x2E]),
        &long(19_000),
        &long(1_500),
        &long(-1),
        &[0x11; 16],
        &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
        &[2],
        &[4, 2, 4, 0],
    ]
    .concat();
    push(&mut reader, &datum).expect("a datum");
    push(&mut reader, &[0]).expect("a null");
    let rows = rows(&mut reader);
    let expected = concat!(
        r#"{"b":true,"n":null,"l":-5,"x":1.25,"d":1e300,"nan":"NaN","t":"\"\\\n\u0001ä","y":"/wA=","m":-1.234,"#,
        r#""day":"2022-01-08","at":"1970-01-01T00:00:01.500Z","local":"1969-12-31T23:59:59.999999","#,
        r#""id":"11111111-1111-1111-1111-111111111111","long":{"months":1,"days":2,"milliseconds":3},"e":"B","a":[1,2]}"#,
    );
    assert_eq!(
        rows[0]["f"].as_str().map(|text| text.replace("1e+300", "1e300")).as_deref(),
        Some(expected)
    );
    assert_eq!(rows[1], json!({"f": null}));
    assert!(serde_json::from_str::<Json>(rows[0]["f"].as_str().expect("text")).is_ok());
}

#[test]
fn envelopes_give_the_row_before_and_after() {
    let value = r#"{"type": "record", "name": "Value", "fields": [{"name": "id", "type": "int"}, {"name": "name", "type": ["null", "string"]}]}"#;
    let schema = format!(
        r#"{{"type": "record", "name": "Envelope", "namespace": "s.t", "fields": [{{"name": "before", "type": ["null", {value}]}},
        {{"name": "after", "type": ["null", "Value"]}}, {{"name": "source", "type": {{"type": "record", "name": "S", "fields": [{{"name": "lsn", "type": "long"}}]}}}},
        {{"name": "op", "type": "string"}}, {{"name": "ts_ms", "type": ["null", "long"]}}]}}"#
    );
    let others = [Arc::new(Field::new("op", DataType::Utf8, true)), Arc::new(json_text("source"))];
    let row = [&long(7)[..], &[2], &sized(b"x")].concat();
    let datum = [&[0, 2][..], &row, &long(99), &sized(b"c"), &[2], &long(5)].concat();
    for (columns, expected) in [
        (
            None,
            "before STRUCT<id: INT, name: STRING>, after STRUCT<id: INT, name: STRING>, op STRING, source STRING",
        ),
        (
            Some("name STRING"),
            "before STRUCT<name: STRING>, after STRUCT<name: STRING>, op STRING, source STRING",
        ),
    ] {
        let mut spec = fixed(&schema);
        spec.columns = columns.map(|columns| Arc::new(ddl::parse(columns).expect("columns")));
        let known = Known::offline(&spec, Part::Change).expect("a schema");
        let mut reader = Reader::of_changes(&spec, &others, known).expect("an envelope");
        assert_eq!(definitions(&reader), expected);
        push(&mut reader, &datum).expect("an event");
        assert_eq!(reader.last_text(2), Some(&b"c"[..]));
        let rows = rows(&mut reader);
        assert_eq!(rows[0]["before"], json!(null));
        assert_eq!(rows[0]["after"]["name"], json!("x"));
        assert_eq!(rows[0]["source"], json!(r#"{"lsn":99}"#));
    }
    let spec = fixed(value);
    let error = Known::offline(&spec, Part::Change).expect_err("no envelope").to_string();
    assert!(error.contains("not Debezium's envelope"), "{error}");
    // Unknown fields of the row are rescued in the row, those of the envelope are nobody's.
    let spec = Avro { unknown_fields: UnknownFields::Rescue, ..declared(&schema, "id INT") };
    let known = Known::offline(&spec, Part::Change).expect("a schema");
    let mut reader = Reader::of_changes(&spec, &others, known).expect("an envelope");
    push(&mut reader, &datum).expect("an event");
    assert_eq!(rows(&mut reader)[0]["after"], json!({"id": 7, "rescued_data": r#"{"name":"x"}"#}));
}
