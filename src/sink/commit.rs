//! One commit: files and progress into the log as one version, or a reason why not.
//!
//! Compare, then commit: an entry is put, conditionally, at the version after the one on which the batch's `txn`s
//! were compared. Guarantees that a [`Transaction`] is in the table at most once, and that `Ok` means that it is.
//! After an error it may still land (a delayed put); recovery reads the `txn`s, which tell. Deletes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;

use super::entry::{self, Changed, Entry, FileActions};
use super::error::{CommitError, SinkError};
use super::log::{Newest, TableLog, parse_entry};
use super::store::{Identity, TableStore};
use super::{Committed, Transaction, Txn};

/// Longer than this between looking at the newest entry and the answer to the put, and the log may have been
/// cleaned past the version that was put: then only a replay tells.
const CHECK_HOLDS: Duration = Duration::from_secs(60);

/// A vacuum with the shortest retention that Delta writers accept without force takes files of a week; one that was
/// forced takes younger ones. A batch older than a day is broken anyhow.
const FILE_MAX_AGE_MS: i64 = 24 * 60 * 60 * 1000;

/// Puts of one version whose fate stays unknown before recovery settles it.
pub(crate) const PUT_TRIES: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 25 });
/// One put, the client's retries included. Beyond it the outcome is looked up in the log.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);

/// Lost races within one commit; each one was somebody else's progress.
const MAX_RACES: u32 = 64;

/// Puts `tx` into the table as its next version. `log` is then at that version.
///
/// # Errors
/// Nothing of `tx` is known to be in the table; [`CommitError::disposition`] says what to do. `log` may be behind.
pub async fn commit(
    log: &mut TableLog,
    store: &TableStore,
    tx: &Transaction,
    now_ms: impl Fn() -> i64,
) -> Result<Committed, CommitError> {
    debug_assert!(
        !(tx.set.is_empty() && tx.adds.is_empty() && tx.properties.is_empty()),
        "a transaction moves something"
    );
    debug_assert!(
        tx.schema.is_none() || !tx.adds.is_empty(),
        "a schema changes for the sake of rows"
    );
    debug_assert!(
        tx.set.keys().all(|id| tx.expected.contains_key(id)),
        "what is set has been compared"
    );
    let made_at = now_ms();
    refuse_stale_files(store, tx, made_at)?;
    let mut attempt =
        Attempt { log, store, tx, clock: &now_ms, made_at, checked: Check::now(made_at) };
    attempt.run().await
}

/// The steps of a commit at which a test can stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Before the newest entry is looked at.
    Check,
    /// Before the entry is put.
    Put,
    /// Before the log is asked what became of a put.
    Settle,
    /// After the entry is known to have landed, before anybody is told.
    Landed,
}

struct Attempt<'a, C> {
    log: &'a mut TableLog,
    store: &'a TableStore,
    tx: &'a Transaction,
    clock: &'a C,
    /// The time of the entry: `lastUpdated` of its `txn`s.
    made_at: i64,
    checked: Check,
}

/// When the newest entry was last seen to be the one we know. Two clocks, for one stops while the machine is
/// suspended and the other can be set.
#[derive(Debug, Clone, Copy)]
struct Check {
    wall_ms: i64,
    steady: Instant,
}

impl Check {
    fn now(wall_ms: i64) -> Self {
        Self { wall_ms, steady: Instant::now() }
    }

    fn still_holds(self, wall_ms: i64) -> bool {
        let wall = Duration::from_millis(u64::try_from(wall_ms - self.wall_ms).unwrap_or(0));
        wall.max(self.steady.elapsed()) <= CHECK_HOLDS
    }
}

enum Put {
    Landed(Identity),
    /// Another writer's entry has the version.
    Taken(Box<Entry>, Bytes, Identity),
}

impl<C: Fn() -> i64> Attempt<'_, C> {
    async fn run(&mut self) -> Result<Committed, CommitError> {
        self.check_newest().await?;
        self.check_read_version()?;
        let change = self.changed()?;
        let bytes = entry::render(self.tx, &change, self.made_at);
        for _ in 0..MAX_RACES {
            self.compare()?;
            match self.put(&bytes).await? {
                Put::Landed(identity) => return self.landed(identity, change, bytes.len()).await,
                Put::Taken(entry, bytes, identity) => self.lost(&entry, &bytes, identity)?,
            }
        }
        Err(CommitError::Contended { table: self.table(), races: MAX_RACES })
    }

    /// The newest entry must be the one we know; else the log is replayed, and the batch's plan must still hold.
    async fn check_newest(&mut self) -> Result<(), CommitError> {
        self.reached(Step::Check)?;
        self.checked = Check::now((self.clock)());
        let found = self.log.newest_is(self.store).await?;
        if found == Newest::Known {
            return Ok(());
        }
        let before = self.log.clone();
        self.log.reload(self.store).await?;
        let version = self.log.version;
        if found == Newest::Replaced && self.log.txns != before.txns {
            return Err(CommitError::Overwritten { table: self.table(), version: before.version });
        }
        if self.log.metadata != before.metadata || self.log.protocol != before.protocol {
            return Err(self.replan(version, "schema, properties or features"));
        }
        // Which files came and went in between, no entry tells any more.
        match self.tx.minds_no_files() {
            true => Ok(()),
            false => Err(self.replan(version, "files")),
        }
    }

    /// What was read of the rows must be the rows of the version that we start from: only later ones are looked at.
    fn check_read_version(&self) -> Result<(), CommitError> {
        let version = self.log.version;
        match self.tx.reads.as_ref().is_none_or(|reads| reads.version() == version) {
            true => Ok(()),
            false => Err(self.replan(version, "rows")),
        }
    }

    /// All our `txn`s that the batch rests on must be what it was computed from, in the version we commit on.
    fn compare(&self) -> Result<(), CommitError> {
        let moved =
            |(id, expected): (&String, &Option<Txn>)| self.log.txns.get(id) != expected.as_ref();
        match self.tx.expected.iter().any(moved) {
            true => Err(CommitError::Fenced { table: self.table(), version: self.log.version }),
            false => Ok(()),
        }
    }

    /// The table's metadata and protocol as the transaction wants them.
    fn changed(&self) -> Result<Changed, CommitError> {
        let mut metadata = self.log.metadata.clone();
        metadata.configuration.extend(self.tx.properties.clone());
        let mut protocol = None;
        if let Some(schema) = &self.tx.schema {
            // Who changed it meanwhile may have made the very change, or one that it doesn't go with.
            if schema.before != metadata.schema_string {
                return Err(self.replan(self.log.version, "schema"));
            }
            metadata = schema.applied_to(&metadata);
            protocol = schema.protocol.clone();
        }
        Ok(Changed { protocol, metadata: (metadata != self.log.metadata).then_some(metadata) })
    }

    fn replan(&self, version: u64, what: &'static str) -> CommitError {
        CommitError::Replan { table: self.table(), version, what }
    }

    /// Puts the entry at the next version until it is known who has that version.
    async fn put(&mut self, bytes: &Bytes) -> Result<Put, CommitError> {
        let version = self.log.version + 1;
        let path = entry::path_of(version);
        let mut backoff = FIRST_BACKOFF;
        let mut tries = 0;
        loop {
            self.reached(Step::Put)?;
            tries += 1;
            let unclear = match self.put_once(&path, bytes).await {
                Ok(identity) => return Ok(Put::Landed(identity)),
                Err(error) => error,
            };
            self.reached(Step::Settle)?;
            let source = match self.store.read(&path).await {
                Ok(Some((there, identity))) => return self.settled(version, &there, identity),
                Ok(None) => unclear,
                Err(error) => error,
            };
            if tries == PUT_TRIES {
                return Err(CommitError::Unsettled { table: self.table(), version, tries, source });
            }
            tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            backoff *= 2;
            // Absent can also mean: cleaned away. Only a log whose newest entry is in place is put to again.
            self.check_unmoved(version).await?;
        }
    }

    async fn put_once(&self, path: &Path, bytes: &Bytes) -> object_store::Result<Identity> {
        match tokio::time::timeout(PUT_TIMEOUT, self.store.put_new(path, bytes.clone())).await {
            Ok(answer) => answer,
            Err(elapsed) => {
                Err(object_store::Error::Generic { store: "log", source: elapsed.into() })
            }
        }
    }

    fn settled(&self, version: u64, bytes: &Bytes, identity: Identity) -> Result<Put, CommitError> {
        let entry = parse_entry(self.store, version, bytes)?;
        match entry.attempt() == Some(self.tx.attempt) {
            true => Ok(Put::Landed(identity)),
            false => Ok(Put::Taken(Box::new(entry), bytes.clone(), identity)),
        }
    }

    async fn check_unmoved(&mut self, version: u64) -> Result<(), CommitError> {
        self.check_newest().await?;
        match self.log.version + 1 == version {
            true => Ok(()),
            false => Err(self.replan(self.log.version, "log")),
        }
    }

    /// Another writer has the version: does its entry leave the batch as it is?
    fn lost(
        &mut self,
        entry: &Entry,
        bytes: &Bytes,
        identity: Identity,
    ) -> Result<(), CommitError> {
        let version = self.log.version + 1;
        let table = self.table();
        if entry.is_restore() {
            return Err(CommitError::Restored { table, version });
        }
        if entry.txns.iter().any(|(id, _)| self.tx.expected.contains_key(id)) {
            return Err(CommitError::Fenced { table, version });
        }
        if entry.metadata.is_some() || entry.protocol.is_some() {
            return Err(self.replan(version, "schema, properties or features"));
        }
        if let Some(what) = self.conflict(version, bytes)? {
            return Err(self.replan(version, what));
        }
        self.checked = Check::now((self.clock)());
        Ok(self.log.fold(self.store, entry, identity)?)
    }

    /// Whether another writer's entry touches what the batch removes or read.
    ///
    /// A file counts as touched whatever the `dataChange`: an OPTIMIZE that rewrote a file of ours has put its rows
    /// into another one, and removing the old one as well would leave them there twice.
    fn conflict(&self, version: u64, bytes: &[u8]) -> Result<Option<&'static str>, CommitError> {
        if self.tx.minds_no_files() {
            return Ok(None);
        }
        let malformed = |reason| {
            let table = self.store.table().to_owned();
            CommitError::Sink(SinkError::Malformed { table, version, reason })
        };
        let files = FileActions::parse(bytes).map_err(malformed)?;
        let removes: BTreeSet<String> =
            self.tx.removes.iter().map(|remove| entry::decoded(&remove.path)).collect();
        let is_held = |path: &String| removes.contains(path) || self.tx.holds.contains(path);
        if files.paths().any(|path| is_held(&path)) {
            return Ok(Some("files that the batch rewrites"));
        }
        let reads = self.tx.reads.as_ref();
        Ok(reads.filter(|reads| reads.are_touched_by(&files)).map(|_| "rows of the batch's keys"))
    }

    async fn landed(
        &mut self,
        identity: Identity,
        change: Changed,
        bytes: usize,
    ) -> Result<Committed, CommitError> {
        self.reached(Step::Landed)?;
        let version = self.log.version + 1;
        if self.checked.still_holds((self.clock)()) {
            let made_at = Some(self.made_at);
            let set = self
                .tx
                .set
                .iter()
                .map(|(id, v)| (id.clone(), Txn { version: *v, last_updated: made_at }));
            self.log.txns.extend(set);
            if let Some(metadata) = change.metadata {
                self.log.metadata = metadata;
            }
            if let Some(protocol) = change.protocol {
                self.log.protocol = protocol;
            }
            self.log.advance(identity);
        } else {
            self.find_again(version).await?;
        }
        Ok(Committed { version, bytes: bytes as u64 })
    }

    /// The answer came late: a put below a newer checkpoint is a ghost, no reader will ever see it.
    async fn find_again(&mut self, version: u64) -> Result<(), CommitError> {
        self.log.reload(self.store).await?;
        let made_at = Some(self.made_at);
        let is_set = |(id, v): (&String, &i64)| {
            self.log.txn(id) == Some(Txn { version: *v, last_updated: made_at })
        };
        if !self.tx.set.is_empty() && self.tx.set.iter().all(is_set) {
            return Ok(());
        }
        let replayed = self.log.checkpoint.is_none_or(|checkpoint| checkpoint < version)
            && version <= self.log.version;
        let found =
            if replayed { self.store.read(&entry::path_of(version)).await } else { Ok(None) };
        match found.map_err(|e| self.store.failed("an entry of the log cannot be read", e))? {
            Some((bytes, _)) if self.is_ours(version, &bytes)? => Ok(()),
            _ => Err(CommitError::Ghost { table: self.table(), version }),
        }
    }

    fn is_ours(&self, version: u64, bytes: &[u8]) -> Result<bool, SinkError> {
        Ok(parse_entry(self.store, version, bytes)?.attempt() == Some(self.tx.attempt))
    }

    fn table(&self) -> String {
        self.store.table().to_owned()
    }

    /// A failpoint; nothing outside of tests.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "see below")
    )]
    fn reached(&self, step: Step) -> Result<(), CommitError> {
        #[cfg(test)]
        self.store.failpoint.reached(step)?;
        let _ = step;
        Ok(())
    }
}

/// A foreign VACUUM may have taken old files that no version names yet.
fn refuse_stale_files(
    store: &TableStore,
    tx: &Transaction,
    now_ms: i64,
) -> Result<(), CommitError> {
    match tx.adds.iter().find(|file| now_ms - file.modification_time > FILE_MAX_AGE_MS) {
        Some(file) => {
            Err(CommitError::Stale { table: store.table().to_owned(), path: file.path.clone() })
        }
        None => Ok(()),
    }
}

/// Where a test wants commits on one store to stop.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(super) struct Failpoint(std::sync::Arc<std::sync::Mutex<Option<Step>>>);

#[cfg(test)]
impl Failpoint {
    /// The next commit that reaches `step` stops there, once.
    pub fn stop_at(&self, step: Step) {
        *self.0.lock().expect("no test panics while holding it") = Some(step);
    }

    fn reached(&self, step: Step) -> Result<(), CommitError> {
        let mut armed = self.0.lock().expect("no test panics while holding it");
        match *armed == Some(step) {
            true => {
                *armed = None;
                Err(CommitError::Failpoint(step))
            }
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
