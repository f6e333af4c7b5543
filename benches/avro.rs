//! What decoding Avro costs, against JSON of the same content and against the crates that read Avro (docs/adr/0005).
//!
//! `cargo bench --bench avro`. Single objects, 8,192 rows a batch. Takes the best of several rounds of each, interleaved,
//! because the machine is shared: only ratios of one run count. Times are of the processor, not of the wall.

mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, SchemaStore};
use sluice::chunk::{MAX_CHUNK_ROWS, SourcePartition};
use sluice::config::{
    Avro, AvroSchemas, Decode, Framing, Json, Payload, TimestampFormat, UnknownFields,
};
use sluice::decode::{Decoder, Schemas};
use sluice::message::Message;
use sluice::offsets::{TopicId, TopicPartition};
use sluice::schema::ddl;
use timing::timed;

const RECORDS: usize = 20 * MAX_CHUNK_ROWS;
const ROUNDS: usize = 7;
const COLUMNS: &str = "orderId STRING NOT NULL, customer STRING, amount DECIMAL(18,4), quantity INT, price DOUBLE, \
                       country STRING, status STRING, event_time TIMESTAMP, note STRING, tags ARRAY<STRING>";
const SCHEMA: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "orderId", "type": "string"},
    {"name": "customer", "type": ["null", "string"], "default": null},
    {"name": "amount", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}], "default": null},
    {"name": "quantity", "type": ["null", "int"], "default": null},
    {"name": "price", "type": ["null", "double"], "default": null},
    {"name": "country", "type": ["null", "string"], "default": null},
    {"name": "status", "type": ["null", {"type": "enum", "name": "Status", "symbols": ["new", "paid", "shipped", "returned"]}], "default": null},
    {"name": "event_time", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": null},
    {"name": "note", "type": ["null", "string"], "default": null},
    {"name": "tags", "type": ["null", {"type": "array", "items": "string"}], "default": null}]}"#;

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn main() {
    let schema = Schema::parse_str(SCHEMA).expect("a schema");
    let orders: Vec<Order> = (0..RECORDS).map(Order::new).collect();
    let json: Vec<Vec<u8>> = orders.iter().map(|order| order.json().into_bytes()).collect();
    let fingerprint = SchemaStore::new().register(AvroSchema::new(SCHEMA.to_owned()));
    let Ok(Fingerprint::Rabin(fingerprint)) = fingerprint else { panic!("{fingerprint:?}") };
    let prefix = [&[0xC3, 0x01][..], &fingerprint.to_le_bytes()].concat();
    let avro: Vec<Vec<u8>> =
        orders.iter().map(|order| [&prefix[..], &order.avro(&schema)].concat()).collect();
    let mean = |records: &[Vec<u8>]| records.iter().map(Vec::len).sum::<usize>() / records.len();
    println!(
        "JSON {} B a record, Avro {} B, {RECORDS} records, best of {ROUNDS}",
        mean(&json),
        mean(&avro)
    );
    let runs: [(&str, &dyn Fn()); 5] = [
        ("JSON", &|| decode(&json_spec(), &json)),
        ("Avro", &|| decode(&avro_spec(Some(COLUMNS)), &avro)),
        ("Avro, followed columns", &|| decode(&avro_spec(None), &avro)),
        ("arrow-avro", &|| with_arrow_avro(&avro)),
        ("apache-avro, no columns", &|| with_apache_avro(&schema, &avro)),
    ];
    let mut best = [Duration::MAX; 5];
    for _ in 0..ROUNDS {
        for ((_, run), best) in runs.iter().zip(&mut best) {
            *best = timed(run).min(*best);
        }
    }
    for ((name, _), time) in runs.iter().zip(best) {
        let seconds = time.as_secs_f64() / RECORDS as f64 * 1e6;
        let ratio = time.as_secs_f64() / best[0].as_secs_f64();
        println!("  {name:<24} {seconds:>6.3} CPU-s per million  {ratio:>5.2} of JSON");
    }
}

fn decode(spec: &Decode, records: &[Vec<u8>]) {
    let mut decoder =
        Decoder::new(spec, &Schemas::none(), &BTreeSet::new(), false).expect("a valid schema");
    let partition =
        SourcePartition { id: TopicPartition::new("orders", 0), topic_id: TopicId::unknown() };
    decoder.begin(Arc::new(partition), 0, None);
    for (offset, value) in (0..).zip(records) {
        let value = Some(value.as_slice());
        let message = Message { offset, timestamp_ms: None, key: None, value, headers: &[] };
        decoder.push(&message).expect("a good record");
        if decoder.is_full() {
            black_box(decoder.finish(offset + 1));
        }
    }
    black_box(decoder.finish(records.len() as i64));
}

fn with_arrow_avro(records: &[Vec<u8>]) {
    let mut store = SchemaStore::new();
    let fingerprint = store.register(AvroSchema::new(SCHEMA.to_owned())).expect("a schema");
    let mut decoder = ReaderBuilder::new()
        .with_batch_size(MAX_CHUNK_ROWS)
        .with_writer_schema_store(store)
        .with_active_fingerprint(fingerprint)
        .build_decoder()
        .expect("a decoder");
    for record in records {
        let read = decoder.decode(record).expect("a good record");
        assert_eq!(read, record.len());
        if decoder.batch_is_full() {
            black_box(decoder.flush().expect("a batch"));
        }
    }
    black_box(decoder.flush().expect("a batch"));
}

/// The values only: what it takes to make columns of them comes on top.
fn with_apache_avro(schema: &Schema, records: &[Vec<u8>]) {
    let reader = GenericDatumReader::builder(schema).build().expect("a reader");
    for record in records {
        black_box(reader.read_value(&mut &record[10..]).expect("a good record"));
    }
}

fn json_spec() -> Decode {
    let format = TimestampFormat::EpochMillis;
    Decode::new(Payload::Json(Json {
        timestamps: BTreeMap::from([("event_time".to_owned(), format)]),
        ..Json::new(ddl::parse(COLUMNS).expect("valid columns"))
    }))
}

fn avro_spec(columns: Option<&str>) -> Decode {
    Decode::new(Payload::Avro(Avro {
        schemas: AvroSchemas::Fixed(SCHEMA.into()),
        framing: Framing::SingleObject,
        columns: columns.map(|columns| Arc::new(ddl::parse(columns).expect("valid columns"))),
        unknown_fields: UnknownFields::Ignore,
    }))
}

/// The content of a record.
struct Order {
    number: usize,
    customer: u64,
    /// Hundredths.
    amount: u64,
    quantity: u64,
    price: f64,
    country: &'static str,
    status: u32,
    event_time: i64,
    note: &'static str,
    tag: u64,
}

const STATUS: [&str; 4] = ["new", "paid", "shipped", "returned"];

impl Order {
    fn new(number: usize) -> Self {
        let mut random = number as u64 ^ 0x9E37_79B9_7F4A_7C15;
        let mut next = |below: u64| {
            // xorshift64*, so that runs are alike
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            random.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
        };
        let note = "leave the parcel with a neighbour or at the back door, ring twice";
        Self {
            number,
            customer: next(100_000),
            amount: next(1_000_000),
            quantity: 1 + next(20),
            price: next(50_000) as f64 / 100.0,
            country: ["DE", "FR", "US", "JP", "BR"][next(5) as usize],
            status: next(4) as u32,
            event_time: 1_700_000_000_000 + next(86_400_000) as i64,
            note: &note[..30 + next(35) as usize],
            tag: next(10),
        }
    }

    fn json(&self) -> String {
        let Self {
            number, customer, amount, quantity, price, country, event_time, note, tag, ..
        } = self;
        let status = STATUS[self.status as usize];
        let (whole, hundredths) = (amount / 100, amount % 100);
        format!(
            "{{\"orderId\":\"o-{number:09}\",\"customer\":\"customer-{customer}\",\"amount\":{whole}.{hundredths:02},\
             \"quantity\":{quantity},\"price\":{price},\"country\":\"{country}\",\"status\":\"{status}\",\
             \"event_time\":{event_time},\"note\":\"{note}\",\"tags\":[\"a{tag}\",\"b\"]}}"
        )
    }

    fn avro(&self, schema: &Schema) -> Vec<u8> {
        let some = |value| Value::Union(1, Box::new(value));
        let text = |text: &str| Value::String(text.to_owned());
        let amount = (self.amount * 100).to_be_bytes();
        let values = [
            ("orderId", text(&format!("o-{:09}", self.number))),
            ("customer", some(text(&format!("customer-{}", self.customer)))),
            ("amount", some(Value::Decimal(amount[4..].into()))),
            ("quantity", some(Value::Int(self.quantity as i32))),
            ("price", some(Value::Double(self.price))),
            ("country", some(text(self.country))),
            ("status", some(Value::Enum(self.status, STATUS[self.status as usize].to_owned()))),
            ("event_time", some(Value::TimestampMillis(self.event_time))),
            ("note", some(text(self.note))),
            ("tags", some(Value::Array(vec![text(&format!("a{}", self.tag)), text("b")]))),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
        #[expect(deprecated, reason = "the shortest way to one datum")]
        let datum = apache_avro::to_avro_datum(schema, Value::Record(values));
        datum.expect("it fits")
    }
}
