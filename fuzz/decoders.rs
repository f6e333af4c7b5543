//! What the fuzz targets do with their input: nothing that comes out of Kafka may make a decoder panic, or take memory
//! without measure. `tests/fuzz.rs` runs the same on the corpus and on what it makes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice::chunk::SourcePartition;
use sluice::config::{
    Avro, AvroSchemas, Decode, Framing, Json, OnBadRecord, Payload, TimestampFormat, UnknownFields,
};
use sluice::decode::{Decoder, Schemas};
use sluice::message::Message;
use sluice::offsets::{TopicId, TopicPartition};
use sluice::schema::ddl;

/// What a chunk may take, whatever its records are: the decoder's own bound, doubled by buffers that grow.
const MOST_MEMORY: usize = 384 << 20;

/// An Avro schema, a zero, and a datum. The schema's length decides how it is read: into the schema's own columns, or
/// into declared ones with the rest rescued.
pub fn avro(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == 0) else { return };
    let (text, datum) = (&input[..end], &input[end + 1..]);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let declared =
        ddl::parse("f STRING, n BIGINT, s STRUCT<x: DOUBLE, y: ARRAY<STRING>>, value BINARY");
    let followed = text.len() % 2 == 0;
    read(
        Payload::Avro(Avro {
            schemas: AvroSchemas::Fixed(text.into()),
            framing: Framing::Plain,
            columns: (!followed).then(|| Arc::new(declared.expect("columns"))),
            unknown_fields: UnknownFields::Rescue,
        }),
        datum,
    );
}

/// A JSON document, for columns of every type.
pub fn json(input: &[u8]) {
    let columns = "id INT, flag BOOLEAN, tiny TINYINT, long BIGINT, f FLOAT, d DOUBLE, money DECIMAL(10,3), \
                   text STRING, bin BINARY, day DATE, at TIMESTAMP, ms TIMESTAMP_NTZ, list ARRAY<INT>, \
                   map MAP<STRING, DOUBLE>, st STRUCT<x: INT NOT NULL, y: ARRAY<STRUCT<z: STRING>>>";
    let columns = ddl::parse(columns).expect("columns");
    let timestamps = [("ms".to_owned(), TimestampFormat::EpochMillis)].into();
    read(
        Payload::Json(Json {
            timestamps,
            unknown_fields: UnknownFields::Rescue,
            ..Json::new(columns)
        }),
        input,
    );
}

/// Reads a value twice; a schema that is refused is no fault.
fn read(payload: Payload, value: &[u8]) {
    let spec = Decode { on_bad_record: OnBadRecord::Skip, ..Decode::new(payload) };
    let Ok(mut decoder) = Decoder::new(&spec, &Schemas::none(), &BTreeSet::new(), false) else {
        return;
    };
    let id = TopicPartition::new("fuzz", 0);
    decoder.begin(Arc::new(SourcePartition { id, topic_id: TopicId::unknown() }), 0, None);
    for offset in 0..2 {
        let value = Some(value);
        let message = Message { offset, timestamp_ms: None, key: None, value, headers: &[] };
        decoder.push(&message).expect("bad records are skipped");
    }
    let chunk = decoder.finish(2);
    assert_eq!(chunk.fates.rows + chunk.fates.skipped, 2);
    assert!(chunk.fates.rows % 2 == 0, "the same value is read the same way twice");
    let memory = chunk.rows.get_array_memory_size();
    assert!(memory < MOST_MEMORY, "{memory} bytes");
}
