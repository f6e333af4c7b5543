use super::*;

fn infer(documents: &[&str]) -> Columns {
    let mut seen = Seen::default();
    for document in documents {
        assert!(seen.add_object(document.as_bytes()), "{document}");
    }
    columns(&seen.objects)
}

#[track_caller]
fn check(documents: &[&str], expected: &str) {
    assert_eq!(definitions(&infer(documents).fields).join(", "), expected);
}

#[track_caller]
fn check_note(documents: &[&str], path: &str, words: &str) {
    let notes = infer(documents).notes;
    let note = notes.iter().find(|note| note.path == path);
    assert!(note.is_some_and(|note| note.text.contains(words)), "{words} of {path}: {notes:?}");
}

#[test]
fn a_type_is_what_all_samples_have() {
    check(
        &[
            r#"{"id": 1, "ok": true, "name": "x", "price": 1, "tags": ["a"], "at": {"x": 1}}"#,
            r#"{"id": null, "name": "y", "price": 2.5, "tags": [], "at": {"y": "b"}}"#,
        ],
        "id BIGINT, ok BOOLEAN, name STRING, price DOUBLE, tags ARRAY<STRING>, at STRUCT<x: BIGINT, y: STRING>",
    );
}

#[test]
fn numbers_beyond_bigint_are_decimals_and_fractions_are_told() {
    check(
        &[r#"{"n": 18446744073709551615, "m": -9223372036854775808}"#],
        "n DECIMAL(38,0), m BIGINT",
    );
    check(&[r#"{"n": 123456789012345678901234567890}"#, r#"{"n": 1}"#], "n DECIMAL(38,0)");
    check_note(&[r#"{"a": {"price": 1.5}}"#], "a.price", "DECIMAL(18,4)");
}

#[test]
fn times_are_columns_where_all_texts_are_times() {
    check(
        &[
            r#"{"a": "2026-11-01T12:30:00Z", "b": "2026-11-01", "c": "2026-11-01 12:30:00", "d": "2026-11-01"}"#,
            r#"{"a": "2026-11-01T12:30:00+02:00", "b": "2024-02-29", "c": null, "d": "2026-11-01T12:30:00Z"}"#,
        ],
        "a TIMESTAMP, b DATE, c TIMESTAMP, d STRING",
    );
    assert!(infer(&[r#"{"c": "2026-11-01 12:30:00"}"#]).local_times);
    check(&[r#"{"a": "2026-11-01T12:30:00Z"}"#, r#"{"a": "soon"}"#], "a STRING");
}

#[test]
fn numbers_that_look_like_times_stay_numbers_and_are_told() {
    let documents = [r#"{"made": {"at": 1760000000000}}"#];
    check(&documents, "made STRUCT<at: BIGINT>");
    check_note(&documents, "made.at", r#"`timestamps: {"made.at": epoch_millis}`"#);
}

#[test]
fn what_has_no_type_is_left_out_and_told() {
    let documents = [
        r#"{"id": 1, "mixed": 1, "never": null, "e": [], "o": {}, "l": [1, "x"], "s": {"m": 1, "k": 1}, "a b": 1, "ID": 2}"#,
        r#"{"id": 1, "mixed": "x", "never": null, "e": [], "o": {}, "l": [], "s": {"m": "x"}, "kafka_offset": 1}"#,
    ];
    check(&documents, "id BIGINT, s STRUCT<k: BIGINT>");
    let left_out = infer(&documents).left_out;
    assert_eq!(left_out, ["mixed", "never", "e", "o", "l", "a b", "ID", "kafka_offset"]);
    for (path, words) in [
        ("mixed", "of several types (a number, text)"),
        ("never", "null in every sample"),
        ("e", "an empty array"),
        ("o", "an empty object"),
        ("l", "of several types (a number, text)"),
        ("s.m", "of several types (a number, text)"),
        ("a b", "characters"),
        ("ID", "differs from `id` by case only"),
        ("kafka_offset", "metadata column"),
    ] {
        check_note(&documents, path, words);
    }
}

#[test]
fn objects_whose_fields_differ_each_time_are_maps() {
    let documents: Vec<String> = (0..60)
        .map(|n| {
            format!(r#"{{"m": {{"k{n}": {n}, "k{}": 2}}, "n": {{"k{n}": 1, "x{n}": "a"}}}}"#, n + 1)
        })
        .collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    check(&documents, "m MAP<STRING, BIGINT>");
    check_note(&documents, "n", "a map whose values are of several types");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", r#"{"a": "#.repeat(60), "}".repeat(60));
    let columns = infer(&[&deep]);
    assert_eq!((columns.fields.len(), columns.left_out), (0, vec!["a".to_owned()]));
}

#[test]
fn a_key_is_made_of_primitive_columns() {
    let fields = infer(&[r#"{"id": 1, "o": {"x": 1}}"#]).fields;
    let check = |names: &[&str], expected| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(can_be_key(&fields, &names), expected, "{names:?}");
    };
    check(&["id"], true);
    check(&[], false);
    check(&["id", "no"], false);
    check(&["o"], false);
}
