//! What a commit keeps of windows: one object of bytes per epoch, from which they are restored.
//!
//! An object holds the watermarks, the decisions of its epoch, what the epoch changed, and a snapshot of a few key groups as
//! they are after it. Groups take turns, so that the newest [`CHAIN`] objects hold all of the state, however long an output
//! has run, and no epoch writes more than its share of it. Which objects these are stands in the newest one.
//!
//! Layout: magic, length of the header, header (JSON), body (zstd), SHA-256 of all that. The body is a list of entries
//! for the changes and one for each group of the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zstd::stream::write::Encoder;

use super::error::WindowError;
use super::keys::KEY_GROUPS;
use super::state::{Changes, Size, State};
use super::watermark::{Decisions, Micros, PartitionWatermark, Watermarks};
use crate::chunk::SourcePartition;
use crate::offsets::{TopicId, TopicPartition};

/// Objects that state is restored from, at most: each holds this part of the key groups.
pub const CHAIN: usize = 64;
const GROUPS_EACH: usize = KEY_GROUPS / CHAIN;

const MAGIC: &[u8; 8] = b"sluiceS\x01";
const DIGEST: usize = 32;
/// Fast: state is written at each commit and hardly ever read.
const LEVEL: i32 = 1;

/// What an epoch leaves, as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct ToStore<'a> {
    pub epoch: u64,
    /// The epoch that began with nothing.
    pub begun: u64,
    /// What gives the state its meaning, part by part.
    pub meaning: &'a BTreeMap<String, String>,
    pub decisions: &'a Decisions,
    /// The versions of the objects before, oldest first.
    pub before: &'a [i64],
    /// What whoever writes the rows of open windows keeps with the state.
    pub rest: &'a Value,
}

/// What an object says of its epoch, but for entries.
#[derive(Debug)]
pub struct Stored {
    pub epoch: u64,
    pub begun: u64,
    pub meaning: BTreeMap<String, String>,
    /// The versions of the objects before that are needed beside this one, oldest first.
    pub before: Vec<i64>,
    pub watermarks: Watermarks,
    pub decisions: Decisions,
    pub rest: Value,
}

/// State on its way back out of a chain's objects, of which one at a time is in memory.
#[derive(Debug)]
pub struct Restoring {
    state: State,
    next: Option<u64>,
    /// The chain begins with the first epoch: its changes are all there is.
    from_nothing: bool,
    /// Key groups that are what they were after the last object; of others, the snapshot is still to come.
    whole: BTreeSet<u8>,
    size: Size,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    epoch: u64,
    begun: u64,
    meaning: BTreeMap<String, String>,
    before: Vec<i64>,
    /// W, in microseconds since 1970.
    watermark: Option<Micros>,
    partitions: Vec<Partition>,
    joined: Vec<Name>,
    left: Vec<Name>,
    idle: Vec<Name>,
    back: Vec<Name>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    rest: Value,
    /// Rows that expire up to then are gone.
    expired: Option<Micros>,
    /// Of the state after this epoch.
    size: Size,
    /// Of the body, before it was compressed.
    body_bytes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Partition {
    #[serde(flatten)]
    name: Name,
    watermark: Option<Micros>,
    idle: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Name {
    topic: String,
    topic_id: String,
    partition: i32,
}

/// The object of an epoch that leaves `watermarks`, and `changes` over `state`.
pub(super) fn encode(
    to_store: ToStore<'_>,
    watermarks: &Watermarks,
    state: &State,
    changes: &Changes,
) -> Result<Vec<u8>, WindowError> {
    let ToStore { epoch, begun, meaning, decisions, before, rest } = to_store;
    let failed = |error: std::io::Error| WindowError::Encoding(error.to_string());
    let mut body = Body::begin().map_err(failed)?;
    let changed = changes.entries.iter();
    body.list(changes.entries.len(), changed.map(|(key, value)| (&**key, value.as_deref())))
        .map_err(failed)?;
    for group in groups_of(epoch) {
        let entries = state.group_after(group, changes)?;
        let all = entries.iter().map(|(key, value)| (&**key, Some(&**value)));
        body.list(entries.len(), all).map_err(failed)?;
    }
    let (body, body_bytes) = body.finish().map_err(failed)?;
    let partitions = watermarks.partitions().iter().map(|(partition, known)| Partition {
        name: Name::of(partition),
        watermark: known.watermark,
        idle: known.idle,
    });
    let names = |partitions: &std::collections::BTreeSet<SourcePartition>| {
        partitions.iter().map(Name::of).collect()
    };
    let header = Header {
        epoch,
        begun,
        meaning: meaning.clone(),
        before: before[before.len().saturating_sub(CHAIN - 1)..].to_vec(),
        watermark: watermarks.overall(),
        partitions: partitions.collect(),
        joined: names(&decisions.joined),
        left: names(&decisions.left),
        idle: names(&decisions.idle),
        back: names(&decisions.back),
        rest: rest.clone(),
        expired: changes.expired,
        size: state.size_after(changes),
        body_bytes,
    };
    let header = serde_json::to_vec(&header).map_err(|error| failed(error.into()))?;
    let length =
        u32::try_from(header.len()).map_err(|error| failed(std::io::Error::other(error)))?;
    let mut object = [MAGIC, &length.to_le_bytes()[..], &header].concat();
    object.extend(body);
    let digest = Sha256::digest(&object);
    object.extend(digest);
    Ok(object)
}

/// A body as it is compressed, since it may be as large as all that a batch changes.
struct Body {
    compressed: Encoder<'static, Vec<u8>>,
    /// What comes next of it.
    buffer: Vec<u8>,
    bytes: usize,
}

impl Body {
    const BUFFER: usize = 1 << 16;

    fn begin() -> io::Result<Self> {
        let compressed = Encoder::new(Vec::new(), LEVEL)?;
        Ok(Self { compressed, buffer: Vec::with_capacity(2 * Self::BUFFER), bytes: 0 })
    }

    fn list<'b>(
        &mut self,
        length: usize,
        entries: impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)>,
    ) -> io::Result<()> {
        put_number(length, &mut self.buffer);
        for (key, value) in entries {
            put_entry(key, value, &mut self.buffer);
            if self.buffer.len() >= Self::BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.bytes += self.buffer.len();
        self.compressed.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// What it is compressed, and how long it was before.
    fn finish(mut self) -> io::Result<(Vec<u8>, usize)> {
        self.flush()?;
        Ok((self.compressed.finish()?, self.bytes))
    }
}

/// The header and the compressed body of an object; `None`: it isn't whole, or none of ours.
fn open(object: &[u8]) -> Option<(Header, &[u8])> {
    let (content, digest) = object.split_last_chunk::<DIGEST>()?;
    if Sha256::digest(content).as_slice() != digest {
        return None;
    }
    let rest = content.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (header, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((serde_json::from_slice(header).ok()?, body))
}

impl Stored {
    /// `None`: it isn't whole, or none of ours.
    pub fn decode(object: &[u8]) -> Option<Self> {
        let (header, _) = open(object)?;
        Some(Self {
            epoch: header.epoch,
            begun: header.begun,
            watermarks: Watermarks::restored(
                header.watermark,
                header.partitions.iter().map(Partition::read).collect(),
            ),
            decisions: Decisions {
                joined: header.joined.iter().map(Name::read).collect(),
                left: header.left.iter().map(Name::read).collect(),
                idle: header.idle.iter().map(Name::read).collect(),
                back: header.back.iter().map(Name::read).collect(),
            },
            meaning: header.meaning,
            rest: header.rest,
            before: header.before,
        })
    }
}

impl Restoring {
    /// `state` is empty.
    pub fn new(state: State) -> Self {
        Self {
            state,
            next: None,
            from_nothing: false,
            whole: BTreeSet::new(),
            size: Size::default(),
        }
    }

    /// Adds the next object, the oldest of the chain first.
    ///
    /// # Errors
    /// [`WindowError::Corrupt`]: it is damaged, or not the next.
    pub fn add(&mut self, object: &[u8]) -> Result<(), WindowError> {
        let (header, body) = open(object).ok_or(WindowError::Corrupt)?;
        match self.next {
            None => self.from_nothing = header.epoch == header.begun,
            Some(next) if next == header.epoch => {}
            Some(_) => return Err(WindowError::Corrupt),
        }
        self.next = Some(header.epoch + 1);
        self.size = header.size;
        let body = zstd::bulk::decompress(body, header.body_bytes);
        let body = body.map_err(|_| WindowError::Corrupt)?;
        let mut body = body.as_slice();

        let mut changes = Entries::begin(&mut body).ok_or(WindowError::Corrupt)?;
        let known = |(key, _): &(&[u8], _)| self.from_nothing || self.whole.contains(&key[0]);
        self.state.load(changes.by_ref().filter(known))?;
        changes.end()?;
        self.state.expire(header.expired)?;
        for group in groups_of(header.epoch) {
            let mut snapshot = Entries::begin(&mut body).ok_or(WindowError::Corrupt)?;
            let wanted = !self.from_nothing && self.whole.insert(group);
            self.state.load(snapshot.by_ref().filter(|_| wanted))?;
            snapshot.end()?;
        }
        if body.is_empty() { Ok(()) } else { Err(WindowError::Corrupt) }
    }

    /// The state after the last object; `None`: it wasn't a whole chain.
    pub fn finish(mut self) -> Option<State> {
        let whole = self.from_nothing || self.whole.len() == KEY_GROUPS;
        self.state.set_size(self.size);
        whole.then_some(self.state)
    }
}

/// A list of entries at the beginning of a body; what is read of it is taken off the body.
struct Entries<'a, 'b> {
    left: usize,
    body: &'b mut &'a [u8],
    broken: bool,
}

impl<'a, 'b> Entries<'a, 'b> {
    fn begin(body: &'b mut &'a [u8]) -> Option<Self> {
        Some(Self { left: take_number(body)?, body, broken: false })
    }

    fn end(self) -> Result<(), WindowError> {
        if self.broken { Err(WindowError::Corrupt) } else { Ok(()) }
    }
}

impl<'a> Iterator for Entries<'a, '_> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = take_entry(self.body);
        self.broken |= entry.is_none();
        entry
    }
}

/// The key groups that an epoch takes a snapshot of.
fn groups_of(epoch: u64) -> impl Iterator<Item = u8> {
    let first = (epoch % CHAIN as u64) as usize * GROUPS_EACH;
    (first..first + GROUPS_EACH).map(|group| group as u8)
}

impl Partition {
    fn read(&self) -> (SourcePartition, PartitionWatermark) {
        let watermark = PartitionWatermark { watermark: self.watermark, idle: self.idle };
        (self.name.read(), watermark)
    }
}

impl Name {
    fn of(partition: &SourcePartition) -> Self {
        Self {
            topic: partition.id.topic.to_string(),
            topic_id: partition.topic_id.to_string(),
            partition: partition.id.partition,
        }
    }

    fn read(&self) -> SourcePartition {
        SourcePartition {
            id: TopicPartition::new(self.topic.as_str(), self.partition),
            topic_id: TopicId::new(&self.topic_id),
        }
    }
}

/// An entry: the lengths of its key and, one more, of its value (0: it is gone), then their bytes.
fn put_entry(key: &[u8], value: Option<&[u8]>, to: &mut Vec<u8>) {
    put_number(key.len(), to);
    put_number(value.map_or(0, |value| value.len() + 1), to);
    to.extend(key);
    to.extend(value.unwrap_or_default());
}

fn take_entry<'a>(from: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let (key, value) = (take_number(from)?, take_number(from)?);
    let key = take(from, key)?;
    // The group of an entry is where it is looked for.
    key.first()?;
    let value = match value.checked_sub(1) {
        Some(length) => Some(take(from, length)?),
        None => None,
    };
    Some((key, value))
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

/// Seven bits a byte, the lowest first.
fn put_number(number: usize, to: &mut Vec<u8>) {
    let mut rest = number;
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

fn take_number(from: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::state::{Attempt, Place, Row, Table, row_entry};
    use super::*;

    fn partition(number: i32) -> SourcePartition {
        SourcePartition { id: TopicPartition::new("t", number), topic_id: TopicId::new("A") }
    }

    /// Runs epochs with random changes; the objects of the newest chain, and the state that they should give.
    fn run(epochs: u64, keys: u16) -> (Vec<Vec<u8>>, State, Watermarks) {
        let mut random = fastrand::Rng::with_seed(epochs);
        let (mut state, mut watermarks) = (State::default(), Watermarks::default());
        let (mut objects, mut versions) = (Vec::new(), Vec::new());
        for epoch in 1..=epochs {
            let mut attempt = Attempt::new(&state);
            for _ in 0..50 {
                let (key, expiry) = (random.u16(0..keys), epoch as i64 + random.i64(0..50));
                let place = Place { expiry, at: [0, 0] };
                let entry = row_entry(Table::Windows, place, &key.to_le_bytes());
                let committed = attempt.committed_row(&entry).expect("in memory");
                let committed = committed.map(|states| states.len());
                match committed.filter(|_| random.bool()) {
                    Some(committed) => attempt.delete_row(entry, committed),
                    None => attempt.put_row(entry, Box::from(epoch.to_le_bytes()), committed),
                }
            }
            if epoch % 7 == 0 {
                let gone = rows_until(&attempt, epoch as i64);
                let gone = gone.iter().fold(Size::default(), |sum, row| sum + row.size());
                attempt.expire(epoch as i64, gone);
            }
            let changes = attempt.into_changes();
            watermarks.advance(&partition(random.i32(0..3)), epoch as i64);
            let decisions = Decisions { idle: [partition(2)].into(), ..Decisions::default() };
            watermarks.close_epoch(&decisions);
            let meaning = BTreeMap::from([("window".to_owned(), "tumbling".to_owned())]);
            let to_store = ToStore {
                epoch,
                begun: 1,
                meaning: &meaning,
                decisions: &decisions,
                before: &versions,
                rest: &Value::Null,
            };
            objects.push(encode(to_store, &watermarks, &state, &changes).expect("encodes"));
            versions.push(epoch as i64);
            state.apply(changes).expect("in memory");
        }
        (objects, state, watermarks)
    }

    fn rows_until<'a>(attempt: &'a Attempt<'_>, expiry: Micros) -> Vec<Row<'a>> {
        let mut rows = Vec::new();
        for group in 0..=u8::MAX {
            attempt.rows_until(group, Table::Windows, expiry, &mut rows).expect("whole rows");
        }
        rows
    }

    /// The newest object, and all that a start reads.
    fn chain(objects: &[Vec<u8>]) -> (Stored, Vec<&[u8]>) {
        let last = objects.last().expect("epochs");
        let newest = Stored::decode(last).expect("whole");
        let before = newest.before.iter().map(|version| &*objects[*version as usize - 1]);
        let chain = before.chain([&**last]).collect();
        (newest, chain)
    }

    fn restore(state: State, chain: &[&[u8]]) -> Option<State> {
        let mut restoring = Restoring::new(state);
        for object in chain {
            restoring.add(object).ok()?;
        }
        restoring.finish()
    }

    #[test]
    fn the_newest_chain_gives_the_state_back() {
        for epochs in [1, 2, 63, 64, 65, 200] {
            let (objects, state, watermarks) = run(epochs, 2_000);
            let (newest, chain) = chain(&objects);
            assert!(chain.len() <= CHAIN, "{epochs}");
            assert_eq!(newest.watermarks, watermarks, "{epochs}");
            assert_eq!(newest.meaning["window"], "tumbling");
            assert_eq!(newest.decisions.idle.len(), 1);
            let folder = tempfile::tempdir().expect("a folder");
            for empty in State::empty_ones(folder.path()) {
                let restored = restore(empty, &chain).expect("a whole chain");
                assert_eq!(restored.dump(), state.dump(), "{epochs}");
                assert_eq!((restored.len(), restored.bytes()), (state.len(), state.bytes()));
            }
        }
    }

    #[test]
    fn a_chain_with_a_gap_or_without_its_beginning_gives_nothing() {
        let (objects, ..) = run(100, 500);
        let (_, mut gap) = chain(&objects);
        let short = gap[1..].to_vec();
        gap.remove(7);
        for chain in [gap, short, Vec::new()] {
            assert!(restore(State::default(), &chain).is_none());
        }
    }

    #[test]
    fn a_damaged_object_is_told() {
        let (objects, ..) = run(3, 500);
        let object = &objects[2];
        let damaged = |object: &[u8]| {
            let error = Restoring::new(State::default()).add(object).expect_err("damaged");
            error == WindowError::Corrupt && Stored::decode(object).is_none()
        };
        for cut in [0, 7, 20, object.len() / 2, object.len() - 1] {
            assert!(damaged(&object[..cut]), "{cut} bytes");
        }
        for at in 0..object.len() {
            let mut other = object.clone();
            other[at] ^= 4;
            assert!(damaged(&other), "byte {at}");
        }
    }
}
