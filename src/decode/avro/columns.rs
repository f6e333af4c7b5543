//! The columns of a schema, where the configuration declares none (docs/reference/avro.md has the table).

use arrow::datatypes::{DataType, Field, Fields};
use thiserror::Error;

use super::schema::{Record, RecordField, Type};
use super::unions::{Shape, member_name};
use crate::schema::{ddl, list_type, map_type, timestamp_type};

/// Digits of Delta's and Arrow's decimals.
const MAX_PRECISION: usize = 38;

/// Columns of a table, nested ones counted.
const MAX_COLUMNS: usize = 10_000;

/// Why a schema has no columns. Paths have dots.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum NoColumns {
    #[error("`{path}` and `{twin}` are the same name to Delta Lake, which ignores case")]
    SameName { path: String, twin: String },
    #[error("`{path}`: {reason}")]
    Name { path: String, reason: String },
    #[error(
        "`{path}` is a decimal of {precision} digits, and tables hold {MAX_PRECISION} at most; with declared columns, \
         BINARY keeps its bytes"
    )]
    Precision { path: String, precision: usize },
    #[error("`{path}` is {what}, of which a table can hold nothing")]
    Nothing { path: String, what: String },
    #[error("`{path}` is nested deeper than {} levels", ddl::MAX_DEPTH)]
    TooDeep { path: String },
    #[error("more than {MAX_COLUMNS} columns, nested ones counted")]
    TooMany,
}

/// The columns of a row, all of them nullable: a later schema may drop any field, and tables that are there needn't
/// change then. A field that only holds null has none.
pub(super) fn columns(row: &Record) -> Result<Vec<Field>, NoColumns> {
    let mut builder = Builder { path: Vec::new(), columns: 0 };
    for field in &row.fields {
        if let Err((what, hint)) = crate::config::top_level_column(&field.name) {
            let reason = if hint.is_empty() { what } else { format!("{what}; {hint}") };
            return Err(NoColumns::Name { path: field.name.to_string(), reason });
        }
    }
    builder.fields(&row.fields)
}

struct Builder {
    path: Vec<String>,
    columns: usize,
}

impl Builder {
    fn fields(&mut self, fields: &[RecordField]) -> Result<Vec<Field>, NoColumns> {
        let mut columns: Vec<Field> = Vec::with_capacity(fields.len());
        for field in fields {
            self.path.push(field.name.to_string());
            let twin = columns.iter().find(|c| c.name().eq_ignore_ascii_case(&field.name));
            if let Some(twin) = twin {
                return Err(NoColumns::SameName { path: self.path(), twin: twin.name().clone() });
            }
            columns.extend(self.column(&field.name, &field.of)?);
            self.path.pop();
        }
        Ok(columns)
    }

    fn column(&mut self, name: &str, of: &Type) -> Result<Option<Field>, NoColumns> {
        self.columns += 1;
        if self.columns > MAX_COLUMNS {
            return Err(NoColumns::TooMany);
        }
        if self.path.len() > ddl::MAX_DEPTH {
            return Err(NoColumns::TooDeep { path: self.path() });
        }
        let data_type = match of.shape() {
            Shape::Nothing => return Ok(None),
            Shape::One(of) => self.data_type(of)?,
            Shape::Members(of) => self.members(&of)?,
        };
        Ok(Some(Field::new(name, data_type, true)))
    }

    fn members(&mut self, of: &[&Type]) -> Result<DataType, NoColumns> {
        let mut fields = Vec::with_capacity(of.len());
        for (index, of) in of.iter().enumerate() {
            let name = member_name(index);
            self.path.push(name.clone());
            // No branch is null or a union.
            let data_type = self.data_type(of)?;
            self.columns += 1;
            self.path.pop();
            fields.push(Field::new(name, data_type, true));
        }
        Ok(DataType::Struct(Fields::from(fields)))
    }

    fn data_type(&mut self, of: &Type) -> Result<DataType, NoColumns> {
        Ok(match of {
            Type::Null | Type::Union(_) => unreachable!("`shape` has looked into unions"),
            Type::Boolean => DataType::Boolean,
            Type::Int | Type::TimeMillis => DataType::Int32,
            Type::Long | Type::TimeMicros => DataType::Int64,
            Type::Float => DataType::Float32,
            Type::Double => DataType::Float64,
            Type::Bytes | Type::Fixed(_) => DataType::Binary,
            Type::String | Type::Uuid(_) | Type::Enum(_) => DataType::Utf8,
            Type::Date => DataType::Date32,
            Type::Timestamp { local: false, .. } => timestamp_type(),
            Type::Timestamp { local: true, .. } => local_timestamp_type(),
            Type::Decimal { precision, scale, .. } => self.decimal(*precision, *scale)?,
            Type::Duration(_) => duration_type(),
            Type::Array(items) => list_type(self.items("element", &items.of)?),
            Type::Map(items) => map_type(DataType::Utf8, self.items("value", &items.of)?),
            Type::Record(record) => match self.fields(&record.fields)? {
                fields if fields.is_empty() => return Err(self.nothing(of)),
                fields => DataType::Struct(Fields::from(fields)),
            },
        })
    }

    fn items(&mut self, name: &str, of: &Type) -> Result<DataType, NoColumns> {
        self.path.push(name.into());
        let Some(field) = self.column(name, of)? else {
            return Err(self.nothing(of));
        };
        self.path.pop();
        Ok(field.data_type().clone())
    }

    fn decimal(&self, precision: usize, scale: usize) -> Result<DataType, NoColumns> {
        if precision > MAX_PRECISION {
            return Err(NoColumns::Precision { path: self.path(), precision });
        }
        Ok(DataType::Decimal128(precision as u8, scale as i8))
    }

    fn nothing(&self, of: &Type) -> NoColumns {
        let what = match of {
            Type::Record(_) => "a record without fields that hold anything",
            _ => "always null",
        };
        NoColumns::Nothing { path: self.path(), what: what.into() }
    }

    fn path(&self) -> String {
        self.path.join(".")
    }
}

fn local_timestamp_type() -> DataType {
    DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None)
}

/// Unsigned numbers of 32 bits each.
pub(super) fn duration_type() -> DataType {
    let parts = ["months", "days", "milliseconds"];
    DataType::Struct(
        parts.map(|part| Field::new(part, DataType::Int64, true)).into_iter().collect(),
    )
}
