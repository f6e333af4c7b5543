//! A batch's rows on their way into an epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::{and, filter, filter_record_batch, not};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;

use super::late_rows::Letters;
use super::shape::{Computes, WindowShape};
use crate::chunk::{Chunk, SourcePartition};
use crate::engine::EngineError;
use crate::engine::shape::failed_on;
use crate::sink::files::FilesError;
use crate::transform::TransformError;
use crate::transform::window::{ArrivedRows, CountedRows, Counts, Epoch, Times};

/// One batch's rows on their way into an epoch.
pub struct WindowRows {
    pub(super) shape: Arc<WindowShape>,
    pub(super) epoch: Epoch,
    pub(super) judged: BTreeMap<Arc<SourcePartition>, Seen>,
    pub(super) late: Option<Letters>,
}

/// What became of a partition's rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) counts: Counts,
    /// Of those left out, records without a value.
    pub(super) tombstones: u64,
    /// There was a usable event time.
    pub(super) awake: bool,
}

impl WindowRows {
    pub(in crate::engine) fn chunk(&mut self, chunk: &Chunk) -> Result<(), EngineError> {
        let Self { shape, epoch, judged, late } = self;
        let seen = chunk.rows.project(&shape.visible).map_err(FilesError::Rows)?;
        let failed =
            |error: TransformError, kept: Option<&BooleanArray>| failed_on(error, chunk, kept);
        let wanted = shape.kept(&seen).map_err(|error| failed(error, None))?;
        let tombstones = chunk.deletions.as_ref().map(|deletions| &deletions.tombstones);
        let kept = without(wanted, tombstones).map_err(FilesError::Rows)?;
        let event = shape.event_times(&seen).map_err(|error| failed(error, None))?;
        let gaps = shape.gaps(&seen, kept.as_ref());
        let gaps = gaps.map_err(|error| failed(error, kept.as_ref()))?;
        let known = late.as_ref().and_then(|late| late.known(chunk));
        let verdicts = epoch.judge(
            &chunk.partition,
            Times {
                event: &event,
                record: &shape.stamps(chunk),
                kept: kept.as_ref(),
                late: known.as_ref(),
                gaps: gaps.as_ref(),
            },
        );
        if let Some(late) = late {
            late.take(chunk, &verdicts.verdicts)?;
        }

        let of_partition = judged.entry(chunk.partition.clone()).or_default();
        of_partition.counts.add(&verdicts.counts);
        of_partition.awake |= verdicts.awake;
        of_partition.tombstones += tombstones.map_or(0, |mask| mask.true_count() as u64);

        let counted = verdicts.counted();
        let (rows, offsets) = match &counted {
            None => (seen, chunk.row_offsets.clone()),
            Some(mask) => {
                let offsets = filter(&chunk.row_offsets, mask).map_err(FilesError::Rows)?;
                let rows = filter_record_batch(&seen, mask).map_err(FilesError::Rows)?;
                (rows, offsets.as_primitive::<Int64Type>().clone())
            }
        };
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mask = counted.as_ref();
        let failed = |error| failed(error, mask);
        let partition = &chunk.partition;
        match &shape.computes {
            Computes::Aggregation(of) => {
                let distinct = &of.distinct(&rows).map_err(failed)?;
                let (offsets, keys) = (&offsets, &of.keys(&rows).map_err(failed)?);
                let arguments = &of.arguments(&rows).map_err(failed)?;
                let rows = CountedRows { partition, offsets, distinct, keys, arguments };
                epoch.add(verdicts, rows)?;
            }
            Computes::Deduplication(of) => {
                let distinct = &of.distinct(&rows).map_err(failed)?;
                let rows = of.select(&rows).map_err(failed)?;
                epoch.arrive(verdicts, ArrivedRows { partition, offsets, distinct, rows });
            }
        }
        Ok(())
    }

    /// Rows wait in memory for the end of the batch.
    pub(in crate::engine) fn wait_in_memory(&self) -> bool {
        self.shape.windows().first().is_some()
    }
}

/// The rows wanted, without those masked.
fn without(
    wanted: Option<BooleanArray>,
    masked: Option<&BooleanArray>,
) -> Result<Option<BooleanArray>, ArrowError> {
    Ok(match (wanted, masked) {
        (wanted, None) => wanted,
        (None, Some(masked)) => Some(not(masked)?),
        (Some(wanted), Some(masked)) => Some(and(&wanted, &not(masked)?)?),
    })
}
