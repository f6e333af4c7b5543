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
use delta_kernel::schema::{DataType, SchemaRef as KernelSchemaRef, StructType};
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
    /// What is asked of a file.
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

    /// Hands over a file's rows; how many rows were read, hidden ones included. With a predicate, row groups are left out
    /// that can have no row of it; a file with a deletion vector is read whole.
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
        let file_schema = self.file_schema(&meta)?;
        let batches =
            self.engine.parquet_handler().read_parquet_files(&[meta], file_schema, predicate)?;
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

    /// Maps as the file has them, for the kernel can't give a map's values new fields where a map is NULL: it takes the
    /// map for one that may not be. [`adapt`] does it.
    fn file_schema(&self, meta: &FileMeta) -> DeltaResult<KernelSchemaRef> {
        if !self.file_schema.fields().any(|field| holds_map(field.data_type())) {
            return Ok(self.file_schema.clone());
        }
        let in_file = self.engine.parquet_handler().read_parquet_footer(meta)?.schema;
        let fields = self.file_schema.fields().map(|field| {
            let own = in_file.field(field.name()).filter(|_| holds_map(field.data_type()));
            own.unwrap_or(field).clone()
        });
        Ok(Arc::new(StructType::try_new(fields)?))
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

fn holds_map(of: &DataType) -> bool {
    match of {
        DataType::Map(_) => true,
        DataType::Array(array) => holds_map(array.element_type()),
        DataType::Struct(fields) => fields.fields().any(|field| holds_map(field.data_type())),
        DataType::Primitive(_) | DataType::Variant(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::json::{LineDelimitedWriter, ReaderBuilder};
    use serde_json::Value;

    use super::*;
    use crate::schema::ddl;
    use crate::sink::delta_schema;
    use crate::sink::files::testing::{Bench, spec};
    use crate::sink::testing::Fixture;

    /// A file's rows, given as lines of JSON, read by a table of these columns.
    fn check(columns_of_the_file: &str, rows: &str, columns_of_the_table: &str) {
        let bench = Bench::in_memory();
        let fixture = Fixture::without_table(bench.store.clone());
        let written = ddl::parse(columns_of_the_file).expect("columns").arrow().clone();
        let reader = ReaderBuilder::new(written.clone()).build(rows.as_bytes()).expect("a reader");
        let batches: Vec<RecordBatch> = reader.map(|batch| batch.expect("JSON rows")).collect();
        let file = bench.write(&spec(&written), &batches).remove(0);
        let table = ddl::parse(columns_of_the_table).expect("columns").arrow().clone();
        let schema_string = delta_schema::to_json(&table).expect("a Delta schema");
        let columns: Vec<usize> = (0..table.fields().len()).collect();
        let _inside = bench.runtime.enter();
        let reader =
            TableReader::new(fixture.store.engine(), &schema_string, &table, &[], &columns)
                .expect("a reader");
        let file = ActiveFile {
            path: file.path,
            partition_values: BTreeMap::new(),
            size: file.size_bytes,
            records: None,
            deletion_vector: None,
            domains: Box::default(),
        };
        let mut writer = LineDelimitedWriter::new(Vec::new());
        let read = reader.read::<Error>(&file, None, |rows| {
            assert_eq!(rows.schema(), table);
            writer.write(&rows).map_err(Error::Arrow)
        });
        read.expect("rows of the table");
        writer.finish().expect("JSON");
        let lines = |text: &[u8]| -> Vec<Value> {
            let text = String::from_utf8_lossy(text);
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        assert_eq!(lines(&writer.into_inner()), lines(rows.as_bytes()));
    }

    #[test]
    fn maps_that_are_null_stay_so_when_their_values_get_fields() {
        let rows = "{\"id\":1,\"m\":{\"k\":{\"a\":1}}}\n{\"id\":2}\n{\"id\":3,\"m\":{}}\n";
        let table = "id BIGINT, m MAP<STRING, STRUCT<b: STRING, a: BIGINT>>, new MAP<STRING, STRUCT<c: INT>>";
        check("id BIGINT, m MAP<STRING, STRUCT<a: INT>>", rows, table);

        let rows = "{\"id\":1,\"s\":{\"l\":[{\"m\":{\"k\":{\"a\":1}}},{}]}}\n{\"id\":2,\"s\":{}}\n{\"id\":3}\n";
        let file = "id BIGINT, s STRUCT<l: ARRAY<STRUCT<m: MAP<STRING, STRUCT<a: INT>>>>>";
        let table = "id BIGINT, s STRUCT<x: INT, l: ARRAY<STRUCT<y: INT, m: MAP<STRING, STRUCT<a: INT, b: INT>>>>>";
        check(file, rows, table);
    }
}
