//! The decoder against a naive model that takes `serde_json` as the judge of what is JSON: on random documents, valid
//! ones and mutated ones, both must accept the same and read the same.
//!
//! `SLUICE_JSON_CASES=1000000 cargo test …` runs more cases. A failure is shrunk and printed as text.

mod documents;
mod model;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::schema::ddl;
use documents::Tape;
use model::Cell;

/// Every type, and every kind of nesting.
pub(super) const SCHEMA: &str = "id INT NOT NULL, flag BOOLEAN, tiny TINYINT, small SMALLINT, long BIGINT, f FLOAT, \
    d DOUBLE, money DECIMAL(10,3), big DECIMAL(38,10), text STRING, bin BINARY, day DATE, at TIMESTAMP, \
    berlin TIMESTAMP_NTZ, ms TIMESTAMP, ns TIMESTAMP_NTZ, secs DATE, days DATE, list ARRAY<INT>, map MAP<STRING, DOUBLE>, \
    st STRUCT<x: INT NOT NULL, y: ARRAY<STRUCT<z: STRING, `zo\"ö`: BIGINT>>, m: MAP<STRING, ARRAY<DATE>>>";

pub(super) fn spec() -> Json {
    let formats = [
        ("ms", TimestampFormat::EpochMillis),
        ("ns", TimestampFormat::EpochNanos),
        ("secs", TimestampFormat::EpochSeconds),
        ("days", TimestampFormat::EpochDays),
    ];
    Json {
        timestamps: BTreeMap::from(formats.map(|(name, format)| (name.to_owned(), format))),
        timezone: chrono_tz::Europe::Berlin,
        ..Json::new(ddl::parse(SCHEMA).expect("a valid schema"))
    }
}

/// Reads documents into one batch, and says of each whether it was accepted.
fn read(reader: &mut Reader, documents: &[Vec<u8>]) -> (Vec<bool>, RecordBatch) {
    let accepted = documents.iter().map(|document| reader.read(document).is_ok()).collect();
    let schema = Arc::clone(spec().schema.arrow());
    let batch = RecordBatch::try_new(schema, reader.finish()).expect("columns of equal length");
    (accepted, batch)
}

fn check(reader: &mut Reader, documents: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let spec = spec();
    let expected: Vec<Option<Vec<Cell>>> =
        documents.iter().map(|d| model::read(&spec, d)).collect();
    let (accepted, batch) = read(reader, documents);
    let shown =
        || documents.iter().map(|d| d.escape_ascii().to_string()).collect::<Vec<_>>().join("\n");
    let judged: Vec<bool> = expected.iter().map(Option::is_some).collect();
    prop_assert_eq!(
        &accepted,
        &judged,
        "the decoder accepts (left), the model accepts (right) of:\n{}",
        shown()
    );
    for (row, expected) in expected.into_iter().flatten().enumerate() {
        let cells: Vec<Cell> = batch.columns().iter().map(|c| model::cell(c, row)).collect();
        prop_assert_eq!(cells, expected, "row {} of:\n{}", row, shown());
    }
    Ok(())
}

#[test]
fn the_decoder_agrees_with_a_naive_model_on_serde_json() {
    let cases = std::env::var("SLUICE_JSON_CASES")
        .map_or(8_000, |text| text.parse().expect("a number of cases"));
    let reader = RefCell::new(Reader::new(&spec(), Part::Value).expect("a valid spec"));
    let tally = RefCell::new([0u64; 2]);
    // Three documents a case, so that a flawed one stands between others.
    let tapes = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..160), 3);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&tapes, |tapes| {
            let documents: Vec<Vec<u8>> =
                tapes.iter().map(|tape| documents::document(&mut Tape::new(tape))).collect();
            for document in &documents {
                tally.borrow_mut()[usize::from(model::read(&spec(), document).is_some())] += 1;
            }
            check(&mut reader.borrow_mut(), &documents)
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let [refused, accepted] = tally.into_inner();
    let rarer = refused.min(accepted);
    assert!(
        rarer * 4 > refused + accepted,
        "both kinds are tried: {accepted} accepted, {refused} refused"
    );
}

#[test]
fn each_top_level_field_is_in_a_declared_column_or_rescued() {
    let spec = Json { unknown_fields: UnknownFields::Rescue, ..spec() };
    let reader = RefCell::new(Reader::new(&spec, Part::Value).expect("a valid spec"));
    let rescued = RefCell::new(0u64);
    let tapes = proptest::collection::vec(any::<u8>(), 0..160);
    let config = Config { cases: 8_000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&tapes, |tape| {
            let document = documents::document(&mut Tape::new(&tape));
            let mut reader = reader.borrow_mut();
            let accepted = reader.read(&document).is_ok();
            let columns = reader.finish();
            let expected = model::read(&spec, &document);
            prop_assert_eq!(accepted, expected.is_some(), "{}", document.escape_ascii());
            let Some(expected) = expected else { return Ok(()) };
            let cells: Vec<Cell> = columns.iter().map(|c| model::cell(c, 0)).collect();
            prop_assert_eq!(&cells[..expected.len()], &expected);
            let fields = model::fields(&document).expect("accepted");
            let is_unknown = |name: &String| spec.schema.arrow().index_of(name).is_err();
            let unknown: Vec<_> = fields.into_iter().filter(|(name, _)| is_unknown(name)).collect();
            *rescued.borrow_mut() += u64::from(!unknown.is_empty());
            match &cells[expected.len()] {
                Cell::Null => prop_assert!(unknown.is_empty(), "{}", document.escape_ascii()),
                Cell::Text(text) => {
                    prop_assert_eq!(model::fields(text.as_bytes()), Some(unknown), "{}", text)
                }
                other => panic!("text, not {other:?}"),
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(rescued.into_inner() > 400, "documents with unknown fields are tried");
}

#[test]
fn the_decoder_agrees_with_the_model_on_chosen_documents() {
    let mut reader = Reader::new(&spec(), Part::Value).expect("a valid spec");
    for document in [
        r#"{"id":1}"#,
        r#"{"id":1,"x":1e999,"y":-0,"z":[[],{},[{}]]}"#,
        r#"{"id":1,"x":{"a":1,"a":2}}"#,
        r#"{"id":-0,"d":-0,"f":-0,"long":-0}"#,
        r#"{"id":1,"d":1e-400,"f":1e-60}"#,
        r#"{"id":1,"d":9007199254740993,"f":16777217}"#,
        r#"{"id":1,"d":0.3,"f":0.1,"money":0.1}"#,
        r#"{"id":1,"money":1234567.8910,"big":1e27}"#,
        r#"{"id":1,"at":"2024-10-27T02:30:00"}"#,
        r#"{"id":1,"at":"2024-03-31T02:30:00"}"#,
        r#"{"id":1,"st":{"x":1,"y":[null,{"z":"\ud83d\ude00"}],"m":{"":[]}}}"#,
    ] {
        check(&mut reader, &[document.as_bytes().to_vec()])
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
