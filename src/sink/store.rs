//! The object store of one table, rooted at the table.
//!
//! Owns how a table's URL and the `storage` options become a client, with bounded time-outs and retries, and the
//! proof that the store honours a conditional put. Knows nothing of what lies in the table.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use delta_kernel::Engine;
use deltalake::logstore::{StorageConfig, default_logstore};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientConfigKey, Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, RetryConfig,
};
use url::Url;
use uuid::Uuid;

use super::error::SinkError;
use super::local::DurableLocal;
use crate::config::{Secret, Storage, TableLocation};

/// One request's time-out. A commit or a part of a data file is a few MiB at most.
const REQUEST_TIMEOUT: &str = "30s";
const CONNECT_TIMEOUT: &str = "5s";
/// The client's own retries, inside one call of ours; longer outages go through the engine's back-off.
const CLIENT_RETRIES: usize = 3;
const CLIENT_RETRY_TIME: Duration = Duration::from_secs(15);

/// Where a table's objects are.
#[derive(Debug, Clone)]
pub struct TableStore {
    objects: Arc<dyn ObjectStore>,
    table: Arc<str>,
    conditional: Arc<AtomicBool>,
    #[cfg(test)]
    pub(super) failpoint: super::commit::Failpoint,
}

/// What tells an object from another one that was put under the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub size: u64,
    pub e_tag: Option<String>,
    /// `None` for an object of ours just put: the answer to a put doesn't say.
    pub last_modified: Option<DateTime<Utc>>,
}

impl Identity {
    /// Whether both are the same object, as far as the store tells: by ETag, else by time.
    pub fn matches(&self, other: &Self) -> bool {
        let same_content = match (&self.e_tag, &other.e_tag) {
            (Some(a), Some(b)) => a == b,
            _ => match (self.last_modified, other.last_modified) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            },
        };
        self.size == other.size && same_content
    }
}

impl From<&ObjectMeta> for Identity {
    fn from(meta: &ObjectMeta) -> Self {
        Self { size: meta.size, e_tag: meta.e_tag.clone(), last_modified: Some(meta.last_modified) }
    }
}

impl TableStore {
    /// A client for the table's store. No request is made and nothing is created.
    ///
    /// # Errors
    /// When the scheme or a storage option isn't known, or the options don't fit together.
    pub fn open(location: &TableLocation, storage: &Storage) -> Result<Self, SinkError> {
        let objects = match location.url.scheme() {
            "file" => local(location)?,
            "memory" => memory(&location.url),
            "s3" | "s3a" => s3(location, storage)?,
            "az" | "abfs" | "abfss" => azure(location, storage)?,
            "gs" => gcs(location, storage)?,
            scheme => {
                return Err(SinkError::Scheme {
                    table: location.to_string(),
                    scheme: scheme.to_owned(),
                });
            }
        };
        Ok(Self::over(objects, &location.as_written))
    }

    /// A table at the root of a store that is there already. `table` names it in messages.
    pub fn over(objects: Arc<dyn ObjectStore>, table: &str) -> Self {
        Self {
            objects,
            table: Arc::from(table),
            conditional: Arc::default(),
            #[cfg(test)]
            failpoint: Default::default(),
        }
    }

    /// The table's objects; paths are relative to the table's root.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The table as the user wrote it.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Puts an object where none is. On a local disk it is synced, name and all, when this returns.
    ///
    /// # Errors
    /// `AlreadyExists` or `Precondition` when the name is taken; any other error leaves open whether it landed.
    pub async fn put_new(&self, path: &Path, bytes: Bytes) -> object_store::Result<Identity> {
        let size = bytes.len() as u64;
        let result =
            self.objects.put_opts(path, PutPayload::from(bytes), PutMode::Create.into()).await?;
        match result.e_tag {
            Some(e_tag) => Ok(Identity { size, e_tag: Some(e_tag), last_modified: None }),
            None => Ok(Identity::from(&self.objects.head(path).await?)),
        }
    }

    /// What lies at a path; `None`: nothing.
    pub async fn identity(&self, path: &Path) -> object_store::Result<Option<Identity>> {
        found(self.objects.head(path).await.map(|meta| Identity::from(&meta)))
    }

    /// An object's bytes, with what tells it from another; `None`: nothing is there.
    pub async fn read(&self, path: &Path) -> object_store::Result<Option<(Bytes, Identity)>> {
        let Some(result) = found(self.objects.get(path).await)? else {
            return Ok(None);
        };
        let identity = Identity::from(&result.meta);
        found(result.bytes().await.map(|bytes| (bytes, identity)))
    }

    /// Proves, once per process and store, that the second put of a name fails: commits rest on it.
    ///
    /// # Errors
    /// [`SinkError::NotConditional`] when both succeed.
    pub async fn prove_conditional_puts(&self) -> Result<(), SinkError> {
        if self.conditional.load(Ordering::Acquire) {
            return Ok(());
        }
        let probe = Path::from(format!("_sluice_probe_{}", Uuid::new_v4()));
        let outcome = self.probe(&probe).await;
        if let Err(error) = self.objects.delete(&probe).await {
            tracing::debug!(table = %self.table, %error, "the probe object could not be deleted");
        }
        outcome?;
        self.conditional.store(true, Ordering::Release);
        Ok(())
    }

    async fn probe(&self, probe: &Path) -> Result<(), SinkError> {
        for _ in 0..2 {
            match self.put_new(probe, Bytes::from_static(b"sluice")).await {
                Ok(_) => {}
                // On the first put too: the client's own retry met what its lost try had written.
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => return Ok(()),
                Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => break,
                Err(source) => {
                    return Err(self.failed("the probe of conditional puts failed", source));
                }
            }
        }
        Err(SinkError::NotConditional { table: self.table.to_string() })
    }

    pub(super) fn failed(&self, doing: &'static str, source: Error) -> SinkError {
        SinkError::Store { table: self.table.to_string(), doing, source }
    }

    /// The Delta kernel over this very store. Must be called inside a tokio runtime.
    pub(super) fn engine(&self) -> Arc<dyn Engine> {
        let objects = self.objects.clone();
        default_logstore(objects.clone(), objects, &kernel_root(), &StorageConfig::default())
            .engine(None)
    }
}

/// The root of every table to the kernel. It trusts other schemes to list in order, which not all of our stores do;
/// of a `file:` URL it sorts the listing itself.
pub(super) fn kernel_root() -> Url {
    Url::parse("file:///").expect("a constant URL")
}

fn found<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn local(location: &TableLocation) -> Result<Arc<dyn ObjectStore>, SinkError> {
    let not_a_path = |source: Error| SinkError::StoreSetup { table: location.to_string(), source };
    let path = location.url.to_file_path().map_err(|()| {
        not_a_path(Error::Generic {
            store: "local directory",
            source: "not an absolute path".into(),
        })
    })?;
    let root = Path::from_absolute_path(path).map_err(|e| not_a_path(e.into()))?;
    Ok(Arc::new(PrefixStore::new(DurableLocal::default(), root)))
}

/// Tables in memory live as long as the process, so that a test can open one twice.
fn memory(url: &Url) -> Arc<dyn ObjectStore> {
    static STORES: LazyLock<Mutex<HashMap<Url, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    STORES.lock().unwrap_or_else(PoisonError::into_inner).entry(url.clone()).or_default().clone()
}

fn s3(location: &TableLocation, storage: &Storage) -> Result<Arc<dyn ObjectStore>, SinkError> {
    let mut builder =
        AmazonS3Builder::from_env().with_url(location.url.as_str()).with_retry(retry());
    for (key, value) in timeouts() {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    for (key, value) in options::<AmazonS3ConfigKey>(location, storage)? {
        builder = builder.with_config(key, value);
    }
    rooted(location, builder.build())
}

fn azure(location: &TableLocation, storage: &Storage) -> Result<Arc<dyn ObjectStore>, SinkError> {
    let mut builder =
        MicrosoftAzureBuilder::from_env().with_url(location.url.as_str()).with_retry(retry());
    for (key, value) in timeouts() {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    for (key, value) in options::<AzureConfigKey>(location, storage)? {
        builder = builder.with_config(key, value);
    }
    rooted(location, builder.build())
}

fn gcs(location: &TableLocation, storage: &Storage) -> Result<Arc<dyn ObjectStore>, SinkError> {
    let mut builder =
        GoogleCloudStorageBuilder::from_env().with_url(location.url.as_str()).with_retry(retry());
    for (key, value) in timeouts() {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    for (key, value) in options::<GoogleConfigKey>(location, storage)? {
        builder = builder.with_config(key, value);
    }
    rooted(location, builder.build())
}

fn timeouts() -> [(ClientConfigKey, &'static str); 2] {
    [
        (ClientConfigKey::Timeout, REQUEST_TIMEOUT),
        (ClientConfigKey::ConnectTimeout, CONNECT_TIMEOUT),
    ]
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: CLIENT_RETRIES,
        retry_timeout: CLIENT_RETRY_TIME,
    }
}

fn options<K: FromStr>(
    location: &TableLocation,
    storage: &Storage,
) -> Result<Vec<(K, String)>, SinkError> {
    let parse = |(key, value): (&String, &Secret)| match key.to_ascii_lowercase().parse() {
        Ok(parsed) => Ok((parsed, value.expose().to_owned())),
        Err(_) => Err(SinkError::StorageOption { table: location.to_string(), key: key.clone() }),
    };
    storage.0.iter().map(parse).collect()
}

/// The bucket or container, seen from the table's folder in it.
fn rooted<S: ObjectStore>(
    location: &TableLocation,
    built: object_store::Result<S>,
) -> Result<Arc<dyn ObjectStore>, SinkError> {
    let failed = |source| SinkError::StoreSetup { table: location.to_string(), source };
    let objects = built.map_err(failed)?;
    let root = Path::from_url_path(location.url.path()).map_err(|e| failed(e.into()))?;
    Ok(Arc::new(PrefixStore::new(objects, root)))
}

#[cfg(test)]
mod s3;
#[cfg(test)]
mod tests;
