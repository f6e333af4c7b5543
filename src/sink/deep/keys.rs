//! Whether a key has two rows in the table.
//!
//! Memory is bounded: a digest per row, at most [`PASS_KEYS`] at a time; a larger table is read in several passes.
//! Blocks.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use delta_kernel::{DeltaResult, Engine, Error};

use super::DeepReport;
use crate::sink::keyed::KeyColumns;
use crate::sink::scan::TableScan;
use crate::sink::{Metadata, delta_schema};

/// Digests held at a time: 128 MiB.
pub(in crate::sink) const PASS_KEYS: u64 = 1 << 23;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::sink) struct Keys {
    /// Rows beyond the first of their key.
    pub repeated: u64,
    /// Why nothing was looked at.
    unread: Option<String>,
}

impl Keys {
    pub(super) fn tell(self, has_other_rows: bool, report: &mut DeepReport) {
        if let Some(why) = self.unread {
            report.notes.push(format!("the keys were not compared: {why}"));
            return;
        }
        report.repeated_keys = Some(self.repeated);
        if self.repeated == 0 {
            return;
        }
        let rows = format!("rows whose key another row has, too: {}", self.repeated);
        match has_other_rows {
            // Who appends to such a table may repeat a key; it has one row again when its next change comes.
            true => report
                .notes
                .push(format!("{rows}; other writers added rows, or the log was cleaned")),
            false => report.findings.push(rows),
        }
    }
}

/// Reads every row's key.
pub(in crate::sink) fn look(
    engine: Arc<dyn Engine>,
    version: u64,
    metadata: &Metadata,
    key: &[String],
    pass_keys: u64,
) -> DeltaResult<Keys> {
    let table = delta_schema::from_json(&metadata.schema_string);
    let table = table.map_err(|problem| Error::generic(problem.to_string()))?;
    let columns = match KeyColumns::new(&table, &metadata.partition_columns, key) {
        Ok(columns) => columns,
        Err(problems) => {
            let unread = problems.first().map(ToString::to_string);
            return Ok(Keys { unread, ..Keys::default() });
        }
    };
    let names = columns.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scan = TableScan::new(engine, version, &names, None)?;
    let digest = [RandomState::new(), RandomState::new()];
    let (mut keys, mut pass, mut passes) = (Keys::default(), 0, 1);
    loop {
        let (mut digests, mut rows_of_all): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
        for file in scan.files()? {
            let mut encoded = Ok(());
            scan.read(&file?, |rows| {
                rows_of_all += rows.num_rows() as u64;
                if encoded.is_ok() {
                    encoded = columns.each_key(rows.columns(), |key| {
                        let of_key = (digest[0].hash_one(key), digest[1].hash_one(key));
                        let room = passes > 1 || (digests.len() as u64) < pass_keys;
                        if room && of_key.0 % passes == pass {
                            digests.push(of_key);
                        }
                    });
                }
            })?;
            encoded.map_err(Error::Arrow)?;
        }
        if passes == 1 && rows_of_all > pass_keys {
            // Only now it is known how many passes it takes.
            passes = rows_of_all.div_ceil(pass_keys);
            continue;
        }
        digests.sort_unstable();
        keys.repeated += digests.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        pass += 1;
        if pass == passes {
            return Ok(keys);
        }
    }
}
