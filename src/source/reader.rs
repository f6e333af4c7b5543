//! Reading planned ranges: exactly up to an offset per partition, no matter what is prefetched beyond it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::Closing;
use super::native::{Client, Entries, Entry, PartitionQueue, Wake};
use super::{SourceError, client};
use crate::chunk::{MAX_CHUNK_ROWS, SourcePartition};
use crate::config;
use crate::message::Message;
use crate::offsets::OffsetRange;

/// Entries taken from a queue at once.
const ENTRIES: usize = 1024;
/// A run ends at this payload, so that a chunk of large records stays small in memory.
const RUN_BYTES: u64 = 8 << 20;
/// How long to wait for the next signal before looking whether to stop.
const WAIT: Duration = Duration::from_millis(100);
/// Up to so many partitions are all fetched from at once. Whatever the limits, each of them holds a producer's batch and
/// what librdkafka keeps of its messages: some 2.5 MB where producers fill their batches.
const ALL_FETCHED: usize = 64;
/// Of more, each has its turn (docs/adr/0007).
const MOST_FETCHED: usize = 32;
/// Partitions that take turns together, as long as others are read meanwhile: a turn waits for the client's own threads,
/// for some milliseconds.
const TURN: usize = MOST_FETCHED / 4;
/// How long the brokers may take to say which partitions there are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Without any entry for this long, the engine should find out why.
const STALL: Duration = Duration::from_secs(30);

/// A partition and the offset that its range ends before.
#[derive(Debug, Clone)]
pub struct Target {
    pub partition: Arc<SourcePartition>,
    pub end: i64,
}

/// What a reader delivers: runs of records of one partition.
#[derive(Debug)]
pub enum Event<'a> {
    /// A run of this partition begins at this offset.
    Begin(&'a Arc<SourcePartition>, i64),
    Record(Message<'a>),
    /// The run covers all offsets before this one. At most [`MAX_CHUNK_ROWS`] records came.
    End(i64),
}

#[derive(Debug)]
pub enum ReadError<E> {
    Source(SourceError),
    /// The receiver of the events refused one.
    Receiver(E),
    /// Told to stop.
    Stopped,
}

/// The fields are in the order in which they must go: see [`Reader`].
struct Lane {
    partition: Arc<SourcePartition>,
    /// Taken from the queue, but beyond the last range's end.
    kept: Option<Entries>,
    queue: PartitionQueue,
    /// The next offset to deliver.
    position: i64,
    /// Otherwise paused, with nothing prefetched.
    fetched: bool,
}

/// Fetches assigned partitions; one thread uses it.
///
/// The fields are in the order in which they must go: closing a client waits for all entries taken from it, for ever
/// where they are let go only afterwards (a receiver that refused a record leaves some).
pub struct Reader {
    entries: Entries,
    lanes: BTreeMap<Arc<SourcePartition>, Lane>,
    client: Closing,
    wake: Arc<Wake>,
    want_headers: bool,
    brokers: String,
}

impl Reader {
    /// Starts to fetch each partition at its offset.
    pub fn assign(
        source: &config::Source,
        starts: &BTreeMap<Arc<SourcePartition>, i64>,
        want_headers: bool,
    ) -> Result<Self, SourceError> {
        let client = client::fetching(source, starts.len())?;
        let wake = Arc::new(Wake::default());
        let mut list = TopicPartitionList::with_capacity(starts.len());
        let mut lanes = BTreeMap::new();
        let fetched = starts.len() <= ALL_FETCHED;
        for (partition, &position) in starts {
            let failed =
                |code| SourceError::Partition { partition: partition.id.clone(), position, code };
            let queue = PartitionQueue::split(client.shared(), &partition.id, &wake)
                .ok_or_else(|| failed(RDKafkaErrorCode::UnknownPartition))?;
            list.add_partition_offset(
                &partition.id.topic,
                partition.id.partition,
                Offset::Offset(position),
            )
            .map_err(|_| failed(RDKafkaErrorCode::InvalidArgument))?;
            let partition = partition.clone();
            let lane = Lane { partition, queue, position, kept: None, fetched };
            lanes.insert(lane.partition.clone(), lane);
        }
        let brokers = source.brokers.join(",");
        if !fetched {
            pause_all(&client, &list).map_err(|error| unreachable(&brokers, &error))?;
        }
        client.assign(&list).map_err(|error| SourceError::Client {
            brokers: brokers.clone(),
            reason: error.to_string(),
        })?;
        let entries = Entries::with_capacity(ENTRIES);
        Ok(Self { entries, lanes, client, wake, want_headers, brokers })
    }

    /// Reads from each target's position up to its end, or until `max_bytes` of payload were delivered, whichever
    /// comes first; answers with the range that each partition's runs covered.
    ///
    /// # Errors
    /// After an error the positions are undefined: assign anew.
    ///
    /// # Panics
    /// When a target was not assigned.
    pub fn read<E>(
        &mut self,
        targets: &[Target],
        max_bytes: u64,
        stop: &AtomicBool,
        mut on_event: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<Vec<(Arc<SourcePartition>, OffsetRange)>, ReadError<E>> {
        let starts: Vec<i64> = targets.iter().map(|t| self.lanes[&t.partition].position).collect();
        let mut budget = max_bytes;
        let mut quiet_since = Instant::now();
        loop {
            self.take_turns(targets).map_err(ReadError::Source)?;
            let (mut open, mut moved) = (None, false);
            for target in targets {
                if stop.load(Ordering::Relaxed) {
                    return Err(ReadError::Stopped);
                }
                let lane = self.lanes.get_mut(&target.partition).expect("targets are assigned");
                if lane.position >= target.end || budget == 0 {
                    continue;
                }
                if lane.fetched {
                    let want_headers = self.want_headers;
                    let run = Run { end: target.end, budget: &mut budget, want_headers };
                    moved |= run.deliver(lane, &mut self.entries, &mut on_event)?;
                }
                if lane.position < target.end {
                    open = Some((lane.partition.clone(), lane.position, target.end));
                }
            }
            let Some(open) = open.filter(|_| budget > 0) else {
                break;
            };
            if moved {
                quiet_since = Instant::now();
            } else {
                self.wait(open, quiet_since).map_err(ReadError::Source)?;
            }
        }
        Ok(targets
            .iter()
            .zip(starts)
            .map(|(target, start)| {
                let end = self.lanes[&target.partition].position;
                (target.partition.clone(), OffsetRange::new(start, end))
            })
            .collect())
    }

    /// Begins to fetch from targets that are not at their end, as many as there may be at once, in the place of
    /// partitions that are.
    fn take_turns(&mut self, targets: &[Target]) -> Result<(), SourceError> {
        if self.lanes.len() <= ALL_FETCHED {
            return Ok(());
        }
        let is_open = |lane: &Lane, target: &Target| lane.position < target.end;
        let (mut waiting, mut busy) = (Vec::new(), BTreeSet::new());
        for target in targets.iter().filter(|t| is_open(&self.lanes[&t.partition], t)) {
            match self.lanes[&target.partition].fetched {
                true => drop(busy.insert(target.partition.clone())),
                false => waiting.push(target.partition.clone()),
            }
        }
        let free = MOST_FETCHED.saturating_sub(busy.len());
        if waiting.is_empty() || (free < TURN && !busy.is_empty()) {
            return Ok(());
        }
        waiting.truncate(free);
        let idle =
            self.lanes.values().filter(|lane| lane.fetched && !busy.contains(&lane.partition));
        let idle: Vec<_> = idle.map(|lane| lane.partition.clone()).collect();
        let room = free.saturating_sub(idle.len());
        let pause = &idle[..idle.len().min(waiting.len().saturating_sub(room))];
        if !pause.is_empty() {
            self.set_fetched(pause, false)?;
            for partition in pause {
                self.lanes[partition].let_go(&mut self.entries);
            }
        }
        self.set_fetched(&waiting, true)
    }

    fn set_fetched(
        &mut self,
        partitions: &[Arc<SourcePartition>],
        fetched: bool,
    ) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.id.topic, partition.id.partition);
            self.lanes.get_mut(partition).expect("a lane's own partition").fetched = fetched;
        }
        let done = if fetched { self.client.resume(&list) } else { self.client.pause(&list) };
        done.map_err(|error| unreachable(&self.brokers, &error))
    }

    /// Waits for any partition's next entry, and serves what the client says outside of partitions.
    fn wait(
        &self,
        (partition, position, end): (Arc<SourcePartition>, i64, i64),
        quiet_since: Instant,
    ) -> Result<(), SourceError> {
        while let Some(event) = self.client.poll(Duration::ZERO) {
            if let Err(error) = event {
                tracing::debug!(%error, "from the Kafka client");
            }
        }
        let waited = quiet_since.elapsed();
        if waited > STALL {
            let last_error = self.client.context().last_error();
            let partition = partition.id.clone();
            return Err(SourceError::Stalled { partition, position, end, waited, last_error });
        }
        self.wake.wait(WAIT);
        Ok(())
    }
}

impl Lane {
    /// Lets go what was prefetched before a pause: it is void, and would stay until somebody looks.
    fn let_go(&self, entries: &mut Entries) {
        self.queue.take(entries, 1);
        debug_assert_eq!(entries.len(), 0, "what is older than a pause is never delivered");
        entries.clear();
    }
}

/// Before partitions are assigned: later, each would have begun to fetch.
fn pause_all(client: &Client, partitions: &TopicPartitionList) -> KafkaResult<()> {
    // A partition of which the client knows nothing yet is passed over in silence.
    client.fetch_metadata(None, METADATA_TIMEOUT)?;
    client.pause(partitions)
}

fn unreachable(brokers: &str, error: &KafkaError) -> SourceError {
    let (brokers, reason) = (brokers.to_owned(), error.to_string());
    SourceError::Unreachable { brokers, action: "choose what to fetch", reason }
}

/// One run of one partition: what is there now, within the limits.
struct Run<'a> {
    end: i64,
    budget: &'a mut u64,
    want_headers: bool,
}

impl Run<'_> {
    /// Delivers a run unless nothing is there; whether the position moved.
    fn deliver<E>(
        self,
        lane: &mut Lane,
        entries: &mut Entries,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<bool, ReadError<E>> {
        let start = lane.position;
        let (mut records, mut bytes) = (0, 0);
        while lane.position < self.end
            && records < MAX_CHUNK_ROWS
            && bytes < RUN_BYTES.min(*self.budget)
        {
            match lane.kept.take() {
                Some(mut kept) => entries.append(&mut kept),
                None => lane.queue.take(entries, self.most(lane, records)),
            }
            if entries.len() == 0 {
                break;
            }
            let mut headers = Vec::new();
            for index in 0..entries.len() {
                let record = match entries.get(index) {
                    Entry::Record(record) => record,
                    Entry::EndOfPartition(offset) => {
                        if offset > lane.position {
                            begin(lane, start, records, on_event)?;
                            lane.position = offset.min(self.end);
                        }
                        continue;
                    }
                    Entry::Error(code) => return Err(ReadError::Source(failure(lane, code))),
                };
                if record.offset() >= self.end {
                    begin(lane, start, records, on_event)?;
                    lane.position = self.end;
                    lane.kept = Some(entries.split_off(index));
                    break;
                }
                begin(lane, start, records, on_event)?;
                let message = record.message(self.want_headers, &mut headers);
                on_event(Event::Record(message)).map_err(ReadError::Receiver)?;
                records += 1;
                bytes += record.payload_bytes() as u64;
                lane.position = record.offset() + 1;
            }
        }
        // The entries pin fetch buffers: let go before anything waits.
        entries.clear();
        *self.budget = self.budget.saturating_sub(bytes);
        if lane.position == start {
            return Ok(false);
        }
        on_event(Event::End(lane.position)).map_err(ReadError::Receiver)?;
        Ok(true)
    }

    /// No more entries than can still be within the range and the run: offsets only grow.
    fn most(&self, lane: &Lane, records: usize) -> usize {
        let to_end = usize::try_from(self.end - lane.position).unwrap_or(usize::MAX);
        to_end.min(MAX_CHUNK_ROWS - records).min(ENTRIES)
    }
}

/// Announces the run before the first thing that moves its position.
fn begin<E>(
    lane: &Lane,
    start: i64,
    records: usize,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), ReadError<E>> {
    if lane.position == start && records == 0 {
        on_event(Event::Begin(&lane.partition, start)).map_err(ReadError::Receiver)?;
    }
    Ok(())
}

fn failure(lane: &Lane, code: RDKafkaErrorCode) -> SourceError {
    let (partition, position) = (lane.partition.id.clone(), lane.position);
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
            SourceError::OffsetOutOfRange { partition, position }
        }
        code => SourceError::Partition { partition, position, code },
    }
}
