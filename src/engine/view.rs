//! What Kafka has, looked up once for a command: topics, and where each partition begins and ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Source, Start};
use crate::engine::recovery::Extent;
use crate::offsets::TopicPartition;
use crate::sink::progress::Topic;
use crate::source::{Catalog, Control, OffsetSpec, SourceError};

/// The source as it is now.
pub struct View {
    pub catalog: Catalog,
    pub extent: Extent,
    control: Arc<Control>,
}

impl View {
    /// Looks everything up that recovery would.
    pub async fn of(source: &Source) -> Result<Self, SourceError> {
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

    /// The first record of each partition that is this young; partitions without one are left out.
    pub async fn at_time(&self, ms: i64) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let mut found = self.offsets(OffsetSpec::Timestamp(ms)).await?;
        found.retain(|_, offset| *offset >= 0);
        Ok(found)
    }

    async fn offsets(
        &self,
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
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
        let entries = self.catalog.0.iter();
        let wanted = entries.filter(|(name, _)| wanted.is_none_or(|w| w.contains(name)));
        wanted
            .map(|(name, entry)| {
                let topic = Topic {
                    id: entry.id.clone(),
                    partitions: i32::try_from(entry.partitions.len()).unwrap_or(i32::MAX),
                };
                (name.clone(), topic)
            })
            .collect()
    }
}

/// Calls a look-up where blocking is allowed.
async fn look<T: Send + 'static>(
    control: &Arc<Control>,
    call: impl FnOnce(&Control) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let control = control.clone();
    let answer = tokio::task::spawn_blocking(move || call(&control)).await;
    answer.expect("a look-up doesn't panic")
}
