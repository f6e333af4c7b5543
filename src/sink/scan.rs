//! Reading a table's rows back, file by file: what `verify --deep` and `rewind` look at.
//!
//! The kernel plans and reads, so deletion vectors, column mapping and partition values are taken in. Blocks.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::expressions::Predicate;
use delta_kernel::scan::Scan;
use delta_kernel::scan::state::{ScanFile, transform_to_logical};
use delta_kernel::schema::{SchemaRef, StructType};
use delta_kernel::{DeltaResult, Engine, FileMeta, Snapshot};

use super::store::kernel_root;

/// One version of a table, some of its columns.
pub(super) struct TableScan {
    engine: Arc<dyn Engine>,
    scan: Scan,
}

/// The columns of a table's version, as the kernel knows them.
pub(super) fn schema(engine: &dyn Engine, version: u64) -> DeltaResult<SchemaRef> {
    let snapshot = Snapshot::builder_for(kernel_root()).at_version(version).build(engine)?;
    Ok(snapshot.schema())
}

impl TableScan {
    /// `columns` must be in the table. With a predicate, files are skipped by their statistics; rows are not.
    pub fn new(
        engine: Arc<dyn Engine>,
        version: u64,
        columns: &[&str],
        predicate: Option<Predicate>,
    ) -> DeltaResult<Self> {
        let snapshot = Snapshot::builder_for(kernel_root()).at_version(version).build(&*engine)?;
        let schema = snapshot.schema();
        // The table's own fields: they hold the names of mapped columns.
        let fields = columns.iter().filter_map(|name| schema.field(name)).cloned();
        let wanted = Arc::new(StructType::try_new(fields)?);
        let scan = snapshot
            .scan_builder()
            .with_schema(wanted)
            .with_predicate(predicate.map(Arc::new))
            .build()?;
        Ok(Self { engine, scan })
    }

    /// The live files.
    pub fn files(&self) -> DeltaResult<impl Iterator<Item = DeltaResult<ScanFile>> + '_> {
        let batches = self.scan.scan_metadata(&*self.engine)?;
        Ok(batches.flat_map(|batch| {
            let files = batch.and_then(|batch| {
                batch.visit_scan_files(Vec::new(), |files: &mut Vec<ScanFile>, file| {
                    files.push(file);
                })
            });
            match files {
                Ok(files) => files.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        }))
    }

    /// Hands over a file's rows, without those that a deletion vector hides.
    pub fn read(&self, file: &ScanFile, mut on_rows: impl FnMut(&RecordBatch)) -> DeltaResult<()> {
        let root = kernel_root();
        let live = file.dv_info.get_selection_vector(&*self.engine, &root)?;
        let meta = FileMeta {
            location: root.join(&file.path)?,
            last_modified: file.modification_time,
            size: file.size.unsigned_abs(),
        };
        let physical = self.scan.physical_schema();
        let batches =
            self.engine.parquet_handler().read_parquet_files(&[meta], physical.clone(), None)?;
        let mut first = 0;
        for batch in batches {
            let rows = transform_to_logical(
                &*self.engine,
                batch?,
                physical,
                self.scan.logical_schema(),
                file.transform.clone(),
            )?
            .try_into_record_batch()?;
            let next = first + rows.num_rows();
            match &live {
                None => on_rows(&rows),
                Some(live) => {
                    let live = (first..next).map(|row| live.get(row).copied().unwrap_or(true));
                    let live = BooleanArray::from(live.collect::<Vec<_>>());
                    on_rows(&filter_record_batch(&rows, &live)?);
                }
            }
            first = next;
        }
        Ok(())
    }
}
