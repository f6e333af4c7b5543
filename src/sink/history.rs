//! The kept log as people read it: what each version did, and what each of our commits says of itself.
//!
//! Owns the shape of `commitInfo.sluice`. It is the readable copy: offsets are recovered from `txn`s alone, and a
//! log that was cleaned takes the copies with it. Only the running counts are recalled from here, and begin anew
//! where they can't be found.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Txn;
use super::entry::{self, Entry, FileCounts, LOG_DIR};
use super::error::SinkError;
use super::keyed::KeyedInfo;
use super::log::{APP_PREFIX, TableLog, read_entry};
use super::progress::{AppId, Owner};
use super::store::TableStore;
use crate::chunk::SourcePartition;
use crate::offsets::{Fates, TopicId, TopicPartition};

/// Entries read at the same time.
const READ_AHEAD: usize = 16;

/// Entries that [`recall`] looks at: more would make a start slow for the sake of a partition that is hardly used.
const RECALL_LIMIT: u64 = 256;

/// `commitInfo.sluice`: what a commit of ours covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SluiceInfo {
    /// Written by [`super::commit`]; of no account when a transaction is made.
    #[serde(default)]
    pub attempt: Uuid,
    pub connector: String,
    /// The output's name, `<output>.late`, `<output>.replay` or `.dead`.
    pub output: String,
    /// Of sluice.
    pub version: String,
    /// Of the configuration ([`crate::config::Connector::fingerprint`]).
    pub config: String,
    pub partitions: Vec<PartitionInfo>,
    /// Side streams: rows added to ranges that were judged before, which move nothing. Some outputs read old ranges.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub added_below: u64,
    /// Batches merged by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyed: Option<KeyedInfo>,
    /// Outputs with windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowsInfo>,
}

/// What a commit says of windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsInfo {
    pub epoch: u64,
    /// W, and below each partition's; RFC 3339, in UTC. `None`: none yet.
    pub watermark: Option<String>,
    /// Windows closed, each a row of this commit.
    pub closed: u64,
    /// Rows of open windows that this commit writes, and those that it takes out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub opened: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replaced: u64,
    /// Rows that were written again as they were, since another writer had put them beside rows of open windows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub copied: u64,
    /// Of the records that were held back before: those that are rows of this commit, those that windows took instead, and
    /// those that are duplicates.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub aggregated: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Of the records that count, those that some of their windows were closed to.
    pub late_partial: u64,
    pub watermarks: Vec<PartitionWatermark>,
    /// What the clock or the broker decided at the end of this epoch, as `topic/partition`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub back: Vec<String>,
}

/// How far a partition's event time has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionWatermark {
    pub topic: String,
    pub partition: i32,
    pub watermark: Option<String>,
    pub idle: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl SluiceInfo {
    pub fn new(owner: &Owner, config: &str, partitions: Vec<PartitionInfo>) -> Self {
        Self {
            attempt: Uuid::nil(),
            connector: owner.connector().to_owned(),
            output: owner.stream().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: config.to_owned(),
            partitions,
            added_below: 0,
            keyed: None,
            windows: None,
        }
    }

    pub fn is_of(&self, owner: &Owner) -> bool {
        self.connector == owner.connector() && self.output == owner.stream()
    }
}

/// One partition's part of a commit: the offsets `[start, end)` and what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionInfo {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    /// Of this commit: they sum to `end - start`.
    pub fates: Fates,
    /// The running counts begin at this offset.
    pub counted_from: i64,
    /// Of all commits since, this one included: they sum to `end - counted_from`.
    pub cumulative: Fates,
    /// The position was set, not read up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
}

/// Why a range doesn't begin where the one before ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// `None`: the progress was lost.
    pub from: Option<i64>,
    pub to: i64,
    pub reason: String,
}

impl PartitionInfo {
    /// A position without records: a resolved start, or (with a reset) a rewind. Counting begins here.
    pub fn at(partition: &SourcePartition, offset: i64, reset: Option<Reset>) -> Self {
        Self {
            topic: partition.id.topic.to_string(),
            topic_id: partition.topic_id.to_string(),
            partition: partition.id.partition,
            start: offset,
            end: offset,
            fates: Fates::default(),
            counted_from: offset,
            cumulative: Fates::default(),
            reset,
        }
    }

    /// What comes after this one: the offsets up to `end`, and their fates.
    #[must_use]
    pub fn next(&self, end: i64, fates: Fates) -> Self {
        let mut cumulative = self.cumulative;
        cumulative.add(&fates);
        Self { start: self.end, end, fates, cumulative, reset: None, ..self.clone() }
    }

    pub fn source_partition(&self) -> SourcePartition {
        SourcePartition {
            id: TopicPartition::new(self.topic.as_str(), self.partition),
            topic_id: TopicId::new(&self.topic_id),
        }
    }
}

/// One version of a table, as its entry tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastCommit {
    pub version: u64,
    /// Milliseconds since the Unix epoch, by the writer's clock.
    pub timestamp: Option<i64>,
    pub operation: Option<String>,
    /// What a sluice said of it; `None` for other writers' commits.
    pub info: Option<SluiceInfo>,
    /// There is a `commitInfo.sluice`, but not one that can be read.
    pub unreadable: Option<String>,
    /// The `txn`s of any sluice.
    pub txns: BTreeMap<String, Txn>,
    pub files: FileCounts,
    pub is_restore: bool,
}

impl PastCommit {
    pub fn of(version: u64, entry: &Entry) -> Self {
        let info = entry.commit_info.get("sluice").map(SluiceInfo::deserialize);
        let (info, unreadable) = match info {
            None => (None, None),
            Some(Ok(info)) => (Some(info), None),
            Some(Err(error)) => (None, Some(error.to_string())),
        };
        Self {
            version,
            timestamp: entry.timestamp(),
            operation: entry.operation().map(str::to_owned),
            info,
            unreadable,
            txns: entry.txns.iter().filter(|(id, _)| id.starts_with(APP_PREFIX)).cloned().collect(),
            files: entry.files,
            is_restore: entry.is_restore(),
        }
    }
}

/// The versions whose entries are kept, up to the newest; without what a clean-up left behind below a gap.
///
/// # Errors
/// When the log can't be listed.
pub async fn kept_versions(store: &TableStore) -> Result<Option<RangeInclusive<u64>>, SinkError> {
    let listing = store.objects().list(Some(&Path::from(LOG_DIR)));
    let names = listing
        .try_filter_map(async |meta| Ok(meta.location.filename().and_then(entry::version_of)));
    let versions: Vec<u64> =
        names.try_collect().await.map_err(|e| store.failed("the log cannot be listed", e))?;
    Ok(newest_run(versions))
}

fn newest_run(mut versions: Vec<u64>) -> Option<RangeInclusive<u64>> {
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let newest = *versions.first()?;
    let run =
        versions.iter().zip((0..=newest).rev()).take_while(|(kept, expected)| *kept == expected);
    Some(*run.last()?.0..=newest)
}

/// What each version did, oldest first.
pub fn commits(
    store: &TableStore,
    versions: RangeInclusive<u64>,
) -> impl Stream<Item = Result<PastCommit, SinkError>> + '_ {
    stream::iter(versions).map(|version| past_commit(store, version)).buffered(READ_AHEAD)
}

async fn past_commit(store: &TableStore, version: u64) -> Result<PastCommit, SinkError> {
    match read_entry(store, version).await? {
        Some((entry, _)) => Ok(PastCommit::of(version, &entry)),
        None => {
            let source = object_store::Error::NotFound {
                path: entry::path_of(version).to_string(),
                source: "it was cleaned up while the log was read".into(),
            };
            Err(store.failed("an entry of the log cannot be read", source))
        }
    }
}

/// The last word of our commits on each of `partitions`, for their running counts; none where the newest entries
/// hold none, or one that doesn't end where the `txn` says.
///
/// # Errors
/// When the store can't be reached.
pub async fn recall(
    store: &TableStore,
    log: &TableLog,
    owner: &Owner,
    partitions: &[SourcePartition],
) -> Result<BTreeMap<SourcePartition, PartitionInfo>, SinkError> {
    let mut missing: Vec<&SourcePartition> = partitions.iter().collect();
    let mut found = BTreeMap::new();
    let oldest = log.version().saturating_sub(RECALL_LIMIT - 1);
    let newest_first = stream::iter((oldest..=log.version()).rev());
    let mut entries = newest_first.map(|version| read_entry(store, version)).buffered(READ_AHEAD);
    while let Some(entry) = entries.next().await {
        let Some((entry, _)) = entry? else { break };
        let Some(info) = PastCommit::of(0, &entry).info.filter(|info| info.is_of(owner)) else {
            continue;
        };
        for partition in info.partitions {
            let id = partition.source_partition();
            if let Some(at) = missing.iter().position(|wanted| **wanted == id) {
                missing.swap_remove(at);
                if log.txn(&owner.app_id(&id)).is_some_and(|txn| txn.version == partition.end) {
                    found.insert(id, partition);
                }
            }
        }
        if missing.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// A RESTORE that nobody has answered yet: newer than the last commit of `owner`, a rewind included. A connector that
/// stopped for it must not go on just because it was started again.
///
/// # Errors
/// When the store can't be reached.
pub async fn unanswered_restore(
    store: &TableStore,
    log: &TableLog,
    owner: &Owner,
) -> Result<Option<u64>, SinkError> {
    let oldest = log.version().saturating_sub(RECALL_LIMIT - 1);
    let mut restored = None;
    for version in (oldest..=log.version()).rev() {
        let Some((entry, _)) = read_entry(store, version).await? else {
            break;
        };
        if entry.is_restore() {
            restored = Some(version);
        }
        // Where the progress was set, not who says so: the readable copy isn't needed for this.
        let ours = |id: AppId| id.connector == owner.connector() && id.stream == owner.stream();
        if entry.txns.iter().filter_map(|(id, _)| AppId::parse(id)).any(ours) && !entry.is_restore()
        {
            return Ok(restored);
        }
    }
    // Nothing of ours that far back: a table that was restored before we ever wrote to it is none of our business.
    Ok(restored.filter(|_| last_commit_ms(log, owner).is_some()))
}

/// The time of our last commit, by the `txn`s: milliseconds since the Unix epoch.
pub fn last_commit_ms(log: &TableLog, owner: &Owner) -> Option<i64> {
    let prefix = format!("{APP_PREFIX}{}/{}/", owner.connector(), owner.stream());
    log.txns()
        .iter()
        .filter(|(id, _)| id.starts_with(&prefix))
        .filter_map(|(_, txn)| txn.last_updated)
        .max()
}

#[cfg(test)]
mod tests;
