//! Reading dead letters back: which offsets of a range the dead-letter table holds already.
//!
//! Only after a crash between a side commit and the data commit, or for an output that reads old ranges: an offset
//! that is a dead letter once stays one for every output.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::expressions::{Predicate, Scalar};
use delta_kernel::schema::{DataType, StructField, StructType};
use delta_kernel::{DeltaResult, Engine, Expression, Snapshot};

use super::error::SinkError;
use super::maintenance::in_kernel;
use super::store::{TableStore, kernel_root};
use crate::chunk::SourcePartition;
use crate::offsets::OffsetRange;

/// Offsets that are dead letters, by partition.
pub type Offsets = BTreeMap<Arc<SourcePartition>, BTreeSet<i64>>;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    BadRecords,
    /// Of an output.
    LateRows(String),
}

/// The `reason_code` of late rows: no bad records.
pub const LATE: &str = "SL6301";

/// The offsets of `ranges` that the table holds. Files are skipped by their statistics.
pub async fn held(
    store: &TableStore,
    ranges: &[(Arc<SourcePartition>, OffsetRange)],
    kept: Kept,
) -> Result<Offsets, SinkError> {
    let ranges = ranges.to_vec();
    in_kernel(store, move |engine| {
        let mut held = Offsets::new();
        for (partition, range) in &ranges {
            let offsets = scan(engine.clone(), partition, *range, &kept)?;
            if !offsets.is_empty() {
                held.insert(partition.clone(), offsets);
            }
        }
        Ok(held)
    })
    .await
}

fn scan(
    engine: Arc<dyn Engine>,
    partition: &SourcePartition,
    range: OffsetRange,
    kept: &Kept,
) -> DeltaResult<BTreeSet<i64>> {
    let snapshot = Snapshot::builder_for(kernel_root()).build(&*engine)?;
    let told_by = match kept {
        Kept::BadRecords => "reason_code",
        Kept::LateRows(_) => "output",
    };
    if snapshot.schema().field(told_by).is_none() {
        // A table from before there were late rows.
        return Ok(BTreeSet::new());
    }
    let columns = StructType::try_new([
        StructField::not_null("kafka_topic_id", DataType::STRING),
        StructField::not_null("kafka_partition", DataType::INTEGER),
        StructField::not_null("kafka_offset", DataType::LONG),
        StructField::nullable(told_by, DataType::STRING),
    ])?;
    let column = |name: &str| Expression::column([name]);
    let value = |scalar: Scalar| Expression::literal(scalar);
    let wanted = Predicate::and_from([
        Predicate::eq(column("kafka_topic_id"), value(partition.topic_id.as_str().into())),
        Predicate::eq(column("kafka_partition"), value(partition.id.partition.into())),
        Predicate::ge(column("kafka_offset"), value(range.start.into())),
        Predicate::lt(column("kafka_offset"), value(range.end.into())),
    ]);
    let scan = snapshot
        .scan_builder()
        .with_schema(Arc::new(columns))
        .with_predicate(Arc::new(wanted))
        .build()?;
    let mut offsets = BTreeSet::new();
    for rows in scan.execute(engine)? {
        collect(&rows?.try_into_record_batch()?, partition, range, kept, &mut offsets);
    }
    Ok(offsets)
}

/// The kernel skips files, not rows: what is wanted is picked here.
fn collect(
    rows: &RecordBatch,
    partition: &SourcePartition,
    range: OffsetRange,
    kept: &Kept,
    offsets: &mut BTreeSet<i64>,
) {
    let told_by = rows.column(3).as_string::<i32>();
    let ids = rows.column(0).as_string::<i32>();
    let partitions = rows.column(1).as_primitive::<Int32Type>();
    let found = rows.column(2).as_primitive::<Int64Type>();
    offsets.extend((0..rows.num_rows()).filter_map(|row| {
        let is_wanted = ids.value(row) == partition.topic_id.as_str()
            && partitions.value(row) == partition.id.partition
            && range.contains(found.value(row))
            && match kept {
                Kept::BadRecords => told_by.value(row) != LATE,
                Kept::LateRows(output) => told_by.is_valid(row) && told_by.value(row) == output,
            };
        is_wanted.then(|| found.value(row))
    }));
}
