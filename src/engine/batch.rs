//! One batch on its way into files: chunks are handed to each output that wants them, and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::record_batch::RecordBatch;

use super::EngineError;
use super::shape::{Shape, Shaped};
use super::windows::{EpochDone, WindowRows};
use crate::chunk::{Chunk, SourcePartition};
use crate::config::Limits;
use crate::offsets::Fates;
use crate::sink::DataFile;
use crate::sink::files::FilesWriter;

/// Takes one batch's chunks, for all outputs and the dead letters.
pub struct BatchWriter {
    pub outputs: Vec<OutputRows>,
    pub dead_letters: Option<FilesWriter>,
    /// What may be held in memory of a batch that is read whatever its size, where an output has keys.
    pub most: Option<Limits>,
}

/// One output's part of a batch.
pub struct OutputRows {
    pub rows: Rows,
    /// Partitions whose range lies after the output's progress.
    pub takes: BTreeSet<Arc<SourcePartition>>,
    /// Records that the output leaves out.
    filtered: BTreeMap<Arc<SourcePartition>, u64>,
}

/// Where an output's rows go while a batch is read.
pub enum Rows {
    /// Into files at once.
    Files(Arc<Shape>, Box<FilesWriter>),
    /// They wait: what they do to the table depends on what is in it when they are committed. A batch's limits bound
    /// them.
    Changes(Arc<Shape>, Vec<Change>),
    /// Into windows, or where duplicates are dropped: such rows wait as changes do.
    Windows(Box<WindowRows>),
}

impl Rows {
    /// They are in memory until the batch is read.
    pub fn wait_in_memory(&self) -> bool {
        match self {
            Self::Files(..) => false,
            Self::Changes(..) => true,
            Self::Windows(windows) => windows.wait_in_memory(),
        }
    }
}

/// Rows of one chunk, for an output with keys.
pub struct Change {
    pub partition: Arc<SourcePartition>,
    pub rows: RecordBatch,
    /// The rows that delete their key's row.
    pub deletes: Option<BooleanArray>,
}

/// What an output gets to commit.
pub enum Finished {
    Files(Vec<DataFile>),
    Changes(Vec<Change>),
    Windows(Box<WindowRows>),
    /// An epoch, once it is finished; `None`: there is nothing to commit.
    Epoch(Option<Box<EpochDone>>),
}

impl OutputRows {
    pub fn new(rows: Rows, takes: BTreeSet<Arc<SourcePartition>>) -> Self {
        Self { rows, takes, filtered: BTreeMap::new() }
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), EngineError> {
        if !self.takes.contains(&chunk.partition) || chunk.rows.num_rows() == 0 {
            return Ok(());
        }
        let filtered = match &mut self.rows {
            Rows::Windows(windows) => return windows.chunk(chunk),
            Rows::Files(shape, files) => {
                let shaped = shape.apply(chunk)?;
                files.write(&shaped.rows)?;
                shaped.filtered
            }
            Rows::Changes(shape, changes) => {
                let Shaped { rows, deletes, filtered } = shape.apply(chunk)?;
                if rows.num_rows() > 0 {
                    changes.push(Change { partition: chunk.partition.clone(), rows, deletes });
                }
                filtered
            }
        };
        if filtered > 0 {
            *self.filtered.entry(chunk.partition.clone()).or_default() += filtered;
        }
        Ok(())
    }
}

/// What all outputs of a batch share, not yet in any table.
#[derive(Default)]
pub struct Written {
    pub dead_letters: Vec<DataFile>,
    /// New rows of the dead-letter table, by partition; a dead letter that it held already is none.
    pub new_dead_letters: BTreeMap<Arc<SourcePartition>, u64>,
    /// What became of each partition's records, before any output leaves some out.
    pub shares: BTreeMap<Arc<SourcePartition>, Share>,
}

/// What one output commits.
pub struct OutputWritten {
    pub rows: Finished,
    pub filtered: BTreeMap<Arc<SourcePartition>, u64>,
}

impl OutputWritten {
    /// `takes`: the partitions whose ranges are new to the output.
    pub fn is_to_be_committed(&self, takes: &BTreeSet<Arc<SourcePartition>>) -> bool {
        match &self.rows {
            Finished::Epoch(done) => done.is_some(),
            _ => !takes.is_empty(),
        }
    }

    /// A partition's rows, by what the output makes of them.
    pub fn settle(&self, partition: &SourcePartition, fates: &mut Fates) {
        let filtered = self.filtered.get(partition).copied().unwrap_or(0);
        fates.rows -= filtered;
        fates.filtered += filtered;
        if let Finished::Epoch(Some(done)) = &self.rows {
            done.settle(partition, fates);
        }
    }
}

/// One partition's part of a batch, or a sum of such parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub fates: Fates,
    /// Of keys and values.
    pub payload_bytes: u64,
}

impl Share {
    pub fn add(&mut self, other: &Self) {
        self.fates.add(&other.fates);
        self.payload_bytes += other.payload_bytes;
    }
}

impl Written {
    /// Over all partitions.
    pub fn total(&self) -> Share {
        let mut total = Share::default();
        self.shares.values().for_each(|share| total.add(share));
        total
    }
}

/// A writer and what has been counted so far.
pub struct Writing {
    writer: BatchWriter,
    written: Written,
    /// So far.
    held: Share,
}

/// Changes wait in memory for the table as it will be then; `once` must not make that all of a topic.
fn refuse_beyond(most: Option<Limits>, held: &Share) -> Result<(), EngineError> {
    match most {
        Some(Limits { max_records, max_bytes, .. })
            if held.fates.records() > max_records || held.payload_bytes > max_bytes =>
        {
            Err(EngineError::OnceTooLarge { max_records, max_bytes })
        }
        _ => Ok(()),
    }
}

impl Writing {
    pub fn new(writer: BatchWriter) -> Self {
        Self { writer, written: Written::default(), held: Share::default() }
    }

    pub fn chunk(&mut self, chunk: &Chunk) -> Result<(), EngineError> {
        let counts = &mut self.written;
        let share = Share { fates: chunk.fates, payload_bytes: chunk.payload_bytes };
        counts.shares.entry(chunk.partition.clone()).or_default().add(&share);
        self.held.add(&share);
        refuse_beyond(self.writer.most, &self.held)?;
        for output in &mut self.writer.outputs {
            output.chunk(chunk)?;
        }
        if let (Some(letters), Some(files)) = (&chunk.dead_letters, &mut self.writer.dead_letters) {
            files.write(letters)?;
            *counts.new_dead_letters.entry(chunk.partition.clone()).or_default() +=
                letters.num_rows() as u64;
        }
        Ok(())
    }

    /// The second: in the order of [`BatchWriter::outputs`].
    pub fn finish(mut self) -> Result<(Written, Vec<OutputWritten>), EngineError> {
        let mut outputs = Vec::new();
        for OutputRows { rows, filtered, .. } in self.writer.outputs {
            let rows = match rows {
                Rows::Files(_, files) => Finished::Files(files.finish()?),
                Rows::Changes(_, changes) => Finished::Changes(changes),
                Rows::Windows(windows) => Finished::Windows(windows),
            };
            outputs.push(OutputWritten { rows, filtered });
        }
        if let Some(files) = self.writer.dead_letters {
            self.written.dead_letters = files.finish()?;
        }
        Ok((self.written, outputs))
    }
}
