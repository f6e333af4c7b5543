//! The engine on librdkafka's mock cluster and local tables: whole runs, judged by what the tables' logs say.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use sluice::config::{self, Connector, Sources, Storage, TableLocation};
use sluice::disposition::Disposition;
use sluice::engine::shutdown::{self, Shutdown};
use sluice::engine::{Engine, EngineError};
use sluice::observability::{LagDetail, Metrics, Status};
use sluice::sink::history;
use sluice::sink::log::TableLog;
use sluice::sink::progress::Owner;
use sluice::sink::store::TableStore;
use sluice::sink::verify::{Report, verify};
use tempfile::TempDir;

/// A mock cluster with a topic `orders` of two partitions, and a folder for tables.
pub struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("orders", 2, 1).expect("a topic");
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("linger.ms", "1")
            .create()
            .expect("a producer");
        Self { cluster, producer, folder: tempfile::tempdir().expect("a folder") }
    }

    /// Values go to the partitions by turns; `None` is a tombstone.
    pub fn produce<'a>(&self, values: impl IntoIterator<Item = Option<&'a str>>) {
        for (value, partition) in values.into_iter().zip((0..2).cycle()) {
            let record = BaseRecord::to("orders").partition(partition).key("k");
            let record = match value {
                Some(value) => record.payload(value),
                None => record,
            };
            self.producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        }
        self.producer.flush(Duration::from_secs(10)).expect("delivered");
    }

    /// A topic of one partition with these values.
    pub fn topic(&self, topic: &str, values: &[&str]) {
        self.cluster.create_topic(topic, 1, 1).expect("a topic");
        for value in values {
            let record = BaseRecord::to(topic).partition(0).key("k").payload(*value);
            self.producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        }
        self.producer.flush(Duration::from_secs(10)).expect("delivered");
    }

    pub fn produce_good(&self, count: usize) {
        self.produce(std::iter::repeat_n(Some(r#"{"id": 1}"#), count));
    }

    /// The configuration; `more` is YAML at the top level.
    pub fn spec(&self, more: &str) -> Connector {
        self.spec_of("topics: [orders]", more)
    }

    /// The same for other topics.
    pub fn spec_of(&self, topics: &str, more: &str) -> Connector {
        let text = format!(
            "name: test\n\
             source: {{brokers: ['{}'], {topics}}}\n\
             trigger: {{mode: available_now}}\n\
             {more}\n",
            self.cluster.bootstrap_servers(),
        );
        let sources = Sources {
            files: vec!["-".into()],
            stdin: Some(text),
            current_dir: self.folder.path().to_owned(),
            ..Sources::default()
        };
        config::load(&sources).unwrap_or_else(|errors| panic!("{errors}")).connector
    }

    pub fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    pub fn run(&self, spec: Connector) -> Result<(), EngineError> {
        let (_trigger, shutdown) = shutdown::channel();
        block_on(run(spec, shutdown))
    }

    /// Runs until something is so, then asks it to stop.
    pub fn run_until(&self, spec: Connector, done: impl Fn() -> bool) {
        let (trigger, shutdown) = shutdown::channel();
        block_on(async {
            let running = tokio::spawn(run(spec, shutdown));
            let deadline = Instant::now() + Duration::from_secs(20);
            while !done() {
                assert!(Instant::now() < deadline, "it never was");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            trigger.request();
            running.await.expect("no panic").expect("a clean end");
        });
    }

    pub fn log(&self, table: &str) -> std::path::PathBuf {
        self.folder.path().join(table).join("_delta_log")
    }

    pub fn report(&self, table: &str, output: &str) -> Report {
        let owner = match output.strip_suffix(".replay") {
            Some(output) => Owner::replay("test", output),
            None if output.ends_with(".late") => {
                Owner::late_rows("test", output.trim_end_matches(".late"))
            }
            None if output == ".dead" => Owner::dead_letters("test"),
            None => Owner::output("test", output),
        };
        block_on(report(&self.folder.path().join(table), &owner))
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

async fn run(spec: Connector, shutdown: Shutdown) -> Result<(), EngineError> {
    let status = Status::new("test", [("orders", "orders")]);
    let metrics = Metrics::new("test", LagDetail::PerPartition);
    Box::pin(Engine::new(spec, status, metrics, shutdown).run()).await
}

async fn report(table: &Path, owner: &Owner) -> Report {
    let location = TableLocation {
        url: url::Url::from_directory_path(table).expect("an absolute path"),
        as_written: table.display().to_string(),
    };
    let store = TableStore::open(&location, &Storage::default()).expect("a store");
    let log = TableLog::open(&store).await.expect("readable").expect("a table");
    let versions = history::kept_versions(&store).await.expect("listed").expect("a log");
    let commits: Vec<_> =
        history::commits(&store, versions).try_collect().await.expect("readable entries");
    verify(owner, &commits, log.txns())
}

const ONE_OUTPUT: &str = "decode: {value: {format: json, schema: 'id BIGINT NOT NULL'}}\n\
                          outputs: {orders: {table: ./orders}}";

/// That the log is contiguous and adds up to so many rows.
fn assert_proven(report: &Report, rows: u64) {
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.fates.rows, report.duplicates, report.fates.gaps), (rows, 0, 0));
}

#[test]
fn available_now_takes_what_is_there_in_batches_and_ends() {
    let bench = Bench::new();
    bench.produce_good(1_000);
    bench.run(bench.spec(&format!("{ONE_OUTPUT}\nlimits: {{max_records: 100}}"))).expect("a run");
    let report = bench.report("orders", "orders");
    assert_proven(&report, 1_000);
    assert!(report.commits >= 11, "a start and ten batches, not {}", report.commits);

    bench.produce_good(10);
    bench.run(bench.spec(ONE_OUTPUT)).expect("a second run");
    assert_proven(&bench.report("orders", "orders"), 1_010);
}

#[test]
fn once_takes_everything_in_one_batch_whatever_the_limits() {
    let bench = Bench::new();
    bench.produce_good(1_000);
    let mut spec = bench.spec(&format!("{ONE_OUTPUT}\nlimits: {{max_records: 10}}"));
    spec.trigger = config::Trigger::Once;
    bench.run(spec).expect("a run");
    let report = bench.report("orders", "orders");
    assert_proven(&report, 1_000);
    assert_eq!(report.commits, 2, "a start and one batch");
}

#[test]
fn nothing_to_read_makes_no_commit() {
    let bench = Bench::new();
    bench.run(bench.spec(ONE_OUTPUT)).expect("a run");
    bench.run(bench.spec(ONE_OUTPUT)).expect("another");
    assert_eq!(bench.report("orders", "orders").commits, 1, "the start alone");
}

#[test]
fn start_latest_is_resolved_before_anything_is_read() {
    let bench = Bench::new();
    bench.produce_good(100);
    let mut spec = bench.spec(ONE_OUTPUT);
    spec.source.start = config::Start::Latest;
    bench.run(spec.clone()).expect("a run that finds nothing");
    bench.produce_good(30);
    bench.run(spec).expect("a run that goes on where the first one was");
    assert_proven(&bench.report("orders", "orders"), 30);
}

#[test]
fn a_stop_request_ends_a_run_that_would_go_on_for_ever() {
    let bench = Bench::new();
    bench.produce_good(100);
    let mut spec = bench.spec(ONE_OUTPUT);
    spec.trigger = config::Trigger::ProcessingTime { interval: Duration::ZERO };
    let first_batch = bench.log("orders").join(format!("{:020}.json", 2));
    bench.run_until(spec, || first_batch.exists());
    assert_proven(&bench.report("orders", "orders"), 100);
}

#[test]
fn outputs_keep_progress_of_their_own_and_a_new_one_catches_up() {
    let bench = Bench::new();
    bench.produce_good(500);
    bench.run(bench.spec(ONE_OUTPUT)).expect("a run");
    bench.produce_good(300);
    let two = "decode: {value: {format: json, schema: 'id BIGINT NOT NULL'}}\n\
               limits: {max_records: 50}\n\
               outputs: {orders: {table: ./orders}, copy: {table: ./copy, metadata_columns: [offset, topic]}}";
    bench.run(bench.spec(two)).expect("a run with a second output");
    assert_proven(&bench.report("orders", "orders"), 800);
    assert_proven(&bench.report("copy", "copy"), 800);
}

#[test]
fn tombstones_and_skipped_records_are_counted() {
    let bench = Bench::new();
    bench.produce_good(200);
    bench.produce([Some("not json"), None, Some(r#"{"id": null}"#), None]);
    let more = "decode: {value: {format: json, schema: 'id BIGINT NOT NULL'}, on_bad_record: skip}\n\
                outputs: {orders: {table: ./orders}}";
    bench.run(bench.spec(more)).expect("a run");
    let report = bench.report("orders", "orders");
    assert_proven(&report, 200);
    assert_eq!((report.fates.skipped, report.fates.tombstones), (2, 2));
}

#[test]
fn a_bad_record_stops_the_run_and_commits_nothing() {
    let bench = Bench::new();
    bench.produce_good(10);
    bench.produce([Some("{")]);
    let error = bench.run(bench.spec(ONE_OUTPUT)).expect_err("a bad record");
    assert_eq!(
        error.to_string().split(';').next(),
        Some("bad record in orders/0 offset 5: byte 1: the value ends too early"),
        "{error}"
    );
    assert_eq!(bench.report("orders", "orders").records, 0);
}

#[test]
fn too_many_bad_records_stop_the_run_and_commit_nothing() {
    let bench = Bench::new();
    bench.produce(std::iter::repeat_n(Some("\u{0}\u{0}\u{0}\u{0}\u{1}avro"), 1_000));
    let more = "decode: {value: {format: json, schema: 'id BIGINT NOT NULL'}, on_bad_record: dead_letter}\n\
                dead_letters: {table: ./dead}\n\
                outputs: {orders: {table: ./orders}}";
    let error = bench.run(bench.spec(more)).expect_err("all are bad").to_string();
    assert!(
        error.starts_with("stopped, nothing committed: 1,000 of 1,000 records are bad"),
        "{error}"
    );
    assert!(error.contains("0x00"), "{error}");
    assert_eq!(bench.report("orders", "orders").records, 0);
    assert_eq!(bench.report("dead", ".dead").fates.rows, 0);
}

/// A crash between the dead letters' commit and the data's is made by taking the data's entry out of the log again.
/// Then the schema is repaired, and the records that were judged bad before stay dead letters.
#[test]
fn a_dead_letter_stays_one_when_the_schema_is_repaired_before_the_data_commit() {
    let bench = Bench::new();
    bench.produce_good(200);
    bench.produce([Some(r#"{"id": 2, "new": 1}"#), Some(r#"{"id": 3, "new": 1}"#)]);
    let with = |unknown: &str| {
        format!(
            "decode: {{value: {{format: json, schema: 'id BIGINT', unknown_fields: {unknown}}}, on_bad_record: dead_letter}}\n\
             dead_letters: {{table: ./dead}}\n\
             outputs: {{orders: {{table: ./orders}}}}"
        )
    };
    bench.run(bench.spec(&with("fail"))).expect("a run");
    let data = bench.log("orders").join(format!("{:020}.json", 2));
    std::fs::remove_file(data).expect("the data commit was version 2");
    assert_eq!(bench.report("dead", ".dead").fates.rows, 2);

    bench.produce([Some(r#"{"id": 7, "new": 1}"#)]);
    bench.run(bench.spec(&with("ignore"))).expect("a run that accepts what was bad before");
    let report = bench.report("orders", "orders");
    assert_proven(&report, 201);
    assert_eq!(report.fates.dead_letters, 2, "an offset that is a dead letter stays one");
    let dead = bench.report("dead", ".dead");
    assert!(dead.is_clean(), "{:?}", dead.findings);
    assert_eq!(dead.fates.rows, 2, "none is there twice");
}

#[test]
fn a_second_instance_stands_down_and_nothing_is_there_twice() {
    let bench = Bench::new();
    bench.produce_good(2_000);
    let mut spec = bench.spec(&format!("{ONE_OUTPUT}\nlimits: {{max_records: 20}}"));
    spec.retry.fenced_limit = 3;
    let results = block_on(async {
        let (_a, first) = shutdown::channel();
        let (_b, second) = shutdown::channel();
        tokio::join!(tokio::spawn(run(spec.clone(), first)), tokio::spawn(run(spec, second)))
    });
    let results = [results.0.expect("no panic"), results.1.expect("no panic")];
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.disposition(), Disposition::StandDown, "{error}");
    }
    assert!(results.iter().any(Result::is_ok), "one of them reads everything: {results:?}");
    assert_proven(&bench.report("orders", "orders"), 2_000);
}

#[test]
fn each_topic_has_a_table_of_its_own() {
    const TABLES: &str = "decode: {value: {format: json, schema: 'id BIGINT NOT NULL'}}\n\
                          outputs: {raw: {table: './lake/{topic}'}}";
    let bench = Bench::new();
    bench.topic("shop.a", &[r#"{"id": 1}"#, r#"{"id": 2}"#]);
    bench.topic("shop.b", &[r#"{"id": 3}"#]);
    let listed = bench.spec_of("topics: [shop.a, shop.b]", TABLES);
    assert_eq!(listed.outputs.keys().collect::<Vec<_>>(), ["raw/shop.a", "raw/shop.b"]);
    bench.run(listed.clone()).expect("a run");
    assert_proven(&bench.report("lake/shop.a", "raw"), 2);
    assert_proven(&bench.report("lake/shop.b", "raw"), 1);

    // A pattern gives the same tables, and a topic that comes later one more.
    bench.topic("shop.c", &[r#"{"id": 4}"#]);
    let pattern = bench.spec_of(r"topic_pattern: 'shop\..*'", TABLES);
    bench.run(pattern.clone()).expect("another run");
    assert_proven(&bench.report("lake/shop.a", "raw"), 2);
    assert_proven(&bench.report("lake/shop.c", "raw"), 1);
}

#[test]
fn outputs_decode_their_topics_in_their_own_way() {
    let bench = Bench::new();
    bench.topic("a", &[r#"{"id": 1}"#, r#"{"id": 2}"#]);
    bench.topic("b", &[r#"{"name": "x"}"#, r#"{"name": 5}"#]);
    let spec = bench.spec_of(
        "topics: [a, b]",
        "dead_letters: {table: ./dead}\n\
         outputs:\n  \
           ids: {topics: [a], table: ./ids, decode: {value: {format: json, schema: 'id BIGINT NOT NULL'}}}\n  \
           names: {topics: [b], table: ./names, decode: {on_bad_record: dead_letter, bad_record_limit: 100%, value: {format: json, schema: 'name STRING'}}}",
    );
    bench.run(spec).expect("a run");
    assert_proven(&bench.report("ids", "ids"), 2);
    let names = bench.report("names", "names");
    assert_proven(&names, 1);
    assert_eq!(names.fates.dead_letters, 1);
}
