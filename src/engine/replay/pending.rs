//! Which dead letters an output has still to take: judged by it, not yet dealt with, and no rows of its table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures::TryStreamExt;

use super::decode::Outcome;
use super::{EngineError, Scope};
use crate::chunk::SourcePartition;
use crate::config::{Connector, Output};
use crate::offsets::OffsetRange;
use crate::sink::error::SinkError;
use crate::sink::history;
use crate::sink::judged::Judged;
use crate::sink::letters::{self, Index};
use crate::sink::log::TableLog;
use crate::sink::present;
use crate::sink::progress::{self, Owner};
use crate::sink::store::TableStore;

/// What is left to do, by partition.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<Arc<SourcePartition>, Queue>);

/// The dead letters of one partition, in their order.
#[derive(Debug)]
struct Queue {
    /// The next offset that no replay has dealt with.
    next: i64,
    /// Offsets, and bytes of key and value.
    letters: VecDeque<(i64, u64)>,
    /// Those that are rows of the table already.
    already: BTreeSet<i64>,
    /// One of them is still bad: those behind it are only looked at.
    stopped: bool,
}

/// A partition's part of a batch: never empty.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub partition: Arc<SourcePartition>,
    /// Where the range begins that it deals with.
    pub start: i64,
    pub offsets: Vec<i64>,
    pub already: BTreeSet<i64>,
    pub stopped: bool,
}

impl Slice {
    /// From its first dead letter to its last.
    pub fn span(&self) -> OffsetRange {
        let (first, last) = (self.offsets.first(), self.offsets.last());
        let (first, last) = first.zip(last).expect("a slice has dead letters");
        OffsetRange::new(*first, last + 1)
    }
}

impl Pending {
    /// The next dead letters, at most so many records and bytes, but one at least.
    pub fn next(&self, (mut records, mut bytes): (u64, u64)) -> Vec<Slice> {
        let mut slices: Vec<Slice> = Vec::new();
        for (partition, queue) in &self.0 {
            let mut offsets = Vec::new();
            for &(offset, size) in &queue.letters {
                let is_first = slices.is_empty() && offsets.is_empty();
                if !is_first && (records == 0 || bytes < size) {
                    break;
                }
                (records, bytes) = (records.saturating_sub(1), bytes.saturating_sub(size));
                offsets.push(offset);
            }
            if !offsets.is_empty() {
                slices.push(Slice {
                    partition: partition.clone(),
                    start: queue.next,
                    already: offsets
                        .iter()
                        .copied()
                        .filter(|o| queue.already.contains(o))
                        .collect(),
                    offsets,
                    stopped: queue.stopped,
                });
            }
        }
        slices
    }

    /// They have been looked at, and dealt with as far as `outcome` says.
    pub fn done(&mut self, slice: &Slice, outcome: &Outcome) {
        let queue = self.0.get_mut(&slice.partition).expect("slices are parts of it");
        queue.letters.drain(..slice.offsets.len());
        queue.stopped = outcome.stopped;
        if outcome.letters > 0 {
            queue.next = outcome.end;
        }
    }
}

/// The topics that an output takes and has progress of.
pub(super) fn topics(log: &TableLog, owner: &Owner, output: &Output) -> BTreeSet<String> {
    let topics = progress::of_owner(log, owner).map(|(of, _)| of.id.topic.to_string());
    topics.filter(|topic| output.takes(topic)).collect()
}

/// What there is to look through.
pub(super) struct Finding<'a> {
    pub spec: &'a Connector,
    pub label: &'a str,
    pub scope: &'a Scope,
    pub store: &'a TableStore,
    pub log: &'a TableLog,
}

impl Finding<'_> {
    pub async fn find(&self, letters: Option<&(TableStore, u64)>) -> Result<Pending, EngineError> {
        let Some((letters, version)) = letters else { return Ok(Pending::default()) };
        let next = self.progress();
        let partitions = next.keys().cloned().collect();
        let index = letters::index(letters, *version, partitions).await?;
        if index.is_empty() {
            return Ok(Pending::default());
        }
        let judged = self.judged().await?;
        let queues = self.queues(&next, &index, &judged);
        self.without_rows(queues, &index, &judged).await
    }

    /// The output's next offsets, of the topics in scope.
    fn progress(&self) -> BTreeMap<SourcePartition, i64> {
        let output = self.output();
        let wanted = |topic: &str| {
            output.takes(topic) && self.scope.topics.as_ref().is_none_or(|all| all.contains(topic))
        };
        progress::of_owner(self.log, &self.owner())
            .filter(|(of, _)| wanted(&of.id.topic))
            .map(|(of, txn)| (of, txn.version))
            .collect()
    }

    /// What the output's kept commits say of its dead letters.
    async fn judged(&self) -> Result<Judged, SinkError> {
        let mut judged = Judged::new(self.owner());
        let Some(kept) = history::kept_versions(self.store).await? else { return Ok(judged) };
        let first = (*kept.start()).min(self.log.version());
        let mut commits = std::pin::pin!(history::commits(self.store, first..=self.log.version()));
        while let Some(commit) = commits.try_next().await? {
            judged.take(&commit);
        }
        Ok(judged)
    }

    /// Dead letters that the output judged and no replay has dealt with.
    fn queues(
        &self,
        next: &BTreeMap<SourcePartition, i64>,
        index: &Index,
        judged: &Judged,
    ) -> BTreeMap<Arc<SourcePartition>, Queue> {
        let replay = Owner::replay(&self.spec.name, &self.output().name);
        let mut queues = BTreeMap::new();
        for (partition, letters) in index {
            let replayed = self.log.txn(&replay.app_id(partition)).map(|txn| txn.version);
            let end = next.get(partition).copied().unwrap_or(0);
            let from = replayed.or_else(|| judged.start(partition)).unwrap_or(0);
            let open: VecDeque<(i64, u64)> = letters
                .iter()
                .map(|(offset, bytes)| (*offset, *bytes))
                .filter(|(offset, _)| (from..end).contains(offset))
                .filter(|(offset, _)| judged.covers(partition, *offset))
                .collect();
            if !open.is_empty() {
                let (letters, already) = (open, BTreeSet::new());
                let queue = Queue { next: from, letters, already, stopped: false };
                queues.insert(Arc::new(partition.clone()), queue);
            }
        }
        queues
    }

    /// Tells which of them are rows already. That can be: another output, or this one when it read old offsets again, may
    /// have judged by another schema.
    async fn without_rows(
        &self,
        mut queues: BTreeMap<Arc<SourcePartition>, Queue>,
        index: &Index,
        judged: &Judged,
    ) -> Result<Pending, EngineError> {
        let all: Vec<_> = progress::of_owner(self.log, &self.owner()).map(|(of, _)| of).collect();
        let topics: BTreeSet<_> = all.iter().map(|of| &of.id.topic).collect();
        let mut sought = present::Offsets::new();
        for (partition, queue) in &queues {
            let offsets = queue.letters.iter().map(|(offset, _)| *offset);
            sought.entry(partition.id.clone()).or_default().extend(offsets);
        }
        let version = self.log.version();
        let found = present::among(self.store, version, sought, topics.len() == 1).await?;
        // With `txn`s that can expire, counts would prove again what was replayed long ago.
        let counts_tell = progress::txn_retention(self.log, self.store.table())?.is_none();
        for (partition, queue) in &mut queues {
            let offsets: BTreeSet<i64> = queue.letters.iter().map(|(offset, _)| *offset).collect();
            let doubtful = match &found {
                Some(found) => {
                    let rows = found.get(&partition.id).cloned().unwrap_or_default();
                    let rows: BTreeSet<i64> = rows.intersection(&offsets).copied().collect();
                    if all.iter().filter(|of| of.id == partition.id).count() == 1 {
                        queue.already = rows;
                        continue;
                    }
                    // Rows don't say which topic of that name they are of.
                    rows
                }
                None => offsets,
            };
            let certain = match counts_tell {
                true => judged.certain(partition, index[partition.as_ref()].keys()),
                false => BTreeSet::new(),
            };
            let doubtful = doubtful.difference(&certain).count();
            if doubtful > 0 {
                return Err(EngineError::ReplayUncertain {
                    output: self.label.to_owned(),
                    partition: partition.id.clone(),
                    letters: doubtful as u64,
                });
            }
        }
        Ok(Pending(queues))
    }

    fn output(&self) -> &Output {
        &self.spec.outputs[self.label]
    }

    fn owner(&self) -> Owner {
        Owner::output(&self.spec.name, &self.output().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::{Fates, TopicId, TopicPartition};

    fn partition(number: i32) -> Arc<SourcePartition> {
        let id = TopicPartition::new("t", number);
        Arc::new(SourcePartition { id, topic_id: TopicId::new("A") })
    }

    fn pending(queues: &[&[(i64, u64)]]) -> Pending {
        let queue = |letters: &&[(i64, u64)]| Queue {
            next: 0,
            letters: letters.iter().copied().collect(),
            already: BTreeSet::new(),
            stopped: false,
        };
        Pending((0..).map(partition).zip(queues.iter().map(queue)).collect())
    }

    fn offsets(pending: &Pending, limits: (u64, u64)) -> Vec<Vec<i64>> {
        pending.next(limits).into_iter().map(|slice| slice.offsets).collect()
    }

    #[test]
    fn a_batch_holds_as_many_as_the_limits_allow_but_one_at_least() {
        let two = pending(&[&[(3, 10), (5, 10), (9, 10)], &[(1, 10)]]);
        assert_eq!(offsets(&two, (100, 100)), [vec![3, 5, 9], vec![1]]);
        assert_eq!(offsets(&two, (2, 100)), [[3, 5]]);
        assert_eq!(offsets(&two, (100, 20)), [[3, 5]]);
        assert_eq!(offsets(&two, (0, 0)), [[3]]);
        assert_eq!(offsets(&pending(&[&[]]), (100, 100)), Vec::<Vec<i64>>::new());
    }

    #[test]
    fn what_is_done_does_not_come_again() {
        let mut one = pending(&[&[(3, 1), (5, 1), (9, 1)]]);
        let slice = one.next((2, 100)).remove(0);
        assert_eq!(slice.span(), OffsetRange::new(3, 6));
        let outcome = Outcome { end: 6, letters: 2, ..Outcome::default() };
        one.done(&slice, &outcome);
        let next = one.next((2, 100)).remove(0);
        assert_eq!((next.start, next.offsets.as_slice()), (6, &[9][..]));
        // Stopped before any of it: the range begins where it did.
        let fates = Fates::default();
        one.done(&next, &Outcome { end: 6, fates, stopped: true, ..Outcome::default() });
        assert!(one.next((2, 100)).is_empty());
    }
}
