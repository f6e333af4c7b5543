//! What can go wrong on the Delta Lake side, and what the engine does about it.

use delta_kernel::Error as KernelError;

use crate::disposition::{Disposition, Exit};

/// Errors of the sink. Each says which table; `code` is stable, for the docs and for scripts.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error(
        "{table}: no store for `{scheme}:` tables; use a path, s3://, s3a://, az://, abfss:// or gs://"
    )]
    Scheme { table: String, scheme: String },
    #[error(
        "{table}: storage option `{key}` is not known for this store; see object_store's configuration keys"
    )]
    StorageOption { table: String, key: String },
    #[error("{table}: the store cannot be set up: {source}; check `storage`")]
    StoreSetup { table: String, source: object_store::Error },
    #[error("{table}: {doing}: {source}")]
    Store { table: String, doing: &'static str, source: object_store::Error },
    #[error(
        "{table}: this store ignores If-None-Match: commits could overwrite each other; use a store with conditional puts"
    )]
    NotConditional { table: String },
    #[error("{table}: the table's log cannot be read: {source}")]
    Replay { table: String, source: Box<KernelError> },
    #[error(
        "{table}: version {version} of the log is malformed: {reason}; was it written by a Delta writer?"
    )]
    Malformed { table: String, version: u64, reason: String },
    #[error(
        "{table}: the table was deleted and created anew (its id was {was}, now it is {now}); \
         stopped, nothing committed: restart to begin it from the configured start"
    )]
    Recreated { table: String, was: String, now: String },
    #[error(
        "{table}: the table's log is gone; stopped, nothing committed: restore it, or restart to create it anew"
    )]
    Gone { table: String },
    #[error(
        "{table}: topic `{topic}` was deleted and created anew (its id was {was}, now it is {now}); \
         set `on_data_loss: continue` to read the new topic from its beginning, or use `sluice rewind`"
    )]
    TopicRecreated { table: String, topic: String, was: String, now: String },
    #[error(
        "{table}: topic `{topic}` has progress under several ids ({ids}) and the broker gives none now; \
         use `sluice rewind` to say where to go on"
    )]
    TopicAmbiguous { table: String, topic: String, ids: String },
    #[error(
        "{table}: the progress of {partition} has expired or was removed (table property `{property}` says that it \
         was there); use `sluice rewind` to say where to go on"
    )]
    ProgressLost { table: String, partition: String, property: String },
    #[error(
        "{table}: table property `{property}` is not what sluice writes there: {reason}; use `sluice rewind`"
    )]
    BadMarker { table: String, property: String, reason: String },
    #[error(
        "{table}: holds the progress of topic `{topic}` under connector `{connector}`, output `{output}`: reading it \
         under another name would write everything twice; use `sluice adopt`, or the old name"
    )]
    OwnedByOther { table: String, topic: String, connector: String, output: String },
    #[error(
        "{table}: `delta.setTransactionRetentionDuration` is `{value}`: {reason}; progress kept in the table would \
         expire. Set it to at least `interval 1 hours`, or unset it"
    )]
    TxnRetention { table: String, value: String, reason: &'static str },
    #[error(
        "{table}: the state of the windows is missing: {path}; put it back, or build it anew from Kafka: \
         `sluice rewind --reset-state --to-earliest`"
    )]
    StateMissing { table: String, path: String },
    #[error(
        "{table}: the state of the windows is damaged: {path}; put it back, or build it anew from Kafka: \
         `sluice rewind --reset-state --to-earliest`"
    )]
    StateDamaged { table: String, path: String },
    #[error(
        "{table}: the state of the windows was kept for another configuration: {}; put it back as it was, give the \
         output another name and table, or give the state up: `sluice rewind --reset-state`",
        changes.join(", ")
    )]
    StateOther { table: String, changes: Vec<String> },
}

impl SinkError {
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Scheme { .. } | Self::StorageOption { .. } | Self::StoreSetup { .. } => {
                STOP_CONFIGURATION
            }
            Self::NotConditional { .. } | Self::TxnRetention { .. } | Self::OwnedByOther { .. } => {
                STOP_CONFIGURATION
            }
            Self::Store { source, .. } if is_denied(source) => STOP_CONFIGURATION,
            Self::Store { .. } => Disposition::Retry,
            Self::Replay { source, .. } => of_kernel(source),
            Self::Malformed { .. }
            | Self::Recreated { .. }
            | Self::Gone { .. }
            | Self::TopicRecreated { .. }
            | Self::TopicAmbiguous { .. }
            | Self::ProgressLost { .. }
            | Self::BadMarker { .. }
            | Self::StateMissing { .. }
            | Self::StateDamaged { .. } => STOP_DATA,
            Self::StateOther { .. } => STOP_CONFIGURATION,
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Scheme { .. } => "SL4001",
            Self::StorageOption { .. } => "SL4002",
            Self::StoreSetup { .. } => "SL4003",
            Self::Store { .. } => "SL4004",
            Self::NotConditional { .. } => "SL4005",
            Self::Replay { .. } => "SL4006",
            Self::Malformed { .. } => "SL4007",
            Self::Recreated { .. } => "SL4008",
            Self::Gone { .. } => "SL4009",
            Self::TopicRecreated { .. } => "SL4010",
            Self::TopicAmbiguous { .. } => "SL4011",
            Self::ProgressLost { .. } => "SL4012",
            Self::BadMarker { .. } => "SL4013",
            Self::OwnedByOther { .. } => "SL4014",
            Self::TxnRetention { .. } => "SL4015",
            Self::StateMissing { .. } => "SL4016",
            Self::StateDamaged { .. } => "SL4017",
            Self::StateOther { .. } => "SL4018",
        }
    }
}

/// Why a transaction is not in the table.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(
        "{table}: fenced: another instance committed version {version}; run one instance per `name`"
    )]
    Fenced { table: String, version: u64 },
    #[error("{table}: version {version} changed the table's {what}; the batch is planned again")]
    Replan { table: String, version: u64, what: &'static str },
    #[error(
        "{table}: version {version} restored the table to an older state; stopped, nothing committed: go on with \
         `sluice rewind --to-version` (read again what was taken out) or `sluice rewind --accept` (leave it out)"
    )]
    Restored { table: String, version: u64 },
    #[error(
        "{table}: data file {path} is older than a day and may have been vacuumed; it is written again"
    )]
    Stale { table: String, path: String },
    #[error(
        "{table}: version {version} got no clear answer in {tries} tries: {source}; recovery looks again"
    )]
    Unsettled { table: String, version: u64, tries: u32, source: object_store::Error },
    #[error("{table}: lost {races} races in a row to other writers; tried again later")]
    Contended { table: String, races: u32 },
    #[error(
        "{table}: version {version} was written below a newer checkpoint and did not happen; recovering"
    )]
    Ghost { table: String, version: u64 },
    #[error(
        "{table}: version {version} was overwritten by a writer that doesn't put conditionally (Spark's own log store \
         on S3 does not); what it held may be lost from the table: recovering from the table's own progress"
    )]
    Overwritten { table: String, version: u64 },
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A test stopped the commit at this step, as a crash would.
    #[cfg(test)]
    #[error("stopped at {0:?}")]
    Failpoint(super::commit::Step),
}

impl CommitError {
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Fenced { .. } => Disposition::StandDown,
            Self::Restored { .. } => STOP_DATA,
            Self::Sink(error) => error.disposition(),
            _ => Disposition::Retry,
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Fenced { .. } => "SL4020",
            Self::Replan { .. } => "SL4021",
            Self::Restored { .. } => "SL4022",
            Self::Stale { .. } => "SL4023",
            Self::Unsettled { .. } => "SL4024",
            Self::Contended { .. } => "SL4025",
            Self::Ghost { .. } => "SL4026",
            Self::Overwritten { .. } => "SL4027",
            Self::Sink(error) => error.code(),
            #[cfg(test)]
            Self::Failpoint(_) => "SL4999",
        }
    }
}

const STOP_CONFIGURATION: Disposition = Disposition::Stop(Exit::Configuration);
const STOP_DATA: Disposition = Disposition::Stop(Exit::DataRefused);

/// The store knows us and says no, or doesn't know us: asking again changes nothing.
pub(super) fn is_denied(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    )
}

/// A store's faults pass; a file that went between listing and reading is a clean-up that overtook us. What is
/// left says that the log itself is wrong, which no retry mends.
pub(super) fn of_kernel(error: &KernelError) -> Disposition {
    match error {
        KernelError::Backtraced { source, .. } => of_kernel(source),
        KernelError::ObjectStore(source) if is_denied(source) => STOP_CONFIGURATION,
        KernelError::ObjectStore(_)
        | KernelError::IOError(_)
        | KernelError::FileNotFound(_)
        | KernelError::GenericError { .. }
        | KernelError::Arrow(_)
        | KernelError::Parquet(_)
        | KernelError::JoinFailure(_) => Disposition::Retry,
        _ => STOP_DATA,
    }
}
