//! The documents that restate code: they must say what the code says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

#[test]
fn the_exit_codes_page_lists_the_exit_codes() {
    let code = pairs(r"(?m)^    (\w+) = (\d+),$", &read("src/disposition.rs"));
    let page = pairs(r"(?m)^\| (\d+) \| `(\w+)` \|", &read("docs/reference/exit-codes.md"));
    let page: BTreeMap<_, _> = page.into_iter().map(|(number, name)| (name, number)).collect();
    assert!(code.len() > 5, "the exit codes are not where they were");
    assert_eq!(page, code);
}

/// A promise is worth what its test is worth: the tests that the pages name must be there.
#[test]
fn the_pages_of_semantics_name_tests_that_exist() {
    let tests = sources(&["src", "tests", "integration"]);
    let pages = read("docs/SEMANTICS.md") + &read("docs/WINDOWS.md");
    let missing: Vec<_> = named_tests(&pages)
        .into_iter()
        .filter(|name| {
            !tests.contains(&format!("fn {name}(")) && !tests.contains(&format!("def {name}("))
        })
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// Links between the documents lead somewhere.
#[test]
fn relative_links_resolve() {
    let link = Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").expect("a valid pattern");
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page is text");
        let folder = page.parent().expect("a file has a folder");
        let dead = link.captures_iter(&text).filter(|found| !folder.join(&found[1]).exists());
        broken.extend(dead.map(|found| format!("{}: {}", page.display(), &found[1])));
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// What stands in backticks after a tick: ✓ `a_rust_test`, `test_file.py::test_name`.
fn named_tests(page: &str) -> Vec<String> {
    let proof = Regex::new(r"✓((?:,?\s+`[\w.:]+`)+)").expect("a valid pattern");
    let name = Regex::new(r"`(?:\w+\.py::)?(\w+)`").expect("a valid pattern");
    let proofs: String = proof.captures_iter(page).map(|found| found[1].to_owned()).collect();
    name.captures_iter(&proofs).map(|found| found[1].to_owned()).collect()
}

#[test]
fn proofs_are_found_after_a_tick() {
    let page =
        "- rule `on_bad_record`. ✓ `a_test`,\n  `test_kill.py::test_b`\n- other `not_a_test` –";
    assert_eq!(named_tests(page), ["a_test", "test_b"]);
}

fn sources(folders: &[&str]) -> String {
    let mut text = String::new();
    for folder in folders {
        for file in files(&root().join(folder)) {
            if file.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
                text.push_str(&fs::read_to_string(&file).expect("a source file is text"));
            }
        }
    }
    text
}

/// All Markdown of the project.
fn pages() -> Vec<PathBuf> {
    let top = fs::read_dir(root()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let below =
        ["docs", "charts", "integration"].iter().flat_map(|folder| files(&root().join(folder)));
    top.chain(below)
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pairs(pattern: &str, text: &str) -> BTreeMap<String, String> {
    let pattern = Regex::new(pattern).expect("a valid pattern");
    pattern.captures_iter(text).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}
