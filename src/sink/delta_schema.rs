//! A table's columns: Arrow's schema to and from Delta's `schemaString` (Delta protocol, "Schema
//! Serialization Format").
//!
//! Guarantees: what is written reads back equal, comments included; an unknown type is named with its
//! column. Other metadata of a table's columns is kept on reading (text as it is, all else as JSON text),
//! and only comments are written: the rest would ask for features.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use serde_json::{Map, Value, json};

use crate::schema::ddl::COMMENT;

/// Why a schema can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    #[error("`{column}`: sluice does not know the table's type {name}")]
    UnknownType { column: String, name: String },
    #[error("`{column}`: Delta Lake has no type for {data_type}")]
    NoDeltaType { column: String, data_type: String },
    #[error("the table's schema is not what the Delta protocol says: {0}")]
    Malformed(String),
}

/// Delta's `schemaString`.
pub fn to_json(schema: &Schema) -> Result<String, SchemaProblem> {
    Ok(struct_json(schema.fields(), "")?.to_string())
}

fn struct_json(fields: &Fields, parent: &str) -> Result<Value, SchemaProblem> {
    let fields: Result<Vec<Value>, _> = fields.iter().map(|f| field_json(f, parent)).collect();
    Ok(json!({"type": "struct", "fields": fields?}))
}

pub(super) fn field_json(field: &Field, parent: &str) -> Result<Value, SchemaProblem> {
    let mut metadata = Map::new();
    if let Some(comment) = field.metadata().get(COMMENT) {
        metadata.insert(COMMENT.to_owned(), Value::from(comment.as_str()));
    }
    Ok(json!({
        "name": field.name(),
        "type": type_json(field.data_type(), &child_path(parent, field.name()))?,
        "nullable": field.is_nullable(),
        "metadata": metadata,
    }))
}

pub(super) fn type_json(data_type: &DataType, column: &str) -> Result<Value, SchemaProblem> {
    let name = match data_type {
        DataType::Struct(fields) => return struct_json(fields, column),
        DataType::List(item) => {
            return Ok(json!({
                "type": "array",
                "elementType": type_json(item.data_type(), &child_path(column, "element"))?,
                "containsNull": item.is_nullable(),
            }));
        }
        DataType::Map(entries, _) => {
            let (key, value) = map_fields(entries).ok_or_else(|| no_type(column, data_type))?;
            return Ok(json!({
                "type": "map",
                "keyType": type_json(key.data_type(), &child_path(column, "key"))?,
                "valueType": type_json(value.data_type(), &child_path(column, "value"))?,
                "valueContainsNull": value.is_nullable(),
            }));
        }
        DataType::Decimal128(precision, scale) => {
            return Ok(json!(format!("decimal({precision},{scale})")));
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamp",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp_ntz",
        DataType::Boolean => "boolean",
        DataType::Int8 => "byte",
        DataType::Int16 => "short",
        DataType::Int32 => "integer",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 => "string",
        DataType::Binary => "binary",
        DataType::Date32 => "date",
        other => return Err(no_type(column, other)),
    };
    Ok(json!(name))
}

fn no_type(column: &str, data_type: &DataType) -> SchemaProblem {
    SchemaProblem::NoDeltaType { column: column.to_owned(), data_type: data_type.to_string() }
}

/// The key and the value of a map's entries.
pub(super) fn map_fields(entries: &Field) -> Option<(&Field, &Field)> {
    match entries.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => Some((&fields[0], &fields[1])),
        _ => None,
    }
}

pub(super) fn child_path(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// Whether there is a TIMESTAMP_NTZ in a type, which is a table feature.
pub(super) fn has_local_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_local_time(f.data_type())),
        DataType::List(field) | DataType::Map(field, _) => has_local_time(field.data_type()),
        _ => false,
    }
}

/// The columns of a `schemaString`.
pub fn from_json(text: &str) -> Result<Schema, SchemaProblem> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| SchemaProblem::Malformed(e.to_string()))?;
    Ok(Schema::new(read_fields(&value, "")?))
}

fn read_fields(value: &Value, parent: &str) -> Result<Fields, SchemaProblem> {
    let fields = value["fields"].as_array().ok_or_else(|| malformed(parent, "fields"))?;
    fields.iter().map(|f| read_field(f, parent)).collect()
}

fn read_field(value: &Value, parent: &str) -> Result<Field, SchemaProblem> {
    let name = value["name"].as_str().ok_or_else(|| malformed(parent, "name"))?;
    let column = child_path(parent, name);
    let nullable = value["nullable"].as_bool().unwrap_or(true);
    let data_type = read_type(&value["type"], &column)?;
    Ok(Field::new(name, data_type, nullable).with_metadata(read_metadata(&value["metadata"])))
}

fn read_metadata(value: &Value) -> HashMap<String, String> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), text(value))).collect()
}

fn read_type(value: &Value, column: &str) -> Result<DataType, SchemaProblem> {
    match (value.as_str(), value["type"].as_str()) {
        (Some(name), _) => read_primitive(name).ok_or_else(|| unknown(column, name)),
        (None, Some("struct")) => Ok(DataType::Struct(read_fields(value, column)?)),
        (None, Some("array")) => {
            let item = read_type(&value["elementType"], &child_path(column, "element"))?;
            let nullable = value["containsNull"].as_bool().unwrap_or(true);
            Ok(DataType::List(Arc::new(Field::new("element", item, nullable))))
        }
        (None, Some("map")) => {
            let key = read_type(&value["keyType"], &child_path(column, "key"))?;
            let item = read_type(&value["valueType"], &child_path(column, "value"))?;
            let nullable = value["valueContainsNull"].as_bool().unwrap_or(true);
            let entries = Fields::from(vec![
                Field::new("key", key, false),
                Field::new("value", item, nullable),
            ]);
            let entries = Field::new("key_value", DataType::Struct(entries), false);
            Ok(DataType::Map(Arc::new(entries), false))
        }
        (None, Some(name)) => Err(unknown(column, name)),
        (None, None) => Err(malformed(column, "type")),
    }
}

fn read_primitive(name: &str) -> Option<DataType> {
    Some(match name {
        "boolean" => DataType::Boolean,
        "byte" => DataType::Int8,
        "short" => DataType::Int16,
        "integer" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "string" => DataType::Utf8,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        // Spark's own default.
        "decimal" => DataType::Decimal128(10, 0),
        _ => {
            let arguments = name.strip_prefix("decimal(")?.strip_suffix(')')?;
            let (precision, scale) = arguments.split_once(',')?;
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            let fits = (1..=38).contains(&precision) && (0..=38).contains(&scale);
            (fits && i8::try_from(precision).ok()? >= scale)
                .then_some(DataType::Decimal128(precision, scale))?
        }
    })
}

fn unknown(column: &str, name: &str) -> SchemaProblem {
    SchemaProblem::UnknownType { column: column.to_owned(), name: name.to_owned() }
}

pub(super) fn malformed(column: &str, missing: &str) -> SchemaProblem {
    let place = if column.is_empty() { "the top level" } else { column };
    SchemaProblem::Malformed(format!("no `{missing}` at {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_of_every_type() -> Vec<Field> {
        let list = |item: Field| DataType::List(Arc::new(item));
        let comment = HashMap::from([(COMMENT.to_owned(), "what \"it\" is".to_owned())]);
        let map = read_type(
            &json!({"type": "map", "keyType": "string", "valueType": "long", "valueContainsNull": false}),
            "m",
        );
        vec![
            Field::new("flag", DataType::Boolean, true),
            Field::new("tiny", DataType::Int8, true),
            Field::new("small", DataType::Int16, true),
            Field::new("int", DataType::Int32, false),
            Field::new("long", DataType::Int64, true).with_metadata(comment),
            Field::new("float", DataType::Float32, true),
            Field::new("double", DataType::Float64, true),
            Field::new("text ü", DataType::Utf8, true),
            Field::new("bytes", DataType::Binary, true),
            Field::new("day", DataType::Date32, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("local", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("amount", DataType::Decimal128(38, 18), true),
            Field::new("list", list(Field::new("element", DataType::Int64, false)), true),
            Field::new("map", map.expect("a map"), true),
            Field::new(
                "nested",
                DataType::Struct(vec![Field::new("inner", DataType::Utf8, false)].into()),
                true,
            ),
        ]
    }

    #[test]
    fn every_type_reads_back_equal() {
        let schema = Schema::new(fields_of_every_type());
        let text = to_json(&schema).expect("every type is Delta's");
        assert_eq!(from_json(&text).expect("own text"), schema);
    }

    #[test]
    fn the_text_is_the_protocols() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int32, false),
            Field::new("d", DataType::Decimal128(18, 4), true),
        ]);
        let expected = json!({"type": "struct", "fields": [
            {"name": "a", "type": "integer", "nullable": false, "metadata": {}},
            {"name": "d", "type": "decimal(18,4)", "nullable": true, "metadata": {}},
        ]});
        let written: Value = serde_json::from_str(&to_json(&schema).expect("valid")).expect("JSON");
        assert_eq!(written, expected);
    }

    fn check_unreadable(field_type: Value, expected: &str) {
        let text = json!({"type": "struct", "fields": [
            {"name": "x", "type": field_type, "nullable": true, "metadata": {}}
        ]});
        let error = from_json(&text.to_string()).expect_err("unknown");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_unknown_type_is_named_with_its_column() {
        check_unreadable(json!("variant"), "`x`: sluice does not know the table's type variant");
        check_unreadable(
            json!({"type": "array", "elementType": "void", "containsNull": true}),
            "`x.element`: sluice does not know the table's type void",
        );
        check_unreadable(
            json!("decimal(4,9)"),
            "`x`: sluice does not know the table's type decimal(4,9)",
        );
        check_unreadable(
            json!(7),
            "the table's schema is not what the Delta protocol says: no `type` at x",
        );
    }

    #[test]
    fn an_arrow_type_without_a_delta_type_is_refused() {
        let schema = Schema::new(vec![Field::new("u", DataType::UInt64, true)]);
        let error = to_json(&schema).expect_err("unsigned");
        assert_eq!(error.to_string(), "`u`: Delta Lake has no type for UInt64");
    }

    #[test]
    fn column_metadata_is_kept_on_reading() {
        let text = r#"{"type":"struct","fields":[{"name":"x","type":"long","nullable":true,
            "metadata":{"delta.identity.start":1,"comment":"c"}}]}"#;
        let schema = from_json(text).expect("valid");
        let metadata = schema.field(0).metadata();
        assert_eq!(metadata["delta.identity.start"], "1");
        assert_eq!(metadata["comment"], "c");
    }
}
