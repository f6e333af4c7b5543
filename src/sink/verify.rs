//! The proof over the kept log: every offset in exactly one commit, every row counted.
//!
//! Pure: takes what [`super::history`] read. Counts of what was cleaned away come from the running counts in the
//! oldest commit that is kept. Other writers' commits that take data out are reported; they are no finding, since
//! whoever made them may do so.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Txn;
use super::history::{PartitionInfo, PastCommit, SluiceInfo, WindowsInfo};
use super::keyed::{KeyedCounts, KeyedInfo, KeyedMode};
use super::progress::{AppId, Owner};
use super::state::StateVersion;
use crate::chunk::SourcePartition;
use crate::offsets::Fates;

/// What the log proves of one output.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Versions looked at, and how many of them were this output's.
    pub versions: u64,
    pub commits: u64,
    /// Of any fate, gaps not included; what was read again after a rewind counts again.
    pub records: u64,
    #[serde(flatten)]
    pub fates: Fates,
    /// Offsets in more than one commit, without a rewind that says so.
    pub duplicates: u64,
    /// Offsets that recorded rewinds had read again.
    pub reread: u64,
    /// Keyed modes: what became of the changes that the kept log tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyed: Option<KeyedCounts>,
    pub partitions: Vec<PartitionReport>,
    pub findings: Vec<Finding>,
    /// Other writers' commits that took data out.
    pub removals: Vec<Removal>,
}

impl Report {
    /// Whether everything adds up.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// One partition's sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    /// Where counting began, and the next offset to read.
    pub start: i64,
    pub end: i64,
    #[serde(flatten)]
    pub fates: Fates,
}

/// Something that doesn't add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `None`: of the table as it is now.
    pub version: Option<u64>,
    /// `topic/partition`; `None`: of the whole commit.
    pub partition: Option<String>,
    pub what: String,
}

/// A foreign commit that took data out of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    pub version: u64,
    pub operation: Option<String>,
    pub files: u64,
}

/// Takes a table's commits in order, then says what they prove.
#[derive(Debug)]
pub struct Verifier {
    owner: Owner,
    report: Report,
    partitions: BTreeMap<SourcePartition, Running>,
    /// Of windows, so far.
    epoch: Option<u64>,
}

/// A partition so far.
#[derive(Debug, Clone)]
struct Running {
    first: i64,
    last: PartitionInfo,
    sum: Fates,
}

/// Verifies a whole history at once.
pub fn verify<'a>(
    owner: &Owner,
    history: impl IntoIterator<Item = &'a PastCommit>,
    txns: &BTreeMap<String, Txn>,
) -> Report {
    let mut verifier = Verifier::new(owner.clone());
    for commit in history {
        verifier.take(commit);
    }
    verifier.finish(txns)
}

impl Verifier {
    pub fn new(owner: Owner) -> Self {
        Self { owner, report: Report::default(), partitions: BTreeMap::new(), epoch: None }
    }

    /// The next version.
    pub fn take(&mut self, commit: &PastCommit) {
        self.report.versions += 1;
        match &commit.info {
            Some(info) if info.is_of(&self.owner) => self.take_ours(commit, info),
            Some(_) => {}
            None => self.take_foreign(commit),
        }
    }

    fn take_ours(&mut self, commit: &PastCommit, info: &SluiceInfo) {
        self.report.commits += 1;
        for partition in &info.partitions {
            self.take_partition(commit.version, partition);
        }
        match &info.keyed {
            None => self.compare_files(commit, info),
            Some(keyed) => self.compare_changes(commit, info, keyed),
        }
        if let Some(windows) = &info.windows {
            self.compare_state(commit, windows);
        }
        self.compare_txns(commit, info);
    }

    /// State and offsets are of one epoch, and epochs follow each other.
    fn compare_state(&mut self, commit: &PastCommit, windows: &WindowsInfo) {
        let named = commit.txns.get(&self.owner.state_id());
        let named = named.map(|txn| StateVersion(txn.version).epoch());
        if named != Some(windows.epoch) {
            let named = named.map_or("none".to_owned(), |epoch| epoch.to_string());
            let what = format!("is epoch {}, but its `txn` names {named}", windows.epoch);
            self.find(commit.version, None, what);
        }
        if let Some(before) = self.epoch.filter(|before| before + 1 != windows.epoch) {
            let what = format!("is epoch {}, the one before was {before}", windows.epoch);
            self.find(commit.version, None, what);
        }
        self.epoch = Some(windows.epoch);
    }

    /// A commit that adds rows has as many in its files as it counted.
    fn compare_files(&mut self, commit: &PastCommit, info: &SluiceInfo) {
        let of_windows = |windows: &WindowsInfo| {
            windows.closed + windows.opened + windows.copied + windows.released
        };
        let rows =
            fates_of(info).rows + info.added_below + info.windows.as_ref().map_or(0, of_windows);
        if commit.files.added_rows != Some(rows) {
            let added = told(commit.files.added_rows);
            let what = format!("{rows} rows were counted, but its files hold {added} rows");
            self.find(commit.version, None, what);
        }
        let replaced = info.windows.as_ref().map_or(0, |windows| windows.replaced);
        if replaced > 0 && commit.files.removed_rows != Some(replaced) {
            let removed = told(commit.files.removed_rows);
            let what = format!("takes out {removed} rows, but {replaced} were counted");
            self.find(commit.version, None, what);
        }
        if replaced == 0 && commit.files.removed > 0 {
            self.find(commit.version, None, format!("removes {} files", commit.files.removed));
        }
    }

    /// A commit by key: each record is a change with one fate, and the files that came and went hold the rows that
    /// the fates make.
    fn compare_changes(&mut self, commit: &PastCommit, info: &SluiceInfo, keyed: &KeyedInfo) {
        let (counts, fates) = (&keyed.counts, fates_of(info));
        self.report.keyed.get_or_insert_default().add(counts);
        if !counts.add_up() {
            let what = format!("the fates of its {} changes don't add up to them", counts.changes);
            self.find(commit.version, None, what);
        }
        let (records, fits) = match keyed.mode {
            KeyedMode::InsertNew => {
                let fits = fates.rows == counts.inserted && fates.existing == counts.existing;
                (fates.rows + fates.existing, fits)
            }
            // A record without a value is a change when its key is decoded, and one that `where` leaves out, for a row
            // that no longer fits must go.
            KeyedMode::Upsert => {
                let most = fates.rows + fates.tombstones + fates.filtered;
                (most, (fates.rows..=most).contains(&counts.changes))
            }
        };
        if !fits {
            let what = format!("{records} records were counted, but {} changes", counts.changes);
            self.find(commit.version, None, what);
        }
        let files = &commit.files;
        let parts = [
            ("holds", files.added_rows, counts.copied + counts.inserted + counts.updated),
            ("takes out", files.removed_rows, counts.copied + counts.replaced),
        ];
        for (does, there, counted) in parts {
            if there != Some(counted) {
                let there = told(there);
                let what = format!("{does} {there} rows, but {counted} were counted");
                self.find(commit.version, None, what);
            }
        }
    }

    /// The `txn`s and the readable copy of one commit must say the same.
    fn compare_txns(&mut self, commit: &PastCommit, info: &SluiceInfo) {
        let told: BTreeMap<String, i64> = info
            .partitions
            .iter()
            .map(|p| (self.owner.app_id(&p.source_partition()), p.end))
            .collect();
        for (id, end) in &told {
            if commit.txns.get(id).is_none_or(|txn| txn.version != *end) {
                self.find(
                    commit.version,
                    AppId::parse(id),
                    format!("ends at {end}, but its `txn` doesn't"),
                );
            }
        }
        for (id, txn) in commit.txns.iter().filter(|(id, _)| !told.contains_key(*id)) {
            let Some(id) = AppId::parse(id).filter(|id| self.is_ours(id)) else {
                continue;
            };
            // Written again before it expires, where it was: nothing moved.
            if self
                .partitions
                .get(&id.source_partition())
                .is_some_and(|running| running.last.end != txn.version)
            {
                self.find(
                    commit.version,
                    Some(id),
                    "its `txn` moved, but no range tells how".to_owned(),
                );
            }
        }
    }

    fn take_partition(&mut self, version: u64, now: &PartitionInfo) {
        let name = now.source_partition();
        let total = i128::from(now.fates.total());
        if total != i128::from(now.end) - i128::from(now.start) {
            let range = format!("[{}, {})", now.start, now.end);
            self.find_in(
                version,
                now,
                format!("its fates sum to {total}, its range {range} doesn't"),
            );
        }
        if i128::from(now.cumulative.total()) != i128::from(now.end) - i128::from(now.counted_from)
        {
            let sum = now.cumulative.total();
            self.find_in(
                version,
                now,
                format!("its running counts sum to {sum} from offset {}", now.counted_from),
            );
        }
        let Some(mut running) = self.partitions.remove(&name) else {
            self.partitions.insert(name, Running::begin(now));
            return;
        };
        self.join(version, &running.last, now);
        running.sum.add(&now.fates);
        running.last = now.clone();
        self.partitions.insert(name, running);
    }

    /// A range must begin where the one before ended, unless a reset says otherwise.
    fn join(&mut self, version: u64, before: &PartitionInfo, now: &PartitionInfo) {
        if let Some(reset) = &now.reset {
            if reset.to != now.start || reset.from.is_some_and(|from| from != before.end) {
                let (from, to) =
                    (reset.from.map_or("lost progress".to_owned(), |o| o.to_string()), reset.to);
                self.find_in(
                    version,
                    now,
                    format!("a reset from {from} to {to} doesn't fit the ranges around it"),
                );
            }
            self.report.reread += u64::try_from(before.end - now.start).unwrap_or(0);
            return;
        }
        if now.start < before.end {
            self.report.duplicates += (now.end.min(before.end) - now.start).unsigned_abs();
            self.find_in(
                version,
                now,
                format!("begins at {}, but {} was reached before", now.start, before.end),
            );
        } else if now.start > before.end {
            self.find_in(
                version,
                now,
                format!("begins at {}, offsets from {} are in no commit", now.start, before.end),
            );
        }
        if now.counted_from == before.counted_from {
            let mut expected = before.cumulative;
            expected.add(&now.fates);
            if expected != now.cumulative {
                self.find_in(
                    version,
                    now,
                    "its running counts don't continue those before".to_owned(),
                );
            }
        }
    }

    fn take_foreign(&mut self, commit: &PastCommit) {
        if let Some(why) = &commit.unreadable {
            self.find(
                commit.version,
                None,
                format!("its `commitInfo.sluice` cannot be read: {why}"),
            );
        }
        if let Some(id) =
            commit.txns.keys().filter_map(|id| AppId::parse(id)).find(|id| self.is_ours(id))
        {
            self.find(
                commit.version,
                Some(id),
                "sets our `txn`, but isn't a commit of ours".to_owned(),
            );
        }
        if commit.files.data_removed > 0 || commit.is_restore {
            self.report.removals.push(Removal {
                version: commit.version,
                operation: commit.operation.clone(),
                files: commit.files.data_removed,
            });
        }
    }

    /// After the newest version: what was committed last must be what the table says now.
    pub fn finish(mut self, txns: &BTreeMap<String, Txn>) -> Report {
        for (partition, running) in std::mem::take(&mut self.partitions) {
            let id = self.owner.app_id(&partition);
            let end = running.last.end;
            if txns.get(&id).is_none_or(|txn| txn.version != end) {
                let found = txns.get(&id).map_or("none".to_owned(), |txn| txn.version.to_string());
                let what = format!("the last commit ended at {end}, the table's `txn` is {found}");
                self.report.findings.push(Finding {
                    version: None,
                    partition: Some(partition.id.to_string()),
                    what,
                });
            }
            self.report.fates.add(&running.sum);
            self.report.partitions.push(running.report());
        }
        self.report.records = self.report.fates.records();
        self.report
    }

    fn is_ours(&self, id: &AppId) -> bool {
        id.connector == self.owner.connector() && id.stream == self.owner.stream()
    }

    fn find(&mut self, version: u64, of: Option<AppId>, what: String) {
        let partition = of.map(|id| format!("{}/{}", id.topic, id.partition));
        self.report.findings.push(Finding { version: Some(version), partition, what });
    }

    fn find_in(&mut self, version: u64, of: &PartitionInfo, what: String) {
        let partition = Some(format!("{}/{}", of.topic, of.partition));
        self.report.findings.push(Finding { version: Some(version), partition, what });
    }
}

/// Of all partitions in a commit.
fn fates_of(info: &SluiceInfo) -> Fates {
    let mut sum = Fates::default();
    info.partitions.iter().for_each(|partition| sum.add(&partition.fates));
    sum
}

fn told(rows: Option<u64>) -> String {
    rows.map_or("an unknown number of".to_owned(), |rows| rows.to_string())
}

impl Running {
    /// The oldest kept commit of a partition: its running counts stand for what was cleaned away before.
    fn begin(first: &PartitionInfo) -> Self {
        Self { first: first.counted_from, last: first.clone(), sum: first.cumulative }
    }

    fn report(self) -> PartitionReport {
        let PartitionInfo { topic, topic_id, partition, end, .. } = self.last;
        PartitionReport { topic, topic_id, partition, start: self.first, end, fates: self.sum }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(version) = self.version {
            write!(f, "version {version}, ")?;
        }
        if let Some(partition) = &self.partition {
            write!(f, "{partition}: ")?;
        }
        f.write_str(&self.what)
    }
}

#[cfg(test)]
mod tests;
