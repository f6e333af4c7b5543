//! What sluice holds of a table: version, protocol, metadata and its own `txn`s.
//!
//! One replay at the start, then each new entry is folded in, so that the cost of a commit grows neither with the
//! table's files nor with its versions. The newest entry known is remembered with its size and ETag: while it is
//! still there, what is held is still the table's past.

use std::collections::BTreeMap;

use futures::StreamExt;
use object_store::path::Path;

use super::entry::{self, Entry, LOG_DIR};
use super::error::SinkError;
use super::replay::{Replayed, replay};
use super::store::{Identity, TableStore};
use super::{Metadata, Protocol, Txn};

/// All `txn`s of sluice begin so.
pub const APP_PREFIX: &str = "sluice/";

/// A clean-up can take files between our listing and our reading; the next listing then shows why.
const REPLAY_TRIES: u32 = 3;

/// A table as of one version.
#[derive(Debug, Clone)]
pub struct TableLog {
    pub(super) version: u64,
    /// The newest checkpoint seen when the log was replayed.
    pub(super) checkpoint: Option<u64>,
    pub(super) protocol: Protocol,
    pub(super) metadata: Metadata,
    pub(super) txns: BTreeMap<String, Txn>,
    /// The newest version's entry; `None` where the log no longer has it.
    pub(super) newest: Option<Identity>,
    /// The one before, once it was seen. Our own newest entry can lie alone in a table that was deleted between our
    /// last look and our put: what was before it tells.
    pub(super) previous: Option<Identity>,
}

/// What happened to a table since it was last looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Refreshed {
    /// The log was replayed anew (cleaned past us, or rewritten): `entries` doesn't tell the whole story.
    pub reloaded: bool,
    /// New versions, oldest first.
    pub entries: Vec<(u64, Entry)>,
}

/// How the newest entry known was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newest {
    Known,
    /// Something else lies under its name: the table was recreated, or a commit overwritten.
    Replaced,
    /// Cleaned away, or the table is gone.
    Missing,
}

impl TableLog {
    /// Replays a table's log; `None`: there is no table.
    ///
    /// # Errors
    /// When the store can't be reached, or the log can't be read.
    pub async fn open(store: &TableStore) -> Result<Option<Self>, SinkError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match Self::replayed(store).await {
                Ok(Some(log)) => return Ok(Some(log)),
                Ok(None) if tries < REPLAY_TRIES => continue,
                Ok(None) => return Err(store.failed("the log changes while it is read", busy())),
                Err(error) => error,
            };
            if !has_log(store).await? {
                return Ok(None);
            }
            // It may have come to be, or been cleaned, while it was read: only a fault that stays is one.
            if tries == REPLAY_TRIES {
                return Err(error);
            }
        }
    }

    /// `None`: the newest entry isn't what was replayed; look again.
    async fn replayed(store: &TableStore) -> Result<Option<Self>, SinkError> {
        let engine = store.engine();
        let job = tokio::task::spawn_blocking(move || replay(&*engine, APP_PREFIX));
        let replayed = job.await.map_err(|e| store.failed("the log cannot be read", e.into()))?;
        let failed = |source| SinkError::Replay {
            table: store.table().to_owned(),
            source: Box::new(source),
        };
        let Replayed { version, checkpoint, protocol, metadata, txns, newest_size } =
            replayed.map_err(failed)?;
        let newest = newest_entry(store, version).await?;
        if newest.as_ref().map(|identity| identity.size) != newest_size {
            return Ok(None);
        }
        Ok(Some(Self { version, checkpoint, protocol, metadata, txns, newest, previous: None }))
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A table property.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.metadata.configuration.get(key).map(String::as_str)
    }

    /// All `txn`s that begin with `sluice/`, expired ones too.
    pub fn txns(&self) -> &BTreeMap<String, Txn> {
        &self.txns
    }

    pub fn txn(&self, app_id: &str) -> Option<Txn> {
        self.txns.get(app_id).copied()
    }

    /// Folds in what others, or we, committed since.
    ///
    /// # Errors
    /// [`SinkError::Recreated`] and [`SinkError::Gone`] when this is no longer the table that was opened.
    pub async fn refresh(&mut self, store: &TableStore) -> Result<Refreshed, SinkError> {
        let mut refreshed = Refreshed::default();
        if self.newest_is(store).await? != Newest::Known {
            self.reload(store).await?;
            refreshed.reloaded = true;
        }
        while let Some((entry, identity)) = read_entry(store, self.version + 1).await? {
            self.fold(store, &entry, identity)?;
            refreshed.entries.push((self.version, entry));
        }
        Ok(refreshed)
    }

    /// Whether the newest entries known are still there, and still the ones known.
    pub(super) async fn newest_is(&self, store: &TableStore) -> Result<Newest, SinkError> {
        let before = async {
            match (&self.previous, self.version.checked_sub(1)) {
                (Some(_), Some(version)) => newest_entry(store, version).await,
                _ => Ok(None),
            }
        };
        let (there, before) = tokio::try_join!(newest_entry(store, self.version), before)?;
        let is_there = |known: &Option<Identity>, there: &Option<Identity>| match (known, there) {
            (Some(known), Some(there)) if known.matches(there) => Newest::Known,
            (Some(_), Some(_)) => Newest::Replaced,
            _ => Newest::Missing,
        };
        match is_there(&self.newest, &there) {
            Newest::Known if self.previous.is_some() => Ok(is_there(&self.previous, &before)),
            found => Ok(found),
        }
    }

    /// Replays the log anew, and makes sure that it is the same table's.
    pub(super) async fn reload(&mut self, store: &TableStore) -> Result<(), SinkError> {
        let table = || store.table().to_owned();
        let fresh = Self::open(store).await?.ok_or_else(|| SinkError::Gone { table: table() })?;
        self.must_be(&fresh.metadata, table)?;
        *self = fresh;
        Ok(())
    }

    fn must_be(&self, now: &Metadata, table: impl Fn() -> String) -> Result<(), SinkError> {
        if now.id == self.metadata.id {
            return Ok(());
        }
        Err(SinkError::Recreated {
            table: table(),
            was: self.metadata.id.clone(),
            now: now.id.clone(),
        })
    }

    /// Takes in the entry of the next version.
    pub(super) fn fold(
        &mut self,
        store: &TableStore,
        entry: &Entry,
        identity: Identity,
    ) -> Result<(), SinkError> {
        if let Some(metadata) = &entry.metadata {
            self.must_be(metadata, || store.table().to_owned())?;
            self.metadata = metadata.clone();
        }
        if let Some(protocol) = &entry.protocol {
            self.protocol = protocol.clone();
        }
        // Of two `txn`s of one application in one entry the first counts, as in a replay.
        let ours = entry.txns.iter().rev().filter(|(app_id, _)| app_id.starts_with(APP_PREFIX));
        self.txns.extend(ours.cloned());
        self.advance(identity);
        Ok(())
    }

    pub(super) fn advance(&mut self, identity: Identity) {
        self.version += 1;
        self.previous = self.newest.replace(identity);
    }
}

/// Reads and parses the entry of one version; `None`: there is none.
pub(super) async fn read_entry(
    store: &TableStore,
    version: u64,
) -> Result<Option<(Entry, Identity)>, SinkError> {
    let read = store.read(&entry::path_of(version)).await;
    let Some((bytes, identity)) =
        read.map_err(|e| store.failed("an entry of the log cannot be read", e))?
    else {
        return Ok(None);
    };
    parse_entry(store, version, &bytes).map(|entry| Some((entry, identity)))
}

pub(super) fn parse_entry(
    store: &TableStore,
    version: u64,
    bytes: &[u8],
) -> Result<Entry, SinkError> {
    Entry::parse(bytes).map_err(|reason| SinkError::Malformed {
        table: store.table().to_owned(),
        version,
        reason,
    })
}

async fn newest_entry(store: &TableStore, version: u64) -> Result<Option<Identity>, SinkError> {
    let found = store.identity(&entry::path_of(version)).await;
    found.map_err(|e| store.failed("the newest entry of the log cannot be looked at", e))
}

/// Whether there is anything that makes a table: an entry or a checkpoint.
async fn has_log(store: &TableStore) -> Result<bool, SinkError> {
    let mut listing = store.objects().list(Some(&Path::from(LOG_DIR)));
    while let Some(object) = listing.next().await {
        let object = object.map_err(|e| store.failed("the log cannot be listed", e))?;
        let name = object.location.filename().unwrap_or_default();
        if entry::version_of(name).is_some() || name.contains(".checkpoint.") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn busy() -> object_store::Error {
    object_store::Error::Generic { store: "log", source: "its newest entry was replaced".into() }
}

#[cfg(test)]
mod tests;
