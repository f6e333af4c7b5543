//! How each column is encoded in Parquet (docs/adr/0002: the choices, with figures).
//!
//! Owns: the writer properties of all files of a batch, decided once from the batch's first rows.
//! Guarantees: only encodings that Spark, DuckDB, Polars and delta-rs read.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression as Codec, Encoding, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

use crate::config::Compression;
use crate::sink::stats;

/// Rows of a row group, when its memory does not end it before: enough for a scan to be efficient, few
/// enough for readers to share a file between threads.
const ROW_GROUP_ROWS: usize = 1024 * 1024;

/// Rows looked at to tell a column of few values: a chunk's half, some tens of microseconds a column.
const SAMPLE_ROWS: usize = 4096;

/// With fewer rows than this the sample says nothing; a dictionary gives up by itself when it grows.
const SMALLEST_SAMPLE: usize = 64;

/// Every value must come this often in the sample for a dictionary to pay.
const REPEATS: usize = 4;

/// The properties of the files of a batch whose first rows are `sample`, in the files' schema.
pub(super) fn properties(
    sample: &RecordBatch,
    compression: Compression,
) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("sluice ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec(compression)?)
        // List and map entries get the names that the Parquet and Delta specifications give them.
        .set_coerce_types(true)
        // Chunk statistics are what readers skip by; page statistics cost a tenth of the encoding.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(stats::PARQUET_STATISTICS_BYTES))
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for (leaf, values) in leaves(sample.schema_ref(), sample)? {
        builder = encode_leaf(builder, &leaf, &values);
    }
    Ok(builder.build())
}

fn codec(compression: Compression) -> Result<Codec, ParquetError> {
    Ok(match compression {
        Compression::Zstd { level } => Codec::ZSTD(ZstdLevel::try_new(level)?),
        Compression::Snappy => Codec::SNAPPY,
        Compression::None => Codec::UNCOMPRESSED,
    })
}

type Leaf = parquet::schema::types::ColumnDescPtr;

/// The Parquet leaf columns with the values that go into them, in order.
fn leaves(schema: &Schema, batch: &RecordBatch) -> Result<Vec<(Leaf, ArrayRef)>, ParquetError> {
    let descriptor = ArrowSchemaConverter::new().with_coerce_types(true).convert(schema)?;
    let mut values = Vec::with_capacity(descriptor.num_columns());
    for column in batch.columns() {
        collect_leaves(column, &mut values);
    }
    debug_assert_eq!(values.len(), descriptor.num_columns(), "Arrow and Parquet agree on leaves");
    Ok(descriptor.columns().iter().cloned().zip(values).collect())
}

fn collect_leaves(array: &ArrayRef, out: &mut Vec<ArrayRef>) {
    match array.data_type() {
        DataType::Struct(_) => {
            array.as_struct().columns().iter().for_each(|c| collect_leaves(c, out))
        }
        DataType::List(_) => collect_leaves(array.as_list::<i32>().values(), out),
        DataType::Map(_, _) => {
            collect_leaves(array.as_map().keys(), out);
            collect_leaves(array.as_map().values(), out);
        }
        _ => out.push(array.clone()),
    }
}

fn encode_leaf(
    builder: WriterPropertiesBuilder,
    leaf: &Leaf,
    values: &ArrayRef,
) -> WriterPropertiesBuilder {
    let path = leaf.path().clone();
    let builder = match leaf.physical_type() {
        Type::INT32 | Type::INT64 => {
            return builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
        Type::BOOLEAN => return builder.set_column_dictionary_enabled(path, false),
        Type::BYTE_ARRAY => {
            builder.set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        }
        _ => builder,
    };
    builder.set_column_dictionary_enabled(path, has_few_values(values))
}

/// Whether each value of the sample comes back often enough for a dictionary to pay.
fn has_few_values(values: &ArrayRef) -> bool {
    let sample = values.slice(0, values.len().min(SAMPLE_ROWS));
    let present = sample.len() - sample.null_count();
    if present < SMALLEST_SAMPLE {
        return true;
    }
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut seen = HashSet::with_capacity(present / REPEATS + 1);
    for row in 0..sample.len() {
        let is_new = sample.is_valid(row) && seen.insert(hash_value(&hasher, &sample, row));
        if is_new && seen.len() * REPEATS > present {
            return false;
        }
    }
    true
}

fn hash_value(hasher: &impl BuildHasher, values: &ArrayRef, row: usize) -> u64 {
    match values.data_type() {
        DataType::Utf8 => hasher.hash_one(values.as_string::<i32>().value(row)),
        DataType::Binary => hasher.hash_one(values.as_binary::<i32>().value(row)),
        DataType::Float32 => {
            hasher.hash_one(values.as_primitive::<Float32Type>().value(row).to_bits())
        }
        DataType::Float64 => {
            hasher.hash_one(values.as_primitive::<Float64Type>().value(row).to_bits())
        }
        DataType::Decimal128(_, _) => {
            hasher.hash_one(values.as_primitive::<arrow::datatypes::Decimal128Type>().value(row))
        }
        // No other type is stored as bytes or floats.
        _ => row as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn check(values: Vec<Option<String>>, expected: bool) {
        assert_eq!(has_few_values(&(Arc::new(StringArray::from(values)) as ArrayRef)), expected);
    }

    #[test]
    fn a_column_of_few_values_gets_a_dictionary() {
        check((0..4096).map(|i| Some(format!("c{}", i % 200))).collect(), true);
    }

    #[test]
    fn a_column_of_many_values_gets_none() {
        check((0..4096).map(|i| Some(format!("id-{i}"))).collect(), false);
    }

    #[test]
    fn nulls_do_not_count_as_a_value() {
        let rare = |i: i32| (i % 40 == 0).then(|| format!("id-{i}"));
        check((0..4096).map(rare).collect(), false);
    }

    #[test]
    fn a_sample_too_small_to_tell_gets_a_dictionary() {
        check(vec![Some("a".into()), Some("b".into())], true);
    }

    #[test]
    fn integers_are_delta_packed_and_strings_of_many_values_length_packed() {
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(0..1000)) as ArrayRef),
            ("s", Arc::new(StringArray::from_iter_values((0..1000).map(|i| i.to_string()))) as _),
            ("f", Arc::new(Float64Array::from_iter_values((0..1000).map(f64::from))) as _),
        ])
        .expect("columns of one length");
        let props = properties(&batch, Compression::Zstd { level: 1 }).expect("valid");
        let encoding = |name: &str| {
            let path = parquet::schema::types::ColumnPath::from(name);
            (props.dictionary_enabled(&path), props.encoding(&path))
        };
        assert_eq!(encoding("n"), (false, Some(Encoding::DELTA_BINARY_PACKED)));
        assert_eq!(encoding("s"), (false, Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)));
        assert_eq!(encoding("f"), (false, None));
    }
}
