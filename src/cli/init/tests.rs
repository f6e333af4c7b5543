use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::recognise::Format;
use super::sample::Sample;
use super::*;
use crate::offsets::TopicPartition;

fn asked_for(topic: &str) -> Asked {
    Asked {
        name: name_of(topic),
        topic: topic.into(),
        brokers: vec!["127.0.0.1:9092".into(), "[::1]:9093".into()],
        client: Vec::new(),
        table: "./lake/1e3: # $$x".into(),
        registry: None,
        avro_schema: None,
    }
}

fn samples<K: AsRef<[u8]>, V: AsRef<[u8]>>(records: &[(Option<K>, Option<V>)]) -> Vec<Sample> {
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let record = |(n, (key, value)): (usize, &(Option<K>, Option<V>))| Sample {
        id: TopicPartition::new("a.topic", i32::try_from(n % 2).expect("small")),
        offset: i64::try_from(n).expect("small"),
        key: own(key.as_ref().map(AsRef::as_ref)),
        value: own(value.as_ref().map(AsRef::as_ref)),
    };
    let mut samples: Vec<Sample> = records.iter().enumerate().map(record).collect();
    samples.sort_by(|a, b| (&a.id, a.offset).cmp(&(&b.id, b.offset)));
    samples
}

fn values<V: AsRef<[u8]>>(values: &[V]) -> Vec<Sample> {
    let records: Vec<_> = values.iter().map(|value| (None::<&[u8]>, Some(value))).collect();
    samples(&records)
}

/// What is found out and written without a registry, and how the samples fare by it.
async fn made_of(samples: &[Sample]) -> Result<(Found, String, Trial), String> {
    let help = Help { registry: None, subjects: &SubjectNames::TopicName, avro_schema: false };
    let found = recognise("a.topic", samples, &help).await.expect("no registry is asked")?;
    let asked = asked_for("a.topic");
    let text = write::to_run(&asked, &found, &Trial::default());
    let loaded = load(&text).unwrap_or_else(|_| panic!("it is valid:\n{text}"));
    let trial = trial::decode(loaded.connector, samples.to_vec(), &found).await;
    let trial = trial.expect("it decodes");
    load(&write::to_run(&asked, &found, &trial)).unwrap_or_else(|_| panic!("with dead letters"));
    Ok((found, text, trial))
}

#[track_caller]
fn check_lines(text: &str, lines: &[&str]) {
    for line in lines {
        let is_there = text.lines().any(|each| each.trim().starts_with(line));
        assert!(is_there, "{line}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn json_gets_the_columns_that_all_samples_fit() {
    let records = values(&[
        r#"{"id": 1, "made": "2026-11-01T12:30:00Z", "$price": 1.5, "odd": 1}"#,
        r#"{"id": 2, "made": "2026-11-01 12:30:00", "$price": 2, "odd": "x"}"#,
    ]);
    let (found, text, trial) = made_of(&records).await.expect("it is JSON");
    assert_eq!((found.format.word(), found.format.left_out()), ("json", &["odd".to_owned()][..]));
    assert_eq!((trial.records, trial.bad), (2, 0), "{:?}\n{text}", trial.first_bad);
    check_lines(
        &text,
        &[
            "name: a-topic",
            "topics: [a.topic]",
            "format: json",
            "id BIGINT,",
            "made TIMESTAMP,",
            "timezone: UTC",
            "unknown_fields: rescue",
        ],
    );
}

#[tokio::test]
async fn bad_records_are_counted_told_and_kept_as_dead_letters() {
    let mut records: Vec<String> = (0..40).map(|n| format!(r#"{{"id": {n}}}"#)).collect();
    records[7] = "{".into();
    // serde_json takes it, our decoder doesn't: a field twice.
    records[9] = r#"{"id": 1, "id": 2}"#.into();
    let (found, _, trial) = made_of(&values(&records)).await.expect("it is JSON");
    assert_eq!((found.others, trial.bad), (1, 2));
    let text = write::to_run(&asked_for("a.topic"), &found, &trial);
    check_lines(
        &text,
        &["# 2 of 40 records are bad; the first: ", "on_bad_record: dead_letter", "dead_letters:"],
    );
}

#[tokio::test]
async fn change_events_are_recognised_and_their_row_described() {
    let event = |op: &str, before: Value, after: Value| json!({"before": before, "after": after, "op": op, "ts_ms": 1, "source": {"lsn": 7}});
    let events = [
        event("c", Value::Null, json!({"id": 1, "name": "x"})),
        event("u", json!({"id": 1, "name": "x"}), json!({"id": 1, "name": "y"})),
        event("d", json!({"id": 1, "name": "y"}), Value::Null),
    ];
    for embedded in [false, true] {
        let wrap = |value: Value| match embedded {
            true => json!({"schema": {"type": "struct"}, "payload": value}),
            false => value,
        };
        let records: Vec<_> = events
            .iter()
            .map(|event| {
                (Some(wrap(json!({"id": 1})).to_string()), Some(wrap(event.clone()).to_string()))
            })
            .collect();
        let (found, text, trial) = made_of(&samples(&records)).await.expect("it is JSON");
        assert_eq!((found.format.word(), trial.bad), ("debezium", 0), "{:?}", trial.first_bad);
        check_lines(
            &text,
            &[
                "format: debezium",
                "encoding: json",
                "id BIGINT,",
                "name STRING",
                "mode: upsert",
                "merge_key: [id]",
            ],
        );
    }
    // Without keys that name columns, every change is a row.
    let records: Vec<String> = events.iter().map(Value::to_string).collect();
    let (_, text, _) = made_of(&values(&records)).await.expect("it is JSON");
    check_lines(&text, &["# mode: upsert"]);
}

#[tokio::test]
async fn text_and_bytes_land_raw() {
    let check = async |records: &[&[u8]], word: &str| {
        let (found, text, trial) = made_of(&values(records)).await.expect("it can be read");
        assert_eq!((found.format.word(), trial.bad), (word, 0));
        check_lines(&text, &[&format!("format: {word}")]);
    };
    check(&[b"hello", "grüße\n".as_bytes()], "string").await;
    check(&[b"[1, 2]", b"7"], "string").await;
    check(&[b"{}", b"{}"], "string").await;
    check(&[b"\xff\xfe", b"hello"], "bytes").await;
    check(&[b"a\x01b"], "bytes").await;
}

#[tokio::test]
async fn json_behind_a_registrys_prefix_needs_no_registry() {
    let records = values(&[b"\0\0\0\0\x07{\"id\": 1}", b"\0\0\0\0\x08{\"id\": 2}"]);
    let (_, text, trial) = made_of(&records).await.expect("it is JSON");
    assert_eq!(trial.bad, 0);
    check_lines(&text, &["format: json", "framing: confluent", "id BIGINT"]);
}

#[tokio::test]
async fn names_of_any_length_leave_a_valid_file() {
    let help = Help { registry: None, subjects: &SubjectNames::TopicName, avro_schema: false };
    for length in 1..80 {
        let topic = "x".repeat(length);
        let found = recognise(&topic, &values(&["text"]), &help).await.expect("nobody is asked");
        let text = write::to_run(&asked_for(&topic), &found.expect("text"), &Trial::default());
        let loaded = load(&text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(loaded.connector.name, topic);
    }
}

#[tokio::test]
async fn what_is_missing_is_told() {
    let check = async |records: Vec<Sample>, words: &str| {
        let missing = made_of(&records).await.expect_err("something is missing");
        assert!(missing.contains(words), "{missing}");
    };
    check(Vec::new(), "has no records with a value").await;
    check(samples(&[(Some("k"), None::<&[u8]>)]), "has no records with a value").await;
    check(values(&[b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08\x02"]), "--avro-schema FILE").await;
    check(
        values(&[b"\0\0\0\x01\x00\x02\x02"]),
        "(schema 256). Name the registry with --registry URL",
    )
    .await;
}

#[tokio::test]
async fn an_avro_schema_in_a_file_needs_no_registry() {
    let help = Help { registry: None, subjects: &SubjectNames::TopicName, avro_schema: true };
    for (record, single_object) in
        [(&b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08\x02"[..], true), (b"\x02\x02", false)]
    {
        let found = recognise("t", &values(&[record]), &help)
            .await
            .expect("nobody is asked")
            .expect("Avro");
        let source = recognise::AvroSource::File { single_object };
        assert!(matches!(found.format, Format::Avro { source: found, .. } if found == source));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("schema.avsc");
        std::fs::write(&file, r#"{"type": "record", "name": "R", "fields": []}"#).expect("written");
        let asked = Asked { avro_schema: Some(file.display().to_string()), ..asked_for("t") };
        let text = write::to_run(&asked, &found, &Trial::default());
        load(&text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(text.contains("framing: single_object"), single_object);
    }
}

#[test]
fn names_are_made_of_topics() {
    assert_eq!(name_of("shop.orders_v1-a"), "shop-orders_v1-a");
    assert_eq!(name_of(&"x".repeat(249)).len(), LONGEST_NAME);
}

#[test]
fn a_file_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("connector.yaml");
    let read = || std::fs::read_to_string(&file).expect("it is there");
    save("a", Some(&file), false).expect("it is new");
    assert_eq!(save("b", Some(&file), false), Err(Exit::Usage));
    assert_eq!(read(), "a");
    save("b", Some(&file), true).expect("it may");
    assert_eq!(read(), "b");
}

fn leaf() -> impl Strategy<Value = Value> {
    let times = prop::sample::select(vec![
        "2026-11-01T12:30:00Z",
        "2026-11-01 12:30:00.123456",
        "0001-01-01T00:00:00+17:59",
        "9999-12-31T23:59:59.999999-17:59",
        "0001-01-01",
        "9999-12-31",
        "2026-11-01T12:30:60Z",
        "2026-02-30",
    ]);
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1_000_000..1_000_000i64).prop_map(Value::from),
        (1_700_000_000_000..1_800_000_000_000i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(1e300)),
        ".{0,6}".prop_map(Value::from),
        times.prop_map(Value::from),
    ]
}

/// Few names, so that fields meet; some that no column can have.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-e]",
        1 => "[A-E]",
        1 => prop::sample::select(vec!["a b", "", "kafka_offset", "rescued_data", "x`y", "größe", "$$", "${x}", "_metadata", "a.b", "日本", "x\ny", "select", "a,b"]).prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::hash_map(name(), value(), 0..6)
        .prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever the documents are: the configuration is valid, and its decoder takes every one of them.
    #[test]
    fn whatever_was_sampled_is_decoded_by_what_is_written(documents in prop::collection::vec(document(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let records: Vec<String> = documents.iter().map(|document| Value::Object(document.clone()).to_string()).collect();
        let (found, text, trial) = runtime.block_on(made_of(&values(&records))).expect("there are values");
        prop_assert_eq!(trial.bad, 0, "{:?}\n{}\n{}", trial.first_bad, text, records.join("\n"));
        prop_assert_eq!(found.others, 0);
    }
}
