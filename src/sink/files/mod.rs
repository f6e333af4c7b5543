//! Data files: the rows of one batch as Parquet, uploaded while they are written.
//!
//! Guarantees: memory is bounded by [`Bounds`], whatever the batch and however many partitions it has;
//! a file in the result of [`FilesWriter::finish`] is whole and, on a local disk, durable; a writer that is
//! dropped leaves at most orphans, which VACUUM removes.
//! Does not: touch the log, delete a finished file, or check what rows mean.

mod encoding;
#[cfg(test)]
mod kernel_tests;
mod parquet_file;
#[cfg(test)]
pub(super) mod testing;
mod upload;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use object_store::ObjectStore;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use tokio::runtime::Handle;
use uuid::Uuid;

use self::parquet_file::ParquetFile;
use self::upload::Target;
use super::DataFile;
use super::adapt::adapt;
use super::error::is_denied;
use super::partitions::{self, Part, SplitError, Splitter, UnusableValue, Values};
use super::stats::IndexedColumns;
use crate::config::{Compression, Files, TableLocation};
use crate::disposition::{Disposition, Exit};

/// What the files of an output are like; the same for all its batches.
#[derive(Debug, Clone)]
pub struct FilesSpec {
    /// The columns of a batch, in its order, with the names and types that the table gives them.
    pub schema: SchemaRef,
    /// In the table's order; each is a column of `schema`.
    pub partition_columns: Vec<String>,
    pub indexed: IndexedColumns,
    /// Compressed bytes at which a file is closed and the next one begun.
    pub target_size: u64,
    pub compression: Compression,
    /// The table's folder when it is on a local disk: files are written there directly, and synced.
    pub local_root: Option<PathBuf>,
    pub bounds: Bounds,
}

impl FilesSpec {
    /// A table without partitions and with Delta's default statistics.
    pub fn plain(schema: SchemaRef, files: &Files) -> Self {
        let indexed = IndexedColumns::of(&schema, &[], &Default::default());
        Self {
            schema,
            partition_columns: Vec::new(),
            indexed,
            target_size: files.target_size,
            compression: files.compression,
            local_root: None,
            bounds: Bounds::default(),
        }
    }
}

/// The table's folder, when the table is on a local disk.
pub fn local_root(table: &TableLocation) -> Option<PathBuf> {
    let is_local = table.url.scheme() == "file";
    table.url.to_file_path().ok().filter(|_| is_local)
}

/// What a writer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Files open at once; the one that was longest without rows is closed for the next.
    pub open_files: usize,
    /// Bytes of row groups and upload buffers.
    pub memory_bytes: usize,
    /// Encoded bytes of one row group.
    pub row_group_bytes: usize,
}

impl Default for Bounds {
    /// A quarter of the memory that a connector is meant to run in for all files, and a third of that for
    /// one row group: some 300,000 rows of 260 B JSON.
    fn default() -> Self {
        Self { open_files: 64, memory_bytes: 48 * 1024 * 1024, row_group_bytes: 16 * 1024 * 1024 }
    }
}

/// What file names are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    pub output: String,
    pub epoch: u64,
    pub attempt: Uuid,
}

/// Writes the data files of one batch. All calls block: use it on a thread that may.
pub struct FilesWriter {
    target: Target,
    naming: Naming,
    spec: FilesSpec,
    /// Positions in a batch of the columns that files hold, and the files' schema.
    data_columns: Vec<usize>,
    file_schema: SchemaRef,
    /// From the first rows on.
    properties: Option<Arc<WriterProperties>>,
    splitter: Option<Splitter>,
    open: HashMap<Values, Open>,
    /// Counts writes; the smallest one in `open` was not written to for longest.
    clock: u64,
    files: u32,
    finished: Vec<DataFile>,
    /// Must be synced before any file is named in the log.
    directories: BTreeSet<PathBuf>,
}

struct Open {
    file: ParquetFile,
    last_write: u64,
}

impl FilesWriter {
    /// A writer for one batch; `store` is rooted at the table.
    pub fn new(
        spec: &FilesSpec,
        store: Arc<dyn ObjectStore>,
        naming: Naming,
        runtime: Handle,
    ) -> Self {
        let is_data = |c: &usize| !spec.partition_columns.contains(spec.schema.field(*c).name());
        let data_columns: Vec<usize> = (0..spec.schema.fields().len()).filter(is_data).collect();
        let file_schema =
            spec.schema.project(&data_columns).expect("positions of the schema's own");
        Self {
            target: Target { store, local_root: spec.local_root.clone(), runtime },
            naming,
            spec: spec.clone(),
            data_columns,
            file_schema: Schema::new(file_schema.fields).into(),
            properties: None,
            splitter: None,
            open: HashMap::new(),
            clock: 0,
            files: 0,
            finished: Vec::new(),
            directories: BTreeSet::new(),
        }
    }

    /// Adds rows: the spec's columns, in its order.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), FilesError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // Before the split: a partition's value is of the table's type, too.
        let batch = self.adapted(batch).map_err(FilesError::Rows)?;
        if self.spec.partition_columns.is_empty() {
            return self.append(Values::new(), &batch);
        }
        for part in self.split(&batch)? {
            self.append(part.values, &part.rows)?;
        }
        Ok(())
    }

    /// Closes the files in the making that have so many bytes or more.
    pub fn close_from(&mut self, bytes: u64) -> Result<(), FilesError> {
        let mut large: Vec<(u32, Values)> = self
            .open
            .iter()
            .filter(|(_, open)| open.file.size_estimate() >= bytes)
            .map(|(values, open)| (open.file.number(), values.clone()))
            .collect();
        large.sort_unstable();
        for (_, values) in large {
            let open = self.open.remove(&values).expect("just found");
            self.close(values, open.file)?;
        }
        Ok(())
    }

    /// Closes all files. What it returns may be committed.
    pub fn finish(mut self) -> Result<Vec<DataFile>, FilesError> {
        let mut rest: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        rest.sort_by_key(|(_, open)| open.file.number());
        for (values, open) in rest {
            self.close(values, open.file)?;
        }
        upload::sync_directories(&self.directories)?;
        Ok(self.finished)
    }

    /// Empty strings met in partition columns: Delta has only NULL for them.
    pub fn empty_partition_values(&self) -> u64 {
        self.splitter.as_ref().map_or(0, |splitter| splitter.empty_strings)
    }

    /// Bytes of the files so far, those in the making by estimate.
    pub fn bytes_so_far(&self) -> u64 {
        let closed: u64 = self.finished.iter().map(|file| file.size_bytes).sum();
        closed + self.open.values().map(|open| open.file.size_estimate()).sum::<u64>()
    }

    /// Bytes held in memory for the open files.
    pub fn held_bytes(&self) -> usize {
        self.open.values().map(|open| open.file.held_bytes()).sum()
    }

    fn split(&mut self, batch: &RecordBatch) -> Result<Vec<Part>, FilesError> {
        let splitter = match &mut self.splitter {
            Some(splitter) => splitter,
            none => {
                let names = self.spec.partition_columns.iter();
                let columns: Result<Vec<_>, _> =
                    names.map(|name| self.spec.schema.index_of(name)).collect();
                none.insert(
                    columns.and_then(|c| Splitter::new(batch, c)).map_err(FilesError::Rows)?,
                )
            }
        };
        splitter.split(batch).map_err(|error| match error {
            SplitError::Value { column, source } => FilesError::PartitionValue {
                column: self.spec.schema.field(column).name().clone(),
                source,
            },
            SplitError::Arrow(source) => FilesError::Rows(source),
        })
    }

    fn append(&mut self, values: Values, batch: &RecordBatch) -> Result<(), FilesError> {
        let rows = self.data_rows(batch)?;
        self.clock += 1;
        let mut open = match self.open.remove(&values) {
            Some(open) => open,
            None => Open { file: self.begin(&values, &rows)?, last_write: 0 },
        };
        open.last_write = self.clock;
        open.file.write(&rows)?;
        if open.file.row_group_bytes() >= self.spec.bounds.row_group_bytes {
            open.file.end_row_group()?;
        }
        if open.file.size_estimate() >= self.spec.target_size {
            return self.close(values, open.file);
        }
        self.open.insert(values, open);
        self.keep_bounds()
    }

    /// The rows as the table types them.
    fn adapted(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let column = |(i, field): (usize, &FieldRef)| match batch.columns().get(i) {
            Some(column) => adapt(column, field),
            None => Err(ArrowError::SchemaError(format!("no column {i}"))),
        };
        let columns: Result<Vec<ArrayRef>, _> =
            self.spec.schema.fields().iter().enumerate().map(column).collect();
        batch_of(&self.spec.schema, columns?, batch.num_rows())
    }

    /// The columns that go into the file.
    fn data_rows(&self, batch: &RecordBatch) -> Result<RecordBatch, FilesError> {
        let columns = self.data_columns.iter().map(|&c| Arc::clone(batch.column(c))).collect();
        batch_of(&self.file_schema, columns, batch.num_rows()).map_err(FilesError::Rows)
    }

    fn begin(&mut self, values: &Values, sample: &RecordBatch) -> Result<ParquetFile, FilesError> {
        let number = self.files;
        self.files += 1;
        let folders = partitions::folders(&self.spec.partition_columns, values);
        let path = format!("{folders}{}", self.file_name(number));
        let properties = match &self.properties {
            Some(properties) => Arc::clone(properties),
            None => {
                let made = encoding::properties(sample, self.spec.compression)
                    .map_err(|source| FilesError::Encode { path: path.clone(), source })?;
                Arc::clone(self.properties.insert(Arc::new(made)))
            }
        };
        ParquetFile::create(
            &self.target,
            path,
            number,
            &properties,
            &self.file_schema,
            &self.spec.indexed,
        )
    }

    /// `part-orders-00000000000000000042-<attempt>-00000.zstd.parquet`: who wrote it, when, and nobody else
    /// can write the same name.
    fn file_name(&self, number: u32) -> String {
        let Naming { output, epoch, attempt } = &self.naming;
        let codec = match self.spec.compression {
            Compression::Zstd { .. } => ".zstd",
            Compression::Snappy => ".snappy",
            Compression::None => "",
        };
        format!("part-{output}-{epoch:020}-{attempt}-{number:05}{codec}.parquet")
    }

    fn close(&mut self, values: Values, file: ParquetFile) -> Result<(), FilesError> {
        let (mut file, directories) = file.finish()?;
        file.partition_values = self.spec.partition_columns.iter().cloned().zip(values).collect();
        self.finished.push(file);
        self.directories.extend(directories);
        Ok(())
    }

    /// Closes the files that had no rows for longest, until the rest fits.
    fn keep_bounds(&mut self) -> Result<(), FilesError> {
        let Bounds { open_files, memory_bytes, .. } = self.spec.bounds;
        while self.open.len() > 1 {
            if self.open.len() <= open_files && self.held_bytes() <= memory_bytes {
                break;
            }
            let oldest = self.open.iter().min_by_key(|(_, open)| open.last_write);
            let values = oldest.expect("more than one is open").0.clone();
            let open = self.open.remove(&values).expect("just found");
            self.close(values, open.file)?;
        }
        Ok(())
    }
}

fn batch_of(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Why data files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("writing data file {path}: {source}; will be tried again")]
    Store { path: String, source: object_store::Error },
    #[error(
        "encoding data file {path} as Parquet: {source}; this is a bug in sluice, please report it"
    )]
    Encode { path: String, source: ParquetError },
    #[error(
        "rows that are not what the table's plan says: {0}; this is a bug in sluice, please report it"
    )]
    Rows(ArrowError),
    #[error("partition column `{column}` holds {source}; partition by another column")]
    PartitionValue { column: String, source: UnusableValue },
}

impl FilesError {
    /// From a writer's I/O error, which has the store's own error inside when there is one.
    fn store(path: &str, error: std::io::Error) -> Self {
        let source = error.downcast::<object_store::Error>().unwrap_or_else(|error| {
            object_store::Error::Generic { store: "file", source: Box::new(error) }
        });
        Self::Store { path: path.to_owned(), source }
    }

    /// What the engine should do.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Store { source, .. } if is_denied(source) => {
                Disposition::Stop(Exit::Configuration)
            }
            Self::Store { .. } => Disposition::Retry,
            Self::Encode { .. } | Self::Rows(_) => Disposition::Stop(Exit::Bug),
            Self::PartitionValue { .. } => Disposition::Stop(Exit::DataRefused),
        }
    }

    /// The stable code of the message.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store { .. } => "SL4101",
            Self::Encode { .. } => "SL4102",
            Self::Rows(_) => "SL4103",
            Self::PartitionValue { .. } => "SL4104",
        }
    }
}

#[cfg(test)]
mod tests;
