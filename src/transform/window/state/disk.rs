//! Entries in a RocksDB of their own, of which a bounded part is in memory.
//!
//! The files are a cache of the state objects: made anew at each start, never synced, gone with the state. Nothing is logged
//! ahead, since a crash loses them anyway.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBRawIterator, LogLevel, LruCacheOptions,
    Options, ReadOptions, WriteBatch, WriteOptions,
};
use uuid::Uuid;

use super::super::error::WindowError;
use super::super::watermark::Micros;
use super::entry::{
    TABLES, expiry_of, group_and_table, is_row, rows_after, rows_end, rows_from, table_of,
};

const MIB: usize = 1 << 20;
/// Blocks that were read, their indexes and filters.
const CACHE_BYTES: usize = 64 * MIB;
/// Of what is to be written, of which there are this many: one is filled while the others are written.
const BUFFER_BYTES: usize = 16 * MIB;
const BUFFERS: i32 = 3;
/// Neighbours in the order of keys are read together when windows close and for snapshots; single rows are, too.
const BLOCK_BYTES: usize = 8 << 10;
/// Rows that aren't there, of keys that are new, are told without a look at the files but for one in a hundred.
const FILTER_BITS: f64 = 10.0;
/// A batch is in memory as a whole.
const BATCH_BYTES: usize = 4 * MIB;
/// Up to so many rows of a table that expire are deleted one by one: the deletion of a range costs later reads more.
/// Few in tests, so that they come by both.
const FEW_ROWS: usize = if cfg!(test) { 1 } else { 16 };

pub(super) struct Disk {
    db: DB,
    /// The smallest expiry of a table's rows, or less: what closes nothing reads nothing.
    first: Vec<Micros>,
    unlogged: WriteOptions,
    /// Removed when the database is closed.
    _folder: Folder,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("folder", &self.db.path()).finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty one, in a folder of its own in `folder`.
    pub(super) fn create(folder: &Path) -> Result<Self, WindowError> {
        let failed =
            |error: std::io::Error| WindowError::Disk(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
        for left in fs::read_dir(folder).map_err(failed)? {
            let left = left.map_err(failed)?;
            if left.file_name().to_str().is_some_and(|name| Uuid::parse_str(name).is_ok()) {
                Folder(left.path()).remove();
            }
        }
        let own = Folder(folder.join(Uuid::new_v4().to_string()));
        let db = DB::open(&options(), &own.0)?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        Ok(Self { db, first: vec![Micros::MAX; TABLES], unlogged, _folder: own })
    }

    pub(super) fn get(&self, entry: &[u8]) -> Result<Option<Vec<u8>>, WindowError> {
        Ok(self.db.get(entry)?)
    }

    /// Shows the entries from one key to before another, of one table.
    pub(super) fn each(
        &self,
        from: &[u8],
        end: &[u8],
        mut show: impl FnMut(&[u8], &[u8]) -> Result<(), WindowError>,
    ) -> Result<(), WindowError> {
        // Deleted rows are at the front of a table until files are merged: not to be walked over.
        let number = table_of(from);
        let (group, table) = group_and_table(number);
        let first = rows_from(group, table, self.first[number]);
        let from = if is_row(from) { from.max(&first) } else { from };
        if from >= end {
            return Ok(());
        }
        let mut entries = self.from(from, end);
        while let Some((key, value)) = entries.item() {
            show(key, value)?;
            entries.next();
        }
        Ok(entries.status()?)
    }

    pub(super) fn change<'b>(
        &mut self,
        entries: impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)>,
    ) -> Result<(), WindowError> {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            match value {
                None => batch.delete(key),
                Some(value) => {
                    batch.put(key, value);
                    if let Some(expiry) = expiry_of(key) {
                        let first = &mut self.first[table_of(key)];
                        *first = expiry.min(*first);
                    }
                }
            }
            if batch.size_in_bytes() >= BATCH_BYTES {
                self.db.write_opt(std::mem::take(&mut batch), &self.unlogged)?;
            }
        }
        Ok(self.db.write_opt(batch, &self.unlogged)?)
    }

    pub(super) fn expire(&mut self, until: Option<Micros>) -> Result<(), WindowError> {
        let Some(until) = until else { return Ok(()) };
        let mut batch = WriteBatch::default();
        for number in (0..TABLES).filter(|number| self.first[*number] <= until) {
            let (group, table) = group_and_table(number);
            let first = rows_from(group, table, self.first[number]);
            let end = rows_after(group, table, until);
            let mut rows = self.from(&first, &end);
            let mut few = Vec::new();
            while let Some((row, _)) = rows.item().filter(|_| few.len() <= FEW_ROWS) {
                few.push(row.to_vec());
                rows.next();
            }
            rows.status()?;
            match few.len() {
                0..=FEW_ROWS => few.iter().for_each(|row| batch.delete(row)),
                _ => batch.delete_range(&first, &end),
            }
        }
        self.db.write_opt(batch, &self.unlogged)?;
        for number in 0..TABLES {
            if self.first[number] <= until {
                self.first[number] = self.first_after(number, until)?;
            }
        }
        Ok(())
    }

    /// When the first row expires that does so later.
    fn first_after(&self, number: usize, expiry: Micros) -> Result<Micros, WindowError> {
        let (group, table) = group_and_table(number);
        let end = rows_end(group, table);
        let rows = self.from(&rows_after(group, table, expiry), &end);
        let first = rows.item().and_then(|(row, _)| expiry_of(row));
        rows.status()?;
        Ok(first.unwrap_or(Micros::MAX))
    }

    fn from(&self, from: &[u8], end: &[u8]) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mut entries = self.db.raw_iterator_opt(options);
        entries.seek(from);
        entries
    }
}

impl From<rocksdb::Error> for WindowError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Disk(error.into_string())
    }
}

fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(CACHE_BYTES);
    // Else there are so many that the larger blocks push each other out.
    cache.set_num_shard_bits(2);
    blocks.set_block_cache(&Cache::new_lru_cache_opts(&cache));
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_bloom_filter(FILTER_BITS, false);
    // Else they are beside the cache, and grow with the state; in parts, since those of a file are a large block.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(4 << 10);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_error_if_exists(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(BUFFER_BYTES);
    options.set_max_write_buffer_number(BUFFERS);
    options.set_max_background_jobs(2);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_log_level(LogLevel::Error);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options
}

/// A database's files.
struct Folder(PathBuf);

impl Folder {
    /// Unless it is open: RocksDB holds a lock on it then.
    fn remove(&self) {
        if DB::destroy(&Options::default(), &self.0).is_ok() {
            // What else is in it isn't ours.
            let _ = fs::remove_dir(&self.0);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}
