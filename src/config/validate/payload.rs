//! One payload, a value or a key: its format, columns, schemas and registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use chrono_tz::Tz;
use url::Url;

use crate::config::names;
use crate::config::path::Path;
use crate::config::problem::{Code, Report};
use crate::config::raw::{self, Format, OneOrMore, SubjectRule};
use crate::config::shape::did_you_mean;
use crate::config::spec::{
    Avro, AvroSchemas, Framing, Json, Payload, Registry, RegistryAuth, Secret, SubjectNames,
    TimestampFormat, UnknownFields,
};
use crate::schema::{TableSchema, ddl};

/// What a value and a key have in common.
pub(super) struct Part<'a> {
    schema: Option<&'a str>,
    timestamps: Option<&'a BTreeMap<String, TimestampFormat>>,
    timezone: Option<&'a str>,
    unknown_fields: Option<UnknownFields>,
    framing: Option<Framing>,
    avro_schema: Option<&'a str>,
    registry: Option<&'a raw::Registry>,
}

/// The settings that belong to some formats only.
pub(super) const ALL: [&str; 7] =
    ["schema", "timestamps", "timezone", "unknown_fields", "framing", "avro_schema", "registry"];

impl<'a> Part<'a> {
    pub(super) fn of_value(raw: &'a raw::ValueFormat) -> Self {
        Self {
            schema: raw.schema.as_deref(),
            timestamps: raw.timestamps.as_ref(),
            timezone: raw.timezone.as_deref(),
            unknown_fields: raw.unknown_fields,
            framing: raw.framing,
            avro_schema: raw.avro_schema.as_deref(),
            registry: raw.registry.as_ref(),
        }
    }

    pub(super) fn of_key(raw: &'a raw::Key) -> Self {
        Self {
            schema: raw.schema.as_deref(),
            timestamps: raw.timestamps.as_ref(),
            timezone: raw.timezone.as_deref(),
            unknown_fields: None,
            framing: raw.framing,
            avro_schema: raw.avro_schema.as_deref(),
            registry: raw.registry.as_ref(),
        }
    }

    fn is_set(&self, key: &str) -> bool {
        match key {
            "schema" => self.schema.is_some(),
            "timestamps" => self.timestamps.is_some(),
            "timezone" => self.timezone.is_some(),
            "unknown_fields" => self.unknown_fields.is_some(),
            "framing" => self.framing.is_some(),
            "avro_schema" => self.avro_schema.is_some(),
            _ => self.registry.is_some(),
        }
    }
}

/// Refuses those of `keys` that are set.
pub(super) fn refuse_set(
    part: &Part<'_>,
    keys: &[&str],
    what: &str,
    path: &Path,
    report: &mut Report<'_>,
) {
    for key in keys.iter().filter(|key| part.is_set(key)) {
        report.refuse(Code::Contradiction, &path.key(key), what, "remove it");
    }
}

pub(super) fn read(
    part: &Part<'_>,
    format: Format,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Payload> {
    let not_for = |word: &str| format!("has no effect with `{word}`");
    match format {
        Format::Json => {
            refuse_set(part, &["avro_schema", "registry"], &not_for("json"), path, report);
            json(part, path, report).map(Payload::Json)
        }
        Format::Avro => {
            refuse_set(part, &["timestamps", "timezone"], &not_for("avro"), path, report);
            avro(part, path, report).map(Payload::Avro)
        }
        Format::String | Format::Bytes => {
            let word = if format == Format::String { "string" } else { "bytes" };
            refuse_set(part, &ALL, &not_for(word), path, report);
            Some(if format == Format::String { Payload::String } else { Payload::Bytes })
        }
        Format::Debezium => None,
    }
}

fn json(part: &Part<'_>, path: &Path, report: &mut Report<'_>) -> Option<Json> {
    let at_schema = path.key("schema");
    if part.schema.is_none() && !report.touches(&at_schema) {
        let hint = "for example `schema: \"id BIGINT NOT NULL, name STRING\"`";
        report.refuse(Code::Missing, &at_schema, "must be set", hint);
    }
    let schema = part.schema.and_then(|text| schema(text, &at_schema, report));
    let timezone = part.timezone.and_then(|name| timezone(name, &path.key("timezone"), report));
    let at_times = path.key("timestamps");
    let timestamps = timestamps(part.timestamps, schema.as_ref(), &at_times, report);
    let framing = part.framing?;
    if framing == Framing::SingleObject {
        let what = "`single_object` is Avro's";
        report.refuse(
            Code::Contradiction,
            &path.key("framing"),
            what,
            "use `plain` or `confluent`",
        );
    }
    Some(Json {
        schema: Arc::new(schema?),
        timestamps,
        timezone: timezone?,
        // Keys have no such setting: what isn't asked for is left out.
        unknown_fields: part.unknown_fields.unwrap_or(UnknownFields::Ignore),
        framing,
    })
}

fn avro(part: &Part<'_>, path: &Path, report: &mut Report<'_>) -> Option<Avro> {
    let columns = part.schema.map(|text| schema(text, &path.key("schema"), report));
    if part.schema.is_none() && part.unknown_fields.is_some() {
        let what = "has no effect without `schema`: the columns are those of the Avro schema";
        report.refuse(Code::Contradiction, &path.key("unknown_fields"), what, "remove it");
    }
    let framing = part.framing?;
    let schemas = match (part.registry, part.avro_schema) {
        (Some(registry), None) => {
            let at_framing = path.key("framing");
            if framing != Framing::Confluent {
                let what =
                    "must be `confluent` with a registry: only that names a registry's schema";
                report.refuse(Code::Contradiction, &at_framing, what, "remove it");
            }
            self::registry(registry, &path.key("registry"), report)
                .map(|registry| AvroSchemas::Registry(Arc::new(registry)))
        }
        (None, Some(text)) => {
            if framing == Framing::Confluent {
                let what = "`confluent` needs a registry, for the ids are its own";
                let hint = "set `registry` instead of `avro_schema`";
                report.refuse(Code::Contradiction, &path.key("framing"), what, hint);
            }
            Some(AvroSchemas::Fixed(text.into()))
        }
        (Some(_), Some(_)) => {
            let what = "and `registry` exclude each other";
            report.refuse(
                Code::Contradiction,
                &path.key("avro_schema"),
                what,
                "remove one of them",
            );
            None
        }
        (None, None) => {
            let (at_registry, at_schema) = (path.key("registry"), path.key("avro_schema"));
            if !report.touches(&at_registry) && !report.touches(&at_schema) {
                let hint = "or `avro_schema: ${file:order.avsc}` if there is no registry";
                report.refuse(Code::Missing, &at_registry, "must be set for `avro`", hint);
            }
            None
        }
    };
    Some(Avro {
        schemas: schemas?,
        framing,
        columns: columns.map_or(Some(None), |columns| columns.map(Some))?.map(Arc::new),
        unknown_fields: part.unknown_fields.unwrap_or(UnknownFields::Ignore),
    })
}

fn registry(raw: &raw::Registry, path: &Path, report: &mut Report<'_>) -> Option<Registry> {
    let at_url = path.key("url");
    let texts = match raw.url.as_ref()? {
        OneOrMore::One(text) => std::slice::from_ref(text),
        OneOrMore::More(texts) => texts.as_slice(),
    };
    if texts.is_empty() {
        report.refuse(Code::Missing, &at_url, "names no registry", "write its URL");
    }
    let urls: Vec<Url> =
        texts.iter().filter_map(|text| registry_url(text, &at_url, report)).collect();
    let auth = match &raw.auth {
        Some(auth) => self::auth(auth, &path.key("auth"), report)?,
        None => RegistryAuth::None,
    };
    let subjects = match (&raw.subject, raw.subject_names) {
        (Some(_), Some(_)) => {
            let what = "and `subject_names` exclude each other";
            report.refuse(Code::Contradiction, &path.key("subject"), what, "remove one of them");
            return None;
        }
        (Some(subject), None) => SubjectNames::Named(subject.clone()),
        (None, None | Some(SubjectRule::TopicName)) => SubjectNames::TopicName,
        (None, Some(SubjectRule::RecordName)) => SubjectNames::RecordName,
        (None, Some(SubjectRule::TopicRecordName)) => SubjectNames::TopicRecordName,
    };
    (!urls.is_empty()).then_some(Registry {
        urls,
        auth,
        ca_file: raw.ca_file.as_ref().map(PathBuf::from),
        subjects,
    })
}

fn registry_url(text: &str, path: &Path, report: &mut Report<'_>) -> Option<Url> {
    let hint = "for example `https://registry:8081`";
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => {
            report.refuse(Code::Malformed, path, "is not an http or https URL", hint);
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "put them under `auth`, as `${env:..}` or `${file:..}`";
        report.refuse(Code::Malformed, path, "holds credentials", hint);
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        report.refuse(Code::Malformed, path, "holds `?` or `#`", "write it without");
        return None;
    }
    Some(url)
}

fn auth(raw: &raw::Auth, path: &Path, report: &mut Report<'_>) -> Option<RegistryAuth> {
    for (name, value) in
        [("username", &raw.username), ("password", &raw.password), ("token", &raw.token)]
    {
        if let Some(value) = value {
            super::warn_of_plain_secret(name, &value.0, &path.key(name), report);
        }
    }
    let secret = |property: &raw::Property| Secret::new(&property.0);
    match (&raw.username, &raw.password, &raw.token) {
        (Some(username), Some(password), None) => {
            let (username, password) = (secret(username), secret(password));
            Some(RegistryAuth::Basic { username, password })
        }
        (None, None, Some(token)) => Some(RegistryAuth::Bearer(secret(token))),
        // A reference that can't be resolved has been told, and `check --offline` goes on without it.
        _ if report.touches(path) || report.has_warned(path) => Some(RegistryAuth::None),
        _ => {
            let what = "must hold `username` and `password`, or `token`";
            report.refuse(Code::Contradiction, path, what, "");
            None
        }
    }
}

fn schema(text: &str, path: &Path, report: &mut Report<'_>) -> Option<TableSchema> {
    let schema = match ddl::parse(text) {
        Ok(schema) => schema,
        Err(error) => {
            let what = format!("{}: {}", place(text, error.position), error.message);
            report.refuse(Code::Schema, path, what, "");
            return None;
        }
    };
    for field in schema.arrow().fields() {
        if let Err((what, hint)) = names::top_level_column(field.name()) {
            report.refuse(Code::Schema, path, what, hint);
        }
    }
    Some(schema)
}

/// `line 2, column 5` of a text, or just the column when it has one line.
fn place(text: &str, position: usize) -> String {
    let before = text.get(..position).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    match text.contains('\n') {
        true => format!("line {line}, column {column}"),
        false => format!("column {column}"),
    }
}

pub(super) fn timezone(name: &str, path: &Path, report: &mut Report<'_>) -> Option<Tz> {
    if let Ok(zone) = name.parse() {
        return Some(zone);
    }
    let what = format!("{} is not a time zone", report.sites().quote(path, name));
    report.refuse(Code::Malformed, path, what, "use an IANA name: `UTC`, `Europe/Berlin`");
    None
}

/// Formats under the columns' own spelling.
fn timestamps(
    raw: Option<&BTreeMap<String, TimestampFormat>>,
    schema: Option<&TableSchema>,
    path: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, TimestampFormat> {
    let mut formats = BTreeMap::new();
    let Some(schema) = schema else { return formats };
    let fields: Vec<&Field> = schema.arrow().fields().iter().map(AsRef::as_ref).collect();
    for (name, format) in raw.into_iter().flatten() {
        let path = path.key(name);
        match find(&fields, name) {
            None => {
                let what = format!("there is no column `{name}` in `decode.value.schema`");
                let columns: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
                report.refuse(Code::Schema, &path, what, did_you_mean(name, columns.iter()));
            }
            Some((_, data_type)) if !is_time(&data_type) => {
                let what = format!("column `{name}` is {}", ddl::format_type(&data_type));
                let hint = "only DATE, TIMESTAMP and TIMESTAMP_NTZ columns have a format";
                report.refuse(Code::Schema, &path, what, hint);
            }
            Some((column, _)) => {
                if formats.insert(column.clone(), *format).is_some() {
                    let what = format!("column `{column}` has a format already");
                    report.refuse(Code::Contradiction, &path, what, "remove one of them");
                }
            }
        }
    }
    formats
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

/// A column by its dotted name: fields of structs by their names, an array's items as `element`, a map's as `key` and
/// `value`, as Spark has it. Returns the name as the schema spells it.
fn find(fields: &[&Field], name: &str) -> Option<(String, DataType)> {
    for field in fields {
        let own = field.name();
        if own.eq_ignore_ascii_case(name) {
            return Some((own.clone(), field.data_type().clone()));
        }
        let rest = match name.get(..own.len()) {
            Some(first) if first.eq_ignore_ascii_case(own) => name[own.len()..].strip_prefix('.'),
            _ => None,
        };
        if let Some((inner, data_type)) =
            rest.and_then(|rest| find(&children(field.data_type()), rest))
        {
            return Some((format!("{own}.{inner}"), data_type));
        }
    }
    None
}

fn children(data_type: &DataType) -> Vec<&Field> {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(AsRef::as_ref).collect(),
        DataType::List(element) => vec![element],
        DataType::Map(entries, _) => children(entries.data_type()),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_columns_are_found_by_dotted_names_in_any_case() {
        let text = "a STRUCT<At: DATE, l: ARRAY<STRUCT<t: TIMESTAMP>>>, m MAP<STRING, TIMESTAMP>";
        let schema = ddl::parse(text).expect("valid columns");
        let fields: Vec<&Field> = schema.arrow().fields().iter().map(AsRef::as_ref).collect();
        let column = |name| find(&fields, name).map(|(column, _)| column);
        assert_eq!(column("A.at").as_deref(), Some("a.At"));
        assert_eq!(column("a.l.element.t").as_deref(), Some("a.l.element.t"));
        assert_eq!(column("m.value").as_deref(), Some("m.value"));
        assert_eq!(column("a.b"), None);
        assert_eq!(column("at"), None);
    }
}
