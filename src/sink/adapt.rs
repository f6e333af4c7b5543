//! Brings a column into the shape that a table gives it; every value stays what it is.
//!
//! A table may spell nested names otherwise, allow NULL where the decoder never makes one, have nested
//! fields that the decoder doesn't know, which become NULL, and have wider types. Whether that fits is
//! `features`' to say.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Date32Type, Field, Fields, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::evolution::widens;

const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// The column with exactly the type of `to`.
pub(super) fn adapt(column: &ArrayRef, to: &Field) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == to.data_type() {
        return Ok(Arc::clone(column));
    }
    match (column.data_type(), to.data_type()) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            Ok(Arc::new(adapt_struct(column.as_struct(), fields)?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let (_, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            let values = adapt(&values, item)?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        (DataType::Map(_, _), DataType::Map(entries, sorted)) => {
            let (_, offsets, values, nulls, _) = column.as_map().clone().into_parts();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(mismatch(column.data_type(), to));
            };
            let values = adapt_entries(&values, fields)?;
            Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, values, nulls, *sorted)?))
        }
        (from, wider) if widens(from, wider) => widen(column, wider),
        (from, _) => Err(mismatch(from, to)),
    }
}

/// Nothing is rounded, and nothing becomes NULL: a value without room is an error.
fn widen(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == &DataType::Date32 {
        // Arrow's own cast wraps around for dates that microseconds can't reach.
        let days = column.as_primitive::<Date32Type>();
        let midnights = days.try_unary::<_, TimestampMicrosecondType, _>(|day| {
            let micros = i64::from(day).checked_mul(MICROS_PER_DAY);
            micros.ok_or_else(|| ArrowError::CastError(format!("day {day} is no TIMESTAMP_NTZ")))
        })?;
        return Ok(Arc::new(midnights));
    }
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn adapt_struct(column: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let child = |field: &Arc<Field>| {
        let mut names = column.fields().iter();
        match names.position(|f| f.name().eq_ignore_ascii_case(field.name())) {
            Some(position) => adapt(column.column(position), field),
            None => Ok(new_null_array(field.data_type(), column.len())),
        }
    };
    let children: Result<Vec<_>, _> = fields.iter().map(child).collect();
    StructArray::try_new_with_length(
        fields.clone(),
        children?,
        column.nulls().cloned(),
        column.len(),
    )
}

/// A map's entries go by position: their names mean nothing.
fn adapt_entries(entries: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = entries.columns().iter().zip(fields);
    let columns: Result<Vec<_>, _> = columns.map(|(column, field)| adapt(column, field)).collect();
    StructArray::try_new(fields.clone(), columns?, entries.nulls().cloned())
}

fn mismatch(from: &DataType, to: &Field) -> ArrowError {
    ArrowError::SchemaError(format!("`{}`: {from} is not {}", to.name(), to.data_type()))
}
