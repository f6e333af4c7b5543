//! Columns that follow schemas as they come: what is merged, what is refused, and when the columns change.

use super::*;

/// Columns after following both, and whether the second changed anything.
fn merged(first: &str, second: &str) -> Result<(String, bool), String> {
    let (_, known) = with_registry(None, OnIncompatibleSchema::Fail, []);
    let columns = |text: &str| -> Result<Vec<Field>, String> {
        let row = Row::from(parse::parse(text, &[]).map_err(|error| error.to_string())?.of);
        let merged = known.follow(1, &row, "a schema")?;
        Ok(columns::columns(&merged.record).expect("followed"))
    };
    let before = columns(first)?;
    let after = columns(second)?;
    assert_eq!(columns(first)?, after, "what was followed already changes nothing");
    assert_eq!(columns(second)?, after, "what was followed already changes nothing");
    let text = ddl::format(&crate::schema::TableSchema::new(after.clone()));
    Ok((text, before != after))
}

fn check(first: &str, second: &str, expected: Result<(&str, bool), &str>) {
    let expected = expected.map(|(columns, new)| (columns.to_owned(), new));
    assert_eq!(merged(first, second), expected.map_err(str::to_owned), "{first} and {second}");
}

/// Of one field `f` in both.
fn merged_types(first: &str, second: &str) -> Result<String, String> {
    merged(&record(first), &record(second)).map(|(columns, _)| columns)
}

#[test]
fn types_merge_to_one_that_holds_both() {
    let date = r#"{"type": "int", "logicalType": "date"}"#;
    let millis = r#"{"type": "long", "logicalType": "timestamp-millis"}"#;
    let micros = r#"{"type": "long", "logicalType": "timestamp-micros"}"#;
    let local = r#"{"type": "long", "logicalType": "local-timestamp-millis"}"#;
    let decimal = |precision: u8, scale: u8| {
        format!(
            r#"{{"type": "bytes", "logicalType": "decimal", "precision": {precision}, "scale": {scale}}}"#
        )
    };
    let symbols =
        |symbols: &str| format!(r#"{{"type": "enum", "name": "e", "symbols": [{symbols}]}}"#);
    let fixed = |size: u8| format!(r#"{{"type": "fixed", "name": "x", "size": {size}}}"#);
    let array = |of: &str| format!(r#"{{"type": "array", "items": {of}}}"#);
    let map = |of: &str| format!(r#"{{"type": "map", "values": {of}}}"#);
    let (int, long, float, double) = (r#""int""#, r#""long""#, r#""float""#, r#""double""#);
    let (string, bytes) = (r#""string""#, r#""bytes""#);
    for (first, second, expected) in [
        (int, int, "INT"),
        (int, long, "BIGINT"),
        (long, int, "BIGINT"),
        (int, float, "DOUBLE"),
        (float, int, "DOUBLE"),
        (long, double, "DOUBLE"),
        (float, double, "DOUBLE"),
        (int, r#"["null", "int"]"#, "INT"),
        (r#"["null", "int"]"#, long, "BIGINT"),
        (r#""null""#, int, "INT"),
        (int, r#""null""#, "INT"),
        (string, bytes, "STRING"),
        (bytes, string, "BINARY"),
        (&symbols(r#""A""#), &symbols(r#""B", "C""#), "STRING"),
        (&symbols(r#""A""#), string, "STRING"),
        (string, r#"{"type": "string", "logicalType": "uuid"}"#, "STRING"),
        (date, int, "DATE"),
        (int, date, "INT"),
        (millis, micros, "TIMESTAMP"),
        (millis, long, "TIMESTAMP"),
        (long, millis, "BIGINT"),
        (&decimal(5, 2), &decimal(9, 2), "DECIMAL(9,2)"),
        (&fixed(2), &fixed(2), "BINARY"),
        (&array(int), &array(long), "ARRAY<BIGINT>"),
        (&map(int), &map(r#"["null", "int"]"#), "MAP<STRING, INT>"),
        (
            r#"["int", "string"]"#,
            r#"["string", "null", "boolean"]"#,
            "STRUCT<member0: INT, member1: STRING, member2: BOOLEAN>",
        ),
        (r#"["int", "string"]"#, string, "STRUCT<member0: INT, member1: STRING>"),
    ] {
        assert_eq!(
            merged_types(first, second),
            Ok(format!("f {expected}")),
            "{first} and {second}"
        );
    }
    for (first, second, expected) in [
        (int, string, "`f` is string, and the schemas before it have int"),
        (string, int, "`f` is int, and the schemas before it have string"),
        (long, bytes, "`f` is bytes, and the schemas before it have long"),
        (r#""boolean""#, int, "`f` is int, and the schemas before it have boolean"),
        (
            millis,
            local,
            "`f` is long (local-timestamp-millis), and the schemas before it have long (timestamp-millis)",
        ),
        (
            date,
            r#"{"type": "int", "logicalType": "time-millis"}"#,
            "`f` is int (time-millis), and the schemas before it have int (date)",
        ),
        (
            &decimal(9, 2),
            &decimal(9, 3),
            "`f` is bytes (decimal(9,3)), and the schemas before it have bytes (decimal(9,2))",
        ),
        (&fixed(2), &fixed(3), "`f` is fixed x, and the schemas before it have fixed x"),
        (&array(int), &map(int), "`f` is map of int, and the schemas before it have array of int"),
        (&array(int), &array(string), "`f.element` is string, and the schemas before it have int"),
        (
            string,
            r#"["string", "int"]"#,
            "`f` is union of string, int, and the schemas before it have string",
        ),
    ] {
        assert_eq!(merged_types(first, second), Err(expected.into()), "{first} and {second}");
    }
}

#[test]
fn records_merge_by_name_with_new_fields_behind() {
    let int = |name: &str| field(name, r#""int""#);
    let items = |fields: &str| {
        let record = format!(r#"{{"type": "record", "name": "s", "fields": [{fields}]}}"#);
        field("s", &format!(r#"{{"type": "array", "items": {record}}}"#))
    };
    let a_and_b = [int("a"), field("b", r#""string""#)].join(",");
    let c_and_a = [field("c", r#""long""#), int("a")].join(",");
    // A default stands in for a field that a writer has not.
    let with_default = [int("a"), r#"{"name": "b", "type": "int", "default": 7}"#.into()].join(",");
    let twins = "`ID` and `id` are the same name to Delta Lake, which ignores case";
    for (first, second, expected) in [
        (&a_and_b, &c_and_a, Ok(("a INT, b STRING, c BIGINT", true))),
        (&items(&int("x")), &items(&int("y")), Ok(("s ARRAY<STRUCT<x: INT, y: INT>>", true))),
        (&with_default, &int("a"), Ok(("a INT, b INT", false))),
        (&int("a"), &with_default, Ok(("a INT, b INT", true))),
        (&int("id"), &int("ID"), Err(twins)),
    ] {
        check(&record_of(first), &record_of(second), expected);
    }
    let none = "string, and the schemas before it are records";
    check(&record_of(&int("a")), r#""string""#, Err(none));
}

#[test]
fn a_renamed_field_is_found_by_its_alias() {
    let old = record_of(&field("old", r#""int""#));
    let new = record_of(r#"{"name": "new", "aliases": ["old"], "type": "long"}"#);
    // The column has the newer name, whichever of the two was met first.
    check(&new, &old, Ok(("new BIGINT", false)));
    check(&old, &new, Ok(("new BIGINT", true)));
    let (spec, known) =
        with_registry(None, OnIncompatibleSchema::Fail, [registered(1, &new), registered(2, &old)]);
    let mut reader = ready(&spec, &known, &[1]);
    push(&mut reader, &confluent(2, &[14])).expect("an old record");
    push(&mut reader, &confluent(1, &[16])).expect("a new record");
    assert_eq!(rows(&mut reader), [json!({"new": 7}), json!({"new": 8})]);
}

/// A reader of the columns after the schemas with these ids.
fn ready(spec: &Avro, known: &Known, ids: &[u32]) -> Reader {
    for id in ids {
        let mut reader = Reader::new(spec, known.clone()).expect("a reader");
        match reader.prepare(&confluent(*id, &[])) {
            Ok(()) | Err(DecodeError::SchemaChanged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    Reader::new(spec, known.clone()).expect("a reader")
}

#[test]
fn a_new_schema_changes_the_columns_of_the_next_reader() {
    let one = record_of(&field("a", r#""int""#));
    let two = record_of(&[field("a", r#""long""#), field("b", r#"["null", "string"]"#)].join(","));
    let three = record_of(
        r#"{"name": "a", "type": "int"}, {"name": "b", "type": "string", "default": "none"}"#,
    );
    let schemas = [registered(1, &one), registered(2, &two), registered(3, &three)];
    let (spec, known) = with_registry(None, OnIncompatibleSchema::Fail, schemas);
    let mut reader = Reader::new(&spec, known.clone()).expect("no columns yet");
    assert_eq!(definitions(&reader), "");
    let changed = |error: Result<(), DecodeError>| error.expect_err("other columns").to_string();
    assert_eq!(
        changed(reader.prepare(&confluent(1, &[]))),
        "schema id 1 changes the columns: `a` INT is new"
    );
    let mut reader = Reader::new(&spec, known.clone()).expect("columns");
    assert_eq!(definitions(&reader), "a INT");
    push(&mut reader, &confluent(1, &[14])).expect("a record");
    let news = changed(reader.prepare(&confluent(2, &[])));
    assert_eq!(news, "schema id 2 changes the columns: `a` INT becomes BIGINT, `b` STRING is new");
    // What was read stays readable; another reader over the same schemas has the columns.
    assert_eq!(rows(&mut reader), [json!({"a": 7})]);
    let mut reader = Reader::new(&spec, known.clone()).expect("columns");
    assert_eq!(definitions(&reader), "a BIGINT, b STRING");
    push(&mut reader, &confluent(2, &[&long(1 << 40)[..], &[0]].concat())).expect("a record");
    push(&mut reader, &confluent(1, &[14])).expect("an older record, between");
    push(&mut reader, &confluent(3, &[&long(3)[..], &sized(b"x")].concat())).expect("a third one");
    push(&mut reader, &confluent(1, &[16])).expect("again");
    // Before, no schema had a default for the field that this one lacks; now one has.
    let row = |a: i64, b: Json| json!({"a": a, "b": b});
    assert_eq!(
        rows(&mut reader),
        [row(1 << 40, json!(null)), row(7, json!(null)), row(3, json!("x")), row(8, json!("none"))]
    );
    assert_eq!(known.origin("a").as_deref(), Some("schema id 2"));
    assert_eq!(known.origin("b").as_deref(), Some("schema id 2"));
    assert_eq!(known.origin("c"), None);
}

#[test]
fn defaults_of_every_type_stand_in_for_fields_that_are_missing() {
    let fields = [
        ("n", r#"["null", "int"]"#, "null", json!(null)),
        ("one", r#"["int", "null"]"#, "7", json!(7)),
        ("flag", r#""boolean""#, "true", json!(true)),
        ("i", r#""int""#, "-3", json!(-3)),
        ("l", r#""long""#, "4000000000", json!(4_000_000_000i64)),
        ("x", r#""float""#, "0.5", json!(0.5)),
        ("d", r#""double""#, "1", json!(1.0)),
        ("t", r#""string""#, r#""ä""#, json!("ä")),
        ("y", r#""bytes""#, r#""\u00ff\u0000""#, json!("ff00")),
        ("fix", r#"{"type": "fixed", "name": "fx", "size": 2}"#, r#""ab""#, json!("6162")),
        ("e", r#"{"type": "enum", "name": "en", "symbols": ["A", "B"]}"#, r#""B""#, json!("B")),
        ("arr", r#"{"type": "array", "items": "int"}"#, "[1, 2]", json!([1, 2])),
        ("none", r#"{"type": "array", "items": "int"}"#, "[]", json!([])),
        ("map", r#"{"type": "map", "values": "string"}"#, r#"{"k": "v"}"#, json!({"k": "v"})),
        (
            "s",
            r#"{"type": "record", "name": "sub", "fields": [{"name": "p", "type": "int"}, {"name": "q", "type": "int", "default": 9}]}"#,
            r#"{"p": 8}"#,
            json!({"p": 8, "q": 9}),
        ),
        ("day", r#"{"type": "int", "logicalType": "date"}"#, "1", json!("1970-01-02")),
        (
            "at",
            r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
            "1",
            json!("1970-01-01T00:00:00.001000Z"),
        ),
        (
            "m",
            r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#,
            r#""\u0001\u0000""#,
            json!("2.56"),
        ),
    ];
    let rich: Vec<String> = fields
        .iter()
        .map(|(name, of, default, _)| {
            format!(r#"{{"name": "{name}", "type": {of}, "default": {default}}}"#)
        })
        .collect();
    let poor = field("id", r#""int""#);
    let rich = record_of(&format!("{poor}, {}", rich.join(", ")));
    let schemas = [registered(1, &rich), registered(2, &record_of(&poor))];
    let (spec, known) = with_registry(None, OnIncompatibleSchema::Fail, schemas);
    let mut reader = ready(&spec, &known, &[1]);
    push(&mut reader, &confluent(2, &[2])).expect("a record");
    let row = rows(&mut reader).remove(0);
    for (name, of, _, expected) in &fields {
        assert_eq!(row[*name], *expected, "{name} {of}");
    }
}

#[test]
fn types_of_a_union_keep_their_fields() {
    let one = record_of(&field(
        "f",
        r#"["int", {"type": "record", "name": "n.A", "fields": [{"name": "x", "type": "int"}]}, "string"]"#,
    ));
    let two = record_of(&field(
        "f",
        r#"["boolean", {"type": "record", "name": "m.B", "aliases": ["A"], "fields": [{"name": "x", "type": "int"}]}, "string", "null", "int"]"#,
    ));
    let (spec, known) =
        with_registry(None, OnIncompatibleSchema::Fail, [registered(1, &one), registered(2, &two)]);
    let mut reader = ready(&spec, &known, &[1, 2]);
    let expected = "f STRUCT<member0: INT, member1: STRUCT<x: INT>, member2: STRING, member3: BOOLEAN, \
                    member4: STRUCT<x: INT>>";
    assert_eq!(definitions(&reader), expected);
    push(&mut reader, &confluent(2, &[8, 14])).expect("an int");
    push(&mut reader, &confluent(1, &[2, 14])).expect("an A");
    push(&mut reader, &confluent(2, &[2, 14])).expect("a B");
    push(&mut reader, &confluent(2, &[0, 1])).expect("a boolean");
    let rows = rows(&mut reader);
    let set = |row: usize| {
        let members =
            rows[row]["f"].as_object().expect("a STRUCT").iter().filter(|(_, v)| !v.is_null());
        members.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(set(0), [("member0".to_owned(), json!(7))]);
    assert_eq!(set(1), [("member1".to_owned(), json!({"x": 7}))]);
    assert_eq!(set(2), [("member4".to_owned(), json!({"x": 7}))]);
    assert_eq!(set(3), [("member3".to_owned(), json!(true))]);
}

#[test]
fn an_enum_of_both_schemas_keeps_what_was_written() {
    let colours = |symbols: &str| {
        record_of(&field(
            "f",
            &format!(r#"{{"type": "enum", "name": "e", "symbols": [{symbols}], "default": "A"}}"#),
        ))
    };
    let schemas = [registered(1, &colours(r#""A", "B""#)), registered(2, &colours(r#""C", "A""#))];
    let (spec, known) = with_registry(None, OnIncompatibleSchema::Fail, schemas);
    let mut reader = ready(&spec, &known, &[1]);
    for (id, symbol) in [(1, 1), (2, 0), (2, 1)] {
        push(&mut reader, &confluent(id, &long(symbol))).expect("a record");
    }
    assert_eq!(rows(&mut reader), [json!({"f": "B"}), json!({"f": "C"}), json!({"f": "A"})]);
}

#[test]
fn what_can_not_be_followed_stops_or_goes_to_the_dead_letters() {
    let one = record_of(&field("a", r#""int""#));
    let other = record_of(&field("a", r#""string""#));
    let recursive = record_of(&field("a", r#"["null", "r"]"#));
    let of_kind = |id, kind, text| RegisteredSchema { kind, ..registered(id, text) };
    let schemas = || {
        [
            registered(1, &one),
            registered(2, &other),
            registered(3, &recursive),
            registered(4, "{"),
            of_kind(5, SchemaKind::Json, "{}"),
            of_kind(6, SchemaKind::Protobuf, ""),
        ]
    };
    let reasons = [
        (2, "`a` is string, and the schemas before it have int"),
        (
            3,
            "`r` contains itself (at `a`): a table has no type for that, so recursive schemas are refused",
        ),
        (
            4,
            "not a valid Avro schema: Failed to parse schema from JSON: EOF while parsing an object at line 1 column 1",
        ),
        (5, "a JSON Schema, and the format is Avro"),
        (6, "a Protobuf schema, and the format is Avro"),
    ];
    let (spec, known) = with_registry(None, OnIncompatibleSchema::Fail, schemas());
    let mut reader = ready(&spec, &known, &[1]);
    for (id, reason) in reasons {
        let error = reader.prepare(&confluent(id, &[2])).expect_err("refused");
        let expected = DecodeError::IncompatibleSchema {
            origin: format!("schema id {id}"),
            reason: reason.into(),
        };
        assert_eq!(error, expected);
        assert_eq!(error.code(), "SL3107");
        push(&mut reader, &confluent(1, &[14])).expect("a record that can be read");
    }
    let (spec, known) = with_registry(None, OnIncompatibleSchema::DeadLetter, schemas());
    let mut reader = ready(&spec, &known, &[1]);
    for (id, reason) in reasons {
        for _ in 0..2 {
            let expected = (format!("schema id {id}: {reason}"), "SL3054");
            assert_eq!(refusal(&mut reader, &confluent(id, &[2])), expected);
        }
        push(&mut reader, &confluent(1, &[14])).expect("a record that can be read");
    }
    assert_eq!(reader.rows(), 5);
}

#[test]
fn declared_columns_follow_nothing_and_name_what_does_not_fit() {
    let one = record_of(&field("a", r#""int""#));
    let other = record_of(&[field("a", r#""string""#), field("b", r#""int""#)].join(","));
    let more = record_of(&[field("a", r#"["null", "int"]"#), field("c", r#""int""#)].join(","));
    let schemas = || [registered(1, &one), registered(2, &other), registered(3, &more)];
    let (spec, known) =
        with_registry(Some("a BIGINT, b INT"), OnIncompatibleSchema::Fail, schemas());
    let mut reader = Reader::new(&spec, known).expect("columns");
    push(&mut reader, &confluent(3, &[2, 14, 0])).expect("a record");
    push(&mut reader, &confluent(1, &[14])).expect("a record");
    let error = reader.prepare(&confluent(2, &[0, 2])).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "schema id 2 can't be read into the columns: `a`: string can't be read as BIGINT; change the schema or the \
         columns, or set `decode.on_incompatible_schema` to `dead_letter`"
    );
    let row = json!({"a": 7, "b": null});
    assert_eq!(rows(&mut reader), [row.clone(), row]);
    let (spec, known) =
        with_registry(Some("a BIGINT"), OnIncompatibleSchema::DeadLetter, schemas());
    let mut reader = Reader::new(&spec, known).expect("columns");
    let expected = ("schema id 2: `a`: string can't be read as BIGINT".into(), "SL3054");
    assert_eq!(refusal(&mut reader, &confluent(2, &[0, 2])), expected);
}
