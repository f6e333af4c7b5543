//! Messages in, chunks out: accounting, policies, metadata. What is accepted and read: `refused`, `values`.

mod avro;
mod changes;
mod formats;
mod refused;
mod values;

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Int32Type, Int64Type};

use super::*;
use crate::config::{Json, Payload, TimestampFormat, UnknownFields};
use crate::disposition::{Disposition, Exit};
use crate::message::Header;
use crate::offsets::{TopicId, TopicPartition};
use crate::schema::ddl;

fn spec(schema: &str) -> Decode {
    let json = Json::new(ddl::parse(schema).expect("a valid schema"));
    Decode {
        on_bad_record: OnBadRecord::DeadLetter,
        bad_record_limit: 1.0,
        ..Decode::new(Payload::Json(json))
    }
}

/// The part of a spec that says how JSON is read.
fn json(spec: &mut Decode) -> &mut Json {
    match &mut spec.value {
        Payload::Json(json) => json,
        other => panic!("JSON, not {other:?}"),
    }
}

fn partition() -> Arc<SourcePartition> {
    let id = TopicPartition::new("orders", 3);
    Arc::new(SourcePartition { id, topic_id: TopicId::new("tid") })
}

fn decoder(spec: &Decode) -> Decoder {
    let mut decoder =
        Decoder::new(spec, &Schemas::none(), &BTreeSet::new(), false).expect("a valid spec");
    decoder.begin(partition(), 0, None);
    decoder
}

fn message(offset: i64, value: &[u8]) -> Message<'_> {
    Message { offset, timestamp_ms: None, key: None, value: Some(value), headers: &[] }
}

/// Decodes values at the offsets 0, 1, …
fn chunk(spec: &Decode, values: &[&str]) -> Chunk {
    let mut decoder = decoder(spec);
    for (offset, value) in (0..).zip(values) {
        decoder.push(&message(offset, value.as_bytes())).expect("no policy `fail`");
    }
    decoder.finish(values.len() as i64)
}

#[test]
fn every_offset_of_the_range_has_a_fate() {
    let metadata = BTreeSet::from([MetadataColumn::Offset]);
    let mut decoder = Decoder::new(&spec("a INT"), &Schemas::none(), &metadata, false)
        .expect("valid")
        .with_fingerprint("f00d");
    let held = Arc::new(BTreeSet::from([12, 13, 14]));
    decoder.begin(partition(), 10, Some(held));
    decoder.push(&message(11, b"{\"a\":1}")).expect("good");
    decoder.push(&message(12, b"{\"a\":2}")).expect("held, though good now");
    decoder.push(&message(13, b"bad")).expect("held");
    decoder
        .push(&Message { value: None, ..message(14, b"") })
        .expect("held, though a tombstone now");
    decoder.push(&message(15, b"bad")).expect("a dead letter");
    decoder
        .push(&Message { value: None, key: Some(b"k"), ..message(17, b"") })
        .expect("a tombstone");
    assert_eq!(decoder.rows(), 1);
    let chunk = decoder.finish(20);
    assert_eq!(chunk.range, OffsetRange::new(10, 20));
    let expected = Fates { rows: 1, dead_letters: 4, tombstones: 1, gaps: 4, ..Fates::default() };
    assert_eq!(chunk.fates, expected);
    assert_eq!(chunk.fates.total(), chunk.range.len());
    assert_eq!(chunk.payload_bytes, 7 + 7 + 3 + 3 + 1);
    assert_eq!(chunk.rows.column(1).as_primitive::<Int64Type>().values(), &[11]);
    let letters = chunk.dead_letters.expect("one that was not held");
    assert_eq!(letters.num_rows(), 1);
    assert_eq!(letters.schema(), dead_letter_schema());
    let text = |name: &str| {
        letters.column_by_name(name).expect(name).as_string::<i32>().value(0).to_owned()
    };
    assert_eq!(
        [text("kafka_topic"), text("kafka_topic_id"), text("config_fingerprint")],
        ["orders", "tid", "f00d"]
    );
    assert_eq!(letters["kafka_offset"].as_primitive::<Int64Type>().values(), &[15]);
    assert_eq!(letters["kafka_value"].as_binary::<i32>().value(0), b"bad");

    // The partition goes on where the chunk ended.
    decoder.push(&message(20, b"{}")).expect("good");
    let next = decoder.finish(21);
    assert_eq!(
        (next.range, next.fates),
        (OffsetRange::new(20, 21), Fates { rows: 1, ..Fates::default() })
    );
    assert!(next.dead_letters.is_none());
    let empty = decoder.finish(30);
    assert_eq!(empty.fates, Fates { gaps: 9, ..Fates::default() });
    assert_eq!(empty.rows.num_rows(), 0);
}

#[test]
fn metadata_columns_say_what_kafka_said() {
    let metadata: BTreeSet<_> = [
        MetadataColumn::Headers,
        MetadataColumn::Topic,
        MetadataColumn::Partition,
        MetadataColumn::Key,
        MetadataColumn::Timestamp,
    ]
    .into();
    let mut decoder =
        Decoder::new(&spec("a INT"), &Schemas::none(), &metadata, false).expect("valid");
    assert!(decoder.wants_headers());
    let names: Vec<_> = decoder.row_schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(
        names,
        ["a", "kafka_topic", "kafka_partition", "kafka_timestamp", "kafka_key", "kafka_headers"]
    );
    decoder.begin(partition(), 0, None);
    let headers = [Header { name: b"h", value: Some(b"\xFF") }, Header { name: b"h", value: None }];
    let full = Message {
        timestamp_ms: Some(1500),
        key: Some(b"k"),
        headers: &headers,
        ..message(0, b"{}")
    };
    decoder.push(&full).expect("good");
    decoder.push(&message(1, b"{}")).expect("good");
    let odd = [Header { name: b"\xFF", value: None }];
    decoder.push(&Message { headers: &odd, ..message(2, b"{}") }).expect("a dead letter");
    assert_eq!(
        decoder.take_first_bad().map(|bad| (bad.code, bad.to_string())),
        Some((
            "SL3035",
            "orders/3 offset 2: a header's name is not UTF-8, and `headers` is a metadata column"
                .into()
        ))
    );
    decoder
        .push(&Message { timestamp_ms: Some(i64::MAX), ..message(3, b"{}") })
        .expect("a dead letter");
    assert_eq!(decoder.take_first_bad().map(|bad| bad.code), Some("SL3036"));
    let chunk = decoder.finish(4);
    assert_eq!(chunk.rows.num_rows(), 2);
    assert_eq!(chunk.rows["kafka_topic"].as_ref(), &StringArray::from(vec!["orders"; 2]));
    assert_eq!(chunk.rows["kafka_partition"].as_ref(), &Int32Array::from(vec![3, 3]));
    let times = TimestampMicrosecondArray::from(vec![Some(1_500_000), None]).with_timezone("UTC");
    assert_eq!(chunk.rows["kafka_timestamp"].as_ref(), &times);
    assert_eq!(chunk.rows["kafka_key"].as_ref(), &BinaryArray::from(vec![Some(&b"k"[..]), None]));
    let lists = chunk.rows["kafka_headers"].as_list::<i32>();
    assert!(lists.is_null(1));
    let pairs = lists.value(0);
    assert_eq!(pairs.as_struct().column(0).as_ref(), &StringArray::from(vec!["h", "h"]));
    assert_eq!(
        pairs.as_struct().column(1).as_ref(),
        &BinaryArray::from(vec![Some(&b"\xFF"[..]), None])
    );
    let letters = chunk.dead_letters.expect("two");
    assert_eq!(letters["kafka_timestamp"].null_count(), 2, "one had none, one can't be shown");
}

#[test]
fn policies_fail_and_skip() {
    let mut spec = spec("quantity INT");
    spec.on_bad_record = OnBadRecord::Skip;
    let chunk = chunk(&spec, &["{}", "[]", "{}"]);
    assert_eq!(chunk.fates, Fates { rows: 2, skipped: 1, ..Fates::default() });
    assert!(chunk.dead_letters.is_none());
    spec.on_bad_record = OnBadRecord::Fail;
    let mut decoder = decoder(&spec);
    assert!(!decoder.wants_headers());
    decoder.push(&message(0, b"{}")).expect("good");
    let error = decoder.push(&message(1, b"{\"quantity\":\"7\"}")).expect_err("bad");
    assert_eq!(
        error.to_string(),
        "bad record in orders/3 offset 1: `quantity`, byte 12: a string, and the column is INT; correct \
         `decode`, or set `decode.on_bad_record` to `dead_letter` or `skip`"
    );
    assert_eq!(
        (error.code(), error.disposition()),
        ("SL3020", Disposition::Stop(Exit::DataRefused))
    );
    decoder.begin(partition(), 0, None);
    decoder.push(&message(0, b"{}")).expect("good");
    assert_eq!(decoder.finish(1).fates, Fates { rows: 1, ..Fates::default() }, "begun anew");
}

#[test]
fn large_messages_are_refused_and_large_chunks_are_full() {
    let mut spec = spec("a INT");
    spec.max_message_size = 9;
    let mut decoder = decoder(&spec);
    decoder.push(&Message { key: Some(b"12"), ..message(0, b"{\"a\":1}") }).expect("just fits");
    decoder
        .push(&Message { key: Some(b"123"), ..message(1, b"{\"a\":1}") })
        .expect("a dead letter");
    let bad = decoder.take_first_bad().expect("too large");
    assert_eq!(
        (bad.code, bad.reason.as_str()),
        ("SL3034", "key and value have 10 bytes, and `max_message_size` is 9")
    );
    assert!(!decoder.is_full());
    let large = vec![b' '; MAX_CHUNK_BYTES as usize];
    decoder.push(&message(2, &large)).expect("a dead letter");
    assert!(decoder.is_full());
    assert_eq!(decoder.finish(3).fates, Fates { rows: 1, dead_letters: 2, ..Fates::default() });
    assert!(!decoder.is_full());
    for offset in 3..3 + MAX_CHUNK_ROWS as i64 {
        assert!(!decoder.is_full());
        decoder.push(&message(offset, b"{}")).expect("good");
    }
    assert!(decoder.is_full());
}

#[test]
fn impossible_specs_are_refused() {
    let refused = |spec: &Decode, metadata: &[MetadataColumn]| {
        let metadata = metadata.iter().copied().collect();
        let error = Decoder::new(spec, &Schemas::none(), &metadata, false).err().expect("refused");
        assert_eq!(error.disposition(), Disposition::Stop(Exit::Configuration));
        (error.code(), error.to_string())
    };
    let mut named = spec("a INT");
    json(&mut named).timestamps = BTreeMap::from([("a".to_owned(), TimestampFormat::EpochMillis)]);
    let message = "`decode.value.timestamps.a`: the schema has no TIMESTAMP, TIMESTAMP_NTZ or DATE column of that name";
    assert_eq!(refused(&named, &[]), ("SL3101", message.into()));
    let message = "`decode.value.schema`: the keys of the MAP `s.m` must be STRING, as the keys of a JSON object are";
    assert_eq!(refused(&spec("s STRUCT<m: MAP<INT, INT>>"), &[]), ("SL3102", message.into()));
    let message = "two columns of one name: `Kafka_Topic`, a column of the value, and `kafka_topic`, a metadata column; \
                   rename one, or leave it out";
    assert_eq!(
        refused(&spec("Kafka_Topic STRING"), &[MetadataColumn::Topic]),
        ("SL3104", message.into())
    );
}
