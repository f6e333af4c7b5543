//! `sluice status`: what has been committed, and how far behind it is. Asks the tables and Kafka, not a running
//! connector.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::find::{self, FoundTable};
use super::text::{Align, columns, number};
use super::{ConfigSource, print};
use crate::chunk::SourcePartition;
use crate::disposition::Exit;
use crate::engine::now_ms;
use crate::engine::view::View;
use crate::sink::Txn;
use crate::sink::error::SinkError;
use crate::sink::history;
use crate::sink::log::TableLog;
use crate::sink::progress::{self, Owner};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Only this output.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// One JSON document a partition.
    #[arg(long)]
    json: bool,
}

pub(super) async fn status(args: StatusArgs) -> Exit {
    let loaded = match print::load(&args.source, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let spec = match find::tables_known(&loaded.connector).await {
        Ok(spec) => spec,
        Err(exit) => return exit,
    };
    let tables = match find::tables(&spec, args.output.as_deref()) {
        Ok(tables) => tables,
        Err(exit) => return exit,
    };
    let mut exit = Exit::Done;
    let view = match View::of(&spec.source).await {
        Ok(view) => Some(view),
        Err(error) => {
            exit = print::failure(&error);
            print::note("ends and lags are not known; what follows is from the tables alone");
            None
        }
    };
    // The dead letters' progress is no measure of lag: it moves only when there is one.
    for table in tables.iter().filter(|table| !table.is_dead_letters()) {
        let topics = spec.outputs.get(&table.name).and_then(|output| output.topics.as_deref());
        match OutputStatus::of(table, view.as_ref(), topics).await {
            Ok(status) if args.json => status.documents().iter().for_each(print::json),
            Ok(status) => status.lines(now_ms()).iter().for_each(print::line),
            Err(error) => exit = find::failure(error),
        }
    }
    exit
}

/// One output: its table, and each partition that the table or Kafka has.
struct OutputStatus {
    output: String,
    table: String,
    /// `None`: there is no table.
    version: Option<u64>,
    last_commit_ms: Option<i64>,
    restored: Option<u64>,
    partitions: BTreeMap<SourcePartition, PartitionStatus>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct PartitionStatus {
    committed: Option<Txn>,
    /// `None`: not known, or Kafka has no such partition.
    end: Option<i64>,
}

impl PartitionStatus {
    fn lag(self) -> Option<i64> {
        Some((self.end? - self.committed?.version).max(0))
    }
}

impl OutputStatus {
    async fn of(
        table: &FoundTable,
        view: Option<&View>,
        topics: Option<&[String]>,
    ) -> Result<Self, SinkError> {
        let log = TableLog::open(&table.store).await?;
        let mut status = Self {
            output: table.name.clone(),
            table: table.store.table().to_owned(),
            version: log.as_ref().map(TableLog::version),
            last_commit_ms: None,
            restored: None,
            partitions: BTreeMap::new(),
        };
        if let Some(log) = &log {
            status.take_table(log, &table.owner);
            status.restored = history::unanswered_restore(&table.store, log, &table.owner).await?;
        }
        if let Some(view) = view {
            status.take_kafka(view, topics);
        }
        Ok(status)
    }

    fn take_table(&mut self, log: &TableLog, owner: &Owner) {
        self.last_commit_ms = history::last_commit_ms(log, owner);
        let held: BTreeMap<SourcePartition, Txn> = progress::of_owner(log, owner).collect();
        for (partition, txn) in &held {
            // Progress from before the broker had topic ids goes on under an id.
            let went_on =
                |other: &SourcePartition| other.id == partition.id && !other.topic_id.is_unknown();
            if !(partition.topic_id.is_unknown() && held.keys().any(went_on)) {
                self.partitions.entry(partition.clone()).or_default().committed = Some(*txn);
            }
        }
    }

    /// Ends belong to a topic's id: what was read of a deleted topic has none.
    fn take_kafka(&mut self, view: &View, topics: Option<&[String]>) {
        for partition in view.catalog.partitions() {
            if topics.is_some_and(|topics| !topics.iter().any(|t| **t == *partition.id.topic)) {
                continue;
            }
            let end = view.extent.latest.get(&partition.id).copied();
            let key = self.known_as(partition);
            self.partitions.entry(key).or_default().end = end;
        }
    }

    /// The partition under the id that its progress has, where one of both sides has no ids.
    fn known_as(&self, partition: SourcePartition) -> SourcePartition {
        if self.partitions.contains_key(&partition) {
            return partition;
        }
        let is_same = |id: &&SourcePartition| {
            id.id == partition.id && (id.topic_id.is_unknown() || partition.topic_id.is_unknown())
        };
        self.partitions.keys().find(is_same).cloned().unwrap_or(partition)
    }

    fn documents(&self) -> Vec<Value> {
        let document = |(partition, status): (&SourcePartition, &PartitionStatus)| {
            json!({
                "output": self.output,
                "table": self.table,
                "table_version": self.version,
                "topic": partition.id.topic,
                "topic_id": partition.topic_id.as_str(),
                "partition": partition.id.partition,
                "committed_offset": status.committed.map(|txn| txn.version),
                "end_offset": status.end,
                "lag_records": status.lag(),
                "committed_at": status.committed.and_then(|txn| rfc3339(txn.last_updated?)),
                "restored_by_version": self.restored,
            })
        };
        self.partitions.iter().map(document).collect()
    }

    fn lines(&self, now_ms: i64) -> Vec<String> {
        let Some(version) = self.version else {
            return vec![format!("{}: there is no table at {} yet", self.output, self.table)];
        };
        let last = self.last_commit_ms.and_then(|ms| Some((ms, rfc3339(ms)?)));
        let last = last.map_or("never committed".to_owned(), |(ms, at)| {
            format!("last commit {at} ({} s ago)", number((now_ms - ms).max(0) / 1000))
        });
        let mut lines = vec![format!("{}: {}, version {version}, {last}", self.output, self.table)];
        if let Some(restored) = self.restored {
            lines.push(format!(
                "  version {restored} restored the table to an older state: `sluice rewind` says how to go on"
            ));
        }
        let known = |offset: Option<i64>| offset.map_or("-".to_owned(), number);
        let mut rows = vec![["  partition", "committed", "end", "lag"].map(str::to_owned).to_vec()];
        rows.extend(self.partitions.iter().map(|(partition, status)| {
            vec![
                format!("  {}", partition.id),
                known(status.committed.map(|txn| txn.version)),
                known(status.end),
                known(status.lag()),
            ]
        }));
        let total: Option<i64> = self.partitions.values().map(|status| status.lag()).sum();
        rows.push(vec!["  all".to_owned(), String::new(), String::new(), known(total)]);
        let aligns = [Align::Left, Align::Right, Align::Right, Align::Right];
        lines.extend(columns(&aligns, &rows));
        lines
    }
}

fn rfc3339(ms: i64) -> Option<String> {
    let at = DateTime::<Utc>::from_timestamp_millis(ms)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::{TopicId, TopicPartition};

    fn partition(number: i32) -> SourcePartition {
        SourcePartition { id: TopicPartition::new("orders", number), topic_id: TopicId::new("AbC") }
    }

    fn status(committed: Option<i64>, end: Option<i64>) -> PartitionStatus {
        let txn = |version| Txn { version, last_updated: Some(1_000) };
        PartitionStatus { committed: committed.map(txn), end }
    }

    #[test]
    fn the_lag_is_what_lies_between_progress_and_end() {
        let check = |committed, end, lag| assert_eq!(status(committed, end).lag(), lag);
        check(Some(100), Some(110), Some(10));
        check(Some(100), Some(90), Some(0));
        check(Some(100), None, None);
        check(None, Some(90), None);
    }

    #[test]
    fn every_partition_has_a_line_and_a_document() {
        let status = OutputStatus {
            output: "orders".to_owned(),
            table: "/lake/orders".to_owned(),
            version: Some(7),
            last_commit_ms: Some(1_000),
            restored: None,
            partitions: [
                (partition(0), status(Some(25_000), Some(25_010))),
                (partition(1), status(Some(3), None)),
            ]
            .into(),
        };
        assert_eq!(
            status.lines(13_000),
            [
                "orders: /lake/orders, version 7, last commit 1970-01-01T00:00:01.000Z (12 s ago)",
                "  partition  committed     end  lag",
                "  orders/0      25,000  25,010   10",
                "  orders/1           3       -    -",
                "  all                             -",
            ]
        );
        let documents = status.documents();
        assert_eq!(documents[0]["lag_records"], 10);
        assert_eq!(documents[1]["end_offset"], Value::Null);
    }
}
