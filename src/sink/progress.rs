//! Progress in a table: which `txn` says what of which partition, whose it is, and whether it can be trusted.
//!
//! Owns the application ids `sluice/<connector>/<stream>/<topic>@<topic id>/<partition>` and the table property
//! `sluice.<connector>.<stream>`, which names every partition that was ever begun, so that a `txn` that expired is
//! not taken for a partition never read. Arithmetic on a [`TableLog`]: no I/O, and no decision about data loss.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::SinkError;
use super::log::{APP_PREFIX, TableLog};
use super::{Txn, interval};
use crate::chunk::SourcePartition;
use crate::offsets::{TopicId, TopicPartition};

/// How long Delta readers keep a `txn` that isn't written again.
pub const TXN_RETENTION: &str = "delta.setTransactionRetentionDuration";

/// A quarter of it must be longer than any pause between two commits of a healthy run.
const MIN_TXN_RETENTION: Duration = Duration::from_secs(60 * 60);

/// What the stream of an output's replays adds to its name.
const REPLAY: &str = ".replay";

/// What the stream of an output's late rows adds.
const LATE_ROWS: &str = ".late";

/// Whose progress it is: an output of a connector, or one of its side streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    connector: String,
    stream: String,
}

impl Owner {
    pub fn output(connector: &str, output: &str) -> Self {
        Self { connector: connector.to_owned(), stream: output.to_owned() }
    }

    /// The late rows of an output. No output's name has a dot.
    pub fn late_rows(connector: &str, output: &str) -> Self {
        Self { connector: connector.to_owned(), stream: format!("{output}{LATE_ROWS}") }
    }

    /// The dead letters of a connector.
    pub fn dead_letters(connector: &str) -> Self {
        Self { connector: connector.to_owned(), stream: ".dead".to_owned() }
    }

    /// The dead letters that became rows of an output after all.
    pub fn replay(connector: &str, output: &str) -> Self {
        Self { connector: connector.to_owned(), stream: format!("{output}{REPLAY}") }
    }

    pub fn is_late_rows(&self) -> bool {
        self.stream.ends_with(LATE_ROWS)
    }

    pub fn connector(&self) -> &str {
        &self.connector
    }

    /// The output's name, `<output>.late`, `<output>.replay` or `.dead`.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The `appId` of a partition's `txn`.
    pub fn app_id(&self, partition: &SourcePartition) -> String {
        let SourcePartition { id, topic_id } = partition;
        format!(
            "{APP_PREFIX}{}/{}/{}@{topic_id}/{}",
            self.connector, self.stream, id.topic, id.partition
        )
    }

    /// The `appId` of the `txn` that names the state object of an output with windows.
    pub fn state_id(&self) -> String {
        format!("{APP_PREFIX}{}/{}/state/0", self.connector, self.stream)
    }

    /// The table property that names the partitions begun.
    pub fn marker(&self) -> String {
        format!("sluice.{}.{}", self.connector, self.stream)
    }

    /// Whether a `txn` is this owner's.
    pub fn owns(&self, id: &AppId) -> bool {
        self.connector == id.connector && self.stream == id.stream
    }

    /// Side streams of one connector may share a table; an output shares with nobody but its own replays.
    fn lives_with(&self, id: &AppId) -> bool {
        let side = |stream: &str| stream.contains('.');
        let replays = |stream: &str, of: &str| stream.strip_suffix(REPLAY) == Some(of);
        self.connector == id.connector
            && (self.owns(id)
                || (side(&self.stream) && side(id.stream))
                || replays(id.stream, &self.stream)
                || replays(&self.stream, id.stream))
    }
}

/// An `appId` of sluice's, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppId<'a> {
    pub connector: &'a str,
    pub stream: &'a str,
    pub topic: &'a str,
    pub topic_id: &'a str,
    pub partition: i32,
}

impl<'a> AppId<'a> {
    /// `None` for other applications', and for those of sluice's that aren't a partition's progress.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (connector, rest) = text.strip_prefix(APP_PREFIX)?.split_once('/')?;
        let (stream, rest) = rest.split_once('/')?;
        // A topic's name holds neither `@` nor `/`; its id is base64 and may hold `/`.
        let (topic, rest) = rest.split_once('@')?;
        let (topic_id, partition) = rest.rsplit_once('/')?;
        let whole =
            !(connector.is_empty() || stream.is_empty() || topic.is_empty() || topic_id.is_empty());
        let partition = partition.parse().ok().filter(|number| *number >= 0)?;
        (whole && !topic.contains('/')).then_some(Self {
            connector,
            stream,
            topic,
            topic_id,
            partition,
        })
    }

    pub fn source_partition(&self) -> SourcePartition {
        SourcePartition {
            id: TopicPartition::new(self.topic, self.partition),
            topic_id: TopicId::new(self.topic_id),
        }
    }
}

/// A topic as the broker describes it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    /// Partitions `0..partitions`.
    pub partitions: i32,
}

/// What a table says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The next offset to read is `txn.version`.
    At(Txn),
    /// As `At`, but written under `@0`, from before the broker had topic ids: the next commit writes it under the id.
    Adopt(Txn),
    /// Never begun.
    New,
    /// Never begun under this id; the topic of that name had another one and was read up to `next` (not known when
    /// that progress has expired).
    Recreated { was: TopicId, next: Option<i64> },
}

/// How a table stands to the source: the truth that recovery starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Every partition that the broker has, under the id that its progress is written under.
    pub positions: BTreeMap<SourcePartition, Position>,
    /// Progress of partitions that the broker's topic (same id) no longer has.
    pub vanished: Vec<SourcePartition>,
    /// Nothing of this owner was ever committed: partitions begin at the configured start. Otherwise new ones
    /// begin at their beginning.
    pub first_run: bool,
}

impl Standing {
    /// Finds the progress of `owner` in a table.
    ///
    /// # Errors
    /// When the progress is somebody else's, was lost, or can't be assigned to the topics as they are.
    pub fn of(
        log: &TableLog,
        table: &str,
        owner: &Owner,
        topics: &BTreeMap<String, Topic>,
    ) -> Result<Self, SinkError> {
        let marker = Marker::of(log, table, owner)?;
        let mut standing =
            Self { positions: BTreeMap::new(), vanished: Vec::new(), first_run: marker.is_none() };
        let marker = marker.unwrap_or_default();
        for (name, topic) in topics {
            let held = Held::of(log, owner, name, &marker);
            if held.by_id.is_empty() {
                refuse_others(log, table, owner, name)?;
            }
            standing.first_run &= held.by_id.is_empty();
            standing.place(table, name, topic, &held)?;
        }
        marker.refuse_lost(table, owner, &standing.positions)?;
        Ok(standing)
    }

    /// The `txn`s that any batch of this owner rests on, as they are: [`super::Transaction::expected`].
    pub fn expected(&self, owner: &Owner) -> BTreeMap<String, Option<Txn>> {
        let mut expected = BTreeMap::new();
        for (partition, position) in &self.positions {
            let own = if let Position::At(txn) = position { Some(*txn) } else { None };
            expected.insert(owner.app_id(partition), own);
            if let Position::Adopt(txn) = position {
                let before = SourcePartition { topic_id: TopicId::unknown(), ..partition.clone() };
                expected.insert(owner.app_id(&before), Some(*txn));
            }
        }
        expected
    }

    fn place(
        &mut self,
        table: &str,
        name: &str,
        topic: &Topic,
        held: &Held,
    ) -> Result<(), SinkError> {
        let id = held.id_to_use(&topic.id).map_err(|ids| SinkError::TopicAmbiguous {
            table: table.to_owned(),
            topic: name.to_owned(),
            ids,
        })?;
        for number in 0..topic.partitions {
            let partition =
                SourcePartition { id: TopicPartition::new(name, number), topic_id: id.clone() };
            let position = held.position(&id, number);
            self.positions.insert(partition, position);
        }
        let kept = held.by_id.get(id.as_str()).into_iter().flatten();
        self.vanished.extend(kept.filter(|(number, _)| **number >= topic.partitions).map(
            |(number, _)| SourcePartition {
                id: TopicPartition::new(name, *number),
                topic_id: id.clone(),
            },
        ));
        Ok(())
    }
}

/// All progress of one owner on topics of one name: by topic id, then partition. `None`: begun, but the `txn` is gone.
struct Held {
    by_id: BTreeMap<String, BTreeMap<i32, Option<Txn>>>,
}

impl Held {
    fn of(log: &TableLog, owner: &Owner, topic: &str, marker: &Marker) -> Self {
        let mut by_id: BTreeMap<String, BTreeMap<i32, Option<Txn>>> = BTreeMap::new();
        for partition in marker.begun.iter().filter(|partition| &*partition.id.topic == topic) {
            let id = partition.topic_id.as_str().to_owned();
            by_id.entry(id).or_default().insert(partition.id.partition, None);
        }
        for (id, txn) in live(log).filter(|(id, _)| owner.owns(id) && id.topic == topic) {
            by_id.entry(id.topic_id.to_owned()).or_default().insert(id.partition, Some(txn));
        }
        Self { by_id }
    }

    /// The broker's id; where it gives none now but did before, the one known. `Err`: there are several.
    fn id_to_use(&self, now: &TopicId) -> Result<TopicId, String> {
        let real: Vec<&str> =
            self.by_id.keys().map(String::as_str).filter(|id| *id != "0").collect();
        match (now.is_unknown(), real.as_slice()) {
            (false, _) | (true, []) => Ok(now.clone()),
            (true, [one]) => Ok(TopicId::new(one)),
            (true, several) => Err(several.join(", ")),
        }
    }

    fn position(&self, id: &TopicId, partition: i32) -> Position {
        let under = |id: &str| {
            self.by_id.get(id).and_then(|partitions| partitions.get(&partition)).copied()
        };
        match under(id.as_str()) {
            Some(Some(txn)) => return Position::At(txn),
            // Begun and gone: the marker's check refuses it.
            Some(None) => return Position::New,
            None if self.by_id.contains_key(id.as_str()) => return Position::New,
            None => {}
        }
        // Nothing under this id at all. With `@0` alone the ids have only now appeared.
        let others: Vec<&String> = self.by_id.keys().filter(|other| *other != "0").collect();
        match (under("0"), others.as_slice()) {
            (Some(Some(txn)), []) => Position::Adopt(txn),
            (_, []) => Position::New,
            (_, others) => self.recreated(others, partition),
        }
    }

    /// The id that was read last, by the time of its `txn`s.
    fn recreated(&self, others: &[&String], partition: i32) -> Position {
        let last_read = |id: &&&String| {
            self.by_id[**id].values().flatten().filter_map(|txn| txn.last_updated).max()
        };
        let was = others.iter().max_by_key(last_read).expect("called with at least one other id");
        let next = self.by_id[*was].get(&partition).copied().flatten().map(|txn| txn.version);
        Position::Recreated { was: TopicId::new(was), next }
    }
}

/// All progress of one owner that stands, under whatever topic ids.
pub fn of_owner<'a>(
    log: &'a TableLog,
    owner: &'a Owner,
) -> impl Iterator<Item = (SourcePartition, Txn)> + 'a {
    live(log).filter(|(id, _)| owner.owns(id)).map(|(id, txn)| (id.source_partition(), txn))
}

/// Progress that stands. A negative version was given away (`sluice adopt`).
fn live(log: &TableLog) -> impl Iterator<Item = (AppId<'_>, Txn)> {
    log.txns()
        .iter()
        .filter_map(|(id, txn)| Some((AppId::parse(id)?, *txn)))
        .filter(|(_, txn)| txn.version >= 0)
}

fn refuse_others(log: &TableLog, table: &str, owner: &Owner, topic: &str) -> Result<(), SinkError> {
    match live(log).find(|(id, _)| id.topic == topic && !owner.lives_with(id)) {
        None => Ok(()),
        Some((other, _)) => Err(SinkError::OwnedByOther {
            table: table.to_owned(),
            topic: topic.to_owned(),
            connector: other.connector.to_owned(),
            output: other.stream.to_owned(),
        }),
    }
}

/// The partitions that were ever begun: the value of the table property [`Owner::marker`], JSON text such as
/// `{"orders@AbC":"0-3,5"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marker {
    begun: BTreeSet<SourcePartition>,
}

impl Marker {
    /// The marker in a table; `None`: never set.
    ///
    /// # Errors
    /// When the property isn't one that sluice wrote.
    pub fn of(log: &TableLog, table: &str, owner: &Owner) -> Result<Option<Self>, SinkError> {
        let property = owner.marker();
        let Some(text) = log.property(&property) else {
            return Ok(None);
        };
        let bad = |reason| SinkError::BadMarker {
            table: table.to_owned(),
            property: property.clone(),
            reason,
        };
        Self::parse(text).map(Some).map_err(bad)
    }

    /// Adds partitions; `None` when all were in it already.
    #[must_use]
    pub fn with<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a SourcePartition>,
    ) -> Option<Self> {
        let mut begun = self.begun.clone();
        begun.extend(partitions.into_iter().cloned());
        (begun != self.begun).then_some(Self { begun })
    }

    pub fn begun(&self) -> impl Iterator<Item = &SourcePartition> {
        self.begun.iter()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let topics: BTreeMap<String, String> =
            serde_json::from_str(text).map_err(|e| e.to_string())?;
        let mut begun = BTreeSet::new();
        for (topic, partitions) in &topics {
            let (name, id) =
                topic.split_once('@').ok_or_else(|| format!("`{topic}` has no topic id"))?;
            for range in partitions.split(',') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number =
                    |text: &str| text.parse::<i32>().map_err(|e| format!("`{range}`: {e}"));
                begun.extend((number(first)?..=number(last)?).map(|number| SourcePartition {
                    id: TopicPartition::new(name, number),
                    topic_id: TopicId::new(id),
                }));
            }
        }
        Ok(Self { begun })
    }

    /// The property's value.
    pub fn to_text(&self) -> String {
        let mut topics: BTreeMap<String, Vec<(i32, i32)>> = BTreeMap::new();
        for SourcePartition { id, topic_id } in &self.begun {
            let ranges = topics.entry(format!("{}@{topic_id}", id.topic)).or_default();
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == id.partition => *last = id.partition,
                _ => ranges.push((id.partition, id.partition)),
            }
        }
        let range = |(first, last): &(i32, i32)| {
            if first == last { format!("{first}") } else { format!("{first}-{last}") }
        };
        let texts = topics.into_iter().map(|(topic, ranges)| {
            let partitions = ranges.iter().map(range).collect::<Vec<_>>().join(",");
            (topic, serde_json::Value::String(partitions))
        });
        serde_json::Value::Object(texts.collect()).to_string()
    }

    /// A partition that was begun has a `txn`, or it would be read again from its start.
    fn refuse_lost(
        &self,
        table: &str,
        owner: &Owner,
        positions: &BTreeMap<SourcePartition, Position>,
    ) -> Result<(), SinkError> {
        let lost = |begun: &&SourcePartition| match positions.get(begun) {
            Some(position) => !matches!(position, Position::At(_)),
            None => false,
        };
        let lost_before_ids = |begun: &&SourcePartition| {
            begun.topic_id.is_unknown()
                && positions
                    .iter()
                    .any(|(p, position)| p.id == begun.id && *position == Position::New)
        };
        match self.begun.iter().find(|begun| lost(begun) || lost_before_ids(begun)) {
            None => Ok(()),
            Some(partition) => Err(SinkError::ProgressLost {
                table: table.to_owned(),
                partition: partition.id.to_string(),
                property: owner.marker(),
            }),
        }
    }
}

/// How long `txn`s live in this table; `None`: for ever.
///
/// # Errors
/// When the property can't be read, or is too short to live with.
pub fn txn_retention(log: &TableLog, table: &str) -> Result<Option<Duration>, SinkError> {
    let Some(value) = log.property(TXN_RETENTION) else {
        return Ok(None);
    };
    let refused = |reason| SinkError::TxnRetention {
        table: table.to_owned(),
        value: value.to_owned(),
        reason,
    };
    match interval::parse(value) {
        None => Err(refused("not an interval such as `interval 30 days`")),
        Some(retention) if retention < MIN_TXN_RETENTION => Err(refused("too short")),
        Some(retention) => Ok(Some(retention)),
    }
}

/// Of `app_ids`, the `txn`s that must be written again (with the same version) because a quarter of their life is over.
pub fn due<'a>(
    log: &TableLog,
    app_ids: impl IntoIterator<Item = &'a str>,
    retention: Duration,
    now_ms: i64,
) -> BTreeMap<String, i64> {
    let quarter_ms = i64::try_from(retention.as_millis() / 4).unwrap_or(i64::MAX);
    let is_old =
        |txn: &Txn| txn.last_updated.is_some_and(|at| now_ms.saturating_sub(at) >= quarter_ms);
    let found = app_ids.into_iter().filter_map(|id| Some((id, log.txn(id).filter(is_old)?)));
    found.map(|(id, txn)| (id.to_owned(), txn.version)).collect()
}

#[cfg(test)]
mod tests;
