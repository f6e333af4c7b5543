//! The result of an expression as a type that Delta Lake has.
//!
//! [`of`] says which type that is, [`convert`] makes an array of it. Numbers are converted with a check, never by
//! wrapping; times are cut to microseconds, towards the past.

use std::sync::Arc;

use arrow::array::types::TimestampNanosecondType;
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, ListArray, MapArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;

use crate::schema::{ddl, timestamp_type};

/// The Delta type that values of `data_type` are stored as, or why there is none and what to do.
pub(super) fn of(data_type: &DataType) -> Result<DataType, String> {
    Ok(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Utf8
        | DataType::Binary => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => timestamp_type(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => decimal(*precision, *scale)?,
        DataType::Decimal256(..) => {
            return Err(
                "has more than the 38 digits that a DECIMAL has; use CAST(… AS DECIMAL(38, s))"
                    .into(),
            );
        }
        DataType::Null => {
            return Err("is NULL of no type; use CAST(NULL AS STRING) or another type".into());
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            return Err("is a time of day, which Delta Lake doesn't have; CAST it AS STRING".into());
        }
        DataType::Interval(_) => {
            return Err("is an interval, which Delta Lake doesn't have; add it to a timestamp, or CAST it AS STRING".into());
        }
        DataType::Duration(_) => {
            return Err("is a duration, which Delta Lake doesn't have; date_part('epoch', …) of it gives seconds".into());
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => crate::schema::list_type(of(item.data_type())?),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                let nullable = field.is_nullable();
                Ok(Field::new(field.name(), of(field.data_type())?, nullable))
            });
            DataType::Struct(fields.collect::<Result<Fields, String>>()?)
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                crate::schema::map_type(of(pair[0].data_type())?, of(pair[1].data_type())?)
            }
            other => return Err(format!("is a map of {other}, which Delta Lake doesn't have")),
        },
        DataType::Dictionary(_, value) => of(value)?,
        DataType::RunEndEncoded(_, value) => of(value.data_type())?,
        DataType::Union(..) => return Err("may be of several types; CAST it to one".into()),
    })
}

fn decimal(precision: u8, scale: i8) -> Result<DataType, String> {
    match u8::try_from(scale) {
        Ok(digits) if digits <= precision => Ok(DataType::Decimal128(precision, scale)),
        _ => Err(format!(
            "is {}, which Delta Lake doesn't have; CAST it AS DECIMAL(p, s)",
            ddl::format_type(&DataType::Decimal128(precision, scale))
        )),
    }
}

/// Values as `target`, the answer of [`of`] for their type.
pub(super) fn convert(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let converted: ArrayRef = match (array.data_type(), target) {
        (DataType::Decimal128(..), DataType::Decimal128(precision, _)) => {
            fits(array.as_primitive(), *precision)?;
            Arc::clone(array)
        }
        (source, target) if source == target => Arc::clone(array),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(_, zone)) => {
            let nanos = array.as_primitive::<TimestampNanosecondType>();
            let micros: TimestampMicrosecondArray = nanos.unary(|nanos| nanos.div_euclid(1000));
            Arc::new(micros.with_timezone_opt(zone.clone()))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = convert(list.values(), item.data_type())?;
            let (item, nulls) = (Arc::clone(item), list.nulls().cloned());
            Arc::new(ListArray::try_new(item, list.offsets().clone(), values, nulls)?)
        }
        (
            DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _),
            DataType::List(_),
        ) => convert(&cast(array, &DataType::List(Arc::clone(item)))?, target)?,
        (DataType::Struct(_), DataType::Struct(fields)) => Arc::new(structure(array, fields)?),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let DataType::Struct(pair) = entries.data_type() else {
                unreachable!("a map's entries are a struct")
            };
            let pairs: ArrayRef = Arc::new(map.entries().clone());
            let pairs = structure(&pairs, pair)?;
            let (entries, nulls) = (Arc::clone(entries), map.nulls().cloned());
            Arc::new(MapArray::try_new(entries, map.offsets().clone(), pairs, nulls, *sorted)?)
        }
        (DataType::Dictionary(_, value), _) => convert(&cast(array, value)?, target)?,
        (DataType::RunEndEncoded(_, value), _) => {
            convert(&cast(array, value.data_type())?, target)?
        }
        _ => cast(array, target)?,
    };
    Ok(converted)
}

fn structure(array: &ArrayRef, fields: &Fields) -> Result<StructArray, ArrowError> {
    let array = array.as_struct();
    let columns = array.columns().iter().zip(fields);
    let columns: Result<Vec<_>, _> =
        columns.map(|(column, field)| convert(column, field.data_type())).collect();
    StructArray::try_new_with_length(fields.clone(), columns?, array.nulls().cloned(), array.len())
}

/// Sums and products can have a digit more than their type has: arrow looks at the 128 bits only.
fn fits(decimals: &Decimal128Array, precision: u8) -> Result<(), ArrowError> {
    decimals.validate_decimal_precision(precision)
}

fn cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let checked = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(array, target, &checked)
}
