//! `aggregate`, `deduplicate` and `state` as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, PatienceText, SizeText};

/// Windows over the records' event times.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Aggregate {
    /// How far event time has come: what closes windows, and what makes rows late.
    #[schemars(required)]
    pub(in crate::config) watermark: Option<Watermark>,
    /// The stretches of event time that records are aggregated over.
    #[schemars(required)]
    pub(in crate::config) window: Option<Window>,
    /// Rows are aggregated for each of these apart: SQL expressions over a record, columns or with a name
    /// (`[country, lower(city) AS city]`). Each is a column of the table. Empty: all rows of a window together.
    pub(in crate::config) group_by: Option<Vec<String>>,
    /// Columns of the table, name and SQL aggregate: `{orders: count(*), revenue: sum(amount) filter (where paid)}`. They
    /// stand in the table in the order in which they are written; those of the environment and `--set` come last, by
    /// name.
    #[schemars(required)]
    pub(in crate::config) measures: Option<BTreeMap<String, String>>,
    /// A column of the table with the number of the epoch that wrote the row, under this name: a BIGINT that counts the commits of the
    /// output, as `sluice state` and the commits tell it. It depends on how batches were cut.
    pub(in crate::config) epoch_column: Option<String>,
    /// When a window's row is written: `final`, or `{changes: {every: 10s}}`.
    pub(in crate::config) emit: Option<Emit>,
    /// What becomes of rows whose windows are closed: `drop`, or with `emit: changes` `{update: {allowed_lateness: 1h}}`.
    pub(in crate::config) late_rows: Option<LateRows>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Watermark {
    /// The TIMESTAMP column with the records' event times.
    #[schemars(required)]
    pub(in crate::config) column: Option<String>,
    /// How far the watermark of a partition stays behind its largest event time: how late a row may come. `0s` where
    /// each partition is in order. Windows are closed so much later.
    #[schemars(required)]
    pub(in crate::config) delay: Option<DurationText>,
    /// After so long without a record, a partition that was read to its end holds windows open no longer; `never`: it
    /// always does.
    pub(in crate::config) idle_timeout: Option<PatienceText>,
    /// How far an event time may be ahead of its record's Kafka timestamp; rows further ahead are not counted, and
    /// don't move the watermark. `never`: no event time is refused.
    pub(in crate::config) max_future: Option<PatienceText>,
    /// How far a partition's watermark may be ahead of the slowest one's, while that has records to read: those further ahead
    /// wait, so that a backlog doesn't open windows without bound. `never`: none waits.
    pub(in crate::config) max_ahead: Option<PatienceText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Window {
    /// The kind of windows.
    #[schemars(required)]
    pub(in crate::config) kind: Option<WindowKind>,
    /// For `tumbling` and `sliding`: how long a window is; whole days in a `timezone` other than UTC.
    pub(in crate::config) size: Option<DurationText>,
    /// For `sliding`: the time from one window's start to the next one's; at most `size`.
    pub(in crate::config) slide: Option<DurationText>,
    /// For `session`: the longest time between two rows of a session, from which on the next one begins.
    pub(in crate::config) gap: Option<DurationText>,
    /// For `session`, in the place of `gap`: each record says how long its session goes on after it, by an SQL expression over it that
    /// is a number of seconds (`CASE WHEN country = 'DE' THEN 600 ELSE 300 END`). A record of which it isn't above 0 is
    /// `timeless`.
    pub(in crate::config) gap_seconds: Option<String>,
    /// For `none`: a key's value starts anew after so much event time without a row. Not set: never, which needs
    /// `emit: changes`.
    pub(in crate::config) ttl: Option<DurationText>,
    /// For `tumbling` and `sliding`: how far windows start after 1970-01-01T00:00:00Z and its multiples, or with
    /// whole days in a `timezone` after midnight.
    pub(in crate::config) offset: Option<DurationText>,
    /// For `tumbling` and `sliding` of whole days: the time zone whose days they are, by its IANA name.
    pub(in crate::config) timezone: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WindowKind {
    /// One behind the other, each `size` long.
    Tumbling,
    /// Each `size` long, one every `slide`; a row is in several.
    Sliding,
    /// Rows of a key that are nearer than `gap` to each other.
    Session,
    /// One value for each key.
    None,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Emit {
    Word(EmitWord),
    Changes(EmitChanges),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum EmitWord {
    /// Once, when the window is closed.
    Final,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct EmitChanges {
    /// The current value of every open window is in the table; its row is replaced until the window is closed.
    #[schemars(required)]
    pub(in crate::config) changes: Option<Changes>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Changes {
    /// The least time between two commits that write open windows; `0s`: every commit does.
    #[schemars(required)]
    pub(in crate::config) every: Option<DurationText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum LateRows {
    Word(LateRowsWord),
    Update(LateRowsUpdate),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum LateRowsWord {
    /// They are left out and counted.
    Drop,
    /// They are kept in the table of `dead_letters`, and counted.
    DeadLetter,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LateRowsUpdate {
    /// They are counted, for windows stay open longer.
    #[schemars(required)]
    pub(in crate::config) update: Option<Update>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Update {
    /// How long after its end, beside the watermark's `delay`, a window still takes rows.
    #[schemars(required)]
    pub(in crate::config) allowed_lateness: Option<DurationText>,
}

/// Of the rows of a key that are near to each other in event time, only the first is written, or goes into windows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Deduplicate {
    /// What rows are told apart by: SQL expressions over a record (`[order_id, lower(email)]`). NULL is a value like others.
    #[schemars(required)]
    pub(in crate::config) keys: Option<Vec<String>>,
    /// Rows of a key are duplicates that are less than this apart in event time. Keys are kept that long, and `delay`.
    #[schemars(required)]
    pub(in crate::config) within: Option<DurationText>,
    /// Which of the rows of a key is the first.
    pub(in crate::config) order: Option<DuplicateOrder>,
    /// What becomes of rows that are late: whether they are duplicates is no longer known. Beside `aggregate`, its `late_rows`
    /// holds for both.
    pub(in crate::config) late_rows: Option<LateRowsWord>,
    /// How far event time has come: what makes rows late, and when keys are forgotten. It must be set, but for beside `aggregate`,
    /// whose `watermark` holds for both.
    pub(in crate::config) watermark: Option<Watermark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum DuplicateOrder {
    /// The one with the smallest offset. Rows are written at once. Let a key stay in one partition: between partitions,
    /// which is first is a matter of batches.
    Arrival,
    /// The one with the earliest event time. Rows are written when the watermark has passed them.
    EventTime,
}

/// What windows need between commits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct State {
    /// How long state objects are kept that later ones have made needless: longer than a start takes to read them. At least
    /// `1m`.
    pub(in crate::config) retention: Option<DurationText>,
    /// Where open windows are held while the connector runs.
    pub(in crate::config) backend: Option<StateBackend>,
    /// What open windows may come to, keys and values; in memory they take some two and a half times as much. With more the
    /// connector stops: nothing is dropped. With `rocksdb`, `64GiB`.
    pub(in crate::config) max_bytes: Option<SizeText>,
    /// With `rocksdb`: a folder with room for twice the state. It is a cache, filled anew at each start and emptied at its
    /// end. Default: the system's folder for temporary files.
    pub(in crate::config) directory: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum StateBackend {
    /// In memory: the fastest.
    Memory,
    /// On disk, with some 300 MiB of it in memory: for more open windows than memory holds.
    Rocksdb,
}
