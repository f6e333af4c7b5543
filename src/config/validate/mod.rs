//! Raw structs → [`Connector`]: every rule that the shape alone doesn't hold, without I/O.
//!
//! A function returns `None` when it has reported a problem, or met a hole where one was reported before; it looks at
//! everything it can before it does.

mod aggregate;
mod decode;
mod outputs;
mod payload;
mod source;

pub use outputs::files_per_day;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use super::path::Path;
use super::problem::{Code, Report};
use super::raw::{self, TriggerMode};
use super::site::Site;
use super::spec::{
    Connector, DeadLetters, Limits, OnBadRecord, Retry, Secret, Storage, Topics, Trigger,
};
use super::{client, fingerprint, location, names, units};

/// Validates a whole connector. `None`: the report holds a problem.
pub(super) fn connector(
    raw: &raw::Connector,
    current_dir: &FilePath,
    report: &mut Report<'_>,
) -> Option<Connector> {
    let root = Path::root();
    let name = name(raw.name.as_deref(), report);
    let source = raw.source.as_ref().and_then(|raw| source::read(raw, &root.key("source"), report));
    let decode = raw.decode.as_ref().and_then(|raw| decode::read(raw, &root.key("decode"), report));
    let decode = decode.map(Arc::new);
    let storage = storage(raw.storage.as_ref(), &root.key("storage"), &Storage::default(), report);
    let tables = Tables { current_dir, storage: &storage };
    let dead_letters = dead_letters(raw, &tables, report);
    let trigger = raw.trigger.as_ref().and_then(|raw| trigger(raw, &root.key("trigger"), report));
    let limits = raw.limits.as_ref().and_then(|raw| limits(raw, &root.key("limits"), report));
    let retry = raw.retry.as_ref().and_then(|raw| retry(raw, &root.key("retry"), report));
    let shutdown_timeout = positive_duration(
        raw.shutdown_timeout.as_ref().map(|text| text.0.as_str()),
        &root.key("shutdown_timeout"),
        report,
    );
    let http = raw.http.as_ref().map(|raw| listen(raw, &root.key("http"), report));
    let has_decode = raw.decode.is_some();
    let outputs = raw.outputs.as_ref().and_then(|raw| {
        let topics = source.as_ref().map(|source| &source.topics);
        outputs::read(
            raw,
            &outputs::Around {
                decode: decode.as_ref(),
                has_decode,
                topics,
                dead_letters: dead_letters.as_ref(),
            },
            &tables,
            report,
        )
    });
    let mut connector = Connector {
        name: name?,
        source: source?,
        dead_letters,
        trigger: trigger?,
        limits: limits?,
        retry: retry?,
        shutdown_timeout: shutdown_timeout?,
        http: http.flatten(),
        outputs: outputs?,
        fingerprint: String::new(),
    };
    connector.fingerprint = fingerprint::of(&connector);
    if let Topics::List(topics) = &connector.source.topics {
        connector = connector.with_topics(&topics.iter().cloned().collect());
    }
    (!report.has_problems()).then_some(connector)
}

/// What locations are read against.
struct Tables<'a> {
    current_dir: &'a FilePath,
    /// The top level's.
    storage: &'a Storage,
}

impl Tables<'_> {
    fn location(
        &self,
        text: &str,
        path: &Path,
        report: &mut Report<'_>,
    ) -> Option<super::TableLocation> {
        let location = match location::read(text, self.current_dir) {
            Ok(location) => location,
            Err((what, hint)) => {
                report.refuse(Code::Location, path, what, hint);
                return None;
            }
        };
        if text.contains("{topic}") != location.is_per_topic() || text.contains("{{") {
            let hint = "put it into the path: `s3://lake/{topic}`";
            report.refuse(Code::Location, path, "holds `{topic}` where no topic can stand", hint);
        }
        if location.url.path().contains("%20") {
            let hint = "rename it while the table is new";
            report.warn(Code::Location, path, "holds a space, which Polars can't read", hint);
        }
        Some(location)
    }
}

fn name(name: Option<&str>, report: &mut Report<'_>) -> Option<String> {
    let name = name?;
    match names::identity(name) {
        Ok(()) => Some(name.to_owned()),
        Err((what, hint)) => {
            report.refuse(Code::Malformed, &Path::parse("name"), what, hint);
            None
        }
    }
}

fn dead_letters(
    raw: &raw::Connector,
    tables: &Tables<'_>,
    report: &mut Report<'_>,
) -> Option<DeadLetters> {
    let path = Path::parse("dead_letters");
    let own = raw.outputs.iter().flat_map(BTreeMap::values).filter_map(|o| o.decode.as_ref());
    let decodes: Vec<_> = raw.decode.iter().chain(own).collect();
    let is_kept = |decode: &&&raw::Decode| decode.on_bad_record == Some(OnBadRecord::DeadLetter);
    let policy = decodes.iter().find(is_kept).or(decodes.first()).and_then(|d| d.on_bad_record);
    let late = late_rows_kept(raw);
    let Some(raw) = &raw.dead_letters else {
        if let Some(path) = late {
            let hint = "for example `dead_letters: {table: s3://lake/dead_letters}`";
            report.refuse(Code::Missing, &path, "needs `dead_letters.table`", hint);
        }
        if policy == Some(OnBadRecord::DeadLetter) && !report.touches(&path) {
            let policy = Path::parse("decode.on_bad_record");
            let hint = "for example `dead_letters: {table: s3://lake/dead_letters}`";
            report.refuse(Code::Missing, &policy, "needs `dead_letters.table`", hint);
        }
        return None;
    };
    if late.is_none() && policy.is_some_and(|policy| policy != OnBadRecord::DeadLetter) {
        let what =
            "has no effect, since neither `decode.on_bad_record` nor `late_rows` is `dead_letter`";
        report.refuse(Code::Contradiction, &path, what, "set that, or remove this");
    }
    let table = tables.location(raw.table.as_deref()?, &path.key("table"), report);
    let storage = storage(raw.storage.as_ref(), &path.key("storage"), tables.storage, report);
    Some(DeadLetters { table: table?, storage })
}

/// Where late rows are wanted in the dead-letter table.
fn late_rows_kept(raw: &raw::Connector) -> Option<Path> {
    raw.outputs.iter().flatten().find_map(|(name, output)| {
        let step = if let Some(raw::Aggregate {
            late_rows: Some(raw::LateRows::Word(raw::LateRowsWord::DeadLetter)),
            ..
        }) = output.aggregate
        {
            "aggregate"
        } else if let Some(raw::Deduplicate {
            late_rows: Some(raw::LateRowsWord::DeadLetter),
            ..
        }) = output.deduplicate
        {
            "deduplicate"
        } else {
            return None;
        };
        Some(Path::parse("outputs").key(name).key(step).key("late_rows"))
    })
}

fn trigger(raw: &raw::Trigger, path: &Path, report: &mut Report<'_>) -> Option<Trigger> {
    let at = path.key("interval");
    let text = raw.interval.as_ref().map(|text| text.0.as_str());
    match raw.mode? {
        TriggerMode::ProcessingTime => {
            Some(Trigger::ProcessingTime { interval: duration(text, &at, report)? })
        }
        mode => {
            // Overriding the mode for one run is common; then the file's interval just rests.
            let sites = report.sites();
            if text.is_some() && sites.strength(&at) >= sites.strength(&path.key("mode")) {
                let what = "has no effect, since `trigger.mode` is not `processing_time`";
                report.warn(Code::Unused, &at, what, "remove it");
            }
            Some(if mode == TriggerMode::Once { Trigger::Once } else { Trigger::AvailableNow })
        }
    }
}

fn limits(raw: &raw::Limits, path: &Path, report: &mut Report<'_>) -> Option<Limits> {
    let max_records = at_least(1, raw.max_records, &path.key("max_records"), report);
    let max_bytes = positive_size(raw.max_bytes.as_ref(), &path.key("max_bytes"), report);
    let delay = raw.max_delay.as_ref().map(|text| text.0.as_str());
    let max_delay = positive_duration(delay, &path.key("max_delay"), report);
    if let (Some(least), Some(most)) = (raw.min_records, max_records)
        && least > most
    {
        let what = format!("is more than `limits.max_records` ({most})");
        report.refuse(Code::Contradiction, &path.key("min_records"), what, "");
    }
    Some(Limits {
        max_records: max_records?,
        max_bytes: max_bytes?,
        min_records: raw.min_records?,
        max_delay: max_delay?,
    })
}

fn retry(raw: &raw::Retry, path: &Path, report: &mut Report<'_>) -> Option<Retry> {
    let text = |text: &Option<raw::DurationText>| text.as_ref().map(|text| text.0.clone());
    let first = text(&raw.initial_backoff);
    let longest = text(&raw.max_backoff);
    let initial_backoff = positive_duration(first.as_deref(), &path.key("initial_backoff"), report);
    let max_backoff = positive_duration(longest.as_deref(), &path.key("max_backoff"), report);
    if let (Some(first), Some(longest)) = (initial_backoff, max_backoff)
        && first > longest
    {
        // The one that was set is to blame, not the default that it meets.
        let sites = report.sites();
        let (first, longest) = (path.key("initial_backoff"), path.key("max_backoff"));
        let (blamed, what) = match sites.strength(&first) > sites.strength(&longest) {
            true => (first, format!("is longer than `{longest}`")),
            false => (longest, format!("is shorter than `{first}`")),
        };
        report.refuse(Code::Contradiction, &blamed, what, "");
    }
    let give_up_after = match raw.give_up_after.as_ref()?.0.as_str() {
        "never" => Some(None),
        text => positive_duration(Some(text), &path.key("give_up_after"), report).map(Some),
    };
    let fenced_limit = at_least(1, raw.fenced_limit, &path.key("fenced_limit"), report);
    Some(Retry {
        initial_backoff: initial_backoff?,
        max_backoff: max_backoff?,
        give_up_after: give_up_after?,
        fenced_limit: u32::try_from(fenced_limit?).unwrap_or(u32::MAX),
    })
}

fn listen(raw: &raw::Http, path: &Path, report: &mut Report<'_>) -> Option<SocketAddr> {
    let text = raw.listen.as_deref()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let path = path.key("listen");
    let what = format!("{} is not an address and a port", report.sites().quote(&path, text));
    let hint = match text.strip_prefix(':') {
        Some(port) => format!("write `0.0.0.0:{port}`"),
        None => "write an IP address, for example `0.0.0.0:9480`".to_owned(),
    };
    report.refuse(Code::Malformed, &path, what, hint);
    None
}

/// Store options over those of the level above.
fn storage(
    raw: Option<&BTreeMap<String, raw::Property>>,
    path: &Path,
    above: &Storage,
    report: &mut Report<'_>,
) -> Storage {
    let mut storage = above.clone();
    for (name, value) in raw.into_iter().flatten() {
        let path = path.key(name);
        if let Some(hint) = client::owned_store_option(name) {
            report.refuse(Code::OwnedProperty, &path, "is not for you to set", hint);
        } else if !client::is_store_option(name) {
            let hint = "store options are named as in object_store: `aws_region`, `azure_storage_account_name`, ...";
            report.refuse(Code::OwnedProperty, &path, "no object store knows this option", hint);
        }
        warn_of_plain_secret(name, &value.0, &path, report);
        storage.0.insert(name.clone(), Secret::new(&value.0));
    }
    storage
}

/// A password in a file ends up in a repository or a ConfigMap.
fn warn_of_plain_secret(name: &str, value: &str, path: &Path, report: &mut Report<'_>) {
    let sites = report.sites();
    let is_plain = !sites.references.contains_key(path) && !value.is_empty();
    if client::is_secret(name) && is_plain && matches!(sites.find(path), Site::File { .. }) {
        let hint = "use `${env:NAME}` or `${file:/path}`";
        report.warn(Code::PlainSecret, path, "holds a secret in plain text", hint);
    }
}

/// Reports a quantity that can't be read.
fn read<T>(
    result: Result<T, units::Refusal>,
    text: &str,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(refusal) => {
            let joint = if refusal.what.starts_with('`') { ": " } else { " " };
            let what = format!("{}{joint}{}", report.sites().quote(path, text), refusal.what);
            report.refuse(refusal.code, path, what, refusal.hint);
            None
        }
    }
}

fn duration(text: Option<&str>, path: &Path, report: &mut Report<'_>) -> Option<Duration> {
    let text = text?;
    read(units::duration(text), text, path, report)
}

fn positive_duration(text: Option<&str>, path: &Path, report: &mut Report<'_>) -> Option<Duration> {
    let duration = duration(text, path, report)?;
    if duration.is_zero() {
        report.refuse(Code::Malformed, path, "must be more than 0", "");
        return None;
    }
    Some(duration)
}

fn positive_size(
    text: Option<&raw::SizeText>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<u64> {
    let text = text?.0.as_str();
    let size = read(units::size(text), text, path, report)?;
    if size == 0 {
        report.refuse(Code::Malformed, path, "must be more than 0", "");
        return None;
    }
    Some(size)
}

fn at_least(least: u64, number: Option<u64>, path: &Path, report: &mut Report<'_>) -> Option<u64> {
    let number = number?;
    if number < least {
        report.refuse(Code::Malformed, path, format!("must be {least} or more"), "");
        return None;
    }
    Some(number)
}

/// Reports every item that stands twice in a list.
fn refuse_repeats<T: PartialEq>(
    items: &[T],
    path: &Path,
    report: &mut Report<'_>,
    what: impl Fn(&T) -> String,
) {
    for (index, item) in items.iter().enumerate() {
        if items[..index].contains(item) {
            let what = format!("{} stands twice in the list", what(item));
            report.refuse(Code::Contradiction, &path.index(index), what, "remove one of them");
        }
    }
}
