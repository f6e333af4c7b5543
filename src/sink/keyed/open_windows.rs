//! Files with the rows of open windows, which later commits replace until the windows are closed.
//!
//! Who writes them remembers them, so that nothing is read back. Where another writer has put their rows elsewhere (an
//! OPTIMIZE), the rows are found by the end of their window, and taken out of whatever file they are in by now.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar, TimestampMicrosecondArray};
use arrow::compute::kernels::cmp::gt;
use arrow::compute::{filter_record_batch, not, prep_null_mask_filter};
use arrow::error::ArrowError;
use delta_kernel::Engine;
use serde::{Deserialize, Serialize};

use super::active::{Active, ActiveFile};
use super::columns::{KeyColumns, Values};
use super::error::{KeyedError, ReadError};
use super::read::TableReader;
use crate::sink::error::SinkError;
use crate::sink::files::{FilesSpec, FilesWriter};
use crate::sink::log::TableLog;
use crate::sink::maintenance::in_kernel;
use crate::sink::store::TableStore;
use crate::sink::{DataFile, Remove, delta_schema};

/// A file of open windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    partition_values: BTreeMap<String, Option<String>>,
    size_bytes: u64,
    rows: u64,
}

impl OpenFile {
    /// As a transaction holds it.
    pub fn held(&self) -> String {
        crate::sink::entry::decoded(&self.path)
    }

    pub fn remove(&self) -> Remove {
        Remove {
            path: self.path.clone(),
            partition_values: self.partition_values.clone(),
            size_bytes: self.size_bytes,
            records: self.rows,
            deletion_vector: None,
        }
    }
}

impl From<&DataFile> for OpenFile {
    fn from(file: &DataFile) -> Self {
        Self {
            path: file.path.clone(),
            partition_values: file.partition_values.clone(),
            size_bytes: file.size_bytes,
            rows: file.rows,
        }
    }
}

/// Whether files are in the table as they were written.
///
/// # Errors
/// When the log can't be read.
pub async fn are_untouched(
    store: &TableStore,
    log: &TableLog,
    files: Vec<OpenFile>,
) -> Result<bool, SinkError> {
    let version = log.version();
    in_kernel(store, move |engine| {
        let live = Active::open(&*engine, version, &KeyColumns::none())?;
        let untouched = |file: &OpenFile| {
            live.get(&file.path).is_some_and(|live| live.deletion_vector.is_none())
        };
        Ok(files.iter().all(untouched))
    })
    .await
}

/// The table without rows of open windows, once it is committed.
#[derive(Debug, Default)]
pub struct TakenOut {
    /// What else was in the files that go.
    pub adds: Vec<DataFile>,
    pub removes: Vec<Remove>,
    /// Rows of `adds`.
    pub copied: u64,
}

/// Which rows are of open windows.
#[derive(Debug, Clone)]
pub struct EndsAfter {
    /// The column with the ends of windows.
    pub column: String,
    /// In microseconds since 1970.
    pub time: i64,
}

/// Takes the rows of open windows out of a table, as of `log`'s version. `None`: all rows are.
///
/// # Errors
/// When files can't be read or written. Files written so far are orphans then.
pub async fn take_out(
    store: &TableStore,
    log: &TableLog,
    open: Option<EndsAfter>,
    files: impl FnOnce(&FilesSpec) -> FilesWriter + Send + 'static,
    spec: &FilesSpec,
) -> Result<TakenOut, KeyedError> {
    let metadata = log.metadata();
    let bug = |what: &str| ArrowError::SchemaError(what.to_owned());
    let schema = delta_schema::from_json(&metadata.schema_string)
        .map_err(|problem| bug(&problem.to_string()))?;
    let partition_columns = metadata.partition_columns.clone();
    let key: Vec<String> = open.iter().map(|open| open.column.clone()).collect();
    let columns = KeyColumns::new(&schema, &partition_columns, &key)
        .map_err(|_| bug("no column with the ends of windows"))?;
    let (engine, version) = (store.engine(), log.version());
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let text = &metadata.schema_string;
    let reader = TableReader::new(Arc::clone(&engine), text, &schema, &partition_columns, &all)
        .map_err(|error| ReadError::from(error).at(store.table()))?;
    // All of the table's columns: rows that stay keep what others have added.
    let spec = FilesSpec { schema: Arc::new(schema), ..spec.clone() };
    let writer = files(&spec);
    let search = Search { reader, columns, partition_columns, open };
    let job = tokio::task::spawn_blocking(move || search.run(&*engine, version, writer));
    let table = store.table();
    match job.await.unwrap_or_else(|error| Err(ReadError::of("", error))) {
        Ok(taken) => Ok(taken),
        Err(error) => Err(error.at(table)),
    }
}

struct Search {
    reader: TableReader,
    /// The column with the ends of windows, if there is one.
    columns: KeyColumns,
    partition_columns: Vec<String>,
    open: Option<EndsAfter>,
}

impl Search {
    fn run(
        &self,
        engine: &dyn Engine,
        version: u64,
        mut writer: FilesWriter,
    ) -> Result<TakenOut, ReadError> {
        let live = Active::open(engine, version, &self.columns)?;
        let mut taken = TakenOut::default();
        for file in live.iter() {
            if self.may_have_open(file)? {
                self.take(file, &mut writer, &mut taken)?;
            }
        }
        taken.adds = writer.finish()?;
        Ok(taken)
    }

    /// By the statistics of a file.
    fn may_have_open(&self, file: &ActiveFile) -> Result<bool, ReadError> {
        let (Some(open), Some(domain)) = (&self.open, file.domains.first()) else {
            return Ok(true);
        };
        let time = Arc::new(TimestampMicrosecondArray::from(vec![open.time]).with_timezone("UTC"));
        let keys = self.columns.encode(&[time as ArrayRef]).map_err(delta_kernel::Error::Arrow)?;
        let mut bytes = Vec::new();
        keys.write(0, &mut bytes, &mut Vec::new());
        Ok(match &domain.values {
            Values::None => false,
            Values::Between(_, max) => **max > *bytes,
            Values::Any => true,
        })
    }

    /// Writes the rows of a file that stay.
    fn take(
        &self,
        file: &ActiveFile,
        writer: &mut FilesWriter,
        taken: &mut TakenOut,
    ) -> Result<(), ReadError> {
        let records = self.reader.read(file, None, |rows: RecordBatch| {
            let stays = stays(&rows, self.open.as_ref()).map_err(delta_kernel::Error::Arrow)?;
            let rows = filter_record_batch(&rows, &stays).map_err(delta_kernel::Error::Arrow)?;
            taken.copied += rows.num_rows() as u64;
            writer.write(&rows)?;
            Ok::<_, ReadError>(())
        });
        let records = records.map_err(|error| error.in_file(&file.path))?;
        taken.removes.push(file.remove(&self.partition_columns, records));
        Ok(())
    }
}

/// The rows that are not of open windows.
fn stays(rows: &RecordBatch, open: Option<&EndsAfter>) -> Result<BooleanArray, ArrowError> {
    let Some(open) = open else {
        return Ok(BooleanArray::from(vec![false; rows.num_rows()]));
    };
    let ends = rows.column(rows.schema().index_of(&open.column)?);
    let time = TimestampMicrosecondArray::new_scalar(open.time);
    let time = Scalar::new(time.into_inner().with_timezone("UTC"));
    let goes = gt(ends, &time)?;
    // A row without an end is not ours.
    match goes.null_count() {
        0 => not(&goes),
        _ => not(&prep_null_mask_filter(&goes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_that_end_by_then_or_have_no_end() {
        let check = |ends: Vec<Option<i64>>, expected: &[bool]| {
            let ends = TimestampMicrosecondArray::from(ends).with_timezone("UTC");
            let rows = RecordBatch::try_from_iter_with_nullable([(
                "window_end",
                Arc::new(ends) as ArrayRef,
                true,
            )]);
            let open = EndsAfter { column: "window_end".to_owned(), time: 7 };
            let found = stays(&rows.expect("one column"), Some(&open)).expect("comparable");
            assert_eq!(found, BooleanArray::from(expected.to_vec()));
        };
        check(vec![Some(6), Some(7), Some(8)], &[true, true, false]);
        check(vec![Some(8), None], &[false, true]);
        check(vec![], &[]);
    }
}
