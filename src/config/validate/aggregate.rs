//! `aggregate`, `deduplicate` and `state` of an output. What their SQL means is for whoever knows the columns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

use super::{duration, positive_duration, positive_size, read as read_quantity};
use crate::config::aggregate::{
    Aggregate, Deduplicate, DuplicateOrder, Emit, Gap, LateRows, MeasureSpec, State, StateBackend,
    Watermark, Window,
};
use crate::config::path::Path;
use crate::config::problem::{Code, Report};
use crate::config::raw::{self, DurationText, PatienceText, WindowKind};
use crate::config::spec::Mode;
use crate::config::{defaults, names, units};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Beyond it, something else was meant.
const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// Each has a state of its own, and is merged into each of its windows.
const MOST_PANES: u128 = 100_000;

/// A start reads state object by object; the first ones mustn't go meanwhile.
const SHORTEST_RETENTION: Duration = Duration::from_secs(60);

/// Columns that windows bring themselves.
const BOUNDS: [&str; 2] = ["window_start", "window_end"];

pub(super) fn read(
    raw: &raw::Aggregate,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Aggregate> {
    let watermark =
        raw.watermark.as_ref().and_then(|raw| watermark(raw, &path.key("watermark"), report));
    let window = raw.window.as_ref().and_then(|raw| window(raw, &path.key("window"), report));
    let group_by = raw.group_by.clone();
    refuse_empty_keys(group_by.as_deref().unwrap_or_default(), &path.key("group_by"), report);
    let measures = raw.measures.as_ref().map(|raw| measures(raw, &path.key("measures"), report));
    let epoch_column = raw.epoch_column.clone();
    let emit = raw.emit.as_ref().and_then(|raw| emit(raw, &path.key("emit"), report));
    let at_late = path.key("late_rows");
    let late_rows = raw.late_rows.as_ref().and_then(|raw| late_rows(raw, &at_late, report));
    if emit == Some(Emit::Final) && window == Some(Window::None) {
        let what = "`none` without a `ttl` needs `emit: changes`, for nothing is ever final there";
        let hint = "write `emit: {changes: {every: 10s}}`, or give the window a `ttl`";
        report.refuse(Code::Contradiction, &path.key("window").key("kind"), what, hint);
    }
    if matches!(late_rows, Some(LateRows::Update { .. })) {
        if emit == Some(Emit::Final) {
            let what = "`update` needs `emit: changes`: a final row is never written again";
            let hint = "write `emit: {changes: {every: 10s}}`, or raise `watermark.delay`";
            report.refuse(Code::Contradiction, &at_late, what, hint);
        }
        if window == Some(Window::None) {
            let what = "`update` has no effect with `kind: none`: no row is late there";
            report.refuse(Code::Contradiction, &at_late, what, "remove it");
        }
    }
    Some(Aggregate {
        watermark: watermark?,
        window: window?,
        group_by: group_by?,
        measures: measures?,
        epoch_column,
        emit: emit?,
        late_rows: late_rows?,
    })
}

/// `windows`: those that rows go into next, if they do.
pub(super) fn deduplicate(
    raw: &raw::Deduplicate,
    windows: Option<&Option<Aggregate>>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Deduplicate> {
    let at_watermark = path.key("watermark");
    let of_rows = raw.watermark.as_ref().and_then(|raw| watermark(raw, &at_watermark, report));
    let watermark = match windows {
        None if raw.watermark.is_none() => {
            let hint = "for example `watermark: {column: event_time, delay: 10m}`";
            report.refuse(Code::Missing, &at_watermark, "must be set", hint);
            None
        }
        None => of_rows,
        Some(windows) => {
            let own =
                [("watermark", raw.watermark.is_some()), ("late_rows", raw.late_rows.is_some())];
            for (key, _) in own.into_iter().filter(|(_, is_set)| *is_set) {
                let what = "beside `aggregate`, the one there holds for both";
                report.refuse(Code::Contradiction, &path.key(key), what, "remove it");
            }
            windows.as_ref().map(|windows| windows.watermark.clone())
        }
    };
    let (at_keys, at_within) = (path.key("keys"), path.key("within"));
    let keys = raw.keys.clone();
    refuse_empty_keys(keys.as_deref().unwrap_or_default(), &at_keys, report);
    if keys.as_ref().is_some_and(Vec::is_empty) {
        let what = "must name at least one column or expression";
        report.refuse(Code::Missing, &at_keys, what, "for example `keys: [order_id]`");
    }
    let within = length(raw.within.as_ref(), &at_within, report);
    if within.is_some_and(|within| within.is_zero()) {
        report.refuse(Code::Malformed, &at_within, "must be more than 0", "");
    }
    let order = raw.order.map(|order| match order {
        raw::DuplicateOrder::Arrival => DuplicateOrder::Arrival,
        raw::DuplicateOrder::EventTime => DuplicateOrder::EventTime,
    });
    let keeps_late_rows = match windows {
        None => matches!(raw.late_rows?, raw::LateRowsWord::DeadLetter),
        Some(_) => false,
    };
    Some(Deduplicate {
        keys: keys?,
        within: within?,
        order: order?,
        keeps_late_rows,
        watermark: watermark?,
    })
}

/// What a record does to the table.
pub(super) fn mode(aggregate: &Aggregate) -> Mode {
    match aggregate.emit {
        Emit::Final => Mode::Append,
        Emit::Changes { .. } => Mode::OpenWindows,
    }
}

pub(super) fn state(raw: &raw::Output, path: &Path, report: &mut Report<'_>) -> Option<State> {
    let has_state = raw.aggregate.is_some() || raw.deduplicate.is_some();
    let path = path.key("state");
    let Some(state) = raw.state.as_ref().filter(|_| has_state) else {
        let refused = |key| report.touches(&path.parent()?.key(key)).then_some(());
        if raw.state.is_some() && refused("aggregate").or(refused("deduplicate")).is_none() {
            let what = "has no effect without `aggregate` or `deduplicate`";
            report.refuse(Code::Contradiction, &path, what, "remove it");
        }
        let retention = units::duration(defaults::STATE_RETENTION).expect("a duration");
        let max_bytes = units::size(defaults::STATE_MAX_BYTES).expect("a size");
        return Some(State { backend: StateBackend::Memory, retention, max_bytes });
    };
    let directory = state.directory.as_ref().map(PathBuf::from);
    let backend = match state.backend? {
        raw::StateBackend::Rocksdb => StateBackend::RocksDb { directory },
        raw::StateBackend::Memory => {
            if directory.is_some() {
                let what = "has no effect with `backend: memory`";
                report.refuse(Code::Contradiction, &path.key("directory"), what, "remove it");
            }
            StateBackend::Memory
        }
    };
    if let (StateBackend::RocksDb { .. }, false) = (&backend, cfg!(feature = "rocksdb")) {
        let what = "this program was built without the feature `rocksdb`";
        let hint = "use `memory`, or a program that was built with it";
        report.refuse(Code::NotAChoice, &path.key("backend"), what, hint);
    }
    let at = path.key("retention");
    let retention = length(state.retention.as_ref(), &at, report)?;
    if retention < SHORTEST_RETENTION {
        report.refuse(Code::Malformed, &at, "must be `1m` or more", "");
    }
    let max_bytes = positive_size(state.max_bytes.as_ref(), &path.key("max_bytes"), report)?;
    Some(State { backend, retention, max_bytes })
}

fn watermark(raw: &raw::Watermark, path: &Path, report: &mut Report<'_>) -> Option<Watermark> {
    let delay = length(raw.delay.as_ref(), &path.key("delay"), report);
    let at_idle = path.key("idle_timeout");
    let idle_timeout = unless_never(raw.idle_timeout.as_ref(), |text| {
        positive_duration(Some(text), &at_idle, report)
    });
    let at_future = path.key("max_future");
    let max_future = unless_never(raw.max_future.as_ref(), |text| {
        bounded(duration(Some(text), &at_future, report)?, &at_future, report)
    });
    let at_ahead = path.key("max_ahead");
    let max_ahead = unless_never(raw.max_ahead.as_ref(), |text| {
        bounded(duration(Some(text), &at_ahead, report)?, &at_ahead, report)
    });
    let column = raw.column.clone()?;
    if column.is_empty() {
        let hint = "for example `column: event_time`";
        report.refuse(Code::Malformed, &path.key("column"), "is empty", hint);
    }
    Some(Watermark {
        column,
        delay: delay?,
        idle_timeout: idle_timeout?,
        max_future: max_future?,
        max_ahead: max_ahead?,
    })
}

/// `Some(None)`: `never`.
fn unless_never(
    text: Option<&PatienceText>,
    read: impl FnOnce(&str) -> Option<Duration>,
) -> Option<Option<Duration>> {
    match text?.0.as_str() {
        "never" => Some(None),
        text => read(text).map(Some),
    }
}

fn window(raw: &raw::Window, path: &Path, report: &mut Report<'_>) -> Option<Window> {
    let kind = raw.kind?;
    let (word, needs, takes): (_, &[&str], &[&str]) = match kind {
        WindowKind::Tumbling => ("tumbling", &["size"], &["offset", "timezone"]),
        WindowKind::Sliding => ("sliding", &["size", "slide"], &["offset", "timezone"]),
        WindowKind::Session if raw.gap_seconds.is_some() => ("session", &[], &["gap_seconds"]),
        WindowKind::Session => ("session", &["gap"], &[]),
        WindowKind::None => ("none", &[], &["ttl"]),
    };
    let keys = [
        ("size", raw.size.is_some()),
        ("slide", raw.slide.is_some()),
        ("gap", raw.gap.is_some()),
        ("gap_seconds", raw.gap_seconds.is_some()),
        ("ttl", raw.ttl.is_some()),
        ("offset", raw.offset.is_some()),
        ("timezone", raw.timezone.is_some()),
    ];
    for (key, is_set) in keys {
        let at = path.key(key);
        if is_set && !needs.contains(&key) && !takes.contains(&key) {
            let what = match (key, kind) {
                ("gap", WindowKind::Session) => "has no effect with `gap_seconds`".to_owned(),
                _ => format!("has no effect with `kind: {word}`"),
            };
            report.refuse(Code::Contradiction, &at, what, "remove it");
        }
        if !is_set && needs.contains(&key) && !report.touches(&at) {
            let hint = format!("for example `{key}: 1m`");
            report.refuse(Code::Missing, &at, format!("must be set with `kind: {word}`"), hint);
        }
    }
    let mut positive = |text: &Option<DurationText>, key: &str| {
        let length = length(text.as_ref(), &path.key(key), report)?;
        if length.is_zero() {
            report.refuse(Code::Malformed, &path.key(key), "must be more than 0", "");
        }
        (!length.is_zero()).then_some(length)
    };
    match kind {
        WindowKind::Session => {
            let gap = match &raw.gap_seconds {
                Some(seconds) => Gap::OfRecord { seconds: seconds.clone() },
                None => Gap::Fixed(positive(&raw.gap, "gap")?),
            };
            Some(Window::Session { gap })
        }
        // By definition: a value that starts anew after a gap is a session.
        WindowKind::None if raw.ttl.is_some() => {
            Some(Window::Session { gap: Gap::Fixed(positive(&raw.ttl, "ttl")?) })
        }
        WindowKind::None => Some(Window::None),
        WindowKind::Tumbling | WindowKind::Sliding => {
            let size = positive(&raw.size, "size");
            let slide = positive(&raw.slide, "slide");
            let offset = length(raw.offset.as_ref(), &path.key("offset"), report);
            let zone = raw.timezone.as_deref();
            let zone =
                zone.and_then(|name| super::payload::timezone(name, &path.key("timezone"), report));
            if kind == WindowKind::Tumbling {
                let (size, offset, timezone) = (size?, offset?, far(zone?));
                refuse_part_days(&[("size", size)], offset, timezone, path, report);
                return Some(Window::Tumbling { size, offset, timezone });
            }
            let (size, slide, offset, timezone) = (size?, slide?, offset?, far(zone?));
            refuse_slide(size, slide, path, report);
            refuse_part_days(&[("size", size), ("slide", slide)], offset, timezone, path, report);
            Some(Window::Sliding { size, slide, offset, timezone })
        }
    }
}

/// Days of UTC are all of one length.
fn far(zone: Tz) -> Option<Tz> {
    (zone != Tz::UTC).then_some(zone)
}

fn refuse_slide(size: Duration, slide: Duration, path: &Path, report: &mut Report<'_>) {
    let at = path.key("slide");
    if slide > size {
        let what = "is longer than `size`: rows between two windows would be in none";
        report.refuse(Code::Contradiction, &at, what, "");
        return;
    }
    let pane = greatest_common_divisor(size.as_millis(), slide.as_millis());
    if size.as_millis() / pane > MOST_PANES {
        let what = "and `size` have no common part of at least 1/100,000 of `size`";
        report.refuse(Code::Contradiction, &at, what, "let the slide divide the size");
    }
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Days of a zone differ in length.
fn refuse_part_days(
    lengths: &[(&str, Duration)],
    offset: Duration,
    zone: Option<Tz>,
    path: &Path,
    report: &mut Report<'_>,
) {
    let Some(zone) = zone else { return };
    for (key, length) in lengths {
        if length.as_millis() % DAY.as_millis() != 0 {
            let what = format!("must be whole days with `timezone: {zone}`");
            let hint = "write `1d`, or leave `timezone` away";
            report.refuse(Code::Contradiction, &path.key(key), what, hint);
        }
    }
    if offset >= DAY {
        let what = format!("must be shorter than a day with `timezone: {zone}`");
        report.refuse(Code::Contradiction, &path.key("offset"), what, "");
    }
}

fn refuse_empty_keys(group_by: &[String], path: &Path, report: &mut Report<'_>) {
    for (index, text) in group_by.iter().enumerate() {
        if text.trim().is_empty() {
            let hint = "remove it, or write a column or an SQL expression with a name";
            report.refuse(Code::Malformed, &path.index(index), "is empty", hint);
        }
    }
    super::refuse_repeats(group_by, path, report, |text| format!("`{text}`"));
}

/// In the order in which they are written.
fn measures(
    raw: &BTreeMap<String, String>,
    path: &Path,
    report: &mut Report<'_>,
) -> Vec<MeasureSpec> {
    if raw.is_empty() && !report.touches(path) {
        let hint = "for example `measures: {rows: count(*)}`";
        report.refuse(Code::Missing, path, "must name at least one measure", hint);
    }
    let mut names: Vec<&String> = raw.keys().collect();
    names.sort_by_key(|name| report.sites().rank(&path.key(name)));
    for (index, name) in names.iter().enumerate() {
        let at = path.key(name);
        let same = |other: &&&String| other.to_lowercase() == name.to_lowercase();
        if let Err((what, hint)) = names::top_level_column(name) {
            report.refuse(Code::Schema, &at, what, hint);
        } else if let Some(taken) = BOUNDS.iter().find(|taken| **taken == name.to_lowercase()) {
            let what = format!("windows have a column `{taken}` themselves");
            report.refuse(Code::Schema, &at, what, "rename it");
        } else if let Some(twin) = names[..index].iter().find(same) {
            let what = format!(
                "`{twin}` and `{name}` are the same name to Delta Lake, which ignores case"
            );
            report.refuse(Code::Schema, &at, what, "rename one");
        }
        if raw[*name].trim().is_empty() {
            report.refuse(Code::Malformed, &at, "is empty", "write an aggregate: `count(*)`");
        }
    }
    let spec = |name: &String| MeasureSpec { name: name.clone(), text: raw[name].clone() };
    names.into_iter().map(spec).collect()
}

fn emit(raw: &raw::Emit, path: &Path, report: &mut Report<'_>) -> Option<Emit> {
    match raw {
        raw::Emit::Word(raw::EmitWord::Final) => Some(Emit::Final),
        raw::Emit::Changes(raw) => {
            let every = raw.changes.as_ref()?.every.as_ref();
            let every = length(every, &path.key("changes").key("every"), report)?;
            Some(Emit::Changes { every })
        }
    }
}

fn late_rows(raw: &raw::LateRows, path: &Path, report: &mut Report<'_>) -> Option<LateRows> {
    match raw {
        raw::LateRows::Word(raw::LateRowsWord::Drop) => Some(LateRows::Drop),
        raw::LateRows::Word(raw::LateRowsWord::DeadLetter) => Some(LateRows::DeadLetter),
        raw::LateRows::Update(raw) => {
            let path = path.key("update").key("allowed_lateness");
            let allowed_lateness =
                length(raw.update.as_ref()?.allowed_lateness.as_ref(), &path, report)?;
            if allowed_lateness.is_zero() {
                report.refuse(Code::Malformed, &path, "must be more than 0", "");
            }
            Some(LateRows::Update { allowed_lateness })
        }
    }
}

/// A duration of at most 100 years.
fn length(text: Option<&DurationText>, path: &Path, report: &mut Report<'_>) -> Option<Duration> {
    let text = text?.0.as_str();
    let length = read_quantity(units::duration(text), text, path, report)?;
    bounded(length, path, report)
}

fn bounded(length: Duration, path: &Path, report: &mut Report<'_>) -> Option<Duration> {
    if length > LONGEST {
        report.refuse(Code::Malformed, path, "is more than 100 years", "");
        return None;
    }
    Some(length)
}
