//! The blocking part of a step: dead letters through the decoder, rows into files.

use std::sync::Arc;

use super::pending::Slice;
use super::{EngineError, Way};
use crate::chunk::Chunk;
use crate::decode::{BadRecord, Decoder};
use crate::engine::shape::Shape;
use crate::offsets::Fates;
use crate::sink::DataFile;
use crate::sink::files::FilesWriter;
use crate::sink::letters::Letter;

/// What became of a slice.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The next offset to deal with: past the last dead letter, or at the one that is still bad.
    pub end: i64,
    /// From the slice's start to `end`.
    pub fates: Fates,
    /// Dead letters dealt with.
    pub letters: u64,
    pub already: u64,
    pub bad: Vec<BadRecord>,
    /// Good ones behind a bad one.
    pub waiting: u64,
    pub stopped: bool,
}

/// What became of each slice, and the files that their rows are in.
pub(super) type Done = (Vec<(Slice, Outcome)>, Vec<DataFile>);

pub(super) struct Work {
    decoder: Decoder,
    /// Says of one record whether it is good.
    probe: Decoder,
    shape: Arc<Shape>,
    skip_bad: bool,
    files: Option<FilesWriter>,
    slices: Vec<(Slice, Vec<Letter>)>,
}

impl Work {
    pub fn new(
        way: &Way,
        fingerprint: &str,
        skip_bad: bool,
        files: Option<FilesWriter>,
        slices: Vec<(Slice, Vec<Letter>)>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            decoder: way.group.decoder(fingerprint)?,
            probe: way.group.decoder(fingerprint)?,
            shape: way.shape.clone(),
            skip_bad,
            files,
            slices,
        })
    }

    /// Decodes everything, and writes the rows if there is a writer.
    pub fn run(mut self) -> Result<Done, EngineError> {
        let mut outcomes = Vec::new();
        for (slice, letters) in std::mem::take(&mut self.slices) {
            let outcome = self.slice(&slice, &letters)?;
            outcomes.push((slice, outcome));
        }
        let files = match self.files {
            Some(files) => files.finish()?,
            None => Vec::new(),
        };
        Ok((outcomes, files))
    }

    fn slice(&mut self, slice: &Slice, letters: &[Letter]) -> Result<Outcome, EngineError> {
        let mut outcome =
            Outcome { end: slice.start, stopped: slice.stopped, ..Outcome::default() };
        self.decoder.begin(slice.partition.clone(), slice.start, None);
        for letter in letters.iter().filter(|l| slice.offsets.binary_search(&l.offset).is_ok()) {
            if slice.already.contains(&letter.offset) && !outcome.stopped {
                outcome.already += 1;
                outcome.letters += 1;
                outcome.end = letter.offset + 1;
                continue;
            }
            let bad = self.judge(slice, letter)?;
            let is_bad = bad.is_some();
            outcome.bad.extend(bad);
            if is_bad && !self.skip_bad && !outcome.stopped {
                outcome.stopped = true;
                // What lies before it has been dealt with.
                outcome.end = if outcome.letters > 0 { letter.offset } else { slice.start };
            }
            if outcome.stopped {
                outcome.waiting += u64::from(!is_bad);
                continue;
            }
            let headers = letter.headers();
            self.decoder.push(&letter.message(&headers))?;
            outcome.letters += 1;
            outcome.end = letter.offset + 1;
            if self.decoder.is_full() {
                let chunk = self.decoder.finish(outcome.end);
                self.take(&chunk, &mut outcome)?;
            }
        }
        let chunk = self.decoder.finish(outcome.end);
        self.take(&chunk, &mut outcome)?;
        Ok(outcome)
    }

    /// What is wrong with a record; `None`: nothing.
    fn judge(&mut self, slice: &Slice, letter: &Letter) -> Result<Option<BadRecord>, EngineError> {
        self.probe.begin(slice.partition.clone(), letter.offset, None);
        let headers = letter.headers();
        self.probe.push(&letter.message(&headers))?;
        Ok(self.probe.take_first_bad())
    }

    fn take(&mut self, chunk: &Chunk, outcome: &mut Outcome) -> Result<(), EngineError> {
        let mut fates = chunk.fates;
        if chunk.rows.num_rows() > 0 {
            let shaped = self.shape.apply(chunk)?;
            fates.rows -= shaped.filtered;
            fates.filtered += shaped.filtered;
            if let Some(files) = self.files.as_mut().filter(|_| shaped.rows.num_rows() > 0) {
                files.write(&shaped.rows)?;
            }
        }
        outcome.fates.add(&fates);
        Ok(())
    }
}
