//! Why expressions can't be used, and why one fails on a record.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::disposition::{Disposition, Exit};

/// The key of the configuration that an expression stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    Select,
    Where,
    /// `window` of an aggregation, and how far its watermark stays behind.
    Window,
    /// `window.gap_seconds` of an aggregation.
    Gap,
    /// `watermark.column` of an aggregation.
    Watermark,
    /// An item of `group_by`, counted from 0.
    GroupBy(usize),
    /// An item of `keys` of a deduplication, counted from 0.
    Key(usize),
    /// `epoch_column` of an aggregation.
    Epoch,
    /// A measure, by its name.
    Measure(Arc<str>),
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select => f.write_str("`select`"),
            Self::Where => f.write_str("`where`"),
            Self::Window => f.write_str("`window`"),
            Self::Gap => f.write_str("`window.gap_seconds`"),
            Self::Watermark => f.write_str("`watermark.column`"),
            Self::GroupBy(index) => write!(f, "`group_by[{index}]`"),
            Self::Key(index) => write!(f, "`keys[{index}]`"),
            Self::Epoch => f.write_str("`epoch_column`"),
            Self::Measure(name) => write!(f, "`measures.{name}`"),
        }
    }
}

/// A place in the SQL text of a clause; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// What is wrong with the SQL: `SL60xx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub clause: Clause,
    pub code: &'static str,
    pub place: Option<Place>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.clause)?;
        if let Some(Place { line, column }) = self.place {
            write!(f, " (line {line}, column {column})")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// An expression that has no value for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub clause: Clause,
    /// The expression as written, with the name of its column if it has one.
    pub expression: String,
    /// The first row of the batch that it fails on.
    pub row: usize,
    /// Never with a value of the record.
    pub reason: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, `{}`: {}", self.clause, self.expression, self.reason)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransformError {
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The message names no row: only the caller knows its partition and offset.
    #[error("{0}")]
    Failed(Box<Failure>),
}

impl TransformError {
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Refused(_) => Disposition::Stop(Exit::Configuration),
            Self::Failed(_) => Disposition::Stop(Exit::DataRefused),
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Failed(_) => FAILED,
        }
    }

    /// The row that an expression failed on, counted in the batch that was given to it.
    pub fn row(&self) -> Option<usize> {
        match self {
            Self::Refused(_) => None,
            Self::Failed(failure) => Some(failure.row),
        }
    }
}

/// The text is no SQL that sluice reads.
pub(super) const SYNTAX: &str = "SL6001";
/// No column or field of that name.
pub(super) const UNKNOWN_COLUMN: &str = "SL6002";
/// No function of that name.
pub(super) const UNKNOWN_FUNCTION: &str = "SL6003";
/// SQL, but not for one record: aggregates, windows, subqueries, what changes with the time of reading.
pub(super) const NOT_FOR_A_RECORD: &str = "SL6004";
/// Operands or arguments of types that don't fit, a type that Delta Lake doesn't have.
pub(super) const TYPE: &str = "SL6005";
/// A result without a name, or with one that can't be a column's.
pub(super) const NAME: &str = "SL6006";
/// A result of a type that Delta Lake can't store.
pub(super) const RESULT_TYPE: &str = "SL6007";
/// `where` or `FILTER` is no condition.
pub(super) const NO_CONDITION: &str = "SL6008";
/// A measure is not one aggregate function, or one that there isn't.
pub(super) const NO_MEASURE: &str = "SL6009";
/// An expression has no value for a record.
pub(super) const FAILED: &str = "SL6101";
