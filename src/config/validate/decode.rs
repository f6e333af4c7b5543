//! `decode`: formats, declared schemas, what becomes of bad records.

use super::payload::{self, Part};
use super::{positive_size, read as read_quantity};
use crate::config::path::Path;
use crate::config::problem::{Code, Report};
use crate::config::raw::{self, Encoding, Format, KeyFormat};
use crate::config::spec::{
    ChangeColumn, Debezium, Decode, DecodeKey, OnBadRecord, OnIncompatibleSchema,
};
use crate::config::{names, units};

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
    let key = raw.key.as_ref().map(|raw| key(raw, &path.key("key"), report));
    let at_value = path.key("value");
    let value = raw.value.as_ref()?;
    let debezium = debezium(value, &at_value, report);
    let value = payload::read(&Part::of_value(value), value_format(value)?, &at_value, report);
    if raw.on_incompatible_schema == Some(OnIncompatibleSchema::DeadLetter)
        && raw.on_bad_record != Some(OnBadRecord::DeadLetter)
    {
        let hint = "set it, with `dead_letters.table`";
        let path = path.key("on_incompatible_schema");
        report.refuse(Code::Contradiction, &path, "needs `on_bad_record: dead_letter`", hint);
    }
    Some(Decode {
        value: value?,
        key: key.map_or(Some(None), |key| key)?,
        debezium: debezium?,
        max_message_size: max_message_size?,
        on_bad_record: raw.on_bad_record?,
        bad_record_limit: bad_record_limit?,
        on_incompatible_schema: raw.on_incompatible_schema?,
    })
}

/// The format of the bytes: for change events, of the events.
fn value_format(raw: &raw::ValueFormat) -> Option<Format> {
    match raw.format? {
        Format::Debezium => Some(match raw.encoding? {
            Encoding::Json => Format::Json,
            Encoding::Avro => Format::Avro,
        }),
        format => Some(format),
    }
}

/// `Some(None)`: values aren't change events.
fn debezium(
    raw: &raw::ValueFormat,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Option<Debezium>> {
    let columns = raw.change_columns.clone();
    if raw.format? == Format::Debezium {
        let at_encoding = path.key("encoding");
        if raw.encoding.is_none() && !report.touches(&at_encoding) {
            let hint = "`json` or `avro`, as the events are written";
            report.refuse(Code::Missing, &at_encoding, "must be set for `debezium`", hint);
        }
        let columns = columns.unwrap_or_default();
        let name = |column: &ChangeColumn| format!("`{}`", column.column());
        super::refuse_repeats(&columns, &path.key("change_columns"), report, name);
        return Some(Some(Debezium { columns }));
    }
    for (key, is_set) in
        [("encoding", raw.encoding.is_some()), ("change_columns", columns.is_some())]
    {
        if is_set {
            let what = "is only for `format: debezium`";
            report.refuse(Code::Contradiction, &path.key(key), what, "remove it");
        }
    }
    Some(None)
}

/// `Some(None)`: keys aren't decoded.
fn key(raw: &raw::Key, path: &Path, report: &mut Report<'_>) -> Option<Option<DecodeKey>> {
    let format = match raw.format? {
        KeyFormat::None => {
            let what = "has no effect without a `format`";
            payload::refuse_set(&Part::of_key(raw), &payload::ALL, what, path, report);
            if raw.column.is_some() {
                report.refuse(Code::Contradiction, &path.key("column"), what, "remove it");
            }
            return Some(None);
        }
        KeyFormat::String => Format::String,
        KeyFormat::Bytes => Format::Bytes,
        KeyFormat::Json => Format::Json,
        KeyFormat::Avro => Format::Avro,
    };
    let column = raw.column.clone();
    if let Some(Err((what, hint))) = column.as_deref().map(names::column) {
        report.refuse(Code::Schema, &path.key("column"), what, hint);
    }
    let payload = payload::read(&Part::of_key(raw), format, path, report);
    Some(Some(DecodeKey { column: column?, payload: payload? }))
}
