//! Rewind as one commit: lower (or higher) `txn`s, said openly so that `verify` accepts them.
//!
//! Owns the transaction only. What is to be read again is the caller's choice; rows that are in the table already
//! stay there.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Transaction;
use super::error::SinkError;
use super::history::{PartitionInfo, Reset, SluiceInfo};
use super::log::TableLog;
use super::progress::{Marker, Owner};
use super::state::StateVersion;
use crate::chunk::SourcePartition;

/// `commitInfo.operation` of a rewind.
pub const OPERATION: &str = "SLUICE REWIND";

/// A transaction that puts each partition at an offset. Partitions whose progress was lost get one. `reset_state`: windows
/// begin with nothing.
///
/// # Errors
/// When the table's marker can't be read.
pub fn rewind(
    log: &TableLog,
    table: &str,
    owner: &Owner,
    config: &str,
    targets: &BTreeMap<SourcePartition, i64>,
    reset_state: bool,
    reason: &str,
) -> Result<Transaction, SinkError> {
    let marker = Marker::of(log, table, owner)?.unwrap_or_default();
    let mut expected = BTreeMap::new();
    let mut set = BTreeMap::new();
    let mut partitions = Vec::new();
    for (partition, to) in targets {
        let id = owner.app_id(partition);
        let before = log.txn(&id);
        let reset =
            Reset { from: before.map(|txn| txn.version), to: *to, reason: reason.to_owned() };
        partitions.push(PartitionInfo::at(partition, *to, Some(reset)));
        expected.insert(id.clone(), before);
        set.insert(id, *to);
    }
    let id = owner.state_id();
    if let Some(before) = log.txn(&id) {
        expected.insert(id.clone(), Some(before));
        if reset_state {
            set.insert(id, StateVersion(before.version).given_up().0);
        }
    }
    let info = SluiceInfo::new(owner, config, partitions);
    Ok(Transaction {
        attempt: Uuid::new_v4(),
        expected,
        set,
        removes: Vec::new(),
        reads: None,
        holds: Arc::default(),
        adds: Vec::new(),
        properties: marker
            .with(targets.keys())
            .map(|marker| (owner.marker(), marker.to_text()))
            .into_iter()
            .collect(),
        schema: None,
        operation: OPERATION,
        metrics: BTreeMap::new(),
        info: serde_json::to_value(info).expect("plain data serialises"),
    })
}
