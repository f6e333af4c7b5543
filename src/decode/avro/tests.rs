//! What the Avro decoder reads: columns of schemas (`mapping`), data (`values`), one schema's data by another
//! (`resolution`, `following`), flaws (`broken`), and all of it at random against `apache_avro` (`random`).

mod broken;
mod cells;
mod following;
mod mapping;
mod random;
mod resolution;
mod values;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::AvroSchemas;
use crate::decode::flaw::Part;
use crate::decode::registry::{Reference, RegisteredSchema, SchemaKind};
use crate::schema::ddl;
use cells::cell;

/// Data of one schema, and columns as they come of it.
fn fixed(schema: &str) -> Avro {
    Avro {
        schemas: AvroSchemas::Fixed(schema.into()),
        framing: Framing::Plain,
        columns: None,
        unknown_fields: UnknownFields::Ignore,
    }
}

/// The same into declared columns.
fn declared(schema: &str, columns: &str) -> Avro {
    Avro { columns: Some(Arc::new(ddl::parse(columns).expect("columns"))), ..fixed(schema) }
}

fn field(name: &str, of: &str) -> String {
    format!(r#"{{"name": "{name}", "type": {of}}}"#)
}

fn record_of(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "r", "fields": [{fields}]}}"#)
}

/// A record with one field `f` of a type.
fn record(of: &str) -> String {
    record_of(&field("f", of))
}

fn reader(spec: &Avro) -> Reader {
    try_reader(spec).unwrap_or_else(|error| panic!("{error}"))
}

fn try_reader(spec: &Avro) -> Result<Reader, DecodeError> {
    Reader::new(spec, Known::offline(spec, Part::Value)?)
}

fn registered(id: u32, text: &str) -> RegisteredSchema {
    RegisteredSchema { id, kind: SchemaKind::Avro, text: text.into(), references: Vec::new() }
}

/// With a registry that has these schemas.
fn with_registry(
    columns: Option<&str>,
    policy: OnIncompatibleSchema,
    schemas: impl IntoIterator<Item = RegisteredSchema>,
) -> (Avro, Known) {
    let columns = columns.map(|columns| Arc::new(ddl::parse(columns).expect("columns")));
    let spec = Avro { framing: Framing::Confluent, columns, ..fixed("") };
    let known = Known::in_memory(&spec, Part::Value, policy, schemas);
    (spec, known)
}

/// A datum behind a registry's prefix.
fn confluent(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), datum].concat()
}

/// The column's definition: `f INT NOT NULL`.
fn definitions(reader: &Reader) -> String {
    let fields: Vec<Field> = reader.fields().iter().map(|field| field.as_ref().clone()).collect();
    ddl::format(&crate::schema::TableSchema::new(fields))
}

/// Prepares and reads.
fn push(reader: &mut Reader, payload: &[u8]) -> Scan<()> {
    reader.prepare(payload).unwrap_or_else(|error| panic!("{error}"));
    reader.read(payload)
}

/// Why a payload is refused.
fn refusal(reader: &mut Reader, payload: &[u8]) -> (String, &'static str) {
    let rows = reader.rows();
    let reject = push(reader, payload).expect_err("a flaw");
    assert_eq!(reader.rows(), rows);
    (reject.to_string(), reject.flaw.code())
}

/// The rows so far, as JSON objects.
fn rows(reader: &mut Reader) -> Vec<Json> {
    let fields = reader.fields().clone();
    let count = reader.rows();
    let columns: Vec<ArrayRef> = reader.finish();
    let row = |row: usize| {
        let cells = fields.iter().zip(&columns);
        cells.map(|(field, column)| (field.name().clone(), cell(column, row))).collect()
    };
    (0..count).map(|at| Json::Object(row(at))).collect()
}

/// Numbers as Avro writes them.
fn long(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    default::long(&mut out, value);
    out
}

/// Text or bytes behind their length.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&long(bytes.len() as i64), bytes].concat()
}
