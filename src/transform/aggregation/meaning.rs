//! What gives stored state its meaning, in words that can be compared and told.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;

use super::Key;
use super::gap::Gap;
use super::measure::Planned;
use crate::config::{self, Window};
use crate::schema::ddl;

/// The form that states are stored in. Raise it when keys, states, hashes or sketches are written in another way.
pub(in crate::transform) const STATE_FORM: u32 = 2;

/// Part by part. `where`, the delay and what becomes of late rows are none of it: they may change, and count from then on.
pub(super) fn of(
    aggregate: &config::Aggregate,
    gap: Option<&Gap>,
    keys: &[Key],
    measures: &[Planned],
) -> BTreeMap<String, String> {
    let (window, zone) = window(&aggregate.window, gap);
    let mut parts = BTreeMap::from([
        ("state".to_owned(), STATE_FORM.to_string()),
        ("watermark.column".to_owned(), aggregate.watermark.column.to_lowercase()),
        ("window".to_owned(), window),
        // Keys and states are written one behind the other.
        ("group_by".to_owned(), listed(keys.iter().map(|key| key.field().name().as_str()))),
        ("measures".to_owned(), listed(measures.iter().map(|planned| planned.measure.name()))),
    ]);
    if let Some(zone) = zone {
        let data = chrono_tz::IANA_TZDB_VERSION;
        parts.insert("timezone".to_owned(), format!("{zone}, tz data {data}"));
    }
    for key in keys {
        let (name, data_type) = (key.field().name(), ddl::format_type(key.field().data_type()));
        parts.insert(format!("group_by.{name}"), format!("{} {data_type}", key.text));
    }
    for Planned { measure, text, .. } in measures {
        let result = ddl::format_type(measure.result());
        let meaning = format!("{text} {result}, states [{}]", measure.stored());
        parts.insert(format!("measures.{}", measure.name()), meaning);
    }
    parts
}

fn listed(parts: impl Iterator<Item = impl Into<String>>) -> String {
    parts.map(Into::into).collect::<Vec<String>>().join(", ")
}

/// The windows, and the zone that says how long their days are.
fn window(window: &Window, gap: Option<&Gap>) -> (String, Option<Tz>) {
    match *window {
        Window::Tumbling { size, offset, timezone } => {
            (format!("tumbling {}, offset {}", long(size), long(offset)), timezone)
        }
        Window::Sliding { size, slide, offset, timezone } => {
            let (size, slide, offset) = (long(size), long(slide), long(offset));
            (format!("sliding {size}, slide {slide}, offset {offset}"), timezone)
        }
        Window::Session { gap: config::Gap::Fixed(gap) } => {
            (format!("session {}", long(gap)), None)
        }
        Window::Session { gap: config::Gap::OfRecord { .. } } => {
            let text = gap.map(|gap| gap.text.as_str()).unwrap_or_default();
            (format!("session of {text} s"), None)
        }
        Window::None => ("none".to_owned(), None),
    }
}

pub(in crate::transform) fn long(length: Duration) -> String {
    match length.subsec_micros() {
        0 => format!("{} s", length.as_secs()),
        _ => format!("{} µs", length.as_micros()),
    }
}
