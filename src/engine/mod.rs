//! The engine: the loop that turns offset ranges into commits, and what it does about every error.
//!
//! Crash-only: whatever fails, the session ends and the next one recovers from the tables, exactly as after a crash;
//! so the path that matters is taken all the time. Only this module acts on an error's [`Disposition`].

mod batch;
pub mod decoders;
mod error;
mod lane;
mod lanes;
mod output;
mod pipeline;
pub mod plan;
pub mod recovery;
pub mod replay;
pub mod retry;
pub mod shape;
pub mod shutdown;
mod side;
mod table;
pub mod trigger;
pub mod view;
pub mod windows;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use error::EngineError;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
pub use table::{Table, TableSpec, now_ms};

use crate::config::Connector;
use crate::disposition::Disposition;
use crate::observability::{Metrics, State, Status};
use crate::offsets::TopicPartition;
use decoders::KnownSchemas;
use lane::Lane;
use retry::Backoff;
use shutdown::Shutdown;

/// How a session ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The trigger has nothing more to do, or a stop was requested.
    Done,
    /// Topics or partitions came or went: recover, which finds out.
    Changed,
}

/// Runs one connector.
pub struct Engine {
    spec: Arc<Connector>,
    status: Status,
    metrics: Metrics,
    shutdown: Shutdown,
    schemas: KnownSchemas,
    /// With `once` and `available_now`: the ends found at the first recovery. They stay, whatever is produced later.
    available: OnceLock<BTreeMap<TopicPartition, i64>>,
    /// A commit landed since a session was begun.
    landed: AtomicBool,
}

impl Engine {
    pub fn new(spec: Connector, status: Status, metrics: Metrics, shutdown: Shutdown) -> Self {
        Self {
            spec: Arc::new(spec),
            status,
            metrics,
            shutdown,
            schemas: KnownSchemas::default(),
            available: OnceLock::new(),
            landed: AtomicBool::new(false),
        }
    }

    /// Runs until the trigger is done or a stop is requested; an error is one that no waiting mends.
    pub async fn run(self) -> Result<(), EngineError> {
        let (shutdown, grace) = (self.shutdown.clone(), self.spec.shutdown_timeout);
        let status = self.status.clone();
        tokio::select! {
            ended = self.sessions() => ended,
            // A commit cut off here has landed or it hasn't; the next start finds out.
            () = shutdown.overdue(grace) => {
                tracing::warn!("the batch under way was abandoned: `shutdown_timeout` has passed");
                status.enter(State::Stopping);
                Ok(())
            }
        }
    }

    /// Session after session, until one is done or fails for good.
    async fn sessions(&self) -> Result<(), EngineError> {
        let mut backoff = Backoff::new(self.spec.retry);
        loop {
            let ended = self.session().await;
            if self.landed.swap(false, Ordering::Relaxed) {
                backoff.succeeded();
            }
            let error = match ended {
                Ok(Ended::Done) => return Ok(()),
                Ok(Ended::Changed) => continue,
                Err(change) if change.changes_columns() => {
                    tracing::info!("{change}; going on");
                    continue;
                }
                Err(error) => error,
            };
            self.status.failed(error.code(), &error.to_string());
            self.metrics.error(error.code());
            let Some((state, wait)) = wait_after(&error, &mut backoff) else {
                return Err(given_up(error, backoff.failing_for(Instant::now())));
            };
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(code = error.code(), wait_ms, "{error}; recovering");
            self.status.enter(state);
            self.status.loop_returns_within(None);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.requested() => return Ok(()),
            }
        }
    }

    /// From one recovery to the first error or change: one lane, or two while some outputs are behind.
    async fn session(&self) -> Result<Ended, EngineError> {
        self.status.enter(State::Recovering);
        let lanes = tokio::select! {
            lanes = lanes::recover(self) => lanes?,
            () = self.shutdown.requested() => return Ok(Ended::Done),
        };
        self.status.enter(State::Running);
        let mut lanes: FuturesUnordered<_> =
            lanes.into_iter().map(|lane| self.lane(lane)).collect();
        while let Some(ended) = lanes.next().await {
            if ended? == Ended::Changed {
                return Ok(Ended::Changed);
            }
        }
        self.status.enter(State::Stopping);
        Ok(Ended::Done)
    }

    /// THE LOOP. A batch is planned, read, decoded and written to files; then, while the next one is being read, it
    /// is committed and acknowledged.
    async fn lane(&self, mut lane: Lane<'_>) -> Result<Ended, EngineError> {
        let mut reading = lane.next_batch().await?;
        while let Some(batch) = reading.take() {
            let batch = lane.read(batch).await?;
            let changes = lane.look_at_topics().await?;
            if changes.are_other_topics() {
                return Ok(Ended::Changed);
            }
            if !changes.any() {
                reading = lane.next_batch_if_due().await?;
            }
            lane.commit(batch).await?;
            self.landed.store(true, Ordering::Relaxed);
            lane.acknowledge();
            if changes.any() || lane.has_caught_up() {
                return Ok(Ended::Changed);
            }
            if reading.is_none() {
                reading = lane.next_batch().await?;
            }
        }
        let ended = lane.ended();
        if ended == Ended::Done {
            lane.close().await;
        }
        Ok(ended)
    }
}

/// What an error's disposition comes to: the state to be in and the time to wait; `None`: stop.
fn wait_after(error: &EngineError, backoff: &mut Backoff) -> Option<(State, Duration)> {
    match error.disposition() {
        Disposition::Retry => {
            backoff.after_failure(Instant::now()).map(|wait| (State::BackingOff, wait))
        }
        Disposition::StandDown => {
            backoff.after_fenced(Instant::now()).map(|wait| (State::StandingDown, wait))
        }
        Disposition::Stop(_) => None,
    }
}

/// The error to stop with: a passing one, that didn't pass, says so.
fn given_up(error: EngineError, waited: Duration) -> EngineError {
    match error.disposition() {
        Disposition::Retry => EngineError::GaveUp { waited, last: Box::new(error) },
        _ => error,
    }
}
