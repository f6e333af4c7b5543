//! What sluice tells the world about itself: metrics, the status of the running connector, logs, progress.
//!
//! Data only flows in: the engine writes once per batch, and nothing here is ever read back by it or blocks it.
//! A scrape or a probe reads memory; it asks neither Kafka nor the store, so a slow broker can't fail a probe.
//!
//! Only `engine` and `cli` import this: a stage reports through its return values.

pub mod catalog;
mod http;
mod logging;
mod metrics;
mod page;
mod progress;
mod status;
mod view;

pub use http::{HttpError, HttpServer};
pub use logging::{LogFormat, init_logging};
pub use metrics::{CommitResult, LagDetail, Metrics, OutputMetrics, Phase, WindowMetrics};
pub use progress::BacklogBar;
pub use status::{
    BatchReport, LastError, OutputStatus, PartitionStatus, PhaseDurations, Rates, Snapshot, State,
    Status,
};
