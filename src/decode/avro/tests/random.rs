//! The decoder against `apache_avro`'s own reader of data: on random schemas and data, valid ones and mutated ones, both
//! must accept the same and read the same. Where the two differ, the rules are stated here.
//!
//! `SLUICE_AVRO_CASES=1000000 cargo test …` runs more cases. A failure is shrunk and printed.

use std::cell::RefCell;
use std::io::Read;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::cells::hex;
use super::*;
use schema::Unit;
use unions::{Shape, member_name};

/// Decisions, from random bytes; zeros when they are used up, so that everything ends.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn next(&mut self, below: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % below
    }

    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }
}

/// The text of a random type. `names` counts the named ones.
fn schema(tape: &mut Tape<'_>, depth: usize, names: &mut usize) -> String {
    const FLAT: [&str; 20] = [
        r#""null""#,
        r#""boolean""#,
        r#""int""#,
        r#""long""#,
        r#""float""#,
        r#""double""#,
        r#""bytes""#,
        r#""string""#,
        r#"{"type": "int", "logicalType": "date"}"#,
        r#"{"type": "int", "logicalType": "time-millis"}"#,
        r#"{"type": "long", "logicalType": "time-micros"}"#,
        r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
        r#"{"type": "long", "logicalType": "timestamp-micros"}"#,
        r#"{"type": "long", "logicalType": "timestamp-nanos"}"#,
        r#"{"type": "long", "logicalType": "local-timestamp-millis"}"#,
        r#"{"type": "long", "logicalType": "local-timestamp-micros"}"#,
        r#"{"type": "long", "logicalType": "local-timestamp-nanos"}"#,
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}"#,
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 38}"#,
        r#"{"type": "string", "logicalType": "unheard-of"}"#,
    ];
    *names += 1;
    let name = *names;
    let choices = if depth == 0 { 24 } else { 32 };
    match tape.next(choices) {
        flat @ 0..20 => FLAT[flat].to_owned(),
        20 => format!(r#"{{"type": "fixed", "name": "n{name}", "size": {}}}"#, tape.next(6)),
        21 => format!(r#"{{"type": "enum", "name": "n{name}", "symbols": ["A", "B", "C"]}}"#),
        22 => format!(
            r#"{{"type": "fixed", "name": "n{name}", "size": 5, "logicalType": "decimal", "precision": 11, "scale": 2}}"#
        ),
        23 => match tape.next(2) {
            0 => format!(
                r#"{{"type": "fixed", "name": "n{name}", "size": 16, "logicalType": "uuid"}}"#
            ),
            _ => format!(
                r#"{{"type": "fixed", "name": "n{name}", "size": 12, "logicalType": "duration"}}"#
            ),
        },
        24 | 25 => format!(r#"{{"type": "array", "items": {}}}"#, schema(tape, depth - 1, names)),
        26 => format!(r#"{{"type": "map", "values": {}}}"#, schema(tape, depth - 1, names)),
        27 | 28 => {
            let of = schema(tape, depth - 1, names);
            if of.starts_with('[') { of } else { format!(r#"["null", {of}]"#) }
        }
        29 => {
            let count = 1 + tape.next(4);
            let branches: Vec<String> = (0..count)
                .map(|_| schema(tape, depth - 1, names))
                .filter(|of| !of.starts_with('['))
                .collect();
            format!("[{}]", branches.join(", "))
        }
        _ => {
            let fields: Vec<String> = (0..1 + tape.next(4))
                .map(|i| {
                    format!(r#"{{"name": "f{i}", "type": {}}}"#, schema(tape, depth - 1, names))
                })
                .collect();
            format!(r#"{{"type": "record", "name": "n{name}", "fields": [{}]}}"#, fields.join(", "))
        }
    }
}

/// A datum, nearly always a valid one.
fn datum(of: &Type, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    match of {
        Type::Null => {}
        Type::Boolean => out.push(tape.byte() & 1),
        Type::Int | Type::Date | Type::TimeMillis => {
            out.extend(long(i64::from(tape.byte()) * [1, -1, 250, 1 << 22][tape.next(4)]));
        }
        Type::Long | Type::TimeMicros | Type::Timestamp { .. } => {
            out.extend(long(
                i64::from(tape.byte()) * [1, -1, 1 << 30, 1 << 45, -(1 << 54)][tape.next(5)],
            ));
        }
        Type::Float => out.extend(std::array::from_fn::<u8, 4, _>(|_| tape.byte())),
        Type::Double => out.extend(std::array::from_fn::<u8, 8, _>(|_| tape.byte())),
        Type::Bytes => {
            let bytes: Vec<u8> = (0..tape.next(9)).map(|_| tape.byte()).collect();
            out.extend(sized(&bytes));
        }
        Type::Decimal { fixed: None, .. } => {
            let bytes: Vec<u8> = (0..1 + tape.next(6)).map(|_| tape.byte()).collect();
            out.extend(sized(&bytes));
        }
        Type::String | Type::Uuid(None) => {
            let text: String =
                (0..tape.next(5)).map(|_| ['a', '"', 'ä', '\u{1F600}'][tape.next(4)]).collect();
            out.extend(sized(text.as_bytes()));
        }
        Type::Fixed(fixed)
        | Type::Decimal { fixed: Some(fixed), .. }
        | Type::Uuid(Some(fixed))
        | Type::Duration(fixed) => out.extend((0..fixed.size).map(|_| tape.byte())),
        Type::Enum(of) => out.extend(long(tape.next(of.symbols.len()) as i64)),
        Type::Array(items) | Type::Map(items) => {
            for block in 0..tape.next(3) {
                let count = 1 + tape.next(3);
                let mut body = Vec::new();
                for item in 0..count {
                    if matches!(of, Type::Map(_)) {
                        body.extend(sized(format!("k{block}{item}").as_bytes()));
                    }
                    datum(&items.of, tape, &mut body);
                }
                if tape.next(3) == 0 {
                    out.extend(long(-(count as i64)));
                    out.extend(long(body.len() as i64));
                } else {
                    out.extend(long(count as i64));
                }
                out.extend(body);
            }
            out.push(0);
        }
        Type::Union(branches) => {
            let index = tape.next(branches.len());
            out.extend(long(index as i64));
            datum(&branches[index], tape, out);
        }
        Type::Record(record) => record.fields.iter().for_each(|field| datum(&field.of, tape, out)),
    }
}

fn mutate(datum: &mut Vec<u8>, tape: &mut Tape<'_>) {
    for _ in 0..tape.next(3) {
        let at = tape.next(datum.len().max(1));
        let byte = [tape.byte(), 0, 1, 2, 0x7F, 0x80, 0xFF][tape.next(7)];
        match (tape.next(4), datum.get_mut(at)) {
            (0, _) => datum.truncate(at),
            (1, Some(there)) => *there = byte,
            (2, Some(_)) => drop(datum.remove(at)),
            _ => datum.insert(at.min(datum.len()), byte),
        }
    }
}

/// Bytes that remember that someone asked for more of them than there are: `apache_avro` makes nulls of that.
struct Asked<'a> {
    rest: &'a [u8],
    for_more: bool,
}

impl Read for Asked<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.for_more |= self.rest.len() < into.len();
        self.rest.read(into)
    }
}

/// The datum as `apache_avro` reads it; `None`: it isn't one.
fn judged(schema: &Schema, datum: &[u8]) -> Option<Value> {
    let reader = GenericDatumReader::builder(schema).build().expect("a valid schema");
    let mut bytes = Asked { rest: datum, for_more: false };
    let value = reader.read_value(&mut bytes).ok()?;
    (!bytes.for_more && bytes.rest.is_empty()).then_some(value)
}

/// What only this decoder refuses: blocks whose size is wrong, keys that come twice, times and decimals beyond the
/// columns, numbers of more than 64 bits, too many values.
const STRICTER: [&str; 8] =
    ["SL3016", "SL3024", "SL3031", "SL3056", "SL3062", "SL3063", "SL3064", "SL3067"];

/// A value as the column has it.
fn expected(of: &Type, value: &Value) -> Json {
    match (of, value) {
        (Type::Union(branches), Value::Union(index, value)) => {
            let branch = &branches[*index as usize];
            if *branch == Type::Null {
                return Json::Null;
            }
            match of.shape() {
                Shape::Members(members) => {
                    let own = members.iter().position(|member| std::ptr::eq(*member, branch));
                    let member = |i| match own {
                        Some(own) if own == i => expected(branch, value),
                        _ => Json::Null,
                    };
                    let names = (0..members.len()).map(|i| (member_name(i), member(i)));
                    Json::Object(names.collect())
                }
                Shape::One(one) if branch != one => widened(value),
                _ => expected(branch, value),
            }
        }
        (Type::Record(record), Value::Record(values)) => {
            let fields = record.fields.iter().zip(values);
            let fields = fields.filter(|(field, _)| !matches!(field.of.shape(), Shape::Nothing));
            Json::Object(
                fields.map(|(f, (_, v))| (f.name.to_string(), expected(&f.of, v))).collect(),
            )
        }
        (Type::Array(items), Value::Array(values)) => {
            values.iter().map(|value| expected(&items.of, value)).collect()
        }
        (Type::Map(items), Value::Map(values)) => {
            let entries = values.iter().map(|(key, v)| (key.clone(), expected(&items.of, v)));
            Json::Object(entries.collect())
        }
        (_, Value::Boolean(value)) => json!(value),
        (_, Value::Int(value) | Value::TimeMillis(value)) => json!(value),
        (_, Value::Long(value) | Value::TimeMicros(value)) => json!(value),
        (_, Value::Float(value)) => float(f64::from(*value)),
        (_, Value::Double(value)) => float(*value),
        (_, Value::Bytes(bytes) | Value::Fixed(_, bytes)) => json!(hex(bytes)),
        (_, Value::String(text) | Value::Enum(_, text)) => json!(text),
        (_, Value::Uuid(uuid)) => json!(uuid.to_string()),
        (_, Value::Date(days)) => {
            json!(chrono::NaiveDate::from_epoch_days(*days).expect("a date").to_string())
        }
        (Type::Timestamp { unit, local }, value) => time(*unit, *local, value),
        (Type::Decimal { scale, .. }, Value::Decimal(decimal)) => {
            let bytes: Vec<u8> = decimal.to_owned().try_into().expect("bytes");
            let unscaled = num(&bytes);
            json!(
                arrow::array::Decimal128Array::from(vec![unscaled])
                    .with_precision_and_scale(38, *scale as i8)
                    .expect("a decimal")
                    .value_as_string(0)
            )
        }
        (_, Value::Duration(duration)) => json!({
            "months": u32::from(duration.months()), "days": u32::from(duration.days()),
            "milliseconds": u32::from(duration.millis()),
        }),
        (of, value) => panic!("{of}: {value:?}"),
    }
}

/// In a union of int and long, or of float and double.
fn widened(value: &Value) -> Json {
    match value {
        Value::Int(value) => json!(value),
        Value::Float(value) => float(f64::from(*value)),
        other => panic!("{other:?}"),
    }
}

fn float(value: f64) -> Json {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn num(bytes: &[u8]) -> i128 {
    bytes
        .iter()
        .fold(if bytes[0] > 127 { -1 } else { 0 }, |value, byte| value << 8 | i128::from(*byte))
}

fn time(unit: Unit, local: bool, value: &Value) -> Json {
    let (Value::TimestampMillis(v)
    | Value::LocalTimestampMillis(v)
    | Value::TimestampMicros(v)
    | Value::LocalTimestampMicros(v)
    | Value::TimestampNanos(v)
    | Value::LocalTimestampNanos(v)) = value
    else {
        panic!("{value:?}")
    };
    let (v, zone) = (i128::from(*v), if local { "" } else { "Z" });
    let micros = match unit {
        Unit::Millis => v * 1000,
        Unit::Micros => v,
        Unit::Nanos => v.div_euclid(1000),
    };
    let time = chrono::DateTime::from_timestamp_micros(micros as i64).expect("a time");
    json!(format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.6f")))
}

fn check(tape: &[u8], tally: &RefCell<[u64; 4]>) -> Result<(), TestCaseError> {
    let tape = &mut Tape(tape.iter());
    let mut names = 0;
    let fields: Vec<String> = (0..1 + tape.next(3))
        .map(|i| format!(r#"{{"name": "c{i}", "type": {}}}"#, schema(tape, 3, &mut names)))
        .collect();
    let text = format!(r#"{{"type": "record", "name": "top", "fields": [{}]}}"#, fields.join(", "));
    let Ok(mut reader) = try_reader(&fixed(&text)) else {
        tally.borrow_mut()[0] += 1;
        return Ok(());
    };
    let apache = Schema::parse_str(&text).expect("it was parsed before");
    let of = parse::parse(&text, &[]).expect("it was parsed before").of;
    let mut rows_expected = Vec::new();
    for _ in 0..3 {
        let mut payload = Vec::new();
        datum(&of, tape, &mut payload);
        mutate(&mut payload, tape);
        let shown = || format!("{text}\n{}", hex(&payload));
        let theirs = judged(&apache, &payload);
        match push(&mut reader, &payload) {
            Ok(()) => {
                tally.borrow_mut()[1] += 1;
                prop_assert!(theirs.is_some(), "apache_avro refuses: {}", shown());
                rows_expected.extend(theirs.map(|value| expected(&of, &value)));
            }
            Err(reject) => {
                let stricter = STRICTER.contains(&reject.flaw.code());
                tally.borrow_mut()[if stricter { 3 } else { 2 }] += 1;
                prop_assert!(
                    stricter || theirs.is_none(),
                    "apache_avro accepts: {reject}: {}",
                    shown()
                );
            }
        }
    }
    prop_assert_eq!(rows(&mut reader), rows_expected, "{}", text);
    Ok(())
}

fn cases() -> u32 {
    std::env::var("SLUICE_AVRO_CASES")
        .map_or(4_000, |text| text.parse().expect("a number of cases"))
}

fn runner() -> TestRunner {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
}

#[test]
fn the_decoder_agrees_with_apache_avro() {
    let tally = RefCell::new([0; 4]);
    let tapes = proptest::collection::vec(any::<u8>(), 0..200);
    runner().run(&tapes, |tape| check(&tape, &tally)).unwrap_or_else(|error| panic!("{error}"));
    let [no_columns, accepted, refused, _] = tally.into_inner();
    assert!(
        no_columns * 2 < u64::from(cases()),
        "most schemas have columns: {no_columns} have none"
    );
    let rarer = accepted.min(refused);
    assert!(rarer * 6 > accepted + refused, "both kinds are tried: {accepted} and {refused}");
}

/// Whatever a schema's text is, it is read or refused; and whatever bytes then come are, too.
#[test]
fn nothing_makes_it_panic() {
    const SEEDS: [&str; 3] = [
        r#"{"type":"record","name":"a.b","namespace":"c","aliases":["d"],"fields":[{"name":"x","type":["null","b"],"default":null,"aliases":["y"]}]}"#,
        r#"{"type":"record","name":"r","fields":[{"name":"m","type":{"type":"map","values":{"type":"fixed","name":"f","size":12,"logicalType":"duration"}}},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2},"default":"\u00ff"}]}"#,
        r#"[{"type":"enum","name":"e","symbols":["A"],"default":"A"},{"type":"array","items":"e"},"null"]"#,
    ];
    const BYTES: &[u8] = b"{}[]\",:ab0129-. \\nulx";
    let edits = proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6);
    let payload = proptest::collection::vec(any::<u8>(), 0..40);
    runner()
        .run(&(0..SEEDS.len(), edits, payload), |(seed, edits, payload)| {
            let mut text = SEEDS[seed].as_bytes().to_vec();
            for (at, byte) in edits {
                let at = usize::from(at) % text.len();
                text[at] = BYTES[usize::from(byte) % BYTES.len()];
            }
            let text = String::from_utf8(text).expect("ASCII");
            if let Ok(mut reader) = try_reader(&fixed(&text)) {
                let _ = push(&mut reader, &payload);
                rows(&mut reader);
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
