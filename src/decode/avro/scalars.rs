//! Which types go into which columns, of those that no other type is inside of.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};

use super::columns::duration_type;
use super::schema::{Encoding, Type};
use super::step::Step;

/// `None`: the column can't take the type.
pub(super) fn scalar(writer: &Type, column: &DataType) -> Option<Step> {
    if let Some(step) = logical(writer, column) {
        return Some(step);
    }
    Some(match (writer.encoding(), column) {
        (Encoding::Boolean, DataType::Boolean) => Step::Boolean,
        (Encoding::Int, DataType::Int8) => Step::IntToTiny,
        (Encoding::Int, DataType::Int16) => Step::IntToSmall,
        (Encoding::Int, DataType::Int32) => Step::Int,
        (Encoding::Int, DataType::Int64) => Step::IntToLong,
        (Encoding::Int, DataType::Float32) => Step::IntToFloat,
        (Encoding::Int, DataType::Float64) => Step::IntToDouble,
        (Encoding::Long, DataType::Int64) => Step::Long,
        (Encoding::Long, DataType::Float32) => Step::LongToFloat,
        (Encoding::Long, DataType::Float64) => Step::LongToDouble,
        (Encoding::Float, DataType::Float32) => Step::Float,
        (Encoding::Float, DataType::Float64) => Step::FloatToDouble,
        (Encoding::Double, DataType::Float64) => Step::Double,
        (Encoding::String, DataType::Utf8) => Step::Text,
        (Encoding::String, DataType::Binary) => Step::TextToBytes,
        (Encoding::Bytes, DataType::Binary) => Step::Bytes,
        (Encoding::Bytes, DataType::Utf8) if !writer.has_meaning() => Step::BytesToText,
        (Encoding::Fixed, DataType::Binary) => Step::Fixed(writer.fixed()?.size),
        _ => return None,
    })
}

fn logical(writer: &Type, column: &DataType) -> Option<Step> {
    match (writer, column) {
        (Type::Date, DataType::Date32) => Some(Step::Date),
        (Type::Timestamp { unit, local }, DataType::Timestamp(TimeUnit::Microsecond, zone))
            if zone.is_none() == *local =>
        {
            Some(Step::Timestamp(*unit))
        }
        (Type::Decimal { scale, fixed, .. }, DataType::Decimal128(precision, to_scale))
            if i8::try_from(*scale).is_ok_and(|scale| scale == *to_scale) =>
        {
            let limit = 10i128.checked_pow((*precision).into())?;
            Some(Step::Decimal { limit, size: fixed.as_ref().map(|fixed| fixed.size) })
        }
        (Type::Uuid(Some(_)), DataType::Utf8) => Some(Step::Uuid),
        (Type::Duration(_), _) if is_duration(column) => Some(Step::Duration),
        (Type::Enum(of), DataType::Utf8) => Some(Step::Symbol(Arc::clone(&of.symbols))),
        _ => None,
    }
}

fn is_duration(data_type: &DataType) -> bool {
    let shape = |data_type: &DataType| match data_type {
        DataType::Struct(fields) => {
            fields.iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
        }
        _ => Vec::new(),
    };
    shape(data_type) == shape(&duration_type())
}
