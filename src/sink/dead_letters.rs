//! Reading dead letters back: which offsets of a range the dead-letter table holds already.
//!
//! Only after a crash between a side commit and the data commit, or for an output that reads old ranges: an offset
//! that is a dead letter once stays one for every output.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use delta_kernel::expressions::{Expression, Predicate, Scalar, column_expr};
use delta_kernel::schema::{DataType, StructField, StructType};
use delta_kernel::{DeltaResult, Engine, Error, Snapshot};

use super::error::SinkError;
use super::store::{TableStore, in_kernel, kernel_root};
use crate::chunk::SourcePartition;
use crate::offsets::OffsetRange;

/// Offsets that are dead letters, by partition.
pub type Offsets = BTreeMap<Arc<SourcePartition>, BTreeSet<i64>>;

/// The offsets of `ranges` that the table holds. Files are skipped by their statistics.
pub async fn held(
    store: &TableStore,
    ranges: &[(Arc<SourcePartition>, OffsetRange)],
) -> Result<Offsets, SinkError> {
    let ranges = ranges.to_vec();
    in_kernel(store, move |engine| {
        let mut held = Offsets::new();
        for (partition, range) in &ranges {
            let offsets = scan(engine, partition, *range)?;
            if !offsets.is_empty() {
                held.insert(partition.clone(), offsets);
            }
        }
        Ok(held)
    })
    .await
}
