//! Values of nested columns as bytes: a struct's fields one behind the other, of a list how many items it has and then
//! each behind its length. A map is a list of its entries.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Fields};

use super::{Column, NULL, WindowError, decode_column, encodes, is_null, length, take};

/// Whether values of a type can be columns of rows that wait: all that Delta Lake has.
pub(in crate::transform::window) fn encodes_rows(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().all(|field| encodes_rows(field.data_type())),
        DataType::List(item) | DataType::Map(item, _) => encodes_rows(item.data_type()),
        other => encodes(other),
    }
}

pub(super) fn append_items(range: Range<usize>, items: &Column, out: &mut Vec<u8>) {
    out.extend_from_slice(&(range.len() as u32).to_le_bytes());
    for item in range {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        items.append(item, out);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Takes one value off the front of each row.
pub(super) fn decode(rows: &mut [&[u8]], data_type: &DataType) -> Result<ArrayRef, WindowError> {
    match data_type {
        DataType::Struct(fields) => decode_structs(rows, fields),
        DataType::List(item) => {
            let (ends, nulls, items) = decode_items(rows, item.data_type())?;
            let lists = ListArray::try_new(item.clone(), ends, items, nulls);
            Ok(Arc::new(lists.map_err(|_| WindowError::Corrupt)?))
        }
        DataType::Map(entry, sorted) => {
            let (ends, nulls, entries) = decode_items(rows, entry.data_type())?;
            let entries = entries.as_struct().clone();
            let maps = MapArray::try_new(entry.clone(), ends, entries, nulls, *sorted);
            Ok(Arc::new(maps.map_err(|_| WindowError::Corrupt)?))
        }
        _ => Err(WindowError::Corrupt),
    }
}

fn decode_structs(rows: &mut [&[u8]], fields: &Fields) -> Result<ArrayRef, WindowError> {
    // Where a struct is null, so is each of its fields.
    let none = vec![NULL; fields.len()];
    let nulls = rows.iter_mut().map(is_null).collect::<Result<Vec<_>, _>>()?;
    let values = rows.iter().zip(&nulls);
    let mut values: Vec<&[u8]> =
        values.map(|(row, null)| if *null { none.as_slice() } else { row }).collect();
    let columns = fields.iter().map(|field| decode_column(&mut values, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    for ((row, null), rest) in rows.iter_mut().zip(&nulls).zip(&values) {
        if !null {
            *row = &row[row.len() - rest.len()..];
        }
    }
    let count = nulls.len();
    let nulls = NullBuffer::from(nulls.iter().map(|null| !null).collect::<Vec<_>>());
    let structs = StructArray::try_new_with_length(fields.clone(), columns, Some(nulls), count);
    Ok(Arc::new(structs.map_err(|_| WindowError::Corrupt)?))
}

fn decode_items(
    rows: &mut [&[u8]],
    data_type: &DataType,
) -> Result<(OffsetBuffer<i32>, Option<NullBuffer>, ArrayRef), WindowError> {
    let (mut ends, mut nulls, mut items) = (vec![0_i32], Vec::new(), Vec::new());
    for row in rows.iter_mut() {
        let null = is_null(row)?;
        nulls.push(!null);
        let count = if null { 0 } else { length(row)? };
        for _ in 0..count {
            let length = length(row)?;
            items.push(take(row, length)?);
        }
        ends.push(i32::try_from(items.len()).map_err(|_| WindowError::TooLarge)?);
    }
    let column = decode_column(&mut items, data_type)?;
    if items.iter().any(|rest| !rest.is_empty()) {
        return Err(WindowError::Corrupt);
    }
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok((ends, Some(NullBuffer::from(nulls)), column))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int64Array, StringArray};
    use arrow::datatypes::{Field, Int64Type};

    use super::super::{Encoder, decode as decode_rows};
    use super::*;

    /// A list of numbers, a struct with a text and such a list, and a map of texts to numbers.
    fn columns() -> Vec<ArrayRef> {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None, Some(3)]),
            None,
            Some(vec![]),
            Some(vec![Some(-4)]),
        ]);
        let text = StringArray::from(vec![Some("a"), None, Some("ccc"), Some("")]);
        let fields = Fields::from(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("list", list.data_type().clone(), true),
        ]);
        let inner: Vec<ArrayRef> = vec![Arc::new(text), Arc::new(list.clone())];
        let nulls = NullBuffer::from(vec![true, false, true, true]);
        let structs = StructArray::new(fields, inner, Some(nulls));
        let pair = Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Int64, true),
        ]);
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["x", "yy", "x"]));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]));
        let entries = StructArray::new(pair.clone(), vec![keys, values], None);
        let entry = Arc::new(Field::new("entries", DataType::Struct(pair), false));
        let ends = OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 2, 2, 3]));
        let nulls = NullBuffer::from(vec![true, true, false, true]);
        let maps = MapArray::new(entry, ends, entries, Some(nulls), false);
        vec![Arc::new(list), Arc::new(structs), Arc::new(maps)]
    }

    fn encoded(columns: &[ArrayRef], row: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new(columns).append(row, &mut out);
        out
    }

    #[test]
    fn nested_rows_come_back_as_they_were_in_slices_too() {
        for (offset, count) in [(0, 4), (1, 3), (2, 1), (2, 0)] {
            let columns: Vec<_> = columns().iter().map(|c| c.slice(offset, count)).collect();
            let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
            assert!(types.iter().all(encodes_rows));
            let rows: Vec<_> = (0..count).map(|row| encoded(&columns, row)).collect();
            let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
            assert_eq!(decode_rows(&rows, &types).expect("whole rows"), columns);
        }
    }

    #[test]
    fn damaged_nested_rows_are_told() {
        let columns = columns();
        let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
        let row = encoded(&columns, 0);
        for cut in 0..row.len() {
            assert!(decode_rows(&[&row[..cut]], &types).is_err(), "cut at {cut}");
        }
        assert!(decode_rows(&[&[&row[..], &[0]].concat()], &types).is_err());
    }
}
