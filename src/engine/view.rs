//! What Kafka has, looked up once: topics, and where each partition begins and ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::EngineError;
use super::recovery::Extent;
use crate::config::{Source, Start};
use crate::offsets::TopicPartition;
use crate::sink::progress::{Position, Standing, Topic};
use crate::source::{Catalog, Control, OffsetSpec, SourceError};

/// The source as it was a moment ago.
pub struct View {
    pub catalog: Catalog,
    pub extent: Extent,
    pub(super) control: Arc<Control>,
}

impl View {
    pub async fn of(source: &Source) -> Result<Self, EngineError> {
        let control = Arc::new(Control::connect(source)?);
        let catalog = look(&control, Control::discover).await?;
        let mut view = Self { catalog, extent: Extent::default(), control };
        view.extent.earliest = view.offsets(OffsetSpec::Earliest).await?;
        view.extent.latest = view.offsets(OffsetSpec::Latest).await?;
        if let Start::Timestamp(ms) = source.start {
            view.extent.at_time = view.at_time(ms).await?;
        }
        Ok(view)
    }

    /// Looks again where partitions end, if a table has come further than they did: another instance may have committed what
    /// was produced since.
    pub(super) async fn catch_up_with(&mut self, standing: &Standing) -> Result<(), EngineError> {
        let ends = &self.extent.latest;
        let beyond = standing.positions.iter().any(|(partition, position)| match position {
            Position::At(txn) => ends.get(&partition.id).is_some_and(|end| txn.version > *end),
            _ => false,
        });
        if beyond {
            self.extent.latest = self.offsets(OffsetSpec::Latest).await?;
        }
        Ok(())
    }

    /// The first record of each partition that is this young; partitions without one are left out.
    pub async fn at_time(&self, ms: i64) -> Result<BTreeMap<TopicPartition, i64>, EngineError> {
        let mut found = self.offsets(OffsetSpec::Timestamp(ms)).await?;
        found.retain(|_, offset| *offset >= 0);
        Ok(found)
    }

    async fn offsets(
        &self,
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, i64>, EngineError> {
        let ids: Vec<TopicPartition> = self.catalog.partitions().map(|p| p.id).collect();
        look(&self.control, move |control| control.offsets(&ids, spec)).await
    }

    /// `[earliest, latest]` of a partition that Kafka has.
    pub fn bounds(&self, id: &TopicPartition) -> Option<(i64, i64)> {
        let latest = self.extent.latest.get(id)?;
        Some((self.extent.earliest.get(id).copied().unwrap_or(0), *latest))
    }

    /// The topics that an output reads, as its progress is told by them.
    pub fn topics(&self, wanted: Option<&[String]>) -> BTreeMap<String, Topic> {
        let is_wanted = |name: &String| wanted.is_none_or(|wanted| wanted.contains(name));
        self.catalog
            .0
            .iter()
            .filter(|(name, _)| is_wanted(name))
            .map(|(name, entry)| {
                let partitions = i32::try_from(entry.partitions.len()).unwrap_or(i32::MAX);
                (name.clone(), Topic { id: entry.id.clone(), partitions })
            })
            .collect()
    }
}

/// Calls a look-up of Kafka's where blocking is allowed.
pub(super) async fn look<T: Send + 'static>(
    control: &Arc<Control>,
    call: impl FnOnce(&Control) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, EngineError> {
    let control = control.clone();
    let answer = tokio::task::spawn_blocking(move || call(&control)).await;
    answer.map_err(|_| EngineError::ThreadGone("blocking"))?.map_err(EngineError::from)
}
