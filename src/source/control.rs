//! Looking things up: topics, their ids and partitions, offsets. Publishing: the group's offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::Closing;
use super::native::{self, OffsetSpec, TopicInfo};
use super::{SourceError, client};
use crate::chunk::SourcePartition;
use crate::config::{self, Topics};
use crate::offsets::{TopicId, TopicPartition};

/// How long a look-up may take before it counts as a failure.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a partition may be without a leader that knows it; an orderly election takes a fraction of that.
const LEADER_TIMEOUT: Duration = Duration::from_secs(3);
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// Topics of the source that exist now, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog(pub BTreeMap<String, TopicEntry>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEntry {
    pub id: TopicId,
    /// Ascending.
    pub partitions: Vec<i32>,
}

impl Catalog {
    /// The topics' names.
    pub fn topics(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// Whether a topic that was here is gone by now, or has another id, or fewer partitions: what was read under its
    /// name may be anyone's.
    pub fn lost_by(&self, now: &Self) -> bool {
        let is_other = |was: &TopicEntry, is: &TopicEntry| {
            is.id != was.id || is.partitions.len() < was.partitions.len()
        };
        self.0.iter().any(|(name, was)| now.0.get(name).is_none_or(|is| is_other(was, is)))
    }

    /// All partitions, in order of topic and number.
    pub fn partitions(&self) -> impl Iterator<Item = SourcePartition> + '_ {
        self.0.iter().flat_map(|(topic, entry)| {
            entry.partitions.iter().map(|&partition| SourcePartition {
                id: TopicPartition::new(topic.as_str(), partition),
                topic_id: entry.id.clone(),
            })
        })
    }
}

/// The client for everything but fetching.
pub struct Control {
    client: Closing,
    source: config::Source,
    /// Ids of brokers that topics can be asked of; empty until needed, and after a failure.
    brokers: Mutex<Vec<i32>>,
}

impl Control {
    /// Makes the client; reaches out to nobody yet.
    pub fn connect(source: &config::Source) -> Result<Self, SourceError> {
        Ok(Self {
            client: client::control(source)?,
            source: source.clone(),
            brokers: Mutex::default(),
        })
    }

    /// The source's topics with their ids and partitions. A listed topic that isn't there is an error; with a
    /// pattern, no match at all is.
    pub fn discover(&self) -> Result<Catalog, SourceError> {
        let names = match &self.source.topics {
            Topics::List(names) => names.clone(),
            Topics::Pattern(pattern) => self.matching(pattern)?,
        };
        let mut catalog = Catalog::default();
        for (topic, info) in self.describe(&names)? {
            match info {
                Ok(info) => drop(catalog.0.insert(topic, entry(info))),
                Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                    // A match of a pattern may vanish between the two look-ups.
                    if matches!(self.source.topics, Topics::List(_)) {
                        return Err(SourceError::UnknownTopic { brokers: self.brokers(), topic });
                    }
                }
                Err(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    return Err(SourceError::NotAuthorized { topic, code });
                }
                Err(code) => return Err(SourceError::Topic { topic, code }),
            }
        }
        Ok(catalog)
    }

    /// One offset of each partition. A partition that has no answer is asked for again for a while: its leader may only
    /// just be made, as of a new topic, or move.
    pub fn offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let begun = Instant::now();
        loop {
            match self.offsets_now(partitions, spec) {
                Err(SourceError::Offsets { code, .. })
                    if code != RDKafkaErrorCode::TopicAuthorizationFailed
                        && begun.elapsed() < LEADER_TIMEOUT =>
                {
                    std::thread::sleep(LEADER_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// Where each partition ends, transactions that are still open included.
    pub fn high_watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        self.answers(partitions, OffsetSpec::Latest, false)
    }

    fn offsets_now(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        self.answers(partitions, spec, client::read_committed(&self.source))
    }

    fn answers(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        read_committed: bool,
    ) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        native::list_offsets(&self.client, partitions, spec, read_committed, LOOKUP_TIMEOUT)
            .map_err(|code| self.unreachable("look offsets up", code))?
            .into_iter()
            .map(|(partition, offset)| match offset {
                // No offset and no error, as from a broker that is just losing the partition. Of a time it is an answer.
                Ok(offset) if offset < 0 && !matches!(spec, OffsetSpec::Timestamp(_)) => {
                    let code = RDKafkaErrorCode::LeaderNotAvailable;
                    Err(SourceError::Offsets { partition, code })
                }
                Ok(offset) => Ok((partition, offset)),
                Err(code) => Err(SourceError::Offsets { partition, code }),
            })
            .collect()
    }

    /// Publishes the next offsets under the consumer group, so that lag tools see them. A hint: sent, not waited
    /// for, and a failure is only logged.
    pub fn publish(&self, next: &BTreeMap<TopicPartition, i64>) {
        if self.source.group_id.is_none() || next.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(next.len());
        for (id, &offset) in next {
            if list.add_partition_offset(&id.topic, id.partition, Offset::Offset(offset)).is_err() {
                return;
            }
        }
        if let Err(error) = self.client.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "the consumer group's offsets were not published");
        }
        // Serves the answer's callback; nothing else arrives here.
        while self.client.poll(Duration::ZERO).is_some() {}
    }

    fn matching(&self, pattern: &regex::Regex) -> Result<Vec<String>, SourceError> {
        let metadata = self.metadata("list topics")?;
        let names: Vec<String> = metadata
            .topics()
            .iter()
            .map(rdkafka::metadata::MetadataTopic::name)
            .filter(|name| !name.starts_with("__") && is_whole_match(pattern, name))
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            let pattern = pattern.as_str().to_owned();
            return Err(SourceError::NoTopicMatches { brokers: self.brokers(), pattern });
        }
        Ok(names)
    }

    fn describe(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Result<TopicInfo, RDKafkaErrorCode>>, SourceError> {
        let broker = self.any_broker()?;
        native::describe_topics(&self.client, broker, names, LOOKUP_TIMEOUT).map_err(|code| {
            self.known_brokers().clear();
            self.unreachable("describe topics", code)
        })
    }

    fn any_broker(&self) -> Result<i32, SourceError> {
        let mut known = self.known_brokers();
        if known.is_empty() {
            let metadata = self.metadata("list brokers")?;
            known.extend(metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id));
        }
        fastrand::choice(known.iter().copied())
            .ok_or_else(|| self.unreachable("list brokers", RDKafkaErrorCode::BrokerNotAvailable))
    }

    fn known_brokers(&self) -> MutexGuard<'_, Vec<i32>> {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata(&self, action: &'static str) -> Result<Metadata, SourceError> {
        self.client.fetch_metadata(None, LOOKUP_TIMEOUT).map_err(|error| {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            self.unreachable(action, code)
        })
    }

    fn unreachable(&self, action: &'static str, code: RDKafkaErrorCode) -> SourceError {
        // Errors that happened outside of a call are queued; serving them updates the last one.
        while self.client.poll(Duration::ZERO).is_some() {}
        let reason = self.client.context().last_error().unwrap_or_else(|| code.to_string());
        SourceError::Unreachable { brokers: self.brokers(), action, reason }
    }

    fn brokers(&self) -> String {
        self.source.brokers.join(",")
    }
}

fn entry(info: TopicInfo) -> TopicEntry {
    let mut partitions = info.partitions;
    partitions.sort_unstable();
    TopicEntry { id: info.id.map_or_else(TopicId::unknown, |id| TopicId::new(&id)), partitions }
}

fn is_whole_match(pattern: &regex::Regex, name: &str) -> bool {
    pattern.find(name).is_some_and(|found| found.range() == (0..name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let pattern = regex::Regex::new("orders.*").expect("a pattern");
        assert!(is_whole_match(&pattern, "orders-eu"));
        assert!(!is_whole_match(&pattern, "old-orders"));
    }
}
