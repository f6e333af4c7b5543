//! YAML text → a JSON-like tree and the place of every key and list item.
//!
//! YAML 1.2: `yes` and `no` are text, `010` is ten. Keys are text whatever they look like. A key given twice is
//! reported, with both lines; the last one stays.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{NonFiniteFloatPolicy, Spanned};

use super::path::Path;
use super::site::Place;

/// A parsed file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) places: BTreeMap<Path, Place>,
    /// Keys that stand twice in one map, with the line of the first.
    pub(super) duplicates: Vec<(Path, u64)>,
}

/// Text that isn't YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

/// Reads one document. An empty text is an empty map.
pub(super) fn parse(text: &str) -> Result<Document, SyntaxError> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let root: Option<Spanned<Node>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax_error(&error))?;
    let mut document = Document {
        value: Value::Object(Map::new()),
        places: BTreeMap::new(),
        duplicates: Vec::new(),
    };
    if let Some(root) = root {
        let value = document.take(&Path::root(), root.value);
        if !value.is_null() {
            document.value = value;
        }
    }
    Ok(document)
}

fn syntax_error(error: &serde_saphyr::Error) -> SyntaxError {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or("not YAML");
    // The line is told apart; the parser's own "at line .." would say it twice.
    let message = first.rsplit_once(" at line ").map_or(first, |(message, _)| message);
    SyntaxError { line: error.location().map(|at| at.line()), message: message.to_owned() }
}

impl Document {
    fn put(&mut self, path: &Path, line: u64) -> Option<Place> {
        let place = Place { line, position: self.places.len() };
        self.places.insert(path.clone(), place)
    }

    fn take(&mut self, path: &Path, node: Node) -> Value {
        match node {
            Node::Scalar(value) => value,
            Node::List(items) => {
                let items = items.into_iter().enumerate().map(|(index, item)| {
                    let path = path.index(index);
                    self.put(&path, item.referenced.line());
                    self.take(&path, item.value)
                });
                Value::Array(items.collect())
            }
            Node::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let path = path.key(&key.value);
                    if let Some(first) = self.put(&path, key.referenced.line()) {
                        self.duplicates.push((path.clone(), first.line));
                    }
                    let value = self.take(&path, value);
                    map.insert(key.value, value);
                }
                Value::Object(map)
            }
        }
    }
}

/// A YAML node with the places of its children.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_and_item_has_its_line() {
        let document = parse("a:\n  b: [1,\n    x]\n  \"c.d\": no\n5: ~\n").expect("valid YAML");
        assert_eq!(document.value, json!({"a": {"b": [1, "x"], "c.d": "no"}, "5": null}));
        let line = |path: &Path| document.places.get(path).map(|place| place.line);
        let a = Path::parse("a");
        assert_eq!(line(&a), Some(1));
        assert_eq!(line(&a.key("b").index(1)), Some(3));
        assert_eq!(line(&a.key("c.d")), Some(4));
        assert_eq!(line(&Path::parse("5")), Some(5));
    }

    #[test]
    fn a_key_given_twice_is_told_with_its_first_line() {
        let document = parse("a: 1\nb: 2\na: 3\n").expect("valid YAML");
        assert_eq!(document.duplicates, [(Path::parse("a"), 1)]);
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        for text in ["", "# nothing\n", "---\n", "null\n"] {
            assert_eq!(parse(text).expect("valid YAML").value, json!({}), "{text:?}");
        }
    }

    #[test]
    fn anchors_and_merges_are_expanded() {
        let document = parse("a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n  l: 2\n").expect("valid YAML");
        assert_eq!(document.value, json!({"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "l": 2}}));
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_line() {
        let error = parse("a: 1\nb: [1, 2\n").expect_err("the list isn't closed");
        assert!(error.line.is_some(), "{error:?}");
        assert!(!error.message.contains('\n'), "{error:?}");
    }
}
