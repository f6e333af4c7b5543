//! The samples through the decoder of the configuration that is to be written: what it would refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::recognise::Found;
use super::sample::Sample;
use super::write::Trial;
use crate::chunk::SourcePartition;
use crate::config::Connector;
use crate::engine::EngineError;
use crate::engine::decoders::{self, Decoders, Group, KnownSchemas};
use crate::message::Message;
use crate::offsets::{TopicId, TopicPartition};

/// Samples that make a chunk: small enough for any record.
const CHUNK: usize = 256;

/// How often columns may change on the way through the samples: once for each schema that is looked up.
const MAX_CHANGES: usize = 20;

/// Decodes the samples, but for those that name schemas which the registry doesn't have: each would be asked for again.
pub(super) async fn decode(
    spec: Connector,
    mut samples: Vec<Sample>,
    found: &Found,
) -> Result<Trial, EngineError> {
    let topics: BTreeSet<String> = samples.iter().map(|s| s.id.topic.to_string()).collect();
    samples.retain(|sample| !found.ids.is_other(sample));
    let (denied, samples): (Vec<Sample>, Vec<Sample>) =
        samples.into_iter().partition(|sample| found.ids.is_denied(sample));
    let (samples, known) = (Arc::new(samples), KnownSchemas::default());
    for _ in 0..MAX_CHANGES {
        let groups = decoders::groups(&spec, &topics).into_iter().map(Group::keeping_bad_records);
        let groups = decoders::with_schemas(groups.collect(), &known).await?;
        let (samples, fingerprint) = (samples.clone(), spec.fingerprint.clone());
        // A decoder may wait for the registry.
        let decoding =
            tokio::task::spawn_blocking(move || decode_all(&groups, &fingerprint, &samples));
        match decoding.await.map_err(|_| EngineError::ThreadGone("blocking"))? {
            Err(change) if change.changes_columns() => {}
            Err(error) => return Err(error),
            Ok(mut trial) => {
                trial.records += denied.len() as u64;
                trial.bad += denied.len() as u64;
                if trial.first_bad.is_none() && !denied.is_empty() {
                    trial.first_bad =
                        Some("it names a schema that the registry does not have".into());
                }
                return Ok(trial);
            }
        }
    }
    let records = (samples.len() + denied.len()) as u64;
    Ok(Trial { records, bad: found.others + denied.len() as u64, first_bad: None })
}

fn decode_all(
    groups: &[Group],
    fingerprint: &str,
    samples: &[Sample],
) -> Result<Trial, EngineError> {
    let mut decoders = Decoders::new(groups, fingerprint)?;
    let mut trial = Trial { records: samples.len() as u64, ..Trial::default() };
    for run in runs(samples) {
        decode_run(&mut decoders, run, &mut trial)?;
    }
    trial.first_bad = decoders.take_first_bad().map(|bad| bad.to_string());
    Ok(trial)
}

/// Samples of one partition each.
fn runs(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    let mut by_partition: BTreeMap<&TopicPartition, Vec<&[Sample]>> = BTreeMap::new();
    for alike in samples.chunk_by(|a, b| a.id == b.id) {
        by_partition.entry(&alike[0].id).or_default().extend(alike.chunks(CHUNK));
    }
    by_partition.into_values().flatten()
}

fn decode_run(
    decoders: &mut Decoders,
    run: &[Sample],
    trial: &mut Trial,
) -> Result<(), EngineError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    let partition = SourcePartition { id: first.id.clone(), topic_id: TopicId::unknown() };
    decoders.begin(Arc::new(partition), first.offset, None);
    for sample in run {
        decoders.push(&Message {
            offset: sample.offset,
            timestamp_ms: None,
            key: sample.key.as_deref(),
            value: sample.value.as_deref(),
            headers: &[],
        })?;
    }
    trial.bad += decoders.finish(last.offset + 1).fates.dead_letters;
    Ok(())
}
