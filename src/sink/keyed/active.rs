//! The table's live files with what each can hold of the key: read once, then folded forward.
//!
//! Guarantees: after [`Active::open`] or [`Active::fold`] the list is that of one version, whole. Its memory grows
//! with the table's files, some 400 bytes each.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use delta_kernel::engine_data::{FilteredRowVisitor, GetData, RowIndexIterator, TypedGetData};
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::{DataType, MapType};
use delta_kernel::{DeltaResult, Engine, Error, Snapshot};

use super::columns::{Domain, KeyColumns};
use crate::sink::entry::{AddedFile, FileActions, decoded, num_records};
use crate::sink::store::kernel_root;
use crate::sink::{DataFile, DeletionVector, Remove};

/// A live file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ActiveFile {
    /// As the log has it.
    pub path: String,
    /// Without those that are NULL.
    pub partition_values: BTreeMap<String, String>,
    pub size: u64,
    /// Rows, those that the deletion vector hides included; `None`: the log doesn't say.
    pub records: Option<u64>,
    pub deletion_vector: Option<DeletionVector>,
    /// By column of the key.
    pub domains: Box<[Domain]>,
}

impl ActiveFile {
    fn new(file: AddedFile, columns: &KeyColumns) -> Self {
        let stats = file.stats.as_deref();
        Self {
            domains: columns.domains(&file.partition_values, stats),
            records: stats.and_then(num_records),
            path: file.path,
            partition_values: without_nulls(file.partition_values),
            size: file.size,
            deletion_vector: file.deletion_vector,
        }
    }

    fn ours(file: &DataFile, columns: &KeyColumns) -> Self {
        Self {
            path: file.path.clone(),
            partition_values: without_nulls(file.partition_values.clone()),
            size: file.size_bytes,
            records: Some(file.rows),
            deletion_vector: None,
            domains: columns.domains(&file.partition_values, Some(&file.stats)),
        }
    }

    /// What takes it out of the table; `records` are its rows, hidden ones included.
    pub fn remove(&self, partition_columns: &[String], records: u64) -> Remove {
        let value = |column: &String| (column.clone(), self.partition_values.get(column).cloned());
        Remove {
            path: self.path.clone(),
            partition_values: partition_columns.iter().map(value).collect(),
            size_bytes: self.size,
            records,
            deletion_vector: self.deletion_vector.clone(),
        }
    }

    /// Whether it lies in another table's folder, as those of a shallow clone do.
    pub fn is_elsewhere(&self) -> bool {
        self.path.contains("://")
    }
}

fn without_nulls(values: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    values.into_iter().filter_map(|(column, value)| Some((column, value?))).collect()
}

/// The live files of one version, by decoded path.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Active(BTreeMap<String, Arc<ActiveFile>>);

impl Active {
    /// Replays the log up to `version`. Blocks.
    pub fn open(engine: &dyn Engine, version: u64, columns: &KeyColumns) -> DeltaResult<Self> {
        let snapshot = Snapshot::builder_for(kernel_root()).at_version(version).build(engine)?;
        let scan = snapshot.scan_builder().build()?;
        let mut visitor = AddVisitor { columns, files: Self::default() };
        for batch in scan.scan_metadata(engine)? {
            visitor.visit_rows_of(&batch?.scan_files)?;
        }
        Ok(visitor.files)
    }

    /// A live file, by its path as the log has it.
    pub fn get(&self, path: &str) -> Option<&Arc<ActiveFile>> {
        self.0.get(&decoded(path))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<ActiveFile>> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in the next version's entry. A file whose deletion vector changed is removed and added by one entry, so
    /// removals come first.
    pub fn fold(&mut self, files: FileActions, columns: &KeyColumns) {
        for remove in files.removes {
            self.0.remove(&decoded(&remove.path));
        }
        for add in files.adds {
            self.insert(ActiveFile::new(add, columns));
        }
    }

    /// Takes in a commit of ours.
    pub fn fold_ours(&mut self, removes: &[Remove], adds: &[DataFile], columns: &KeyColumns) {
        for remove in removes {
            self.0.remove(&decoded(&remove.path));
        }
        for add in adds {
            self.insert(ActiveFile::ours(add, columns));
        }
    }

    fn insert(&mut self, file: ActiveFile) {
        self.0.insert(decoded(&file.path), Arc::new(file));
    }
}

struct AddVisitor<'a> {
    columns: &'a KeyColumns,
    files: Active,
}

impl FilteredRowVisitor for AddVisitor<'_> {
    fn selected_column_names_and_types(&self) -> (&'static [ColumnName], &'static [DataType]) {
        static COLUMNS: LazyLock<(Vec<ColumnName>, Vec<DataType>)> = LazyLock::new(|| {
            let texts = MapType::new(DataType::STRING, DataType::STRING, true);
            let vector = |field| ColumnName::new(["deletionVector", field]);
            let columns = [
                (ColumnName::new(["path"]), DataType::STRING),
                (ColumnName::new(["size"]), DataType::LONG),
                (ColumnName::new(["stats"]), DataType::STRING),
                (vector("storageType"), DataType::STRING),
                (vector("pathOrInlineDv"), DataType::STRING),
                (vector("offset"), DataType::INTEGER),
                (vector("sizeInBytes"), DataType::INTEGER),
                (vector("cardinality"), DataType::LONG),
                (ColumnName::new(["fileConstantValues", "partitionValues"]), texts.into()),
            ];
            columns.into_iter().unzip()
        });
        (&COLUMNS.0, &COLUMNS.1)
    }

    fn visit_filtered<'a>(
        &mut self,
        getters: &[&'a dyn GetData<'a>],
        rows: RowIndexIterator<'_>,
    ) -> DeltaResult<()> {
        let [path, size, stats, vector @ .., partition] = getters else {
            return Err(Error::generic("fewer columns of `add` than asked for"));
        };
        for row in rows {
            let Some(path) = path.get_opt(row, "path")? else {
                continue;
            };
            let size: i64 = size.get(row, "size")?;
            let partition_values: HashMap<String, String> =
                partition.get(row, "partitionValues")?;
            let file = AddedFile {
                path,
                partition_values: partition_values
                    .into_iter()
                    .map(|(column, value)| (column, Some(value)))
                    .collect(),
                size: size.unsigned_abs(),
                data_change: true,
                stats: stats.get_opt(row, "stats")?,
                deletion_vector: deletion_vector(vector, row)?,
            };
            self.files.insert(ActiveFile::new(file, self.columns));
        }
        Ok(())
    }
}

fn deletion_vector<'a>(
    getters: &[&'a dyn GetData<'a>],
    row: usize,
) -> DeltaResult<Option<DeletionVector>> {
    let Some(storage_type) = getters[0].get_opt(row, "deletionVector.storageType")? else {
        return Ok(None);
    };
    Ok(Some(DeletionVector {
        storage_type,
        path_or_inline_dv: getters[1].get(row, "deletionVector.pathOrInlineDv")?,
        offset: getters[2].get_opt(row, "deletionVector.offset")?,
        size_in_bytes: getters[3].get(row, "deletionVector.sizeInBytes")?,
        cardinality: getters[4].get(row, "deletionVector.cardinality")?,
    }))
}
