use super::*;
use crate::cli::init::recognise::{Format, Ids};

fn asked() -> Asked {
    Asked {
        name: "orders".into(),
        topic: "orders".into(),
        brokers: vec!["kafka-0:9092".into()],
        client: vec![("sasl.password".into(), "${env:KAFKA_PASSWORD}".into())],
        table: "./lake/orders".into(),
        registry: Some(AskedRegistry {
            urls: vec!["https://registry:8081".into()],
            username: Some("reader".into()),
            password: Some("${env:REGISTRY_PASSWORD}".into()),
            ..AskedRegistry::default()
        }),
        avro_schema: None,
    }
}

fn found(format: Format) -> Found {
    let (ids, notes) = (Ids::default(), vec!["a\nb".into()]);
    Found { format, key: Vec::new(), text_keys: true, others: 0, ids, notes }
}

#[test]
fn references_are_written_as_they_are_and_no_note_breaks_its_line() {
    let source = AvroSource::Registry { by_topic: true };
    let text =
        to_run(&asked(), &found(Format::Avro { source, envelope: false }), &Trial::default());
    for line in [
        r#"auth: {username: reader, password: "${env:REGISTRY_PASSWORD}"}"#,
        r#"sasl.password: "${env:KAFKA_PASSWORD}""#,
        "# Note: a\u{fffd}b",
        "format: avro",
        r#"url: "https://registry:8081""#,
    ] {
        assert!(text.lines().any(|each| each.trim() == line), "{line}\n{text}");
    }
    assert!(text.contains("schema_evolution: add_columns"));
}

#[test]
fn text_is_quoted_where_yaml_would_misread_it() {
    let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected);
    check("orders", "orders");
    check("./lake/orders", "./lake/orders");
    check("s3://lake/orders", r#""s3://lake/orders""#);
    check("1e3", r#""1e3""#);
    check(".inf", r#"".inf""#);
    check("True", r#""True""#);
    check("null", r#""null""#);
    check("a\"b", r#""a\"b""#);
    check("", r#""""#);
}
