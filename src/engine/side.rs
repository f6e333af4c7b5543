//! Dead letters: a side stream with a table and progress of its own, shared by all readers of a session.
//!
//! It is committed before the outputs, and only when it has something to say: what lies between its progress and an
//! output's was judged, and had none (docs/adr/0004). An offset that it holds stays a dead letter for every output.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::EngineError;
use super::pipeline::{Batch, Held};
use super::plan::PlannedRange;
use super::table::{Table, TableSpec};
use crate::chunk::SourcePartition;
use crate::config::{Compression, Connector, CreateTable, Files, Mode, SchemaEvolution};
use crate::decode::dead_letter_schema;
use crate::offsets::Fates;
use crate::schema::Origins;
use crate::sink::dead_letters;
use crate::sink::error::SinkError;
use crate::sink::files::FilesWriter;
use crate::sink::history::PartitionInfo;
use crate::sink::progress::{Owner, Topic};

/// Dead letters are few: a file of this size never comes to be, and one batch's letters are one file.
const FILES: Files = Files { target_size: 128 << 20, compression: Compression::Zstd { level: 1 } };

/// The dead-letter table. Cheap to clone; commits go one after the other.
#[derive(Clone)]
pub(super) struct DeadLetters(Arc<Mutex<Table>>);

impl DeadLetters {
    /// Opens the table if the configuration has one; partitions new to it begin where the outputs go on.
    pub(super) async fn open(
        spec: &Connector,
        topics: &BTreeMap<String, Topic>,
        starts: &BTreeMap<Arc<SourcePartition>, i64>,
    ) -> Result<Option<Self>, EngineError> {
        let Some(letters) = spec.dead_letters.as_ref().filter(|_| spec.keeps_dead_letters()) else {
            return Ok(None);
        };
        let mut table = Table::open(&TableSpec {
            owner: Owner::dead_letters(&spec.name),
            location: &letters.table,
            storage: &letters.storage,
            schema: &dead_letter_schema(),
            partition_by: &[],
            mode: &Mode::Append,
            evolution: SchemaEvolution::Fail,
            origins: Origins::NONE,
            create: CreateTable::IfMissing,
            properties: &BTreeMap::new(),
            files: &FILES,
            config: &spec.fingerprint,
        })
        .await?;
        let standing = table.standing(topics)?;
        table.hold(&standing).await?;
        let infos: Vec<PartitionInfo> = starts
            .iter()
            .filter(|(partition, _)| table.next_of(partition).is_none())
            .map(|(partition, &start)| PartitionInfo::at(partition, start, None))
            .collect();
        if !infos.is_empty() {
            table.begin(infos, &standing).await?;
        }
        Ok(Some(Self(Arc::new(Mutex::new(table)))))
    }

    /// Up to where each partition has been judged for certain.
    pub(super) async fn judged(&self) -> BTreeMap<Arc<SourcePartition>, i64> {
        self.0.lock().await.next()
    }

    pub(super) async fn files(&self) -> FilesWriter {
        self.0.lock().await.files()
    }

    /// Offsets in the planned ranges that are dead letters already.
    pub(super) async fn held(&self, planned: &[PlannedRange]) -> Result<Held, SinkError> {
        let table = self.0.lock().await;
        let judged: Vec<_> = planned
            .iter()
            .filter(|p| table.next_of(&p.partition).is_some_and(|next| p.range.start < next))
            .map(|p| (p.partition.clone(), p.range))
            .collect();
        if judged.is_empty() {
            return Ok(Held::new());
        }
        let held = dead_letters::held(&table.store, &judged).await?;
        Ok(held.into_iter().map(|(partition, offsets)| (partition, Arc::new(offsets))).collect())
    }

    /// Commits a batch's dead letters, if it has new ones.
    pub(super) async fn commit(&self, batch: &mut Batch) -> Result<(), EngineError> {
        let files = std::mem::take(&mut batch.written.dead_letters);
        if files.is_empty() {
            return Ok(());
        }
        let mut table = self.0.lock().await;
        let (mut infos, mut below) = (Vec::new(), 0);
        for (partition, range) in &batch.ranges {
            let Some(last) = table.last(partition) else { continue };
            let letters = batch.written.new_dead_letters.get(partition).copied().unwrap_or(0);
            if range.end > last.end {
                let gaps = last.end.abs_diff(range.end).saturating_sub(letters);
                infos.push(last.next(range.end, Fates { rows: letters, gaps, ..Fates::default() }));
            } else if letters > 0 {
                // Added to what was judged before: it moves nothing.
                below += letters;
                infos.push(last.next(last.end, Fates::default()));
            }
        }
        table.commit_with(infos, files, below).await?;
        Ok(())
    }

    pub(super) async fn refresh_txns(&self) -> Result<(), EngineError> {
        Ok(self.0.lock().await.refresh_txns().await?)
    }

    /// Lets work off the hot path come to its end, when nobody else uses the table.
    pub(super) async fn close(self) {
        if let Some(table) = Arc::into_inner(self.0) {
            table.into_inner().close().await;
        }
    }
}
