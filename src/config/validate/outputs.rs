//! `outputs`: tables, what they take, and what they may not share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::source::{refuse_unread, topic_list};
use super::{Tables, aggregate, positive_size, refuse_repeats, storage};
use crate::config::path::Path;
use crate::config::problem::{Code, Report};
use crate::config::raw::{self, Codec, ModeWord};
use crate::config::shape::did_you_mean;
use crate::config::spec::{
    ChangeColumn, Compression, DeadLetters, Decode, Files, MetadataColumn, Mode, Output, Payload,
    RESCUE_COLUMN, TableLocation, Topics, UnknownFields,
};
use crate::config::{location, names, properties};
use crate::schema::{TableSchema, can_partition_by, timestamp_type};

/// What the outputs are judged beside; `None`: it was refused.
pub(super) struct Around<'a> {
    /// The top level's.
    pub(super) decode: Option<&'a Arc<Decode>>,
    /// The top level has a `decode`, valid or not.
    pub(super) has_decode: bool,
    pub(super) topics: Option<&'a Topics>,
    pub(super) dead_letters: Option<&'a DeadLetters>,
}

pub(super) fn read(
    raw: &BTreeMap<String, raw::Output>,
    around: &Around<'_>,
    tables: &Tables<'_>,
    report: &mut Report<'_>,
) -> Option<BTreeMap<String, Output>> {
    let path = Path::parse("outputs");
    if raw.is_empty() && !report.touches(&path) {
        let hint = "for example `outputs: {orders: {table: ./lake/orders}}`";
        report.refuse(Code::Missing, &path, "must name at least one table", hint);
    }
    let mut outputs = BTreeMap::new();
    let mut taken: Vec<(String, TableLocation)> = Vec::new();
    if let Some(dead_letters) = around.dead_letters {
        taken.push(("`dead_letters`".to_owned(), dead_letters.table.clone()));
    }
    for (name, raw) in raw {
        let path = path.key(name);
        if let Err((what, hint)) = names::identity(name) {
            report.refuse(Code::Malformed, &path, what, hint);
        }
        let Some(output) = output(name, raw, around, tables, &path, report) else {
            continue;
        };
        for table in tables_of(&output, around) {
            refuse_shared_table(&table, &taken, &path.key("table"), report);
            taken.push((format!("output `{name}`"), table));
        }
        outputs.insert(name.clone(), output);
    }
    refuse_two_decodes(&outputs, around, report);
    warn_of_unread_topics(&outputs, raw.len(), around, report);
    (outputs.len() == raw.len()).then_some(outputs)
}

fn output(
    name: &str,
    raw: &raw::Output,
    around: &Around<'_>,
    tables: &Tables<'_>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Output> {
    let topics = raw.topics.as_ref().map(|topics| {
        let path = path.key("topics");
        let list = topic_list(topics, &path, report);
        for (index, topic) in topics.iter().enumerate() {
            if let Some(known) = around.topics {
                refuse_unread(topic, known, &path.index(index), report);
            }
        }
        list
    });
    let decode = decode(raw, around, path, report);
    let table =
        raw.table.as_ref().and_then(|text| tables.location(text, &path.key("table"), report));
    let storage = storage(raw.storage.as_ref(), &path.key("storage"), tables.storage, report);
    let metadata = raw.metadata_columns.clone();
    if let Some(columns) = &metadata {
        let path = path.key("metadata_columns");
        refuse_repeats(columns, &path, report, |column| format!("`{}`", column.word()));
    }
    let select = sql(raw.select.as_deref(), &path.key("select"), report);
    let filter = sql(raw.filter.as_deref(), &path.key("where"), report);
    let columns = match (&raw.select, &raw.aggregate) {
        (None, None) => decode.as_deref().and_then(value_columns),
        _ => None,
    };
    // Windows leave no columns of single records.
    let kept = metadata.as_deref().filter(|_| raw.aggregate.is_none());
    let known = Known { values: columns.as_ref(), metadata: kept.unwrap_or_default() };
    let partition_by = known.partition_by(raw, &path.key("partition_by"), report);
    let windows =
        raw.aggregate.as_ref().map(|raw| aggregate::read(raw, &path.key("aggregate"), report));
    let mode = match &windows {
        None => mode(raw, &known, path, report),
        Some(windows) => {
            refuse_keys(raw, path, report);
            windows.as_ref().map(aggregate::mode)
        }
    };
    let at_deduplicate = path.key("deduplicate");
    let deduplicate = raw
        .deduplicate
        .as_ref()
        .map(|raw| aggregate::deduplicate(raw, windows.as_ref(), &at_deduplicate, report));
    // Where keys are those of the table, no row is there twice anyway.
    let by_key = raw.mode.is_some_and(|mode| mode != ModeWord::Append);
    if raw.deduplicate.is_some() && windows.is_none() && by_key {
        let what = "needs `mode: append`";
        report.refuse(Code::Contradiction, &at_deduplicate, what, "remove one of them");
    }
    let state = aggregate::state(raw, path, report);
    let files = raw.files.as_ref().and_then(|raw| files(raw, &path.key("files"), report));
    let properties =
        table_properties(raw.table_properties.as_ref(), &path.key("table_properties"), report);
    Some(Output {
        name: name.to_owned(),
        topics: topics.map_or(Some(None), |topics| topics.map(Some))?,
        decode: decode?,
        per_topic: table.as_ref().is_some_and(TableLocation::is_per_topic),
        table: table?,
        storage,
        create: raw.create?,
        select,
        filter,
        mode: mode?,
        aggregate: windows.map_or(Some(None), |windows| windows.map(Some))?,
        deduplicate: deduplicate.map_or(Some(None), |of| of.map(Some))?,
        state: state?,
        schema_evolution: raw.schema_evolution?,
        partition_by,
        metadata_columns: metadata?,
        files: files?,
        table_properties: properties,
    })
}

/// The output's own `decode`, or the top level's.
fn decode(
    raw: &raw::Output,
    around: &Around<'_>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Arc<Decode>> {
    let Some(own) = &raw.decode else {
        if !around.has_decode && !report.touches(&Path::parse("decode")) {
            let hint = "set it for all outputs, or `decode` on this one";
            report.refuse(Code::Missing, &Path::parse("decode"), "must be set", hint);
        }
        return around.decode.cloned();
    };
    super::decode::read(own, &path.key("decode"), report).map(Arc::new)
}

fn sql(text: Option<&str>, path: &Path, report: &mut Report<'_>) -> Option<String> {
    let text = text?;
    if text.trim().is_empty() {
        report.refuse(Code::Malformed, path, "is empty", "remove it, or write an SQL expression");
    }
    Some(text.to_owned())
}

/// The columns before the metadata columns; `None` where only the topic's schemas tell.
fn value_columns(decode: &Decode) -> Option<TableSchema> {
    let mut fields: Vec<Field> = match &decode.value {
        Payload::String => vec![Field::new("value", DataType::Utf8, true)],
        Payload::Bytes => vec![Field::new("value", DataType::Binary, true)],
        payload => {
            payload.declared()?.arrow().fields().iter().map(|f| f.as_ref().clone()).collect()
        }
    };
    if decode.value.unknown_fields() == UnknownFields::Rescue {
        fields.push(Field::new(RESCUE_COLUMN, DataType::Utf8, true));
    }
    if let Some(key) = &decode.key {
        let data_type = match &key.payload {
            Payload::String => DataType::Utf8,
            Payload::Bytes => DataType::Binary,
            payload => DataType::Struct(payload.declared()?.arrow().fields().clone()),
        };
        fields.push(Field::new(&key.column, data_type, true));
    }
    for column in decode.debezium.iter().flat_map(|debezium| &debezium.columns) {
        let data_type = match column {
            ChangeColumn::Op | ChangeColumn::Source => DataType::Utf8,
            ChangeColumn::Timestamp => timestamp_type(),
        };
        fields.push(Field::new(column.column(), data_type, true));
    }
    Some(TableSchema::new(fields))
}

fn mode(
    raw: &raw::Output,
    known: &Known<'_>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Mode> {
    let at_key = path.key("merge_key");
    let word = raw.mode?;
    if word == ModeWord::Append {
        if raw.merge_key.is_some() {
            let what = "has no effect with `mode: append`";
            report.refuse(Code::Contradiction, &at_key, what, "set `mode: upsert`, or remove it");
        }
        return Some(Mode::Append);
    }
    if raw.merge_key.as_ref().is_none_or(Vec::is_empty) {
        if !report.touches(&at_key) {
            let hint = "the columns that identify a row: `merge_key: [id]`";
            report.refuse(Code::Missing, &at_key, "must be set for this `mode`", hint);
        }
        return None;
    }
    let key = known.columns(raw.merge_key.as_deref().unwrap_or_default(), &at_key, report);
    Some(match word {
        ModeWord::InsertNew => Mode::InsertNew { key },
        _ => Mode::Upsert { key },
    })
}

/// Windows say what a record does to the table.
fn refuse_keys(raw: &raw::Output, path: &Path, report: &mut Report<'_>) {
    let mode = raw.mode.is_some_and(|mode| mode != ModeWord::Append);
    for (key, is_set) in [("mode", mode), ("merge_key", raw.merge_key.is_some())] {
        if is_set {
            let what = "has no effect with `aggregate`";
            report.refuse(Code::Contradiction, &path.key(key), what, "remove it");
        }
    }
}

/// The columns of an output's table, as far as the configuration tells.
struct Known<'a> {
    values: Option<&'a TableSchema>,
    metadata: &'a [MetadataColumn],
}

impl Known<'_> {
    /// The partition columns under their own spelling.
    fn partition_by(&self, raw: &raw::Output, path: &Path, report: &mut Report<'_>) -> Vec<String> {
        let columns = self.columns(raw.partition_by.as_deref().unwrap_or_default(), path, report);
        let all = self.values.map(|values| values.arrow().fields().len() + self.metadata.len());
        if !columns.is_empty() && Some(columns.len()) == all {
            let hint = "leave a column to be written into the files";
            report.refuse(Code::Schema, path, "names all columns of the table", hint);
        }
        columns
    }

    /// Primitive columns under their own spelling; as they are written where the columns aren't known yet.
    fn columns(&self, names: &[String], path: &Path, report: &mut Report<'_>) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = path.index(index);
            match self.find(name) {
                Some((column, _)) if columns.contains(&column) => {
                    let what = format!("`{name}` stands twice in the list");
                    report.refuse(Code::Contradiction, &path, what, "remove one of them");
                }
                Some((column, true)) => columns.push(column),
                Some((column, false)) => {
                    let what = format!("`{column}` is a nested column");
                    report.refuse(Code::Schema, &path, what, "use a column of a primitive type");
                }
                None => self.refuse_unknown(name, &path, report),
            }
        }
        columns
    }

    /// A column of the table: its spelling, and whether it is primitive.
    fn find(&self, name: &str) -> Option<(String, bool)> {
        let metadata = self.metadata.iter().find(|c| c.column().eq_ignore_ascii_case(name));
        if let Some(column) = metadata {
            return Some((column.column().to_owned(), *column != MetadataColumn::Headers));
        }
        let Some(values) = self.values else {
            return Some((name.to_owned(), true));
        };
        let field = values.column(name)?;
        Some((field.name().clone(), can_partition_by(field.data_type())))
    }

    fn refuse_unknown(&self, name: &str, path: &Path, report: &mut Report<'_>) {
        let what = format!("there is no column `{name}` in the table");
        let left_out = MetadataColumn::ALL
            .iter()
            .find(|column| column.column().eq_ignore_ascii_case(name) || column.word() == name);
        let hint = match left_out {
            Some(column) if self.metadata.contains(column) => {
                format!("did you mean `{}`?", column.column())
            }
            Some(column) => format!("add `{}` to `metadata_columns`", column.word()),
            None => {
                let values = self.values.into_iter().flat_map(|values| values.arrow().fields());
                let columns: Vec<String> = values
                    .map(|field| field.name().clone())
                    .chain(self.metadata.iter().map(|column| column.column().to_owned()))
                    .collect();
                did_you_mean(name, columns.iter())
            }
        };
        report.refuse(Code::Schema, path, what, hint);
    }
}

/// The tables of an output, as far as its topics are listed.
fn tables_of(output: &Output, around: &Around<'_>) -> Vec<TableLocation> {
    if !output.table.is_per_topic() {
        return vec![output.table.clone()];
    }
    match (&output.topics, around.topics) {
        (Some(topics), _) | (None, Some(Topics::List(topics))) => {
            topics.iter().map(|topic| output.table.of_topic(topic)).collect()
        }
        _ => Vec::new(),
    }
}

/// A record is decoded once, whatever reads it.
fn refuse_two_decodes(
    outputs: &BTreeMap<String, Output>,
    around: &Around<'_>,
    report: &mut Report<'_>,
) {
    let path = Path::parse("outputs");
    let takes = |output: &Output, topic: &String| {
        output.topics.as_ref().is_none_or(|own| own.contains(topic))
    };
    let mut told = BTreeSet::new();
    for (first, other) in outputs.values().flat_map(|a| outputs.values().map(move |b| (a, b))) {
        if first.name >= other.name || Arc::ptr_eq(&first.decode, &other.decode) {
            continue;
        }
        let shared = match (&first.topics, &other.topics, around.topics) {
            (Some(topics), _, _) => topics.iter().find(|topic| takes(other, topic)),
            (None, Some(topics), _) | (None, None, Some(Topics::List(topics))) => topics.first(),
            _ => None,
        };
        let both_take_all = first.topics.is_none() && other.topics.is_none();
        if (shared.is_some() || both_take_all) && told.insert(other.name.clone()) {
            let topic = shared.map_or("every topic".to_owned(), |topic| format!("topic `{topic}`"));
            let what =
                format!("{topic} is read by output `{}` too, with another `decode`", first.name);
            let hint = "a record is decoded once: give the outputs other `topics`, keep the bytes with \
                        `metadata_columns: [value]`, or run a second connector";
            report.refuse(Code::Contradiction, &path.key(&other.name).key("decode"), what, hint);
        }
    }
}

fn files(raw: &raw::Files, path: &Path, report: &mut Report<'_>) -> Option<Files> {
    let target_size = positive_size(raw.target_size.as_ref(), &path.key("target_size"), report);
    let at_level = path.key("zstd_level");
    if raw.zstd_level.is_some_and(|level| !(1..=22).contains(&level)) {
        report.refuse(Code::Malformed, &at_level, "must be from 1 to 22", "");
    }
    let compression = match (raw.compression?, raw.zstd_level) {
        (Codec::Zstd, level) => Compression::Zstd { level: i32::try_from(level?).unwrap_or(1) },
        (codec, level) => {
            let sites = report.sites();
            let is_later = sites.strength(&at_level) >= sites.strength(&path.key("compression"));
            if level.is_some() && is_later {
                let what = "has no effect, since `compression` is not `zstd`";
                report.warn(Code::Unused, &at_level, what, "remove it");
            }
            if codec == Codec::Snappy { Compression::Snappy } else { Compression::None }
        }
    };
    Some(Files { target_size: target_size?, compression })
}

fn table_properties(
    raw: Option<&BTreeMap<String, raw::Property>>,
    path: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for (name, value) in raw.into_iter().flatten() {
        match properties::check(name, &value.0) {
            Ok(value) => {
                properties.insert(name.clone(), value);
            }
            Err(refusal) => {
                report.refuse(Code::TableProperty, &path.key(name), refusal.what, refusal.hint);
            }
        }
    }
    properties
}

fn refuse_shared_table(
    table: &TableLocation,
    taken: &[(String, TableLocation)],
    path: &Path,
    report: &mut Report<'_>,
) {
    for (owner, other) in taken {
        if location::identity(table) == location::identity(other) {
            let what = format!("is the table of {owner} too");
            report.refuse(Code::Contradiction, path, what, "give each a table of its own");
        } else if location::is_inside(table, other) || location::is_inside(other, table) {
            let what = format!("one of this table and the table of {owner} is inside the other");
            let hint = "vacuuming the outer one would delete the inner one's files";
            report.refuse(Code::Contradiction, path, what, hint);
        }
    }
}

/// A topic that no output takes is most likely an oversight.
fn warn_of_unread_topics(
    outputs: &BTreeMap<String, Output>,
    expected: usize,
    around: &Around<'_>,
    report: &mut Report<'_>,
) {
    let Some(Topics::List(topics)) = around.topics else {
        return;
    };
    if outputs.len() < expected {
        return;
    }
    let is_taken = |topic: &String| {
        outputs.values().any(|output| output.topics.as_ref().is_none_or(|own| own.contains(topic)))
    };
    for (index, topic) in topics.iter().enumerate().filter(|(_, topic)| !is_taken(topic)) {
        let path = Path::parse("source.topics").index(index);
        let what = format!("no output takes topic `{topic}`");
        report.warn(Code::Unused, &path, what, "add it to an output's `topics`, or remove it");
    }
}

/// How many data files a day a table gets at least, when every batch has rows for this many of its partitions; `None`
/// for an interval of zero, which sets no pace.
pub fn files_per_day(partitions: u64, interval: std::time::Duration) -> Option<u64> {
    const DAY_MS: u128 = 86_400_000;
    let batches = DAY_MS.checked_div(interval.as_millis())?;
    u64::try_from(batches * u128::from(partitions)).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::files_per_day;

    #[test]
    fn files_per_day_are_batches_times_partitions() {
        assert_eq!(files_per_day(4, Duration::from_secs(10)), Some(34_560));
        assert_eq!(files_per_day(1, Duration::ZERO), None);
    }
}
