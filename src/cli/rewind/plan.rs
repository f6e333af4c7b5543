//! What a rewind would do, partition by partition, before anything is done.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use serde::Serialize;

use super::target::{Offset, To};
use crate::chunk::SourcePartition;
use crate::cli::find::FoundTable;
use crate::cli::text::{Align, columns, count, number};
use crate::engine::EngineError;
use crate::engine::view::View;
use crate::offsets::TopicPartition;
use crate::sink::error::SinkError;
use crate::sink::history;
use crate::sink::log::TableLog;
use crate::sink::progress::{self, AppId, Marker};
use crate::sink::state::StateVersion;

/// Why there is no plan.
#[derive(Debug)]
pub enum Refusal {
    /// What was asked for makes no sense here.
    Usage(String),
    Engine(EngineError),
}

impl<E: Into<EngineError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

/// One partition's move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Move {
    topic: String,
    topic_id: String,
    partition: i32,
    /// `None`: its progress was lost, or it has none yet.
    from: Option<i64>,
    to: i64,
    #[serde(skip)]
    of: SourcePartition,
}

impl Move {
    fn again(&self) -> u64 {
        self.from.map_or(0, |from| (from - self.to).max(0).unsigned_abs())
    }

    fn passed_over(&self) -> u64 {
        self.from.map_or(0, |from| (self.to - from).max(0).unsigned_abs())
    }
}

/// All moves, and what they come to.
#[derive(Debug, Serialize)]
pub struct Plan {
    output: String,
    table: String,
    /// The version that the plan was made on.
    table_version: u64,
    partitions: Vec<Move>,
    records_again: u64,
    records_passed_over: u64,
    /// A RESTORE that this rewind answers.
    restored_by_version: Option<u64>,
    /// The epoch whose state is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_given_up: Option<u64>,
}

impl Plan {
    pub fn targets(&self) -> BTreeMap<SourcePartition, i64> {
        self.partitions.iter().map(|each| (each.of.clone(), each.to)).collect()
    }

    pub fn resets_state(&self) -> bool {
        self.state_given_up.is_some()
    }

    pub fn lines(&self) -> Vec<String> {
        let known = |offset: Option<i64>| offset.map_or("-".to_owned(), number);
        let mut rows = vec![["  partition", "from", "to", "again"].map(str::to_owned).to_vec()];
        rows.extend(self.partitions.iter().map(|each| {
            let name = format!("  {}", each.of.id);
            vec![name, known(each.from), number(each.to), number(each.again())]
        }));
        let mut lines =
            vec![format!("{}: {}, version {}", self.output, self.table, self.table_version)];
        lines.extend(columns(&[Align::Left, Align::Right, Align::Right, Align::Right], &rows));
        lines.extend(self.consequences());
        lines
    }

    fn consequences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let again = count(self.records_again, "record");
        match (self.records_again, self.restored_by_version) {
            (0, None) => lines.push("No record will be read again.".to_owned()),
            (0, Some(version)) => lines.push(format!(
                "No record will be read again: what version {version} (a RESTORE) took out stays out."
            )),
            (_, None) => lines.push(format!(
                "{again} will be read again (fewer where Kafka has holes). The rows that are there stay: those \
                 records will be in the table twice."
            )),
            (_, Some(version)) => lines.push(format!(
                "{again} will be read again (fewer where Kafka has holes). Version {version} (a RESTORE) took rows \
                 out; those of these records that it left will be in the table twice."
            )),
        }
        if let Some(epoch) = self.state_given_up {
            lines.push(format!(
                "The state of epoch {epoch} is given up: windows that are open lose what they had, those of records \
                 that are read again begin anew. With `emit: changes`, delete the rows of windows that were open (see \
                 `windows.watermark` in the last commit) before you start again."
            ));
        }
        if self.records_passed_over > 0 {
            let passed = count(self.records_passed_over, "record");
            lines.push(format!("{passed} will not be read: they lie before the new offsets."));
        }
        lines
    }
}

/// What a plan is made from.
pub struct Planned<'a> {
    pub table: &'a FoundTable,
    pub log: &'a TableLog,
    /// `None`: Kafka can't be reached, or isn't needed.
    pub view: Option<&'a View>,
    /// The output's topics; `None`: all.
    pub topics: Option<&'a [String]>,
    pub reset_state: bool,
}

impl Planned<'_> {
    pub async fn plan(&self, to: &To) -> Result<Plan, Refusal> {
        let state_given_up = self.state_given_up(to)?;
        let held = self.held()?;
        let targets = match to {
            To::Offsets(offsets) => self.offsets(offsets, &held)?,
            To::Earliest => self.everywhere(&held, |id| Some(self.view?.bounds(id)?.0)),
            To::Time(ms) => self.at_time(*ms, &held).await?,
            To::Version(version) => self.version(*version, &held).await?,
            To::Here | To::Same => here(&held)?,
        };
        if targets.is_empty() {
            return Err(Refusal::Usage(format!(
                "{}: there is no progress to rewind",
                self.table.name
            )));
        }
        let (store, owner) = (&self.table.store, &self.table.owner);
        let partitions: Vec<Move> = targets
            .into_iter()
            .map(|(of, to)| Move {
                topic: of.id.topic.to_string(),
                topic_id: of.topic_id.to_string(),
                partition: of.id.partition,
                from: held.get(&of).copied().flatten(),
                to,
                of,
            })
            .collect();
        Ok(Plan {
            output: self.table.name.clone(),
            table: store.table().to_owned(),
            table_version: self.log.version(),
            records_again: partitions.iter().map(Move::again).sum(),
            records_passed_over: partitions.iter().map(Move::passed_over).sum(),
            partitions,
            state_given_up,
            restored_by_version: history::unanswered_restore(store, self.log, owner).await?,
        })
    }

    /// State goes with the offsets that it was built from: it can't stay when they are moved.
    fn state_given_up(&self, to: &To) -> Result<Option<u64>, Refusal> {
        let name = &self.table.name;
        let state = self.log.txn(&self.table.owner.state_id());
        let state = state.map(|txn| StateVersion(txn.version)).filter(|state| !state.is_given_up());
        match (state, self.reset_state) {
            (None, false) => Ok(None),
            (None, true) => Err(Refusal::Usage(format!("{name}: there is no state to give up"))),
            (Some(state), true) => Ok(Some(state.epoch())),
            (Some(_), false) if *to == To::Here => Ok(None),
            (Some(_), false) => Err(Refusal::Usage(format!(
                "{name}: its windows have state, which goes with its offsets: add --reset-state to give it up"
            ))),
        }
    }

    /// Every partition that was begun; `None`: its progress was lost.
    fn held(&self) -> Result<BTreeMap<SourcePartition, Option<i64>>, SinkError> {
        let (log, owner) = (self.log, &self.table.owner);
        let marker = Marker::of(log, self.table.store.table(), owner)?.unwrap_or_default();
        let begun = marker.begun().map(|partition| (partition.clone(), None));
        let mut held: BTreeMap<_, _> = begun.collect();
        held.extend(progress::of_owner(log, owner).map(|(id, txn)| (id, Some(txn.version))));
        Ok(held)
    }

    fn offsets(
        &self,
        offsets: &[Offset],
        held: &BTreeMap<SourcePartition, Option<i64>>,
    ) -> Result<BTreeMap<SourcePartition, i64>, Refusal> {
        let mut targets = BTreeMap::new();
        for Offset { partition, offset } in offsets {
            let Some(of) = self.of(partition, held) else {
                let why = match self.view {
                    Some(_) => "neither Kafka nor the table has such a partition",
                    None => "the table has no progress of it, and Kafka can't be asked",
                };
                return Err(Refusal::Usage(format!("{partition}: {why}")));
            };
            let bounds = self.view.and_then(|view| view.bounds(partition));
            if let Some((earliest, latest)) = bounds
                && !(earliest..=latest).contains(offset)
            {
                return Err(Refusal::Usage(format!(
                    "{partition}: offset {offset} is not there, Kafka has {earliest} to {latest}"
                )));
            }
            if targets.insert(of, *offset).is_some() {
                return Err(Refusal::Usage(format!("{partition} is named twice")));
            }
        }
        Ok(targets)
    }

    /// The id to write a partition's progress under: the broker's, else the one that was written last.
    fn of(
        &self,
        id: &TopicPartition,
        held: &BTreeMap<SourcePartition, Option<i64>>,
    ) -> Option<SourcePartition> {
        let now = self.view.and_then(|view| view.catalog.partitions().find(|p| p.id == *id));
        if let Some(now) = now.filter(|now| !now.topic_id.is_unknown()) {
            return Some(now);
        }
        let updated = |partition: &&SourcePartition| {
            let txn = self.log.txn(&self.table.owner.app_id(partition));
            (!partition.topic_id.is_unknown(), txn.and_then(|txn| txn.last_updated))
        };
        let known = held.keys().filter(|partition| partition.id == *id).max_by_key(updated);
        let fallback = self.view.and_then(|view| view.catalog.partitions().find(|p| p.id == *id));
        known.cloned().or(fallback)
    }

    /// Every partition that Kafka has for this output.
    fn everywhere(
        &self,
        held: &BTreeMap<SourcePartition, Option<i64>>,
        to: impl Fn(&TopicPartition) -> Option<i64>,
    ) -> BTreeMap<SourcePartition, i64> {
        let partitions = self.view.into_iter().flat_map(|view| view.catalog.partitions());
        let wanted = partitions
            .filter(|p| self.topics.is_none_or(|topics| topics.iter().any(|t| **t == *p.id.topic)));
        wanted.filter_map(|p| Some((self.of(&p.id, held)?, to(&p.id)?))).collect()
    }

    /// Partitions without a record that is this young go on at their end.
    async fn at_time(
        &self,
        ms: i64,
        held: &BTreeMap<SourcePartition, Option<i64>>,
    ) -> Result<BTreeMap<SourcePartition, i64>, Refusal> {
        let Some(view) = self.view else {
            return Ok(BTreeMap::new());
        };
        let found = view.at_time(ms).await?;
        Ok(self.everywhere(held, |id| found.get(id).copied().or_else(|| Some(view.bounds(id)?.1))))
    }

    /// The progress that the kept log tells of a version. A partition begun later goes back to where it began.
    async fn version(
        &self,
        version: u64,
        held: &BTreeMap<SourcePartition, Option<i64>>,
    ) -> Result<BTreeMap<SourcePartition, i64>, Refusal> {
        let kept = history::kept_versions(&self.table.store).await?;
        let (first, last) = kept.map_or((1, 0), |kept| (*kept.start(), self.log.version()));
        if !(first..=last).contains(&version) {
            return Err(Refusal::Usage(format!(
                "version {version} is not in the kept log, which has versions {first} to {last}"
            )));
        }
        let mut then = BTreeMap::new();
        let mut began = BTreeMap::new();
        let commits = history::commits(&self.table.store, first..=last);
        let mut commits = std::pin::pin!(commits);
        while let Some(commit) = commits.try_next().await? {
            let owner = &self.table.owner;
            let ours = commit.txns.iter().filter_map(|(id, txn)| Some((AppId::parse(id)?, txn)));
            for (id, txn) in ours.filter(|(id, _)| owner.owns(id)) {
                let of = id.source_partition();
                if commit.version <= version {
                    then.insert(of, txn.version);
                } else if !then.contains_key(&of) {
                    let starts = commit.info.iter().flat_map(|info| &info.partitions);
                    let mut start = starts.filter(|p| p.source_partition() == of).map(|p| p.start);
                    let start = start.next_back().unwrap_or(txn.version);
                    began.entry(of).or_insert(start);
                }
            }
        }
        // Below a cleaned log nothing tells whether a partition stood still or wasn't begun.
        let silent = held.keys().find(|of| !then.contains_key(*of));
        if let Some(of) = silent.filter(|_| first > 0) {
            return Err(Refusal::Usage(format!(
                "the kept log (from version {first}) doesn't tell where {} was in version {version}: use --to-offsets",
                of.id
            )));
        }
        then.extend(began);
        then.retain(|of, _| held.contains_key(of));
        Ok(then)
    }
}

fn here(
    held: &BTreeMap<SourcePartition, Option<i64>>,
) -> Result<BTreeMap<SourcePartition, i64>, Refusal> {
    let position = |(of, at): (&SourcePartition, &Option<i64>)| match at {
        Some(at) => Ok((of.clone(), *at)),
        None => Err(Refusal::Usage(format!(
            "the progress of {} was lost, and nothing tells where to go on: use --to-offsets",
            of.id
        ))),
    };
    held.iter().map(position).collect()
}
