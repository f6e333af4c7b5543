//! A field's default, written as JSON in a schema, as the datum that a writer would have written.

use serde_json::Value;

use super::schema::{Record, Type};

/// `None`: the text is no value of the type.
pub(super) fn encode(of: &Type, value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    append(of, value, &mut out)?;
    Some(out)
}

fn append(of: &Type, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match (of, value) {
        (Type::Null, Value::Null) => {}
        (Type::Boolean, Value::Bool(value)) => out.push((*value).into()),
        (Type::Int | Type::Date | Type::TimeMillis, Value::Number(number)) => {
            long(out, i32::try_from(number.as_i64()?).ok()?.into());
        }
        (Type::Long | Type::TimeMicros | Type::Timestamp { .. }, Value::Number(number)) => {
            long(out, number.as_i64()?);
        }
        (Type::Float, Value::Number(number)) => {
            out.extend_from_slice(&(number.as_f64()? as f32).to_le_bytes());
        }
        (Type::Double, Value::Number(number)) => {
            out.extend_from_slice(&number.as_f64()?.to_le_bytes());
        }
        (Type::Bytes | Type::Decimal { fixed: None, .. }, Value::String(text)) => {
            sized(out, &latin1(text)?);
        }
        (Type::String | Type::Uuid(None), Value::String(text)) => sized(out, text.as_bytes()),
        (Type::Enum(of), Value::String(text)) => {
            long(out, of.symbols.iter().position(|symbol| **symbol == **text)? as i64);
        }
        (Type::Array(items), Value::Array(values)) => {
            block(out, values.len());
            values.iter().try_for_each(|value| append(&items.of, value, out))?;
            end(out, values.len());
        }
        (Type::Map(items), Value::Object(entries)) => {
            block(out, entries.len());
            for (key, value) in entries {
                sized(out, key.as_bytes());
                append(&items.of, value, out)?;
            }
            end(out, entries.len());
        }
        (Type::Record(of), Value::Object(fields)) => record(of, fields, out)?,
        (Type::Union(branches), value) => union(branches, value, out)?,
        (of, Value::String(text)) => {
            let bytes = latin1(text)?;
            out.extend_from_slice((of.fixed()?.size == bytes.len()).then_some(&bytes)?);
        }
        _ => return None,
    }
    Some(())
}

/// The first type that the value is one of (Avro 1.12; before, only the first type's).
fn union(branches: &[Type], value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    for (index, branch) in branches.iter().enumerate() {
        long(out, index as i64);
        if append(branch, value, out).is_some() {
            return Some(());
        }
        out.truncate(start);
    }
    None
}

fn record(of: &Record, values: &serde_json::Map<String, Value>, out: &mut Vec<u8>) -> Option<()> {
    for field in &of.fields {
        let value = values.get(&*field.name).or(field.default.as_ref())?;
        append(&field.of, value, out)?;
    }
    Some(())
}

/// Bytes are written as the characters of those numbers.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

fn block(out: &mut Vec<u8>, items: usize) {
    long(out, items as i64);
}

/// Blocks end with an empty one; one without items was it.
fn end(out: &mut Vec<u8>, items: usize) {
    if items > 0 {
        out.push(0);
    }
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

pub(super) fn long(out: &mut Vec<u8>, value: i64) {
    let mut encoded = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while encoded >= 0x80 {
        out.push(encoded as u8 | 0x80);
        encoded >>= 7;
    }
    out.push(encoded as u8);
}
