//! What a topic's records are, told from their bytes and, where there is one, from the schema registry.

use std::collections::BTreeSet;

use serde_json::Value;

use super::infer::{self, Columns};
use super::observe::Seen;
use super::sample::Sample;
use crate::config::SubjectNames;
use crate::decode::registry::{Client, RegistryError, SchemaKind, subject_of};

/// Share of the samples that must be of one kind; the others will be bad records.
const MOST: f64 = 0.9;
/// Different schema ids that are looked up; asking for one that nobody knows takes a second or two.
const MAX_IDS: usize = 16;
/// Confluent's wire format: a zero byte and four of an id.
const CONFLUENT: usize = 5;
/// Avro's single-object encoding.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];
/// What Debezium says happened: create, update, delete, read (snapshot), truncate, message.
const OPERATIONS: [&str; 6] = ["c", "u", "d", "r", "t", "m"];

/// How a topic can be read.
#[derive(Debug)]
pub(super) enum Format {
    Avro { source: AvroSource, envelope: bool },
    Json { columns: Columns, confluent: bool, envelope: bool },
    String,
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AvroSource {
    /// `by_topic`: there is a subject of the topic's name.
    Registry {
        by_topic: bool,
    },
    File {
        single_object: bool,
    },
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Found {
    pub format: Format,
    /// Fields of the record key that are columns of the row, for upserts.
    pub key: Vec<String>,
    /// Keys are text.
    pub text_keys: bool,
    /// Records with a value that aren't of the format.
    pub others: u64,
    /// Of a registry.
    pub ids: Ids,
    pub notes: Vec<String>,
}

/// Schema ids that are not known.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// The registry doesn't have them, or they can't be used.
    denied: BTreeSet<u32>,
    /// More than are looked up.
    others: BTreeSet<u32>,
}

impl Ids {
    pub(super) fn is_denied(&self, sample: &Sample) -> bool {
        named(sample).is_some_and(|id| self.denied.contains(&id))
    }

    pub(super) fn is_other(&self, sample: &Sample) -> bool {
        named(sample).is_some_and(|id| self.others.contains(&id))
    }
}

fn named(sample: &Sample) -> Option<u32> {
    sample.value.as_deref().and_then(schema_id)
}

/// Why nothing can be written: what is missing.
pub(super) type Missing = String;

/// What besides Kafka tells of the records.
pub(super) struct Help<'a> {
    pub registry: Option<&'a Client>,
    pub subjects: &'a SubjectNames,
    /// A file with an Avro schema is given.
    pub avro_schema: bool,
}

pub(super) async fn recognise(
    topic: &str,
    samples: &[Sample],
    help: &Help<'_>,
) -> Result<Result<Found, Missing>, RegistryError> {
    let values: Vec<&[u8]> = samples.iter().filter_map(|sample| sample.value.as_deref()).collect();
    let mut notes = Vec::new();
    if help.avro_schema {
        return Ok(Ok(avro_by_file(&values)));
    }
    let (mut format, mut ids) = (None, Ids::default());
    if let Some(registry) = help.registry {
        let subjects = help.subjects;
        let told = by_registry(topic, &values, registry, subjects, &mut notes, &mut ids).await?;
        format = told;
    }
    let format = format.unwrap_or_else(|| by_bytes(topic, &values, help.registry.is_some()));
    let (format, others) = match format {
        Ok(found) => found,
        Err(missing) => return Ok(Err(missing)),
    };
    let mut key = key_fields(samples);
    if let (Format::Avro { envelope: true, .. }, Some(registry)) = (&format, help.registry) {
        key = avro_key(topic, registry, help.subjects).await?;
    }
    if let Format::Json { columns, .. } = &format
        && !infer::can_be_key(&columns.fields, &key)
    {
        key.clear();
    }
    let text_keys = are_text(samples.iter().filter_map(|sample| sample.key.as_deref()));
    Ok(Ok(Found { format, key, text_keys, others, ids, notes }))
}

/// The format, and how many values are not of it.
type Told = Result<(Format, u64), Missing>;

fn avro_by_file(values: &[&[u8]]) -> Found {
    let framed = count(values, |value| value.starts_with(&SINGLE_OBJECT));
    let single_object = is_most(framed, values);
    let source = AvroSource::File { single_object };
    let others = if single_object { values.len() as u64 - framed } else { 0 };
    let format = Format::Avro { source, envelope: false };
    Found {
        format,
        key: Vec::new(),
        text_keys: false,
        others,
        ids: Ids::default(),
        notes: Vec::new(),
    }
}

/// `None`: the registry has nothing to do with these records.
async fn by_registry(
    topic: &str,
    values: &[&[u8]],
    registry: &Client,
    subjects: &SubjectNames,
    notes: &mut Vec<String>,
    unknown: &mut Ids,
) -> Result<Option<Told>, RegistryError> {
    let framed = count(values, |value| schema_id(value).is_some());
    let subject = subject_of(subjects, topic, false);
    let newest = match &subject {
        Some(subject) => registry.latest(subject).await?,
        None => None,
    };
    if let (Some(subject), None) = (&subject, &newest) {
        notes.push(format!("the registry has no subject `{subject}`"));
    }
    if !values.is_empty() && !is_most(framed, values) {
        let what = "most values don't begin with a registry's prefix: they are read without it";
        notes.push(what.to_owned());
        return Ok(None);
    }
    let by_topic = newest.is_some();
    let mut schema = newest;
    let ids: BTreeSet<u32> = values.iter().filter_map(|value| schema_id(value)).collect();
    unknown.others.extend(ids.iter().skip(MAX_IDS));
    for id in ids.into_iter().take(MAX_IDS) {
        match registry.schema_by_id(id).await {
            Ok(found) => schema = schema.or(Some(found)),
            Err(error @ (RegistryError::UnknownId { .. } | RegistryError::Unusable { .. })) => {
                unknown.denied.insert(id);
                notes.push(format!("{error}: records that name it are bad"));
            }
            Err(error) => return Err(error),
        }
    }
    let Some(schema) = schema else {
        return Ok(None);
    };
    let others = values.len() as u64 - framed;
    Ok(Some(match schema.kind {
        SchemaKind::Avro => {
            let source = AvroSource::Registry { by_topic };
            Ok((Format::Avro { source, envelope: is_envelope(&schema.text) }, others))
        }
        SchemaKind::Json => match json(values, true) {
            Some(found) => Ok(found),
            None if values.is_empty() => Err(format!(
                "`{topic}` has no records: the columns of a JSON topic are inferred from some"
            )),
            None => Err(format!(
                "the registry says that `{topic}` holds JSON, and its records are no JSON objects"
            )),
        },
        SchemaKind::Protobuf => {
            notes.push(
                "the records are Protobuf, which can't be decoded: they land as bytes".into(),
            );
            Ok((Format::Bytes, 0))
        }
    }))
}

fn by_bytes(topic: &str, values: &[&[u8]], asked: bool) -> Told {
    if values.is_empty() {
        let what = "has no records with a value: produce some, or name its schema registry with --registry";
        return Err(format!("`{topic}` {what}"));
    }
    if let Some(found) = json(values, false).or_else(|| json(values, true)) {
        return Ok(found);
    }
    if is_most(count(values, |value| value.starts_with(&SINGLE_OBJECT)), values) {
        let what = "begin with C3 01: Avro's single-object encoding. Give the schema with --avro-schema FILE";
        return Err(format!("the values of `{topic}` {what}"));
    }
    let ids: BTreeSet<u32> = values.iter().filter_map(|value| schema_id(value)).collect();
    if !asked && is_most(count(values, |value| schema_id(value).is_some()), values) {
        let ids: Vec<String> = ids.iter().take(MAX_IDS).map(ToString::to_string).collect();
        return Err(format!(
            "the values of `{topic}` begin with 0x00: a schema registry's wire format (schema {}). Name the registry \
             with --registry URL",
            ids.join(", ")
        ));
    }
    if are_text(values.iter().copied()) {
        return Ok((Format::String, 0));
    }
    Ok((Format::Bytes, 0))
}

/// JSON objects, behind a registry's prefix or not.
fn json(values: &[&[u8]], confluent: bool) -> Option<(Format, u64)> {
    let mut seen = Seen::default();
    let fits = |value: &[u8]| match confluent {
        true => schema_id(value).is_some() && seen.add_object(&value[CONFLUENT..]),
        false => seen.add_object(value),
    };
    let good = values.iter().copied().map(fits).filter(|fits| *fits).count() as u64;
    if !is_most(good, values) {
        return None;
    }
    let row = row_of_envelope(&mut seen);
    let envelope = row.is_some();
    let columns = infer::columns(&row.unwrap_or(seen).objects);
    if columns.fields.is_empty() {
        return None;
    }
    Some((Format::Json { columns, confluent, envelope }, values.len() as u64 - good))
}

/// What stands in `before` and `after` of Debezium's change events; `None`: they are none.
fn row_of_envelope(seen: &mut Seen) -> Option<Seen> {
    // With schemas embedded, the event is in `payload`.
    if seen.objects.get("payload").is_some_and(is_event) {
        *seen = seen.objects.take("payload")?;
    } else if !is_event(seen) {
        return None;
    }
    let mut row = seen.objects.take("before").unwrap_or_default();
    row.merge(seen.objects.take("after").unwrap_or_default());
    Some(row)
}

fn is_event(seen: &Seen) -> bool {
    let operation = seen.objects.get("op").is_some_and(|op| op.texts.are_among(&OPERATIONS));
    let row = |name| seen.objects.get(name).is_some_and(|row| row.objects.count > 0);
    operation && (row("before") || row("after"))
}

/// Whether an Avro schema is that of Debezium's change events.
fn is_envelope(schema: &str) -> bool {
    let names = field_names(schema);
    ["before", "after", "op"].iter().all(|name| names.iter().any(|field| field == name))
}

/// The fields of an Avro record; none if it isn't one.
fn field_names(schema: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let fields = schema["fields"].as_array();
    let names = fields.into_iter().flatten().filter_map(|field| field["name"].as_str());
    names.map(str::to_owned).collect()
}

/// The fields that all keys have, if they are JSON objects.
fn key_fields(samples: &[Sample]) -> Vec<String> {
    let keys: Vec<&[u8]> = samples.iter().filter_map(|sample| sample.key.as_deref()).collect();
    let mut seen = Seen::default();
    if keys.is_empty() || keys.len() < samples.len() || !keys.iter().all(|key| seen.add_object(key))
    {
        return Vec::new();
    }
    if seen.objects.get("payload").is_some_and(|payload| payload.objects.count == seen.count) {
        seen = seen.objects.take("payload").unwrap_or_default();
    }
    let all = seen.objects.fields.iter().filter(|(_, field)| field.count == seen.count);
    all.map(|(name, _)| name.clone()).collect()
}

async fn avro_key(
    topic: &str,
    registry: &Client,
    subjects: &SubjectNames,
) -> Result<Vec<String>, RegistryError> {
    // One subject for everything says nothing of keys.
    if matches!(subjects, SubjectNames::Named(_)) {
        return Ok(Vec::new());
    }
    let Some(subject) = subject_of(subjects, topic, true) else {
        return Ok(Vec::new());
    };
    let schema = registry.latest(&subject).await?;
    Ok(schema.map(|schema| field_names(&schema.text)).unwrap_or_default())
}

/// The id in Confluent's wire format.
fn schema_id(value: &[u8]) -> Option<u32> {
    let (prefix, _) = value.split_first_chunk::<CONFLUENT>()?;
    let [0, id @ ..] = *prefix else { return None };
    Some(u32::from_be_bytes(id))
}

fn are_text<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    let is_text = |value: &[u8]| {
        let text = std::str::from_utf8(value);
        text.is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()))
    };
    let mut any = false;
    values.all(|value| {
        any = true;
        is_text(value)
    }) && any
}

fn count(values: &[&[u8]], fits: impl Fn(&[u8]) -> bool) -> u64 {
    values.iter().filter(|value| fits(value)).count() as u64
}

#[expect(clippy::cast_precision_loss, reason = "both are small")]
fn is_most(count: u64, values: &[&[u8]]) -> bool {
    count > 0 && count as f64 >= MOST * values.len() as f64
}

impl Format {
    /// As in the configuration.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Avro { envelope: true, .. } | Self::Json { envelope: true, .. } => "debezium",
            Self::Avro { .. } => "avro",
            Self::Json { .. } => "json",
            Self::String => "string",
            Self::Bytes => "bytes",
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Avro { envelope: true, .. } => "Debezium's change events in Avro".into(),
            Self::Avro { .. } => "Avro".into(),
            Self::Json { columns, envelope, .. } => {
                let what = if *envelope { "Debezium's change events in JSON" } else { "JSON" };
                let left_out = match columns.left_out.as_slice() {
                    [] => String::new(),
                    fields => format!(", left out: {}", fields.join(", ")),
                };
                format!("{what}, columns: {}{left_out}", columns.fields.len())
            }
            Self::String => "text".into(),
            Self::Bytes => "bytes".into(),
        }
    }

    pub(super) fn left_out(&self) -> &[String] {
        match self {
            Self::Json { columns, .. } => &columns.left_out,
            _ => &[],
        }
    }
}
