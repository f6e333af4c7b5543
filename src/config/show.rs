//! The effective configuration, as YAML or JSON: every value with where it came from, secrets hidden.
//!
//! The YAML can be read again: it gives the same configuration, but for what was hidden.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::client;
use super::document::SECTIONS;
use super::path::Path;
use super::site::Sites;

/// What stands for a secret.
const HIDDEN: &str = "***";

/// Comments begin here where the line is shorter.
const COMMENT_COLUMN: usize = 48;

/// The merged tree and the origin of its values.
#[derive(Debug, Clone)]
pub(super) struct Effective {
    pub(super) value: Value,
    pub(super) sites: Sites,
}

impl Effective {
    pub(super) fn yaml(&self) -> String {
        let mut text = String::new();
        self.write_map(&Path::root(), &self.value, 0, &mut text);
        text
    }

    pub(super) fn json(&self) -> Value {
        let mut origins = Map::new();
        let config = self.visible(&Path::root(), &self.value, &mut origins);
        json!({"format_version": 1, "config": config, "origins": origins})
    }

    fn visible(&self, path: &Path, value: &Value, origins: &mut Map<String, Value>) -> Value {
        match value {
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| {
                    (key.clone(), self.visible(&path.key(key), value, origins))
                });
                Value::Object(entries.collect())
            }
            _ => {
                origins.insert(path.to_string(), self.origin(path).into());
                if is_secret(path) { HIDDEN.into() } else { value.clone() }
            }
        }
    }

    fn write_map(&self, path: &Path, value: &Value, indent: usize, text: &mut String) {
        let Value::Object(map) = value else { return };
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        let rank =
            |key: &str| SECTIONS.iter().position(|known| *known == key).unwrap_or(SECTIONS.len());
        entries.sort_by_key(|(key, _)| (if path.is_root() { rank(key) } else { 0 }, *key));
        if path.matches("outputs.*.aggregate.measures") {
            // Their order is that of the table's columns.
            entries.sort_by_key(|(key, _)| self.sites.rank(&path.key(key)));
        }
        for (key, value) in entries {
            let path = path.key(key);
            let start = format!("{:indent$}{}:", "", scalar(key));
            match value {
                Value::Object(map) if !map.is_empty() => {
                    text.push_str(&start);
                    text.push('\n');
                    self.write_map(&path, value, indent + 2, text);
                }
                _ => {
                    let shown = if is_secret(&path) { scalar(HIDDEN) } else { flow(value) };
                    let line = format!("{start} {shown}");
                    let origin = self.origin(&path);
                    writeln!(text, "{line:COMMENT_COLUMN$} # {origin}")
                        .expect("writing to a string can't fail");
                }
            }
        }
    }

    fn origin(&self, path: &Path) -> String {
        let site = self.sites.find(path);
        match self.sites.references.get(path).map(|reference| &reference.written) {
            // A longer text than a bare reference could hold a secret itself.
            Some(written)
                if written.starts_with("${") && written.find('}') == Some(written.len() - 1) =>
            {
                let name = written.split(":-").next().unwrap_or(written).trim_end_matches('}');
                format!("{site}, {name}}}")
            }
            Some(_) => format!("{site}, with a reference"),
            None => site.to_string(),
        }
    }
}

/// Whether the value at a path goes on to another library, and may be a secret.
pub(super) fn is_property(path: &Path) -> bool {
    const PROPERTIES: [&str; 8] = [
        "source.client.*",
        "storage.*",
        "dead_letters.storage.*",
        "outputs.*.storage.*",
        "decode.value.registry.auth.*",
        "decode.key.registry.auth.*",
        "outputs.*.decode.value.registry.auth.*",
        "outputs.*.decode.key.registry.auth.*",
    ];
    PROPERTIES.iter().any(|pattern| path.matches(pattern))
}

fn is_secret(path: &Path) -> bool {
    is_property(path) && path.last_key().is_none_or(client::is_hidden)
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(&text.replace('$', "$$")),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// Text as YAML: plain where nothing could be taken for anything else, in JSON's quotes otherwise.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./%$".contains(c);
    let begins_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = text.to_ascii_lowercase();
    let is_word = matches!(
        word.as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let inner = text.replace("://", "/");
    let is_address = inner.split(':').all(|part| !part.is_empty() && part.chars().all(is_plain));
    let is_quantity = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_alphabetic() || c == '%')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '%' || c == '.')
        && !text.starts_with("0x")
        && !text.starts_with("0o")
        && !text.starts_with("0b")
        && !text.contains(['e', 'E']);
    if (begins_plain && !is_word && is_address) || is_quantity {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_be_something_else_is_quoted() {
        for plain in ["orders", "kafka-0:9092", "s3://lake/orders", "10s", "5%", "256MiB", "/a/b.c"]
        {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in [
            "", "true", "No", "10", "1e3", "0x1F", "a: b", "a #b", "*", "***", "- a", "./x", "a:",
            "ü", "1.5",
        ] {
            assert_eq!(scalar(quoted), Value::from(quoted).to_string());
        }
    }
}
