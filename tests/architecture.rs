//! The direction of imports (ARCHITECTURE.md): main → cli → engine → stages → config → plain data.
//!
//! Reads the sources as text and resolves every `crate::…` and `super::…` path to the top-level module it names.
//! A path in a macro or a grouped `use` counts like any other; comments don't.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

const PLAIN_DATA: &[&str] = &["chunk", "disposition", "message", "offsets", "schema"];
const STAGES: &[&str] = &["source", "decode", "transform", "sink"];

/// Top-level module → the top-level modules that it may name besides itself.
fn rules() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let plain: BTreeSet<_> = PLAIN_DATA.iter().copied().collect();
    let with = |more: &[&'static str]| plain.iter().chain(more).copied().collect::<BTreeSet<_>>();
    let mut rules = BTreeMap::new();
    rules.extend(PLAIN_DATA.iter().map(|&module| (module, plain.clone())));
    rules.extend(STAGES.iter().map(|&stage| (stage, with(&["config"]))));
    rules.insert("config", plain.clone());
    rules.insert("observability", plain.clone());
    let engine = with(&["config", "observability", "source", "decode", "transform", "sink"]);
    rules.insert("cli", engine.iter().chain(&["engine"]).copied().collect());
    rules.insert("engine", engine);
    rules.insert("main", BTreeSet::from(["cli"]));
    rules.insert("lib", BTreeSet::new());
    rules
}

#[test]
fn imports_only_run_down_the_pipeline() {
    let rules = rules();
    let mut wrong = Vec::new();
    for file in sources() {
        let path = module_path(&file);
        let module = path[0].as_str();
        let Some(allowed) = rules.get(module) else {
            wrong.push(format!("src/{module}: say in tests/architecture.rs what it may import"));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source file is text");
        for (line, target) in named_modules(&text, module, path.len()) {
            let own = target == module;
            if !own && rules.contains_key(target.as_str()) && !allowed.contains(target.as_str()) {
                wrong.push(format!("{}:{line}: {module} must not import {target}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_module_has_a_rule_and_every_rule_a_module() {
    let modules: BTreeSet<_> = sources().iter().map(|file| module_path(file)[0].clone()).collect();
    let ruled: BTreeSet<_> = rules().into_keys().map(str::to_owned).collect();
    assert_eq!(modules, ruled);
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&source_root(), &mut found);
    assert!(found.len() > 10, "the sources are not where they were");
    found
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/sink/log/replay.rs` → sink, log, replay; `src/sink/mod.rs` → sink.
fn module_path(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(source_root()).expect("a source file").with_extension("");
    let mut path: Vec<_> =
        inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    path.pop_if(|last| last == "mod");
    path
}

static PATHS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(crate::|sluice::|(?:super::)+)(\{[^;]*|\w+)").expect("a valid pattern")
});
static GROUP_ITEMS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[{,]\s*(\w+)").expect("a valid pattern"));

/// The top-level modules that a file of `module` names, with the line of each; `depth` is its own depth below
/// the crate.
fn named_modules(text: &str, module: &str, depth: usize) -> Vec<(usize, String)> {
    let code = without_comments(text);
    let mut named = Vec::new();
    for found in PATHS.captures_iter(&code) {
        let (root, rest) = (&found[1], &found[2]);
        let climbs = root.matches("super::").count();
        // Only `main` is outside the library.
        if root == "sluice::" && module != "main" {
            continue;
        }
        // An inline `mod tests` is one deeper than its file, so this may count one `super` too few there: such a
        // path would have to climb to the crate's root and down again, which the next review sees.
        if climbs > 0 && climbs < depth {
            continue;
        }
        let line = code[..found.get(0).expect("the match").start()].matches('\n').count() + 1;
        if rest.starts_with('{') {
            named.extend(group_items(rest).into_iter().map(|item| (line, item)));
        } else {
            named.push((line, rest.to_owned()));
        }
    }
    named
}

/// `{chunk::Chunk, offsets::{Fates, TopicId}}` → chunk, offsets.
fn group_items(group: &str) -> Vec<String> {
    let (mut depth, mut outer) = (0, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && c != '}' {
            outer.push(c);
        }
    }
    GROUP_ITEMS.captures_iter(&outer).map(|item| item[1].to_owned()).collect()
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.find("//").map_or(line.to_owned(), |at| line[..at].to_owned());
    text.lines().map(|line| code(line) + "\n").collect()
}

#[test]
fn paths_are_found_however_they_are_written() {
    fn check(text: &str, depth: usize, expected: &[&str]) {
        let named: Vec<_> =
            named_modules(text, "main", depth).into_iter().map(|(_, name)| name).collect();
        assert_eq!(named, expected, "{text}");
    }
    check("use crate::sink::Txn;", 2, &["sink"]);
    check("use crate::{chunk::Chunk, offsets::{Fates, TopicId}};", 2, &["chunk", "offsets"]);
    check("use crate::{\n    chunk::Chunk,\n    sink,\n};", 2, &["chunk", "sink"]);
    check("let a = crate::engine::run();", 2, &["engine"]);
    check("// use crate::engine;\n/// [`crate::engine`]", 2, &[]);
    check("use super::files::DataFile;", 2, &[]);
    check("use super::super::engine::Loop;", 2, &["engine"]);
    check("use super::engine::Loop;", 1, &["engine"]);
    check("use sluice::cli;", 1, &["cli"]);
    assert_eq!(named_modules("\n\nuse crate::sink;", "cli", 1)[0].0, 3);
    assert!(named_modules("\"sluice::sink=trace\"", "cli", 1).is_empty());
}
