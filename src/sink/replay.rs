//! One replay of a log by the Delta kernel: protocol, metadata and our `txn`s, never the file list.
//!
//! The kernel knows checkpoints of every kind, compacted logs and where to begin. What is read here is what a
//! reader of any make would see; nothing is filtered by age, so an expired `txn` that is still there is seen.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use delta_kernel::actions::get_commit_schema;
use delta_kernel::engine_data::{GetData, TypedGetData};
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::DataType;
use delta_kernel::{DeltaResult, Engine, Error, RowVisitor, Snapshot, SnapshotRef};
use serde::de::DeserializeOwned;

use super::store::kernel_root;
use super::{Metadata, Protocol, Txn};

/// What a log says of its newest version.
#[derive(Debug)]
pub(super) struct Replayed {
    pub version: u64,
    /// The checkpoint that the replay began at.
    pub checkpoint: Option<u64>,
    pub protocol: Protocol,
    pub metadata: Metadata,
    /// By application, those that begin with the prefix.
    pub txns: BTreeMap<String, Txn>,
    /// Bytes of the newest version's entry, as listed; `None` where only its checkpoint is left.
    pub newest_size: Option<u64>,
}

/// Reads a table's newest state. Blocks: call it where that is allowed.
///
/// # Errors
/// The kernel's; also when there is no table.
pub(super) fn replay(engine: &dyn Engine, prefix: &'static str) -> DeltaResult<Replayed> {
    let snapshot = Snapshot::builder_for(kernel_root()).build(engine)?;
    let segment = snapshot.log_segment();
    let newest = segment
        .listed
        .latest_commit_file
        .as_ref()
        .filter(|file| file.version == snapshot.version());
    Ok(Replayed {
        version: snapshot.version(),
        checkpoint: segment.checkpoint_version,
        protocol: ours(snapshot.table_configuration().protocol())?,
        metadata: ours(snapshot.table_configuration().metadata())?,
        txns: txns(&snapshot, engine, prefix)?,
        newest_size: newest.map(|file| file.location.size),
    })
}

fn txns(
    snapshot: &SnapshotRef,
    engine: &dyn Engine,
    prefix: &'static str,
) -> DeltaResult<BTreeMap<String, Txn>> {
    let mut visitor = TxnVisitor { prefix, txns: BTreeMap::new() };
    let schema = get_commit_schema().project(&["txn"])?;
    for batch in snapshot.log_segment().read_actions(engine, schema)? {
        visitor.visit_rows_of(batch?.actions.as_ref())?;
    }
    Ok(visitor.txns)
}

/// The kernel's actions keep their fields to themselves, but speak Delta's JSON.
fn ours<T: DeserializeOwned>(action: &impl serde::Serialize) -> DeltaResult<T> {
    let from_json = |value| serde_json::from_value(value);
    serde_json::to_value(action).and_then(from_json).map_err(|e| Error::generic(e.to_string()))
}

/// Batches come newest first, so the first `txn` of an application is the one that counts.
struct TxnVisitor {
    prefix: &'static str,
    txns: BTreeMap<String, Txn>,
}

impl RowVisitor for TxnVisitor {
    fn selected_column_names_and_types(&self) -> (&'static [ColumnName], &'static [DataType]) {
        static COLUMNS: LazyLock<(Vec<ColumnName>, Vec<DataType>)> = LazyLock::new(|| {
            let names =
                ["appId", "version", "lastUpdated"].map(|field| ColumnName::new(["txn", field]));
            (names.to_vec(), vec![DataType::STRING, DataType::LONG, DataType::LONG])
        });
        (&COLUMNS.0, &COLUMNS.1)
    }

    fn visit<'a>(&mut self, row_count: usize, getters: &[&'a dyn GetData<'a>]) -> DeltaResult<()> {
        let [app_id, version, last_updated] = getters else {
            return Err(Error::generic(format!(
                "three columns of `txn` asked for, {} given",
                getters.len()
            )));
        };
        for row in 0..row_count {
            let id: Option<&str> = app_id.get_str(row, "txn.appId")?;
            let Some(id) = id.filter(|id| id.starts_with(self.prefix)) else {
                continue;
            };
            if !self.txns.contains_key(id) {
                let version: i64 = version.get(row, "txn.version")?;
                let last_updated = last_updated.get_long(row, "txn.lastUpdated")?;
                self.txns.insert(id.to_owned(), Txn { version, last_updated });
            }
        }
        Ok(())
    }
}
