//! Formats other than plain JSON values: `string`, `bytes`, keys, the prefix of a schema registry, rescued fields,
//! tombstones that delete.

use super::*;
use crate::config::{ChangeColumn, Debezium, DecodeKey, Framing, RESCUE_COLUMN};
use arrow::array::StructArray;
use arrow::datatypes::DataType;

fn of(value: Payload) -> Decode {
    Decode { on_bad_record: OnBadRecord::DeadLetter, ..Decode::new(value) }
}

fn keyed(mut spec: Decode, column: &str, payload: Payload) -> Decode {
    spec.key = Some(DecodeKey { column: column.to_owned(), payload });
    spec
}

fn json_of(schema: &str) -> Payload {
    Payload::Json(Json::new(ddl::parse(schema).expect("a valid schema")))
}

/// A record's key and value.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Decodes pairs of key and value at the offsets 0, 1, …; `tombstones` as in `Decoder::new`.
fn records(
    spec: &Decode,
    tombstones: bool,
    records: &[Pair<'_>],
) -> (Chunk, SchemaRef, Vec<String>) {
    let metadata = BTreeSet::from([MetadataColumn::Offset]);
    let mut decoder =
        Decoder::new(spec, &Schemas::none(), &metadata, tombstones).expect("a valid spec");
    decoder.begin(partition(), 0, None);
    let mut refused = Vec::new();
    for (offset, (key, value)) in (0..).zip(records) {
        let message =
            Message { offset, timestamp_ms: None, key: *key, value: *value, headers: &[] };
        decoder.push(&message).expect("no policy `fail`");
        if let Some(bad) = decoder.take_first_bad() {
            refused.push(format!("{} {}", bad.code, bad.reason));
        }
    }
    let rows = decoder.rows();
    let chunk = decoder.finish(records.len() as i64);
    assert_eq!(chunk.rows.num_rows(), rows);
    assert_eq!(chunk.row_offsets.len(), rows);
    assert_eq!(chunk.fates.total(), chunk.range.len());
    (chunk, decoder.row_schema(), refused)
}

fn columns(schema: &SchemaRef) -> Vec<String> {
    let column = |field: &FieldRef| {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        format!("{} {}{null}", field.name(), ddl::format_type(field.data_type()))
    };
    schema.fields().iter().map(column).collect()
}

#[test]
fn strings_and_bytes_are_kept_as_they_are() {
    let values = [b"text, \xC3\xA4".as_slice(), b"", b"a\xFFb", b"{\"a\":1}"];
    let pairs = values.map(|value| (None, Some(value)));
    let (chunk, schema, refused) = records(&of(Payload::String), false, &pairs);
    assert_eq!(columns(&schema), ["value STRING", "kafka_offset BIGINT NOT NULL"]);
    let expected = StringArray::from(vec!["text, ä", "", "{\"a\":1}"]);
    assert_eq!(chunk.rows["value"].as_ref(), &expected);
    assert_eq!(chunk.row_offsets.values(), &[0, 1, 3]);
    assert_eq!(refused, ["SL3008 byte 1: text that is not UTF-8"]);

    let (chunk, schema, refused) = records(&of(Payload::Bytes), false, &pairs);
    assert_eq!(columns(&schema), ["value BINARY", "kafka_offset BIGINT NOT NULL"]);
    assert_eq!(chunk.rows["value"].as_ref(), &BinaryArray::from(values.to_vec()));
    assert_eq!(refused, [""; 0]);
}

#[test]
fn kafka_value_is_the_value_as_it_came() {
    let metadata = BTreeSet::from([MetadataColumn::Value, MetadataColumn::Key]);
    let mut decoder =
        Decoder::new(&spec("a INT"), &Schemas::none(), &metadata, false).expect("valid");
    decoder.begin(partition(), 0, None);
    decoder.push(&message(0, b" {\"b\" : 1}")).expect("good");
    decoder.push(&message(1, b"bad")).expect("a dead letter");
    decoder.push(&Message { key: Some(b"k"), ..message(2, b"{}") }).expect("good");
    let rows = decoder.finish(3).rows;
    let values: Vec<&[u8]> = vec![b" {\"b\" : 1}", b"{}"];
    assert_eq!(rows["kafka_value"].as_ref(), &BinaryArray::from(values));
    assert_eq!(rows["kafka_key"].as_ref(), &BinaryArray::from(vec![None, Some(&b"k"[..])]));
}

#[test]
fn keys_become_one_column_behind_those_of_the_value() {
    let pairs: [Pair<'_>; 5] = [
        (Some(b"k1"), Some(b"{\"a\":1}")),
        (None, Some(b"{\"a\":2}")),
        (Some(b"k\xFF"), Some(b"{\"a\":3}")),
        (Some(b""), Some(b"{\"a\":4}")),
        (Some(b"k5"), Some(b"{\"a\":\"x\"}")),
    ];
    let (chunk, schema, refused) =
        records(&keyed(spec("a INT"), "id", Payload::String), false, &pairs);
    assert_eq!(columns(&schema), ["a INT", "id STRING", "kafka_offset BIGINT NOT NULL"]);
    assert_eq!(chunk.rows["a"].as_ref(), &Int32Array::from(vec![1, 2, 4]));
    assert_eq!(chunk.rows["id"].as_ref(), &StringArray::from(vec![Some("k1"), None, Some("")]));
    assert_eq!(chunk.row_offsets.values(), &[0, 1, 3]);
    assert_eq!(
        refused,
        [
            "SL3008 key: byte 1: text that is not UTF-8",
            "SL3020 `a`, byte 5: a string, and the column is INT"
        ]
    );
    assert!(chunk.deletions.is_none());
    let letters = chunk.dead_letters.expect("two");
    assert_eq!(letters["kafka_key"].as_binary::<i32>().value(0), b"k\xFF");

    let (chunk, ..) = records(&keyed(spec("a INT"), "id", Payload::Bytes), false, &pairs);
    let keys: Vec<Option<&[u8]>> = vec![Some(b"k1"), None, Some(b"k\xFF"), Some(b"")];
    assert_eq!(chunk.rows["id"].as_ref(), &BinaryArray::from(keys));
}

#[test]
fn json_keys_become_a_struct() {
    let spec = keyed(of(Payload::Bytes), "key", json_of("id INT NOT NULL, part STRING"));
    let pairs: [Pair<'_>; 8] = [
        (Some(b"{\"id\":1,\"part\":\"x\",\"more\":0}"), Some(b"v")),
        (None, Some(b"v")),
        (Some(b"{\"part\":\"x\"}"), Some(b"v")),
        (Some(b"{\"id\":\"x\"}"), Some(b"v")),
        (Some(b""), Some(b"v")),
        (Some(b"7"), Some(b"v")),
        (Some(b"{\"id\":"), Some(b"v")),
        (Some(b"{\"id\":2}"), Some(b"v")),
    ];
    let (chunk, schema, refused) = records(&spec, false, &pairs);
    assert_eq!(
        columns(&schema)[1],
        "key STRUCT<id: INT NOT NULL, part: STRING>",
        "the key is nullable, though not its parts"
    );
    let keys: &StructArray = chunk.rows["key"].as_struct();
    assert!(keys.is_valid(0) && keys.is_null(1) && keys.is_valid(2));
    assert_eq!(keys.column(0).as_primitive::<Int32Type>().value(2), 2);
    assert_eq!(keys.column(1).as_ref(), &StringArray::from(vec![Some("x"), None, None]));
    assert_eq!(
        refused,
        [
            "SL3017 key: `id`, byte 11: the field is missing, and the column is NOT NULL",
            "SL3020 key: `id`, byte 6: a string, and the column is INT",
            "SL3001 key: byte 0: the key is empty (no key would be null)",
            "SL3002 key: byte 0: the key is a number, not an object",
            "SL3006 key: `id`, byte 6: the key ends too early",
        ]
    );
    assert_eq!(chunk.row_offsets.values(), &[0, 1, 7]);
}

#[test]
fn json_behind_a_schema_registrys_prefix_is_read() {
    let mut spec = spec("a INT");
    let value = b"\x00\x00\x00\x00\x07 {\"a\":1}";
    let (_, _, refused) = records(&spec, false, &[(None, Some(value))]);
    assert_eq!(refused.len(), 1, "plain JSON has no prefix");
    json(&mut spec).framing = Framing::Confluent;
    let pairs = [
        value.as_slice(),
        b"{\"a\":1}",
        b"",
        b"\x00\x00\x00\x07",
        b"\x00\x00\x00\x00\x07",
        b"\x00\x00\x00\x00\x07\x00\x00\x00\x00\x07{}",
        b"\x00\x00\x00\x00\x07{\"a\":\"\"}",
    ]
    .map(|value| (None, Some(value)));
    let (chunk, _, refused) = records(&spec, false, &pairs);
    assert_eq!(chunk.rows["a"].as_ref(), &Int32Array::from(vec![1]));
    assert_eq!(
        refused,
        [
            "SL3080 byte 0: the value does not begin with 0x00, the schema registry's wire format \
             (`framing: confluent`)",
            "SL3001 byte 0: the value is empty (a tombstone would be null)",
            "SL3006 byte 4: the value ends too early",
            "SL3001 byte 5: the value is empty (a tombstone would be null)",
            "SL3005 byte 5: 0x00 where a value should be",
            "SL3020 `a`, byte 10: a string, and the column is INT",
        ]
    );
}

#[test]
fn unknown_fields_are_rescued_as_they_were_written() {
    let mut spec = spec("a INT, s STRUCT<b: INT>");
    json(&mut spec).unknown_fields = UnknownFields::Rescue;
    let values = [
        r#"{"a":1}"#,
        r#"{ "x" : [1, {"y":null}] , "a":2,"A":1e400, "ö\"\u0061":"\ud83d\ude00 ä", "x":true}"#,
        r#"{"s":{"b":1,"c":2}}"#,
        r#"{"lost":1,"a":"bad"}"#,
        r#"{"x":[1,}"#,
        r#"{"x":"complete"} x"#,
        r#"{"":{}}"#,
    ];
    let pairs = values.map(|value| (None, Some(value.as_bytes())));
    let (chunk, schema, refused) = records(&spec, false, &pairs);
    assert_eq!(columns(&schema)[2], format!("{RESCUE_COLUMN} STRING"));
    let rescued = [
        None,
        Some(r#"{"x":[1, {"y":null}],"A":1e400,"ö\"\u0061":"\ud83d\ude00 ä","x":true}"#),
        None,
        Some(r#"{"":{}}"#),
    ];
    assert_eq!(chunk.rows[RESCUE_COLUMN].as_ref(), &StringArray::from(rescued.to_vec()));
    assert_eq!(
        refused,
        [
            "SL3020 `a`, byte 14: a string, and the column is INT",
            "SL3005 byte 8: 0x7D where a value should be",
            "SL3007 byte 17: 0x78 after the end of the object"
        ]
    );
    let column = spec_of_key(&spec);
    let (chunk, schema, _) = records(&column, false, &[(Some(b"{\"z\":1}"), Some(b"{}"))]);
    assert_eq!(
        columns(&schema)[3],
        "key STRUCT<a: INT, s: STRUCT<b: INT>, rescued_data: STRING>",
        "a key's unknown fields are kept in it"
    );
    let kept = chunk.rows["key"].as_struct().column(2).as_string::<i32>().value(0).to_owned();
    assert_eq!(kept, "{\"z\":1}");
}

/// With keys that are read like the values.
fn spec_of_key(spec: &Decode) -> Decode {
    keyed(spec.clone(), "key", spec.value.clone())
}

#[test]
fn tombstones_delete_where_outputs_upsert() {
    let spec = keyed(spec("a INT NOT NULL, t STRING"), "key", Payload::String);
    let pairs: [Pair<'_>; 6] = [
        (Some(b"x"), Some(b"{\"a\":1}")),
        (Some(b"x"), None),
        (None, None),
        (Some(b"\xFF"), None),
        (Some(b"y"), Some(b"{}")),
        (Some(b"y"), Some(b"{\"a\":2,\"t\":\"\"}")),
    ];
    let (chunk, schema, refused) = records(&spec, true, &pairs);
    assert_eq!(
        columns(&schema),
        ["a INT", "t STRING", "key STRING", "kafka_offset BIGINT NOT NULL"],
        "a tombstone has no values"
    );
    let expected = Fates { rows: 2, tombstones: 2, dead_letters: 2, ..Fates::default() };
    assert_eq!(chunk.fates, expected);
    assert_eq!(chunk.row_offsets.values(), &[0, 1, 5]);
    assert_eq!(chunk.rows["a"].as_ref(), &Int32Array::from(vec![Some(1), None, Some(2)]));
    assert_eq!(chunk.rows["t"].as_ref(), &StringArray::from(vec![None, None, Some("")]));
    assert_eq!(chunk.rows["key"].as_ref(), &StringArray::from(vec!["x", "x", "y"]));
    assert_eq!(chunk.rows["kafka_offset"].as_ref(), &Int64Array::from(vec![0, 1, 5]));
    let deletions = chunk.deletions.expect("one row deletes");
    let marks = BooleanArray::from(vec![false, true, false]);
    assert_eq!((&deletions.deletes, &deletions.tombstones), (&marks, &marks));
    assert_eq!(
        refused,
        [
            "SL3008 key: byte 0: text that is not UTF-8",
            "SL3017 `a`, byte 1: the field is missing, and the column is NOT NULL"
        ]
    );

    let (chunk, schema, refused) = records(&spec, false, &pairs);
    assert_eq!(columns(&schema)[0], "a INT NOT NULL");
    let expected = Fates { rows: 2, tombstones: 3, dead_letters: 1, ..Fates::default() };
    assert_eq!(chunk.fates, expected, "nothing is made of the keys of tombstones");
    assert_eq!(refused.len(), 1);
    assert!(chunk.deletions.is_none());

    let without = Decode { key: None, ..spec };
    let (chunk, schema, _) = records(&without, true, &pairs);
    assert_eq!(
        (chunk.fates.tombstones, chunk.rows.num_rows()),
        (3, 2),
        "no key, nothing to delete"
    );
    assert_eq!(columns(&schema)[0], "a INT NOT NULL");
    let (chunk, ..) = records(&without, true, &pairs[..1]);
    assert!(chunk.deletions.is_none());
}

#[test]
fn a_tombstones_key_fills_the_columns_that_it_shares_with_the_value() {
    let spec = keyed(
        spec("a INT, ID BIGINT NOT NULL, part STRING, other STRING"),
        "key",
        json_of("part STRING, id BIGINT, a BIGINT, x INT"),
    );
    let pairs: [Pair<'_>; 3] = [
        (Some(b"{\"id\":1,\"part\":\"p\"}"), Some(b"{\"a\":7,\"ID\":10,\"other\":\"o\"}")),
        (Some(b"{\"id\":2,\"part\":\"q\",\"a\":8}"), None),
        (Some(b"{}"), None),
    ];
    let (chunk, ..) = records(&spec, true, &pairs);
    let rows = &chunk.rows;
    assert_eq!(rows["ID"].as_ref(), &Int64Array::from(vec![Some(10), Some(2), None]));
    assert_eq!(rows["part"].as_ref(), &StringArray::from(vec![None, Some("q"), None]));
    assert_eq!(rows["a"].as_ref(), &Int32Array::from(vec![Some(7), None, None]), "another type");
    assert_eq!(rows["other"].as_ref(), &StringArray::from(vec![Some("o"), None, None]));
}

#[test]
fn columns_of_one_name_are_refused_by_both_names() {
    let refused = |spec: &Decode, metadata: &[MetadataColumn]| {
        let metadata = metadata.iter().copied().collect();
        let error = Decoder::new(spec, &Schemas::none(), &metadata, false).err().expect("refused");
        assert_eq!(error.code(), "SL3104");
        assert_eq!(error.disposition(), Disposition::Stop(Exit::Configuration));
        error.to_string()
    };
    let message = |first: &str, second: &str| {
        format!("two columns of one name: {first}, and {second}; rename one, or leave it out")
    };
    assert_eq!(
        refused(&keyed(spec("Key INT"), "key", Payload::Bytes), &[]),
        message("`Key`, a column of the value", "`key`, the key's column")
    );
    assert_eq!(
        refused(&keyed(of(Payload::String), "value", Payload::String), &[]),
        message("`value`, a column of the value", "`value`, the key's column")
    );
    assert_eq!(
        refused(
            &keyed(of(Payload::String), "KAFKA_offset", Payload::String),
            &[MetadataColumn::Offset]
        ),
        message("`KAFKA_offset`, the key's column", "`kafka_offset`, a metadata column")
    );
    let mut rescuing = spec("Rescued_Data INT");
    json(&mut rescuing).unknown_fields = UnknownFields::Rescue;
    assert_eq!(
        refused(&rescuing, &[]),
        message(
            "`Rescued_Data`, a column of the value",
            "`rescued_data`, the column of rescued fields"
        )
    );
    let columns = vec![ChangeColumn::Op];
    let stream = Decode { debezium: Some(Debezium { columns }), ..spec("change_OP INT") };
    assert_eq!(
        refused(&stream, &[]),
        message("`change_OP`, a column of the value", "`change_op`, a change column")
    );
}

#[test]
fn json_text_columns_take_any_value_as_it_was_written() {
    let text = Field::new("t", DataType::Utf8, true)
        .with_metadata([(payload::JSON_TEXT.to_owned(), String::new())].into());
    let schema = crate::schema::TableSchema::new(vec![text]);
    let spec = of(Payload::Json(Json::new(schema)));
    let values = [
        r#"{"t":{ "a" : [1.50, "\u0041"] } }"#,
        r#"{"t":"ä"}"#,
        r#"{"t":1e400}"#,
        r#"{"t":null}"#,
        "{}",
        r#"{"t":{"a":}}"#,
        "{\"t\":\"\u{1}\"}",
        r#"{"t": false }"#,
    ];
    let pairs = values.map(|value| (None, Some(value.as_bytes())));
    let (chunk, _, refused) = records(&spec, false, &pairs);
    let expected = vec![
        Some(r#"{ "a" : [1.50, "\u0041"] }"#),
        Some("\"ä\""),
        Some("1e400"),
        None,
        None,
        Some("false"),
    ];
    assert_eq!(chunk.rows["t"].as_ref(), &StringArray::from(expected));
    assert_eq!(refused.len(), 2, "{refused:?}");
}
