//! Columns as they come of schemas, and the schemas that have none.

use super::*;

fn check(of: &str, expected: &str) {
    let reader = reader(&fixed(&record(of)));
    assert_eq!(definitions(&reader), expected, "{of}");
}

fn refused(schema: &str, expected: &str) {
    let error = try_reader(&fixed(schema)).err().unwrap_or_else(|| panic!("{schema} is taken"));
    assert_eq!(error.to_string(), format!("`decode.value.avro_schema`: {expected}"), "{schema}");
    assert_eq!(error.code(), "SL3106");
}

#[test]
fn each_type_has_its_column() {
    for (of, expected) in [
        (r#""boolean""#, "f BOOLEAN"),
        (r#""int""#, "f INT"),
        (r#""long""#, "f BIGINT"),
        (r#""float""#, "f FLOAT"),
        (r#""double""#, "f DOUBLE"),
        (r#""bytes""#, "f BINARY"),
        (r#""string""#, "f STRING"),
        (r#"{"type": "enum", "name": "e", "symbols": ["A"]}"#, "f STRING"),
        (r#"{"type": "fixed", "name": "x", "size": 3}"#, "f BINARY"),
        (r#"{"type": "array", "items": "int"}"#, "f ARRAY<INT>"),
        (r#"{"type": "map", "values": "long"}"#, "f MAP<STRING, BIGINT>"),
        (
            r#"{"type": "record", "name": "s", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": ["null", "string"]}]}"#,
            "f STRUCT<a: INT, b: STRING>",
        ),
    ] {
        check(of, expected);
    }
}

#[test]
fn each_logical_type_has_its_column() {
    for (of, expected) in [
        (
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}"#,
            "DECIMAL(10,2)",
        ),
        (r#"{"type": "bytes", "logicalType": "decimal", "precision": 38}"#, "DECIMAL(38,0)"),
        (
            r#"{"type": "fixed", "name": "x", "size": 5, "logicalType": "decimal", "precision": 9, "scale": 9}"#,
            "DECIMAL(9,9)",
        ),
        (r#"{"type": "int", "logicalType": "date"}"#, "DATE"),
        (r#"{"type": "int", "logicalType": "time-millis"}"#, "INT"),
        (r#"{"type": "long", "logicalType": "time-micros"}"#, "BIGINT"),
        (r#"{"type": "long", "logicalType": "timestamp-millis"}"#, "TIMESTAMP"),
        (r#"{"type": "long", "logicalType": "timestamp-micros"}"#, "TIMESTAMP"),
        (r#"{"type": "long", "logicalType": "timestamp-nanos"}"#, "TIMESTAMP"),
        (r#"{"type": "long", "logicalType": "local-timestamp-millis"}"#, "TIMESTAMP_NTZ"),
        (r#"{"type": "long", "logicalType": "local-timestamp-micros"}"#, "TIMESTAMP_NTZ"),
        (r#"{"type": "long", "logicalType": "local-timestamp-nanos"}"#, "TIMESTAMP_NTZ"),
        (r#"{"type": "string", "logicalType": "uuid"}"#, "STRING"),
        (r#"{"type": "fixed", "name": "x", "size": 16, "logicalType": "uuid"}"#, "STRING"),
        (
            r#"{"type": "fixed", "name": "x", "size": 12, "logicalType": "duration"}"#,
            "STRUCT<months: BIGINT, days: BIGINT, milliseconds: BIGINT>",
        ),
    ] {
        check(of, &format!("f {expected}"));
    }
}

#[test]
fn a_logical_type_that_is_unknown_or_does_not_fit_is_the_type_beneath() {
    for (of, expected) in [
        (r#"{"type": "string", "logicalType": "colour"}"#, "STRING"),
        (r#"{"type": "bytes", "logicalType": "big-decimal"}"#, "BINARY"),
        (r#"{"type": "string", "logicalType": "date"}"#, "STRING"),
        (r#"{"type": "long", "logicalType": "date"}"#, "BIGINT"),
        (r#"{"type": "bytes", "logicalType": "decimal"}"#, "BINARY"),
        (r#"{"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}"#, "BINARY"),
        (r#"{"type": "bytes", "logicalType": "uuid"}"#, "BINARY"),
        (r#"{"type": "fixed", "name": "x", "size": 15, "logicalType": "uuid"}"#, "BINARY"),
        (r#"{"type": "fixed", "name": "x", "size": 11, "logicalType": "duration"}"#, "BINARY"),
    ] {
        check(of, &format!("f {expected}"));
    }
}

#[test]
fn unions_are_nullable_columns_or_structs_as_in_spark() {
    for (of, expected) in [
        (r#"["null", "int"]"#, "f INT"),
        (r#"["int", "null"]"#, "f INT"),
        (r#"["int"]"#, "f INT"),
        (r#"["int", "long"]"#, "f BIGINT"),
        (r#"["null", "double", "float"]"#, "f DOUBLE"),
        (r#"["int", "float"]"#, "f STRUCT<member0: INT, member1: FLOAT>"),
        (r#"["string", "null", "int"]"#, "f STRUCT<member0: STRING, member1: INT>"),
        (
            r#"["int", {"type": "array", "items": ["null", "string"]}, {"type": "map", "values": "int"}]"#,
            "f STRUCT<member0: INT, member1: ARRAY<STRING>, member2: MAP<STRING, INT>>",
        ),
        // A logical type is more than its number, so these two aren't one.
        (
            r#"["int", {"type": "long", "logicalType": "timestamp-millis"}]"#,
            "f STRUCT<member0: INT, member1: TIMESTAMP>",
        ),
    ] {
        check(of, expected);
    }
}

#[test]
fn a_schema_that_is_no_record_is_the_column_value() {
    for (schema, expected) in [
        (r#""string""#, "value STRING"),
        (r#"["null", "long"]"#, "value BIGINT"),
        (r#"{"type": "array", "items": "double"}"#, "value ARRAY<DOUBLE>"),
    ] {
        let reader = reader(&fixed(schema));
        assert_eq!(definitions(&reader), expected);
        assert!(!reader.is_record());
    }
    assert!(reader(&fixed(&record(r#""int""#))).is_record());
}

#[test]
fn a_field_that_only_holds_null_has_no_column() {
    let schema = r#"{"type": "record", "name": "r", "fields": [
        {"name": "a", "type": "int"}, {"name": "b", "type": "null"}, {"name": "c", "type": ["null"]},
        {"name": "d", "type": {"type": "record", "name": "s", "fields": [
            {"name": "x", "type": "null"}, {"name": "y", "type": "int"}]}}]}"#;
    let mut reader = reader(&fixed(schema));
    assert_eq!(definitions(&reader), "a INT, d STRUCT<y: INT>");
    push(&mut reader, &[2, 0, 4]).expect("a datum");
    assert_eq!(rows(&mut reader), [json!({"a": 1, "d": {"y": 2}})]);
}

#[test]
fn names_are_found_by_namespace_reference_and_alias() {
    let schema = r#"{"type": "record", "name": "shop.Order", "fields": [
        {"name": "a", "type": {"type": "fixed", "name": "Money", "aliases": ["Cash"], "size": 4, "logicalType": "decimal", "precision": 5, "scale": 1}},
        {"name": "b", "type": "shop.Money"}, {"name": "c", "type": ["null", "Money"]}, {"name": "d", "type": "Cash"},
        {"name": "e", "type": {"type": "enum", "name": "other.Colour", "symbols": ["RED"]}},
        {"name": "f", "type": {"type": "array", "items": "other.Colour"}}]}"#;
    let expected = "a DECIMAL(5,1), b DECIMAL(5,1), c DECIMAL(5,1), d DECIMAL(5,1), \
                    e STRING, f ARRAY<STRING>";
    assert_eq!(definitions(&reader(&fixed(schema))), expected);
}

#[test]
fn a_schema_may_use_types_of_others() {
    let country = r#"{"type": "enum", "name": "geo.Country", "symbols": ["DE", "FR"]}"#;
    let address = r#"{"type": "record", "name": "shop.Address", "fields": [
        {"name": "street", "type": "string"}, {"name": "country", "type": "geo.Country"}]}"#;
    let order = r#"{"type": "record", "name": "shop.Order", "fields": [
        {"name": "home", "type": "Address"}, {"name": "from", "type": "geo.Country"}]}"#;
    let reference = |name: &str, schema| Reference { name: name.into(), schema: Arc::new(schema) };
    let country = |id| registered(id, country);
    let address = RegisteredSchema {
        references: vec![reference("geo.Country", country(1))],
        ..registered(2, address)
    };
    let order = RegisteredSchema {
        references: vec![reference("geo.Country", country(1)), reference("shop.Address", address)],
        ..registered(3, order)
    };
    let (spec, known) = with_registry(
        Some("home STRUCT<country: STRING>, `from` STRING"),
        OnIncompatibleSchema::Fail,
        [order],
    );
    let mut reader = Reader::new(&spec, known).expect("declared columns");
    push(&mut reader, &confluent(3, &[sized(b"Main").as_slice(), &[2, 0]].concat()))
        .expect("a datum");
    assert_eq!(rows(&mut reader), [json!({"home": {"country": "FR"}, "from": "DE"})]);
}

#[test]
fn schemas_without_columns_are_refused_by_name() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"type": "record", "name": "r", "fields": [{{"name": "{a}", "type": "int"}}, {{"name": "{b}", "type": "int"}}]}}"#
        )
    };
    for (schema, expected) in [
        (two("id", "Id"), "`Id` and `id` are the same name to Delta Lake, which ignores case"),
        (
            two("a", "kafka_offset"),
            "`kafka_offset`: column `kafka_offset` is the name of a metadata column; rename it, or use the metadata column `offset`",
        ),
        (
            two("a", "_change_type"),
            "`_change_type`: column `_change_type` is a name that Spark and Delta use themselves; rename it",
        ),
        (
            record(r#"{"type": "bytes", "logicalType": "decimal", "precision": 39, "scale": 2}"#),
            "`f` is a decimal of 39 digits, and tables hold 38 at most; with declared columns, BINARY keeps its bytes",
        ),
        (
            record(r#"{"type": "array", "items": "null"}"#),
            "`f.element` is always null, of which a table can hold nothing",
        ),
        (
            record(r#"{"type": "map", "values": ["null"]}"#),
            "`f.value` is always null, of which a table can hold nothing",
        ),
        (
            record(r#"{"type": "record", "name": "s", "fields": []}"#),
            "`f` is a record without fields that hold anything, of which a table can hold nothing",
        ),
        (record("[]"), "`f` is a union of nothing, which no value has"),
        (
            record(
                r#"{"type": "record", "name": "s", "fields": [{"name": "x", "type": "int"}, {"name": "X", "type": "int"}]}"#,
            ),
            "`f.X` and `x` are the same name to Delta Lake, which ignores case",
        ),
    ] {
        refused(&schema, expected);
    }
}

#[test]
fn recursion_is_refused_with_the_type_and_the_place() {
    let schema = r#"{"type": "record", "name": "shop.Node", "fields": [{"name": "value", "type": "int"}, {"name": "next", "type": ["null", "Node"]}]}"#;
    refused(
        schema,
        "`shop.Node` contains itself (at `next`): a table has no type for that, so recursive schemas are refused",
    );
    let schema = r#"{"type": "record", "name": "a", "fields": [{"name": "b", "type": {"type": "record", "name": "b", "fields": [
        {"name": "as", "type": {"type": "map", "values": {"type": "array", "items": "a"}}}]}}]}"#;
    refused(
        schema,
        "`a` contains itself (at `b.as`): a table has no type for that, so recursive schemas are refused",
    );
    // The same type twice, side by side, is no recursion.
    let schema = r#"{"type": "record", "name": "r", "fields": [
        {"name": "a", "type": {"type": "record", "name": "s", "fields": [{"name": "x", "type": "int"}]}},
        {"name": "b", "type": ["null", "s"]}]}"#;
    let expected = "a STRUCT<x: INT>, b STRUCT<x: INT>";
    assert_eq!(definitions(&reader(&fixed(schema))), expected);
}

#[test]
fn schemas_that_grow_without_end_are_refused() {
    // Each record holds the next one twice: 2^30 columns.
    let doubling = (0..30).rev().fold(r#""int""#.to_owned(), |inner, level| {
        let next = if level == 29 { inner.clone() } else { format!(r#""r{}""#, level + 1) };
        format!(
            r#"{{"type": "record", "name": "r{level}", "fields": [{{"name": "a", "type": {inner}}}, {{"name": "b", "type": {next}}}]}}"#
        )
    });
    refused(&doubling, "more than 20000 types, those behind a name counted wherever it is used");
    let deep = (0..40).fold(r#""int""#.to_owned(), |inner, _| {
        format!(r#"{{"type": "array", "items": {inner}}}"#)
    });
    let error = try_reader(&fixed(&record(&deep))).err().expect("too deep").to_string();
    assert!(error.ends_with("is nested deeper than 32 levels"), "{error}");
    let deeper = (0..120).fold(r#""int""#.to_owned(), |inner, _| {
        format!(r#"{{"type": "array", "items": {inner}}}"#)
    });
    refused(&record(&deeper), "`f` is nested deeper than 64 levels");
}

#[test]
fn texts_that_are_no_schema_are_refused() {
    for (schema, expected) in [
        ("", "Failed to parse schema from JSON: EOF while parsing a value at line 1 column 0"),
        ("{", "Failed to parse schema from JSON: EOF while parsing an object at line 1 column 1"),
        ("7", "Must be a JSON string, object or array"),
        (r#""integer""#, "Unknown primitive type: integer"),
        (r#"{"type": "record", "name": "r"}"#, "No `fields` in record"),
        (r#"{"type": "record", "fields": []}"#, "No `name` field"),
        (
            r#"{"type": "fixed", "name": "x", "size": -1}"#,
            "Fixed schema `size` value must be a positive integer: -1",
        ),
        (r#"["int", "int"]"#, "Unions cannot contain duplicate types, found at least two Int"),
        (
            &record(r#"{"type": "enum", "name": "e", "symbols": ["A", "A"]}"#),
            "Duplicate enum symbol A",
        ),
    ] {
        refused(schema, &format!("not a valid Avro schema: {expected}"));
    }
    let twice = r#"{"type": "record", "name": "r", "fields": [
        {"name": "a", "type": {"type": "enum", "name": "e", "symbols": ["A"]}},
        {"name": "b", "type": {"type": "enum", "name": "e", "symbols": ["B"]}}]}"#;
    refused(twice, "the type `e` is defined twice");
}
