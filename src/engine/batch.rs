//! One batch on its way into files: chunks are handed to each output that wants them, and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::EngineError;
use crate::chunk::{Chunk, SourcePartition};
use crate::offsets::Fates;
use crate::sink::DataFile;
use crate::sink::files::{FilesError, FilesWriter};

/// Writes one batch's files, for all outputs and the dead letters.
pub struct BatchWriter {
    pub outputs: Vec<OutputFiles>,
    pub dead_letters: Option<FilesWriter>,
}

/// One output's part of a batch.
pub struct OutputFiles {
    pub files: FilesWriter,
    /// The output's columns among a chunk's.
    pub columns: Vec<usize>,
    /// Partitions whose range lies after the output's progress.
    pub takes: BTreeSet<Arc<SourcePartition>>,
}

/// A batch's finished files, not yet in any table.
#[derive(Debug, Default)]
pub struct Written {
    /// In the order of [`BatchWriter::outputs`].
    pub outputs: Vec<Vec<DataFile>>,
    pub dead_letters: Vec<DataFile>,
    /// New rows of the dead-letter table, by partition; a dead letter that it held already is none.
    pub new_dead_letters: BTreeMap<Arc<SourcePartition>, u64>,
    /// What became of each partition's records.
    pub shares: BTreeMap<Arc<SourcePartition>, Share>,
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
}

impl Writing {
    pub fn new(writer: BatchWriter) -> Self {
        Self { writer, written: Written::default() }
    }

    pub fn chunk(&mut self, chunk: &Chunk) -> Result<(), EngineError> {
        let counts = &mut self.written;
        let share = Share { fates: chunk.fates, payload_bytes: chunk.payload_bytes };
        counts.shares.entry(chunk.partition.clone()).or_default().add(&share);
        if chunk.rows.num_rows() > 0 {
            for output in &mut self.writer.outputs {
                if output.takes.contains(&chunk.partition) {
                    let rows = project(&chunk.rows, &output.columns)?;
                    output.files.write(&rows)?;
                }
            }
        }
        if let (Some(letters), Some(files)) = (&chunk.dead_letters, &mut self.writer.dead_letters) {
            files.write(letters)?;
            *counts.new_dead_letters.entry(chunk.partition.clone()).or_default() +=
                letters.num_rows() as u64;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Written, EngineError> {
        for output in self.writer.outputs {
            self.written.outputs.push(output.files.finish()?);
        }
        if let Some(files) = self.writer.dead_letters {
            self.written.dead_letters = files.finish()?;
        }
        Ok(self.written)
    }
}

fn project(rows: &RecordBatch, columns: &[usize]) -> Result<RecordBatch, EngineError> {
    rows.project(columns).map_err(|error| FilesError::Rows(error).into())
}
