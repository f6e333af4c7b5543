//! An epoch's end: windows closed into files, and the object of what stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use serde_json::Value;

use super::late_rows::Letters;
use super::open::{Emission, Emitting};
use super::rows::{Seen, WindowRows};
use super::shape::{Becomes, Computes};
use crate::chunk::SourcePartition;
use crate::engine::EngineError;
use crate::engine::side::SideRows;
use crate::engine::table::WindowFiles;
use crate::offsets::Fates;
use crate::sink::files::{FilesSpec, FilesWriter};
use crate::sink::history::{PartitionWatermark, WindowsInfo};
use crate::sink::state::StateVersion;
use crate::transform::window::{
    Counts, Decisions, Micros, Next, ToStore, Watermarks, WindowError, Windows,
};

/// An epoch that is to be committed.
pub(in crate::engine) struct EpochDone {
    pub(in crate::engine) files: WindowFiles,
    pub(in crate::engine) info: WindowsInfo,
    pub(in crate::engine) version: StateVersion,
    /// Rows that are to be kept elsewhere, before this is committed.
    pub(in crate::engine) late: SideRows,
    becomes: Becomes,
    judged: BTreeMap<Arc<SourcePartition>, Seen>,
    /// Of the rows that count.
    duplicates: BTreeMap<SourcePartition, u64>,
    pub(super) object: Vec<u8>,
    pub(super) next: Next,
    /// With `emit: changes`, and whether all that changed is written.
    pub(super) open: Option<(Emission, bool)>,
}

/// An epoch with all that it takes to finish it, on a thread that may block.
pub(super) struct Finishing {
    pub(super) windows: Arc<Windows>,
    pub(super) meaning: Arc<BTreeMap<String, String>>,
    pub(super) version: StateVersion,
    pub(super) begun: u64,
    pub(super) before: Vec<i64>,
    pub(super) decisions: Decisions,
    pub(super) rows: WindowRows,
    pub(super) emitting: Option<Emitting>,
    pub(super) spec: FilesSpec,
    pub(super) writers: Writers,
}

/// Makes writers of the table's files.
pub(super) type Writers = Box<dyn Fn(&FilesSpec) -> FilesWriter + Send>;

impl Finishing {
    pub(super) fn run(self) -> Result<EpochDone, EngineError> {
        let Self { windows, meaning, version, begun, before, decisions, rows, .. } = self;
        let writer = || (self.writers)(&self.spec);
        let WindowRows { shape, epoch, judged, late } = rows;
        let late = late.map(Letters::finish).transpose()?.unwrap_or_default();
        let mut closed = writer();
        let finished = windows.finish(epoch, &decisions, |rows| {
            closed.write(&shape.select(rows, version.epoch())?)?;
            Ok::<_, EngineError>(())
        })?;
        let mut files = WindowFiles { adds: closed.finish()?, removes: Vec::new() };
        let mut next = finished.next;
        let mut info = info(version, finished.counts, &next.watermarks, &decisions);
        info.closed = finished.closed.count as u64;
        info.duplicates = finished.duplicates.waited;
        let released = finished.released as u64;
        match shape.windows().aggregates() {
            true => info.aggregated = released,
            false => info.released = released,
        }
        let (mut open, mut rest) = (None, Value::Null);
        if let (Some(emitting), Computes::Aggregation(of)) = (self.emitting, &shape.computes) {
            let due = emitting.due;
            let windows = (&*windows, &mut next);
            let written = (&mut files, &mut info);
            let emission = emitting.run(windows, &finished.closed, of, writer, written)?;
            rest = serde_json::to_value(&emission.windows)
                .map_err(|e| WindowError::Encoding(e.to_string()))?;
            open = Some((emission, due));
        }
        let to_store = ToStore {
            epoch: version.epoch(),
            begun,
            meaning: &meaning,
            decisions: &decisions,
            before: &before,
            rest: &rest,
        };
        let object = windows.object(&next, to_store)?;
        let duplicates = finished.duplicates.arrived;
        Ok(EpochDone {
            files,
            info,
            version,
            late,
            becomes: shape.becomes(),
            judged,
            duplicates,
            object,
            next,
            open,
        })
    }
}

impl EpochDone {
    /// A partition's rows, by what became of them.
    pub(in crate::engine) fn settle(&self, partition: &SourcePartition, fates: &mut Fates) {
        let Some(Seen { counts, tombstones, .. }) = self.judged.get(partition) else { return };
        let filtered = counts.filtered - tombstones;
        fates.rows -= counts.counted + counts.late + counts.future + counts.timeless + filtered;
        fates.filtered += filtered;
        let duplicates = self.duplicates.get(partition).copied().unwrap_or(0);
        let first = counts.counted - duplicates;
        match self.becomes {
            Becomes::Aggregated => fates.aggregated += first,
            Becomes::Rows => fates.rows += first,
            Becomes::Held => fates.held += first,
        }
        fates.duplicates += duplicates;
        fates.late += counts.late;
        fates.future += counts.future;
        fates.timeless += counts.timeless;
    }
}

fn info(
    version: StateVersion,
    counts: Counts,
    watermarks: &Watermarks,
    decisions: &Decisions,
) -> WindowsInfo {
    let names = |partitions: &BTreeSet<SourcePartition>| {
        partitions.iter().map(|partition| partition.id.to_string()).collect()
    };
    let each = watermarks.partitions().iter().map(|(partition, known)| PartitionWatermark {
        topic: partition.id.topic.to_string(),
        partition: partition.id.partition,
        watermark: known.watermark.and_then(text),
        idle: known.idle,
    });
    WindowsInfo {
        epoch: version.epoch(),
        watermark: watermarks.overall().and_then(text),
        closed: 0,
        opened: 0,
        replaced: 0,
        copied: 0,
        released: 0,
        aggregated: 0,
        duplicates: 0,
        late_partial: counts.late_partial,
        watermarks: each.collect(),
        joined: names(&decisions.joined),
        left: names(&decisions.left),
        idle: names(&decisions.idle),
        back: names(&decisions.back),
    }
}

fn text(time: Micros) -> Option<String> {
    let time = DateTime::from_timestamp_micros(time)?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
