//! Writing what a merge changes: files without the rows that are replaced, and the new rows.
//!
//! Memory is the writer's: surviving rows pass through in small batches. A file's new rows follow its survivors, and
//! rows of new keys come last in the key's order, so that files that were apart in the key's range stay apart.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};

use super::KeyedCounts;
use super::active::ActiveFile;
use super::changes::KeySet;
use super::columns::{Domain, KeyColumns, Values};
use super::error::ReadError;
use super::find::{Found, Match};
use super::read::TableReader;
use crate::chunk::MAX_CHUNK_ROWS;
use crate::sink::files::{FilesError, FilesWriter};
use crate::sink::{DataFile, Remove};

/// A merge whose keys have been found.
pub(super) struct Rewrite {
    /// Of all columns.
    pub reader: TableReader,
    /// Positions of the key's columns among them, in the key's order.
    pub key_positions: Vec<usize>,
    pub partition_columns: Vec<String>,
    pub columns: Arc<KeyColumns>,
    pub keys: Arc<KeySet>,
    /// The changes, in the table's columns.
    pub rows: Arc<Vec<RecordBatch>>,
    pub found: Found,
    /// Bytes from which on a file in the making is closed rather than mixed with rows from elsewhere in the key.
    pub cut_at: u64,
}

pub(super) struct Rewritten {
    pub adds: Vec<DataFile>,
    pub removes: Vec<Remove>,
}

impl Rewrite {
    /// Writes everything. Blocks.
    pub fn run(
        mut self,
        mut writer: FilesWriter,
        counts: &mut KeyedCounts,
    ) -> Result<Rewritten, ReadError> {
        let mut removes = Vec::new();
        for number in self.order() {
            let Match { file, .. } = &self.found.files[number];
            let records = self.survivors(file, &mut writer, counts)?;
            removes.push(file.remove(&self.partition_columns, records));
            let new: Vec<u32> = self.written(|first| first as usize == number + 1);
            counts.updated += new.len() as u64;
            self.write(&new, &mut writer)?;
            writer.close_from(self.cut_at)?;
        }
        let new = self.written(|first| first == 0);
        counts.inserted = new.len() as u64;
        self.write(&new, &mut writer)?;
        self.rows = Arc::default();
        Ok(Rewritten { adds: writer.finish()?, removes })
    }

    /// The files by partition, then by the key: neighbours share files.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.found.files.len()).collect();
        let place = |number: &usize| {
            let file = &self.found.files[*number].file;
            let min = file.domains.iter().map(|domain: &Domain| match &domain.values {
                Values::Between(min, _) => min.to_vec(),
                _ => Vec::new(),
            });
            (file.partition_values.clone(), min.collect::<Vec<_>>(), file.path.clone())
        };
        order.sort_by_cached_key(place);
        order
    }

    /// Winners that are rows, by where their key was found; in the key's order.
    fn written(&self, is_there: impl Fn(u32) -> bool) -> Vec<u32> {
        let is_row = |key: &u32| !self.keys.winner(*key).deletes;
        let sorted = self.keys.sorted().iter().copied();
        sorted.filter(is_row).filter(|key| is_there(self.found.file_of[*key as usize])).collect()
    }

    /// Copies the rows of a file whose keys the batch doesn't have; how many rows the file has.
    fn survivors(
        &self,
        file: &ActiveFile,
        writer: &mut FilesWriter,
        counts: &mut KeyedCounts,
    ) -> Result<u64, ReadError> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let result = self.reader.read(file, None, |rows| {
            let key: Vec<_> =
                self.key_positions.iter().map(|at| rows.column(*at).clone()).collect();
            let keys = self.columns.encode(&key).map_err(delta_kernel::Error::Arrow)?;
            let stays = (0..rows.num_rows()).map(|row| {
                keys.write(row, &mut bytes, &mut ends);
                self.keys.find(&bytes).is_none()
            });
            let stays = BooleanArray::from(stays.collect::<Vec<_>>());
            let rows = filter_record_batch(&rows, &stays).map_err(delta_kernel::Error::Arrow)?;
            counts.copied += rows.num_rows() as u64;
            writer.write(&rows)?;
            Ok::<_, ReadError>(())
        });
        result.map_err(|error| error.in_file(&file.path))
    }

    /// The new rows of some keys.
    fn write(&self, keys: &[u32], writer: &mut FilesWriter) -> Result<(), FilesError> {
        let batches: Vec<&RecordBatch> = self.rows.iter().collect();
        for keys in keys.chunks(MAX_CHUNK_ROWS) {
            let places: Vec<(usize, usize)> = keys
                .iter()
                .map(|key| self.keys.winner(*key))
                .map(|winner| (winner.batch as usize, winner.row as usize))
                .collect();
            let rows = interleave_record_batch(&batches, &places).map_err(FilesError::Rows)?;
            writer.write(&rows)?;
        }
        Ok(())
    }
}
