//! What the log says, entry by entry, against the model: an auditor who trusts nothing but the objects in the store.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde_json::Value;

use super::case::{Becomes, Story};
use super::instance::{Plan, TOPIC};
use crate::sink::entry;
use crate::sink::history::{PartitionInfo, SluiceInfo, WindowsInfo};
use crate::sink::state::{StateStore, StateVersion};
use crate::sink::store::TableStore;
use crate::transform::window::tests::dedup;
use crate::transform::window::tests::model::{self, Place, Recorded};

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Window {
        bounds: Option<(i64, i64)>,
        key: Option<String>,
        rows: i64,
        sum: Option<i64>,
        first: Option<String>,
        last: Option<String>,
    },
    Record(Place),
}

impl From<model::Result> for Row {
    fn from(result: model::Result) -> Self {
        let model::Result { bounds, key, rows, sum, first, last, .. } = result;
        Self::Window { bounds, key, rows, sum, first, last }
    }
}

/// A file of the table.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) path: String,
    pub(super) partition_values: Value,
    rows: Vec<Row>,
}

pub(super) struct Ledger<'a> {
    story: &'a Story,
    store: TableStore,
    /// The version to look at next.
    pub(super) next: u64,
    /// In the order in which they came.
    pub(super) live: Vec<Live>,
    /// What the last commit named.
    pub(super) state: Option<StateVersion>,
    ends: Vec<usize>,
    commits: Vec<Recorded>,
    /// By state object: its epoch was to write open windows.
    pub(super) due: BTreeMap<StateVersion, bool>,
    /// The rows that the table was last found to have, in order.
    shown: Vec<Row>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(story: &'a Story, store: TableStore) -> Self {
        Self {
            story,
            store,
            next: 0,
            live: Vec::new(),
            state: None,
            ends: vec![0; story.case.partitions.len()],
            commits: Vec::new(),
            due: BTreeMap::new(),
            shown: Vec::new(),
        }
    }

    /// Takes in the entries that are new.
    pub(super) async fn look(&mut self) {
        let path = |version| entry::path_of(version);
        while let Some((bytes, _)) = self.store.read(&path(self.next)).await.expect("readable") {
            let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            let lines: Vec<Value> =
                lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
            self.take_files(&lines).await;
            let info = lines.iter().find_map(|line| line["commitInfo"].get("sluice"));
            match info.map(|info| SluiceInfo::deserialize(info).expect("ours")) {
                Some(SluiceInfo { partitions, windows: Some(windows), .. }) => {
                    self.take_epoch(&lines, &partitions, &windows).await;
                }
                // Another writer's, or one without rows.
                _ => assert_eq!(self.found(), self.shown, "version {}", self.next),
            }
            self.next += 1;
        }
    }

    async fn take_files(&mut self, lines: &[Value]) {
        for path in lines.iter().filter_map(|line| line["remove"]["path"].as_str()) {
            let place = self.live.iter().position(|live| live.path == path);
            self.live.remove(place.unwrap_or_else(|| panic!("{path} isn't there")));
        }
        for add in lines.iter().filter_map(|line| line.get("add")) {
            let path = add["path"].as_str().expect("an add").to_owned();
            assert!(!self.live.iter().any(|live| live.path == path), "{path} is there");
            let partition_values = add["partitionValues"].clone();
            let key = partition_values.get("key");
            let batches = self.read(&path).await;
            let rows = batches.iter().flat_map(|batch| rows(batch, key)).collect();
            self.live.push(Live { path, partition_values, rows });
        }
    }

    /// The rows of a data file.
    pub(super) async fn read(&self, path: &str) -> Vec<RecordBatch> {
        let path = Path::from_url_path(path).expect("a path");
        let read = self.store.read(&path).await.expect("readable");
        let (bytes, _) = read.expect("what the log names is there");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
        let batches = reader.build().expect("Parquet");
        batches.map(|batch| batch.expect("Parquet")).collect()
    }

    fn found(&self) -> Vec<Row> {
        let mut rows: Vec<_> = self.live.iter().flat_map(|live| live.rows.clone()).collect();
        rows.sort();
        rows
    }

    async fn take_epoch(
        &mut self,
        lines: &[Value],
        partitions: &[PartitionInfo],
        windows: &WindowsInfo,
    ) {
        let txns: BTreeMap<_, _> =
            lines.iter().filter_map(|line| line.get("txn")).map(txn).collect();
        let state = StateVersion(txns[&Plan::owner().state_id()]);
        let before = self.state.replace(state).map_or(0, StateVersion::epoch);
        assert_eq!(state.epoch(), before + 1, "epochs of version {}", self.next);
        assert_eq!(windows.epoch, state.epoch());
        let object = StateStore::new(&self.store, &Plan::owner()).path(state);
        assert!(self.store.identity(&object).await.expect("readable").is_some(), "{object}");
        for info in partitions {
            let end = &mut self.ends[info.partition as usize];
            assert_eq!(info.start, *end as i64, "offsets of version {}", self.next);
            assert_eq!(info.fates.total(), info.end.abs_diff(info.start), "fates");
            assert_eq!(txns[&Plan::owner().app_id(&info.source_partition())], info.end);
            *end = info.end as usize;
        }
        assert_eq!(windows.left, Vec::<String>::new());
        self.commits.push(Recorded {
            ends: self.ends.clone(),
            joined: numbers(&windows.joined),
            idle: numbers(&windows.idle),
            back: numbers(&windows.back),
        });
        let writes = windows.closed + windows.opened + windows.replaced > 0;
        if self.story.becomes != (Becomes::Changes { slow: true }) || self.due[&state] || writes {
            self.shown = self.expected();
        }
        assert_eq!(self.found(), self.shown, "the table (left), the model (right)");
    }

    /// By the model, if open windows are as they are.
    fn expected(&self) -> Vec<Row> {
        let (case, commits) = (&self.story.case, &self.commits);
        let mut rows: Vec<Row> = match self.story.becomes {
            Becomes::Distinct(order) => {
                let found = dedup::model(case, commits, order.into(), false);
                found.rows.into_iter().map(Row::Record).collect()
            }
            becomes => {
                let outcome = match becomes {
                    Becomes::DistinctWindows { order, .. } => {
                        let distinct = self.story.distinct(order);
                        model::run(&dedup::only_firsts(case, commits, distinct).0, commits)
                    }
                    _ => model::run(case, commits),
                };
                let open = if becomes.shows_open() { outcome.open } else { Vec::new() };
                outcome.closed.into_iter().chain(open).map(Row::from).collect()
            }
        };
        rows.sort();
        rows
    }

    /// All is read, and what is to be seen is seen.
    pub(super) fn close(&self) {
        let lengths: Vec<_> = self.story.case.partitions.iter().map(Vec::len).collect();
        assert_eq!(self.ends, lengths, "offsets at the end");
        assert_eq!(
            self.found(),
            self.expected(),
            "the table (left), the model (right), at the end"
        );
    }
}

fn txn(txn: &Value) -> (String, i64) {
    let id = txn["appId"].as_str().expect("a txn").to_owned();
    (id, txn["version"].as_i64().expect("a txn"))
}

/// Of partitions.
fn numbers(names: &[String]) -> BTreeSet<usize> {
    let number = |name: &String| {
        let number = name.strip_prefix(TOPIC)?.trim_start_matches(['/', '-', '[']);
        number.trim_end_matches(']').parse().ok()
    };
    names.iter().map(|name| number(name).unwrap_or_else(|| panic!("{name}"))).collect()
}

/// `key`: of the partition, if there are any.
fn rows(batch: &RecordBatch, key: Option<&Value>) -> Vec<Row> {
    let int = |column: &str, row: usize| {
        let values = batch.column_by_name(column)?.as_primitive::<Int64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let text = |column: &str, row: usize| {
        let values = batch.column_by_name(column)?.as_string::<i32>();
        values.is_valid(row).then(|| values.value(row).to_owned())
    };
    let time = |column: &str, row: usize| {
        let values = batch.column_by_name(column)?.as_primitive::<TimestampMicrosecondType>();
        Some(values.value(row))
    };
    let row = |row| match int("place", row) {
        Some(place) => Row::Record(((place / 1_000) as usize, (place % 1_000) as usize)),
        None => Row::Window {
            bounds: time("window_start", row).zip(time("window_end", row)),
            key: match key {
                Some(key) => key.as_str().map(str::to_owned),
                None => text("key", row),
            },
            rows: int("rows", row).expect("a count"),
            sum: int("sum", row),
            first: text("first", row),
            last: text("last", row),
        },
    };
    (0..batch.num_rows()).map(row).collect()
}
