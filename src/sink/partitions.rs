//! Partition values: the text that the log keeps, the folders that files lie in, and the split of a batch.
//!
//! Owns: Delta's "Partition Value Serialization", Hive's escaping of folder names as Spark does it, and the
//! percent-encoding of `add.path`.
//! Does not: decide where a file is; readers take the value from the log, never from the folder.

use std::collections::HashMap;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use chrono::{DateTime, NaiveDate};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// What Hive and Spark call the folder of NULL.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// Bytes of all folder names of a path: object stores allow 1,024 for the whole key, and the table's own
/// path needs some.
const FOLDERS_BYTES: usize = 480;

/// Bytes of one folder name: file systems allow 255.
const FOLDER_BYTES: usize = 200;

/// The values of the partition columns of one partition, in the order of the columns; `None` is NULL.
pub(super) type Values = Vec<Option<String>>;

/// Why a value can't be a partition value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableValue {
    #[error("bytes that are not UTF-8, which Delta Lake's log cannot carry as a partition value")]
    NotUtf8,
    #[error("a date or time that is out of the calendar's range")]
    OutOfRange,
    #[error("a value of type {0}, which Delta Lake cannot partition by")]
    Type(String),
}

/// A value as the log writes it. The empty string is written as NULL: readers can't tell the two apart.
pub(super) fn text(column: &dyn Array, row: usize) -> Result<Option<String>, UnusableValue> {
    if column.is_null(row) {
        return Ok(None);
    }
    let text = match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => float_text(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float_text(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            decimal_text(column.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => std::str::from_utf8(column.as_binary::<i32>().value(row))
            .map_err(|_| UnusableValue::NotUtf8)?
            .to_owned(),
        DataType::Date32 => date_text(column.as_primitive::<Date32Type>().value(row))?,
        DataType::Timestamp(_, zone) => timestamp_text(
            column.as_primitive::<TimestampMicrosecondType>().value(row),
            zone.is_some(),
        )?,
        other => return Err(UnusableValue::Type(other.to_string())),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The shortest text that reads back as the same number, in the words Java has for what is none.
fn float_text<F: std::fmt::Debug + Copy + Into<f64>>(value: F) -> String {
    let wide: f64 = value.into();
    match wide {
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => format!("{value:?}"),
    }
}

/// A decimal's unscaled value with its point: exactly `scale` digits behind it.
pub(super) fn decimal_text(unscaled: i128, scale: i8) -> String {
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

fn date_text(days: i32) -> Result<String, UnusableValue> {
    let date = NaiveDate::from_epoch_days(days).ok_or(UnusableValue::OutOfRange)?;
    Ok(date.to_string())
}

/// An instant in ISO 8601 with `Z`, which no reader takes for its own zone; a local time with a space.
fn timestamp_text(micros: i64, utc: bool) -> Result<String, UnusableValue> {
    let time = DateTime::from_timestamp_micros(micros).ok_or(UnusableValue::OutOfRange)?;
    let format = if utc { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%d %H:%M:%S%.6f" };
    Ok(time.format(format).to_string())
}

/// The folders of a partition, as they are stored: `country=de/day=2024-02-29/`.
pub(super) fn folders(columns: &[String], values: &Values) -> String {
    let limit = FOLDER_BYTES.min(FOLDERS_BYTES / columns.len().max(1));
    let mut out = String::new();
    for (column, value) in columns.iter().zip(values) {
        let mut name = hive_escape(column);
        name.push('=');
        name.push_str(&value.as_deref().map_or_else(|| NULL_FOLDER.to_owned(), hive_escape));
        out.push_str(&shortened(name, limit));
        out.push('/');
    }
    out
}

/// A folder name that fits: a long one keeps its beginning and gets a digest of the whole.
fn shortened(name: String, limit: usize) -> String {
    if name.len() <= limit {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let suffix: String = digest[..8].iter().fold("-".to_owned(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let mut cut = limit.saturating_sub(suffix.len());
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{suffix}", &name[..cut])
}

/// As `ExternalCatalogUtils.escapePathName` of Spark does it.
fn hive_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let escaped = matches!(c, '\u{1}'..='\u{1f}' | '\u{7f}')
            || "\"#%'*/:=?\\{[]^".contains(c)
            // No file system takes it, and Spark has no folder for it either.
            || c == '\0';
        if escaped {
            let _ = write!(out, "%{:02X}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

/// What a path in the log may hold as it is; everything else is percent-encoded (RFC 2396).
const PLAIN_IN_LOG: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'=');

/// `add.path` of a file stored at `path`.
pub(super) fn log_path(path: &str) -> String {
    utf8_percent_encode(path, PLAIN_IN_LOG).to_string()
}

/// The rows of one partition.
pub(super) struct Part {
    pub(super) values: Values,
    pub(super) rows: RecordBatch,
}

/// Splits batches by the values of their partition columns.
pub(super) struct Splitter {
    /// Positions of the partition columns in a batch.
    columns: Vec<usize>,
    converter: RowConverter,
    /// Empty strings met, each written as NULL.
    pub(super) empty_strings: u64,
}

/// Why a batch can't be split.
pub(super) enum SplitError {
    Value { column: usize, source: UnusableValue },
    Arrow(ArrowError),
}

impl From<ArrowError> for SplitError {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl Splitter {
    pub(super) fn new(batch: &RecordBatch, columns: Vec<usize>) -> Result<Self, ArrowError> {
        let sort_fields =
            columns.iter().map(|&c| SortField::new(batch.column(c).data_type().clone())).collect();
        Ok(Self { columns, converter: RowConverter::new(sort_fields)?, empty_strings: 0 })
    }

    /// The batch's parts in the order of their first rows; the batch itself when all rows belong together.
    pub(super) fn split(&mut self, batch: &RecordBatch) -> Result<Vec<Part>, SplitError> {
        self.count_empty_strings(batch);
        let keys: Vec<ArrayRef> = self.columns.iter().map(|&c| batch.column(c).clone()).collect();
        let rows = self.converter.convert_columns(&keys)?;
        let first = rows.row(0);
        if rows.iter().all(|row| row == first) {
            return Ok(vec![Part { values: self.values(batch, 0)?, rows: batch.clone() }]);
        }
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut group_of = HashMap::new();
        for (row, key) in (0u32..).zip(&rows) {
            let group = *group_of.entry(key).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(row);
        }
        groups.into_iter().map(|rows| self.part(batch, rows)).collect()
    }

    fn part(&self, batch: &RecordBatch, rows: Vec<u32>) -> Result<Part, SplitError> {
        let values = self.values(batch, rows[0] as usize)?;
        Ok(Part { values, rows: take_record_batch(batch, &UInt32Array::from(rows))? })
    }

    fn values(&self, batch: &RecordBatch, row: usize) -> Result<Values, SplitError> {
        let value = |&column: &usize| {
            text(batch.column(column), row).map_err(|source| SplitError::Value { column, source })
        };
        self.columns.iter().map(value).collect()
    }

    fn count_empty_strings(&mut self, batch: &RecordBatch) {
        for &column in &self.columns {
            let column = batch.column(column);
            let lengths = match column.data_type() {
                DataType::Utf8 => column.as_string::<i32>().offsets(),
                DataType::Binary => column.as_binary::<i32>().offsets(),
                _ => continue,
            };
            let empty = |row: usize| lengths[row] == lengths[row + 1] && column.is_valid(row);
            self.empty_strings += (0..column.len()).filter(|&row| empty(row)).count() as u64;
        }
    }
}

#[cfg(test)]
mod tests;
