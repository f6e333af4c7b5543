//! One process with the output, from its start to its end: what the engine does, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::chunk::Chunk;
use crate::config::{OnDataLoss, Output, Start};
use crate::engine::recovery::{self, Extent, Rules};
use crate::engine::windows::{EpochDone, Readings, WindowRows, WindowShape, Windowed};
use crate::engine::{EngineError, Table, TableSpec};
use crate::observability::WindowMetrics;
use crate::offsets::{Fates, OffsetRange, TopicId};
use crate::schema::Origins;
use crate::sink::Committed;
use crate::sink::progress::{Owner, Topic};
use crate::sink::store::TableStore;
use crate::transform::window::tests::case::{Case, Record};
use crate::transform::window::tests::dedup::place;
use crate::transform::window::tests::model::name;
use crate::transform::window::tests::run::partition;
use crate::transform::window::{Confirmed, Reading};

pub(super) const TOPIC: &str = "orders";

/// What all instances of a story share.
pub(super) struct Plan {
    pub(super) case: Case,
    pub(super) output: Output,
    pub(super) shape: Arc<WindowShape>,
    pub(super) metrics: WindowMetrics,
}

pub(super) struct Instance {
    pub(super) table: Table,
    windowed: Windowed,
    /// As if all that is read were committed.
    position: Vec<usize>,
    reading: Option<WindowRows>,
    waiting: Option<Waiting>,
}

/// An epoch that waits for its commit.
pub(super) struct Waiting {
    pub(super) done: EpochDone,
    ends: Vec<usize>,
}

impl Plan {
    pub(super) fn owner() -> Owner {
        Owner::output("shop", "story")
    }
}

impl Instance {
    pub(super) async fn start(plan: &Plan, store: TableStore) -> Result<Self, EngineError> {
        let count = plan.case.partitions.len();
        let mut table = Table::over(
            store,
            &TableSpec {
                owner: Plan::owner(),
                location: &plan.output.table,
                storage: &plan.output.storage,
                schema: plan.shape.schema(),
                partition_by: &plan.output.partition_by,
                mode: &plan.output.mode,
                evolution: plan.output.schema_evolution,
                origins: Origins::NONE,
                create: plan.output.create,
                properties: &plan.output.table_properties,
                files: &plan.output.files,
                config: "a fingerprint",
            },
        )
        .await?;
        let topic = Topic { id: TopicId::unknown(), partitions: count as i32 };
        let standing = table.standing(&BTreeMap::from([(TOPIC.to_owned(), topic)]))?;
        table.hold(&standing).await?;
        let rules = Rules { start: &Start::Earliest, on_data_loss: OnDataLoss::Fail };
        let mut extent = Extent::default();
        for (number, records) in plan.case.partitions.iter().enumerate() {
            extent.latest.insert(partition(number).id, records.len() as i64);
        }
        let infos =
            recovery::opening(rules, "story", &standing, &extent, |of| table.last(of).cloned())?;
        if !infos.is_empty() {
            table.begin(infos, &standing).await?;
        }
        let (shape, metrics) = (plan.shape.clone(), plan.metrics.clone());
        let windowed = Windowed::restore(shape, &plan.output, &mut table, metrics).await?;
        let next = |number| table.next_of(&partition(number)).expect("it was begun");
        let position = (0..count).map(|number| next(number) as usize).collect();
        Ok(Self { table, windowed, position, reading: None, waiting: None })
    }

    /// Reads up to so many rows more of a partition.
    pub(super) async fn read(
        &mut self,
        case: &Case,
        number: usize,
        rows: usize,
    ) -> Result<(), EngineError> {
        let (from, end) = (self.position[number], case.partitions[number].len());
        let to = from.saturating_add(rows).min(end);
        if from == to {
            return Ok(());
        }
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.windowed.begin(&[]).await?,
        };
        reading.chunk(&chunk(number, from..to, &case.partitions[number][from..to]))?;
        self.reading = Some(reading);
        self.position[number] = to;
        Ok(())
    }

    pub(super) fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// Ends the epoch under way, if there is something in it. `ends`: there won't be another one.
    pub(super) async fn finish(
        &mut self,
        case: &Case,
        toggled: &BTreeSet<usize>,
        ends: bool,
    ) -> Result<(), EngineError> {
        assert!(self.waiting.is_none(), "it is committed first");
        let moved = self.reading.is_some();
        let readings = self.readings(case, toggled);
        if !moved && !self.windowed.is_due(&readings, ends) {
            return Ok(());
        }
        let rows = match self.reading.take() {
            Some(rows) => rows,
            None => self.windowed.begin(&[]).await?,
        };
        let done = self.windowed.finish(rows, moved, &readings, &self.table).await?;
        let ends = self.position.clone();
        self.waiting = done.map(|done| Waiting { done, ends });
        Ok(())
    }

    /// Of the partitions toggled, those that the windows know become idle, or come back; others join.
    fn readings(&self, case: &Case, toggled: &BTreeSet<usize>) -> Readings {
        let known = match &self.reading {
            Some(reading) => reading.epoch.watermarks(),
            None => &self.windowed.watermarks,
        };
        let end = Some(Confirmed { offset: 0, at: Duration::MAX });
        let mut readings = Readings::new();
        for number in 0..case.partitions.len() {
            let of = partition(number);
            let (known, toggled) = (known.partitions().get(&of), toggled.contains(&number));
            if known.is_none() && case.strangers.contains(&number) && !toggled {
                continue;
            }
            let is_idle = known.is_some_and(|known| known.idle != toggled);
            let high_watermark = end.filter(|_| is_idle);
            readings.insert(of, Reading { position: 0, high_watermark, paused: false });
        }
        readings
    }

    /// Commits the epoch that waits; `None`: there is none.
    pub(super) async fn commit(&mut self) -> Result<Option<Committed>, EngineError> {
        let Some(Waiting { done, ends }) = self.waiting.take() else { return Ok(None) };
        let mut infos = Vec::new();
        for (number, end) in ends.into_iter().enumerate() {
            let of = partition(number);
            let last = self.table.last(&of).expect("it was begun");
            let rows = end as u64 - last.end as u64;
            if rows > 0 {
                let mut fates = Fates { rows, ..Fates::default() };
                done.settle(&of, &mut fates);
                infos.push(last.next(end as i64, fates));
            }
        }
        let committed = self.windowed.commit(done, infos, &mut self.table).await??;
        Ok(Some(committed))
    }

    pub(super) async fn close(self) {
        self.windowed.close().await;
        self.table.close().await;
    }
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A chunk's columns.
pub(super) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", instant(), true),
        Field::new("key", DataType::Utf8, true),
        Field::new("amount", DataType::Int64, true),
        Field::new("kept", DataType::Boolean, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("place", DataType::Int64, false),
        Field::new("kafka_timestamp", instant(), true),
    ]))
}

fn chunk(number: usize, offsets: Range<usize>, records: &[Record]) -> Chunk {
    let times = |of: fn(&Record) -> Option<i64>| -> ArrayRef {
        let times = records.iter().map(of).collect::<TimestampMicrosecondArray>();
        Arc::new(times.with_timezone("UTC"))
    };
    let keys = records.iter().map(|record| record.key.map(|key| format!("key {key}")));
    let amounts: Int64Array = records.iter().map(|record| record.amount).collect();
    let kept: BooleanArray = records.iter().map(|record| Some(record.kept)).collect();
    let names = offsets.clone().map(|offset| Some(name((number, offset))));
    let places: Int64Array = offsets.clone().map(|offset| Some(place(number, offset))).collect();
    let columns_of: Vec<ArrayRef> = vec![
        times(|record| record.time),
        Arc::new(keys.collect::<StringArray>()),
        Arc::new(amounts),
        Arc::new(kept),
        Arc::new(names.collect::<StringArray>()),
        Arc::new(places),
        times(Record::record_time),
    ];
    let rows = records.len() as u64;
    Chunk {
        partition: Arc::new(partition(number)),
        range: OffsetRange::new(offsets.start as i64, offsets.end as i64),
        rows: RecordBatch::try_new(columns(), columns_of).expect("its columns"),
        row_offsets: offsets.map(|offset| Some(offset as i64)).collect(),
        deletions: None,
        dead_letters: None,
        fates: Fates { rows, ..Fates::default() },
        payload_bytes: 0,
    }
}
