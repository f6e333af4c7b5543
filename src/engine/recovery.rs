//! Where each partition goes on: the table's word against what the broker has. Pure; I/O is the caller's.
//!
//! The rules are PROTOCOL.md's: progress in the table decides; a partition never begun starts as configured on the
//! first run and at its beginning later; what the broker lost is refused or recorded, never passed over.

use std::collections::BTreeMap;

use super::EngineError;
use crate::chunk::SourcePartition;
use crate::config::{OnDataLoss, Start};
use crate::offsets::{Fates, TopicId, TopicPartition};
use crate::sink::error::SinkError;
use crate::sink::history::{PartitionInfo, Reset};
use crate::sink::progress::{Position, Standing};

/// What the broker has of each partition.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    pub earliest: BTreeMap<TopicPartition, i64>,
    pub latest: BTreeMap<TopicPartition, i64>,
    /// With `start: {timestamp}`: where that is; the end where no record is that young.
    pub at_time: BTreeMap<TopicPartition, i64>,
}

impl Extent {
    fn of(&self, id: &TopicPartition) -> (i64, i64) {
        let at = |offsets: &BTreeMap<_, i64>| offsets.get(id).copied().unwrap_or(0);
        (at(&self.earliest), at(&self.latest))
    }
}

/// The rules for one source.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub start: &'a Start,
    pub on_data_loss: OnDataLoss,
}

/// What has to be committed, without data, before a table's partitions can be read on. Empty: nothing.
///
/// `table` is for messages; `last`: the readable copy that a partition's next commit continues.
pub fn opening(
    rules: Rules<'_>,
    table: &str,
    standing: &Standing,
    extent: &Extent,
    last: impl Fn(&SourcePartition) -> Option<PartitionInfo>,
) -> Result<Vec<PartitionInfo>, EngineError> {
    if let Some(vanished) = standing.vanished.first() {
        return Err(EngineError::PartitionVanished { partition: vanished.id.clone() });
    }
    let mut infos = Vec::new();
    for (partition, position) in &standing.positions {
        let info = match position {
            Position::At(txn) => {
                let last = last(partition)
                    .unwrap_or_else(|| PartitionInfo::at(partition, txn.version, None));
                within(rules, partition, last, extent)?
            }
            Position::Adopt(txn) => Some(PartitionInfo::at(partition, txn.version, None)),
            Position::New => {
                let offset = if standing.first_run {
                    resolve(rules, &partition.id, extent)?
                } else {
                    extent.of(&partition.id).0
                };
                Some(PartitionInfo::at(partition, offset, None))
            }
            Position::Recreated { was, .. } => {
                Some(recreated(rules, table, partition, was, extent)?)
            }
        };
        infos.extend(info);
    }
    Ok(infos)
}

/// Where a partition starts that was never read, by the configuration.
fn resolve(rules: Rules<'_>, id: &TopicPartition, extent: &Extent) -> Result<i64, EngineError> {
    let (earliest, latest) = extent.of(id);
    match rules.start {
        Start::Earliest => Ok(earliest),
        Start::Latest => Ok(latest),
        Start::Timestamp(_) => Ok(extent.at_time.get(id).copied().unwrap_or(latest)),
        Start::Offsets(offsets) => {
            let given =
                offsets.get(&*id.topic).and_then(|partitions| partitions.get(&id.partition));
            match given {
                None => Ok(earliest),
                Some(offset) if (earliest..=latest).contains(offset) => Ok(*offset),
                Some(&offset) => {
                    let partition = id.clone();
                    Err(EngineError::StartOutOfRange { partition, offset, earliest, latest })
                }
            }
        }
    }
}

/// Whether the broker still has what comes next: `None` when it has.
fn within(
    rules: Rules<'_>,
    partition: &SourcePartition,
    last: PartitionInfo,
    extent: &Extent,
) -> Result<Option<PartitionInfo>, EngineError> {
    let (earliest, latest) = extent.of(&partition.id);
    let next = last.end;
    if next < earliest {
        refuse(rules, partition, next, earliest, "retention passed them")?;
        let gaps = next.abs_diff(earliest);
        return Ok(Some(last.next(earliest, Fates { gaps, ..Fates::default() })));
    }
    if next > latest {
        refuse(rules, partition, next, latest, "the log was truncated")?;
        let reset =
            Reset { from: Some(next), to: latest, reason: "the log was truncated".to_owned() };
        return Ok(Some(PartitionInfo::at(partition, latest, Some(reset))));
    }
    Ok(None)
}

/// Another id is another partition to the log: it begins anew, and nothing has to be joined to what was.
fn recreated(
    rules: Rules<'_>,
    table: &str,
    partition: &SourcePartition,
    was: &TopicId,
    extent: &Extent,
) -> Result<PartitionInfo, EngineError> {
    let topic = &partition.id.topic;
    if rules.on_data_loss == OnDataLoss::Fail {
        return Err(EngineError::Sink(SinkError::TopicRecreated {
            table: table.to_owned(),
            topic: topic.to_string(),
            was: was.to_string(),
            now: partition.topic_id.to_string(),
        }));
    }
    let (earliest, _) = extent.of(&partition.id);
    tracing::warn!(table, %topic, %was, "the topic was deleted and created anew: it is read from its beginning");
    Ok(PartitionInfo::at(partition, earliest, None))
}

fn refuse(
    rules: Rules<'_>,
    partition: &SourcePartition,
    from: i64,
    to: i64,
    reason: &'static str,
) -> Result<(), EngineError> {
    if rules.on_data_loss == OnDataLoss::Continue {
        tracing::warn!(partition = %partition.id, from, to, reason, "data loss, recorded in the table");
        return Ok(());
    }
    Err(EngineError::DataLoss { partition: partition.id.clone(), from, to, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Txn;

    const TXN: Txn = Txn { version: 100, last_updated: None };

    fn partition() -> SourcePartition {
        SourcePartition { id: TopicPartition::new("t", 0), topic_id: TopicId::new("id") }
    }

    /// What happens to one partition at `position` when the broker has `[earliest, latest)`.
    fn check(
        position: Position,
        first_run: bool,
        (earliest, latest): (i64, i64),
        start: &Start,
        on_data_loss: OnDataLoss,
    ) -> Result<Option<PartitionInfo>, String> {
        let id = partition();
        let extent = Extent {
            earliest: [(id.id.clone(), earliest)].into(),
            latest: [(id.id.clone(), latest)].into(),
            at_time: [(id.id.clone(), 77)].into(),
        };
        let standing =
            Standing { positions: [(id, position)].into(), vanished: Vec::new(), first_run };
        opening(Rules { start, on_data_loss }, "a table", &standing, &extent, |_| None)
            .map(|mut infos| infos.pop())
            .map_err(|error| error.code().to_owned())
    }

    fn offset(result: Result<Option<PartitionInfo>, String>) -> i64 {
        let info = result.expect("no error").expect("something to commit");
        assert_eq!(info.fates.total(), info.start.abs_diff(info.end));
        info.end
    }

    #[test]
    fn a_first_run_starts_as_configured() {
        let start = |start| offset(check(Position::New, true, (5, 90), &start, OnDataLoss::Fail));
        assert_eq!(start(Start::Earliest), 5);
        assert_eq!(start(Start::Latest), 90);
        assert_eq!(start(Start::Timestamp(1)), 77);
        assert_eq!(start(Start::Offsets([("t".into(), [(0, 42)].into())].into())), 42);
        assert_eq!(start(Start::Offsets([("t".into(), [(1, 42)].into())].into())), 5);
    }

    #[test]
    fn an_offset_that_the_broker_does_not_have_is_no_start() {
        let start = Start::Offsets([("t".into(), [(0, 91)].into())].into());
        let result = check(Position::New, true, (5, 90), &start, OnDataLoss::Fail);
        assert_eq!(result, Err("SL5003".into()));
    }

    #[test]
    fn a_partition_found_later_starts_at_its_beginning() {
        let result = check(Position::New, false, (5, 90), &Start::Latest, OnDataLoss::Fail);
        assert_eq!(offset(result), 5);
    }

    #[test]
    fn progress_goes_on_where_it_is() {
        let result = check(Position::At(TXN), false, (5, 900), &Start::Latest, OnDataLoss::Fail);
        assert_eq!(result, Ok(None));
        let result = check(Position::Adopt(TXN), false, (5, 900), &Start::Latest, OnDataLoss::Fail);
        assert_eq!(offset(result), 100);
    }

    #[test]
    fn what_the_broker_lost_is_refused_or_recorded() {
        for (code, extent, position) in [
            ("SL5002", (150, 900), Position::At(TXN)),
            ("SL5002", (0, 60), Position::At(TXN)),
            ("SL4010", (0, 900), Position::Recreated { was: TopicId::new("old"), next: Some(100) }),
        ] {
            let run = |policy| check(position.clone(), false, extent, &Start::Latest, policy);
            assert_eq!(run(OnDataLoss::Fail), Err(code.into()));
            let expected = if extent.1 < 100 { extent.1 } else { extent.0 };
            assert_eq!(offset(run(OnDataLoss::Continue)), expected);
        }
    }
}
