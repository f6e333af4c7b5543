//! `sluice preview`: reads and decodes a few records and shows what would become of them. Writes nothing, joins no
//! group, commits no offset.

mod value;

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use clap::Args;
use serde_json::{Map, Value, json};

use super::read::{self, Budget, start_of};
use super::text::{Align, columns, count};
use super::{ConfigSource, print};
use crate::chunk::Chunk;
use crate::config::{Connector, Source, Start};
use crate::disposition::Exit;
use crate::engine::EngineError;
use crate::engine::decoders::{self, Decoders, Group, KnownSchemas};
use crate::engine::view::View;
use crate::offsets::Fates;
use crate::source::Event;

/// Characters of a cell that are shown.
const CELL: usize = 48;

#[derive(Debug, Args)]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// How many records, over all partitions.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// One JSON document a record.
    #[arg(long)]
    json: bool,
}

pub(super) async fn preview(args: PreviewArgs) -> Exit {
    let loaded = match print::load(&args.source, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    match chunks(loaded.connector, args.limit).await {
        Ok(chunks) if args.json => show_json(&chunks),
        Ok(chunks) => show(&chunks),
        Err(error) => return print::failure(&error),
    }
    Exit::Done
}

/// Reads from where a first run would start; from just before the end where that is the end.
async fn chunks(mut spec: Connector, limit: u64) -> Result<Vec<Chunk>, EngineError> {
    // No column but the decoded ones.
    spec.outputs.values_mut().for_each(|output| output.metadata_columns.clear());
    let (view, known) = (View::of(&spec.source).await?, KnownSchemas::default());
    let topics = view.catalog.topics();
    let spec = spec.with_topics(&topics);
    loop {
        // All bad records are to be seen, with their reasons, whatever a run would do with them.
        let groups = decoders::groups(&spec, &topics).into_iter().map(Group::keeping_bad_records);
        let groups = decoders::with_schemas(groups.collect(), &known).await?;
        let decoders = Decoders::new(&groups, &spec.fingerprint)?;
        let (source, budgets) = (spec.source.clone(), budgets(&spec, &view, &decoders, limit));
        let reading =
            tokio::task::spawn_blocking(move || read_chunks(&source, decoders, budgets, limit));
        match reading.await.map_err(|_| EngineError::ThreadGone("blocking"))? {
            Err(change) if change.changes_columns() => {}
            read => return read,
        }
    }
}

fn budgets(spec: &Connector, view: &View, decoders: &Decoders, limit: u64) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for partition in view.catalog.partitions().filter(|p| decoders.decodes(&p.id.topic)) {
        let start = start_of(&spec.source.start, &partition.id, &view.extent);
        let end = view.bounds(&partition.id).map_or(start, |(_, latest)| latest);
        budgets.push(Budget { partition: Arc::new(partition), start, end });
    }
    if spec.source.start == Start::Latest {
        read::last_of(&mut budgets, view, limit);
    }
    budgets
}

fn read_chunks(
    source: &Source,
    mut decoders: Decoders,
    budgets: Vec<Budget>,
    limit: u64,
) -> Result<Vec<Chunk>, EngineError> {
    let mut chunks: Vec<Chunk> = Vec::new();
    read::read(source, budgets, limit, decoders.wants_headers(), &mut |event| {
        match event {
            Event::Begin(partition, start) => decoders.begin(partition.clone(), start, None),
            Event::Record(message) => decoders.push(&message)?,
            Event::End(end) => chunks.push(decoders.finish(end)),
        }
        Ok(())
    })?;
    chunks.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(chunks)
}

/// A record that was refused.
struct Reject<'a> {
    offset: i64,
    code: &'a str,
    reason: &'a str,
}

fn rejects(chunk: &Chunk) -> Vec<Reject<'_>> {
    let Some(letters) = &chunk.dead_letters else {
        return Vec::new();
    };
    let column =
        |name: &str| letters.column_by_name(name).expect("the dead letters' schema has it");
    let offsets = column("kafka_offset").as_primitive::<Int64Type>();
    let codes = column("reason_code").as_string::<i32>();
    let reasons = column("reason").as_string::<i32>();
    (0..letters.num_rows())
        .map(|row| Reject {
            offset: offsets.value(row),
            code: codes.value(row),
            reason: reasons.value(row),
        })
        .collect()
}

fn row(chunk: &Chunk, row: usize) -> Map<String, Value> {
    let names = chunk.rows.schema_ref().fields().iter().map(|field| field.name().clone());
    let values = chunk.rows.columns().iter().map(|column| value::of(column, row));
    names.zip(values).collect()
}

fn show_json(chunks: &[Chunk]) {
    for chunk in chunks {
        let id = &chunk.partition.id;
        let place = |kind, offset| json!({"kind": kind, "topic": id.topic, "partition": id.partition, "offset": offset});
        let rows = chunk.row_offsets.values().iter().enumerate().map(|(at, offset)| {
            let mut document = place("row", *offset);
            document["row"] = Value::Object(row(chunk, at));
            (*offset, document)
        });
        let rejects = rejects(chunk).into_iter().map(|reject| {
            let mut document = place("reject", reject.offset);
            document["code"] = reject.code.into();
            document["reason"] = reject.reason.into();
            (reject.offset, document)
        });
        let mut documents: Vec<_> = rows.chain(rejects).collect();
        documents.sort_by_key(|(offset, _)| *offset);
        documents.iter().for_each(|(_, document)| print::json(document));
    }
}

fn show(chunks: &[Chunk]) {
    let mut fates = Fates::default();
    chunks.iter().for_each(|chunk| fates.add(&chunk.fates));
    if fates.rows > 0 {
        // One table for each kind of columns.
        for alike in chunks.chunk_by(|a, b| a.rows.schema() == b.rows.schema()) {
            rows_as_text(alike).iter().for_each(print::line);
        }
    }
    for chunk in chunks {
        for Reject { offset, code, reason } in rejects(chunk) {
            print::line(format!(
                "refused: {code} {} offset {offset}: {reason}",
                chunk.partition.id
            ));
        }
    }
    let (rows, refused) = (count(fates.rows, "row"), fates.dead_letters);
    let tombstones = match fates.tombstones {
        0 => String::new(),
        n => format!(", {}", count(n, "tombstone")),
    };
    print::note(format!(
        "{}: {rows}, {refused} refused{tombstones}; nothing was written",
        count(fates.records(), "record")
    ));
}

fn rows_as_text(chunks: &[Chunk]) -> Vec<String> {
    let Some(first) = chunks.first() else {
        return Vec::new();
    };
    let schema = first.rows.schema_ref();
    let mut header = vec!["partition".to_owned(), "offset".to_owned()];
    header.extend(schema.fields().iter().map(|field| field.name().clone()));
    let mut aligns = vec![Align::Left, Align::Right];
    aligns.extend(schema.fields().iter().map(|field| match field.data_type().is_numeric() {
        true => Align::Right,
        false => Align::Left,
    }));
    let mut lines = vec![header];
    for chunk in chunks {
        for (at, offset) in chunk.row_offsets.values().iter().enumerate() {
            let mut line = vec![chunk.partition.id.to_string(), offset.to_string()];
            let values = chunk.rows.columns().iter().map(|column| value::of(column, at));
            line.extend(values.map(|value| cell(&value)));
            lines.push(line);
        }
    }
    columns(&aligns, &lines)
}

/// A value on one line, cut where it is long. Control characters would reach the terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut cut: String = text.chars().take(CELL).map(clean).collect();
    if text.chars().nth(CELL).is_some() {
        cut.pop();
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_short_and_cannot_drive_the_terminal() {
        let check = |value: Value, expected: &str| assert_eq!(cell(&value), expected);
        check(json!(null), "NULL");
        check(json!("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        check(json!({"a": [1, null]}), r#"{"a":[1,null]}"#);
        let long = "x".repeat(CELL + 1);
        assert_eq!(cell(&json!(long)).chars().count(), CELL);
    }
}
