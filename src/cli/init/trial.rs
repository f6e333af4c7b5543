//! The samples through the decoder of the configuration that is to be written: what it would refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::sample::Sample;
use super::write::Trial;
use crate::chunk::SourcePartition;
use crate::config::{Connector, OnBadRecord, Payload};
use crate::engine::EngineError;
use crate::engine::decoders::{self, Decoders, KnownSchemas};
use crate::message::Message;
use crate::offsets::{TopicId, TopicPartition};

/// Samples that make a chunk: small enough for any record.
const CHUNK: usize = 256;

/// `None`: the format is taken on trust.
pub(super) async fn decode(
    mut spec: Connector,
    samples: &[Sample],
) -> Result<Option<Trial>, EngineError> {
    for output in spec.outputs.values_mut() {
        let mut decode = output.decode.as_ref().clone();
        decode.on_bad_record = OnBadRecord::Skip;
        if matches!(decode.value, Payload::Avro(_)) {
            return Ok(None);
        }
        output.decode = Arc::new(decode);
    }
    let topics: BTreeSet<String> = samples.iter().map(|s| s.id.topic.to_string()).collect();
    let groups = decoders::groups(&spec, &topics);
    let groups = decoders::with_schemas(groups, &KnownSchemas::default()).await?;
    let mut decoders = Decoders::new(&groups, &spec.fingerprint)?;
    let mut trial = Trial { records: samples.len() as u64, ..Trial::default() };
    for run in runs(samples) {
        decode_run(&mut decoders, run, &mut trial)?;
    }
    trial.first_bad = decoders.take_first_bad().map(|bad| bad.to_string());
    Ok(Some(trial))
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
    trial.bad += decoders.finish(last.offset + 1).fates.skipped;
    Ok(())
}
