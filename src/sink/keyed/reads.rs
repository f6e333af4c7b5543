//! What a batch read of a table's rows, and whether another writer's commit has changed that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::changes::KeySet;
use super::columns::KeyColumns;
use crate::sink::entry::{FileActions, decoded};

/// The rows of a batch's keys, as of one version.
#[derive(Debug, Clone)]
pub struct Reads {
    pub(super) version: u64,
    pub(super) columns: Arc<KeyColumns>,
    pub(super) keys: Arc<KeySet>,
    /// The files in which a key was found, by decoded path.
    pub(super) found: BTreeSet<String>,
}

impl Reads {
    /// The version that was read.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether another version's files may change what was read: rows of the keys that came or went. Files that were
    /// only compacted (no `dataChange`) hold the same rows as before.
    pub(in crate::sink) fn are_touched_by(&self, files: &FileActions) -> bool {
        let adds = files.adds.iter().filter(|add| add.data_change).any(|add| {
            let domains = self.columns.domains(&add.partition_values, add.stats.as_deref());
            self.keys.may_be_in(&domains)
        });
        let mut removes = files.removes.iter().filter(|remove| remove.data_change);
        adds || removes.any(|remove| self.found.contains(&decoded(&remove.path)))
    }
}
