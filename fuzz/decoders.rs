//! What the fuzz targets do with their input: nothing that comes out of Kafka may make a decoder panic, or take memory
//! without measure. `tests/fuzz.rs` runs the same on the corpus and on what it makes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice::chunk::SourcePartition;
use sluice::config::{
    Avro, AvroSchemas, ChangeColumn, Debezium, Decode, DecodeKey, Framing, Json, OnBadRecord,
    Payload, TimestampFormat, UnknownFields,
};
use sluice::decode::{Decoder, Schemas};
use sluice::message::Message;
use sluice::offsets::{TopicId, TopicPartition};
use sluice::schema::ddl;

/// What a chunk may take, whatever its records are: the decoder's own bound, doubled by buffers that grow.
const MOST_MEMORY: usize = 384 << 20;

/// An Avro schema, a zero, and a datum. The schema's length decides how it is read: into the schema's own columns, or
/// into declared ones with the rest rescued. One that speaks of `after` is a change event's.
pub fn avro(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == 0) else { return };
    let (text, datum) = (&input[..end], &input[end + 1..]);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let declared =
        ddl::parse("f STRING, n BIGINT, s STRUCT<x: DOUBLE, y: ARRAY<STRING>>, value BINARY");
    let followed = text.len() % 2 == 0;
    let payload = |framing| {
        Payload::Avro(Avro {
            schemas: AvroSchemas::Fixed(text.into()),
            framing,
            columns: (!followed).then(|| Arc::new(declared.clone().expect("columns"))),
            unknown_fields: UnknownFields::Rescue,
        })
    };
    let debezium = text.contains("\"after\"").then(every_change_column);
    read(Decode { debezium, ..Decode::new(payload(Framing::Plain)) }, None, datum);
    read(Decode::new(payload(Framing::SingleObject)), None, datum);
}

/// A record key and Debezium's change event in JSON, with a tab between them.
pub fn debezium(input: &[u8]) {
    let tab = input.iter().position(|byte| *byte == b'\t');
    let (key, value) = tab.map_or((&b""[..], input), |tab| (&input[..tab], &input[tab + 1..]));
    let columns =
        ddl::parse("id BIGINT NOT NULL, name STRING, total DOUBLE, born DATE, tags ARRAY<STRING>");
    let json = |columns| Payload::Json(Json::new(columns));
    let key_columns = ddl::parse("id BIGINT NOT NULL").expect("columns");
    let decode = Decode {
        key: Some(DecodeKey { column: "key".into(), payload: json(key_columns) }),
        debezium: Some(every_change_column()),
        ..Decode::new(json(columns.expect("columns")))
    };
    read(decode, Some(key), value);
}

fn every_change_column() -> Debezium {
    Debezium { columns: vec![ChangeColumn::Op, ChangeColumn::Timestamp, ChangeColumn::Source] }
}

/// A JSON document, for columns of every type.
pub fn json(input: &[u8]) {
    let columns = "id INT, flag BOOLEAN, tiny TINYINT, long BIGINT, f FLOAT, d DOUBLE, money DECIMAL(10,3), \
                   text STRING, bin BINARY, day DATE, at TIMESTAMP, ms TIMESTAMP_NTZ, list ARRAY<INT>, \
                   map MAP<STRING, DOUBLE>, st STRUCT<x: INT NOT NULL, y: ARRAY<STRUCT<z: STRING>>>";
    let columns = ddl::parse(columns).expect("columns");
    let timestamps = [("ms".to_owned(), TimestampFormat::EpochMillis)].into();
    let json = Json { timestamps, unknown_fields: UnknownFields::Rescue, ..Json::new(columns) };
    read(Decode::new(Payload::Json(json)), None, input);
}

/// Reads a value twice; a schema that is refused is no fault.
fn read(spec: Decode, key: Option<&[u8]>, value: &[u8]) {
    let spec = Decode { on_bad_record: OnBadRecord::Skip, ..spec };
    let Ok(mut decoder) = Decoder::new(&spec, &Schemas::none(), &BTreeSet::new(), true) else {
        return;
    };
    let id = TopicPartition::new("fuzz", 0);
    decoder.begin(Arc::new(SourcePartition { id, topic_id: TopicId::unknown() }), 0, None);
    for offset in 0..2 {
        let value = Some(value);
        let message = Message { offset, timestamp_ms: None, key, value, headers: &[] };
        decoder.push(&message).expect("bad records are skipped");
    }
    let chunk = decoder.finish(2);
    assert_eq!(chunk.fates.records(), 2);
    assert!(chunk.fates.rows % 2 == 0, "the same value is read the same way twice");
    let memory = chunk.rows.get_array_memory_size();
    assert!(memory < MOST_MEMORY, "{memory} bytes");
}
