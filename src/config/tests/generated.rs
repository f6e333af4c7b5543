//! The generated files are those of this code; `UPDATE=1` writes them.

use super::*;

fn same(file: &str, expected: &str) {
    let path = repository().join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, expected).expect("a file");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} has drifted: run `UPDATE=1 cargo test --release config`");
}

#[test]
fn the_reference_page_is_that_of_the_code() {
    same("docs/reference/configuration.md", &reference_markdown());
}

#[test]
fn the_json_schema_is_that_of_the_code() {
    let text = serde_json::to_string_pretty(&json_schema()).expect("plain JSON");
    same("docs/reference/connector.schema.json", &(text + "\n"));
}

#[test]
fn every_key_has_a_meaning() {
    fn walk(node: &Value, path: &str) {
        for (key, child) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(child["description"].is_string(), "{path} has no comment");
            walk(child, &path);
        }
        for inner in ["additionalProperties", "items"] {
            if node[inner].is_object() {
                walk(&node[inner], path);
            }
        }
        for alternative in node["anyOf"].as_array().into_iter().flatten() {
            walk(alternative, path);
        }
    }
    walk(&json_schema(), "");
}

/// What the source sets, a user's value would silently lose against.
#[test]
fn every_property_that_the_source_sets_is_refused_or_a_default() {
    let code = fs::read_to_string(repository().join("src/source/client.rs")).expect("the source");
    let defaults = ["isolation.level", "client.id"];
    let setting = regex::Regex::new(r#"\.set\(\s*"([^"]+)""#).expect("a pattern");
    let names: Vec<&str> = setting
        .captures_iter(&code)
        .filter_map(|found| found.get(1))
        .map(|name| name.as_str())
        .collect();
    assert!(names.len() > 5, "the pattern finds what is set: {names:?}");
    for name in names.iter().filter(|name| !defaults.contains(name)) {
        assert!(client::owned(name).is_some(), "{name} can be set by users");
    }
}
