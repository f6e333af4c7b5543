//! Decoders by topic: what is decoded alike shares one.
//!
//! Outputs that share a `decode` share a decoder, for all their topics. Where each topic has a table of its own and
//! the columns follow the topic's schemas, each topic has a decoder of its own: their columns differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{Schema, SchemaRef};

use super::EngineError;
use super::windows::NEEDED_OF_LATE_ROWS;
use crate::chunk::{Chunk, SourcePartition};
use crate::config::{
    Connector, Decode, MetadataColumn, Mode, OnBadRecord, OnIncompatibleSchema, Output,
};
use crate::decode::{BadRecord, DecodeError, Decoder, Schemas};
use crate::message::Message;
use crate::schema::Origins;
use crate::sink::create::TableError;
use crate::sink::features::TableProblem;

/// The schemas known so far, by the topics that share them. They outlive sessions.
#[derive(Default)]
pub struct KnownSchemas(Mutex<BTreeMap<Key, Schemas>>);

/// The first output of a group and its topics.
type Key = (String, BTreeSet<String>);

/// Topics that are decoded alike, and what their outputs ask of the decoder.
#[derive(Clone)]
pub struct Group {
    pub decode: Arc<Decode>,
    pub topics: BTreeSet<String>,
    /// Its first output.
    output: String,
    schemas: Schemas,
    metadata: BTreeSet<MetadataColumn>,
    /// An output upserts by decoded keys: tombstones are rows.
    tombstones: bool,
}

impl Group {
    fn of<'a>(
        decode: &Arc<Decode>,
        topics: BTreeSet<String>,
        outputs: impl Iterator<Item = &'a Output>,
    ) -> Self {
        let (mut metadata, mut upserts, mut first) = (BTreeSet::new(), false, None);
        for output in outputs {
            first.get_or_insert(&output.name);
            metadata.extend(output.metadata_columns.iter().copied());
            if output.watermark().is_some_and(|watermark| watermark.max_future.is_some()) {
                metadata.insert(MetadataColumn::Timestamp);
            }
            if output.keeps_late_rows() {
                metadata.extend(NEEDED_OF_LATE_ROWS);
            }
            upserts |= matches!(output.mode, Mode::Upsert { .. });
        }
        let tombstones = upserts && decode.key.is_some();
        Self {
            decode: decode.clone(),
            topics,
            output: first.cloned().unwrap_or_default(),
            schemas: Schemas::none(),
            metadata,
            tombstones,
        }
    }

    pub fn decoder(&self, fingerprint: &str) -> Result<Decoder, DecodeError> {
        let decoder = Decoder::new(&self.decode, &self.schemas, &self.metadata, self.tombstones)?;
        Ok(decoder.with_fingerprint(fingerprint))
    }

    /// The columns of its chunks.
    pub fn row_schema(&self) -> Result<SchemaRef, DecodeError> {
        Ok(self.decoder("")?.row_schema())
    }

    /// Where those of its columns come from that follow schemas, for messages.
    pub fn origins(&self, rows: &Schema) -> Origins {
        let told = rows.fields().iter().filter_map(|field| {
            self.schemas.row_origin(field.name()).map(|origin| (field.name().clone(), origin))
        });
        told.fold(Origins::default(), |origins, (column, origin)| origins.with(column, origin))
    }

    /// A table can't take the columns. If a schema brought one of those that don't fit, it gives way, as far as the
    /// policy allows; `None`: nothing does. Otherwise decoders made anew have other columns.
    pub async fn give_way(
        &self,
        problems: &[TableProblem],
    ) -> Result<Option<DecodeError>, DecodeError> {
        let brought =
            |problem: &TableProblem| Some((problem.origin()?.to_owned(), problem.to_string()));
        let Some((origin, problem)) = problems.iter().find_map(brought) else { return Ok(None) };
        let gave_way = self.schemas.give_way(&origin, &problem).await?;
        let changes = format!("the table can't take what it brings ({problem})");
        Ok(gave_way.then_some(DecodeError::SchemaChanged { origin, changes }))
    }

    /// The same for what opening a table came to: the error to recover from.
    pub(super) async fn unfit(&self, error: EngineError) -> EngineError {
        let EngineError::Table(TableError::Unfit { problems, .. }) = &error else { return error };
        match self.give_way(problems).await {
            Ok(Some(change)) | Err(change) => change.into(),
            Ok(None) => error,
        }
    }

    /// With every bad record a dead letter, whatever becomes of it in a run.
    #[must_use]
    pub fn keeping_bad_records(mut self) -> Self {
        self.decode = Arc::new(Decode {
            on_bad_record: OnBadRecord::DeadLetter,
            on_incompatible_schema: OnIncompatibleSchema::DeadLetter,
            ..self.decode.as_ref().clone()
        });
        self
    }

    /// Whether an output gets what it decodes.
    pub fn serves(&self, output: &Output) -> bool {
        Arc::ptr_eq(&self.decode, &output.decode)
            && (self.topics.is_empty() || self.topics.iter().any(|topic| output.takes(topic)))
    }
}

/// The groups of a connector's topics. `spec` has one output for each table.
pub fn groups(spec: &Connector, topics: &BTreeSet<String>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for output in spec.outputs.values() {
        if groups.iter().any(|group| Arc::ptr_eq(&group.decode, &output.decode)) {
            continue;
        }
        let sharing = || spec.outputs.values().filter(|o| Arc::ptr_eq(&o.decode, &output.decode));
        let taken = |topic: &&String| sharing().any(|output| output.takes(topic));
        let topics: BTreeSet<String> = topics.iter().filter(taken).cloned().collect();
        if output.decode.follows_schemas() && sharing().all(|output| output.per_topic) {
            let of_topic = |topic: String| {
                let outputs = sharing().filter(|output| output.takes(&topic));
                Group::of(&output.decode, BTreeSet::from([topic.clone()]), outputs)
            };
            groups.extend(topics.into_iter().map(of_topic));
        } else if !topics.is_empty() || !output.decode.follows_schemas() {
            groups.push(Group::of(&output.decode, topics, sharing()));
        }
    }
    groups
}

/// The groups with their schemas; those of a registry are asked for once in the life of a process.
pub async fn with_schemas(
    mut groups: Vec<Group>,
    known: &KnownSchemas,
) -> Result<Vec<Group>, EngineError> {
    let look = |key: &Key| known.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    for group in &mut groups {
        let key = (group.output.clone(), group.topics.clone());
        group.schemas = match look(&key) {
            Some(schemas) => schemas,
            None => {
                let schemas = Schemas::open(&group.decode, &group.topics).await?;
                let mut known = known.0.lock().unwrap_or_else(PoisonError::into_inner);
                known.entry(key).or_insert(schemas).clone()
            }
        };
    }
    Ok(groups)
}

/// One decoder for each group, in their order; one of them has a run at a time.
pub struct Decoders {
    decoders: Vec<Decoder>,
    by_topic: BTreeMap<String, usize>,
    current: usize,
}

impl Decoders {
    pub fn new(groups: &[Group], fingerprint: &str) -> Result<Self, EngineError> {
        let decoders: Result<Vec<Decoder>, DecodeError> =
            groups.iter().map(|group| group.decoder(fingerprint)).collect();
        let topics = groups.iter().enumerate();
        let by_topic =
            topics.flat_map(|(id, group)| group.topics.iter().map(move |t| (t.clone(), id)));
        Ok(Self { decoders: decoders?, by_topic: by_topic.collect(), current: 0 })
    }

    pub fn decodes(&self, topic: &str) -> bool {
        self.by_topic.contains_key(topic)
    }

    pub fn wants_headers(&self) -> bool {
        self.decoders.iter().any(Decoder::wants_headers)
    }

    /// # Panics
    /// When no group has the partition's topic: only topics that outputs take are read.
    pub fn begin(
        &mut self,
        partition: Arc<SourcePartition>,
        start: i64,
        held: Option<Arc<BTreeSet<i64>>>,
    ) {
        self.current = self.by_topic[&*partition.id.topic];
        self.decoders[self.current].begin(partition, start, held);
    }

    pub fn push(&mut self, message: &Message<'_>) -> Result<(), DecodeError> {
        self.decoders[self.current].push(message)
    }

    /// Whether the chunk must be finished before the next message.
    pub fn is_full(&self) -> bool {
        self.decoders[self.current].is_full()
    }

    pub fn finish(&mut self, end: i64) -> Chunk {
        self.decoders[self.current].finish(end)
    }

    /// The first bad record of any topic since this was asked last.
    pub fn take_first_bad(&mut self) -> Option<BadRecord> {
        let mut bad = self.decoders.iter_mut().map(Decoder::take_first_bad);
        bad.by_ref().fold(None, |first, next| first.or(next))
    }
}
