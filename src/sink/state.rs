//! State objects: where an output with windows keeps what its next epoch goes on from.
//!
//! An object is put once, under a name that holds its epoch and a random attempt number, before the commit whose `txn` names
//! it; so what a commit names is there, and what none names is an orphan. Knows nothing of what is in an object.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::error::SinkError;
use super::store::TableStore;

/// A `txn`'s version is the epoch times this, and the attempt number.
const ATTEMPTS: i64 = 1 << 20;

/// Objects read at the same time.
const READ_AHEAD: usize = 8;

/// The state objects of one output, beside its table's files: VACUUM passes over names that begin with `_`.
#[derive(Debug, Clone)]
pub struct StateStore {
    store: TableStore,
    folder: String,
}

/// What names a state object: the version of the `txn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateVersion(pub i64);

impl StateVersion {
    /// An attempt at an epoch, told from others by a random number.
    pub fn attempt(epoch: u64) -> Self {
        let epoch = i64::try_from(epoch).expect("an epoch is a commit, of which there are fewer");
        Self(epoch * ATTEMPTS + fastrand::i64(0..ATTEMPTS))
    }

    pub fn epoch(self) -> u64 {
        u64::try_from(self.0 / ATTEMPTS).unwrap_or(0)
    }
}

impl StateStore {
    /// `output` is the output's name.
    pub fn new(store: &TableStore, output: &str) -> Self {
        Self { store: store.clone(), folder: format!("_sluice/state/{output}") }
    }

    /// Puts an object where none is.
    ///
    /// # Errors
    /// When the store says no or nothing. A name is never tried again: the next attempt has another.
    pub async fn put(&self, version: StateVersion, object: Vec<u8>) -> Result<(), SinkError> {
        let put = self.store.put_new(&self.path(version), Bytes::from(object)).await;
        put.map(drop).map_err(|e| self.store.failed("the state cannot be written", e))
    }

    /// The bytes of objects, in the order asked for.
    ///
    /// # Errors
    /// When one of them isn't there, or the store can't be reached.
    pub async fn read(&self, versions: &[StateVersion]) -> Result<Vec<Bytes>, SinkError> {
        let read = |version: &StateVersion| {
            let path = self.path(*version);
            async move {
                match self.store.read(&path).await {
                    Ok(Some((bytes, _))) => Ok(bytes),
                    Ok(None) => Err(SinkError::StateMissing {
                        table: self.store.table().to_owned(),
                        path: path.to_string(),
                    }),
                    Err(e) => Err(self.store.failed("the state cannot be read", e)),
                }
            }
        };
        stream::iter(versions).map(read).buffered(READ_AHEAD).try_collect().await
    }

    pub fn path(&self, version: StateVersion) -> Path {
        let (epoch, attempt) = (version.epoch(), version.0.rem_euclid(ATTEMPTS));
        Path::from(format!("{}/{epoch:020}-{attempt:05x}.state", self.folder))
    }
}
