//! State objects: where an output with windows keeps what its next epoch goes on from.
//!
//! An object is put once, under a name that holds its epoch and a random attempt number, before the commit whose `txn` names
//! it; so what a commit names is there, and what none names is an orphan. Knows nothing of what is in an object.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use tokio::task::JoinHandle;

use super::error::SinkError;
use super::log::TableLog;
use super::progress::Owner;
use super::store::TableStore;

/// A `txn`'s version is the epoch times this, and the attempt number.
const ATTEMPTS: i64 = 1 << 20;

/// Looks for old objects within the time that they are kept.
const LOOKS: u32 = 8;

/// Objects that are in memory to be taken next: enough to keep a store busy, few enough to be small beside the state.
const READ_AHEAD: usize = 4;

/// The state objects of one output, beside its table's files: VACUUM passes over names that begin with `_`.
#[derive(Debug, Clone)]
pub struct StateStore {
    store: TableStore,
    folder: String,
    /// The `appId` of the `txn` that names the object to go on from.
    txn: String,
}

/// What names a state object: the version of the `txn`. Below zero, the state of that epoch was given up: there is no
/// object, and the next epoch begins with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateVersion(pub i64);

impl StateVersion {
    /// An attempt at an epoch, told from others by a random number.
    pub fn attempt(epoch: u64) -> Self {
        let epoch = i64::try_from(epoch).expect("an epoch is a commit, of which there are fewer");
        Self(epoch * ATTEMPTS + fastrand::i64(0..ATTEMPTS))
    }

    pub fn epoch(self) -> u64 {
        self.0.unsigned_abs() / ATTEMPTS.unsigned_abs()
    }

    /// The state is to be forgotten, but not that there were epochs.
    #[must_use]
    pub fn given_up(self) -> Self {
        Self(-self.0.abs())
    }

    pub fn is_given_up(self) -> bool {
        self.0 < 0
    }
}

impl StateStore {
    pub fn new(store: &TableStore, owner: &Owner) -> Self {
        let folder = format!("_sluice/state/{}", owner.stream());
        Self { store: store.clone(), folder, txn: owner.state_id() }
    }

    /// Puts an object where none is.
    ///
    /// # Errors
    /// When the store says no or nothing. A name is never tried again: the next attempt has another.
    pub async fn put(&self, version: StateVersion, object: Vec<u8>) -> Result<(), SinkError> {
        let (path, object) = (self.path(version), Bytes::from(object));
        let failed = match self.store.put_new(&path, object.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // The client's own retry can meet what its lost try has written.
        match self.store.read(&path).await {
            Ok(Some((there, _))) if there == object => Ok(()),
            _ => Err(self.store.failed("the state cannot be written", failed)),
        }
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// When it isn't there, or the store can't be reached.
    pub async fn read(&self, version: StateVersion) -> Result<Bytes, SinkError> {
        let path = self.path(version);
        match self.store.read(&path).await {
            Ok(Some((bytes, _))) => Ok(bytes),
            Ok(None) => Err(SinkError::StateMissing {
                table: self.store.table().to_owned(),
                path: path.to_string(),
            }),
            Err(e) => Err(self.store.failed("the state cannot be read", e)),
        }
    }

    /// The bytes of objects, in the order asked for; some are read while one is taken.
    pub fn read_ahead(
        &self,
        versions: &[StateVersion],
    ) -> impl Stream<Item = Result<Bytes, SinkError>> {
        stream::iter(versions).map(|version| self.read(*version)).buffered(READ_AHEAD)
    }

    pub fn path(&self, version: StateVersion) -> Path {
        let (epoch, attempt) = (version.epoch(), version.0.rem_euclid(ATTEMPTS));
        Path::from(format!("{}/{epoch:020}-{attempt:05x}.state", self.folder))
    }
}

/// Removes the objects that no start can ask for any more. Off the hot path.
#[derive(Debug)]
pub struct StateCleaner {
    retention: Duration,
    /// A process may not live long enough for a second look.
    last: Option<Instant>,
    job: Option<JoinHandle<()>>,
}

impl StateCleaner {
    /// `retention`: how long an object is kept that later ones have made needless.
    pub fn new(retention: Duration) -> Self {
        Self { retention, last: None, job: None }
    }

    /// After a commit that goes on from `newest`, for which those from `oldest` on are needed: starts to look for older
    /// ones now and then. Returns at once.
    pub fn after_commit(
        &mut self,
        states: &StateStore,
        oldest: StateVersion,
        newest: StateVersion,
    ) {
        let busy = self.job.as_ref().is_some_and(|job| !job.is_finished());
        let soon = |last: Instant| last.elapsed() < self.retention / LOOKS;
        if busy || self.last.is_some_and(soon) {
            return;
        }
        self.last = Some(Instant::now());
        let (states, retention) = (states.clone(), self.retention);
        self.job = Some(tokio::spawn(async move {
            let table = states.store.table();
            match states.clean_up(oldest, newest, retention).await {
                Ok(removed) => {
                    tracing::debug!(table, epoch = newest.epoch(), removed, "state cleaned up");
                }
                Err(error) => {
                    tracing::warn!(table, code = error.code(), %error, "old state could not be removed");
                }
            }
        }));
    }

    /// Waits for a job that is running.
    pub async fn finish(mut self) {
        if let Some(job) = self.job.take() {
            // A panic in it was printed where it happened and cost nothing that is needed.
            let _ = job.await;
        }
    }
}

impl StateStore {
    /// Removes objects of epochs below `oldest` that are older than `retention`; how many. None where the table goes on
    /// from less than `newest` by now: it was rewound, and may need them.
    ///
    /// # Errors
    /// When the store can't be read, or refuses to delete.
    pub async fn clean_up(
        &self,
        oldest: StateVersion,
        newest: StateVersion,
        retention: Duration,
    ) -> Result<usize, SinkError> {
        let failed = |e| self.store.failed("old state cannot be removed", e);
        let before = Utc::now() - retention;
        let listing = self.store.objects().list(Some(&Path::from(self.folder.as_str())));
        let old = listing.try_filter_map(async |meta| {
            let epoch = meta.location.filename().and_then(epoch_of);
            let is_old = meta.last_modified < before;
            Ok(epoch.filter(|epoch| is_old && *epoch < oldest.epoch()).map(|_| meta.location))
        });
        let old: Vec<Path> = old.try_collect().await.map_err(failed)?;
        if old.is_empty() || self.named_by_the_table().await? < Some(newest) {
            return Ok(0);
        }
        let count = old.len();
        let deleted =
            self.store.objects().delete_stream(stream::iter(old.into_iter().map(Ok)).boxed());
        let gone = deleted.filter(|result| {
            let already = matches!(result, Err(object_store::Error::NotFound { .. }));
            futures::future::ready(!already)
        });
        gone.try_collect::<Vec<_>>().await.map_err(failed)?;
        Ok(count)
    }
}

impl StateStore {
    async fn named_by_the_table(&self) -> Result<Option<StateVersion>, SinkError> {
        let log = TableLog::open(&self.store).await?;
        let txn = log.and_then(|log| log.txn(&self.txn));
        Ok(txn.map(|txn| StateVersion(txn.version)))
    }
}

/// Of an object's name.
fn epoch_of(name: &str) -> Option<u64> {
    name.strip_suffix(".state")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::sink::testing::{Fixture, commit_info, txn};

    fn states() -> StateStore {
        let store = TableStore::over(Arc::new(InMemory::new()), "memory");
        StateStore::new(&store, &Owner::output("shop", "orders"))
    }

    #[test]
    fn a_name_tells_the_epoch() {
        let version = StateVersion::attempt(812);
        assert_eq!(version.epoch(), 812);
        let path = states().path(version);
        assert_eq!(path.filename().and_then(epoch_of), Some(812), "{path}");
    }

    #[tokio::test]
    async fn objects_are_read_in_the_order_asked_for_and_a_missing_one_is_named() {
        let states = states();
        let versions: Vec<_> = (1..=20).map(StateVersion::attempt).collect();
        for version in &versions {
            states.put(*version, version.0.to_le_bytes().to_vec()).await.expect("put");
        }
        let expected: Vec<_> = versions.iter().map(|v| v.0.to_le_bytes().to_vec()).collect();
        let read: Vec<_> = states.read_ahead(&versions).try_collect().await.expect("all there");
        assert_eq!(read, expected);
        let missing = StateVersion::attempt(21);
        let error = states.read(missing).await.expect_err("it isn't there");
        assert!(error.to_string().contains(states.path(missing).as_ref()), "{error}");
    }

    #[tokio::test]
    async fn a_put_that_met_its_own_first_try_succeeds() {
        let states = states();
        let version = StateVersion::attempt(1);
        states.put(version, vec![1]).await.expect("put");
        states.put(version, vec![1]).await.expect("the same");
        states.put(version, vec![2]).await.expect_err("another object");
    }

    #[tokio::test]
    async fn old_objects_go_and_those_that_a_start_may_ask_for_stay() {
        let fixture = Fixture::new().await;
        let owner = Owner::output("shop", "orders");
        let states = StateStore::new(&fixture.store, &owner);
        let versions: Vec<_> = (1..=100).map(StateVersion::attempt).collect();
        for version in &versions {
            states.put(*version, vec![1]).await.expect("put");
        }
        // Of an attempt that failed.
        states.put(StateVersion::attempt(7), vec![2]).await.expect("put");
        let (oldest, newest) = (versions[36], versions[99]);
        let left = async || states.store.objects().list(None).try_collect::<Vec<_>>().await;
        let states_left = async || {
            let all = left().await.expect("listed");
            all.iter().filter(|meta| meta.location.as_ref().contains("_sluice/")).count()
        };
        let clean = async |retention| states.clean_up(oldest, newest, retention).await;

        // The table names none of them yet.
        assert_eq!(clean(Duration::ZERO).await.expect("looked"), 0);
        fixture.entry(1, &[commit_info("WRITE"), txn(&owner.state_id(), newest.0)]).await;
        assert_eq!(clean(Duration::from_secs(60)).await.expect("looked"), 0, "all are young");
        assert_eq!(clean(Duration::ZERO).await.expect("removed"), 37);
        assert_eq!(states_left().await, 64);
        for version in &versions[36..] {
            states.read(*version).await.expect("a whole chain");
        }

        // The table was set back: it needs what it names.
        let back = StateVersion::attempt(50);
        fixture.entry(2, &[commit_info("WRITE"), txn(&owner.state_id(), back.0)]).await;
        let none = states.clean_up(newest, newest, Duration::ZERO).await.expect("looked");
        assert_eq!((none, states_left().await), (0, 64));
    }
}
