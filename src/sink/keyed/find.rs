//! Which of a batch's keys have rows, and in which files.
//!
//! Guarantees: every live row of a key is found. Reads only the key's columns, only of files whose statistics and
//! partition values don't rule every key out, and of those only row groups that Parquet's statistics don't.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use delta_kernel::Expression;
use delta_kernel::expressions::{Predicate, Scalar};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::active::ActiveFile;
use super::changes::KeySet;
use super::columns::{KeyColumns, Values};
use super::error::ReadError;
use super::read::TableReader;

/// Files looked into at once: on an object store, waiting for an answer is most of it.
const LOOKED_INTO: usize = 8;

/// Ranges of values that a file's row groups are compared with.
const MAX_RANGES: usize = 32;

/// A batch's keys, and how to find them in files.
#[derive(Clone)]
pub(super) struct Search {
    /// Of the key's columns, in their order.
    pub reader: TableReader,
    pub columns: Arc<KeyColumns>,
    pub keys: Arc<KeySet>,
    /// By batch of the changes: the key's columns.
    pub values: Arc<Vec<Vec<ArrayRef>>>,
}

/// Where the keys are.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files that hold one.
    pub files: Vec<Match>,
    /// By key: the number of the first file that holds it, plus one; zero: none does.
    pub file_of: Vec<u32>,
}

/// A file that holds rows of the batch's keys.
#[derive(Debug)]
pub(super) struct Match {
    pub file: Arc<ActiveFile>,
    pub rows: u64,
}

impl Found {
    pub fn holds(&self, key: u32) -> bool {
        self.file_of[key as usize] != 0
    }
}

/// Looks the keys up in these files.
pub(super) async fn find(
    search: &Search,
    candidates: Vec<Arc<ActiveFile>>,
) -> Result<Found, ReadError> {
    let mut found = Found { files: Vec::new(), file_of: vec![0; search.keys.len()] };
    let looks = candidates.into_iter().map(|file| {
        let search = search.clone();
        async move {
            let path = file.path.clone();
            let look = tokio::task::spawn_blocking(move || {
                let keys = search.look_into(&file)?;
                Ok((file, keys))
            });
            look.await.unwrap_or_else(|error| Err(ReadError::of(&path, error)))
        }
    });
    // In order, so that the same table and batch give the same files.
    let mut looks = stream::iter(looks).buffered(LOOKED_INTO);
    while let Some((file, keys)) = looks.try_next().await? {
        if keys.is_empty() {
            continue;
        }
        let rows = keys.len() as u64;
        found.files.push(Match { file, rows });
        let number = u32::try_from(found.files.len()).expect("a table has fewer files");
        for key in keys {
            let first = &mut found.file_of[key as usize];
            *first = if *first == 0 { number } else { *first };
        }
    }
    Ok(found)
}

impl Search {
    /// The keys of a file's rows, as often as they are there. Blocks.
    fn look_into(&self, file: &ActiveFile) -> Result<Vec<u32>, ReadError> {
        let (mut found, mut bytes, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        self.reader
            .read(file, self.predicate(file), |rows| {
                let keys =
                    self.columns.encode(rows.columns()).map_err(delta_kernel::Error::Arrow)?;
                for row in 0..rows.num_rows() {
                    keys.write(row, &mut bytes, &mut ends);
                    found.extend(self.keys.find(&bytes));
                }
                Ok::<_, ReadError>(())
            })
            .map_err(|error| error.in_file(&file.path))?;
        Ok(found)
    }

    /// What rows of the keys must be like in the first column that is in the files: one of some ranges.
    pub(super) fn predicate(&self, file: &ActiveFile) -> Option<Predicate> {
        let (at, column) = self.columns.iter().enumerate().find(|(_, c)| !c.is_partition)?;
        let (split, [nulls, values]) = self.keys.runs(&file.domains);
        if split != at || matches!(file.domains[at].values, Values::None) {
            return None;
        }
        let named = || Expression::column([column.name.as_str()]);
        let run = &self.keys.sorted()[values];
        let each = run.len().div_ceil(MAX_RANGES).max(1);
        let mut ranges = Vec::new();
        for part in run.chunks(each) {
            let (min, max) = (part.first()?, part.last()?);
            ranges.push(Predicate::and_from([
                Predicate::ge(named(), Expression::literal(self.scalar(*min, at)?)),
                Predicate::le(named(), Expression::literal(self.scalar(*max, at)?)),
            ]));
        }
        if !nulls.is_empty() {
            ranges.push(Predicate::is_null(named()));
        }
        Some(Predicate::or_from(ranges))
    }

    fn scalar(&self, key: u32, column: usize) -> Option<Scalar> {
        let winner = self.keys.winner(key);
        scalar(&self.values[winner.batch as usize][column], winner.row as usize)
    }
}

fn scalar(column: &ArrayRef, row: usize) -> Option<Scalar> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Int8 => Scalar::Byte(column.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => Scalar::Short(column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => Scalar::Integer(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Scalar::Long(column.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => Scalar::Date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Utf8 => Scalar::String(column.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Scalar::Binary(column.as_binary::<i32>().value(row).to_vec()),
        DataType::Timestamp(_, zone) => {
            let value = column.as_primitive::<TimestampMicrosecondType>().value(row);
            if zone.is_some() { Scalar::Timestamp(value) } else { Scalar::TimestampNtz(value) }
        }
        DataType::Decimal128(precision, scale) => {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            Scalar::decimal(value, *precision, u8::try_from(*scale).ok()?).ok()?
        }
        _ => return None,
    })
}
