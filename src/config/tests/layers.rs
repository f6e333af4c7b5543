//! Layers, references, and what is shown of them.

use super::*;

const BASE: &str = "\
name: shop
source:
  brokers: [kafka-0:9092]
  topics: [orders]
  client: {security.protocol: SASL_SSL}
decode:
  value: {format: json, schema: id BIGINT}
outputs:
  orders-EU: {table: s3://lake/orders}
";

fn told(sources: &Sources) -> String {
    match load(sources) {
        Ok(loaded) => panic!("valid, with the warnings {:?}", loaded.warnings),
        Err(errors) => errors.to_string(),
    }
}

fn loaded(sources: &Sources) -> Loaded {
    load(sources).unwrap_or_else(|errors| panic!("{errors}"))
}

fn overridden(env: &[(&str, &str)], sets: &[&str]) -> Sources {
    Sources {
        env: variables(env),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        ..sources(BASE)
    }
}

#[test]
fn the_environment_wins_over_files_and_set_over_the_environment() {
    let Loaded { connector, .. } = loaded(&overridden(
        &[
            ("SLUICE__SOURCE__BROKERS", "[a:1, b:2]"),
            ("SLUICE__LIMITS__MAX_RECORDS", "7"),
            ("SLUICE__OUTPUTS__ORDERS_EU__TABLE", "s3://lake/env"),
            ("SLUICE__OUTPUTS__ORDERS_EU__FILES", "{target_size: 1MiB}"),
            ("SLUICE__SOURCE__CLIENT__SASL_PASSWORD", "[not: a list, *"),
            ("SLUICE__SOURCE__GROUP_ID", "null"),
            ("SLUICE_PORT", "tcp://10.0.0.1:80"),
        ],
        &["limits.max_records=8", "source.client.client.id=me", "trigger.mode=once"],
    ));
    assert_eq!(connector.source.brokers, ["a:1", "b:2"]);
    assert_eq!(connector.limits.max_records, 8);
    let output = &connector.outputs["orders-EU"];
    assert_eq!(output.table.url.as_str(), "s3://lake/env/");
    assert_eq!(output.files.target_size, 1 << 20);
    assert_eq!(connector.source.client["sasl.password"].expose(), "[not: a list, *");
    assert_eq!(connector.source.client["security.protocol"].expose(), "SASL_SSL");
    assert_eq!(connector.source.client["client.id"].expose(), "me");
    assert_eq!(connector.source.group_id, None);
    assert_eq!(connector.trigger, Trigger::Once);
}

#[test]
fn later_files_win_and_null_takes_a_value_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let second = "source: {topics: ~, topic_pattern: o.*}\nlimits:\n";
    fs::write(folder.path().join("base.yaml"), BASE).expect("a file");
    fs::write(folder.path().join("second.yaml"), second).expect("a file");
    let sources = Sources {
        files: vec!["base.yaml".into(), "second.yaml".into()],
        current_dir: folder.path().to_path_buf(),
        ..Sources::default()
    };
    let Loaded { connector, .. } = loaded(&sources);
    assert!(matches!(connector.source.topics, Topics::Pattern(_)));
    assert_eq!(connector.source.brokers, ["kafka-0:9092"]);
    assert_eq!(connector.limits.max_records, 1_000_000);

    fs::write(folder.path().join("second.yaml"), "source:\n  topisc: [x]\n").expect("a file");
    let expected = "second.yaml:2: SL1001 source.topisc: unknown key; did you mean `topics`?";
    assert_eq!(told(&sources), expected);
}

#[test]
fn messages_name_the_variable_or_the_set() {
    for (env, sets, expected) in [
        (
            &[("SLUICE__SOURCE__BROKRES", "[a:1]")][..],
            &[][..],
            "environment SLUICE__SOURCE__BROKRES: SL1001 source.brokres: unknown key; did you mean `brokers`?",
        ),
        (
            &[("SLUICE__SOURCE__BROKERS", "[a:1, b]")],
            &[],
            "environment SLUICE__SOURCE__BROKERS: SL1007 source.brokers[1]: `b` has no port; write `b:9092`",
        ),
        (
            &[("SLUICE__SOURCE__BROKERS", "a:1")],
            &[],
            "environment SLUICE__SOURCE__BROKERS: SL1003 source.brokers: must be a list, not text; write `[a:1]`",
        ),
        (
            &[("SLUICE__SOURCE__TOPICS", "[a")],
            &[],
            "environment SLUICE__SOURCE__TOPICS: SL1011 is not YAML; write `[a, b]` or `{a: 1, b: 2}`",
        ),
        (
            &[("SLUICE__SOURCE____TOPICS", "[a]")],
            &[],
            "environment SLUICE__SOURCE____TOPICS: SL1011 has an empty part between its underscores; write `SLUICE__SOURCE__BROKERS` for `source.brokers`",
        ),
        (
            &[],
            &["trigger.interval=10"],
            "--set trigger.interval: SL1005 trigger.interval: `10` needs a unit; write `10s` or `10ms`",
        ),
        (&[], &["trigger"], "--set trigger: SL1011 has no value; write `--set trigger=value`"),
        (
            &[],
            &["limits.max_records=few"],
            "--set limits.max_records: SL1003 limits.max_records: must be a whole number, not text",
        ),
    ] {
        assert_eq!(told(&overridden(env, sets)), expected);
    }
}

#[test]
fn references_stand_for_text_of_the_type_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("topics"), "[a, b]\n").expect("a file");
    fs::write(folder.path().join("password"), "pa${ss}\n\n").expect("a file");
    let text = BASE
        .replace("[orders]", "${file:topics}")
        .replace("SASL_SSL}", "'${env:X:-SASL}_SSL', sasl.password: '${file:password}'}")
        .replace("name: shop", "name: ${env:EMPTY:-shop}\nlimits: {max_records: '${env:MAX}'}")
        .replace("s3://lake/orders", "'/lake/$${x}/$a'");
    let sources = Sources {
        env: variables(&[("MAX", "12"), ("EMPTY", "")]),
        current_dir: folder.path().to_path_buf(),
        ..sources(&text)
    };
    let Loaded { connector, .. } = loaded(&sources);
    assert_eq!(connector.name, "shop");
    assert_eq!(connector.limits.max_records, 12);
    assert!(matches!(&connector.source.topics, Topics::List(list) if list == &["a", "b"]));
    assert_eq!(connector.source.client["security.protocol"].expose(), "SASL_SSL");
    assert_eq!(connector.source.client["sasl.password"].expose(), "pa${ss}\n");
    assert_eq!(connector.outputs["orders-EU"].table.as_written, "/lake/${x}/$a");
}

#[test]
fn no_message_holds_what_a_reference_stands_for() {
    let secret = "hunter2 !";
    for key in [
        "name: ${env:S}",
        "shutdown_timeout: ${env:S}",
        "limits: {max_records: '${env:S}', max_bytes: '${env:S}'}",
        "limits: '${env:S}'",
        "trigger: {mode: '${env:S}'}",
        "http: {listen: '${env:S}'}",
        "source: {brokers: ['${env:S}']}",
        "source: {topics: '${env:S}'}",
        "source: {topics: ['${env:S}']}",
        "source: {start: {timestamp: '${env:S}'}}",
        "source: {topic_pattern: '(${env:S}'}",
        "source: {client: {isolation.level: '${env:S}'}}",
        "decode: {value: {timezone: '${env:S}'}}",
        "decode: {bad_record_limit: '${env:S}'}",
        "outputs: {orders-EU: {table: 'x://${env:S}'}}",
        "outputs: {orders-EU: {topics: ['${env:S}']}}",
        "outputs: {orders-EU: {partition_by: ['${env:S}']}}",
        "outputs: {orders-EU: {table_properties: {delta.appendOnly: '${env:S}'}}}",
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("more.yaml"), key).expect("a file");
        let sources = Sources {
            files: vec!["-".into(), "more.yaml".into()],
            env: variables(&[("S", secret)]),
            current_dir: folder.path().to_path_buf(),
            ..sources(BASE)
        };
        let told = told(&sources);
        assert!(!told.contains("hunter2"), "{key}: {told}");
    }
}

#[test]
fn what_is_shown_has_origins_and_no_secrets() {
    let loaded = fixture("full.yaml", &SECRETS);
    let yaml = show(&loaded);
    let json = show_json(&loaded).to_string();
    let debug = format!("{:?}", loaded.connector);
    for secret in ["pa$$w0rd", "w0rd", "s3cr3t", "AKIA"] {
        assert!(!yaml.contains(secret), "{yaml}");
        assert!(!json.contains(secret), "{json}");
        assert!(!debug.contains(secret), "{debug}");
    }
    let line = |start: &str| {
        let lines = yaml.lines().map(str::trim_start);
        let mut lines = lines.filter(|line| line.starts_with(start));
        lines.next().unwrap_or_else(|| panic!("no {start} in\n{yaml}")).to_owned()
    };
    let ends = |start: &str, origin: &str| {
        let line = line(start);
        assert!(line.ends_with(origin), "{line}");
    };
    ends("name: full_1", "full.yaml:2");
    ends("sasl.username: sluice", "full.yaml:11, ${env:KAFKA_USER}");
    ends("sasl.password: \"***\"", "full.yaml:12, ${env:KAFKA_PASSWORD}");
    ends("zstd_level: 3", "full.yaml:50");
    ends("metadata_columns: [partition, offset, timestamp]", "# default");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let files = [
        ("minimal.yaml", &[][..]),
        ("full.yaml", &SECRETS[..]),
        ("pattern.yaml", &[][..]),
        ("windows.yaml", &[][..]),
    ];
    for (name, secrets) in files {
        let first = fixture(name, secrets);
        let text = show(&first);
        let again = loaded(&sources(&text));
        assert_eq!(again.connector.fingerprint, first.connector.fingerprint, "{text}");
        // Hidden values are the same text in both.
        assert_eq!(show_json(&again)["config"], show_json(&first)["config"], "{text}");
    }
}

#[test]
fn warnings_name_what_deserves_a_look() {
    let text = BASE
        .replace("SASL_SSL}", "SASL_SSL, sasl.password: plain}")
        .replace("[orders]", "[orders, refunds]")
        .replace("{table: s3://lake/orders}", "{table: /lake/my orders, topics: [orders]}")
        .replace("name: shop", "name: shop\ntrigger: {mode: once, interval: 5s}");
    let warnings: Vec<String> =
        loaded(&sources(&text)).warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "stdin:2: SL1017 trigger.interval: has no effect, since `trigger.mode` is not `processing_time`; remove it",
        "stdin:5: SL1017 source.topics[1]: no output takes topic `refunds`; add it to an output's `topics`, or remove it",
        "stdin:6: SL1016 source.client.sasl.password: holds a secret in plain text; use `${env:NAME}` or `${file:/path}`",
        "stdin:10: SL1015 outputs.orders-EU.table: holds a space, which Polars can't read; rename it while the table is new",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn a_mode_set_for_one_run_rests_the_files_interval() {
    let text = BASE.replace("name: shop", "name: shop\ntrigger: {interval: 5s}");
    let sources = Sources { sets: vec!["trigger.mode=available_now".into()], ..sources(&text) };
    assert_eq!(loaded(&sources).warnings, []);
}

#[test]
fn offline_secrets_may_be_missing_and_nothing_else() {
    let text = BASE.replace("SASL_SSL}", "SASL_SSL, sasl.password: '${env:NOT_HERE}'}");
    let offline = Sources { without_secrets: true, ..sources(&text) };
    let Loaded { connector, warnings, .. } = loaded(&offline);
    assert!(!connector.source.client.contains_key("sasl.password"));
    let expected = "stdin:5: SL1009 source.client.sasl.password: `${env:NOT_HERE}` is not set; it is left out here";
    assert_eq!(warnings[0].to_string(), expected);

    let broken = text.replace("kafka-0:9092", "'${env:BROKER}'");
    let told = told(&Sources { without_secrets: true, ..sources(&broken) });
    assert!(told.starts_with("stdin:3: SL1009 source.brokers[0]"), "{told}");
}

#[test]
fn the_fingerprint_follows_the_meaning_and_nothing_else() {
    let fingerprint = |text: &str| loaded(&sources(text)).connector.fingerprint;
    let base = fingerprint(BASE);
    assert_eq!(base.len(), 16);
    let same = [
        ("kafka-0", "kafka-9"),
        ("SASL_SSL", "SSL"),
        ("name: shop", "name: shop\nlimits: {max_records: 5}"),
        ("s3://", "s3a://"),
        ("id BIGINT", "id bigint"),
        ("{table:", "{files: {target_size: 1MiB}, table:"),
    ];
    for (from, to) in same {
        assert_eq!(fingerprint(&BASE.replace(from, to)), base, "{to}");
    }
    let other = [
        ("name: shop", "name: store"),
        ("[orders]", "[orders, payments]"),
        ("id BIGINT", "id INT"),
        ("format: json", "format: json, unknown_fields: fail"),
        ("s3://lake/orders", "s3://lake/other"),
        ("{table:", "{metadata_columns: [offset], table:"),
    ];
    for (from, to) in other {
        assert_ne!(fingerprint(&BASE.replace(from, to)), base, "{to}");
    }
}

#[test]
fn the_fingerprint_of_a_file_stays_the_same_from_version_to_version() {
    assert_eq!(loaded(&sources(BASE)).connector.fingerprint, "042fe787cc45026d");
}

proptest::proptest! {
    /// Whatever stands where, loading ends in a connector or in messages.
    #[test]
    fn no_text_makes_the_loader_panic(
        name in proptest::sample::select(vec!["full.yaml", "windows.yaml"]),
        line in 0_usize..60,
        value in proptest::sample::select(vec![
            "", "~", "[]", "{}", "[~]", "{a: ~}", "1", "-1", "1.5", "true", "text", "'${env:S}'", "'${env:L}'",
            "99999999999999999999", "[[1]]", "{a: {b: c}}", "'${'", "10s", "once", "*x", "!!binary x", ".nan",
        ]),
    ) {
        let file = repository().join("tests/config").join(name);
        let whole = fs::read_to_string(file).expect("a fixture");
        let lines = whole.lines().enumerate().map(|(number, text)| match text.split_once(": ") {
            Some((key, _)) if number == line => format!("{key}: {value}"),
            _ => text.to_owned(),
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let env = [("S", "x"), ("L", "[a, {b: 1}]"), ("KAFKA_PASSWORD", "x"), ("S3_SECRET", "x")];
        let sources = Sources { env: variables(&env), ..sources(&text) };
        if let Err(errors) = load(&sources) {
            proptest::prop_assert!(!errors.problems.is_empty());
        }
    }
}
