//! The Kafka side: which partitions there are, which offsets they hold, and the records of planned ranges.
//!
//! Owns the librdkafka clients. Guarantees that [`Reader::read`] delivers every record of a range once, in offset
//! order per partition, and none beyond its end, whatever is prefetched. Does not decide what to read (`engine`)
//! nor look into records (`decode`). Partitions are assigned with explicit offsets; the consumer group is only ever
//! written, as a hint for lag tools. All calls block: the engine keeps them off its async threads.

mod client;
mod control;
mod error;
mod native;
mod reader;

pub use control::{Catalog, Control};
pub use error::SourceError;
pub use native::OffsetSpec;
pub use reader::{Event, ReadError, Reader, Target};
