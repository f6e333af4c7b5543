//! Why windows can't be planned, and why they can't go on.

use thiserror::Error;

use crate::disposition::{Disposition, Exit};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WindowError {
    /// Windows, keys or measures that can't be; the message says why.
    #[error("{0}")]
    Refused(String),
    /// The result of a measure doesn't fit its type.
    #[error("`{measure}`: the result of a window is too large for {data_type}")]
    Overflow { measure: String, data_type: String },
    /// A state that is limited.
    #[error("`{measure}`: a window has {what}; use `approx_count_distinct`")]
    TooMany { measure: String, what: String },
    /// States of one window or batch that no column can hold.
    #[error("the states of a batch are larger than 2 GiB; lower the limits of a batch")]
    TooLarge,
    #[error("the state of a window can't be read: it is damaged, or of other measures")]
    Corrupt,
    #[error("an accumulator broke down: {0}")]
    Accumulator(String),
    #[error("the state on disk: {0}")]
    Disk(String),
    #[error("the state cannot be encoded: {0}")]
    Encoding(String),
}

impl WindowError {
    pub fn disposition(&self) -> Disposition {
        match self {
            // It is made anew.
            Self::Disk(_) => Disposition::Retry,
            Self::Refused(_) => Disposition::Stop(Exit::Configuration),
            Self::Overflow { .. } | Self::TooMany { .. } | Self::TooLarge | Self::Corrupt => {
                Disposition::Stop(Exit::DataRefused)
            }
            Self::Accumulator(_) | Self::Encoding(_) => Disposition::Stop(Exit::Bug),
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "SL6201",
            Self::Overflow { .. } => "SL6202",
            Self::TooLarge => "SL6203",
            Self::Corrupt => "SL6204",
            Self::Accumulator(_) => "SL6205",
            Self::Disk(_) => "SL6206",
            Self::Encoding(_) => "SL6207",
            Self::TooMany { .. } => "SL6208",
        }
    }
}
