//! One epoch: rows are judged, grouped and aggregated, merged into a copy of the state, and windows are closed.
//!
//! Nothing of the committed state changes before [`Windows::commit`]. An attempt that failed is dropped, and the next one
//! begins from the same state, whatever it reads.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::aggregate::{Aggregates, Argument, Rows, Sources, state_types};
use super::assign::Slot;
use super::dedup::{self, Arrived, Duplicates, Firsts, Settled};
use super::emit::Closed;
use super::error::WindowError;
use super::judge::{self, Counts, Judged, Placed, Times};
use super::keys::{KEY_GROUPS, Keys};
use super::session::{self, Interval};
use super::state::{Attempt, Bytes, Changes, Place, Size, State, Table, row_entry};
use super::stored::{self, ToStore};
use super::watermark::{Decisions, Micros, Watermarks};
use super::{Kind, WindowPlan, codec, emit, packed};
use crate::chunk::SourcePartition;

/// The windows of an output, as of its last commit.
#[derive(Debug)]
pub struct Windows {
    plan: Arc<WindowPlan>,
    watermarks: Watermarks,
    state: State,
}

/// An epoch under way. Its rows are taken while the epoch before may still be being committed.
pub struct Epoch {
    plan: Arc<WindowPlan>,
    watermarks: Watermarks,
    counts: Counts,
    /// Rows that are told from duplicates before they count.
    arrived: Arrived,
    keys: Keys,
    groups: Groups,
    aggregates: Aggregates,
}

/// The rows of a chunk that count, as [`Judged::counted`] says, in the order of offsets.
#[derive(Debug, Clone, Copy)]
pub struct CountedRows<'a> {
    pub partition: &'a SourcePartition,
    pub offsets: &'a Int64Array,
    /// The columns that they are told apart by, where duplicates are dropped before.
    pub distinct: &'a [ArrayRef],
    /// The columns of `group_by`.
    pub keys: &'a [ArrayRef],
    /// One per measure.
    pub arguments: &'a [Argument],
}

/// The rows of a chunk that count where they stay rows, in the order of offsets.
#[derive(Debug)]
pub struct ArrivedRows<'a> {
    pub partition: &'a SourcePartition,
    pub offsets: Int64Array,
    /// The columns that they are told apart by.
    pub distinct: &'a [ArrayRef],
    /// The table's columns.
    pub rows: RecordBatch,
}

/// An epoch to be committed.
#[derive(Debug)]
pub struct Finished {
    pub closed: Closed,
    pub counts: Counts,
    /// Rows that waited until it was known that they are no duplicates.
    pub released: usize,
    pub duplicates: Duplicates,
    pub next: Next,
}

/// What the committed state becomes.
#[derive(Debug)]
pub struct Next {
    pub watermarks: Watermarks,
    pub changes: Changes,
}

/// The groups that an epoch's rows are aggregated by.
enum Groups {
    Aligned(IndexSet<(Slot, u32), RandomState>),
    Sessions(Vec<Interval>),
    /// A group per key, of the same number.
    Keys,
}

impl Windows {
    /// Windows of an output of which nothing was committed yet.
    pub fn new(plan: Arc<WindowPlan>) -> Self {
        Self::restored(plan, Watermarks::default(), State::default())
    }

    /// Windows as a commit left them.
    pub fn restored(plan: Arc<WindowPlan>, watermarks: Watermarks, state: State) -> Self {
        Self { plan, watermarks, state }
    }

    pub fn plan(&self) -> &Arc<WindowPlan> {
        &self.plan
    }

    pub fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// The epoch after the last commit.
    pub fn begin(&self) -> Result<Epoch, WindowError> {
        Epoch::begin(&self.plan, self.watermarks.clone())
    }

    /// Merges what an epoch added into the state, and closes windows, whose rows `write` takes, some key groups at a time.
    /// The epochs before it are committed.
    pub fn finish<E: From<WindowError>>(
        &self,
        mut epoch: Epoch,
        decisions: &Decisions,
        mut write: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<Finished, E> {
        let Self { plan, watermarks: before, state } = self;
        let mut attempt = Attempt::new(state);
        let mut watermarks = std::mem::take(&mut epoch.watermarks);
        watermarks.close_epoch(decisions);
        let after = watermarks.overall();
        let counts = epoch.counts;
        let passed = (before.overall(), after);
        let mut settled = Settled::default();
        if let Some(deduplicated) = &plan.deduplicated {
            let arrived = std::mem::take(&mut epoch.arrived);
            settled =
                dedup::settle(deduplicated, &mut attempt, arrived, passed, |firsts| {
                    match plan.kind {
                        Kind::Rows => write(firsts.rows(plan)?),
                        _ => Ok(epoch.count_firsts(firsts)?),
                    }
                })?;
        }
        epoch.settle(&mut attempt)?;
        let (closed, gone) = emit::close(plan, &mut attempt, passed, write)?;
        let gone = gone + settled.gone;
        if let Some(after) = after.filter(|_| gone != Size::default()) {
            attempt.expire(after, gone);
        }
        let next = Next { watermarks, changes: attempt.into_changes() };
        let Settled { released, duplicates, .. } = settled;
        Ok(Finished { closed, counts, released, duplicates, next })
    }

    /// What the commit of a finished epoch keeps.
    pub fn object(&self, next: &Next, to_store: ToStore<'_>) -> Result<Vec<u8>, WindowError> {
        stored::encode(to_store, &next.watermarks, &self.state, &next.changes)
    }

    /// The commit of a finished epoch has landed.
    ///
    /// # Errors
    /// When state on disk can't be written: these windows can't go on.
    pub fn commit(&mut self, next: Next) -> Result<(), WindowError> {
        self.watermarks = next.watermarks;
        self.state.apply(next.changes)
    }

    /// The current value of every open window of some key groups, as a finished epoch leaves them.
    pub fn open_after(
        &self,
        next: &mut Next,
        groups: Range<usize>,
    ) -> Result<Vec<RecordBatch>, WindowError> {
        let attempt = Attempt::with(&self.state, std::mem::take(&mut next.changes));
        let open = emit::open(&self.plan, &attempt, next.watermarks.overall(), groups);
        next.changes = attempt.into_changes();
        open
    }

    /// The current value of every open window.
    pub fn open(&self) -> Result<Vec<RecordBatch>, WindowError> {
        let attempt = Attempt::new(&self.state);
        emit::open(&self.plan, &attempt, self.watermarks.overall(), 0..KEY_GROUPS)
    }
}

impl Epoch {
    /// `watermarks` are those that the epoch before leaves.
    pub fn begin(plan: &Arc<WindowPlan>, watermarks: Watermarks) -> Result<Self, WindowError> {
        Ok(Self {
            plan: Arc::clone(plan),
            watermarks,
            counts: Counts::default(),
            arrived: Arrived::default(),
            keys: Keys::default(),
            groups: match plan.kind {
                Kind::Aligned(_) => Groups::Aligned(IndexSet::default()),
                Kind::Session(_) => Groups::Sessions(Vec::new()),
                Kind::Unbounded | Kind::Rows => Groups::Keys,
            },
            aggregates: Aggregates::new(&plan.measures)?,
        })
    }

    /// Judges the next rows of a partition. Each row is judged once, those of a partition in the order of offsets.
    pub fn judge(&mut self, partition: &SourcePartition, times: Times<'_>) -> Judged {
        let WindowPlan { lateness, .. } = &*self.plan;
        let mut watermark = self.watermarks.before_next_row(partition);
        let judged = judge::judge(self.plan.late_by(), *lateness, times, &mut watermark);
        if let (true, Some(watermark)) = (judged.awake, watermark) {
            self.watermarks.advance(partition, watermark);
        }
        self.counts.add(&judged.counts);
        judged
    }

    /// Adds the rows that count of those that were judged.
    pub fn add(&mut self, judged: Judged, rows: CountedRows<'_>) -> Result<(), WindowError> {
        let CountedRows { partition, offsets, distinct, keys, arguments } = rows;
        let (at, count) = (judged.at, judged.counts.counted as usize);
        if self.plan.deduplicated.is_none() {
            return self.count(at, Sources::One(partition), offsets, keys, arguments);
        }
        if count > 0 {
            let columns = packed::pack(&self.plan, keys, arguments, at.ends, count)?;
            self.arrived.add(partition, (at.times, offsets.clone()), distinct, columns);
        }
        Ok(())
    }

    /// Adds the rows that count of those that were judged, where they stay rows.
    pub fn arrive(&mut self, judged: Judged, arrived: ArrivedRows<'_>) {
        let ArrivedRows { partition, offsets, distinct, rows } = arrived;
        if rows.num_rows() > 0 {
            let columns = rows.columns().to_vec();
            self.arrived.add(partition, (judged.at.times, offsets), distinct, columns);
        }
    }

    fn count(
        &mut self,
        at: Placed,
        sources: Sources<'_>,
        offsets: &Int64Array,
        keys: &[ArrayRef],
        arguments: &[Argument],
    ) -> Result<(), WindowError> {
        let count = at.times.len();
        if count == 0 {
            return Ok(());
        }
        let mut numbers = Vec::with_capacity(count);
        self.keys.number(keys, count, &mut numbers);
        let groups = self.groups.of(&at, numbers);
        let times = &Int64Array::from(at.times);
        let rows = Rows { sources, times, offsets, arguments };
        self.aggregates.add(&rows, &groups, self.groups.len(&self.keys))
    }

    /// W has reached no window of them: a row that is told from others isn't behind its partition's watermark.
    fn count_firsts(&mut self, firsts: Firsts<'_>) -> Result<(), WindowError> {
        let Firsts { sources, times, offsets, columns } = firsts;
        let (keys, arguments, ends) = packed::unpack(&self.plan, columns);
        let at = Placed::before_all_ends(&self.plan.kind, times, ends);
        self.count(at, sources, &offsets, &keys, &arguments)
    }

    /// The watermarks with the rows so far, for the clock to decide by.
    pub fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// Merges what was added into the state.
    fn settle(&mut self, attempt: &mut Attempt<'_>) -> Result<(), WindowError> {
        let plan = Arc::clone(&self.plan);
        if let Groups::Sessions(intervals) = &self.groups {
            let drained = self.aggregates.drain()?;
            return session::settle(attempt, &plan.measures, &self.keys, intervals, &drained);
        }
        let total = self.groups.len(&self.keys);
        let entry = |group| (self.groups.entry(&plan.kind, group, &self.keys), group);
        let mut entries: Vec<_> = (0..total).map(entry).collect();
        // Neighbours in the state are looked up and put one after the other.
        entries.sort_unstable();
        // Entries hold the keys: of a batch of new ones, all else of them is as large as what is written of it.
        (self.keys, self.groups) = (Keys::default(), Groups::Keys);
        let (mut stored, mut groups, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, group) in &entries {
            let states = attempt.committed_row(entry)?;
            lengths.push(states.as_ref().map(|states| states.len()));
            if let Some(states) = states {
                stored.push(states);
                groups.push(*group);
            }
        }
        if !stored.is_empty() {
            let stored: Vec<_> = stored.iter().map(|states| &**states).collect();
            let states = codec::decode(&stored, &state_types(&plan.measures))?;
            self.aggregates.merge(&states, &groups, total)?;
        }
        let states = codec::Encoder::new(&self.aggregates.drain()?);
        for ((entry, group), committed) in entries.into_iter().zip(lengths) {
            let mut bytes = Vec::new();
            states.append(group, &mut bytes);
            attempt.put_row(entry, bytes.into(), committed);
        }
        Ok(())
    }
}

impl Groups {
    /// The group of each row that counts.
    fn of(&mut self, at: &Placed, keys: Vec<u32>) -> Vec<usize> {
        match self {
            Self::Aligned(groups) => {
                let rows = at.slots.iter().copied().zip(keys);
                rows.map(|group| groups.insert_full(group).0).collect()
            }
            Self::Sessions(intervals) => session::cut(&at.times, &at.ends, &keys, intervals),
            Self::Keys => keys.into_iter().map(|key| key as usize).collect(),
        }
    }

    fn len(&self, keys: &Keys) -> usize {
        match self {
            Self::Aligned(groups) => groups.len(),
            Self::Sessions(intervals) => intervals.len(),
            Self::Keys => keys.len(),
        }
    }

    /// Where the states of a group are kept that isn't a session.
    fn entry(&self, kind: &Kind, group: usize, keys: &Keys) -> Bytes {
        match (self, kind) {
            (Self::Aligned(groups), Kind::Aligned(aligned)) => {
                let (Slot { pane, first }, key) = groups[group];
                let place = Place { expiry: aligned.expiry(pane), at: [pane, first] };
                row_entry(Table::Windows, place, keys.key(key))
            }
            _ => {
                let place = Place { expiry: Micros::MAX, at: [0, 0] };
                row_entry(Table::Windows, place, keys.key(group as u32))
            }
        }
    }
}
