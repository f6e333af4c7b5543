//! Records that are no data of their schema: what each is told to be. (Schemas that are none: `mapping`.)

use super::*;

fn check(of: &str, payload: &[u8], code: &str, reason: &str) {
    let mut reader = reader(&fixed(&record(of)));
    assert_eq!(
        refusal(&mut reader, payload),
        (reason.to_owned(), code_of(code)),
        "{of} {payload:02x?}"
    );
    assert_eq!(reader.finish()[0].len(), 0);
}

/// The same text, for as long as the code's own.
fn code_of(code: &str) -> &'static str {
    Box::leak(code.to_owned().into_boxed_str())
}

const ENUM: &str = r#"{"type": "enum", "name": "e", "symbols": ["A", "B"]}"#;
const FIXED_4: &str = r#"{"type": "fixed", "name": "x", "size": 4}"#;
const ARRAY: &str = r#"{"type": "array", "items": "int"}"#;
const STRINGS: &str = r#"{"type": "array", "items": "string"}"#;
const MAP: &str = r#"{"type": "map", "values": "int"}"#;
const DATE: &str = r#"{"type": "int", "logicalType": "date"}"#;
const MILLIS: &str = r#"{"type": "long", "logicalType": "timestamp-millis"}"#;
const DECIMAL: &str = r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#;
const NO_BYTES: &str = r#"{"type": "array", "items": {"type": "fixed", "name": "x", "size": 0}}"#;

#[test]
fn data_that_are_cut_short() {
    for (of, payload) in [
        (r#""boolean""#, &[][..]),
        (r#""int""#, &[]),
        (r#""int""#, &[0x80]),
        (r#""long""#, &[0xFF, 0xFF]),
        (r#""float""#, &[0, 0, 0]),
        (r#""double""#, &[0; 7]),
        (FIXED_4, &[0; 3]),
        (r#""string""#, &[]),
        (ENUM, &[]),
        (r#"["null", "int"]"#, &[]),
        (r#"["null", "int"]"#, &[2]),
        (ARRAY, &[]),
        (ARRAY, &[2, 2]),
        (MAP, &[2, 2, b'a', 2]),
        (r#"{"type": "fixed", "name": "x", "size": 16, "logicalType": "uuid"}"#, &[0; 15]),
        (r#"{"type": "fixed", "name": "x", "size": 12, "logicalType": "duration"}"#, &[0; 11]),
    ] {
        let reason = format!("`f`, byte {}: the value ends too early", payload.len());
        check(of, payload, "SL3006", &reason);
    }
}

#[test]
fn numbers_that_are_none() {
    let long_one = [&[0xFF; 9][..], &[0x02]].concat();
    check(r#""long""#, &long_one, "SL3056", "`f`, byte 0: a number of more than 64 bits");
    check(r#""long""#, &[0xFF; 11], "SL3056", "`f`, byte 0: a number of more than 64 bits");
    check(r#""int""#, &[0xFF; 10], "SL3056", "`f`, byte 0: a number of more than 64 bits");
    check(
        r#""int""#,
        &long(1 << 31),
        "SL3055",
        "`f`, byte 0: a number of more than 32 bits in an int",
    );
    check(
        r#""int""#,
        &long(-(1 << 31) - 1),
        "SL3055",
        "`f`, byte 0: a number of more than 32 bits in an int",
    );
    check(r#""boolean""#, &[2], "SL3057", "`f`, byte 0: 0x02 in a boolean");
    check(
        ENUM,
        &long(2),
        "SL3061",
        "`f`, byte 0: the number of a symbol that the enum does not have",
    );
    check(
        ENUM,
        &long(-1),
        "SL3061",
        "`f`, byte 0: the number of a symbol that the enum does not have",
    );
    check(
        r#"["null", "int"]"#,
        &long(2),
        "SL3060",
        "`f`, byte 0: the number of a type that the union does not have",
    );
    check(
        r#"["null", "int"]"#,
        &long(-1),
        "SL3060",
        "`f`, byte 0: the number of a type that the union does not have",
    );
    check(
        r#"["int", "null", "string"]"#,
        &long(i64::MAX),
        "SL3060",
        "`f`, byte 0: the number of a type that the union does not have",
    );
}

#[test]
fn lengths_that_are_none() {
    check(r#""string""#, &long(-1), "SL3058", "`f`, byte 0: a negative length");
    check(r#""bytes""#, &long(i64::MIN), "SL3058", "`f`, byte 0: a negative length");
    check(r#""bytes""#, &[6, 1, 2], "SL3059", "`f`, byte 0: a length beyond the end of the value");
    check(
        r#""string""#,
        &long(i64::MAX),
        "SL3059",
        "`f`, byte 0: a length beyond the end of the value",
    );
    check(MAP, &[2, 6, b'a'], "SL3059", "`f[0]`, byte 1: a length beyond the end of the value");
    check(DECIMAL, &[100, 1], "SL3059", "`f`, byte 0: a length beyond the end of the value");
}

#[test]
fn blocks_that_are_none() {
    let count = "`f`, byte 0: a block of more items than the bytes that are left can hold";
    check(ARRAY, &[8, 2, 2, 2], "SL3062", count);
    check(ARRAY, &long(i64::MAX), "SL3062", count);
    check(MAP, &[4, 0, 0, 0], "SL3062", count);
    check(
        r#"{"type": "array", "items": "double"}"#,
        &[&[4][..], &[0; 15]].concat(),
        "SL3062",
        count,
    );
    check(ARRAY, &[&long(i64::MIN)[..], &[2, 0]].concat(), "SL3062", count);
    check(ARRAY, &[3, 2, 2, 2, 0], "SL3062", count);
    let size = "a block that is not as long as it says";
    check(ARRAY, &[3, 6, 2, 4, 2, 6, 0], "SL3063", &format!("`f`, byte 4: {size}"));
    check(ARRAY, &[1, 0x80, 0x01, 2], "SL3063", &format!("`f`, byte 1: {size}"));
    check(ARRAY, &[1, 1, 2, 0], "SL3063", &format!("`f`, byte 1: {size}"));
    let many = "`f`, byte 0: arrays and maps of more values than a record may hold";
    check(NO_BYTES, &long(1 << 40), "SL3064", many);
    check(NO_BYTES, &[&long(65_537)[..], &[0]].concat(), "SL3064", many);
    let nested = r#"{"type": "array", "items": {"type": "array", "items": "boolean"}}"#;
    check(nested, &[4, 2, 1, 0, 2, 3, 0, 0], "SL3057", "`f[1][0]`, byte 5: 0x03 in a boolean");
    let record = r#"{"type": "array", "items": {"type": "record", "name": "s", "fields": [{"name": "x", "type": "boolean"}]}}"#;
    check(record, &[4, 1, 7, 0], "SL3057", "`f[1].x`, byte 2: 0x07 in a boolean");
}

#[test]
fn values_that_columns_do_not_take() {
    check(r#""string""#, &sized(&[b'a', 0xFF]), "SL3008", "`f`, byte 0: text that is not UTF-8");
    check(r#""string""#, &sized(&[0xC3]), "SL3008", "`f`, byte 0: text that is not UTF-8");
    check(
        STRINGS,
        &[&[2][..], &sized(&[0xED, 0xA0, 0x80])].concat(),
        "SL3008",
        "`f[0]`, byte 1: text that is not UTF-8",
    );
    check(
        MAP,
        &[&[2][..], &sized(&[0xFF]), &[2, 0]].concat(),
        "SL3008",
        "`f[0]`, byte 1: text that is not UTF-8",
    );
    check(
        MAP,
        &[4, 2, b'a', 2, 2, b'a', 4, 0],
        "SL3016",
        "`f`, byte 0: a key of the map stands there twice",
    );
    check(DATE, &long(2_932_897), "SL3031", "`f`, byte 0: outside the years 0001 to 9999");
    // So many that their microseconds are more than 64 bits, and look like a date in the rest.
    check(DATE, &long(641_728_512), "SL3031", "`f`, byte 0: outside the years 0001 to 9999");
    check(DATE, &long(i32::MIN.into()), "SL3031", "`f`, byte 0: outside the years 0001 to 9999");
    check(
        MILLIS,
        &long(253_402_300_800_000),
        "SL3031",
        "`f`, byte 0: outside the years 0001 to 9999",
    );
    check(MILLIS, &long(i64::MAX), "SL3031", "`f`, byte 0: outside the years 0001 to 9999");
    let digits =
        "`f`, byte 0: the number has more digits before the point than DECIMAL(4,2) can hold";
    check(DECIMAL, &sized(&10_000i16.to_be_bytes()), "SL3024", digits);
    check(DECIMAL, &sized(&[1; 40]), "SL3024", digits);
    check(DECIMAL, &sized(&[]), "SL3067", "`f`, byte 0: a decimal of no bytes");
    let mut narrow = reader(&declared(&record(r#""int""#), "f TINYINT"));
    let reason = "`f`, byte 0: the number is outside the range of TINYINT".to_owned();
    assert_eq!(refusal(&mut narrow, &long(128)), (reason, "SL3022"));
    let mut text = reader(&declared(&record(r#""bytes""#), "f STRING"));
    let reason = "`f`, byte 0: text that is not UTF-8".to_owned();
    assert_eq!(refusal(&mut text, &sized(&[0xFF])), (reason, "SL3008"));
}

#[test]
fn bytes_after_the_datum() {
    check(r#""int""#, &[2, 0], "SL3065", "byte 1: 1 byte after the end of the datum");
    check(ARRAY, &[0, 0, 0], "SL3065", "byte 1: 2 bytes after the end of the datum");
}

#[test]
fn fields_that_are_left_out_must_be_data_too() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "x", "type": ["null", {"type": "map", "values": "string"}]}, {"name": "a", "type": "int"}]}"#;
    let mut reader = reader(&declared(schema, "a INT"));
    for (payload, code, reason) in [
        (&[4, 2][..], "SL3060", "`x`, byte 0: the number of a type that the union does not have"),
        (&[2, 4, 2, b'a', 2, b'b'], "SL3006", "`x`, byte 6: the value ends too early"),
        (&[2, 2, 2, 0xFF, 0, 0, 2], "SL3008", "`x`, byte 2: text that is not UTF-8"),
        (&[2], "SL3006", "`x`, byte 1: the value ends too early"),
        (&[0], "SL3006", "`a`, byte 1: the value ends too early"),
    ] {
        assert_eq!(refusal(&mut reader, payload), (reason.to_owned(), code_of(code)));
    }
    push(&mut reader, &[2, 0, 2]).expect("a datum");
}

#[test]
fn prefixes_that_are_none() {
    let (spec, known) = with_registry(
        Some("f INT"),
        OnIncompatibleSchema::Fail,
        [registered(1, &record(r#""int""#))],
    );
    let mut reader = Reader::new(&spec, known).expect("columns");
    for (payload, code, reason) in [
        (&[][..], "SL3001", "byte 0: the value is empty (a tombstone would be null)"),
        (
            b"{\"f\":1}",
            "SL3050",
            "byte 0: 0x7B where the schema registry's wire format has 0x00 (`framing: confluent`)",
        ),
        (&[0, 0, 0, 0], "SL3006", "byte 4: the value ends too early"),
        (&[0, 0, 0, 0, 7, 2], "SL3053", "schema id 7 is not in the registry"),
        (&[0, 0xFF, 0xFF, 0xFF, 0xFF, 2], "SL3053", "schema id 4294967295 is not in the registry"),
        (&[0, 0, 0, 0, 1], "SL3006", "`f`, byte 5: the value ends too early"),
    ] {
        assert_eq!(refusal(&mut reader, payload), (reason.to_owned(), code_of(code)));
        push(&mut reader, &[0, 0, 0, 0, 1, 2]).expect("a record that can be read");
    }
    let spec = Avro { framing: Framing::SingleObject, ..fixed(&record(r#""int""#)) };
    let mut reader = super::reader(&spec);
    let fingerprint = reader.known.fingerprint().expect("one").to_le_bytes();
    let other = [&MAGIC[..], &[7; 8], &[2]].concat();
    for (payload, code, reason) in [
        (&[][..], "SL3001", "byte 0: the value is empty (a tombstone would be null)"),
        (
            &[0, 0, 0, 0, 1, 2],
            "SL3051",
            "byte 0: the value does not begin with C3 01 and a fingerprint (`framing: single_object`)",
        ),
        (
            &[0xC3, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            "SL3051",
            "byte 0: the value does not begin with C3 01 and a fingerprint (`framing: single_object`)",
        ),
        (&[0xC3, 0x01, 0, 0], "SL3006", "byte 4: the value ends too early"),
        (&other, "SL3052", "byte 2: the fingerprint is that of another schema"),
    ] {
        assert_eq!(refusal(&mut reader, payload), (reason.to_owned(), code_of(code)));
    }
    push(&mut reader, &[&MAGIC[..], &fingerprint, &[2]].concat()).expect("a datum");
}

#[test]
fn the_reference_page_lists_each_code() {
    let codes = |text: &str| -> std::collections::BTreeSet<String> {
        text.match_indices("SL30").map(|(at, _)| text[at..at + 6].to_owned()).collect()
    };
    let page = codes(include_str!("../../../../docs/reference/avro.md"));
    for code in codes(include_str!("../flaws.rs")) {
        assert!(page.contains(&code), "{code}");
    }
}
