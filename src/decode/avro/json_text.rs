//! A value as JSON text: what a column that takes any type holds.
//!
//! Plain JSON, as the JSON decoder reads it: bytes in base64, dates and times in ISO 8601, decimals as numbers with
//! all their digits. NaN and infinities, which JSON lacks, are strings. A union is the value that it holds.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};

use super::super::flaw::Scan;
use super::flaws::Flaw;
use super::logical::{duration_parts, unscaled, uuid_text};
use super::schema::{Fixed, Items, Record, Type, Unit};
use super::wire::Wire;

/// Appends the text of the value at hand.
pub(super) fn write(of: &Type, wire: &mut Wire<'_>, out: &mut Vec<u8>) -> Scan<()> {
    match of {
        Type::Null => out.extend_from_slice(b"null"),
        Type::Boolean => out.extend_from_slice(if wire.boolean()? { b"true" } else { b"false" }),
        Type::Int | Type::TimeMillis => print(out, wire.int()?),
        Type::Long | Type::TimeMicros => print(out, wire.long()?),
        Type::Float => float(out, wire.float()?),
        Type::Double => double(out, wire.double()?),
        Type::Bytes => base64(out, wire.bytes()?),
        Type::Fixed(fixed) => base64(out, wire.slice(fixed.size)?),
        Type::String | Type::Uuid(None) => string(out, wire.string()?),
        Type::Uuid(Some(_)) => string(out, &uuid_text(wire.take()?)),
        Type::Enum(of) => {
            string(out, of.symbols[wire.index(of.symbols.len(), Flaw::Symbol)?].as_bytes());
        }
        Type::Array(items) => array(items, wire, out)?,
        Type::Map(items) => map(items, wire, out)?,
        Type::Record(of) => record(of, wire, out)?,
        Type::Union(branches) => {
            let index = wire.index(branches.len(), Flaw::Branch)?;
            write(&branches[index], wire, out)?;
        }
        Type::Date => date(out, wire.int()?),
        Type::Timestamp { unit, local } => timestamp(out, wire.long()?, *unit, *local),
        Type::Decimal { scale, fixed, .. } => decimal(out, wire, *scale, fixed.as_ref())?,
        Type::Duration(_) => duration(out, wire)?,
    }
    Ok(())
}

/// A field's name and a colon, for a text that is written more than once.
pub(super) fn name_token(name: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    string(&mut out, name.as_bytes());
    out.push(b':');
    out.into()
}

fn print(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a Vec takes all that is written");
}

/// UTF-8 text in quotes.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => print(out, format_args!("\\u{byte:04x}")),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let text_at = out.len() + 1;
    let padded = bytes.len().div_ceil(3) * 4;
    out.push(b'"');
    out.resize(text_at + padded, 0);
    let written = BASE64.encode_slice(bytes, &mut out[text_at..]);
    debug_assert_eq!(written, Ok(padded));
    out.push(b'"');
}

fn not_finite(out: &mut Vec<u8>, value: f64) {
    let text = match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    };
    string(out, text.as_bytes());
}

/// The shortest text that is read as the same number.
fn double(out: &mut Vec<u8>, value: f64) {
    match serde_json::Number::from_f64(value) {
        Some(number) => print(out, number),
        None => not_finite(out, value),
    }
}

fn float(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        // Rust writes no exponent, and no point in a whole number; both are JSON.
        print(out, value);
    } else {
        not_finite(out, value.into());
    }
}

fn array(items: &Items, wire: &mut Wire<'_>, out: &mut Vec<u8>) -> Scan<()> {
    out.push(b'[');
    let mut first = true;
    wire.items(items.smallest, items.text_units, |wire| {
        separate(out, &mut first);
        write(&items.of, wire, out)
    })?;
    out.push(b']');
    Ok(())
}

fn map(items: &Items, wire: &mut Wire<'_>, out: &mut Vec<u8>) -> Scan<()> {
    out.push(b'{');
    let mut first = true;
    wire.items(items.smallest + 1, items.text_units, |wire| {
        separate(out, &mut first);
        string(out, wire.string()?);
        out.push(b':');
        write(&items.of, wire, out)
    })?;
    out.push(b'}');
    Ok(())
}

fn record(of: &Record, wire: &mut Wire<'_>, out: &mut Vec<u8>) -> Scan<()> {
    out.push(b'{');
    let mut first = true;
    for field in &of.fields {
        separate(out, &mut first);
        string(out, field.name.as_bytes());
        out.push(b':');
        write(&field.of, wire, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

/// `2026-11-01`; the number of days where the calendar ends.
fn date(out: &mut Vec<u8>, days: i32) {
    match NaiveDate::from_epoch_days(days) {
        Some(date) => print(out, format_args!("\"{date}\"")),
        None => print(out, days),
    }
}

/// `2026-11-01T12:30:00.5Z`; the number where the calendar ends.
fn timestamp(out: &mut Vec<u8>, value: i64, unit: Unit, local: bool) {
    match instant(value, unit) {
        Some(time) => {
            print(out, format_args!("\"{}", time.format("%Y-%m-%dT%H:%M:%S%.f")));
            out.extend_from_slice(if local { b"\"" } else { b"Z\"" });
        }
        None => print(out, value),
    }
}

fn instant(value: i64, unit: Unit) -> Option<NaiveDateTime> {
    let since = match unit {
        Unit::Millis => TimeDelta::try_milliseconds(value)?,
        Unit::Micros => TimeDelta::microseconds(value),
        Unit::Nanos => TimeDelta::nanoseconds(value),
    };
    DateTime::UNIX_EPOCH.naive_utc().checked_add_signed(since)
}

/// As a number, with `scale` digits after the point. One that is longer than 128 bits: its bytes in base64.
fn decimal(out: &mut Vec<u8>, wire: &mut Wire<'_>, scale: usize, of: Option<&Fixed>) -> Scan<()> {
    let bytes = wire.digits(of.map(|fixed| fixed.size))?;
    let Some(value) = unscaled(bytes) else {
        base64(out, bytes);
        return Ok(());
    };
    if value < 0 {
        out.push(b'-');
    }
    let start = out.len();
    print(out, format_args!("{:0width$}", value.unsigned_abs(), width = scale + 1));
    if scale > 0 {
        let point = out.len() - scale;
        debug_assert!(point > start);
        out.insert(point, b'.');
    }
    Ok(())
}

fn duration(out: &mut Vec<u8>, wire: &mut Wire<'_>) -> Scan<()> {
    let [months, days, milliseconds] = duration_parts(wire.take()?);
    let text = format_args!(r#"{{"months":{months},"days":{days},"milliseconds":{milliseconds}}}"#);
    print(out, text);
    Ok(())
}
