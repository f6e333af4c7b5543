//! The configuration as text: what was found out, commented, and nothing that is only a default.

use std::fmt::Write as _;

use serde_json::Value;

use super::infer::{self, Columns};
use super::recognise::{AvroSource, Format, Found};

/// Notes that are written out.
const MAX_NOTES: usize = 60;
/// Where trailing comments begin.
const COMMENT_COLUMN: usize = 40;

/// What the command line says, as it goes into the configuration.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub name: String,
    pub topic: String,
    pub brokers: Vec<String>,
    /// librdkafka's properties.
    pub client: Vec<(String, String)>,
    pub table: String,
    pub registry: Option<AskedRegistry>,
    pub avro_schema: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct AskedRegistry {
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
    pub ca_file: Option<String>,
    pub subject: Option<String>,
}

/// How the records that were looked at fared.
#[derive(Debug, Clone, Default)]
pub(super) struct Trial {
    pub records: u64,
    /// The decoder refused them.
    pub bad: u64,
    pub first_bad: Option<String>,
}

/// A configuration by which the topic's records can be had as they are.
pub(super) fn to_look(asked: &Asked) -> String {
    let mut text = Text::default();
    text.head(asked);
    text.line(0, "decode:");
    text.line(1, "value:");
    match &asked.registry {
        Some(registry) => {
            text.line(2, "format: avro");
            text.registry(registry, true);
        }
        None => text.line(2, "format: bytes"),
    }
    text.line(
        0,
        &format!("outputs: {{{}: {{table: {}}}}}", quoted(&asked.name), quoted(&asked.table)),
    );
    text.0
}

/// The configuration to run.
pub(super) fn to_run(asked: &Asked, found: &Found, trial: &Trial) -> String {
    let mut text = Text::default();
    text.introduction(asked, found, trial);
    text.head(asked);
    text.line(0, "decode:");
    text.key(found);
    text.line(1, "value:");
    text.value(asked, found);
    text.bad_records(asked, trial);
    text.line(0, "trigger:");
    text.pair(1, "mode", "processing_time", "once and available_now end when all is read");
    text.pair(1, "interval", "10s", "short ones make many small files");
    text.line(0, "");
    text.output(asked, found);
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, indent: usize, text: &str) {
        let pad = "  ".repeat(if text.is_empty() { 0 } else { indent });
        let _ = writeln!(self.0, "{pad}{text}");
    }

    fn pair(&mut self, indent: usize, key: &str, value: &str, comment: &str) {
        // A `#` begins a comment only behind a blank.
        let start = format!("{}{key}: {value} ", "  ".repeat(indent));
        let _ = writeln!(self.0, "{start:<COMMENT_COLUMN$}# {comment}");
    }

    fn comment(&mut self, indent: usize, text: &str) {
        self.line(indent, format!("# {text}").trim_end());
    }

    fn introduction(&mut self, asked: &Asked, found: &Found, trial: &Trial) {
        let looked = match trial.records {
            0 => "its schema registry".to_owned(),
            1 => "one of its records".to_owned(),
            n => format!("{n} of its records"),
        };
        self.comment(
            0,
            &format!(
                "The topic `{}` as a Delta Lake table; written by `sluice init` from {looked}.",
                asked.topic
            ),
        );
        self.comment(0, "");
        self.comment(0, "  sluice check FILE      is everything right? (brokers, topic, schema, table; writes nothing)");
        self.comment(0, "  sluice preview FILE    the first rows, and what would be refused");
        self.comment(0, "  sluice run FILE        go");
        self.comment(0, "");
        self.comment(
            0,
            "All settings: docs/reference/configuration.md, or `sluice config schema`.",
        );
        for note in &found.notes {
            self.comment(0, &format!("Note: {}", printable(note)));
        }
        self.line(0, "");
    }

    fn head(&mut self, asked: &Asked) {
        self.pair(
            0,
            "name",
            &quoted(&asked.name),
            "progress in the table is kept under it: don't change it later",
        );
        self.line(0, "");
        self.line(0, "source:");
        let brokers: Vec<String> = asked.brokers.iter().map(|broker| quoted(broker)).collect();
        self.line(1, &format!("brokers: [{}]", brokers.join(", ")));
        self.line(1, &format!("topics: [{}]", quoted(&asked.topic)));
        self.pair(1, "start", "earliest", "of the first run: earliest | latest | {timestamp: ...}");
        if !asked.client.is_empty() {
            self.line(1, "client:");
        }
        for (name, value) in &asked.client {
            self.line(2, &format!("{}: {}", quoted(name), quoted(value)));
        }
        self.line(0, "");
    }

    fn key(&mut self, found: &Found) {
        if found.text_keys {
            self.comment(
                1,
                "key: {format: string}    # keys are text: this makes them the column `key`",
            );
        }
    }

    fn value(&mut self, asked: &Asked, found: &Found) {
        match &found.format {
            Format::Avro { source, envelope } => self.avro(asked, *source, *envelope),
            Format::Json { columns, confluent, envelope } => {
                self.format("json", *envelope);
                if *confluent {
                    self.pair(
                        2,
                        "framing",
                        "confluent",
                        "a schema registry's prefix before the text",
                    );
                }
                self.columns(columns);
            }
            Format::String => self.pair(2, "format", "string", "text: the column `value` STRING"),
            Format::Bytes => self.pair(2, "format", "bytes", "the column `value` BINARY"),
        }
    }

    fn format(&mut self, format: &str, envelope: bool) {
        if !envelope {
            return self.line(2, &format!("format: {format}"));
        }
        self.pair(
            2,
            "format",
            "debezium",
            "change events: the row after the change, or before a deletion",
        );
        self.line(2, &format!("encoding: {format}"));
        self.pair(
            2,
            "change_columns",
            "[op, timestamp]",
            "change_op, change_timestamp; also: source",
        );
    }

    fn avro(&mut self, asked: &Asked, source: AvroSource, envelope: bool) {
        self.format("avro", envelope);
        match (source, &asked.registry, &asked.avro_schema) {
            (AvroSource::Registry { by_topic }, Some(registry), _) => {
                self.comment(2, "The columns are those of the Avro schema. To take some only: `schema: \"id BIGINT, ...\"`.");
                self.registry(registry, by_topic);
            }
            (AvroSource::File { single_object }, _, Some(file)) => {
                self.line(2, &format!("avro_schema: {}", quoted(&format!("${{file:{file}}}"))));
                if single_object {
                    self.pair(
                        2,
                        "framing",
                        "single_object",
                        "C3 01 and a fingerprint before the payload",
                    );
                }
            }
            _ => unreachable!("an Avro source is found with what it needs"),
        }
    }

    fn registry(&mut self, registry: &AskedRegistry, by_topic: bool) {
        self.line(2, "registry:");
        let urls: Vec<String> = registry.urls.iter().map(|url| quoted(url)).collect();
        match urls.as_slice() {
            [one] => self.line(3, &format!("url: {one}")),
            several => self.line(3, &format!("url: [{}]", several.join(", "))),
        }
        let pairs = [
            ("username", &registry.username),
            ("password", &registry.password),
            ("token", &registry.token),
        ];
        let auth: Vec<String> = pairs
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}", quoted(value.as_deref()?))))
            .collect();
        if !auth.is_empty() {
            self.line(3, &format!("auth: {{{}}}", auth.join(", ")));
        }
        if let Some(file) = &registry.ca_file {
            self.line(3, &format!("ca_file: {}", quoted(file)));
        }
        match (&registry.subject, by_topic) {
            (Some(subject), _) => self.line(3, &format!("subject: {}", quoted(subject))),
            (None, true) => {}
            (None, false) => self.pair(
                3,
                "subject_names",
                "record_name",
                "there is no subject of the topic's name",
            ),
        }
    }

    fn columns(&mut self, columns: &Columns) {
        self.comment(2, "Inferred: a type is what all samples had; NOT NULL is for you to add, where a field always comes.");
        for note in columns.notes.iter().take(MAX_NOTES) {
            self.comment(2, &printable(&format!("- {}: {}", note.path, note.text)));
        }
        if let Some(more @ 1..) = columns.notes.len().checked_sub(MAX_NOTES) {
            self.comment(2, &format!("- and {more} more"));
        }
        self.line(2, "schema: |");
        let definitions = infer::definitions(&columns.fields);
        for (at, definition) in definitions.iter().enumerate() {
            let comma = if at + 1 < definitions.len() { "," } else { "" };
            // In a configuration's text, `$$` is a dollar sign.
            self.line(3, &format!("{}{comma}", definition.replace('$', "$$")));
        }
        if columns.local_times {
            self.pair(2, "timezone", "UTC", "of times that are written without a zone");
        }
        if columns.left_out.is_empty() {
            self.pair(
                2,
                "unknown_fields",
                "ignore",
                "ignore | fail | rescue (kept as JSON in `rescued_data`)",
            );
        } else {
            self.pair(
                2,
                "unknown_fields",
                "rescue",
                "what is left out is kept as JSON in `rescued_data`",
            );
        }
    }

    fn bad_records(&mut self, asked: &Asked, trial: &Trial) {
        if trial.bad == 0 {
            self.pair(
                1,
                "on_bad_record",
                "fail",
                "fail | skip | dead_letter (with `dead_letters: {table: ...}`)",
            );
            return self.line(0, "");
        }
        let first = trial.first_bad.as_deref().unwrap_or_default();
        self.comment(
            1,
            &printable(&format!(
                "{} of {} records are bad; the first: {first}",
                trial.bad, trial.records
            )),
        );
        self.pair(1, "on_bad_record", "dead_letter", "fail | skip | dead_letter");
        self.pair(1, "bad_record_limit", "20%", "of a batch; more stop the connector");
        self.line(0, "");
        self.line(0, "dead_letters:");
        let table = format!("{}_dead_letters", asked.table.trim_end_matches('/'));
        self.line(1, &format!("table: {}", quoted(&table)));
        self.line(0, "");
    }

    fn output(&mut self, asked: &Asked, found: &Found) {
        self.line(0, "outputs:");
        self.line(1, &format!("{}:", quoted(&asked.name)));
        self.line(2, &format!("table: {}", quoted(&asked.table)));
        let (envelope, evolves) = match &found.format {
            Format::Avro { envelope, source } => {
                (*envelope, matches!(source, AvroSource::Registry { .. }))
            }
            Format::Json { envelope, .. } => (*envelope, false),
            Format::String | Format::Bytes => (false, false),
        };
        if envelope && !found.key.is_empty() {
            let key: Vec<String> =
                found.key.iter().map(|name| quoted(&name.replace('$', "$$"))).collect();
            self.pair(
                2,
                "mode",
                "upsert",
                "append | insert_new | upsert; append keeps every change as a row",
            );
            self.pair(
                2,
                "merge_key",
                &format!("[{}]", key.join(", ")),
                "the fields of the record keys",
            );
        } else if envelope {
            self.comment(2, "mode: upsert            # the newest state of each row instead of every change, with");
            self.comment(2, "merge_key: [id]         # the columns that identify it");
        }
        if evolves {
            self.pair(
                2,
                "schema_evolution",
                "add_columns",
                "fail | add_columns | widen: when the Avro schema changes",
            );
        }
        self.comment(2, "partition_by: [country]  # columns with few values");
    }
}

/// Plain where that can't be misread, else as JSON writes it, which is YAML too.
fn quoted(text: &str) -> String {
    let is_word =
        |word: &str| ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&word);
    let begins =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') || text.starts_with("./");
    let plain = begins
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && !is_word(&text.to_lowercase());
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

/// Names and reasons come from records: no line may end where one of them says so.
fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(shown).take(500).collect()
}

#[cfg(test)]
mod tests;
