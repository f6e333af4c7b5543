//! Arrow values as JSON, for people and scripts to look at.
//!
//! Decimals are text, so that no digit is lost; times are ISO 8601, binaries base64.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};

/// One value of a decoded column.
pub fn of(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => float(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            column.as_primitive::<Decimal128Type>().value_as_string(row).into()
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Binary => BASE64_STANDARD.encode(column.as_binary::<i32>().value(row)).into(),
        DataType::Date32 => {
            let date = column.as_primitive::<Date32Type>().value_as_date(row);
            date.map(|date| date.to_string()).into()
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            instant(micros, zone.is_some()).into()
        }
        DataType::List(_) => list(&column.as_list::<i32>().value(row)),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns().iter();
            let values = fields.iter().map(|field| field.name().clone());
            Value::Object(values.zip(columns.map(|column| of(column, row))).collect())
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pair = |at| (key(of(keys, at)), of(values, at));
            Value::Object((0..entries.len()).map(pair).collect::<Map<_, _>>())
        }
        // The decoder makes no other type.
        other => Value::String(format!("<{other}>")),
    }
}

fn list(items: &ArrayRef) -> Value {
    (0..items.len()).map(|at| of(items, at)).collect()
}

fn key(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// JSON has no word for what isn't a number.
fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value)
        .map_or_else(|| Value::String(value.to_string()), Value::Number)
}

fn instant(micros: i64, zoned: bool) -> Option<String> {
    let at = DateTime::from_timestamp_micros(micros)?;
    Some(match zoned {
        true => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        false => at.naive_utc().to_string().replace(' ', "T"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::chunk::SourcePartition;
    use crate::config::{Decode, Json, Payload};
    use crate::decode::{Decoder, Schemas};
    use crate::message::Message;
    use crate::offsets::{TopicId, TopicPartition};
    use crate::schema::ddl;

    /// What the decoder makes of a record is shown as it was written.
    fn check(ddl: &str, json: &str, expected: &str) {
        let spec = Decode::new(Payload::Json(Json::new(ddl::parse(ddl).expect("a schema"))));
        let mut decoder =
            Decoder::new(&spec, &Schemas::none(), &BTreeSet::new(), false).expect("a decoder");
        let id = TopicPartition::new("t", 0);
        decoder.begin(Arc::new(SourcePartition { id, topic_id: TopicId::unknown() }), 0, None);
        let value = Some(json.as_bytes());
        let message = Message { offset: 0, timestamp_ms: None, key: None, value, headers: &[] };
        decoder.push(&message).expect("a good record");
        let chunk = decoder.finish(1);
        assert_eq!(of(chunk.rows.column(0), 0).to_string(), expected, "{ddl}");
    }

    #[test]
    fn every_type_that_the_decoder_makes_is_shown() {
        check("v STRING", r#"{"v": "a"}"#, r#""a""#);
        check("v STRING", r#"{"v": null}"#, "null");
        check("v BOOLEAN", r#"{"v": true}"#, "true");
        check("v TINYINT", r#"{"v": -7}"#, "-7");
        check("v SMALLINT", r#"{"v": 7}"#, "7");
        check("v INT", r#"{"v": 7}"#, "7");
        check("v BIGINT", r#"{"v": 7}"#, "7");
        check("v FLOAT", r#"{"v": 0.5}"#, "0.5");
        check("v DOUBLE", r#"{"v": 0.1}"#, "0.1");
        check(
            "v DECIMAL(38,4)",
            r#"{"v": 1234567890123456789.0001}"#,
            r#""1234567890123456789.0001""#,
        );
        check("v DATE", r#"{"v": "2026-11-24"}"#, r#""2026-11-24""#);
        check("v TIMESTAMP", r#"{"v": "2026-11-24T12:00:00.5Z"}"#, r#""2026-11-24T12:00:00.500Z""#);
        check("v TIMESTAMP_NTZ", r#"{"v": "2026-11-24T12:00:00"}"#, r#""2026-11-24T12:00:00""#);
        check("v BINARY", r#"{"v": "AAEC"}"#, r#""AAEC""#);
        check("v ARRAY<INT>", r#"{"v": [1, null]}"#, "[1,null]");
        check("v STRUCT<a: INT>", r#"{"v": {"a": 1}}"#, r#"{"a":1}"#);
        check("v MAP<STRING, INT>", r#"{"v": {"k": 1}}"#, r#"{"k":1}"#);
    }
}
