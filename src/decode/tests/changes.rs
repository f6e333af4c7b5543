//! Debezium's change events: a recording checked by hand, and what is no change.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value as JsonValue;

use super::*;
use crate::config::{ChangeColumn, Debezium, DecodeKey, RESCUE_COLUMN};

fn stream(schema: &str, columns: &[ChangeColumn]) -> Decode {
    Decode { debezium: Some(Debezium { columns: columns.to_vec() }), ..spec(schema) }
}

/// The rows of values at the offsets 0, 1, …, and the reasons of those refused.
fn events(spec: &Decode, values: &[&str]) -> (Chunk, Vec<String>) {
    let mut decoder = decoder(spec);
    let mut refused = Vec::new();
    for (offset, value) in (0..).zip(values) {
        decoder.push(&message(offset, value.as_bytes())).expect("no policy `fail`");
        if let Some(bad) = decoder.take_first_bad() {
            refused.push(format!("{} {}", bad.code, bad.reason));
        }
    }
    (decoder.finish(values.len() as i64), refused)
}

fn names(rows: &RecordBatch) -> Vec<String> {
    rows.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[test]
fn a_row_is_what_is_after_a_change_or_before_a_deletion() {
    use ChangeColumn::{Op, Source, Timestamp};
    let spec = stream("id INT NOT NULL, t STRING NOT NULL, l ARRAY<INT>", &[Source, Op, Timestamp]);
    let values = [
        r#"{"before":null,"after":{"id":1,"t":"a","l":[1,2]},"source":{"lsn": 7},"op":"c","ts_ms":1500}"#,
        r#"{"op":"u","after":{"id":1,"t":"b"},"before":{"id":1,"t":"a","l":[1]},"more":{"x":[]}}"#,
        r#"{"before":{"id":1},"after":null,"source":null,"op":"d","ts_ms":null}"#,
        r#"{"after":{"id":2,"t":"r"},"op":"r","ts_ms":-1,"source":"x"}"#,
    ];
    let (chunk, refused) = events(&spec, &values);
    assert_eq!(refused, [""; 0]);
    let rows = &chunk.rows;
    assert_eq!(names(rows), ["id", "t", "l", "change_source", "change_op", "change_timestamp"]);
    let nullable: Vec<bool> = rows.schema().fields().iter().map(|f| f.is_nullable()).collect();
    assert_eq!(nullable, [true, true, true, true, false, true], "a deletion may hold only the key");
    assert_eq!(rows["id"].as_ref(), &Int32Array::from(vec![1, 1, 1, 2]));
    let texts = StringArray::from(vec![Some("a"), Some("b"), None, Some("r")]);
    assert_eq!(rows["t"].as_ref(), &texts);
    let lists = rows["l"].as_list::<i32>();
    assert_eq!((lists.value(0).len(), lists.null_count()), (2, 3));
    assert_eq!(rows["change_op"].as_ref(), &StringArray::from(vec!["c", "u", "d", "r"]));
    let times = vec![Some(1_500_000), None, None, Some(-1000)];
    let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    assert_eq!(rows["change_timestamp"].as_ref(), &times);
    let sources = StringArray::from(vec![Some(r#"{"lsn": 7}"#), None, None, Some("\"x\"")]);
    assert_eq!(rows["change_source"].as_ref(), &sources);
    let deletions = chunk.deletions.expect("one row deletes");
    assert_eq!(deletions.deletes, BooleanArray::from(vec![false, false, true, false]));
    assert_eq!(deletions.tombstones, BooleanArray::from(vec![false; 4]));

    let (chunk, _) = events(&spec, &values[..2]);
    assert!(chunk.deletions.is_none(), "none deletes");
    assert_eq!(chunk.rows["t"].as_ref(), &StringArray::from(vec!["a", "b"]));
}

#[test]
fn what_is_no_change_of_a_row_is_refused() {
    let spec = stream("id INT NOT NULL, t STRING", &[ChangeColumn::Timestamp]);
    let good = r#"{"after":{"id":1},"op":"c"}"#;
    let unwrapped = "SL3082 no `op`: not Debezium's envelope (if Debezium unwraps its events, they are plain JSON or Avro)";
    let cases = [
        ("{\"id\":1}", unwrapped),
        (r#"{"after":{"id":1},"op":null}"#, unwrapped),
        (r#"{"after":{"id":1},"op":"x"}"#, "SL3083 `op` is none of `c`, `u`, `d` and `r`"),
        (r#"{"after":{"id":1},"op":"cc"}"#, "SL3083 `op` is none of `c`, `u`, `d` and `r`"),
        (
            r#"{"op":"t"}"#,
            "SL3084 the table was truncated (`op` is `t`), which is no change of a row",
        ),
        (
            r#"{"op":"m","message":{}}"#,
            "SL3084 a message in the database's log (`op` is `m`), which is no change of a row",
        ),
        (r#"{"before":{"id":1},"op":"c"}"#, "SL3085 no `after`, and `op` says that there is a row"),
        (r#"{"after":null,"op":"u"}"#, "SL3085 no `after`, and `op` says that there is a row"),
        (
            r#"{"before":null,"op":"d"}"#,
            "SL3086 no `before`, which names the row that `op` deletes",
        ),
        (
            r#"{"after":{"id":1},"op":"r","ts_ms":9223372036854775807}"#,
            "SL3031 `ts_ms`, outside the years 0001 to 9999",
        ),
        (
            r#"{"after":{"t":"x"},"op":"c"}"#,
            "SL3017 `after.id`, byte 17: the field is missing, and the column is NOT NULL",
        ),
        (
            r#"{"before":{"id":"x"},"op":"d"}"#,
            "SL3020 `before.id`, byte 16: a string, and the column is INT",
        ),
        (
            r#"{"after":"{\"_id\":1}","op":"c"}"#,
            "SL3020 `after`, byte 9: a string, and the column is STRUCT<id: INT NOT NULL, t: STRING>",
        ),
        ("[]", "SL3002 byte 0: the value is an array, not an object"),
        (r#"{"schema":{}}"#, "SL3081 byte 12: an object with `schema`, and no `payload`"),
        (
            r#"{"schema":null,"payload":null}"#,
            "SL3002 `payload`, byte 25: the value is null, not an object",
        ),
        (
            r#"{"payload":{"after":{"id":""},"op":"c"}}"#,
            "SL3020 `payload.after.id`, byte 26: a string, and the column is INT",
        ),
        (
            r#"{"payload":{"after":{"id":1},"op":"c"},"payload":{}}"#,
            "SL3015 `payload`, byte 39: the field stands there twice",
        ),
        (r#"{"payload":"#, "SL3006 byte 11: the value ends too early"),
        (r#"{"schema":1 2}"#, "SL3005 byte 12: 0x32 where a comma or `}` should be"),
        (r#"{"schema":1,2}"#, "SL3005 byte 12: 0x32 where a field name in quotes should be"),
        (
            r#"{"payload":{"after":{"id":1},"op":"c"}}x"#,
            "SL3007 byte 39: 0x78 after the end of the object",
        ),
    ];
    let values: Vec<&str> = cases.iter().flat_map(|(value, _)| [*value, good]).collect();
    let (chunk, refused) = events(&spec, &values);
    for (reason, (value, expected)) in refused.iter().zip(cases) {
        assert_eq!(reason, expected, "{value}");
    }
    assert_eq!(refused.len(), cases.len());
    assert_eq!(chunk.rows.num_rows(), cases.len(), "a bad event costs itself");
    assert_eq!(chunk.rows["id"].as_ref(), &Int32Array::from(vec![1; cases.len()]));
}

#[test]
fn deletions_are_those_of_their_chunk() {
    let spec = stream("id INT", &[]);
    let mut decoder = decoder(&spec);
    let push = |decoder: &mut Decoder, offset: i64, value: &str| {
        decoder.push(&message(offset, value.as_bytes())).expect("good");
        decoder.finish(offset + 1).deletions.map(|deletions| deletions.deletes)
    };
    let deletion = r#"{"before":{"id":1},"op":"d"}"#;
    let marked = Some(BooleanArray::from(vec![true]));
    assert_eq!(push(&mut decoder, 0, deletion), marked);
    assert_eq!(push(&mut decoder, 1, r#"{"after":{"id":1},"op":"c"}"#), None);
    assert_eq!(push(&mut decoder, 2, deletion), marked);
}

#[test]
fn keys_inside_their_schema_are_taken_out_of_it() {
    let with_key = |schema: &str| {
        let payload = Payload::Json(Json::new(ddl::parse(schema).expect("a valid schema")));
        let key = Some(DecodeKey { column: "key".into(), payload });
        Decode { key, ..stream("id INT", &[]) }
    };
    let key_of = |spec: &Decode, key: &str| {
        let mut decoder = decoder(spec);
        let value = br#"{"after":{"id":1},"op":"c"}"#;
        let record = Message { key: Some(key.as_bytes()), ..message(0, value) };
        decoder.push(&record).expect("no policy `fail`");
        assert_eq!(decoder.take_first_bad(), None);
        Texts::new(&decoder.finish(1).rows).row(0, &["key"]).remove(0)
    };
    let spec = with_key("id INT");
    assert_eq!(key_of(&spec, r#"{"id":1}"#), "{id: 1}");
    assert_eq!(key_of(&spec, r#"{"schema":{"id":9},"payload":{"id":1}}"#), "{id: 1}");
    assert_eq!(key_of(&spec, r#"{"id":2,"payload":{"id":1}}"#), "{id: 2}");
    let declared = with_key("payload STRING");
    assert_eq!(key_of(&declared, r#"{"payload":"x"}"#), "{payload: x}", "the key's own column");
}

#[test]
fn unknown_fields_of_the_row_are_kept_or_refused_as_declared() {
    let values = [
        r#"{"after":{"id":1,"x":[1]},"op":"c","y":1}"#,
        r#"{"before":{"z":0,"id":1},"op":"d"}"#,
        r#"{"before":{"z":0,"id":1},"after":{"id":1},"op":"u"}"#,
    ];
    let mut spec = stream("id INT", &[]);
    let (chunk, _) = events(&spec, &values);
    assert_eq!(chunk.rows.num_rows(), 3, "ignored");
    json(&mut spec).unknown_fields = UnknownFields::Rescue;
    let (chunk, _) = events(&spec, &values);
    assert_eq!(names(&chunk.rows), ["id", RESCUE_COLUMN]);
    let rescued = StringArray::from(vec![Some("{\"x\":[1]}"), Some("{\"z\":0}"), None]);
    assert_eq!(chunk.rows[RESCUE_COLUMN].as_ref(), &rescued);
    json(&mut spec).unknown_fields = UnknownFields::Fail;
    let (_, refused) = events(&spec, &values);
    let reason = "a field that the schema does not declare (`unknown_fields: fail`)";
    assert_eq!(
        refused,
        [17, 11, 11]
            .iter()
            .zip(["after", "before", "before"])
            .map(|(at, path)| format!("SL3019 `{path}`, byte {at}: {reason}"))
            .collect::<Vec<_>>(),
        "of the row; the envelope's other fields are Debezium's"
    );
}

/// A recording with the tables that must come of it.
fn check_recording(recording: &str, expected: &str) {
    let expected: JsonValue = serde_json::from_str(expected).expect("JSON");
    let text = |name: &str| expected[name].as_str().expect(name).to_owned();
    let changes = [ChangeColumn::Op, ChangeColumn::Timestamp, ChangeColumn::Source];
    let mut spec = stream(&text("schema"), &changes);
    json(&mut spec).timestamps =
        serde_json::from_value(expected["timestamps"].clone()).expect("formats");
    let key = Json::new(ddl::parse(&text("key_schema")).expect("a valid schema"));
    spec.key = Some(DecodeKey { column: "key".into(), payload: Payload::Json(key) });
    let mut decoder =
        Decoder::new(&spec, &Schemas::none(), &BTreeSet::new(), true).expect("a valid spec");
    decoder.begin(partition(), 0, None);
    for (offset, line) in (0..).zip(recording.lines()) {
        let (key, value) = line.split_once('\t').expect("key, tab, value");
        let value = (value != "null").then_some(value.as_bytes());
        let record = Message { key: Some(key.as_bytes()), value, ..message(offset, b"") };
        decoder.push(&record).expect("no policy `fail`");
        assert_eq!(decoder.take_first_bad(), None);
    }
    let chunk = decoder.finish(recording.lines().count() as i64);
    let rows = Texts::new(&chunk.rows);
    let deletions = chunk.deletions.expect("rows delete");
    assert_eq!(chunk.fates.tombstones, expected["tombstones"].as_u64().expect("a count"));

    let columns: Vec<&str> =
        list(&expected["columns"]).map(|c| c.as_str().expect("a name")).collect();
    let with_change = [&["change_op", "change_timestamp"], columns.as_slice()].concat();
    let (mut seen, mut table) = (Vec::new(), BTreeMap::new());
    for row in 0..chunk.rows.num_rows() {
        let key = rows.row(row, &["id"]);
        if !deletions.tombstones.value(row) {
            seen.push(rows.row(row, &with_change));
            assert_eq!(rows.row(row, &["key"]), [format!("{{id: {}}}", key[0])]);
            assert_eq!(deletions.deletes.value(row), rows.row(row, &["change_op"]) == ["d"]);
            let source = rows.row(row, &["change_source"]).remove(0);
            let source: JsonValue = serde_json::from_str(&source).expect("JSON text");
            assert!(source["ts_ms"].is_i64());
        }
        match deletions.deletes.value(row) {
            true => table.remove(&key),
            false => table.insert(key, rows.row(row, &columns)),
        };
    }
    let cells = |row: &JsonValue| list(row).map(shown).collect::<Vec<String>>();
    let expect = |name: &str| list(&expected[name]).map(cells).collect::<Vec<_>>();
    assert_eq!(seen, expect("changes"));
    assert_eq!(table.into_values().collect::<Vec<_>>(), expect("upsert"));
}

fn list(value: &JsonValue) -> impl Iterator<Item = &JsonValue> {
    value.as_array().expect("a list").iter()
}

fn shown(value: &JsonValue) -> String {
    match value {
        JsonValue::String(text) => text.clone(),
        JsonValue::Null => "NULL".into(),
        other => other.to_string(),
    }
}

/// The values of a batch as texts.
struct Texts<'a> {
    columns: BTreeMap<String, ArrayFormatter<'a>>,
}

const FORMAT: FormatOptions<'static> = FormatOptions::new().with_null("NULL");

impl<'a> Texts<'a> {
    fn new(rows: &'a RecordBatch) -> Self {
        let formatter = |column: &'a ArrayRef| {
            ArrayFormatter::try_new(column.as_ref(), &FORMAT).expect("a type that can be shown")
        };
        let columns = names(rows).into_iter().zip(rows.columns().iter().map(formatter)).collect();
        Self { columns }
    }

    fn row(&self, row: usize, columns: &[&str]) -> Vec<String> {
        columns.iter().map(|name| self.columns[*name].value(row).to_string()).collect()
    }
}

#[test]
fn a_recording_from_postgres_gives_its_tables() {
    check_recording(
        include_str!("../../../integration/fixtures/debezium/postgres.tsv"),
        include_str!("../../../integration/fixtures/debezium/postgres.expected.json"),
    );
}

#[test]
fn a_recording_from_mysql_inside_schemas_gives_its_tables() {
    check_recording(
        include_str!("../../../integration/fixtures/debezium/mysql.tsv"),
        include_str!("../../../integration/fixtures/debezium/mysql.expected.json"),
    );
}
