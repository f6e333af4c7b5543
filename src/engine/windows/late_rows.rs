//! Rows that no window takes, on their way into the dead-letter table: all that Kafka had of them, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use crate::chunk::{Chunk, SourcePartition};
use crate::config::MetadataColumn;
use crate::decode::dead_letter_schema;
use crate::engine::EngineError;
use crate::engine::pipeline::Held;
use crate::engine::plan::PlannedRange;
use crate::engine::side::{Side, SideRows};
use crate::sink::dead_letters::LATE;
use crate::sink::files::{FilesError, FilesWriter};
use crate::transform::window::Verdict;

/// What the decoder has to keep of records, so that late ones can be written down.
pub(in crate::engine) const NEEDED: [MetadataColumn; 4] = [
    MetadataColumn::Timestamp,
    MetadataColumn::Key,
    MetadataColumn::Value,
    MetadataColumn::Headers,
];

/// The late rows of an output that keeps them.
#[derive(Clone)]
pub(in crate::engine) struct LateRows {
    pub(in crate::engine) side: Side,
    output: Arc<str>,
    /// The configuration's fingerprint.
    config: Arc<str>,
    /// Where [`NEEDED`] are among a chunk's columns.
    columns: [usize; NEEDED.len()],
}

/// Those of one batch.
pub(in crate::engine) struct Letters {
    of: LateRows,
    files: FilesWriter,
    /// Offsets that are late rows already: a commit of theirs landed, and that of the windows didn't.
    held: Held,
    new: BTreeMap<Arc<SourcePartition>, u64>,
}

impl LateRows {
    /// `rows`: a chunk's columns.
    pub(in crate::engine) fn new(side: Side, output: &str, config: &str, rows: &SchemaRef) -> Self {
        let place = |column: MetadataColumn| {
            rows.index_of(column.column()).expect("the decoder was asked for it")
        };
        Self { side, output: output.into(), config: config.into(), columns: NEEDED.map(place) }
    }

    pub(in crate::engine) async fn begin(
        &self,
        planned: &[PlannedRange],
    ) -> Result<Letters, EngineError> {
        let held = self.side.held(planned).await?;
        let files = self.side.files().await;
        Ok(Letters { of: self.clone(), files, held, new: BTreeMap::new() })
    }
}

impl Letters {
    /// The rows of a chunk that are late whatever is found now; `None`: none is.
    pub(in crate::engine) fn known(&self, chunk: &Chunk) -> Option<BooleanArray> {
        let held = self.held.get(&chunk.partition)?;
        let offsets = chunk.row_offsets.values();
        Some(offsets.iter().map(|offset| Some(held.contains(offset))).collect())
    }

    /// Writes down the rows of a chunk that no window takes, but for those that are written already.
    pub(in crate::engine) fn take(
        &mut self,
        chunk: &Chunk,
        verdicts: &[Verdict],
    ) -> Result<(), EngineError> {
        let none = Arc::<BTreeSet<i64>>::default();
        let held = self.held.get(&chunk.partition).unwrap_or(&none);
        let offsets = chunk.row_offsets.values().iter();
        let is_new = |(verdict, offset): (&Verdict, &i64)| {
            reason(*verdict).is_some() && !held.contains(offset)
        };
        let wanted: BooleanArray =
            verdicts.iter().zip(offsets).map(|of| Some(is_new(of))).collect();
        let count = wanted.true_count();
        if count == 0 {
            return Ok(());
        }
        let rows = chunk.rows.project(&self.of.columns).map_err(FilesError::Rows)?;
        let rows = filter_record_batch(&rows, &wanted).map_err(FilesError::Rows)?;
        let offsets = arrow::compute::filter(&chunk.row_offsets, &wanted);
        let picked = wanted.values().set_indices();
        let reasons: StringArray = picked.map(|row| reason(verdicts[row])).collect();
        let letters = self.letters(
            &chunk.partition,
            offsets.map_err(FilesError::Rows)?,
            &rows,
            Arc::new(reasons),
        );
        self.files.write(&letters)?;
        *self.new.entry(chunk.partition.clone()).or_default() += count as u64;
        Ok(())
    }

    fn letters(
        &self,
        partition: &SourcePartition,
        offsets: ArrayRef,
        rows: &RecordBatch,
        reasons: ArrayRef,
    ) -> RecordBatch {
        let count = rows.num_rows();
        let repeated = |text: &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count)))
        };
        let [timestamps, keys, values, headers] =
            [0, 1, 2, 3].map(|column| Arc::clone(rows.column(column)));
        let columns: Vec<ArrayRef> = vec![
            repeated(&partition.id.topic),
            repeated(partition.topic_id.as_str()),
            Arc::new(Int32Array::from_value(partition.id.partition, count)),
            offsets,
            timestamps,
            keys,
            values,
            headers,
            repeated(LATE),
            reasons,
            repeated(&self.of.config),
            repeated(&self.of.output),
        ];
        RecordBatch::try_new(dead_letter_schema(), columns).expect("one value per column and row")
    }

    pub(in crate::engine) fn finish(self) -> Result<SideRows, EngineError> {
        Ok(SideRows { files: self.files.finish()?, new: self.new })
    }
}

/// Why a row is one of these; `None`: it isn't.
fn reason(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Late => Some("late: its windows were closed"),
        Verdict::Future => {
            Some("its event time is further ahead of its timestamp than `max_future`")
        }
        Verdict::Timeless => Some("it has no event time, or none of the years 1 to 9999"),
        Verdict::Counted | Verdict::Filtered => None,
    }
}
