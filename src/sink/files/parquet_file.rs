//! One Parquet file in the making.
//!
//! Guarantees: a row group's pages leave memory when the row group ends; an error of the store comes out
//! as the store's error, not as one of Parquet. One that is dropped unfinished takes itself back, and may be
//! dropped on any thread.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::FilesError;
use super::upload::{Target, Upload};
use crate::sink::DataFile;
use crate::sink::partitions;
use crate::sink::stats::{Collector, IndexedColumns};

/// Memory of a column's encoder besides its encoded bytes (measured: 24 to 31 KiB). Parquet's own
/// `memory_size` counts a MiB for each delta-packed column, of which the kernel gives out what is touched.
const ENCODER_BYTES: usize = 32 * 1024;

/// Memory of a column's compressor, once it has compressed a page (measured with zstd level 1: 400 to
/// 600 KiB).
const COMPRESSOR_BYTES: usize = 600 * 1024;

/// Rows at which Parquet ends a page, and so compresses for the first time.
const PAGE_ROWS: usize = 20_000;

pub(super) struct ParquetFile {
    /// As it is stored.
    path: String,
    number: u32,
    rows: u64,
    columns: usize,
    writer: ArrowWriter<Tracked>,
    statistics: Collector,
}

impl ParquetFile {
    pub(super) fn create(
        target: &Target,
        path: String,
        number: u32,
        properties: &Arc<WriterProperties>,
        schema: &SchemaRef,
        indexed: &IndexedColumns,
    ) -> Result<Self, FilesError> {
        let upload = Tracked { upload: Some(Upload::create(target, &path)?), failure: None };
        // The Arrow schema in the footer would only repeat the table's.
        let options = ArrowWriterOptions::new()
            .with_properties(properties.as_ref().clone())
            .with_skip_arrow_metadata(true)
            .with_schema_root("spark_schema".to_owned());
        let writer = ArrowWriter::try_new_with_options(upload, schema.clone(), options)
            .map_err(|source| FilesError::Encode { path: path.clone(), source })?;
        let statistics = Collector::new(schema, indexed);
        Ok(Self { path, number, rows: 0, columns: schema.fields().len(), writer, statistics })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), FilesError> {
        self.statistics.observe(batch);
        self.rows += batch.num_rows() as u64;
        let result = self.writer.write(batch);
        result.map_err(|error| self.failure(error))
    }

    pub(super) fn end_row_group(&mut self) -> Result<(), FilesError> {
        let result = self.writer.flush();
        result.map_err(|error| self.failure(error))
    }

    /// Bytes that the file would have if it ended now, about.
    pub(super) fn size_estimate(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Encoded bytes of the row group in the making.
    pub(super) fn row_group_bytes(&self) -> usize {
        self.writer.in_progress_size()
    }

    /// All bytes held in memory for this file.
    pub(super) fn held_bytes(&self) -> usize {
        let each = match self.writer.in_progress_rows() {
            0 => 0,
            rows if rows < PAGE_ROWS => ENCODER_BYTES,
            _ => ENCODER_BYTES + COMPRESSOR_BYTES,
        };
        let upload = self.writer.inner().upload.as_ref();
        self.row_group_bytes() + self.columns * each + upload.map_or(0, Upload::buffered_bytes)
    }

    /// Makes the file whole. Its partition values are the caller's.
    pub(super) fn finish(mut self) -> Result<(DataFile, Vec<PathBuf>), FilesError> {
        let footer = self.writer.finish();
        let footer = footer.map_err(|error| self.failure(error))?;
        let stats = self.statistics.render(&footer);
        let path = std::mem::take(&mut self.path);
        // `into_inner` would want to finish the file once more.
        let upload = self.writer.inner_mut().upload.take().expect("a file is finished once");
        let upload = upload.finish()?;
        let file = DataFile {
            path: partitions::log_path(&path),
            partition_values: Default::default(),
            size_bytes: upload.size_bytes,
            modification_time: now_millis(),
            rows: self.rows,
            stats,
        };
        Ok((file, upload.directories))
    }

    fn failure(&mut self, error: ParquetError) -> FilesError {
        match self.writer.inner_mut().failure.take() {
            Some(source) => FilesError::store(&self.path, source),
            None => FilesError::Encode { path: self.path.clone(), source: error },
        }
    }
}

impl Drop for ParquetFile {
    /// Parquet's writer buffers, and would write what it holds as it goes: to a store that is a wait, which no
    /// thread of a runtime can do.
    fn drop(&mut self) {
        self.writer.inner_mut().upload = None;
    }
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Keeps the upload's own error, which Parquet turns into text.
struct Tracked {
    /// Until the file is whole or given up.
    upload: Option<Upload>,
    failure: Option<io::Error>,
}

impl Write for Tracked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(upload) = &mut self.upload else {
            return Err(io::Error::other("the file was given up"));
        };
        upload.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.failure = Some(error);
            io::Error::from(kind)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
