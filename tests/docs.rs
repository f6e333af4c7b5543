//! The documents that restate code: they must say what the code says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::Regex;

#[test]
fn the_exit_codes_page_lists_the_exit_codes() {
    let code = pairs(r"(?m)^    (\w+) = (\d+),$", &read("src/disposition.rs"));
    let page = pairs(
        r"(?m)^\| (\d+) \| `(\w+)` \|",
        &read("docs/reference/exit-codes.md"),
    );
    let page: BTreeMap<_, _> = page
        .into_iter()
        .map(|(number, name)| (name, number))
        .collect();
    assert!(code.len() > 5, "the exit codes are not where they were");
    assert_eq!(page, code);
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pairs(pattern: &str, text: &str) -> BTreeMap<String, String> {
    let pattern = Regex::new(pattern).expect("a valid pattern");
    pattern
        .captures_iter(text)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect()
}
