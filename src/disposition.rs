//! What the engine does about an error. Every stage's error type answers with one of these; only the
//! engine acts on it.

use std::process::ExitCode;

/// The answer of an error to "what now?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// A passing fault: back off, then recover and go on.
    Retry,
    /// Another instance of this connector commits: recover, and wait for it to stop.
    StandDown,
    /// Nothing will change by itself: stop the process with this code.
    Stop(Exit),
}

/// The process's exit codes; the table in docs/reference/exit-codes.md is checked against this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or stopped by SIGTERM or SIGINT.
    Done = 0,
    /// A bug in sluice.
    Bug = 1,
    /// Wrong use of the command line.
    Usage = 2,
    /// `check` or `verify` found something wrong; `init` can't tell how to read a topic.
    NegativeFinding = 3,
    /// Another instance of this connector holds the progress.
    Fenced = 4,
    /// The data was refused: bad records, data loss, a table that doesn't fit.
    DataRefused = 5,
    /// Kafka or the store could not be reached (EX_TEMPFAIL of sysexits.h).
    Unreachable = 75,
    /// The configuration is wrong (EX_CONFIG of sysexits.h).
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
