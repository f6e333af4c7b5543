//! The published JSON Schema and the reference page, both made from the raw structs and the defaults.

use std::fmt::Write;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::path::Path;
use super::problem::Code;
use super::{client, defaults, later, raw};

/// A connector that has everything the defaults depend on.
fn sample_defaults() -> Value {
    let of_output = |output: Value| {
        let explicit =
            json!({"name": "<name>", "http": {}, "decode": {}, "outputs": {"*": output}});
        defaults::layer(&explicit)
    };
    let mut sample = of_output(json!({
        "decode": {},
        "aggregate": {"watermark": {}, "window": {"kind": "tumbling"}},
    }));
    // Beside `aggregate` it has fewer.
    let rows = of_output(json!({"deduplicate": {"watermark": {}}}));
    sample["outputs"]["*"]["deduplicate"] = rows["outputs"]["*"]["deduplicate"].clone();
    sample
}

/// The JSON Schema of a configuration file, for editors. (`${..}` references are allowed wherever a value may be.)
pub fn json_schema() -> Value {
    let mut schema = inlined();
    let defaults = sample_defaults();
    publish(&mut schema, &defaults);
    let description = "A sluice connector: Kafka topics to Delta Lake tables.";
    schema["description"] = description.into();
    schema
}

/// The schema without references to definitions: one tree.
fn inlined() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<raw::Connector>().to_value()
}

/// Adds defaults, allows references, and takes away what only sluice's own code reads.
fn publish(node: &mut Value, default: &Value) {
    let Value::Object(map) = node else { return };
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for (key, property) in properties {
            publish(property, default.get(key).unwrap_or(&Value::Null));
        }
    }
    if let Some(values) = map.get_mut("additionalProperties") {
        publish(values, default.get("*").unwrap_or(&Value::Null));
    }
    for key in ["anyOf", "oneOf"] {
        for alternative in map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            publish(alternative, &Value::Null);
        }
    }
    if let Some(items) = map.get_mut("items") {
        publish(items, &Value::Null);
    }
    if !default.is_null() && !default.is_object() {
        map.insert("default".to_owned(), default.clone());
    }
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    map.remove(raw::KIND);
    map.remove("format");
    allow_references(map);
}

/// What isn't free text may be a reference as well.
fn allow_references(map: &mut Map<String, Value>) {
    const REFERENCE: &str = r"\$\{(env|file):";
    if let Some(Value::String(pattern)) = map.get_mut("pattern") {
        *pattern = format!("({pattern})|{REFERENCE}");
    }
    let is_integer = type_names(map).contains(&"integer");
    let is_choice = map.contains_key("enum") || map.contains_key("oneOf");
    if !is_integer && !is_choice && !map.contains_key("items") {
        return;
    }
    let outer = ["description", "default"];
    let inner: Map<String, Value> =
        map.iter().filter(|(key, _)| !outer.contains(&key.as_str())).map(own).collect();
    map.retain(|key, _| outer.contains(&key.as_str()));
    let reference = json!({"type": "string", "pattern": REFERENCE});
    map.insert("anyOf".to_owned(), json!([inner, reference]));
}

fn own((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn type_names(map: &Map<String, Value>) -> Vec<&str> {
    match map.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The sections in the order of the data, as every page and output lists them.
pub(super) const SECTIONS: [&str; 11] = [
    "name",
    "source",
    "decode",
    "dead_letters",
    "trigger",
    "limits",
    "retry",
    "shutdown_timeout",
    "storage",
    "http",
    "outputs",
];

/// The text before the tables.
const INTRODUCTION: &str = include_str!("reference_introduction.md");

/// docs/reference/configuration.md.
pub fn reference_markdown() -> String {
    let schema = inlined();
    let defaults = sample_defaults();
    let mut page = format!("{}\n\n## Keys\n\n", INTRODUCTION.trim_end());
    page.push_str("**Required** keys have no default.\n\n| key | type | default | meaning |\n|---|---|---|---|\n");
    for section in SECTIONS {
        let required = is_required(&schema, section);
        let node = &schema["properties"][section];
        write_row(&Path::root().key(section), node, &defaults[section], required, &mut page);
    }
    page.push_str("\n## Properties of the Kafka client that are refused\n\n");
    page.push_str("sluice sets these itself. Every other property of librdkafka may stand under `source.client`.\n\n");
    page.push_str("| property | why, or what to set instead |\n|---|---|\n");
    for (name, hint) in client::OWNED {
        line(&mut page, format_args!("| `{name}` | {hint} |"));
    }
    page.push_str(
        "\n## Not available yet\n\nThese are refused by name; a later version will have them.\n\n",
    );
    for entry in later::all() {
        line(&mut page, format_args!("- `{entry}`"));
    }
    page.push_str("\n## Messages\n\n| code | what it is about |\n|---|---|\n");
    for code in Code::ALL {
        line(&mut page, format_args!("| {} | {} |", code.as_str(), code.meaning()));
    }
    page
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("writing to a string can't fail");
}

fn write_row(path: &Path, node: &Value, default: &Value, required: bool, page: &mut String) {
    let node = present(node);
    let name = path.to_string().replace('*', "<name>");
    let default_text = match default {
        _ if required => "**required**".to_owned(),
        Value::Null => "–".to_owned(),
        Value::Object(_) => String::new(),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            format!("`[{}]`", items.join(", "))
        }
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    let meaning = meaning(node);
    line(page, format_args!("| `{name}` | {} | {default_text} | {meaning} |", kind(node)));
    for (key, child, required) in children(node) {
        let default = default.get(key).unwrap_or(&Value::Null);
        write_row(&path.key(key), child, default, required, page);
    }
}

/// The keys under a node, those that must be set first.
fn children(node: &Value) -> Vec<(&str, &Value, bool)> {
    let values = &node["additionalProperties"];
    if values["properties"].is_object() {
        return vec![("*", values, false)];
    }
    let properties = node["properties"].as_object().into_iter().flatten();
    let own = properties.map(|(key, child)| (key.as_str(), child, is_required(node, key)));
    let alternatives = node["anyOf"].as_array().into_iter().flatten();
    let mut children: Vec<(&str, &Value, bool)> =
        own.chain(alternatives.flat_map(children)).collect();
    children.sort_by_key(|(key, _, required)| (!required, *key));
    children
}

fn is_required(node: &Value, key: &str) -> bool {
    node["required"].as_array().is_some_and(|required| required.contains(&key.into()))
}

/// The alternative beside `null`, when there is just one.
fn present(node: &Value) -> &Value {
    let Some(alternatives) = node["anyOf"].as_array() else {
        return node;
    };
    let mut present = alternatives.iter().filter(|alternative| alternative["type"] != "null");
    match (present.next(), present.next()) {
        (Some(only), None) if node.get("description").is_none() => only,
        _ => node,
    }
}

fn meaning(node: &Value) -> String {
    let mut text = node["description"].as_str().unwrap_or_default().replace('\n', " ");
    for (word, description) in words(node) {
        if let Some(description) = description {
            let description = description.trim_end_matches('.').replace('\n', " ");
            write!(text, "<br>`{word}`: {description}.").expect("writing to a string can't fail");
        }
    }
    text.replace('|', "\\|")
}

/// The words of an enumeration with their descriptions, wherever the node holds them.
fn words(node: &Value) -> Vec<(&str, Option<&str>)> {
    if let Some(word) = node["const"].as_str() {
        return vec![(word, node["description"].as_str())];
    }
    if let Some(list) = node["enum"].as_array() {
        return list.iter().filter_map(Value::as_str).map(|word| (word, None)).collect();
    }
    let alternatives = ["oneOf", "anyOf"].iter().filter_map(|key| node[key].as_array());
    alternatives.flatten().flat_map(words).collect()
}

fn kind(node: &Value) -> String {
    let quantity = node[raw::KIND].as_str();
    if let Some(kind) = quantity {
        return match kind {
            "size" => "size (`10MiB`)",
            "share" => "percentage",
            "duration" => "duration (`10s`)",
            "patience" => "duration or `never`",
            "time" => "time (`2026-11-01T00:00:00Z`)",
            _ => "text, number or boolean",
        }
        .to_owned();
    }
    let words = words(node);
    let is_open = children(node).iter().any(|(key, ..)| *key != "*");
    if !words.is_empty() {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let more = if is_open { ", or a map" } else { "" };
        return format!("{}{more}", words.join(", "));
    }
    if let Some(inner) =
        node["anyOf"].as_array().and_then(|all| all.iter().find(|a| a["type"] != "null"))
    {
        return kind(inner);
    }
    let Value::Object(map) = node else {
        return String::new();
    };
    match type_names(map).into_iter().find(|name| *name != "null") {
        Some("array") => format!("list of {}", kind(&node["items"])),
        Some("object") if node["additionalProperties"].is_object() => {
            format!("map of {}", kind(&node["additionalProperties"]).replace("map", "maps"))
        }
        Some("object") => "map".to_owned(),
        Some("integer") => "whole number".to_owned(),
        _ => "text".to_owned(),
    }
}
