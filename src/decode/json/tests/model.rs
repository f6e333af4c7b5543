//! The naive model: `serde_json` says what is JSON and what a string or a double is; numbers are compared as texts, times
//! by `chrono` and a regular expression. Slow, and written without a look at the decoder.

use arrow::array::{Array, AsArray};
use arrow::datatypes::*;
use base64::Engine;
use chrono::{NaiveDate, TimeZone};
use regex::Regex;
use serde_json::Value;

use crate::config::{self, TimestampFormat};

/// A value of any type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    /// Whole numbers, days, microseconds, unscaled decimals.
    Integer(i128),
    /// By their bits, so that -0 and 0 differ.
    Float(u32),
    Double(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Map(Vec<(String, Cell)>),
    Struct(Vec<Cell>),
}

/// A JSON value with its numbers as text and its fields in order, twins included.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// The columns of a document; `None` when it is bad.
pub(super) fn read(spec: &config::Json, document: &[u8]) -> Option<Vec<Cell>> {
    columns(spec, spec.schema.arrow().fields(), "", &fields(document)?)
}

/// The fields of a document in their order, twins included; `None` when it is no JSON object.
pub(super) fn fields(document: &[u8]) -> Option<Vec<(String, Json)>> {
    let text = std::str::from_utf8(document).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (json, rest) = parse(text.trim_start_matches(BLANKS), 1)?;
    assert!(rest.trim_matches(BLANKS).is_empty(), "serde_json saw the end, too");
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert!(same(&json, &value), "the model's own parser agrees with serde_json's values");
    }
    match json {
        Json::Object(fields) => Some(fields),
        _ => None,
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Splits one value off a text that is known to be JSON. `None`: too deep, or a string that serde_json refuses.
fn parse(text: &str, level: usize) -> Option<(Json, &str)> {
    let first = text.chars().next().expect("JSON");
    if matches!(first, '{' | '[') && level > 64 {
        return None;
    }
    Some(match first {
        'n' => (Json::Null, &text[4..]),
        't' => (Json::Boolean(true), &text[4..]),
        'f' => (Json::Boolean(false), &text[5..]),
        '"' => {
            let (text, rest) = parse_text(text)?;
            (Json::Text(text), rest)
        }
        '[' => {
            let (mut items, mut rest) = (Vec::new(), text[1..].trim_start_matches(BLANKS));
            while !rest.starts_with(']') {
                let (item, after) = parse(rest, level + 1)?;
                items.push(item);
                rest = after
                    .trim_start_matches(BLANKS)
                    .trim_start_matches(',')
                    .trim_start_matches(BLANKS);
            }
            (Json::Array(items), &rest[1..])
        }
        '{' => {
            let (mut fields, mut rest) = (Vec::new(), text[1..].trim_start_matches(BLANKS));
            while !rest.starts_with('}') {
                let (name, after) = parse_text(rest)?;
                let after = after.trim_start_matches(BLANKS).strip_prefix(':').expect("JSON");
                let (value, after) = parse(after.trim_start_matches(BLANKS), level + 1)?;
                fields.push((name, value));
                rest = after
                    .trim_start_matches(BLANKS)
                    .trim_start_matches(',')
                    .trim_start_matches(BLANKS);
            }
            (Json::Object(fields), &rest[1..])
        }
        _ => {
            let end = text.find(|c| !"+-.0123456789eE".contains(c)).unwrap_or(text.len());
            (Json::Number(text[..end].to_owned()), &text[end..])
        }
    })
}

fn parse_text(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    let end = text[1..].find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    let (token, rest) = text.split_at(end.expect("JSON") + 2);
    Some((serde_json::from_str(token).ok()?, rest))
}

fn same(json: &Json, value: &Value) -> bool {
    match (json, value) {
        (Json::Null, Value::Null) => true,
        (Json::Boolean(a), Value::Bool(b)) => a == b,
        (Json::Number(a), Value::Number(b)) => {
            serde_json::from_str::<Value>(a).ok() == Some(Value::Number(b.clone()))
        }
        (Json::Text(a), Value::String(b)) => a == b,
        (Json::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Value::Object(b)) => {
            // Of twins, serde_json keeps the last.
            let last = |name: &str| a.iter().rev().find(|(n, _)| n == name);
            a.iter().all(|(n, _)| b.contains_key(n))
                && b.iter().all(|(n, b)| last(n).is_some_and(|(_, a)| same(a, b)))
        }
        _ => false,
    }
}

fn columns(
    spec: &config::Json,
    declared: &Fields,
    path: &str,
    fields: &[(String, Json)],
) -> Option<Vec<Cell>> {
    let column = |field: &FieldRef| {
        let mut found = fields.iter().filter(|(name, _)| name == field.name());
        let path =
            if path.is_empty() { field.name().clone() } else { format!("{path}.{}", field.name()) };
        let cell = found
            .next()
            .map_or(Some(Cell::Null), |(_, json)| value(spec, field.data_type(), &path, json))?;
        (found.next().is_none() && (field.is_nullable() || cell != Cell::Null)).then_some(cell)
    };
    declared.iter().map(column).collect()
}

fn value(spec: &config::Json, data_type: &DataType, path: &str, json: &Json) -> Option<Cell> {
    let format = spec.timestamps.get(path).copied().unwrap_or(TimestampFormat::Iso8601);
    let iso = format == TimestampFormat::Iso8601;
    Some(match (data_type, json) {
        (_, Json::Null) => Cell::Null,
        (DataType::Boolean, Json::Boolean(b)) => Cell::Boolean(*b),
        (DataType::Int8, Json::Number(text)) => Cell::Integer(text.parse::<i8>().ok()?.into()),
        (DataType::Int16, Json::Number(text)) => Cell::Integer(text.parse::<i16>().ok()?.into()),
        (DataType::Int32, Json::Number(text)) => Cell::Integer(text.parse::<i32>().ok()?.into()),
        (DataType::Int64, Json::Number(text)) => Cell::Integer(text.parse::<i64>().ok()?.into()),
        (DataType::Float32, Json::Number(text)) => {
            Cell::Float(text.parse::<f32>().ok().filter(|f| f.is_finite())?.to_bits())
        }
        (DataType::Float64, Json::Number(text)) => {
            Cell::Double(serde_json::from_str::<f64>(text).ok()?.to_bits())
        }
        (DataType::Decimal128(precision, scale), Json::Number(text)) => {
            let unscaled = decimal(text, *scale as i64)?;
            let digits = unscaled.trim_start_matches('-').len();
            (digits <= usize::from(*precision)).then_some(Cell::Integer(unscaled.parse().ok()?))?
        }
        (DataType::Utf8, Json::Text(text)) => Cell::Text(text.clone()),
        (DataType::Binary, Json::Text(text)) => {
            let engine = base64::engine::general_purpose::STANDARD;
            let bytes = engine.decode(text).ok()?;
            (engine.encode(&bytes) == *text).then_some(Cell::Bytes(bytes))?
        }
        (DataType::Date32, Json::Text(text)) if iso => Cell::Integer(days(text)?),
        (DataType::Timestamp(_, zone), Json::Text(text)) if iso => {
            Cell::Integer(bounded(timestamp(text, zone.as_ref().map(|_| spec.timezone))?)?)
        }
        (DataType::Date32, Json::Number(text)) if !iso => {
            Cell::Integer(epoch(text, format)?.div_euclid(86_400_000_000))
        }
        (DataType::Timestamp(..), Json::Number(text)) if !iso => {
            Cell::Integer(epoch(text, format)?)
        }
        (DataType::List(element), Json::Array(items)) => {
            let items: Option<Vec<Cell>> = items
                .iter()
                .map(|i| value(spec, element.data_type(), &format!("{path}.element"), i))
                .collect();
            Cell::List(items?)
        }
        (DataType::Map(entries, _), Json::Object(fields)) => {
            let DataType::Struct(pair) = entries.data_type() else { panic!("a map's entries") };
            let names: std::collections::BTreeSet<&String> =
                fields.iter().map(|(name, _)| name).collect();
            let entry = |(name, json): &(String, Json)| {
                Some((
                    name.clone(),
                    value(spec, pair[1].data_type(), &format!("{path}.value"), json)?,
                ))
            };
            let entries: Option<Vec<_>> = fields.iter().map(entry).collect();
            (names.len() == fields.len()).then_some(Cell::Map(entries?))?
        }
        (DataType::Struct(declared), Json::Object(fields)) => {
            Cell::Struct(columns(spec, declared, path, fields)?)
        }
        _ => return None,
    })
}

/// The digits of `text × 10^scale`, which must be whole, without leading zeros.
fn decimal(text: &str, scale: i64) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !mantissa.contains(|c| ('1'..='9').contains(&c)) {
        return Some("0".into());
    }
    let shift = scale + exponent.parse::<i64>().ok()?.clamp(-9999, 9999);
    let (mut whole, mut fraction) = (whole.to_owned(), fraction.to_owned());
    for _ in 0..shift.abs() {
        if shift > 0 {
            whole.push(if fraction.is_empty() { '0' } else { fraction.remove(0) });
        } else {
            fraction.insert(0, whole.pop().unwrap_or('0'));
        }
    }
    let digits = whole.trim_start_matches('0');
    fraction.chars().all(|c| c == '0').then(|| format!("{sign}{digits}"))
}

fn epoch(text: &str, format: TimestampFormat) -> Option<i128> {
    let scaled = |scale| decimal(text, scale)?.parse::<i128>().ok();
    bounded(match format {
        TimestampFormat::EpochSeconds => scaled(6)?,
        TimestampFormat::EpochMillis => scaled(3)?,
        TimestampFormat::EpochMicros => scaled(0)?,
        TimestampFormat::EpochNanos => scaled(0)?.div_euclid(1000),
        TimestampFormat::EpochDays => scaled(0)?.checked_mul(86_400_000_000)?,
        TimestampFormat::Iso8601 => panic!("no number"),
    })
}

fn bounded(micros: i128) -> Option<i128> {
    let at = |year, micros: i64| {
        let date = NaiveDate::from_ymd_opt(year, 1, 1).expect("a year");
        i128::from(
            date.and_hms_opt(0, 0, 0).expect("midnight").and_utc().timestamp_micros() + micros,
        )
    };
    (at(1, 0)..=at(10_000, -1)).contains(&micros).then_some(micros)
}

fn days(text: &str) -> Option<i128> {
    let shape = Regex::new("^[0-9]{4}-[0-9]{2}-[0-9]{2}$").expect("a pattern");
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a day");
    (shape.is_match(text) && !text.starts_with("0000")).then(|| (date - epoch).num_days().into())
}

fn timestamp(text: &str, zone: Option<chrono_tz::Tz>) -> Option<i128> {
    let shape = "^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?\
                 (?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2}))?)?$";
    let found = Regex::new(shape).expect("a pattern").captures(text)?;
    let part = |i: usize| found.get(i).map(|m| m.as_str());
    let second = part(3).unwrap_or("00");
    let time = format!("{}:{second}", &found[2]);
    let time =
        chrono::NaiveTime::parse_from_str(&time, "%H:%M:%S").ok().filter(|_| second != "60")?;
    let fraction = format!("{:0<6}", part(4).unwrap_or("0"));
    let (micros, lost) = fraction.split_at(6);
    let micros: i64 = lost.chars().all(|c| c == '0').then_some(micros)?.parse().ok()?;
    days(&found[1])?;
    let local = NaiveDate::parse_from_str(&found[1], "%Y-%m-%d").ok()?.and_time(time);
    let local = local + chrono::TimeDelta::microseconds(micros);
    let minutes = match (part(5), part(6)) {
        (Some(_), _) => Some(0),
        (_, Some(sign)) => {
            let (hours, minutes) =
                (part(7)?.parse::<i64>().ok()?, part(8).unwrap_or("0").parse::<i64>().ok()?);
            let total = hours * 60 + minutes;
            (minutes < 60 && total <= 18 * 60)
                .then_some(if sign == "-" { -total } else { total })
                .map(Some)?
        }
        _ => None,
    };
    match (zone, minutes) {
        (None, None) => Some(local.and_utc().timestamp_micros().into()),
        (None, Some(_)) => None,
        (Some(_), Some(minutes)) => {
            Some(i128::from(local.and_utc().timestamp_micros() - minutes * 60_000_000))
        }
        (Some(zone), None) => {
            Some(zone.from_local_datetime(&local).earliest()?.timestamp_micros().into())
        }
    }
}

/// One value of an array.
pub(super) fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    let integer = |value: i64| Cell::Integer(value.into());
    match array.data_type() {
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::Int8 => integer(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => integer(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => integer(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => integer(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => {
            integer(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Decimal128(..) => {
            Cell::Integer(array.as_primitive::<Decimal128Type>().value(row))
        }
        DataType::Float32 => Cell::Float(array.as_primitive::<Float32Type>().value(row).to_bits()),
        DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::List(_) => Cell::List(cells(&array.as_list::<i32>().value(row))),
        DataType::Struct(_) => {
            Cell::Struct(array.as_struct().columns().iter().map(|c| cell(c, row)).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let keys =
                entries.column(0).as_string::<i32>().iter().map(|k| k.expect("a key").to_owned());
            Cell::Map(keys.zip(cells(entries.column(1))).collect())
        }
        other => panic!("no column has the type {other}"),
    }
}

fn cells(array: &dyn Array) -> Vec<Cell> {
    (0..array.len()).map(|row| cell(array, row)).collect()
}
