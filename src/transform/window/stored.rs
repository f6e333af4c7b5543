//! What a commit keeps of windows: one object of bytes per epoch, from which they are restored.
//!
//! An object holds the watermarks, the decisions of its epoch, what the epoch changed, and a snapshot of a few key groups as
//! they are after it. Groups take turns, so that the newest [`CHAIN`] objects hold all of the state, however long an output
//! has run, and no epoch writes more than its share of it. Which objects these are stands in the newest one.
//!
//! Layout: magic, length of the header, header (JSON), body (zstd), SHA-256 of all that. The body is a list of entries
//! for the changes and one for each group of the snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::keys::KEY_GROUPS;
use super::state::{Bytes, Changes, State};
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

/// An object, read.
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
    changes: Changes,
    snapshot: Vec<(u8, BTreeMap<Bytes, Bytes>)>,
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
) -> std::io::Result<Vec<u8>> {
    let ToStore { epoch, begun, meaning, decisions, before, rest } = to_store;
    let mut body = Vec::new();
    put_number(changes.entries.len(), &mut body);
    for (key, value) in &changes.entries {
        put_entry(key, value.as_deref(), &mut body);
    }
    for group in groups_of(epoch) {
        let entries: Vec<_> = state.group_after(group, changes).collect();
        put_number(entries.len(), &mut body);
        entries.iter().for_each(|(key, value)| put_entry(key, Some(value), &mut body));
    }
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
        body_bytes: body.len(),
    };
    let header = serde_json::to_vec(&header)?;
    let length = u32::try_from(header.len()).map_err(std::io::Error::other)?;
    let mut object = [MAGIC, &length.to_le_bytes()[..], &header].concat();
    object.extend(zstd::bulk::compress(&body, LEVEL)?);
    let digest = Sha256::digest(&object);
    object.extend(digest);
    Ok(object)
}

impl Stored {
    /// `None`: it isn't whole, or none of ours.
    pub fn decode(object: &[u8]) -> Option<Self> {
        let (content, digest) = object.split_last_chunk::<DIGEST>()?;
        if Sha256::digest(content).as_slice() != digest {
            return None;
        }
        let rest = content.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (header, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        let body = zstd::bulk::decompress(body, header.body_bytes).ok()?;
        let mut body = body.as_slice();
        let mut changes = Changes::default();
        for _ in 0..take_number(&mut body)? {
            let (key, value) = take_entry(&mut body)?;
            changes.entries.insert(key, value);
        }
        let mut snapshot = Vec::new();
        for group in groups_of(header.epoch) {
            let mut entries = BTreeMap::new();
            for _ in 0..take_number(&mut body)? {
                let (key, value) = take_entry(&mut body)?;
                entries.insert(key, value?);
            }
            snapshot.push((group, entries));
        }
        body.is_empty().then(|| Self {
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
            changes,
            snapshot,
        })
    }
}

/// The state after the last of `objects`, a whole chain; `None`: they are none.
pub fn restore(objects: Vec<Stored>) -> Option<State> {
    let first = objects.first()?.epoch;
    let mut whole = if first == objects.last()?.begun { KEY_GROUPS } else { 0 };
    let mut state = State::default();
    for (object, epoch) in objects.into_iter().zip(first..) {
        if object.epoch != epoch {
            return None;
        }
        // Of a group whose snapshot is still to come, this makes parts, which the snapshot replaces.
        state.apply(object.changes);
        for (group, entries) in object.snapshot {
            whole += 1;
            state.replace_group(group, entries);
        }
    }
    (whole >= KEY_GROUPS).then_some(state)
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

fn take_entry(from: &mut &[u8]) -> Option<(Bytes, Option<Bytes>)> {
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

fn take(from: &mut &[u8], length: usize) -> Option<Bytes> {
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes.into())
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
            let mut changes = Changes::default();
            for _ in 0..50 {
                let [low, high] = random.u16(0..keys).to_le_bytes();
                let key = Box::from([low, 0, high]);
                let value = random.bool().then(|| Box::from(epoch.to_le_bytes()));
                changes.entries.insert(key, value);
            }
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
            state.apply(changes);
        }
        (objects, state, watermarks)
    }

    fn chain(objects: &[Vec<u8>]) -> Vec<Stored> {
        let newest = Stored::decode(objects.last().expect("epochs")).expect("whole");
        let before = newest.before.iter().map(|version| &objects[*version as usize - 1]);
        let mut chain: Vec<_> = before.map(|bytes| Stored::decode(bytes).expect("whole")).collect();
        chain.push(newest);
        chain
    }

    #[test]
    fn the_newest_chain_gives_the_state_back() {
        for epochs in [1, 2, 63, 64, 65, 200] {
            let (objects, state, watermarks) = run(epochs, 2_000);
            let chain = chain(&objects);
            assert!(chain.len() <= CHAIN, "{epochs}");
            let newest = chain.last().expect("epochs");
            assert_eq!(newest.watermarks, watermarks, "{epochs}");
            assert_eq!(newest.meaning["window"], "tumbling");
            assert_eq!(newest.decisions.idle.len(), 1);
            assert_eq!(restore(chain).expect("a whole chain"), state, "{epochs}");
        }
    }

    #[test]
    fn a_chain_with_a_gap_or_without_its_beginning_gives_nothing() {
        let (objects, ..) = run(100, 500);
        let mut gap = chain(&objects);
        gap.remove(7);
        assert!(restore(gap).is_none());
        let mut short = chain(&objects);
        short.remove(0);
        assert!(restore(short).is_none());
        assert!(restore(Vec::new()).is_none());
    }

    #[test]
    fn a_damaged_object_is_told() {
        let (objects, ..) = run(3, 500);
        let object = &objects[2];
        for cut in [0, 7, 20, object.len() / 2, object.len() - 1] {
            assert!(Stored::decode(&object[..cut]).is_none(), "{cut} bytes");
        }
        for at in 0..object.len() {
            let mut damaged = object.clone();
            damaged[at] ^= 4;
            assert!(Stored::decode(&damaged).is_none(), "byte {at}");
        }
    }
}
