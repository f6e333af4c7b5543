//! Created tables with data files of ours, read by the Delta kernel.

use std::collections::BTreeMap;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Fields};
use bytes::Bytes;
use delta_kernel::Snapshot;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use object_store::path::Path;
use serde_json::json;

use super::testing::Bench;
use super::*;
use crate::config::CreateTable;
use crate::sink::create::{NewTable, open_or_create};
use crate::sink::features::TableExpectation;
use crate::sink::store::{TableStore, kernel_root};

const FILES: Files = Files { target_size: 1 << 30, compression: Compression::Zstd { level: 1 } };

/// Creates the table, writes the batches, commits the files, and reads all rows back, by their first column.
fn through_the_table(bench: &Bench, batches: &[RecordBatch], partition_by: &[&str]) -> RecordBatch {
    let schema = batches[0].schema();
    let partition_by: Vec<String> = partition_by.iter().map(|c| (*c).to_owned()).collect();
    let expected = TableExpectation::fixed(&schema, &partition_by);
    let store = TableStore::over(Arc::clone(&bench.store), "lake/odd");
    let no_properties = BTreeMap::new();
    let open = open_or_create(&store, &expected, CreateTable::IfMissing, &no_properties, 0);
    let (_, plan) = bench.runtime.block_on(open).expect("a new table");
    let files = bench.write(&plan.files(&FILES, None), batches);
    commit(bench, &store, &files);
    scan(bench, &store)
}

fn commit(bench: &Bench, store: &TableStore, files: &[DataFile]) {
    let add = |file: &DataFile| {
        let add = json!({"add": {
            "path": file.path,
            "partitionValues": file.partition_values,
            "size": file.size_bytes,
            "modificationTime": file.modification_time,
            "dataChange": true,
            "stats": file.stats,
        }});
        format!("{add}\n")
    };
    let lines: String = files.iter().map(add).collect();
    let path = Path::from("_delta_log/00000000000000000001.json");
    bench.runtime.block_on(store.put_new(&path, Bytes::from(lines))).expect("a store that works");
}

fn scan(bench: &Bench, store: &TableStore) -> RecordBatch {
    let _inside = bench.runtime.enter();
    let engine = store.engine();
    let snapshot = Snapshot::builder_for(kernel_root()).build(engine.as_ref()).expect("a table");
    let scan = snapshot.scan_builder().build().expect("all columns");
    let batches: Vec<RecordBatch> = scan
        .execute(engine)
        .expect("files that can be read")
        .map(|data| data.and_then(|d| d.try_into_record_batch()).expect("rows"))
        .collect();
    let rows = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let order = sort_to_indices(rows.column(0), None, None).expect("a column of numbers");
    take_record_batch(&rows, &order).expect("in range")
}

fn check_equal(read: &RecordBatch, written: &RecordBatch) {
    for (i, field) in written.schema().fields().iter().enumerate() {
        let read = read.column_by_name(field.name()).expect("the column");
        assert_eq!(read.as_ref(), written.column(i).as_ref(), "{}", field.name());
    }
}

fn rows_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let rows = columns[0].1.len() as i64;
    let id = ("id", Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef);
    let columns =
        std::iter::once(id).chain(columns).map(|(name, column)| (name, column, name != "id"));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

#[test]
fn odd_partition_values_come_back_from_a_disk_and_from_memory() {
    let values = StringArray::from(vec![
        Some("a/b"),
        Some("100%"),
        Some("%2F"),
        Some("a+b"),
        Some("#"),
        Some("ü"),
        Some("a b"),
        Some("k=v"),
        Some("12:30"),
        Some("\u{1}\n"),
        Some("\"'*?\\{}[]^"),
        Some("."),
        Some(".."),
        Some(" "),
        Some("日本"),
        Some("__HIVE_DEFAULT_PARTITION__"),
        Some("%"),
        None,
        Some("null"),
        Some("\u{10ffff}"),
    ]);
    let long = StringArray::from_iter(std::iter::repeat_n(Some("ü".repeat(1000)), values.len()));
    let rows = rows_of(vec![("a/ü %", Arc::new(values)), ("long", Arc::new(long))]);
    for bench in [Bench::in_memory(), Bench::on_disk()] {
        let read = through_the_table(&bench, std::slice::from_ref(&rows), &["a/ü %", "long"]);
        check_equal(&read, &rows);
    }
}

#[test]
fn partition_values_of_every_type_come_back() {
    let decimal = Decimal128Array::from(vec![Some(-5), Some(0), Some(10i128.pow(38) - 1), None])
        .with_precision_and_scale(38, 10)
        .expect("in range");
    let micros = vec![Some(1_709_210_096_000_789), Some(-1), Some(0), None];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None]))),
        ("tiny", Arc::new(Int8Array::from(vec![Some(-128), Some(127), Some(0), None]))),
        ("small", Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(1), Some(i16::MAX), None]))),
        ("int", Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(1), Some(i32::MAX), None]))),
        ("long", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(1), Some(i64::MAX), None]))),
        (
            "float",
            Arc::new(Float32Array::from(vec![
                Some(0.1),
                Some(f32::INFINITY),
                Some(f32::MIN_POSITIVE),
                None,
            ])),
        ),
        (
            "double",
            Arc::new(Float64Array::from(vec![
                Some(1e300),
                Some(f64::NEG_INFINITY),
                Some(-0.1),
                None,
            ])),
        ),
        ("amount", Arc::new(decimal)),
        ("text", Arc::new(StringArray::from(vec![Some("x"), Some("y"), Some("0"), None]))),
        (
            "bytes",
            Arc::new(BinaryArray::from(vec![
                Some(b"\x01\x02".as_slice()),
                Some(b"y"),
                Some(b"0"),
                None,
            ])),
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(-1), Some(19_782), Some(0), None]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(micros.clone()).with_timezone("UTC"))),
        ("local", Arc::new(TimestampMicrosecondArray::from(micros))),
    ];
    let rows = rows_of(columns);
    for column in 1..rows.num_columns() {
        let bench = Bench::in_memory();
        let rows = rows.project(&[0, column]).expect("two columns");
        let name = rows.schema().field(1).name().clone();
        let read = through_the_table(&bench, std::slice::from_ref(&rows), &[&name]);
        check_equal(&read, &rows);
    }
}

#[test]
fn a_table_with_other_spelling_and_more_nested_fields_is_filled_and_reads_back() {
    let bench = Bench::in_memory();
    let table_fields = vec![
        Field::new("ID", DataType::Int64, true),
        Field::new("added", DataType::Utf8, true),
        Field::new(
            "Place",
            DataType::Struct(Fields::from(vec![
                Field::new("Country", DataType::Utf8, true),
                Field::new("City", DataType::Utf8, true),
            ])),
            true,
        ),
    ];
    let table = Schema::new(table_fields);
    let expected = TableExpectation::fixed(&table, &[]);
    let table = NewTable::new(&expected, &BTreeMap::new(), 0).expect("valid");
    let store = TableStore::over(Arc::clone(&bench.store), "lake/places");
    let first = Path::from("_delta_log/00000000000000000000.json");
    let put = store.put_new(&first, Bytes::from(table.first_commit(0)));
    bench.runtime.block_on(put).expect("a store that works");

    let city = StringArray::from(vec![Some("Ulm"), None, Some("hidden")]);
    let place = StructArray::new(
        vec![Field::new("city", DataType::Utf8, true)].into(),
        vec![Arc::new(city)],
        Some(vec![true, true, false].into()),
    );
    let rows = rows_of(vec![("place", Arc::new(place))]);
    let schema = rows.schema();
    let expected = TableExpectation::fixed(&schema, &[]);
    let no_properties = BTreeMap::new();
    let open = open_or_create(&store, &expected, CreateTable::Never, &no_properties, 0);
    let (_, plan) = bench.runtime.block_on(open).expect("it fits");
    let files = bench.write(&plan.files(&FILES, None), &[rows]);
    commit(&bench, &store, &files);

    let read = scan(&bench, &store);
    assert_eq!(read.column(1).null_count(), 3);
    let place = read.column(2).as_struct();
    assert_eq!(place.column_by_name("Country").expect("the field").null_count(), 3);
    let city = place.column_by_name("City").expect("the field").as_string::<i32>();
    assert_eq!(city.iter().take(2).collect::<Vec<_>>(), [Some("Ulm"), None]);
    assert!(place.is_null(2) && place.is_valid(1));
}
