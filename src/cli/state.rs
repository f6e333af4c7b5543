//! `sluice state`: what outputs with windows keep between commits, as the tables' last commits name it.

use chrono::{DateTime, SecondsFormat};
use clap::Args;
use serde_json::{Value, json};

use super::find::{self, FoundTable};
use super::text::{Align, columns, count, number};
use super::{ConfigSource, print};
use crate::config::StateBackend;
use crate::disposition::Exit;
use crate::engine::EngineError;
use crate::engine::windows::{Inspected, inspect};
use crate::sink::log::TableLog;
use crate::sink::state::StateVersion;
use crate::transform::window::{GroupSummary, Micros, Watermarks};

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Only this output.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Each of the 256 key groups, too.
    #[arg(long)]
    groups: bool,
    /// One JSON document an output.
    #[arg(long)]
    json: bool,
}

pub(super) async fn state(args: StateArgs) -> Exit {
    let loaded = match print::load(&args.source, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let tables = async {
        let spec = find::tables_known(&loaded.connector).await?;
        Ok((find::tables(&spec, args.output.as_deref())?, spec))
    };
    let (tables, spec) = match tables.await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let mut exit = Exit::Done;
    for table in &tables {
        let Some(output) = spec.outputs.get(&table.name) else { continue };
        match OutputState::of(table, &output.state.backend).await {
            Ok(state) if args.json => print::json(&state.document(args.groups)),
            Ok(state) => state.lines(args.groups).iter().for_each(print::line),
            Err(error) => exit = print::failure(&error),
        }
    }
    exit
}

struct OutputState {
    output: String,
    /// `None`: there is none.
    found: Option<(Inspected, Vec<GroupSummary>)>,
}

impl OutputState {
    async fn of(table: &FoundTable, backend: &StateBackend) -> Result<Self, EngineError> {
        let log = TableLog::open(&table.store).await?;
        let newest = log.and_then(|log| log.txn(&table.owner.state_id()));
        let found = match newest {
            None => None,
            Some(txn) => {
                let newest = StateVersion(txn.version);
                inspect(&table.store, &table.owner, newest, backend).await?
            }
        };
        let found = match found {
            None => None,
            Some(found) => {
                let groups = found.state.summary()?;
                Some((found, groups))
            }
        };
        Ok(Self { output: table.name.clone(), found })
    }

    fn lines(&self, each_group: bool) -> Vec<String> {
        let output = &self.output;
        let Some((found, groups)) = &self.found else {
            return vec![format!("{output}: no state")];
        };
        let total = total(groups);
        let rows = count(total.rows as u64, "row");
        let mut lines = vec![
            format!("{output}: {rows}, {} bytes, epoch {}", bytes(&total), found.epoch),
            format!("  watermark {}", instant(found.watermarks.overall())),
            format!("  oldest open window ends {}", instant(total.first_expiry)),
            format!("  a start reads {}", count(found.objects as u64, "object")),
        ];
        lines.extend(partitions(&found.watermarks));
        if each_group {
            let mut cells =
                vec![["  group", "rows", "bytes", "oldest ends"].map(str::to_owned).to_vec()];
            cells.extend(groups.iter().enumerate().map(|(group, summary)| {
                let (rows, oldest) = (number(summary.rows as i128), instant(summary.first_expiry));
                vec![format!("  {group}"), rows, bytes(summary), oldest]
            }));
            lines.extend(columns(&[Align::Left, Align::Right, Align::Right, Align::Left], &cells));
        }
        lines
    }

    fn document(&self, each_group: bool) -> Value {
        let mut document = json!({"format_version": 1, "output": self.output, "epoch": null});
        let Some((found, groups)) = &self.found else { return document };
        let total = total(groups);
        let partitions = found.watermarks.partitions().iter().map(|(partition, known)| {
            json!({
                "topic": &*partition.id.topic,
                "partition": partition.id.partition,
                "watermark": known.watermark.map(|time| instant(Some(time))),
                "idle": known.idle,
            })
        });
        document["epoch"] = found.epoch.into();
        document["watermark"] = found.watermarks.overall().map(|time| instant(Some(time))).into();
        document["partitions"] = partitions.collect();
        document["rows"] = total.rows.into();
        document["bytes"] = total.bytes.into();
        document["oldest_window_end"] = end(&total).into();
        document["objects"] = found.objects.into();
        document["meaning"] = json!(found.meaning);
        if each_group {
            let group = |group: &GroupSummary| json!({"rows": group.rows, "bytes": group.bytes, "oldest_window_end": end(group)});
            document["groups"] = groups.iter().map(group).collect();
        }
        document
    }
}

/// How far each partition has come, and which of them the others wait for.
fn partitions(watermarks: &Watermarks) -> Vec<String> {
    let counting = || watermarks.partitions().values().filter(|known| !known.idle);
    let slowest = counting().map(|known| known.watermark).min();
    let mut cells = vec![["  partition", "watermark", ""].map(str::to_owned).to_vec()];
    cells.extend(watermarks.partitions().iter().map(|(partition, known)| {
        let standing = match (known.idle, known.watermark) {
            (true, _) => "idle",
            (false, None) => "holds windows open: no event time yet",
            (false, watermark) if Some(watermark) == slowest => "the slowest",
            (false, _) => "",
        };
        vec![format!("  {}", partition.id), instant(known.watermark), standing.to_owned()]
    }));
    columns(&[Align::Left, Align::Left, Align::Left], &cells)
}

fn total(groups: &[GroupSummary]) -> GroupSummary {
    GroupSummary {
        rows: groups.iter().map(|group| group.rows).sum(),
        bytes: groups.iter().map(|group| group.bytes).sum(),
        first_expiry: groups.iter().filter_map(|group| group.first_expiry).min(),
    }
}

fn bytes(group: &GroupSummary) -> String {
    number(group.bytes as i128)
}

fn end(group: &GroupSummary) -> Option<String> {
    group.first_expiry.map(|time| instant(Some(time)))
}

/// RFC 3339 in UTC; `-` for none, and for never.
fn instant(time: Option<Micros>) -> String {
    let time = time.and_then(DateTime::from_timestamp_micros);
    time.map_or("-".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::SourcePartition;
    use crate::offsets::{TopicId, TopicPartition};
    use crate::transform::window::Decisions;

    #[test]
    fn the_partitions_that_the_others_wait_for_are_told() {
        let partition = |number| SourcePartition {
            id: TopicPartition::new("orders", number),
            topic_id: TopicId::new("AbC"),
        };
        let mut watermarks = Watermarks::default();
        watermarks.advance(&partition(0), 7_000_000);
        watermarks.advance(&partition(1), 5_000_000);
        watermarks.advance(&partition(2), 1_000_000);
        let idle = Decisions { idle: [partition(2)].into(), ..Decisions::default() };
        watermarks.close_epoch(&idle);
        let expected = [
            "  partition  watermark",
            "  orders/0   1970-01-01T00:00:07Z",
            "  orders/1   1970-01-01T00:00:05Z  the slowest",
            "  orders/2   1970-01-01T00:00:01Z  idle",
        ];
        assert_eq!(partitions(&watermarks), expected);

        let mut new = Watermarks::default();
        new.close_epoch(&Decisions { joined: [partition(3)].into(), ..Decisions::default() });
        new.advance(&partition(0), 7_000_000);
        let [_, ahead, behind] = &partitions(&new)[..] else { panic!("two partitions") };
        assert_eq!(ahead, "  orders/0   1970-01-01T00:00:07Z");
        assert_eq!(
            behind,
            "  orders/3   -                     holds windows open: no event time yet"
        );
    }
}
