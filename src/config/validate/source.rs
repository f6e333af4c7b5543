//! `source`: brokers, topics, start, the client's properties.

use std::collections::BTreeMap;

use chrono::DateTime;
use regex::Regex;

use super::{refuse_repeats, warn_of_plain_secret};
use crate::config::path::Path;
use crate::config::problem::{Code, Report};
use crate::config::raw::{self, StartWord};
use crate::config::shape::did_you_mean;
use crate::config::spec::{Secret, Source, Start, Topics};
use crate::config::{client, names};

pub(super) fn read(raw: &raw::Source, path: &Path, report: &mut Report<'_>) -> Option<Source> {
    let brokers = brokers(raw.brokers.as_deref(), &path.key("brokers"), report);
    let topics = topics(raw, path, report);
    let start = start(raw.start.as_ref(), topics.as_ref(), &path.key("start"), report);
    let client = client_properties(raw.client.as_ref(), &path.key("client"), report);
    if raw.group_id.as_deref().is_some_and(|group| group.trim().is_empty()) {
        let hint = "write `null` to publish no offsets";
        report.refuse(Code::Malformed, &path.key("group_id"), "can't be empty", hint);
    }
    Some(Source {
        brokers: brokers?,
        topics: topics?,
        start: start?,
        on_data_loss: raw.on_data_loss?,
        group_id: raw.group_id.clone(),
        client,
    })
}

fn brokers(raw: Option<&[String]>, path: &Path, report: &mut Report<'_>) -> Option<Vec<String>> {
    let brokers = raw?;
    for (index, broker) in brokers.iter().enumerate() {
        if let Err((what, hint)) = names::broker(broker) {
            let path = path.index(index);
            let what = format!("{} {what}", report.sites().quote(&path, broker));
            report.refuse(Code::Malformed, &path, what, hint);
        }
    }
    refuse_empty(brokers, path, "broker", report)?;
    Some(brokers.to_vec())
}

fn topics(raw: &raw::Source, path: &Path, report: &mut Report<'_>) -> Option<Topics> {
    let at_list = path.key("topics");
    let at_pattern = path.key("topic_pattern");
    let list = raw.topics.as_ref().and_then(|topics| topic_list(topics, &at_list, report));
    let pattern = raw.topic_pattern.as_ref().and_then(|text| pattern(text, &at_pattern, report));
    match (&raw.topics, &raw.topic_pattern) {
        (Some(_), Some(_)) => {
            let hint = "keep one of them (`null` takes one of another file back)";
            report.refuse(Code::Contradiction, &at_pattern, "stands beside `topics`", hint);
            None
        }
        (Some(_), None) => list.map(Topics::List),
        (None, Some(_)) => pattern.map(Topics::Pattern),
        (None, None) => {
            if !report.touches(&at_list) && !report.touches(&at_pattern) {
                let hint = "for example `topics: [orders]`, or `topic_pattern`";
                report.refuse(Code::Missing, &at_list, "must be set", hint);
            }
            None
        }
    }
}

/// Topic names of a list, here or of an output.
pub(super) fn topic_list(
    topics: &[String],
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    for (index, topic) in topics.iter().enumerate() {
        if let Err((what, hint)) = names::topic(topic) {
            report.refuse(Code::Malformed, &path.index(index), what, hint);
        }
    }
    refuse_repeats(topics, path, report, |topic| format!("`{topic}`"));
    refuse_empty(topics, path, "topic", report)?;
    Some(topics.to_vec())
}

fn refuse_empty(list: &[String], path: &Path, what: &str, report: &mut Report<'_>) -> Option<()> {
    if list.is_empty() && !report.touches(path) {
        report.refuse(Code::Missing, path, format!("must name at least one {what}"), "");
    }
    (!list.is_empty()).then_some(())
}

fn pattern(text: &str, path: &Path, report: &mut Report<'_>) -> Option<Regex> {
    let refusal = match Regex::new(&format!("^(?:{text})$")) {
        Ok(regex) if !text.is_empty() => return Some(regex),
        Ok(_) => "is empty".to_owned(),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("is not a regular expression: {reason}")
        }
    };
    report.refuse(Code::Malformed, path, refusal, "for example `orders\\..*`");
    None
}

fn start(
    raw: Option<&raw::Start>,
    topics: Option<&Topics>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Start> {
    let at = match raw? {
        raw::Start::Word(StartWord::Earliest) => return Some(Start::Earliest),
        raw::Start::Word(StartWord::Latest) => return Some(Start::Latest),
        raw::Start::At(at) => at,
    };
    match (&at.timestamp, &at.offsets) {
        (Some(text), None) => timestamp(&text.0, &path.key("timestamp"), report),
        (None, Some(raw)) => offsets(raw, topics, &path.key("offsets"), report),
        (Some(_), Some(_)) => {
            let what = "stands beside `timestamp`";
            report.refuse(Code::Contradiction, &path.key("offsets"), what, "keep one of them");
            None
        }
        (None, None) => {
            if !report.touches(path) {
                let what = "needs `timestamp` or `offsets`";
                report.refuse(Code::Missing, path, what, "or write `earliest` or `latest`");
            }
            None
        }
    }
}

fn timestamp(text: &str, path: &Path, report: &mut Report<'_>) -> Option<Start> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(Start::Timestamp(instant.timestamp_millis()));
    }
    let what = format!("{} is not a time with a zone", report.sites().quote(path, text));
    report.refuse(Code::Malformed, path, what, "write `2026-11-01T00:00:00Z`");
    None
}

fn offsets(
    raw: &BTreeMap<String, BTreeMap<String, u64>>,
    topics: Option<&Topics>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Start> {
    let mut offsets = BTreeMap::new();
    for (topic, partitions) in raw {
        let path = path.key(topic);
        if let Some(topics) = topics {
            refuse_unread(topic, topics, &path, report);
        }
        let of_topic: &mut BTreeMap<i32, i64> = offsets.entry(topic.clone()).or_default();
        for (partition, offset) in partitions {
            let path = path.key(partition);
            match (partition.parse::<i32>(), i64::try_from(*offset)) {
                (Ok(partition @ 0..), Ok(offset)) => {
                    of_topic.insert(partition, offset);
                }
                (Ok(0..), Err(_)) => {
                    report.refuse(Code::Malformed, &path, "is larger than any offset", "");
                }
                _ => report.refuse(
                    Code::Malformed,
                    &path,
                    format!("`{partition}` is not a partition's number"),
                    "write `{0: 42}` for offset 42 of partition 0",
                ),
            }
        }
    }
    Some(Start::Offsets(offsets))
}

/// Reports a topic that the source doesn't read.
pub(super) fn refuse_unread(topic: &str, topics: &Topics, path: &Path, report: &mut Report<'_>) {
    match topics {
        Topics::List(list) if !list.iter().any(|known| known == topic) => {
            let what = format!("topic `{topic}` is not one of `source.topics`");
            let mut hint = did_you_mean(topic, list.iter());
            if hint.is_empty() {
                "add it there".clone_into(&mut hint);
            }
            report.refuse(Code::Contradiction, path, what, hint);
        }
        Topics::Pattern(pattern) if !pattern.is_match(topic) => {
            let what = format!("topic `{topic}` doesn't match `source.topic_pattern`");
            report.refuse(Code::Contradiction, path, what, "");
        }
        _ => {}
    }
}

fn client_properties(
    raw: Option<&BTreeMap<String, raw::Property>>,
    path: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, Secret> {
    let mut properties = BTreeMap::new();
    for (name, value) in raw.into_iter().flatten() {
        let path = path.key(name);
        if let Some(hint) = client::owned(name) {
            report.refuse(Code::OwnedProperty, &path, "sluice sets this property itself", hint);
        }
        let isolation = ["read_committed", "read_uncommitted"];
        if name == "isolation.level" && !isolation.contains(&value.0.as_str()) {
            let what = "is neither `read_committed` nor `read_uncommitted`";
            report.refuse(Code::NotAChoice, &path, what, "");
        }
        warn_of_plain_secret(name, &value.0, &path, report);
        properties.insert(name.clone(), Secret::new(&value.0));
    }
    properties
}
