//! What can end a session, and what the engine does about it.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::decode::DecodeError;
use crate::disposition::{Disposition, Exit};
use crate::offsets::{TopicPartition, grouped};
use crate::sink::create::TableError;
use crate::sink::error::{CommitError, SinkError};
use crate::sink::files::FilesError;
use crate::sink::keyed::KeyedError;
use crate::source::SourceError;
use crate::transform::TransformError;
use crate::transform::window::WindowError;

#[derive(Debug, Error)]
pub enum EngineError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Keyed(Box<KeyedError>),
    #[error(transparent)]
    Windows(#[from] WindowError),
    #[error(transparent)]
    Transform(Box<TransformError>),
    #[error("{partition}{}: {source}", offset.map(|offset| format!(" offset {offset}")).unwrap_or_default())]
    Expression { partition: TopicPartition, offset: Option<i64>, source: Box<TransformError> },
    #[error(
        "stopped, nothing committed: {} of {} records are bad, `decode.bad_record_limit` allows {:.1} %; \
         the first: {first}",
        grouped(*bad),
        grouped(*records),
        limit * 100.0
    )]
    TooManyBad { bad: u64, records: u64, limit: f64, first: String },
    #[error(
        "{partition}: the broker no longer has the offsets from {from} to {to} ({reason}), and they were not read; \
         set `source.on_data_loss: continue` to go on at {to} and record the gap, or use `sluice rewind`"
    )]
    DataLoss { partition: TopicPartition, from: i64, to: i64, reason: &'static str },
    #[error(
        "{partition}: `source.start` says offset {offset}, but the broker has {earliest} to {latest}; correct it"
    )]
    StartOutOfRange { partition: TopicPartition, offset: i64, earliest: i64, latest: i64 },
    #[error(
        "{partition}: the broker has fewer partitions than the table has progress for; use `sluice rewind`"
    )]
    PartitionVanished { partition: TopicPartition },
    #[error(
        "outputs.{output}.{key}: there is no column `{column}` in the table; its columns are {columns}"
    )]
    NoColumn { output: String, key: &'static str, column: String, columns: String },
    #[error(
        "outputs.{output}: dead letters are replayed under `mode: append` and without `aggregate` or `deduplicate` only; with keys or windows an old record would meet newer rows"
    )]
    ReplayOfChanges { output: String },
    #[error("outputs.{output}: there is no table at {table}, so nothing has been judged yet")]
    ReplayNoTable { output: String, table: String },
    #[error(
        "outputs.{output}: whether {} dead letters of {partition} are rows already can't be told: the rows don't keep \
         kafka_partition and kafka_offset (and kafka_topic, of several topics), and the counts in the kept log \
         don't add up; nothing was changed",
        grouped(*letters)
    )]
    ReplayUncertain { output: String, partition: TopicPartition, letters: u64 },
    #[error("thread {0} ended before its work was done")]
    ThreadGone(&'static str),
    #[error("a thread can't be started: {0}")]
    Thread(#[from] io::Error),
    #[error(
        "stopped, nothing committed: `trigger: once` has more to merge than `limits.max_records` ({}) or \
         `limits.max_bytes` ({}) allow, and what is merged by key is held in memory; use `available_now`, which takes \
         several batches, or raise the limits",
        grouped(*max_records),
        grouped(*max_bytes)
    )]
    OnceTooLarge { max_records: u64, max_bytes: u64 },
    #[error(
        "stopped, nothing dropped: the state of open windows is {} bytes, `state.max_bytes` allows {}; `sluice state` shows \
         what holds the watermark back; shorten the windows or `delay`, set `idle_timeout`, or raise the limit",
        grouped(*bytes),
        grouped(*max_bytes)
    )]
    StateTooLarge { bytes: u64, max_bytes: u64 },
    #[error("stopped while reading")]
    Stopped,
    #[error("nothing succeeded for {} s, `retry.give_up_after` allows no more; the last failure: {last}", waited.as_secs())]
    GaveUp { waited: Duration, last: Box<EngineError> },
}

impl EngineError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Source(error) => error.code(),
            Self::Decode(error) => error.code(),
            Self::Table(error) => error.code(),
            Self::Sink(error) => error.code(),
            Self::Files(error) => error.code(),
            Self::Commit(error) => error.code(),
            Self::Transform(source) | Self::Expression { source, .. } => source.code(),
            Self::Windows(error) => error.code(),
            Self::Keyed(error) => error.code(),
            Self::TooManyBad { .. } => "SL5001",
            Self::DataLoss { .. } => "SL5002",
            Self::StartOutOfRange { .. } => "SL5003",
            Self::PartitionVanished { .. } => "SL5004",
            Self::ThreadGone(_) => "SL5005",
            Self::Thread(_) => "SL5006",
            Self::Stopped => "SL5007",
            Self::GaveUp { .. } => "SL5008",
            Self::NoColumn { .. } => "SL5009",
            Self::ReplayOfChanges { .. } => "SL5010",
            Self::ReplayNoTable { .. } => "SL5011",
            Self::ReplayUncertain { .. } => "SL5012",
            Self::OnceTooLarge { .. } => "SL5013",
            Self::StateTooLarge { .. } => "SL5015",
        }
    }

    /// No fault: other columns follow from the schemas, and what is begun anew over the same ones has them.
    pub fn changes_columns(&self) -> bool {
        matches!(self, Self::Decode(DecodeError::SchemaChanged { .. }))
    }

    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Source(error) => error.disposition(),
            Self::Decode(error) => error.disposition(),
            Self::Table(error) => error.disposition(),
            Self::Sink(error) => error.disposition(),
            Self::Files(error) => error.disposition(),
            Self::Commit(error) => error.disposition(),
            Self::Transform(source) | Self::Expression { source, .. } => source.disposition(),
            Self::Windows(error) => error.disposition(),
            Self::Keyed(error) => error.disposition(),
            Self::TooManyBad { .. } | Self::DataLoss { .. } | Self::PartitionVanished { .. } => {
                Disposition::Stop(Exit::DataRefused)
            }
            Self::OnceTooLarge { .. } | Self::StartOutOfRange { .. } | Self::NoColumn { .. } => {
                Disposition::Stop(Exit::Configuration)
            }
            Self::ReplayOfChanges { .. } | Self::StateTooLarge { .. } => {
                Disposition::Stop(Exit::Configuration)
            }
            Self::ReplayNoTable { .. } => Disposition::Stop(Exit::NegativeFinding),
            Self::ReplayUncertain { .. } => Disposition::Stop(Exit::DataRefused),
            Self::ThreadGone(_) | Self::Thread(_) => Disposition::Stop(Exit::Bug),
            Self::Stopped => Disposition::Retry,
            Self::GaveUp { .. } => Disposition::Stop(Exit::Unreachable),
        }
    }
}

impl From<TransformError> for EngineError {
    fn from(error: TransformError) -> Self {
        Self::Transform(Box::new(error))
    }
}

impl From<KeyedError> for EngineError {
    fn from(error: KeyedError) -> Self {
        Self::Keyed(Box::new(error))
    }
}
