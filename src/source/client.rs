//! librdkafka clients: their settings, and what they say of themselves.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext as RdClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::SourceError;
use super::native::Client;
use crate::config;

/// Bytes that all partitions together may prefetch. librdkafka's memory for a full queue is about 2.5 times this.
const PREFETCH_BYTES: usize = 16 << 20;
/// A queue that holds less than this is filled up again, however many partitions there are.
const LEAST_PREFETCH_BYTES_PER_PARTITION: usize = 32 << 10;
/// Bytes asked for from a partition in one fetch: small enough that what is decoded was just received and still is
/// in the cache. Larger records and compressed batches pass all the same, one in an answer (KIP-74). Of many partitions
/// less is asked for, since each may have one fetch in its queue: decompressed, with what librdkafka keeps of each
/// message, that is up to ten times as much.
const FETCH_BYTES: usize = 512 << 10;

/// What a client says outside of any call: the last error, for messages about time-outs.
#[derive(Default, Clone)]
pub(super) struct ClientContext {
    last_error: Arc<Mutex<Option<String>>>,
}

impl ClientContext {
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RdClientContext for ClientContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        // "All brokers are down" says less than the reason that came before it.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for ClientContext {}

/// How long a session's end waits for a client to close: for offsets to be published by a broker that answers. One that
/// doesn't would be waited for a minute, and the session's error be told only then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client that goes on closing on a thread of its own when that takes long.
pub(super) struct Closing(Option<Arc<Client>>);

impl Closing {
    fn new(client: Client) -> Self {
        Self(Some(Arc::new(client)))
    }

    pub(super) fn shared(&self) -> &Arc<Client> {
        self.0.as_ref().expect("only taken when dropped")
    }
}

impl Deref for Closing {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.shared()
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(client) = self.0.take() else { return };
        let (closing, closed) = mpsc::channel::<()>();
        let close = move || {
            drop(client);
            drop(closing);
        };
        if thread::Builder::new().name("sluice-close".into()).spawn(close).is_ok() {
            // Nothing is ever sent: that the sender is gone is the signal.
            let _ = closed.recv_timeout(CLOSE_TIMEOUT);
        }
    }
}

/// The client that looks things up and publishes offsets. It fetches nothing, so that no look-up waits behind a
/// long poll on the same connection.
pub(super) fn control(source: &config::Source) -> Result<Closing, SourceError> {
    create(&base(source), source)
}

/// The client that fetches, its prefetch bounded for this many partitions.
pub(super) fn fetching(source: &config::Source, partitions: usize) -> Result<Closing, SourceError> {
    let per_partition =
        (PREFETCH_BYTES / partitions.max(1)).max(LEAST_PREFETCH_BYTES_PER_PARTITION);
    let mut settings = base(source);
    settings
        .set("queued.max.messages.kbytes", (per_partition >> 10).to_string())
        .set("queued.min.messages", "100000")
        .set("fetch.message.max.bytes", FETCH_BYTES.min(per_partition).to_string())
        // At the default of a second, fetching sleeps whenever the prefetch limit was reached.
        .set("fetch.queue.backoff.ms", "5")
        // An idle fetch returns after this long; that is when the end of a partition shows (transaction markers).
        .set("fetch.wait.max.ms", "100");
    create(&settings, source)
}

fn base(source: &config::Source) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("isolation.level", "read_committed").set("client.id", "sluice");
    for (key, value) in &source.client {
        settings.set(key, value.expose());
    }
    settings
        .set("bootstrap.servers", source.brokers.join(","))
        // librdkafka wants a group for any consumer; without a commit the broker never hears of it.
        .set("group.id", source.group_id.as_deref().unwrap_or("sluice-publishes-no-offsets"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A start past the log's end must be seen, not silently moved.
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "30000");
    settings.set_log_level(RDKafkaLogLevel::Warning);
    settings
}

fn create(settings: &ClientConfig, source: &config::Source) -> Result<Closing, SourceError> {
    let client = settings.create_with_context(ClientContext::default());
    client.map(Closing::new).map_err(|error| SourceError::Client {
        brokers: source.brokers.join(","),
        reason: error.to_string(),
    })
}

/// Whether fetches see only committed records: so must offset look-ups.
pub(super) fn read_committed(source: &config::Source) -> bool {
    source.client.get("isolation.level").is_none_or(|level| level.expose() != "read_uncommitted")
}
