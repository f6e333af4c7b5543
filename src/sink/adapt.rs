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

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
        Int32Array, Int64Array, TimestampMicrosecondArray,
    };

    use super::*;

    /// The column in a field of that type, alone and in a list.
    fn check(column: impl Array + 'static, expected: impl Array + 'static) {
        let (column, expected): (ArrayRef, ArrayRef) = (Arc::new(column), Arc::new(expected));
        let to = Field::new("x", expected.data_type().clone(), true);
        let adapted = adapt(&column, &to).expect("it has room");
        assert_eq!(adapted.as_ref(), expected.as_ref());
        let list = |values: ArrayRef| -> ArrayRef {
            let element = Field::new("element", values.data_type().clone(), true);
            let offsets = arrow::buffer::OffsetBuffer::from_lengths([values.len()]);
            Arc::new(ListArray::new(Arc::new(element), offsets, values, None))
        };
        let expected = list(expected);
        let to = Field::new("x", expected.data_type().clone(), true);
        assert_eq!(adapt(&list(column), &to).expect("it has room").as_ref(), expected.as_ref());
    }

    fn decimals(values: &[Option<i128>], precision: u8, scale: i8) -> Decimal128Array {
        let array = Decimal128Array::from(values.to_vec());
        array.with_precision_and_scale(precision, scale).expect("in range")
    }

    #[test]
    fn narrower_values_stay_what_they_are() {
        let bytes = || Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)]);
        check(bytes(), Int16Array::from(vec![Some(-128), None, Some(127)]));
        check(bytes(), Int64Array::from(vec![Some(-128), None, Some(127)]));
        check(bytes(), Float64Array::from(vec![Some(-128.0), None, Some(127.0)]));
        check(bytes(), decimals(&[Some(-12_800), None, Some(12_700)], 12, 2));
        let ints = || Int32Array::from(vec![i32::MIN, i32::MAX]);
        check(ints(), Int64Array::from(vec![i64::from(i32::MIN), i64::from(i32::MAX)]));
        check(ints(), Float64Array::from(vec![f64::from(i32::MIN), f64::from(i32::MAX)]));
        check(ints(), decimals(&[Some(i32::MIN.into()), Some(i32::MAX.into())], 10, 0));
        let longs = Int64Array::from(vec![i64::MIN, i64::MAX]);
        check(longs, decimals(&[Some(i64::MIN.into()), Some(i64::MAX.into())], 20, 0));
        let floats = Float32Array::from(vec![0.1, f32::NAN, f32::NEG_INFINITY, -0.0]);
        let doubles = vec![f64::from(0.1f32), f64::NAN, f64::NEG_INFINITY, -0.0];
        check(floats, Float64Array::from(doubles));
        check(
            decimals(&[Some(-99_999), None, Some(1)], 5, 2),
            decimals(&[Some(-99_999 * 10i128.pow(16)), None, Some(10i128.pow(16))], 38, 18),
        );
        let midnights = TimestampMicrosecondArray::from(vec![Some(-MICROS_PER_DAY), None, Some(0)]);
        check(Date32Array::from(vec![Some(-1), None, Some(0)]), midnights);
    }

    #[test]
    fn a_day_that_no_microsecond_reaches_is_an_error() {
        let column: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        let local = TimestampMicrosecondArray::from(Vec::<i64>::new());
        let to = Field::new("x", local.data_type().clone(), true);
        adapt(&column, &to).expect_err("it would wrap around");
    }

    #[test]
    fn a_type_that_is_not_narrower_is_never_converted() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        for to in [DataType::Int32, DataType::Float64, DataType::Utf8, DataType::Decimal128(10, 0)]
        {
            adapt(&column, &Field::new("x", to, true)).expect_err("not as it is");
        }
    }
}
