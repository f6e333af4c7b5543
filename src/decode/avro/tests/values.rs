//! Data of every type, read by the schema that it was written with.

use super::*;

/// What stands in the column after reading one datum of a type.
fn check(of: &str, datum: &[u8], expected: Json) {
    let mut reader = reader(&fixed(&record(of)));
    push(&mut reader, datum).unwrap_or_else(|reject| panic!("{of}: {reject}"));
    assert_eq!(rows(&mut reader), [json!({"f": expected})], "{of} {datum:02x?}");
}

#[test]
fn primitive_values() {
    for (of, datum, expected) in [
        (r#""boolean""#, vec![1], json!(true)),
        (r#""boolean""#, vec![0], json!(false)),
        (r#""double""#, f64::NAN.to_le_bytes().to_vec(), json!("NaN")),
        (r#""float""#, f32::NEG_INFINITY.to_le_bytes().to_vec(), json!("-inf")),
        (r#""bytes""#, sized(&[0, 0xFF]), json!("00ff")),
        (r#"{"type": "fixed", "name": "x", "size": 3}"#, vec![1, 2, 3], json!("010203")),
        (r#"{"type": "fixed", "name": "x", "size": 0}"#, vec![], json!("")),
        (r#"{"type": "enum", "name": "e", "symbols": ["RED", "GREEN"]}"#, long(1), json!("GREEN")),
    ] {
        check(of, &datum, expected);
    }
    for value in [0, -1, 63, -64, 64, 1_000_000, i32::MAX, i32::MIN] {
        check(r#""int""#, &long(value.into()), json!(value));
    }
    for value in [0, -1, 1 << 40, i64::MAX, i64::MIN] {
        check(r#""long""#, &long(value), json!(value));
    }
    for value in [0.0f32, -1.5, 1e-45, f32::MAX] {
        check(r#""float""#, &value.to_le_bytes(), json!(f64::from(value)));
    }
    for value in [0.1, -0.0, f64::MIN_POSITIVE, f64::MAX] {
        check(r#""double""#, &f64::to_le_bytes(value), json!(value));
    }
    for text in ["", "a", "zwölf Boxkämpfer", "\u{1F600}\0"] {
        check(r#""string""#, &sized(text.as_bytes()), json!(text));
    }
}

#[test]
fn arrays_and_maps_come_in_blocks() {
    let ints = r#"{"type": "array", "items": "int"}"#;
    let map = r#"{"type": "map", "values": ["null", "long"]}"#;
    let nested = r#"{"type": "array", "items": {"type": "array", "items": ["null", "string"]}}"#;
    for (of, datum, expected) in [
        (ints, &[0][..], json!([])),
        (ints, &[4, 2, 4, 0], json!([1, 2])),
        // Two blocks.
        (ints, &[2, 2, 4, 4, 6, 0], json!([1, 2, 3])),
        // The first with its bytes.
        (ints, &[3, 4, 2, 4, 2, 6, 0], json!([1, 2, 3])),
        (map, &[0], json!({})),
        (map, &[4, 2, b'a', 2, 2, 2, b'b', 0, 0], json!({"a": 1, "b": null})),
        (map, &[1, 8, 2, b'a', 2, 2, 0], json!({"a": 1})),
        (nested, &[6, 0, 4, 0, 2, 2, b'x', 0, 0, 0], json!([[], [null, "x"], []])),
    ] {
        check(of, datum, expected);
    }
}

#[test]
fn unions_are_the_value_or_a_field_for_each_type() {
    let three = r#"["string", "null", "int", {"type": "array", "items": "int"}]"#;
    let members = |a: Json, b: Json, c: Json| json!({"member0": a, "member1": b, "member2": c});
    for (of, datum, expected) in [
        (r#"["null", "int"]"#, &[0][..], json!(null)),
        (r#"["null", "int"]"#, &[2, 14], json!(7)),
        (r#"["int", "null"]"#, &[0, 14], json!(7)),
        (r#"["int", "null"]"#, &[2], json!(null)),
        (r#"["int"]"#, &[0, 14], json!(7)),
        (r#"["int", "long"]"#, &[2, 14], json!(7)),
        (r#"["float", "double"]"#, &[0, 0, 0, 0xC0, 0x3F], json!(1.5)),
        (three, &[0, 2, b'x'], members(json!("x"), json!(null), json!(null))),
        (three, &[2], json!(null)),
        (three, &[4, 14], members(json!(null), json!(7), json!(null))),
        (three, &[6, 2, 2, 0], members(json!(null), json!(null), json!([1]))),
    ] {
        check(of, datum, expected);
    }
}

#[test]
fn decimals_keep_every_digit() {
    let bytes = r#"{"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 4}"#;
    for (unscaled, expected) in [
        (vec![0], "0.0000"),
        (vec![1], "0.0001"),
        (vec![0xFF], "-0.0001"),
        (vec![0x01, 0x00, 0x00], "6.5536"),
        (vec![0xFF; 20], "-0.0001"),
        ((10i128.pow(38) - 1).to_be_bytes().to_vec(), "9999999999999999999999999999999999.9999"),
        ((1 - 10i128.pow(38)).to_be_bytes().to_vec(), "-9999999999999999999999999999999999.9999"),
    ] {
        check(bytes, &sized(&unscaled), json!(expected));
    }
    let fixed = r#"{"type": "fixed", "name": "x", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2}"#;
    check(fixed, &9999i16.to_be_bytes(), json!("99.99"));
    check(fixed, &(-1i16).to_be_bytes(), json!("-0.01"));
}

#[test]
fn dates_and_times() {
    for (of, meaning, value, expected) in [
        ("int", "date", 0, json!("1970-01-01")),
        ("int", "date", -1, json!("1969-12-31")),
        ("int", "date", -719_162, json!("0001-01-01")),
        ("int", "date", 2_932_896, json!("9999-12-31")),
        ("long", "timestamp-millis", 1, json!("1970-01-01T00:00:00.001000Z")),
        ("long", "timestamp-millis", -1, json!("1969-12-31T23:59:59.999000Z")),
        ("long", "timestamp-micros", -1, json!("1969-12-31T23:59:59.999999Z")),
        ("long", "timestamp-nanos", 1_999, json!("1970-01-01T00:00:00.000001Z")),
        ("long", "timestamp-nanos", -1, json!("1969-12-31T23:59:59.999999Z")),
        ("long", "timestamp-nanos", -1000, json!("1969-12-31T23:59:59.999999Z")),
        ("long", "timestamp-nanos", -1001, json!("1969-12-31T23:59:59.999998Z")),
        ("long", "local-timestamp-millis", 1, json!("1970-01-01T00:00:00.001000")),
        ("long", "local-timestamp-micros", 1, json!("1970-01-01T00:00:00.000001")),
        ("long", "local-timestamp-nanos", -1, json!("1969-12-31T23:59:59.999999")),
        ("long", "timestamp-millis", 253_402_300_799_999, json!("9999-12-31T23:59:59.999000Z")),
        ("long", "timestamp-millis", -62_135_596_800_000, json!("0001-01-01T00:00:00.000000Z")),
        ("int", "time-millis", 86_399_999, json!(86_399_999)),
        ("long", "time-micros", 86_399_999_999, json!(86_399_999_999i64)),
    ] {
        let of = format!(r#"{{"type": "{of}", "logicalType": "{meaning}"}}"#);
        check(&of, &long(value), expected);
    }
}

#[test]
fn uuids_and_durations() {
    let text = "123e4567-e89b-12d3-a456-426614174000";
    let bytes = uuid::Uuid::parse_str(text).expect("a UUID").into_bytes();
    for (of, datum, expected) in [
        (r#"{"type": "string", "logicalType": "uuid"}"#, sized(text.as_bytes()), json!(text)),
        (
            r#"{"type": "fixed", "name": "x", "size": 16, "logicalType": "uuid"}"#,
            bytes.to_vec(),
            json!(text),
        ),
        (
            r#"{"type": "fixed", "name": "x", "size": 12, "logicalType": "duration"}"#,
            vec![1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255],
            json!({"months": 1, "days": 2, "milliseconds": 4_294_967_295u32}),
        ),
    ] {
        check(of, &datum, expected);
    }
}

#[test]
fn data_of_a_schema_that_is_no_record() {
    let mut text = reader(&fixed(r#"["null", "string"]"#));
    push(&mut text, &[&[2][..], &sized(b"x")].concat()).expect("a datum");
    push(&mut text, &[0]).expect("a datum");
    assert_eq!(rows(&mut text), [json!({"value": "x"}), json!({"value": null})]);
}

#[test]
fn a_bad_row_in_the_middle_leaves_the_others_as_they_were() {
    let schema = r#"{"type": "record", "name": "r", "fields": [
        {"name": "a", "type": ["null", "string"]},
        {"name": "b", "type": {"type": "array", "items": {"type": "map", "values": ["int", "string"]}}},
        {"name": "c", "type": {"type": "record", "name": "s", "fields": [{"name": "x", "type": "boolean"}, {"name": "y", "type": "string"}]}}]}"#;
    let datum = |flag: u8| {
        let map =
            [&[4][..], &sized(b"k"), &[0, 6], &sized(b"l"), &[2], &sized(b"text"), &[0]].concat();
        [&[2][..], &sized(b"a"), &[4], &map, &map, &[0, flag], &sized(b"y")].concat()
    };
    let mut reader = reader(&fixed(schema));
    for cut in 0..datum(0).len() {
        push(&mut reader, &datum(0)[..cut]).expect_err("cut short");
        push(&mut reader, &datum(2)).expect_err("no boolean");
        push(&mut reader, &datum(1)).expect("a datum");
        push(&mut reader, &[&datum(1)[..], &[0]].concat()).expect_err("a byte more");
    }
    let entry =
        json!({"k": {"member0": 3, "member1": null}, "l": {"member0": null, "member1": "text"}});
    let row = json!({"a": "a", "b": [entry, entry], "c": {"x": true, "y": "y"}});
    assert_eq!(rows(&mut reader), vec![row; datum(0).len()]);
    assert_eq!(rows(&mut reader), Vec::<Json>::new());
}

#[test]
fn rows_can_be_taken_back_and_left_null() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "op", "type": "string"}, {"name": "n", "type": ["null", "long"]}]}"#;
    let mut reader = reader(&fixed(schema));
    push(&mut reader, &[&sized(b"c")[..], &[2, 14]].concat()).expect("a datum");
    assert_eq!((reader.last_text(0), reader.last_long(1)), (Some(&b"c"[..]), Some(7)));
    push(&mut reader, &[&sized(b"d")[..], &[0]].concat()).expect("a datum");
    assert!(reader.last_is_null(1) && !reader.last_is_null(0));
    assert_eq!(reader.last_long(1), None);
    reader.undo_last();
    assert_eq!(reader.rows(), 1);
    reader.push_null();
    assert!(reader.last_is_null(0));
    assert_eq!(rows(&mut reader), [json!({"op": "c", "n": 7}), json!({"op": null, "n": null})]);
}

#[test]
fn single_objects_carry_the_schemas_fingerprint() {
    // Of the specification's own example: the fingerprint of "int".
    let spec = Avro {
        framing: Framing::SingleObject,
        ..fixed(r#"{"type": "int", "doc": "canonical form drops this"}"#)
    };
    let mut reader = reader(&spec);
    let fingerprint = 0x7275_d51a_3f39_5c8f_u64.to_le_bytes();
    push(&mut reader, &[&MAGIC[..], &fingerprint, &[14]].concat()).expect("a datum");
    assert_eq!(rows(&mut reader), [json!({"value": 7})]);
}

#[test]
fn a_chunk_is_full_when_schemas_make_much_of_little() {
    let symbol = "S".repeat(800);
    let schema = record(&format!(
        r#"{{"type": "array", "items": {{"type": "enum", "name": "e", "symbols": ["{symbol}"]}}}}"#
    ));
    let mut reader = reader(&fixed(&schema));
    let datum = [long(10_000), vec![0; 10_000], vec![0]].concat();
    let mut data = 0;
    while !reader.is_full() {
        push(&mut reader, &datum).expect("a datum");
        data += 1;
    }
    assert_eq!(data, 9, "8 MB each");
    let (reason, code) = refusal(&mut reader, &[long(200_000), vec![0; 200_001]].concat());
    assert_eq!(code, "SL3064", "{reason}");
    reader.finish();
    assert!(!reader.is_full());
}
