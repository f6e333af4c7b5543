//! What an output with `aggregate` or `deduplicate` computes (docs/WINDOWS.md), as types that can't be wrong.

use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

/// Windows over the records of an output, and what the table has of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    pub watermark: Watermark,
    pub window: Window,
    /// SQL expressions over a record, each a column or with a name: `country`, `lower(city) AS city`.
    pub group_by: Vec<String>,
    /// In order, none twice; never empty.
    pub measures: Vec<MeasureSpec>,
    /// The column with the epoch that wrote a row, if it is wanted.
    pub epoch_column: Option<String>,
    pub emit: Emit,
    pub late_rows: LateRows,
}

impl Aggregate {
    /// Whether rows that no window takes go into the table of `dead_letters`.
    pub fn keeps_late_rows(&self) -> bool {
        self.late_rows == LateRows::DeadLetter
    }
}

/// Rows of a key that are near to each other in event time, of which only the first is written, or goes into windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplicate {
    /// SQL expressions over a record; never empty.
    pub keys: Vec<String>,
    /// Rows of a key are duplicates that are less than this apart.
    pub within: Duration,
    pub order: DuplicateOrder,
    /// Late rows go into the table of `dead_letters`. Before windows, that is for these to say.
    pub keeps_late_rows: bool,
    /// That of the windows, if there are any.
    pub watermark: Watermark,
}

/// Which of the rows of a key is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateOrder {
    /// In the order of offsets.
    Arrival,
    /// By event time, topic, partition, offset. Rows wait until the watermark has passed them.
    EventTime,
}

impl DuplicateOrder {
    /// In the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::EventTime => "event_time",
        }
    }
}

/// How far event time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The column with a record's event time.
    pub column: String,
    /// How far it stays behind the largest event time.
    pub delay: Duration,
    /// After so long without a record, a partition holds windows open no longer; `None`: it always does.
    pub idle_timeout: Option<Duration>,
    /// How far an event time may be ahead of its record's timestamp; `None`: any distance.
    pub max_future: Option<Duration>,
    /// How far a partition may be ahead of the slowest while that has records to read; `None`: any distance.
    pub max_ahead: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    Tumbling {
        size: Duration,
        offset: Duration,
        timezone: Option<Tz>,
    },
    Sliding {
        size: Duration,
        slide: Duration,
        offset: Duration,
        timezone: Option<Tz>,
    },
    Session {
        gap: Gap,
    },
    /// One value for each key, for ever.
    None,
}

/// From when on the next row of a key is of another session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    Fixed(Duration),
    /// SQL over a record: a number.
    OfRecord {
        seconds: String,
    },
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasureSpec {
    pub name: String,
    /// SQL: `count(*)`, `sum(amount) filter (where paid)`.
    pub text: String,
}

/// What windows need between commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub backend: StateBackend,
    /// How long objects are kept that later ones have made needless.
    pub retention: Duration,
    /// Bytes of keys and values.
    pub max_bytes: u64,
}

/// Where the state is kept while the connector runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateBackend {
    Memory,
    /// In files; `None`: in the system's folder for temporary ones.
    RocksDb {
        directory: Option<PathBuf>,
    },
}

/// When windows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Once, when they are closed.
    Final,
    /// Their current value, so often.
    Changes { every: Duration },
}

/// What becomes of rows that no window takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateRows {
    /// They are counted.
    Drop,
    /// They are kept in the table of `dead_letters`.
    DeadLetter,
    /// Windows stay amendable for so long after they have closed.
    Update { allowed_lateness: Duration },
}
