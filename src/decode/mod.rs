//! Messages of one partition into chunks of rows.
//!
//! Guarantees: each message pushed is exactly one row, dead letter, skipped record or tombstone of the chunk, and each
//! offset of the chunk's range that no message had is a gap, so `fates` add up to the range. A bad record costs
//! itself only; value, key and metadata of a record are one row or none. Per record there is no allocation (but for bad ones), lock, clock or log.
//!
//! Does not read Kafka, filter, or judge how many bad records are too many: the engine does, from the fates.

mod avro;
mod buffers;
mod bytes;
mod dead_letters;
mod debezium;
mod deletions;
mod error;
mod flaw;
mod json;
mod key;
mod metadata;
mod nested;
mod payload;
mod raw;
pub mod registry;
mod rows;
mod schemas;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

pub use dead_letters::dead_letter_schema;
pub use error::{BadRecord, ColumnName, ColumnOrigin, DecodeError};
pub use flaw::Part;
pub use metadata::metadata_field;
pub use schemas::Schemas;

use crate::chunk::{Chunk, MAX_CHUNK_ROWS, SourcePartition};
use crate::config::{Decode, MetadataColumn, OnBadRecord};
use crate::message::Message;
use crate::offsets::{Fates, OffsetRange};
use buffers::take;
use dead_letters::DeadLetterRows;
use flaw::{Flaw, Reject, Scan};
use metadata::MetadataRows;
use rows::Rows;

/// Bytes of keys, values and headers at which a chunk is full: about four times 8,192 records of 260 B, so that only
/// large records are cut by it. It also keeps every buffer far below the 2 GiB that Arrow's offsets reach.
pub const MAX_CHUNK_BYTES: u64 = 8 << 20;

/// The largest message that is decoded, whatever `max_message_size` allows (Kafka's own limit is 2 GiB).
const LARGEST_MESSAGE: u64 = 1 << 30;

/// Decodes the messages of one partition at a time: `begin`, then `push` and `finish` by turns.
pub struct Decoder {
    row_schema: SchemaRef,
    on_bad_record: OnBadRecord,
    max_message_size: u64,
    fingerprint: String,
    rows: Rows,
    metadata: MetadataRows,
    offsets: Vec<i64>,
    dead_letters: DeadLetterRows,
    run: Option<Run>,
    fates: Fates,
    payload_bytes: u64,
    header_bytes: u64,
    first_bad: Option<BadRecord>,
}

/// Where in which partition the decoder is.
struct Run {
    partition: Arc<SourcePartition>,
    /// The first offset of the chunk.
    start: i64,
    /// The smallest offset that the next message can have.
    next: i64,
    held: Option<Arc<BTreeSet<i64>>>,
    /// A record was refused for good: what has been read can't become a chunk any more.
    failed: bool,
}

impl Decoder {
    /// `metadata`: the metadata columns of all outputs together. `tombstones`: a record with a decoded key and no value is
    /// a row that deletes, for outputs that upsert; all but the metadata columns are nullable then.
    pub fn new(
        spec: &Decode,
        schemas: &Schemas,
        metadata: &BTreeSet<MetadataColumn>,
        tombstones: bool,
    ) -> Result<Self, DecodeError> {
        let rows = Rows::new(spec, schemas, tombstones)?;
        Ok(Self {
            row_schema: row_schema(rows.fields(spec), metadata)?,
            on_bad_record: spec.on_bad_record,
            max_message_size: spec.max_message_size.min(LARGEST_MESSAGE),
            fingerprint: String::new(),
            rows,
            metadata: MetadataRows::new(metadata),
            offsets: Vec::new(),
            dead_letters: DeadLetterRows::new(),
            run: None,
            fates: Fates::default(),
            payload_bytes: 0,
            header_bytes: 0,
            first_bad: None,
        })
    }

    /// The configuration's fingerprint, for the dead letters' column `config_fingerprint`.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: &str) -> Self {
        self.fingerprint = fingerprint.to_owned();
        self
    }

    /// The value's columns, the rescue column, the key's column, the change columns in their order, the metadata columns in
    /// the order of their enum.
    pub fn row_schema(&self) -> SchemaRef {
        Arc::clone(&self.row_schema)
    }

    /// Whether messages must come with their headers.
    pub fn wants_headers(&self) -> bool {
        self.metadata.wants(MetadataColumn::Headers)
            || self.on_bad_record == OnBadRecord::DeadLetter
    }

    /// Starts a chunk at offset `start` of a partition; what was pushed and not finished is dropped.
    ///
    /// `held`: offsets that the dead-letter table already has. They stay dead letters whatever the decoder would say
    /// now, and get no second row there.
    pub fn begin(
        &mut self,
        partition: Arc<SourcePartition>,
        start: i64,
        held: Option<Arc<BTreeSet<i64>>>,
    ) {
        if let Some(run) = self.run.take() {
            self.take_chunk(&run.partition, OffsetRange::new(run.start, run.next));
        }
        self.run = Some(Run { partition, start, next: start, held, failed: false });
    }

    /// Takes the next message of the partition.
    ///
    /// # Errors
    /// A bad record under `on_bad_record: fail`, and what is wrong with no record: a registry that doesn't answer, a
    /// schema that the columns can't take or must be changed for. The run can't be finished after that; `begin` again.
    ///
    /// # Panics
    /// Before `begin`, and when offsets don't grow: that would count a record twice.
    pub fn push(&mut self, message: &Message<'_>) -> Result<(), DecodeError> {
        let run = self.run.as_mut().expect("`begin` comes before `push`");
        assert!(message.offset >= run.next, "offset {} after {}", message.offset, run.next - 1);
        run.next = message.offset + 1;
        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
        let bytes = size(message.key) + size(message.value);
        self.payload_bytes += bytes;
        if !message.headers.is_empty() {
            let sizes = message.headers.iter().map(|h| h.name.len() as u64 + size(h.value));
            self.header_bytes += sizes.sum::<u64>();
        }
        if run.held.as_ref().is_some_and(|held| held.contains(&message.offset)) {
            self.fates.dead_letters += 1;
            return Ok(());
        }
        if let Err(error) = self.rows.prepare(message.key, message.value) {
            run.failed = true;
            return Err(error);
        }
        let read = match message.value {
            Some(value) => self.row(message, value, bytes),
            None if self.rows.takes_tombstone(message.key) => self.tombstone(message, bytes),
            None => Ok(()),
        };
        match read {
            Ok(()) if message.value.is_some() => self.fates.rows += 1,
            Ok(()) => self.fates.tombstones += 1,
            Err(reject) => return self.refuse(message, &reject),
        }
        Ok(())
    }

    /// Rows in the chunk so far; bad records are none, and tombstones only where they delete.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether the chunk must be finished before the next message.
    pub fn is_full(&self) -> bool {
        self.fates.records() >= MAX_CHUNK_ROWS as u64
            || self.payload_bytes + self.header_bytes >= MAX_CHUNK_BYTES
            || self.rows.is_full()
    }

    /// What was pushed, as the chunk that covers all offsets from its start up to `end`. The partition's next chunk
    /// starts at `end`.
    ///
    /// # Panics
    /// Before `begin`, when a message at or past `end` was pushed, and after `push` failed.
    pub fn finish(&mut self, end: i64) -> Chunk {
        let mut run = self.run.take().expect("`begin` comes before `finish`");
        assert!(!run.failed, "a run with a record that was refused for good has no chunk");
        assert!(end >= run.next, "offset {} was pushed, and the chunk ends at {end}", run.next - 1);
        let chunk = self.take_chunk(&run.partition, OffsetRange::new(run.start, end));
        (run.start, run.next) = (end, end);
        self.run = Some(run);
        chunk
    }

    /// The first bad record since this was asked last: what to tell when a batch has too many of them.
    pub fn take_first_bad(&mut self) -> Option<BadRecord> {
        self.first_bad.take()
    }

    /// Appends a row, or nothing.
    #[inline]
    fn row(&mut self, message: &Message<'_>, value: &[u8], bytes: u64) -> Scan<()> {
        self.check(message, bytes)?;
        self.rows.read(message.key, value)?;
        self.metadata.push(message);
        self.offsets.push(message.offset);
        Ok(())
    }

    /// Appends the row of a record without a value, or nothing.
    fn tombstone(&mut self, message: &Message<'_>, bytes: u64) -> Scan<()> {
        self.check(message, bytes)?;
        self.rows.read_tombstone(message.key)?;
        self.metadata.push(message);
        self.offsets.push(message.offset);
        Ok(())
    }

    #[inline]
    fn check(&self, message: &Message<'_>, bytes: u64) -> Scan<()> {
        if bytes > self.max_message_size {
            let limit = self.max_message_size;
            return Err(Reject::outside_value(Flaw::TooLarge { bytes, limit }));
        }
        self.metadata.check(message)
    }

    #[cold]
    fn refuse(&mut self, message: &Message<'_>, reject: &Reject) -> Result<(), DecodeError> {
        let run = self.run.as_mut().expect("`push` has looked");
        let (code, reason) = (reject.flaw.code(), reject.to_string());
        let partition = run.partition.id.clone();
        let bad = BadRecord { partition, offset: message.offset, code, reason };
        match self.on_bad_record {
            OnBadRecord::Fail => {
                run.failed = true;
                return Err(DecodeError::BadRecord(Box::new(bad)));
            }
            OnBadRecord::Skip => self.fates.skipped += 1,
            OnBadRecord::DeadLetter => {
                self.fates.dead_letters += 1;
                self.dead_letters.push(message, &bad);
            }
        }
        self.first_bad.get_or_insert(bad);
        Ok(())
    }

    fn take_chunk(&mut self, partition: &Arc<SourcePartition>, range: OffsetRange) -> Chunk {
        let mut fates = std::mem::take(&mut self.fates);
        fates.gaps = range.len() - fates.records();
        let row_offsets = Int64Array::from(take(&mut self.offsets));
        let (mut columns, deletions) = self.rows.finish();
        columns.extend(self.metadata.finish(partition, &row_offsets));
        let options = RecordBatchOptions::new().with_row_count(Some(row_offsets.len()));
        let rows = RecordBatch::try_new_with_options(self.row_schema(), columns, &options);
        self.header_bytes = 0;
        Chunk {
            partition: Arc::clone(partition),
            range,
            deletions,
            rows: rows.expect("each column got one value per row, and nulls only where allowed"),
            row_offsets,
            dead_letters: self.dead_letters.finish(partition, &self.fingerprint),
            fates,
            payload_bytes: std::mem::take(&mut self.payload_bytes),
        }
    }
}

/// All columns, if no two have one name.
fn row_schema(
    columns: Vec<(FieldRef, ColumnOrigin)>,
    metadata: &BTreeSet<MetadataColumn>,
) -> Result<SchemaRef, DecodeError> {
    let metadata = metadata.iter().map(|column| Arc::new(metadata_field(*column)));
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut origins: HashMap<String, ColumnName> = HashMap::new();
    for (field, origin) in columns.into_iter().chain(metadata.map(|f| (f, ColumnOrigin::Metadata)))
    {
        let column = ColumnName { name: field.name().clone(), origin };
        if let Some(twin) = origins.insert(field.name().to_lowercase(), column.clone()) {
            return Err(DecodeError::ColumnTwice(twin, column));
        }
        fields.push(field);
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests;
