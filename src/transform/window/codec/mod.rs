//! Rows of columns as bytes, for keys, states and rows that wait: two rows have the same bytes exactly when their values are
//! equal.
//!
//! A value is a byte that says whether it is null, and then its bytes: those of fixed width in little-endian order, texts
//! and binaries behind their length, those of [`nested`] columns one behind the other. The form is stored, so it never
//! changes without the fingerprint of the state.

mod nested;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanBuilder, Float32Array, Float64Array, make_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use super::error::WindowError;

const _: () = assert!(cfg!(target_endian = "little"), "values are stored as they lie in memory");

const NULL: u8 = 0;
const VALUE: u8 = 1;

pub(super) use self::nested::encodes_rows;

/// Whether values of a type can be keys and states.
pub(super) fn encodes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Boolean | DataType::Utf8 | DataType::Binary)
        || data_type.primitive_width().is_some()
}

/// Columns of which rows are encoded.
pub(super) struct Encoder {
    columns: Vec<Column>,
}

struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Bits(arrow::buffer::BooleanBuffer),
    Fixed {
        bytes: Buffer,
        width: usize,
    },
    Varying {
        ends: arrow::buffer::OffsetBuffer<i32>,
        bytes: Buffer,
    },
    Struct(Vec<Column>),
    /// Of maps, the entries.
    List {
        ends: arrow::buffer::OffsetBuffer<i32>,
        items: Box<Column>,
    },
}

impl Encoder {
    /// Columns of types that [`encodes_rows`] knows.
    pub(super) fn new(columns: &[ArrayRef]) -> Self {
        Self { columns: columns.iter().map(Column::new).collect() }
    }

    /// Columns of a key, of which 0 and −0 are one value, and all NaN.
    pub(super) fn of_keys(columns: &[ArrayRef]) -> Self {
        Self { columns: columns.iter().map(|column| Column::new(&one_zero(column))).collect() }
    }

    /// Appends a row to `out`.
    pub(super) fn append(&self, row: usize, out: &mut Vec<u8>) {
        for column in &self.columns {
            column.append(row, out);
        }
    }
}

impl Column {
    fn new(column: &ArrayRef) -> Self {
        let values = match column.data_type() {
            DataType::Boolean => Values::Bits(column.as_boolean().values().clone()),
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                Values::Varying { ends: texts.offsets().clone(), bytes: texts.values().clone() }
            }
            DataType::Binary => {
                let binaries = column.as_binary::<i32>();
                let bytes = binaries.values().clone();
                Values::Varying { ends: binaries.offsets().clone(), bytes }
            }
            DataType::Struct(_) => {
                Values::Struct(column.as_struct().columns().iter().map(Self::new).collect())
            }
            DataType::List(_) => {
                let lists = column.as_list::<i32>();
                let items = Box::new(Self::new(lists.values()));
                Values::List { ends: lists.offsets().clone(), items }
            }
            DataType::Map(..) => {
                let maps = column.as_map();
                let entries = Arc::new(maps.entries().clone()) as ArrayRef;
                Values::List { ends: maps.offsets().clone(), items: Box::new(Self::new(&entries)) }
            }
            fixed => {
                let width = fixed.primitive_width().expect("types are checked when planned");
                let data = column.to_data();
                let bytes = data.buffers()[0].slice(data.offset() * width);
                Values::Fixed { bytes, width }
            }
        };
        Self { nulls: column.nulls().cloned(), values }
    }

    fn append(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.push(NULL);
            return;
        }
        out.push(VALUE);
        match &self.values {
            Values::Bits(bits) => out.push(u8::from(bits.value(row))),
            Values::Fixed { bytes, width } => {
                out.extend_from_slice(&bytes[row * width..(row + 1) * width]);
            }
            Values::Varying { ends, bytes } => {
                let value = &bytes[ends[row] as usize..ends[row + 1] as usize];
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
            Values::Struct(fields) => fields.iter().for_each(|field| field.append(row, out)),
            Values::List { ends, items } => {
                nested::append_items(ends[row] as usize..ends[row + 1] as usize, items, out);
            }
        }
    }
}

/// Floats as they are compared by GROUP BY.
fn one_zero(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let floats = column.as_primitive::<Float32Type>();
            let plain = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
            Arc::new(floats.unary::<_, Float32Type>(plain)) as Arc<Float32Array>
        }
        DataType::Float64 => {
            let floats = column.as_primitive::<Float64Type>();
            let plain = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
            Arc::new(floats.unary::<_, Float64Type>(plain)) as Arc<Float64Array>
        }
        _ => Arc::clone(column),
    }
}

/// The columns of encoded rows, each of which holds exactly values of `types`.
pub(super) fn decode(rows: &[&[u8]], types: &[DataType]) -> Result<Vec<ArrayRef>, WindowError> {
    let mut rest = rows.to_vec();
    let columns = types.iter().map(|data_type| decode_column(&mut rest, data_type));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    if rest.iter().all(|rest| rest.is_empty()) { Ok(columns) } else { Err(WindowError::Corrupt) }
}

/// Takes one value off the front of each row.
fn decode_column(rows: &mut [&[u8]], data_type: &DataType) -> Result<ArrayRef, WindowError> {
    if data_type.is_nested() {
        return nested::decode(rows, data_type);
    }
    if data_type == &DataType::Boolean {
        let mut bits = BooleanBuilder::with_capacity(rows.len());
        for row in rows {
            bits.append_option(if is_null(row)? { None } else { Some(take(row, 1)? != [0]) });
        }
        return Ok(Arc::new(bits.finish()));
    }
    let width = data_type.primitive_width();
    let mut nulls = Vec::with_capacity(rows.len());
    let mut bytes = Vec::with_capacity(rows.len() * width.unwrap_or(8));
    let mut ends = vec![0_i32];
    for row in rows {
        let null = is_null(row)?;
        nulls.push(!null);
        match (width, null) {
            (Some(width), true) => bytes.resize(bytes.len() + width, 0),
            (Some(width), false) => bytes.extend_from_slice(take(row, width)?),
            (None, true) => {}
            (None, false) => {
                let length = length(row)?;
                bytes.extend_from_slice(take(row, length)?);
            }
        }
        if width.is_none() {
            ends.push(i32::try_from(bytes.len()).map_err(|_| WindowError::TooLarge)?);
        }
    }
    let mut data = ArrayData::builder(data_type.clone())
        .len(nulls.len())
        .nulls(Some(NullBuffer::from(nulls)))
        .align_buffers(true);
    if width.is_none() {
        data = data.add_buffer(Buffer::from_vec(ends));
    }
    let data = data.add_buffer(Buffer::from_vec(bytes)).build();
    data.map(make_array).map_err(|_| WindowError::Corrupt)
}

fn is_null(row: &mut &[u8]) -> Result<bool, WindowError> {
    match take(row, 1)? {
        [NULL] => Ok(true),
        [VALUE] => Ok(false),
        _ => Err(WindowError::Corrupt),
    }
}

/// A length or a count.
fn length(row: &mut &[u8]) -> Result<usize, WindowError> {
    let bytes: [u8; 4] = take(row, 4)?.try_into().expect("four bytes were taken");
    Ok(u32::from_le_bytes(bytes) as usize)
}

fn take<'a>(row: &mut &'a [u8], count: usize) -> Result<&'a [u8], WindowError> {
    let (taken, rest) = row.split_at_checked(count).ok_or(WindowError::Corrupt)?;
    *row = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BooleanArray, Decimal128Array, Int8Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    fn columns() -> Vec<ArrayRef> {
        let decimals = Decimal128Array::from(vec![Some(-5), None, Some(i128::MAX / 2), Some(0)]);
        vec![
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])),
            Arc::new(Int8Array::from(vec![Some(-1), Some(0), None, Some(1)])),
            Arc::new(Int64Array::from(vec![i64::MIN, 0, 1, i64::MAX])),
            Arc::new(decimals.with_precision_and_scale(38, 4).expect("a valid type")),
            Arc::new(StringArray::from(vec![Some(""), Some("äöü"), None, Some("a")])),
            Arc::new(BinaryArray::from(vec![Some(&b"\x00"[..]), None, Some(b""), Some(b"x")])),
            Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC")),
        ]
    }

    fn encoded(columns: &[ArrayRef]) -> Vec<Vec<u8>> {
        let encoder = Encoder::new(columns);
        let row = |row| {
            let mut out = Vec::new();
            encoder.append(row, &mut out);
            out
        };
        (0..columns[0].len()).map(row).collect()
    }

    #[test]
    fn rows_come_back_as_they_were_in_slices_too() {
        for (offset, length) in [(0, 4), (1, 3), (2, 0)] {
            let columns: Vec<_> =
                columns().iter().map(|column| column.slice(offset, length)).collect();
            let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
            let rows = encoded(&columns);
            let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
            assert_eq!(decode(&rows, &types).expect("whole rows"), columns);
        }
    }

    #[test]
    fn damaged_rows_are_told() {
        let columns = columns();
        let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
        let row = &encoded(&columns)[3];
        for cut in 0..row.len() {
            assert!(decode(&[&row[..cut]], &types).is_err(), "cut at {cut}");
        }
        let longer = [row.as_slice(), &[0]].concat();
        assert!(decode(&[&longer], &types).is_err());
        assert!(decode(&[&[7, 0]], &[DataType::Int8]).is_err());
        assert!(decode(&[&[1, 1, 0, 0, 0, 0xff]], &[DataType::Utf8]).is_err(), "no UTF-8");
    }

    #[test]
    fn keys_that_are_equal_to_sql_are_equal_in_bytes() {
        let nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63);
        let keys: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, nan]));
        let encoder = Encoder::of_keys(&[keys]);
        let row = |row| {
            let mut out = Vec::new();
            encoder.append(row, &mut out);
            out
        };
        assert_eq!(row(0), row(1));
        assert_eq!(row(2), row(3));
        assert_ne!(row(0), row(2));
    }
}
