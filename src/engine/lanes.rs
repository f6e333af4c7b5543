//! Recovery, with its I/O: tables and topics are opened, every partition's next offset is settled, and the outputs are
//! put on readers.
//!
//! Kafka is read once for all outputs that stand together. Those more than a batch behind (new, or failing for a
//! while) share a second reader, the catch-up lane, so that they hold nobody back; when one has caught up, the
//! session ends and recovery puts it beside the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::decoders::{self, Decoders, Group};
use super::lane::Lane;
use super::output::Output;
use super::recovery::{self, Rules};
use super::side::Side;
use super::table::Table;
use super::view::View;
use super::{Engine, EngineError, plan, trigger};
use crate::chunk::SourcePartition;
use crate::config::{Connector, Start};
use crate::sink::progress::Topic;

type Positions = BTreeMap<Arc<SourcePartition>, i64>;

/// How far the outputs that stand together are, for those behind to compare themselves with.
#[derive(Debug, Clone, Default)]
pub(super) struct Front(Arc<Mutex<Positions>>);

impl Front {
    pub(super) fn reached(&self, positions: &Positions) {
        let mut front = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, &next) in positions {
            let reached = front.entry(partition.clone()).or_insert(next);
            *reached = next.max(*reached);
        }
    }

    /// Offsets between these positions and the front.
    pub(super) fn ahead_of(&self, positions: &Positions) -> u64 {
        let front = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = |(partition, &next): (&Arc<SourcePartition>, &i64)| {
            front
                .get(partition)
                .map_or(0, |reached| reached.saturating_sub(next).max(0).unsigned_abs())
        };
        positions.iter().map(behind).sum()
    }
}

/// What the lanes of a session share.
#[derive(Clone)]
pub(super) struct Shared<'a> {
    pub(super) engine: &'a Engine,
    /// Kafka as the session found it.
    pub(super) view: Arc<View>,
    /// What is decoded alike.
    pub(super) groups: Arc<[Group]>,
    pub(super) dead_letters: Option<Side>,
    pub(super) front: Front,
}

/// Reads progress, settles where every partition goes on, and starts to fetch there: one lane, or two.
pub(super) async fn recover(engine: &Engine) -> Result<Vec<Lane<'_>>, EngineError> {
    let mut view = View::of(&engine.spec.source).await?;
    if trigger::ends(engine.spec.trigger) {
        engine.available.get_or_init(|| view.extent.latest.clone());
    }
    let topics = view.catalog.topics();
    let spec = engine.spec.with_topics(&topics);
    let groups = decoders::with_schemas(decoders::groups(&spec, &topics), &engine.schemas).await?;
    let mut outputs = Vec::new();
    for (label, output) in &spec.outputs {
        // Where the topics tell the columns, and there are none yet, there is no table to open.
        let Some(group) = groups.iter().find(|group| group.serves(output)) else { continue };
        let metrics = engine.metrics.output(label);
        let mut opened = match Output::open(&spec, label, output, group, metrics).await {
            Ok(opened) => opened,
            Err(error) => return Err(group.unfit(error).await),
        };
        let topics = view.topics(output.topics.as_deref());
        begin(&mut opened.table, &spec, &topics, &mut view).await?;
        opened.restore(output, &engine.metrics).await?;
        opened.planned = opened.table.next();
        opened.open_late_rows(&spec, output, &topics).await?;
        let committed: Vec<_> =
            opened.planned.iter().map(|(p, next)| (p.id.clone(), *next)).collect();
        engine.status.recovered(label, opened.table.version(), &committed);
        outputs.push(opened);
    }
    let starts = starts(&outputs);
    let dead_letters = Side::dead_letters(&spec, &view.topics(None), &starts).await?;
    let front = Front::default();
    outputs.iter().for_each(|output| front.reached(&output.planned));
    let groups: Arc<[Group]> = groups.into();
    let view = Arc::new(view);
    let shared = Shared { engine, view, groups: groups.clone(), dead_letters, front };
    let (together, behind) = split(outputs, &shared.front, spec.limits.max_records);
    let decoders = || Decoders::new(&groups, &spec.fingerprint);
    let mut lanes = vec![Lane::start(shared.clone(), together, decoders()?, false)?];
    if !behind.is_empty() {
        let names: Vec<_> = behind.iter().map(Output::name).collect();
        tracing::info!(outputs = ?names, "behind: read on their own until they have caught up");
        lanes.push(Lane::start(shared, behind, decoders()?, true)?);
    }
    engine.metrics.recovered();
    Ok(lanes)
}

/// The outputs within a batch of the front, and the others. The one that is furthest is always among the first.
fn split(outputs: Vec<Output>, front: &Front, max_records: u64) -> (Vec<Output>, Vec<Output>) {
    let nearest = outputs.iter().map(|output| front.ahead_of(&output.planned)).min().unwrap_or(0);
    outputs
        .into_iter()
        .partition(|output| front.ahead_of(&output.planned) <= max_records.max(nearest))
}

/// Where each partition is read from: the output furthest behind.
pub(super) fn starts(outputs: &[Output]) -> Positions {
    plan::gather(outputs.iter().map(|output| &output.planned))
        .into_iter()
        .filter_map(|(partition, next)| Some((partition, *next.first()?)))
        .collect()
}

/// Holds a table's progress, and commits what must be said before anything is read.
async fn begin(
    table: &mut Table,
    spec: &Connector,
    topics: &BTreeMap<String, Topic>,
    view: &mut View,
) -> Result<(), EngineError> {
    let standing = table.standing(topics)?;
    view.catch_up_with(&standing).await?;
    table.refuse_unanswered_restore().await?;
    table.hold(&standing).await?;
    let rules = Rules { start: &spec.source.start, on_data_loss: spec.source.on_data_loss };
    if !standing.first_run && spec.source.start != Start::Earliest {
        tracing::info!(
            table = table.store.table(),
            version = table.version(),
            "`source.start` is ignored: progress exists; use `sluice rewind` to read again"
        );
    }
    let infos = recovery::opening(rules, table.store.table(), &standing, &view.extent, |p| {
        table.last(p).cloned()
    })?;
    if !infos.is_empty() {
        table.begin(infos, &standing).await?;
    }
    Ok(())
}
