//! `outputs`: tables, what they take, and what they may not share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::source::{refuse_unread, topic_list};
use super::{Tables, positive_size, refuse_repeats, storage};
use crate::config::path::Path;
use crate::config::problem::{Code, Report};
use crate::config::raw::{self, Codec};
use crate::config::shape::did_you_mean;
use crate::config::spec::{
    Compression, DeadLetters, Decode, Files, MetadataColumn, Mode, Output, SchemaEvolution,
    TableLocation, Topics,
};
use crate::config::{location, names, properties};
use crate::schema::{TableSchema, can_partition_by};

/// What the outputs are judged beside; `None`: it was refused.
pub(super) struct Around<'a> {
    pub(super) decode: Option<&'a Arc<Decode>>,
    pub(super) schema: Option<&'a TableSchema>,
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
        refuse_shared_table(&output.table, &taken, &path.key("table"), report);
        taken.push((format!("output `{name}`"), output.table.clone()));
        outputs.insert(name.clone(), output);
    }
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
    let table =
        raw.table.as_ref().and_then(|text| tables.location(text, &path.key("table"), report));
    let storage = storage(raw.storage.as_ref(), &path.key("storage"), tables.storage, report);
    let metadata = raw.metadata_columns.clone();
    if let Some(columns) = &metadata {
        let path = path.key("metadata_columns");
        refuse_repeats(columns, &path, report, |column| format!("`{}`", column.word()));
    }
    let partition_by = partition_by(raw, around.schema, &path.key("partition_by"), report);
    let files = raw.files.as_ref().and_then(|raw| files(raw, &path.key("files"), report));
    let properties =
        table_properties(raw.table_properties.as_ref(), &path.key("table_properties"), report);
    Some(Output {
        name: name.to_owned(),
        topics: topics.map_or(Some(None), |topics| topics.map(Some))?,
        decode: Arc::clone(around.decode?),
        table: table?,
        per_topic: false,
        storage,
        create: raw.create?,
        select: None,
        filter: None,
        mode: Mode::Append,
        schema_evolution: SchemaEvolution::Fail,
        partition_by,
        metadata_columns: metadata?,
        files: files?,
        table_properties: properties,
    })
}

/// The partition columns under their own spelling.
fn partition_by(
    raw: &raw::Output,
    schema: Option<&TableSchema>,
    path: &Path,
    report: &mut Report<'_>,
) -> Vec<String> {
    let (Some(names), Some(schema)) = (&raw.partition_by, schema) else {
        return Vec::new();
    };
    let metadata = raw.metadata_columns.as_deref().unwrap_or_default();
    let mut columns: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = path.index(index);
        match table_column(name, schema, metadata) {
            Some((column, _)) if columns.contains(&column) => {
                let what = format!("`{name}` stands twice in the list");
                report.refuse(Code::Contradiction, &path, what, "remove one of them");
            }
            Some((column, true)) => columns.push(column),
            Some((column, false)) => {
                let what = format!("a table can't be partitioned by the nested column `{column}`");
                report.refuse(Code::Schema, &path, what, "use a column of a primitive type");
            }
            None => refuse_unknown_column(name, schema, metadata, &path, report),
        }
    }
    let all = schema.arrow().fields().len() + metadata.len();
    if !columns.is_empty() && columns.len() == all {
        let hint = "leave a column to be written into the files";
        report.refuse(Code::Schema, path, "names all columns of the table", hint);
    }
    columns
}

/// A column of the table: its spelling, and whether it is primitive.
fn table_column(
    name: &str,
    schema: &TableSchema,
    metadata: &[MetadataColumn],
) -> Option<(String, bool)> {
    if let Some(field) = schema.column(name) {
        return Some((field.name().clone(), can_partition_by(field.data_type())));
    }
    let column = metadata.iter().find(|column| column.column().eq_ignore_ascii_case(name))?;
    Some((column.column().to_owned(), *column != MetadataColumn::Headers))
}

fn refuse_unknown_column(
    name: &str,
    schema: &TableSchema,
    metadata: &[MetadataColumn],
    path: &Path,
    report: &mut Report<'_>,
) {
    let what = format!("there is no column `{name}` in the table");
    let left_out = MetadataColumn::ALL
        .iter()
        .find(|column| column.column().eq_ignore_ascii_case(name) || column.word() == name);
    let hint = match left_out {
        Some(column) if metadata.contains(column) => format!("did you mean `{}`?", column.column()),
        Some(column) => format!("add `{}` to `metadata_columns`", column.word()),
        None => {
            let values = schema.arrow().fields().iter().map(|field| field.name().clone());
            let columns: Vec<String> =
                values.chain(metadata.iter().map(|column| column.column().to_owned())).collect();
            did_you_mean(name, columns.iter())
        }
    };
    report.refuse(Code::Schema, path, what, hint);
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
