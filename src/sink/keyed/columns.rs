//! The columns of a key: how values compare, and what a file's statistics say of them.
//!
//! Values are compared by Arrow's row format: bytes whose order is the values' order and in which NULL equals NULL.
//! Owns the conversion of a batch's keys, of bounds in `add.stats` and of partition values into it. Guarantees: a
//! [`Domain`] holds every value that its file can have; what can't be read for certain counts as "any".

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Int64Array,
};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use delta_kernel::schema::PrimitiveType;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sink::features::TableProblem;

/// Characters of a text bound from which on it may have been cut by its writer.
const CUT_TEXT_CHARS: usize = 32;

/// Writers cut the times in statistics to milliseconds, some towards zero.
const TIME_SLACK_US: i64 = 1000;

/// A double keeps so many decimal digits, whatever they are.
const EXACT_DIGITS: usize = 15;

/// The key's columns: those that the table is partitioned by first, for they tell files apart best.
#[derive(Debug)]
pub struct KeyColumns(Vec<KeyColumn>);

#[derive(Debug)]
pub(super) struct KeyColumn {
    /// As the table spells it.
    pub name: String,
    pub data_type: DataType,
    pub is_partition: bool,
    converter: RowConverter,
}

/// The values that a file can have in one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Domain {
    pub nulls: bool,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Values {
    None,
    /// In row format, both ends included.
    Between(Box<[u8]>, Box<[u8]>),
    Any,
}

impl Domain {
    const ANY: Self = Self { nulls: true, values: Values::Any };

    /// A single value, if it is one.
    pub fn is_point(&self) -> bool {
        match &self.values {
            Values::None => self.nulls,
            Values::Between(min, max) => !self.nulls && min == max,
            Values::Any => false,
        }
    }

    pub fn holds(&self, value: &[u8]) -> bool {
        match &self.values {
            _ if is_null(value) => self.nulls,
            Values::None => false,
            Values::Between(min, max) => (&**min..=&**max).contains(&value),
            Values::Any => true,
        }
    }
}

/// NULLs come first, and nothing else begins with their mark.
pub(super) fn is_null(value: &[u8]) -> bool {
    value.first() == Some(&0)
}

impl KeyColumns {
    /// # Errors
    /// With every column that can't be one of a key.
    pub fn new(
        table: &Schema,
        partition_columns: &[String],
        key: &[String],
    ) -> Result<Self, Vec<TableProblem>> {
        let (mut columns, mut problems) = (Vec::new(), Vec::new());
        for name in key {
            match KeyColumn::new(table, partition_columns, name) {
                Ok(column) => columns.push(column),
                Err(reason) => {
                    problems.push(TableProblem::KeyColumn { column: name.clone(), reason });
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        columns.sort_by_key(|column| !column.is_partition);
        Ok(Self(columns))
    }

    /// No key: files are told by their names alone.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// The columns as the table spells them, in the order of [`KeyColumns::each_key`].
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|column| column.name.clone()).collect()
    }

    /// Hands over each row's key, in bytes that are equal when the keys are.
    pub fn each_key(
        &self,
        columns: &[ArrayRef],
        mut on_key: impl FnMut(&[u8]),
    ) -> Result<(), ArrowError> {
        let keys = self.encode(columns)?;
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            keys.write(row, &mut bytes, &mut ends);
            on_key(&bytes);
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &KeyColumn> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys of a batch, whose columns are these, in this order.
    pub(super) fn encode(&self, columns: &[ArrayRef]) -> Result<EncodedKeys, ArrowError> {
        let encoded = self.0.iter().zip(columns).map(|(key, column)| key.encode(column));
        Ok(EncodedKeys(encoded.collect::<Result<_, _>>()?))
    }

    /// What each column of a file can hold, by its entry in the log.
    pub(super) fn domains(
        &self,
        partition_values: &BTreeMap<String, Option<String>>,
        stats: Option<&str>,
    ) -> Box<[Domain]> {
        let stats: Value =
            stats.and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
        let domain = |column: &KeyColumn| match column.is_partition {
            true => column.of_partition(partition_values.get(&column.name)),
            false => column.of_stats(&stats),
        };
        self.0.iter().map(domain).collect()
    }
}

/// Keys in row format, column by column.
pub(super) struct EncodedKeys(Vec<Rows>);

impl EncodedKeys {
    /// One key's bytes, into a buffer that is emptied first; the columns' ends beside it, without the last.
    pub fn write(&self, row: usize, bytes: &mut Vec<u8>, ends: &mut Vec<u32>) {
        bytes.clear();
        ends.clear();
        for column in &self.0 {
            bytes.extend_from_slice(column.row(row).data());
            ends.push(u32::try_from(bytes.len()).expect("a key is smaller than its message"));
        }
        ends.pop();
    }
}

impl KeyColumn {
    fn new(table: &Schema, partition_columns: &[String], name: &str) -> Result<Self, &'static str> {
        let mut fields = table.fields().iter();
        let field = fields
            .find(|field| field.name().eq_ignore_ascii_case(name))
            .ok_or("the table has no such column")?;
        let comparable = comparable_type(field.data_type())?;
        let converter = RowConverter::new(vec![SortField::new(comparable)])
            .map_err(|_| "its type cannot be compared")?;
        Ok(Self {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            is_partition: partition_columns.contains(field.name()),
            converter,
        })
    }

    fn encode(&self, column: &ArrayRef) -> Result<Rows, ArrowError> {
        let column = comparable(column)?;
        let column = if self.is_partition { without_empty(column)? } else { column };
        self.converter.convert_columns(&[column])
    }

    /// One value's bytes.
    fn bytes(&self, value: &ArrayRef) -> Option<Box<[u8]>> {
        let rows = self.encode(value).ok()?;
        Some(rows.row(0).data().into())
    }

    /// Exactly one value, which the log has as text.
    fn of_partition(&self, value: Option<&Option<String>>) -> Domain {
        let Some(Some(text)) = value.filter(|value| value.as_deref() != Some("")) else {
            return Domain { nulls: true, values: Values::None };
        };
        let bytes = parse_value(text, &self.data_type).and_then(|value| self.bytes(&value));
        match bytes {
            Some(bytes) => Domain { nulls: false, values: Values::Between(bytes.clone(), bytes) },
            None => Domain::ANY,
        }
    }

    fn of_stats(&self, stats: &Value) -> Domain {
        let count = |value: &Value| value.as_u64();
        let nulls = count(&stats["nullCount"][&self.name]);
        if nulls.is_some() && nulls == count(&stats["numRecords"]) {
            return Domain { nulls: true, values: Values::None };
        }
        let min = self.bound(&stats["minValues"][&self.name], End::Min);
        let max = self.bound(&stats["maxValues"][&self.name], End::Max);
        let values = match min.zip(max) {
            Some((min, max)) => Values::Between(min, max),
            None => Values::Any,
        };
        Domain { nulls: nulls != Some(0), values }
    }

    /// A bound that no value of the file is beyond; `None`: not known.
    fn bound(&self, value: &Value, end: End) -> Option<Box<[u8]>> {
        match (&self.data_type, value) {
            (DataType::Utf8, Value::String(text)) => {
                let mut bytes = text.as_bytes().to_vec();
                if end == End::Max && text.chars().count() >= CUT_TEXT_CHARS {
                    // Above every text that begins so: a writer may have cut without rounding up.
                    bytes.push(0xff);
                }
                let value: ArrayRef = Arc::new(BinaryArray::from_vec(vec![&bytes]));
                Some(self.converter.convert_columns(&[value]).ok()?.row(0).data().into())
            }
            (DataType::Timestamp(..), Value::String(text)) => {
                let value = cast(&parse_value(text, &self.data_type)?, &DataType::Int64).ok()?;
                let value = value.as_primitive::<Int64Type>().value(0);
                let wide = match end {
                    End::Min => value.saturating_sub(TIME_SLACK_US),
                    End::Max => value.saturating_add(TIME_SLACK_US),
                };
                let value: ArrayRef = Arc::new(Int64Array::from(vec![wide]));
                Some(self.converter.convert_columns(&[value]).ok()?.row(0).data().into())
            }
            (DataType::Date32, Value::String(text)) => {
                self.bytes(&parse_value(text, &self.data_type)?)
            }
            (DataType::Decimal128(..), Value::Number(number)) => {
                let text = number.to_string();
                let digits = text.bytes().filter(u8::is_ascii_digit).count();
                // Beyond that it went through a double, and may be another number by now.
                let exact = !number.is_f64() || digits <= EXACT_DIGITS;
                self.bytes(&parse_value(exact.then_some(&text)?, &self.data_type)?)
            }
            (
                DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64,
                Value::Number(number),
            ) => self.bytes(&parse_value(&number.as_i64()?.to_string(), &self.data_type)?),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

/// The type whose row format a column is compared in.
fn comparable_type(data_type: &DataType) -> Result<DataType, &'static str> {
    match data_type {
        DataType::Float32 | DataType::Float64 => {
            Err("a floating point number is no key: what is equal depends on who computed it")
        }
        nested if nested.is_nested() => Err("a nested column is no key"),
        DataType::Utf8 => Ok(DataType::Binary),
        DataType::Timestamp(..) => Ok(DataType::Int64),
        other => Ok(other.clone()),
    }
}

fn comparable(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Utf8 => cast(column, &DataType::Binary),
        DataType::Timestamp(..) => cast(column, &DataType::Int64),
        _ => Ok(Arc::clone(column)),
    }
}

/// In a partition column the empty string is NULL, since readers can't tell them apart.
fn without_empty(column: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(bytes) = column.as_binary_opt::<i32>() else {
        return Ok(column);
    };
    let empty: BooleanArray = bytes.iter().map(|value| value.map(<[u8]>::is_empty)).collect();
    nullif(&column, &empty)
}

/// One value from the log's text form; `None`: it isn't one that is known for certain.
pub(super) fn parse_value(text: &str, data_type: &DataType) -> Option<ArrayRef> {
    let primitive = match data_type {
        DataType::Decimal128(precision, scale) => {
            let value = parse_decimal(text, u8::try_from(*scale).ok()?)?;
            let value = Decimal128Array::from(vec![value]);
            let value = value.with_precision_and_scale(*precision, *scale).ok()?;
            return value
                .validate_decimal_precision(*precision)
                .ok()
                .map(|()| Arc::new(value) as _);
        }
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 => PrimitiveType::Byte,
        DataType::Int16 => PrimitiveType::Short,
        DataType::Int32 => PrimitiveType::Integer,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Utf8 => PrimitiveType::String,
        DataType::Binary => PrimitiveType::Binary,
        DataType::Date32 => PrimitiveType::Date,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, None) => {
            // The statistics' form, which the kernel's parser takes for instants only.
            let text = text.replacen('T', " ", 1);
            let value = PrimitiveType::TimestampNtz.parse_scalar(&text).ok()?;
            return value.to_array(1).ok();
        }
        _ => return None,
    };
    primitive.parse_scalar(text).ok()?.to_array(1).ok()
}

/// A decimal's unscaled value; `None` when it has more digits behind the point than the column.
fn parse_decimal(text: &str, scale: u8) -> Option<i128> {
    let (digits, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    if !all_digits || whole.is_empty() {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()?;
    Some(if negative { -unscaled } else { unscaled })
}

#[cfg(test)]
mod tests;
