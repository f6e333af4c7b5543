//! Whole configurations: valid ones, layers, and every message of a broken one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod broken;
mod generated;
mod layers;
mod windows;

/// The repository.
fn repository() -> &'static FilePath {
    FilePath::new(env!("CARGO_MANIFEST_DIR"))
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A configuration given on standard input, in `/data`.
fn sources(text: &str) -> Sources {
    Sources {
        files: vec![PathBuf::from("-")],
        stdin: Some(text.to_owned()),
        current_dir: PathBuf::from("/data"),
        ..Sources::default()
    }
}

fn fixture(name: &str, env: &[(&str, &str)]) -> Loaded {
    let file = repository().join("tests/config").join(name);
    let sources = Sources {
        files: vec![file],
        env: variables(env),
        current_dir: PathBuf::from("/data"),
        ..Sources::default()
    };
    load(&sources).unwrap_or_else(|errors| panic!("{name}:\n{errors}"))
}

const SECRETS: [(&str, &str); 2] = [("KAFKA_PASSWORD", "pa$$w0rd"), ("S3_SECRET", "s3cr3t")];

mod valid {
    use super::*;

    fn of_topic(connector: &Connector) -> &Decode {
        &connector.outputs.values().next().expect("an output").decode
    }

    fn json(decode: &Decode) -> &Json {
        match &decode.value {
            Payload::Json(json) => json,
            other => panic!("JSON, not {other:?}"),
        }
    }

    #[test]
    fn the_minimal_file_takes_every_default() {
        let Loaded { connector, warnings, .. } = fixture("minimal.yaml", &[]);
        assert_eq!(warnings, []);
        assert_eq!(connector.name, "minimal");
        assert_eq!(connector.source.start, Start::Earliest);
        assert_eq!(connector.source.on_data_loss, OnDataLoss::Fail);
        assert_eq!(connector.source.group_id.as_deref(), Some("sluice-minimal"));
        assert!(connector.source.client.is_empty());
        let json = json(of_topic(&connector));
        assert_eq!(json.timezone, chrono_tz::UTC);
        assert_eq!(json.unknown_fields, UnknownFields::Ignore);
        assert_eq!(of_topic(&connector).max_message_size, 10 << 20);
        assert_eq!(of_topic(&connector).on_bad_record, OnBadRecord::Fail);
        assert_eq!(of_topic(&connector).bad_record_limit, 0.05);
        let interval = Duration::from_secs(10);
        assert_eq!(connector.trigger, Trigger::ProcessingTime { interval });
        let limits = Limits {
            max_records: 1_000_000,
            max_bytes: 256 << 20,
            min_records: 0,
            max_delay: Duration::from_secs(900),
        };
        assert_eq!(connector.limits, limits);
        let retry = Retry {
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            give_up_after: None,
            fenced_limit: 5,
        };
        assert_eq!(connector.retry, retry);
        assert_eq!(connector.shutdown_timeout, Duration::from_secs(25));
        assert_eq!(connector.http, None);
        let output = &connector.outputs["orders"];
        assert_eq!(output.topics, None);
        assert_eq!(output.table.url.as_str(), "file:///data/lake/orders/");
        assert_eq!(output.create, CreateTable::IfMissing);
        assert!(output.partition_by.is_empty() && output.table_properties.is_empty());
        let metadata =
            [MetadataColumn::Partition, MetadataColumn::Offset, MetadataColumn::Timestamp];
        assert_eq!(output.metadata_columns, metadata);
        let files = Files { target_size: 128 << 20, compression: Compression::Zstd { level: 1 } };
        assert_eq!(output.files, files);
    }

    #[test]
    fn every_key_arrives_in_the_connector() {
        let Loaded { connector, warnings, .. } = fixture("full.yaml", &SECRETS);
        assert_eq!(warnings, []);
        let source = &connector.source;
        assert_eq!(source.brokers, ["kafka-0:9093", "[::1]:9092"]);
        assert!(matches!(&source.topics, Topics::List(list) if list == &["orders", "payments.v2"]));
        let offsets = BTreeMap::from([(0, 42), (1, 0)]);
        assert_eq!(source.start, Start::Offsets(BTreeMap::from([("orders".to_owned(), offsets)])));
        assert_eq!(source.on_data_loss, OnDataLoss::Continue);
        assert_eq!(source.group_id, None);
        let client = |name: &str| source.client[name].expose();
        assert_eq!(client("sasl.username"), "sluice");
        assert_eq!(client("sasl.password"), "pa$$w0rd");
        assert_eq!(client("session.timeout.ms"), "45000");
        assert_eq!(client("api.version.request"), "true");

        let decode = of_topic(&connector);
        let json = json(decode);
        assert_eq!(json.schema.arrow().fields().len(), 5);
        let timestamps = BTreeMap::from([
            ("event_time".to_owned(), TimestampFormat::EpochMillis),
            ("meta.seen".to_owned(), TimestampFormat::EpochSeconds),
        ]);
        assert_eq!(json.timestamps, timestamps);
        assert_eq!(json.timezone, chrono_tz::Europe::Berlin);
        assert_eq!(json.unknown_fields, UnknownFields::Fail);
        assert_eq!(decode.max_message_size, 1_000_000);
        assert_eq!(decode.on_bad_record, OnBadRecord::DeadLetter);
        assert_eq!(decode.bad_record_limit, 0.005);

        let dead_letters = connector.dead_letters.as_ref().expect("dead letters are configured");
        assert_eq!(dead_letters.table.url.as_str(), "s3://lake/dead_letters/");
        assert_eq!(dead_letters.storage.0["aws_region"].expose(), "us-east-1");
        assert_eq!(dead_letters.storage.0["aws_secret_access_key"].expose(), "s3cr3t");
        let interval = Duration::from_secs(90);
        assert_eq!(connector.trigger, Trigger::ProcessingTime { interval });
        assert_eq!(connector.limits.min_records, 100);
        assert_eq!(connector.retry.give_up_after, Some(Duration::from_secs(3600)));
        assert_eq!(connector.http, Some(([127, 0, 0, 1], 9000).into()));

        let orders = &connector.outputs["orders"];
        assert_eq!(orders.topics.as_deref(), Some(&["orders".to_owned()][..]));
        assert_eq!(orders.table.url.as_str(), "s3a://lake/orders/");
        assert_eq!(orders.create, CreateTable::Never);
        assert_eq!(orders.partition_by, ["country", "kafka_topic"]);
        assert_eq!(orders.files.compression, Compression::Zstd { level: 3 });
        assert_eq!(orders.table_properties["delta.logRetentionDuration"], "interval 7 days");
        assert_eq!(orders.table_properties["delta.appendOnly"], "true");
        assert_eq!(orders.storage.0["aws_region"].expose(), "eu-central-1");
        assert_eq!(connector.outputs["payments"].files.compression, Compression::Snappy);
        assert_eq!(connector.outputs["payments"].storage.0["aws_region"].expose(), "eu-west-1");
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        let Loaded { connector, warnings, .. } = fixture("pattern.yaml", &[]);
        assert_eq!(warnings, []);
        let Topics::Pattern(pattern) = &connector.source.topics else { panic!("a pattern") };
        assert!(pattern.is_match("orders.eu") && !pattern.is_match("my.orders.eu"));
        assert_eq!(connector.source.start, Start::Timestamp(1_793_487_600_000));
        assert_eq!(connector.trigger, Trigger::AvailableNow);
        assert_eq!(connector.limits.max_records, 1_000_000);
        assert_eq!(connector.http, Some(([0, 0, 0, 0], 9480).into()));
    }

    #[test]
    fn windows_arrive_in_the_connector() {
        let Loaded { connector, warnings, .. } = fixture("windows.yaml", &[]);
        assert_eq!(warnings, []);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let measure = |name: &str, text: &str| MeasureSpec { name: name.into(), text: text.into() };
        let watermark = |delay, idle_timeout, max_future, max_ahead| Watermark {
            column: "event_time".into(),
            delay,
            idle_timeout,
            max_future,
            max_ahead,
        };
        let of = |name: &str| {
            let output = &connector.outputs[name];
            (output, output.aggregate.as_ref().expect("windows"))
        };

        let (output, aggregate) = of("per_minute");
        assert_eq!((&output.mode, output.state.retention), (&Mode::Append, minutes(60)));
        let size = minutes(1);
        let expected = Aggregate {
            watermark: watermark(minutes(10), Some(minutes(1)), None, None),
            window: Window::Tumbling { size, offset: Duration::ZERO, timezone: None },
            group_by: vec![],
            // As they are written, and not by name.
            measures: vec![
                measure("orders", "count(*)"),
                measure("revenue", "sum(amount)"),
                measure("at_most", "max(amount)"),
            ],
            epoch_column: None,
            emit: Emit::Final,
            late_rows: LateRows::Drop,
        };
        assert_eq!(aggregate, &expected);

        let (output, aggregate) = of("per_day");
        assert_eq!((&output.mode, output.state.retention), (&Mode::OpenWindows, minutes(30)));
        let expected = Aggregate {
            watermark: watermark(Duration::ZERO, None, Some(minutes(60)), Some(minutes(24 * 60))),
            window: Window::Sliding {
                size: minutes(7 * 24 * 60),
                slide: minutes(24 * 60),
                offset: minutes(4 * 60),
                timezone: Some(chrono_tz::Europe::Berlin),
            },
            group_by: vec!["country".into(), "lower(city) AS city".into()],
            measures: vec![measure("orders", "count(*)"), measure("first_city", "first(city)")],
            epoch_column: Some("batch".into()),
            emit: Emit::Changes { every: Duration::from_secs(10) },
            late_rows: LateRows::Update { allowed_lateness: minutes(120) },
        };
        assert_eq!(aggregate, &expected);
        let directory = Some(PathBuf::from("/var/lib/sluice"));
        let backend = StateBackend::RocksDb { directory };
        let expected = State { backend, retention: minutes(30), max_bytes: 8 << 30 };
        assert_eq!(output.state, expected);
        assert_eq!(of("recent").0.state.max_bytes, 512 << 20);

        assert_eq!(of("sessions").1.window, Window::Session { gap: Gap::Fixed(minutes(30)) });
        assert_eq!(
            of("recent").1.window,
            Window::Session { gap: Gap::Fixed(minutes(30 * 24 * 60)) }
        );
        let seconds = "CASE WHEN country = 'DE' THEN 600 ELSE 300 END".to_owned();
        assert_eq!(of("visits").1.window, Window::Session { gap: Gap::OfRecord { seconds } });
        let (output, aggregate) = of("totals");
        assert_eq!((&output.mode, &aggregate.window), (&Mode::OpenWindows, &Window::None));

        let of = |name: &str| connector.outputs[name].deduplicate.clone().expect("it is set");
        let expected = Deduplicate {
            keys: vec!["id".into()],
            within: minutes(60),
            order: DuplicateOrder::Arrival,
            keeps_late_rows: false,
            watermark: watermark(minutes(10), Some(minutes(1)), None, None),
        };
        assert_eq!(of("once"), expected);
        assert_eq!(connector.outputs["once"].state.retention, minutes(120));
        let expected = Deduplicate {
            keys: vec!["id".into(), "lower(city)".into()],
            within: minutes(30 * 24 * 60),
            order: DuplicateOrder::EventTime,
            keeps_late_rows: true,
            watermark: watermark(minutes(1), None, Some(minutes(60)), None),
        };
        assert_eq!(of("earliest"), expected);
    }

    #[test]
    fn the_example_names_every_key_and_sets_only_defaults() {
        let file = repository().join("connector.yaml");
        let text = fs::read_to_string(&file).expect("the example is there");
        let sources = Sources {
            files: vec![file],
            current_dir: PathBuf::from("/data"),
            ..Sources::default()
        };
        let loaded = load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.warnings, []);

        let explicit = yaml::parse(&text).expect("the example is YAML").value;
        let defaults =
            defaults::layer(&json!({"name": "orders", "decode": {}, "outputs": {"orders": {}}}));
        let own = [
            "name",
            "source.brokers",
            "source.topics",
            "decode.value.format",
            "decode.value.schema",
        ];
        for (path, value) in leaves(&Path::root(), &explicit) {
            let path = path.to_string();
            if own.contains(&path.as_str()) || path == "outputs.orders.table" {
                continue;
            }
            let pointer = format!("/{}", path.replace('.', "/"));
            assert_eq!(defaults.pointer(&pointer), Some(value), "{path} is not at its default");
        }
        let windows = fs::read_to_string(repository().join("tests/config/windows.yaml"));
        let all = text + &windows.expect("windows have an example of their own");
        for key in keys(&Shape::of_connector()) {
            assert!(all.contains(&format!("{key}:")), "the examples don't mention `{key}`");
        }
    }

    fn leaves<'v>(path: &Path, value: &'v Value) -> Vec<(Path, &'v Value)> {
        match value {
            Value::Object(map) => {
                map.iter().flat_map(|(key, value)| leaves(&path.key(key), value)).collect()
            }
            value => vec![(path.clone(), value)],
        }
    }

    fn keys(shape: &Shape) -> Vec<String> {
        match shape {
            Shape::Object(fields) => fields
                .iter()
                .flat_map(|(key, field)| [vec![key.clone()], keys(&field.shape)].concat())
                .collect(),
            Shape::Map(inner) | Shape::List(inner) => keys(inner),
            Shape::Either(shapes) => shapes.iter().flat_map(keys).collect(),
            _ => Vec::new(),
        }
    }
}
