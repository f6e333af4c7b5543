//! `decode`: the declared schema, how times are written, what becomes of bad records.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use chrono_tz::Tz;

use super::{positive_size, read as read_quantity};
use crate::config::path::Path;
use crate::config::problem::{Code, Report};
use crate::config::raw::{Format, KeyFormat};
use crate::config::shape::did_you_mean;
use crate::config::spec::{Decode, Framing, Json, OnIncompatibleSchema, Payload, TimestampFormat};
use crate::config::{names, raw, units};
use crate::schema::{TableSchema, ddl};

/// librdkafka receives no larger ones (`fetch.message.max.bytes`).
const LARGEST_MESSAGE: u64 = 1_000_000_000;

pub(super) fn read(raw: &raw::Decode, path: &Path, report: &mut Report<'_>) -> Option<Decode> {
    let at_size = path.key("max_message_size");
    let max_message_size = positive_size(raw.max_message_size.as_ref(), &at_size, report);
    if max_message_size.is_some_and(|size| size > LARGEST_MESSAGE) {
        let what = "is more than Kafka clients can receive";
        report.refuse(Code::Malformed, &at_size, what, "write `1GB` or less");
    }
    let bad_record_limit = raw.bad_record_limit.as_ref().and_then(|text| {
        read_quantity(units::share(&text.0), &text.0, &path.key("bad_record_limit"), report)
    });
    let at_value = path.key("value");
    let value = raw.value.as_ref()?;
    let schema =
        value.schema.as_ref().and_then(|text| schema(text, &at_value.key("schema"), report));
    let timezone =
        value.timezone.as_ref().and_then(|name| timezone(name, &at_value.key("timezone"), report));
    let at_times = at_value.key("timestamps");
    let timestamps = timestamps(value.timestamps.as_ref(), schema.as_ref(), &at_times, report);
    // One format of each today: the next one is a new arm here.
    match (raw.key.as_ref()?.format?, value.format?) {
        (KeyFormat::None, Format::Json) => {}
    }
    let json = Json {
        schema: Arc::new(schema?),
        timestamps,
        timezone: timezone?,
        unknown_fields: value.unknown_fields?,
        framing: Framing::Plain,
    };
    Some(Decode {
        value: Payload::Json(json),
        key: None,
        debezium: None,
        max_message_size: max_message_size?,
        on_bad_record: raw.on_bad_record?,
        bad_record_limit: bad_record_limit?,
        on_incompatible_schema: OnIncompatibleSchema::Fail,
    })
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

fn timezone(name: &str, path: &Path, report: &mut Report<'_>) -> Option<Tz> {
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
