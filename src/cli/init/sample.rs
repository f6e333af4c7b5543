//! The records that are looked at: the oldest and the newest of each partition, half of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cli::read::{self, Budget};
use crate::config::Source;
use crate::engine::EngineError;
use crate::engine::view::View;
use crate::offsets::TopicPartition;
use crate::source::Event;

/// Bytes of keys and values that are held; the rest of the records is not looked at.
const MAX_BYTES: usize = 128 << 20;

/// A record as it is.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub id: TopicPartition,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    /// `None`: a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Up to `limit` records, by partition and offset.
pub(super) async fn take(source: &Source, limit: u64) -> Result<Vec<Sample>, EngineError> {
    let view = View::of(source).await?;
    let mut budgets: Vec<Budget> = Vec::new();
    for partition in view.catalog.partitions() {
        let (start, end) = view.bounds(&partition.id).unwrap_or((0, 0));
        budgets.push(Budget { partition: Arc::new(partition), start, end });
    }
    let mut newest = budgets.clone();
    read::last_of(&mut newest, &view, limit / 2);
    let source = source.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut samples = Samples::default();
        read::read(&source, budgets, limit - limit / 2, false, &mut |event| samples.hear(event))?;
        if limit > 1 {
            read::read(&source, newest, limit / 2, false, &mut |event| samples.hear(event))?;
        }
        Ok(samples.sorted())
    });
    reading.await.map_err(|_| EngineError::ThreadGone("blocking"))?
}

#[derive(Default)]
struct Samples {
    taken: Vec<Sample>,
    seen: BTreeSet<(TopicPartition, i64)>,
    run: Option<TopicPartition>,
    bytes: usize,
}

impl Samples {
    #[expect(clippy::unnecessary_wraps, reason = "it is what a reader calls")]
    fn hear(&mut self, event: Event<'_>) -> Result<(), EngineError> {
        match event {
            Event::Begin(partition, _) => self.run = Some(partition.id.clone()),
            Event::Record(message) => {
                let id = self.run.clone().expect("a run begins before its records");
                let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                let (key, value) = (own(message.key), own(message.value));
                let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
                self.bytes += size(&key) + size(&value);
                let is_new = self.seen.insert((id.clone(), message.offset));
                if is_new && self.bytes <= MAX_BYTES {
                    self.taken.push(Sample { id, offset: message.offset, key, value });
                }
            }
            Event::End(_) => {}
        }
        Ok(())
    }

    fn sorted(mut self) -> Vec<Sample> {
        self.taken.sort_by(|a, b| (&a.id, a.offset).cmp(&(&b.id, b.offset)));
        self.taken
    }
}
