//! What can go wrong when a batch is merged into a table by key.

use std::error::Error as StdError;

use arrow::error::ArrowError;
use delta_kernel::Error as KernelError;

use crate::disposition::{Disposition, Exit};
use crate::sink::error::{CommitError, SinkError, of_kernel};
use crate::sink::files::FilesError;

#[derive(Debug, thiserror::Error)]
pub enum KeyedError {
    #[error(
        "{table}: data file {path}, which version {version} names, is not there: was VACUUM run with too short a \
         retention, or a file deleted? Stopped, nothing committed: restore the file, or the table to an older version"
    )]
    Missing { table: String, path: String, version: u64 },
    #[error(
        "{table}: data file {path} lies outside of the table (a shallow clone): sluice does not rewrite such tables; \
         use a deep clone"
    )]
    Elsewhere { table: String, path: String },
    #[error("{table}: data file {path} cannot be read: {source}")]
    Read { table: String, path: String, source: Box<KernelError> },
    #[error(
        "rows that are not what the table's plan says: {0}; this is a bug in sluice, please report it"
    )]
    Rows(#[from] ArrowError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Files(#[from] FilesError),
}

impl KeyedError {
    /// What the engine should do.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Missing { .. } | Self::Elsewhere { .. } => Disposition::Stop(Exit::DataRefused),
            Self::Read { source, .. } => of_kernel(source),
            Self::Rows(_) => Disposition::Stop(Exit::Bug),
            Self::Commit(error) => error.disposition(),
            Self::Sink(error) => error.disposition(),
            Self::Files(error) => error.disposition(),
        }
    }

    /// The stable code of the message.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SL4301",
            Self::Elsewhere { .. } => "SL4302",
            Self::Read { .. } => "SL4303",
            Self::Rows(_) => "SL4304",
            Self::Commit(error) => error.code(),
            Self::Sink(error) => error.code(),
            Self::Files(error) => error.code(),
        }
    }
}

/// A failure on the way through a data file, before it is known whose fault it is.
#[derive(Debug)]
pub(super) enum ReadError {
    File { path: String, source: Box<KernelError> },
    Write(FilesError),
}

impl ReadError {
    /// A reading that ended without an answer.
    pub fn of(path: &str, error: impl StdError + Send + Sync + 'static) -> Self {
        let source = Box::new(KernelError::generic_err(error));
        Self::File { path: path.to_owned(), source }
    }

    pub fn in_file(mut self, name: &str) -> Self {
        if let Self::File { path, .. } = &mut self {
            name.clone_into(path);
        }
        self
    }

    /// The path of a data file that isn't there.
    pub fn missing(&self) -> Option<&str> {
        match self {
            Self::File { path, source } if is_not_found(source) => Some(path),
            _ => None,
        }
    }

    pub fn at(self, table: &str) -> KeyedError {
        match self {
            Self::File { path, source } => {
                KeyedError::Read { table: table.to_owned(), path, source }
            }
            Self::Write(error) => error.into(),
        }
    }
}

impl From<KernelError> for ReadError {
    fn from(error: KernelError) -> Self {
        Self::File { path: String::new(), source: Box::new(error) }
    }
}

impl From<FilesError> for ReadError {
    fn from(error: FilesError) -> Self {
        Self::Write(error)
    }
}

fn is_not_found(error: &KernelError) -> bool {
    if matches!(error, KernelError::FileNotFound(_)) {
        return true;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(object_store::Error::NotFound { .. }) = error.downcast_ref() {
            return true;
        }
        cause = error.source();
    }
    false
}
