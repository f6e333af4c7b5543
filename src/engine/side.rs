//! Side streams: dead letters, shared by all readers of a session, and the late rows of each output with windows. They have
//! one table, and progress of their own.
//!
//! It is committed before the outputs, and only when it has something to say: what lies between its progress and an
//! output's was judged, and had none (docs/adr/0004). An offset that it holds stays a dead letter for every output.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::EngineError;
use super::pipeline::Held;
use super::plan::PlannedRange;
use super::table::{Table, TableSpec};
use crate::chunk::SourcePartition;
use crate::config::{
    self, Compression, Connector, CreateTable, Files, Mode, Output, SchemaEvolution,
};
use crate::decode::dead_letter_schema;
use crate::offsets::{Fates, OffsetRange};
use crate::schema::Origins;
use crate::sink::DataFile;
use crate::sink::dead_letters::{self, Kept};
use crate::sink::error::SinkError;
use crate::sink::files::FilesWriter;
use crate::sink::history::PartitionInfo;
use crate::sink::progress::{Owner, Topic};

/// Dead letters are few: a file of this size never comes to be, and one batch's letters are one file.
const FILES: Files = Files { target_size: 128 << 20, compression: Compression::Zstd { level: 1 } };

/// A side stream in the dead-letter table. Cheap to clone; commits go one after the other.
#[derive(Clone)]
pub(super) struct Side {
    table: Arc<Mutex<Table>>,
    kept: Kept,
}

/// New rows of a side stream: files that are not yet in its table, and how many by partition.
#[derive(Debug, Default)]
pub(super) struct SideRows {
    pub(super) files: Vec<DataFile>,
    pub(super) new: BTreeMap<Arc<SourcePartition>, u64>,
}

impl Side {
    /// The dead letters, if the configuration keeps them; partitions new to them begin where the outputs go on.
    pub(super) async fn dead_letters(
        spec: &Connector,
        topics: &BTreeMap<String, Topic>,
        starts: &BTreeMap<Arc<SourcePartition>, i64>,
    ) -> Result<Option<Self>, EngineError> {
        match spec.dead_letters.as_ref().filter(|_| spec.keeps_dead_letters()) {
            None => Ok(None),
            Some(letters) => {
                let owner = Owner::dead_letters(&spec.name);
                Self::open(spec, letters, owner, Kept::BadRecords, topics, starts).await.map(Some)
            }
        }
    }

    /// The late rows of an output, if it keeps them; partitions new to them begin where the output goes on.
    pub(super) async fn late_rows(
        spec: &Connector,
        output: &Output,
        topics: &BTreeMap<String, Topic>,
        starts: &BTreeMap<Arc<SourcePartition>, i64>,
    ) -> Result<Option<Self>, EngineError> {
        if !output.keeps_late_rows() {
            return Ok(None);
        }
        // Without a table they could only be dropped, which validation refuses.
        let Some(letters) = &spec.dead_letters else { return Ok(None) };
        let owner = Owner::late_rows(&spec.name, &output.name);
        let kept = Kept::LateRows(output.name.clone());
        Self::open(spec, letters, owner, kept, topics, starts).await.map(Some)
    }

    async fn open(
        spec: &Connector,
        letters: &config::DeadLetters,
        owner: Owner,
        kept: Kept,
        topics: &BTreeMap<String, Topic>,
        starts: &BTreeMap<Arc<SourcePartition>, i64>,
    ) -> Result<Self, EngineError> {
        let mut table = Table::open(&TableSpec {
            owner,
            location: &letters.table,
            storage: &letters.storage,
            schema: &dead_letter_schema(),
            partition_by: &[],
            mode: &Mode::Append,
            // Tables from before there were late rows get a column.
            evolution: SchemaEvolution::AddColumns,
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
        Ok(Self { table: Arc::new(Mutex::new(table)), kept })
    }

    /// Up to where each partition has been judged for certain.
    pub(super) async fn judged(&self) -> BTreeMap<Arc<SourcePartition>, i64> {
        self.table.lock().await.next()
    }

    pub(super) async fn files(&self) -> FilesWriter {
        self.table.lock().await.files()
    }

    /// Offsets in the planned ranges that it holds already.
    pub(super) async fn held(&self, planned: &[PlannedRange]) -> Result<Held, SinkError> {
        let table = self.table.lock().await;
        let judged: Vec<_> = planned
            .iter()
            .filter(|p| table.next_of(&p.partition).is_some_and(|next| p.range.start < next))
            .map(|p| (p.partition.clone(), p.range))
            .collect();
        if judged.is_empty() {
            return Ok(Held::new());
        }
        let held = dead_letters::held(&table.store, &judged, self.kept.clone()).await?;
        Ok(held.into_iter().map(|(partition, offsets)| (partition, Arc::new(offsets))).collect())
    }

    /// Commits a batch's new rows, if there are any.
    pub(super) async fn commit<'a>(
        &self,
        rows: SideRows,
        ranges: impl Iterator<Item = &'a (Arc<SourcePartition>, OffsetRange)>,
    ) -> Result<(), EngineError> {
        let SideRows { files, new } = rows;
        if files.is_empty() {
            return Ok(());
        }
        let mut table = self.table.lock().await;
        let (mut infos, mut below) = (Vec::new(), 0);
        for (partition, range) in ranges {
            let Some(last) = table.last(partition) else { continue };
            let rows = new.get(partition).copied().unwrap_or(0);
            if range.end > last.end {
                let gaps = last.end.abs_diff(range.end).saturating_sub(rows);
                infos.push(last.next(range.end, Fates { rows, gaps, ..Fates::default() }));
            } else if rows > 0 {
                // Added to what was judged before: it moves nothing.
                below += rows;
                infos.push(last.next(last.end, Fates::default()));
            }
        }
        table.commit_with(infos, files, below).await?;
        Ok(())
    }

    pub(super) async fn refresh_txns(&self) -> Result<(), EngineError> {
        Ok(self.table.lock().await.refresh_txns().await?)
    }

    /// Lets work off the hot path come to its end, when nobody else uses the table.
    pub(super) async fn close(self) {
        if let Some(table) = Arc::into_inner(self.table) {
            table.into_inner().close().await;
        }
    }
}
