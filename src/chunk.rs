//! What moves down the pipeline: decoded rows of one partition.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array};
use arrow::record_batch::RecordBatch;

use crate::offsets::{Fates, OffsetRange, TopicId, TopicPartition};

/// A partition under the topic id that its records were read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePartition {
    pub id: TopicPartition,
    pub topic_id: TopicId,
}

/// Up to [`MAX_CHUNK_ROWS`] decoded rows of ONE partition, in offset order.
///
/// A chunk covers every offset of `range`, holes included, so the ranges of a partition's chunks are
/// contiguous and their fates add up.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub partition: Arc<SourcePartition>,
    pub range: OffsetRange,
    /// The value's columns, the rescue column, the key's column, the change columns, then the metadata columns asked for.
    pub rows: RecordBatch,
    /// The Kafka offset of each row of `rows`, ascending.
    pub row_offsets: Int64Array,
    /// The rows that delete their key's row; `None`: none does. Outputs that append leave tombstones out.
    pub deletions: Option<Deletions>,
    /// The records refused by the decoder, in the dead-letter table's schema; `None` when there are none
    /// or when the policy isn't `dead_letter`.
    pub dead_letters: Option<RecordBatch>,
    /// `rows` is counted here before any output filters, without tombstones; `fates.total() == range.len()`.
    pub fates: Fates,
    /// Bytes of keys and values as Kafka delivered them.
    pub payload_bytes: u64,
}

/// Which rows of a chunk delete.
#[derive(Debug, Clone)]
pub struct Deletions {
    /// Per row: it deletes its key's row. No nulls.
    pub deletes: BooleanArray,
    /// Per row: it is a record without a value, of which there is nothing but the key. It deletes, too. No nulls.
    pub tombstones: BooleanArray,
}

/// Rows in a chunk: small enough that a chunk's columns stay in the cache while they are built and
/// encoded (docs/adr/0003: 32 k rows cost 1.7 times as much a row as 8 k).
pub const MAX_CHUNK_ROWS: usize = 8192;
