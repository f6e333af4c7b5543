//! Records that are no data of their schema: what each is told to be. (Schemas that are none: `mapping`.)

use super::*;

fn check(reader: &mut Reader, payload: &[u8], code: &str, reason: &str) {
    let (told, told_code) = refusal(reader, payload);
    assert_eq!((told_code, told.as_str()), (code, reason), "{payload:02x?}");
}

/// Of one field `f` of a type.
fn check_type(of: &str, payload: &[u8], code: &str, reason: &str) {
    let mut reader = reader(&fixed(&record(of)));
    check(&mut reader, payload, code, reason);
    assert_eq!(reader.finish()[0].len(), 0, "{of} {payload:02x?}");
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
        check_type(of, payload, "SL3006", &reason);
    }
}

#[test]
fn numbers_that_are_none() {
    let over_64 = "`f`, byte 0: a number of more than 64 bits";
    let over_32 = "`f`, byte 0: a number of more than 32 bits in an int";
    let symbol = "`f`, byte 0: the number of a symbol that the enum does not have";
    let branch = "`f`, byte 0: the number of a type that the union does not have";
    let ten_bytes = [&[0xFF; 9][..], &[0x02]].concat();
    for (of, payload, code, reason) in [
        (r#""long""#, &ten_bytes[..], "SL3056", over_64),
        (r#""long""#, &[0xFF; 11], "SL3056", over_64),
        (r#""int""#, &[0xFF; 10], "SL3056", over_64),
        (r#""int""#, &long(1 << 31), "SL3055", over_32),
        (r#""int""#, &long(-(1 << 31) - 1), "SL3055", over_32),
        (r#""boolean""#, &[2], "SL3057", "`f`, byte 0: 0x02 in a boolean"),
        (ENUM, &long(2), "SL3061", symbol),
        (ENUM, &long(-1), "SL3061", symbol),
        (r#"["null", "int"]"#, &long(2), "SL3060", branch),
        (r#"["null", "int"]"#, &long(-1), "SL3060", branch),
        (r#"["int", "null", "string"]"#, &long(i64::MAX), "SL3060", branch),
    ] {
        check_type(of, payload, code, reason);
    }
}

#[test]
fn lengths_that_are_none() {
    let negative = "`f`, byte 0: a negative length";
    let beyond = "`f`, byte 0: a length beyond the end of the value";
    for (of, payload, code, reason) in [
        (r#""string""#, &long(-1)[..], "SL3058", negative),
        (r#""bytes""#, &long(i64::MIN), "SL3058", negative),
        (r#""bytes""#, &[6, 1, 2], "SL3059", beyond),
        (r#""string""#, &long(i64::MAX), "SL3059", beyond),
        (MAP, &[2, 6, b'a'], "SL3059", "`f[0]`, byte 1: a length beyond the end of the value"),
        (DECIMAL, &[100, 1], "SL3059", beyond),
    ] {
        check_type(of, payload, code, reason);
    }
}

#[test]
fn blocks_that_are_none() {
    let count = "`f`, byte 0: a block of more items than the bytes that are left can hold";
    let size = |at: u8| format!("`f`, byte {at}: a block that is not as long as it says");
    let many = "`f`, byte 0: arrays and maps of more values than a record may hold";
    let doubles = r#"{"type": "array", "items": "double"}"#;
    let nested = r#"{"type": "array", "items": {"type": "array", "items": "boolean"}}"#;
    let records = r#"{"type": "array", "items": {"type": "record", "name": "s", "fields": [{"name": "x", "type": "boolean"}]}}"#;
    for (of, payload, code, reason) in [
        (ARRAY, &[8, 2, 2, 2][..], "SL3062", count),
        (ARRAY, &long(i64::MAX), "SL3062", count),
        (MAP, &[4, 0, 0, 0], "SL3062", count),
        (doubles, &[&[4][..], &[0; 15]].concat(), "SL3062", count),
        (ARRAY, &[&long(i64::MIN)[..], &[2, 0]].concat(), "SL3062", count),
        (ARRAY, &[3, 2, 2, 2, 0], "SL3062", count),
        (ARRAY, &[3, 6, 2, 4, 2, 6, 0], "SL3063", &size(4)),
        (ARRAY, &[1, 0x80, 0x01, 2], "SL3063", &size(1)),
        (ARRAY, &[1, 1, 2, 0], "SL3063", &size(1)),
        (NO_BYTES, &long(1 << 40), "SL3064", many),
        (NO_BYTES, &[&long(65_537)[..], &[0]].concat(), "SL3064", many),
        (nested, &[4, 2, 1, 0, 2, 3, 0, 0], "SL3057", "`f[1][0]`, byte 5: 0x03 in a boolean"),
        (records, &[4, 1, 7, 0], "SL3057", "`f[1].x`, byte 2: 0x07 in a boolean"),
    ] {
        check_type(of, payload, code, reason);
    }
}

#[test]
fn values_that_columns_do_not_take() {
    let text = "`f`, byte 0: text that is not UTF-8";
    let item = "`f[0]`, byte 1: text that is not UTF-8";
    let twins = "`f`, byte 0: a key of the map stands there twice";
    let years = "`f`, byte 0: outside the years 0001 to 9999";
    let digits =
        "`f`, byte 0: the number has more digits before the point than DECIMAL(4,2) can hold";
    for (of, payload, code, reason) in [
        (r#""string""#, &sized(&[b'a', 0xFF])[..], "SL3008", text),
        (r#""string""#, &sized(&[0xC3]), "SL3008", text),
        (STRINGS, &[&[2][..], &sized(&[0xED, 0xA0, 0x80])].concat(), "SL3008", item),
        (MAP, &[&[2][..], &sized(&[0xFF]), &[2, 0]].concat(), "SL3008", item),
        (MAP, &[4, 2, b'a', 2, 2, b'a', 4, 0], "SL3016", twins),
        (DATE, &long(2_932_897), "SL3031", years),
        // So many that their microseconds are more than 64 bits, and look like a date in the rest.
        (DATE, &long(641_728_512), "SL3031", years),
        (DATE, &long(i32::MIN.into()), "SL3031", years),
        (MILLIS, &long(253_402_300_800_000), "SL3031", years),
        (MILLIS, &long(i64::MAX), "SL3031", years),
        (DECIMAL, &sized(&10_000i16.to_be_bytes()), "SL3024", digits),
        (DECIMAL, &sized(&[1; 40]), "SL3024", digits),
        (DECIMAL, &sized(&[]), "SL3067", "`f`, byte 0: a decimal of no bytes"),
    ] {
        check_type(of, payload, code, reason);
    }
    let narrow = "`f`, byte 0: the number is outside the range of TINYINT";
    for (of, column, payload, code, reason) in [
        (r#""int""#, "f TINYINT", long(128), "SL3022", narrow),
        (r#""bytes""#, "f STRING", sized(&[0xFF]), "SL3008", text),
    ] {
        check(&mut reader(&declared(&record(of), column)), &payload, code, reason);
    }
}

#[test]
fn bytes_after_the_datum() {
    check_type(r#""int""#, &[2, 0], "SL3065", "byte 1: 1 byte after the end of the datum");
    check_type(ARRAY, &[0, 0, 0], "SL3065", "byte 1: 2 bytes after the end of the datum");
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
        check(&mut reader, payload, code, reason);
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
        check(&mut reader, payload, code, reason);
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
        check(&mut reader, payload, code, reason);
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
