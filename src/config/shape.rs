//! The shape of the configuration, read from the raw structs' JSON Schema: which keys there are at each level and
//! what kind of value they take.
//!
//! [`Shape::check`] walks a merged tree beside it, reports everything that doesn't fit, and cuts it out, so that
//! serde afterwards meets only what it knows and validation goes on with the rest.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::Path;
use super::problem::{Code, Report};
use super::{later, raw, yaml};

/// What a place in the configuration takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Object(BTreeMap<String, Field>),
    /// Keys that the user chooses.
    Map(Box<Shape>),
    List(Box<Shape>),
    /// One of these words.
    Choice(Vec<String>),
    Text,
    /// Text with a meaning (a duration, a size, ...): `validate` reads it, numbers without a unit included.
    Quantity,
    /// Text for another library; numbers and booleans are made text.
    Property,
    Integer,
    /// A word or a map.
    Either(Vec<Shape>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) shape: Shape,
    pub(super) required: bool,
}

impl Shape {
    /// The shape of a whole connector.
    pub(super) fn of_connector() -> Self {
        let schema = schemars::schema_for!(raw::Connector).to_value();
        Self::read(&schema, &schema)
    }

    fn read(node: &Value, root: &Value) -> Self {
        if let Some(reference) = node["$ref"].as_str() {
            let target = root.pointer(reference.trim_start_matches('#'));
            return Self::read(target.expect("schemars defines what it refers to"), root);
        }
        match node[raw::KIND].as_str() {
            Some("property") => return Self::Property,
            Some(_) => return Self::Quantity,
            None => {}
        }
        if let Some(words) = choice(node) {
            return Self::Choice(words);
        }
        if let Some(alternatives) = node["anyOf"].as_array() {
            let mut shapes: Vec<Self> = alternatives
                .iter()
                .filter(|alternative| alternative["type"] != "null")
                .map(|alternative| Self::read(alternative, root))
                .collect();
            return match shapes.len() {
                1 => shapes.remove(0),
                _ => Self::Either(shapes),
            };
        }
        match type_of(node) {
            "object" => Self::read_object(node, root),
            "array" => Self::List(Box::new(Self::read(&node["items"], root))),
            "integer" => Self::Integer,
            "string" => Self::Text,
            other => unreachable!("the raw structs hold no {other}"),
        }
    }

    fn read_object(node: &Value, root: &Value) -> Self {
        let Some(properties) = node["properties"].as_object() else {
            return Self::Map(Box::new(Self::read(&node["additionalProperties"], root)));
        };
        let required: Vec<&str> =
            node["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let fields = properties.iter().map(|(key, property)| {
            let required = required.contains(&key.as_str());
            (key.clone(), Field { shape: Self::read(property, root), required })
        });
        Self::Object(fields.collect())
    }

    /// The shape one key further in; `None` where there is no such key.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.get(key).map(|field| &field.shape),
            Self::Map(value) => Some(value),
            Self::Either(shapes) => shapes.iter().find_map(|shape| shape.child(key)),
            _ => None,
        }
    }

    /// Whether this is a map of single values (properties, time formats): its keys may hold dots.
    pub(super) fn is_flat_map(&self) -> bool {
        matches!(self, Self::Map(value) if !matches!(**value, Self::Object(_) | Self::Map(_)))
    }

    /// Reports what doesn't fit and returns the rest; `None`: nothing is left.
    pub(super) fn check(
        &self,
        path: &Path,
        value: Value,
        report: &mut Report<'_>,
    ) -> Option<Value> {
        if report.is_refused(path) {
            return None;
        }
        let value = self.loosen(path, value, report);
        match (self, value) {
            (Self::Object(fields), Value::Object(map)) => check_object(fields, path, map, report),
            (Self::Map(shape), Value::Object(map)) => Some(check_map(shape, path, map, report)),
            (Self::List(shape), Value::Array(items)) => {
                let items = items.into_iter().enumerate();
                let kept = items.filter_map(|(i, item)| shape.check(&path.index(i), item, report));
                Some(Value::Array(kept.collect()))
            }
            (Self::Choice(words), Value::String(word)) => check_choice(words, path, word, report),
            (Self::Text | Self::Quantity | Self::Property, text @ Value::String(_)) => Some(text),
            (Self::Quantity, Value::Number(number)) => Some(number.to_string().into()),
            (Self::Property, Value::Number(number)) => Some(number.to_string().into()),
            (Self::Property, Value::Bool(flag)) => Some(flag.to_string().into()),
            (Self::Integer, Value::Number(number)) if number.is_u64() => Some(number.into()),
            (Self::Either(shapes), value) => check_either(self, shapes, path, value, report),
            (shape, value) => {
                shape.refuse(path, &value, report);
                None
            }
        }
    }

    /// Gives a text from the environment, `--set` or a reference the type that its place asks for.
    fn loosen(&self, path: &Path, value: Value, report: &Report<'_>) -> Value {
        let Value::String(text) = &value else {
            return value;
        };
        if !report.sites().is_untyped(path) {
            return value;
        }
        let typed = match self {
            Self::Integer => text.trim().parse::<u64>().ok().map(Value::from),
            Self::Object(_) | Self::Map(_) | Self::List(_) | Self::Either(_) => collection(text),
            _ => None,
        };
        typed.unwrap_or(value)
    }

    fn refuse(&self, path: &Path, value: &Value, report: &mut Report<'_>) {
        let what = format!("must be {}, not {}", self.describe(), describe(value));
        report.refuse(Code::WrongType, path, what, self.hint(path, value, report));
    }

    fn describe(&self) -> String {
        match self {
            Self::Object(_) | Self::Map(_) => "a map".into(),
            Self::List(_) => "a list".into(),
            Self::Choice(words) => one_of(words),
            Self::Text | Self::Quantity | Self::Property => "text".into(),
            Self::Integer => "a whole number".into(),
            Self::Either(shapes) => {
                shapes.iter().map(Self::describe).collect::<Vec<_>>().join(", or ")
            }
        }
    }

    fn hint(&self, path: &Path, value: &Value, report: &Report<'_>) -> String {
        match (self, value) {
            (Self::List(_), Value::String(text)) => {
                let quoted = report.sites().quote(path, text);
                format!("write `[{}]`", quoted.trim_matches('`'))
            }
            (Self::Text, Value::Number(number)) => format!("write `\"{number}\"`"),
            (Self::Text, Value::Bool(flag)) => format!("write `\"{flag}\"`"),
            (Self::Object(fields), Value::String(_)) => match fields.keys().next() {
                Some(_) => format!("its keys are {}", listing(fields.keys())),
                None => String::new(),
            },
            _ => String::new(),
        }
    }
}

fn check_object(
    fields: &BTreeMap<String, Field>,
    path: &Path,
    map: Map<String, Value>,
    report: &mut Report<'_>,
) -> Option<Value> {
    let mut kept = Map::new();
    for (key, value) in map {
        let path = path.key(&key);
        match fields.get(&key) {
            None => refuse_key(fields, &path, &key, report),
            Some(_) if value.is_null() => {}
            Some(field) => {
                if let Some(value) = field.shape.check(&path, value, report) {
                    kept.insert(key, value);
                }
            }
        }
    }
    for (key, _) in fields.iter().filter(|(_, field)| field.required) {
        let path = path.key(key);
        if !kept.contains_key(key) && !report.is_refused(&path) {
            report.refuse(Code::Missing, &path, "must be set", example(&path));
        }
    }
    Some(Value::Object(kept))
}

fn check_map(
    shape: &Shape,
    path: &Path,
    map: Map<String, Value>,
    report: &mut Report<'_>,
) -> Value {
    let mut kept = Map::new();
    for (key, value) in map {
        // An output with nothing under it lacks its table; a property with nothing after it is taken back.
        let value = match (shape, value) {
            (Shape::Object(_), Value::Null) => Value::Object(Map::new()),
            (_, value) => value,
        };
        if value.is_null() {
            continue;
        }
        if let Some(value) = shape.check(&path.key(&key), value, report) {
            kept.insert(key, value);
        }
    }
    Value::Object(kept)
}

fn check_choice(
    words: &[String],
    path: &Path,
    word: String,
    report: &mut Report<'_>,
) -> Option<Value> {
    if words.contains(&word) {
        return Some(word.into());
    }
    let quoted = report.sites().quote(path, &word);
    match later::value(path, &word) {
        Some(hint) => {
            report.refuse(
                Code::NotAvailableYet,
                path,
                format!("{quoted} is not available yet"),
                hint,
            );
        }
        None => {
            let what = format!("{quoted} is not {}", one_of(words));
            report.refuse(Code::NotAChoice, path, what, did_you_mean(&word, words.iter()));
        }
    }
    None
}

fn check_either(
    whole: &Shape,
    shapes: &[Shape],
    path: &Path,
    value: Value,
    report: &mut Report<'_>,
) -> Option<Value> {
    let fits = shapes.iter().find(|shape| match shape {
        Shape::Object(_) | Shape::Map(_) => value.is_object(),
        Shape::List(_) => value.is_array(),
        _ => value.is_string(),
    });
    let alone = |word: &&str| {
        shapes.iter().any(|shape| matches!(shape, Shape::Object(keys) if keys.contains_key(*word)))
    };
    if let Some(word) = value.as_str().filter(|word| alone(word)) {
        let what = format!("`{word}` doesn't stand alone");
        report.refuse(Code::NotAChoice, path, what, example(&path.key(word)));
        return None;
    }
    match fits {
        Some(shape) => shape.check(path, value, report),
        None => {
            whole.refuse(path, &value, report);
            None
        }
    }
}

fn refuse_key(fields: &BTreeMap<String, Field>, path: &Path, key: &str, report: &mut Report<'_>) {
    if let Some(hint) = later::key(path) {
        return report.refuse(Code::NotAvailableYet, path, "is not available yet", hint);
    }
    let mut hint = did_you_mean(key, fields.keys());
    if hint.is_empty() {
        hint = format!("the keys here are {}", listing(fields.keys()));
    }
    report.refuse(Code::UnknownKey, path, "unknown key", hint);
}

/// `did you mean `partition_by`?`, or nothing where no word is near.
pub(super) fn did_you_mean<'w>(word: &str, known: impl Iterator<Item = &'w String>) -> String {
    let word = word.to_lowercase();
    // A third of the letters may be wrong: `topcis`, `patition_by`, but not `foo` for `topics`.
    let limit = (word.chars().count() / 3).max(1);
    let distance = |known: &str| strsim::damerau_levenshtein(&word, &known.to_lowercase());
    let nearest = known.map(|known| (distance(known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= limit => format!("did you mean `{known}`?"),
        _ => String::new(),
    }
}

/// YAML for a list or a map; `None` for other text.
pub(super) fn collection(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['[', '{']) {
        return None;
    }
    yaml::parse(text).ok().map(|document| document.value)
}

fn example(path: &Path) -> &'static str {
    const EXAMPLES: [(&str, &str); 22] = [
        ("name", "for example `name: orders`"),
        ("source.brokers", "for example `brokers: [kafka-0:9092]`"),
        ("decode.value.format", "write `format: json`"),
        ("decode.value.schema", "for example `schema: \"id BIGINT NOT NULL, name STRING\"`"),
        ("decode.value", "it holds `format` and `schema`"),
        ("outputs", "for example `outputs: {orders: {table: ./lake/orders}}`"),
        ("outputs.*.table", "for example `table: s3://lake/orders`"),
        ("dead_letters.table", "for example `table: s3://lake/dead_letters`"),
        ("source.start.timestamp", "for example `{timestamp: 2026-11-01T00:00:00Z}`"),
        ("source.start.offsets", "for example `{offsets: {orders: {0: 42}}}`"),
        (
            "outputs.*.aggregate.watermark",
            "for example `watermark: {column: event_time, delay: 10m}`",
        ),
        ("outputs.*.aggregate.watermark.column", "for example `column: event_time`"),
        ("outputs.*.aggregate.watermark.delay", "how late a row may come: `delay: 10m`"),
        ("outputs.*.aggregate.window", "for example `window: {kind: tumbling, size: 1m}`"),
        ("outputs.*.aggregate.window.kind", "`tumbling`, `sliding`, `session` or `none`"),
        ("outputs.*.aggregate.measures", "for example `measures: {orders: count(*)}`"),
        ("outputs.*.aggregate.emit.changes", "write `{changes: {every: 10s}}`"),
        ("outputs.*.deduplicate.keys", "for example `keys: [order_id]`"),
        ("outputs.*.deduplicate.within", "for example `within: 1h`"),
        ("outputs.*.deduplicate.watermark.column", "for example `column: event_time`"),
        ("outputs.*.deduplicate.watermark.delay", "how late a row may come: `delay: 10m`"),
        ("outputs.*.aggregate.late_rows.update", "write `{update: {allowed_lateness: 1h}}`"),
    ];
    EXAMPLES.iter().find(|(pattern, _)| path.matches(pattern)).map_or("", |(_, example)| example)
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn one_of(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
        [] => String::new(),
    }
}

fn listing<'k>(keys: impl Iterator<Item = &'k String>) -> String {
    keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// The words of an enumeration, whichever way schemars writes it.
fn choice(node: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(words) = node["enum"].as_array() {
        return Some(words.iter().filter_map(text).collect());
    }
    if let Some(word) = text(&node["const"]) {
        return Some(vec![word]);
    }
    let variants = node["oneOf"].as_array()?;
    variants.iter().map(choice).collect::<Option<Vec<_>>>().map(|words| words.concat())
}

/// The type beside `null`.
fn type_of(node: &Value) -> &str {
    match &node["type"] {
        Value::String(name) => name,
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("null")
        }
        _ => "none",
    }
}
