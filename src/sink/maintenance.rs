//! Keeping a table's log short: checkpoints, and clean-up below them. Off the hot path.
//!
//! Guarantees: an entry is deleted only when it is older than the table's retention AND a complete checkpoint above
//! it was just read back, so that every kept version can still be read. Never deletes a data file or a sidecar.
//! A failure costs nothing but a warning: the next commits try again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use delta_kernel::schema::{DataType, StructField, StructType};
use delta_kernel::{DeltaResult, Engine, Error as KernelError, Snapshot};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use tokio::task::JoinHandle;

use super::entry::{self, LOG_DIR};
use super::error::SinkError;
use super::interval;
use super::log::TableLog;
use super::store::{TableStore, kernel_root};

/// Versions between two checkpoints where the table doesn't say. A replay of this many entries is a start's cost;
/// a checkpoint's cost grows with the table's files.
const CHECKPOINT_INTERVAL: u64 = 100;
const LOG_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The upkeep of one table's log: at most one job at a time.
#[derive(Debug, Default)]
pub struct Maintenance {
    job: Option<JoinHandle<()>>,
    /// The version that the last job was started at.
    last_try: u64,
}

impl Maintenance {
    /// Counts from the checkpoint that the log was replayed from.
    pub fn new(log: &TableLog) -> Self {
        Self { job: None, last_try: log.checkpoint.unwrap_or(0) }
    }

    /// After a commit: starts a job when a checkpoint is due and none is running. Returns at once.
    pub fn after_commit(&mut self, log: &TableLog, store: &TableStore, now_ms: i64) {
        let idle = self.job.as_ref().is_none_or(JoinHandle::is_finished);
        if !idle || log.version() < self.last_try + checkpoint_interval(log) {
            return;
        }
        self.last_try = log.version();
        let (store, cleaning) = (store.clone(), Cleaning::of(log, now_ms));
        self.job = Some(tokio::spawn(async move {
            if let Err(error) = keep_up(&store, cleaning).await {
                tracing::warn!(table = store.table(), code = error.code(), %error, "the log could not be kept short");
            }
        }));
    }

    /// Waits for a job that is running; at shutdown, inside its deadline. Dropping it instead leaves a job that is
    /// as harmless as one that was killed.
    pub async fn finish(mut self) {
        if let Some(job) = self.job.take() {
            // A panic in it was printed where it happened and cost the table nothing.
            let _ = job.await;
        }
    }
}

async fn keep_up(store: &TableStore, cleaning: Option<Cleaning>) -> Result<(), SinkError> {
    let version = checkpoint(store).await?;
    tracing::debug!(table = store.table(), version, "checkpointed");
    if let Some(cleaning) = cleaning {
        let deleted = clean_up(store, cleaning).await?;
        tracing::debug!(table = store.table(), deleted, "log cleaned up");
    }
    Ok(())
}

/// `delta.checkpointInterval`, where it is a number that makes sense.
fn checkpoint_interval(log: &TableLog) -> u64 {
    let set = log.property("delta.checkpointInterval").and_then(|text| text.trim().parse().ok());
    set.filter(|interval| *interval > 0).unwrap_or(CHECKPOINT_INTERVAL)
}

/// Writes a checkpoint of the newest version; that version.
///
/// # Errors
/// When the log can't be read or the checkpoint not be written.
pub async fn checkpoint(store: &TableStore) -> Result<u64, SinkError> {
    in_kernel(store, |engine| {
        let snapshot = Snapshot::builder_for(kernel_root()).build(&*engine)?;
        snapshot.checkpoint(&*engine, None)?;
        Ok(snapshot.version())
    })
    .await
}

/// Which entries a clean-up may take.
#[derive(Debug, Clone, Copy)]
pub struct Cleaning {
    /// Younger ones stay; milliseconds since the Unix epoch.
    pub older_than_ms: i64,
}

impl Cleaning {
    /// By the table's properties; `None`: its log is not to be cleaned.
    pub fn of(log: &TableLog, now_ms: i64) -> Option<Self> {
        if log
            .property("delta.enableExpiredLogCleanup")
            .is_some_and(|text| text.eq_ignore_ascii_case("false"))
        {
            return None;
        }
        let retention = match log.property("delta.logRetentionDuration") {
            Some(text) => interval::parse(text)?,
            None => LOG_RETENTION,
        };
        let retention_ms = i64::try_from(retention.as_millis()).ok()?;
        Some(Self { older_than_ms: now_ms - retention_ms })
    }
}

/// Deletes entries and checkpoints that are old enough and lie strictly below a complete checkpoint; how many files.
///
/// # Errors
/// When the log can't be listed, or the checkpoint not be read back: then nothing was deleted.
pub async fn clean_up(store: &TableStore, cleaning: Cleaning) -> Result<usize, SinkError> {
    let files = list(store).await?;
    let Some(below) = files.safe_below(cleaning) else {
        return Ok(0);
    };
    let Some(below) = readable_checkpoint(store, below).await? else {
        return Ok(0);
    };
    let doomed: Vec<Path> = files.below(below).cloned().collect();
    let count = doomed.len();
    // Oldest first, so that what a crash leaves is still one run of versions.
    let paths = futures::stream::iter(doomed.into_iter().map(Ok)).boxed();
    let deleted = store.objects().delete_stream(paths);
    let gone = deleted.filter(|result| {
        let already = matches!(result, Err(object_store::Error::NotFound { .. }));
        futures::future::ready(!already)
    });
    gone.try_collect::<Vec<_>>()
        .await
        .map_err(|e| store.failed("the log cannot be cleaned up", e))?;
    Ok(count)
}

/// The files of a log, by version.
#[derive(Debug, Default)]
struct LogFiles {
    entries: BTreeMap<u64, (Path, i64)>,
    /// Checkpoints (or parts of one), checksums, compacted entries: by the last version they cover.
    others: BTreeMap<u64, Vec<Path>>,
    checkpoints: Vec<u64>,
}

impl LogFiles {
    fn insert(&mut self, path: Path, modified_ms: i64) {
        let name = path.filename().unwrap_or_default();
        if let Some(version) = entry::version_of(name) {
            self.entries.insert(version, (path, modified_ms));
            return;
        }
        let Some((version, kind)) = leading_version(name) else {
            return;
        };
        match kind.split('.').next() {
            Some("checkpoint") => self.checkpoints.push(version),
            Some("crc") => {}
            // `<first>.<last>.compacted.json`
            Some(_) => match leading_version(kind) {
                Some((last, "compacted.json")) => {
                    self.others.entry(last).or_default().push(path);
                    return;
                }
                _ => return,
            },
            None => return,
        }
        self.others.entry(version).or_default().push(path);
    }

    /// The newest checkpoint (complete or not: that is yet to be seen) below which every entry is old enough.
    fn safe_below(&self, cleaning: Cleaning) -> Option<u64> {
        let first_young =
            self.entries.iter().find(|(_, (_, at))| *at >= cleaning.older_than_ms).map(|(v, _)| *v);
        let (oldest, newest) = (*self.entries.keys().next()?, *self.entries.keys().next_back()?);
        let limit = first_young.unwrap_or(newest);
        self.checkpoints
            .iter()
            .copied()
            .filter(|version| (oldest + 1..=limit).contains(version))
            .max()
    }

    fn below(&self, version: u64) -> impl Iterator<Item = &Path> {
        let entries = self.entries.range(..version).map(|(_, (path, _))| path);
        entries.chain(self.others.range(..version).flat_map(|(_, paths)| paths))
    }
}

fn leading_version(name: &str) -> Option<(u64, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let version = entry::version_of(&format!("{digits}.json"))?;
    Some((version, rest))
}

async fn list(store: &TableStore) -> Result<LogFiles, SinkError> {
    let mut listing = store.objects().list(Some(&Path::from(LOG_DIR)));
    let mut files = LogFiles::default();
    while let Some(object) = listing.next().await {
        let object = object.map_err(|e| store.failed("the log cannot be listed", e))?;
        files.insert(object.location, object.last_modified.timestamp_millis());
    }
    Ok(files)
}

/// The newest complete checkpoint at or below `limit`, read back to its last row, sidecars included; `None`: there
/// is none. The kernel passes over incomplete ones.
async fn readable_checkpoint(store: &TableStore, limit: u64) -> Result<Option<u64>, SinkError> {
    in_kernel(store, move |engine| {
        let snapshot = Snapshot::builder_for(kernel_root()).at_version(limit).build(&*engine)?;
        let Some(checkpoint) = snapshot.log_segment().checkpoint_version else {
            return Ok(None);
        };
        let snapshot =
            Snapshot::builder_for(kernel_root()).at_version(checkpoint).build(&*engine)?;
        if snapshot.log_segment().checkpoint_version != Some(checkpoint) {
            return Ok(None);
        }
        let schema = Arc::new(StructType::try_new([file("add")?, file("remove")?])?);
        for batch in snapshot.log_segment().read_actions(&*engine, schema)? {
            batch?;
        }
        Ok(Some(checkpoint))
    })
    .await
}

fn file(action: &str) -> DeltaResult<StructField> {
    let path = StructField::nullable("path", DataType::STRING);
    Ok(StructField::nullable(action, StructType::try_new([path])?))
}

/// Runs blocking kernel code where it holds nobody up.
pub(super) async fn in_kernel<T: Send + 'static>(
    store: &TableStore,
    job: impl FnOnce(Arc<dyn Engine>) -> DeltaResult<T> + Send + 'static,
) -> Result<T, SinkError> {
    let engine = store.engine();
    let result = tokio::task::spawn_blocking(move || job(engine)).await;
    let failed = |source: KernelError| SinkError::Replay {
        table: store.table().to_owned(),
        source: Box::new(source),
    };
    result.map_err(|e| store.failed("the log cannot be read", e.into()))?.map_err(failed)
}

#[cfg(test)]
mod tests;
