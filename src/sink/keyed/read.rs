//! Reading a live file's rows, as the table has them.
//!
//! The kernel reads, so types that were widened, columns that came later and other writers' layouts are taken in.
//! Guarantees: rows that a deletion vector hides are left out; partition columns have the value that the log says.
//! Blocks.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, filter_record_batch, take};
use arrow::datatypes::{Schema, SchemaRef};
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::expressions::Predicate;
use delta_kernel::scan::state::DvInfo;
use delta_kernel::schema::{SchemaRef as KernelSchemaRef, StructType};
use delta_kernel::{DeltaResult, Engine, Error, FileMeta};

use super::active::ActiveFile;
use super::columns::parse_value;
use crate::sink::adapt::adapt;
use crate::sink::store::kernel_root;

/// Some columns of a table, and how to get them out of its files.
#[derive(Clone)]
pub(super) struct TableReader {
    engine: Arc<dyn Engine>,
    schema: SchemaRef,
    sources: Vec<Source>,
    file_schema: KernelSchemaRef,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// A column of those read from the file.
    File(usize),
    Partition,
}

impl TableReader {
    /// `columns` of `table`, whose `schemaString` is `schema_string`.
    pub fn new(
        engine: Arc<dyn Engine>,
        schema_string: &str,
        table: &Schema,
        partition_columns: &[String],
        columns: &[usize],
    ) -> DeltaResult<Self> {
        let all: StructType =
            serde_json::from_str(schema_string).map_err(|e| Error::generic(e.to_string()))?;
        let schema = table.project(columns).map_err(Error::Arrow)?;
        let mut in_file = Vec::new();
        let mut source = |name: &String| {
            if partition_columns.contains(name) {
                return Source::Partition;
            }
            in_file.push(name.clone());
            Source::File(in_file.len() - 1)
        };
        let sources = schema.fields().iter().map(|field| source(field.name())).collect();
        if in_file.is_empty() {
            // Rows can't be counted without a column.
            let mut others = table.fields().iter().map(|field| field.name());
            in_file.extend(others.find(|name| !partition_columns.contains(name)).cloned());
        }
        let fields = in_file.iter().filter_map(|name| all.field(name)).cloned();
        let file_schema = Arc::new(StructType::try_new(fields)?);
        Ok(Self { engine, schema: schema.into(), sources, file_schema })
    }

    /// Hands over a file's rows; how many rows were read, hidden ones included. With a predicate, row groups are left out that can have no row of it; a file with a deletion vector is read whole.
    pub fn read<E: From<Error>>(
        &self,
        file: &ActiveFile,
        predicate: Option<Predicate>,
        mut on_rows: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<u64, E> {
        let root = kernel_root();
        let live = self.live_rows(file)?;
        let meta = FileMeta {
            location: root.join(&file.path).map_err(|e| Error::generic(e.to_string()))?,
            last_modified: 0,
            size: file.size,
        };
        let constants = self.constants(file)?;
        let predicate = predicate.filter(|_| live.is_none()).map(Arc::new);
        let batches = self.engine.parquet_handler().read_parquet_files(
            &[meta],
            self.file_schema.clone(),
            predicate,
        )?;
        let mut first = 0;
        for batch in batches {
            let read = batch?.try_into_record_batch()?;
            let next = first + read.num_rows();
            let mut rows = self.rows(&read, &constants)?;
            if let Some(live) = &live {
                let live = (first..next).map(|row| live.get(row).copied().unwrap_or(true));
                let live = BooleanArray::from(live.collect::<Vec<_>>());
                rows = filter_record_batch(&rows, &live).map_err(Error::Arrow)?;
            }
            first = next;
            if rows.num_rows() > 0 {
                on_rows(rows)?;
            }
        }
        Ok(first as u64)
    }

    fn live_rows(&self, file: &ActiveFile) -> DeltaResult<Option<Vec<bool>>> {
        let Some(vector) = &file.deletion_vector else {
            return Ok(None);
        };
        let vector = DeletionVectorDescriptor::try_new(
            vector.storage_type.parse()?,
            vector.path_or_inline_dv.clone(),
            vector.offset,
            vector.size_in_bytes,
            vector.cardinality,
        )?;
        DvInfo::from(vector).get_selection_vector(&*self.engine, &kernel_root())
    }

    /// The partition columns' values, one row each; `None` for columns that are in the file.
    fn constants(&self, file: &ActiveFile) -> DeltaResult<Vec<Option<ArrayRef>>> {
        let constant = |(field, source): (&Arc<arrow::datatypes::Field>, &Source)| {
            let Source::Partition = source else {
                return Ok(None);
            };
            let text = file.partition_values.get(field.name());
            let value = match text.filter(|text| !text.is_empty()) {
                None => Some(arrow::array::new_null_array(field.data_type(), 1)),
                Some(text) => parse_value(text, field.data_type()),
            };
            let value = value.ok_or_else(|| {
                Error::generic(format!(
                    "the partition value of `{}` is no {}",
                    field.name(),
                    field.data_type()
                ))
            })?;
            Ok(Some(cast(&value, field.data_type()).map_err(Error::Arrow)?))
        };
        self.schema.fields().iter().zip(&self.sources).map(constant).collect()
    }

    fn rows(&self, read: &RecordBatch, constants: &[Option<ArrayRef>]) -> DeltaResult<RecordBatch> {
        let zeros = UInt32Array::from(vec![0; read.num_rows()]);
        let column = |((field, source), constant): (
            (&Arc<arrow::datatypes::Field>, &Source),
            &Option<ArrayRef>,
        )| match (source, constant) {
            (Source::File(at), _) => adapt(read.column(*at), field),
            (Source::Partition, Some(value)) => take(value, &zeros, None),
            (Source::Partition, None) => unreachable!("every partition column has a constant"),
        };
        let fields = self.schema.fields().iter().zip(&self.sources).zip(constants);
        let columns: Result<Vec<ArrayRef>, _> = fields.map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(read.num_rows()));
        columns
            .and_then(|c| RecordBatch::try_new_with_options(self.schema.clone(), c, &options))
            .map_err(Error::Arrow)
    }
}
