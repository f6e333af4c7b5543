use std::collections::BTreeMap;
use std::fs;

use arrow::array::{Float32Array, Float64Array, Int64Array, StringArray};
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::testing::{Bench, spec};
use super::*;

fn orders(from: i64, rows: i64) -> RecordBatch {
    let id = Int64Array::from_iter_values(from..from + rows);
    let name = StringArray::from_iter((from..from + rows).map(|i| (i % 3 != 0).then(|| noise(i))));
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as ArrayRef, false),
        ("name", Arc::new(name) as ArrayRef, true),
    ])
    .expect("columns of one length")
}

/// Text that doesn't compress well.
fn noise(i: i64) -> String {
    format!("{:016x}", (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn stats(file: &DataFile) -> Value {
    serde_json::from_str(&file.stats).expect("JSON")
}

fn check_round_trip(bench: &Bench) {
    let batches = [orders(0, 100), orders(100, 50)];
    let files = bench.write(&spec(&batches[0].schema()), &batches);
    let [file] = files.as_slice() else { panic!("one file, not {}", files.len()) };
    assert_eq!(bench.read(file), concat_batches(&batches[0].schema(), &batches).expect("equal"));
    assert_eq!(file.rows, 150);
    assert_eq!(file.size_bytes, bench.bytes(file).len() as u64);
    assert_eq!(
        file.path,
        "part-orders-00000000000000000042-00000000-0000-0000-0000-000000000007-00000.zstd.parquet"
    );
    assert_eq!(file.partition_values, BTreeMap::new());
    let stats = stats(file);
    assert_eq!(stats["numRecords"], 150);
    assert_eq!((&stats["minValues"]["id"], &stats["maxValues"]["id"]), (&0.into(), &149.into()));
    assert_eq!((&stats["nullCount"]["id"], &stats["nullCount"]["name"]), (&0.into(), &50.into()));
}

#[test]
fn rows_read_back_equal_from_a_store() {
    check_round_trip(&Bench::in_memory());
}

#[test]
fn rows_read_back_equal_from_a_disk() {
    check_round_trip(&Bench::on_disk());
}

#[test]
fn no_rows_make_no_file() {
    let bench = Bench::on_disk();
    let batch = orders(0, 0);
    assert_eq!(bench.write(&spec(&batch.schema()), &[batch]), []);
    assert_eq!(bench.names(), [""; 0]);
}

#[test]
fn a_runtimes_own_thread_may_drop_what_is_unfinished() {
    for bench in [Bench::in_memory(), Bench::on_disk()] {
        let batch = orders(0, 100);
        let mut writer = bench.writer(&spec(&batch.schema()));
        writer.write(&batch).expect("a store that works");
        bench.runtime.block_on(async { drop(writer) });
        assert_eq!(bench.names(), [""; 0]);
    }
}

/// `orders` with a partition column `c` that takes these values in turn.
fn orders_by(values: &[Option<&str>], rows: i64) -> RecordBatch {
    let orders = orders(0, rows);
    let c = StringArray::from_iter((0..rows as usize).map(|i| values[i % values.len()]));
    RecordBatch::try_from_iter_with_nullable([
        ("id", orders.column(0).clone(), false),
        ("c", Arc::new(c) as ArrayRef, true),
        ("name", orders.column(1).clone(), true),
    ])
    .expect("columns of one length")
}

fn partitioned(batch: &RecordBatch) -> FilesSpec {
    let mut spec = spec(&batch.schema());
    spec.partition_columns = vec!["c".to_owned()];
    spec.indexed = IndexedColumns::of(&batch.schema(), &spec.partition_columns, &BTreeMap::new());
    spec
}

fn ids(bench: &Bench, file: &DataFile) -> Vec<i64> {
    use arrow::array::AsArray;
    let rows = bench.read(file);
    rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
}

fn value(file: &DataFile) -> Option<&str> {
    file.partition_values["c"].as_deref()
}

#[test]
fn a_file_is_closed_at_the_target_size_and_the_next_one_begun() {
    let bench = Bench::in_memory();
    let batches: Vec<RecordBatch> = (0..40).map(|i| orders(i * 1000, 1000)).collect();
    let mut spec = spec(&batches[0].schema());
    spec.target_size = 64 * 1024;
    let files = bench.write(&spec, &batches);
    assert!(files.len() > 3, "{} files", files.len());
    for file in &files[..files.len() - 1] {
        let times = file.size_bytes as f64 / spec.target_size as f64;
        assert!((0.5..1.5).contains(&times), "{} is {times} of the target", file.path);
    }
    let all: Vec<i64> = files.iter().flat_map(|file| ids(&bench, file)).collect();
    assert_eq!(all, (0..40_000).collect::<Vec<_>>());
    let names: Vec<&str> = files.iter().map(|f| &f.path[f.path.len() - 18..]).collect();
    assert_eq!(names[..2], ["00000.zstd.parquet", "00001.zstd.parquet"]);
}

#[test]
fn row_groups_end_at_their_bound() {
    let bench = Bench::in_memory();
    let batches: Vec<RecordBatch> = (0..10).map(|i| orders(i * 1000, 1000)).collect();
    let mut spec = spec(&batches[0].schema());
    spec.bounds.row_group_bytes = 30_000;
    let files = bench.write(&spec, &batches);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bench.bytes(&files[0])).expect("Parquet");
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|g| g.num_rows()).collect();
    assert!(groups.len() > 2 && groups.iter().all(|rows| *rows <= 4000), "{groups:?}");
    assert_eq!(ids(&bench, &files[0]).len(), 10_000);
}

#[test]
fn a_file_of_many_parts_is_uploaded_while_it_is_written() {
    let bench = Bench::in_memory();
    let batches: Vec<RecordBatch> = (0..140).map(|i| orders(i * 8000, 8000)).collect();
    let mut spec = spec(&batches[0].schema());
    spec.compression = Compression::None;
    spec.bounds.row_group_bytes = 1 << 20;
    let mut writer = bench.writer(&spec);
    for batch in &batches {
        writer.write(batch).expect("a store that works");
        assert!(writer.held_bytes() < 20 << 20, "{} bytes held", writer.held_bytes());
    }
    let files = writer.finish().expect("a store that works");
    let [file] = files.as_slice() else { panic!("one file") };
    assert!(file.size_bytes > 10 << 20, "{} bytes", file.size_bytes);
    assert_eq!(file.size_bytes, bench.bytes(file).len() as u64);
    assert_eq!(ids(&bench, file), (0..140 * 8000).collect::<Vec<_>>());
}

#[test]
fn each_partition_has_its_own_files_without_the_partition_column() {
    let bench = Bench::on_disk();
    let batch = orders_by(&[Some("a"), Some("b"), None], 9);
    let files = bench.write(&partitioned(&batch), &[batch.clone(), batch]);
    let found: Vec<_> = files.iter().map(|f| (value(f), ids(&bench, f))).collect();
    assert_eq!(
        found,
        [
            (Some("a"), vec![0, 3, 6, 0, 3, 6]),
            (Some("b"), vec![1, 4, 7, 1, 4, 7]),
            (None, vec![2, 5, 8, 2, 5, 8]),
        ]
    );
    let columns = bench.read(&files[0]).schema();
    assert_eq!(
        columns.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["id", "name"]
    );
    assert!(stats(&files[0])["nullCount"].get("c").is_none());
    assert!(files[0].path.starts_with("c=a/part-orders-"), "{}", files[0].path);
    assert!(files[2].path.starts_with("c=__HIVE_DEFAULT_PARTITION__/part-"), "{}", files[2].path);
}

#[test]
fn empty_partition_strings_become_null_and_are_counted() {
    let bench = Bench::in_memory();
    let batch = orders_by(&[Some(""), None], 6);
    let mut writer = bench.writer(&partitioned(&batch));
    writer.write(&batch).expect("a store that works");
    assert_eq!(writer.empty_partition_values(), 3);
    let files = writer.finish().expect("a store that works");
    let [file] = files.as_slice() else { panic!("one file for both") };
    assert_eq!((value(file), file.rows), (None, 6));
}

#[test]
fn a_partitions_value_is_of_the_tables_type() {
    let rows = |column: ArrayRef| {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        RecordBatch::try_from_iter_with_nullable([("n", n, true), ("c", column, true)])
            .expect("columns of one length")
    };
    let table = rows(Arc::new(Float64Array::from(vec![0.0])));
    let bench = Bench::in_memory();
    let narrower = rows(Arc::new(Float32Array::from(vec![0.1])));
    let files = bench.write(&partitioned(&table), &[narrower]);
    assert_eq!(value(&files[0]), Some(format!("{:?}", f64::from(0.1f32)).as_str()));
}

#[test]
fn of_too_many_open_files_the_one_longest_without_rows_is_closed() {
    let bench = Bench::in_memory();
    let rows = |value| orders_by(&[Some(value)], 2);
    let mut spec = partitioned(&rows("a"));
    spec.bounds.open_files = 2;
    // `b` is the one to go for `c`, and comes back in a second file.
    let files = bench.write(&spec, &["a", "b", "a", "c", "a", "b"].map(rows));
    let found: Vec<_> = files.iter().map(|f| (value(f).expect("not null"), f.rows)).collect();
    assert_eq!(found, [("b", 2), ("c", 2), ("a", 6), ("b", 2)]);
}

#[test]
fn open_files_share_one_bound_of_memory() {
    let bench = Bench::in_memory();
    let rows = |value| orders_by(&[Some(value)], 1000);
    let mut spec = partitioned(&rows("a"));
    spec.bounds.memory_bytes = 1;
    let files = bench.write(&spec, &["a", "b", "a"].map(rows));
    assert_eq!(
        files.iter().map(|f| value(f).expect("not null")).collect::<Vec<_>>(),
        ["a", "b", "a"]
    );
}

#[test]
fn an_abandoned_writer_leaves_no_half_file() {
    let bench = Bench::on_disk();
    let batch = orders_by(&[Some("a"), Some("b")], 10);
    let mut writer = bench.writer(&partitioned(&batch));
    writer.write(&batch).expect("a disk that works");
    assert_eq!(bench.names().len(), 2);
    drop(writer);
    assert_eq!(bench.names(), [""; 0]);
}

#[test]
fn an_abandoned_upload_is_aborted() {
    let bench = Bench::in_memory();
    let batches: Vec<RecordBatch> = (0..60).map(|i| orders(i * 8000, 8000)).collect();
    let mut spec = spec(&batches[0].schema());
    spec.compression = Compression::None;
    spec.bounds.row_group_bytes = 1 << 20;
    let mut writer = bench.writer(&spec);
    for batch in &batches {
        writer.write(batch).expect("a store that works");
    }
    drop(writer);
    assert_eq!(bench.names(), [""; 0]);
}

fn check_store_error(bench: &Bench) {
    let batch = orders_by(&[Some("a")], 10);
    // A file where the partition's folder should be.
    fs::write(bench.root().join("c=a"), "").expect("a disk that works");
    let error = bench.try_write(&partitioned(&batch), &[batch]).expect_err("no folder");
    assert!(
        matches!(&error, FilesError::Store { path, .. } if path.starts_with("c=a/part-")),
        "{error:?}"
    );
    assert_eq!((error.code(), error.disposition()), ("SL4101", Disposition::Retry));
}

#[test]
fn a_fault_of_the_disk_is_tried_again() {
    check_store_error(&Bench::on_disk());
}

#[test]
fn a_fault_of_the_store_is_tried_again() {
    check_store_error(&Bench::on_disk().through_the_store());
}

#[test]
fn bytes_that_are_no_text_are_refused_as_partition_value() {
    let bytes = arrow::array::BinaryArray::from(vec![b"\xff".as_slice()]);
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("c", Arc::new(bytes) as ArrayRef),
    ])
    .expect("columns of one length");
    let error = Bench::in_memory().try_write(&partitioned(&batch), &[batch]).expect_err("no text");
    assert_eq!(
        error.to_string(),
        "partition column `c` holds bytes that are not UTF-8, which Delta Lake's log cannot carry as a partition \
         value; partition by another column"
    );
    assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused));
}

#[test]
fn rows_of_another_shape_are_a_bug_and_no_panic() {
    let batch = orders(0, 3);
    let other = RecordBatch::try_from_iter([("id", batch.column(1).clone())]).expect("one column");
    let error = Bench::in_memory().try_write(&spec(&batch.schema()), &[other]).expect_err("a bug");
    assert_eq!((error.code(), error.disposition()), ("SL4103", Disposition::Stop(Exit::Bug)));
}

#[test]
fn every_compression_reads_back() {
    for (compression, end) in [
        (Compression::Zstd { level: 3 }, "-00000.zstd.parquet"),
        (Compression::Snappy, "-00000.snappy.parquet"),
        (Compression::None, "-00000.parquet"),
    ] {
        let (bench, batch) = (Bench::in_memory(), orders(0, 1000));
        let mut spec = spec(&batch.schema());
        spec.compression = compression;
        let files = bench.write(&spec, std::slice::from_ref(&batch));
        assert!(files[0].path.ends_with(end), "{}", files[0].path);
        assert_eq!(bench.read(&files[0]), batch);
    }
}
