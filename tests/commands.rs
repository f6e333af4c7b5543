//! The commands as processes, on librdkafka's mock cluster and local tables: what they print and how they exit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::Value;
use tempfile::TempDir;

const DONE: i32 = 0;
const USAGE: i32 = 2;
const NEGATIVE_FINDING: i32 = 3;
const UNREACHABLE: i32 = 75;

/// A mock cluster with a topic `orders` of two partitions, and a folder with configuration and tables.
struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    fn documents(&self) -> Vec<Value> {
        let document = |line| serde_json::from_str(line).expect("each line is JSON");
        self.stdout.lines().map(document).collect()
    }
}

impl Bench {
    /// Ten records in each partition, `more` is YAML at the top level.
    fn new(more: &str) -> Self {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("orders", 2, 1).expect("a topic");
        let bench = Self { cluster, folder: tempfile::tempdir().expect("a folder") };
        bench.configure(&bench.cluster.bootstrap_servers(), more);
        bench.produce(10);
        bench
    }

    /// With one output and nothing special.
    fn plain() -> Self {
        Self::new("outputs: {orders: {table: ./orders}}")
    }

    fn configure(&self, brokers: &str, more: &str) {
        let text = format!(
            "name: test\n\
             source: {{brokers: ['{brokers}'], topics: [orders]}}\n\
             decode: {{value: {{format: json, schema: 'id BIGINT NOT NULL'}}}}\n\
             trigger: {{mode: available_now}}\n\
             limits: {{max_records: 8}}\n\
             {more}\n",
        );
        fs::write(self.folder.path().join("connector.yaml"), text).expect("written");
    }

    fn produce(&self, records: usize) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("linger.ms", "1")
            .create()
            .expect("a producer");
        for number in 0..records * 2 {
            let value = format!(r#"{{"id": {number}}}"#);
            let partition = i32::try_from(number % 2).expect("small");
            let record = BaseRecord::to("orders").partition(partition).key("k").payload(&value);
            producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        }
        producer.flush(Duration::from_secs(10)).expect("delivered");
    }

    fn ask(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(arguments).current_dir(self.folder.path()).env_remove("SLUICE_LOG");
        let Output { status, stdout, stderr } = command.output().expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Answer {
            code: status.code().expect("it exits"),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    fn check(&self, arguments: &[&str], code: i32) -> Answer {
        let answer = self.ask(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {answer:?}");
        answer
    }

    fn data_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("orders")).expect("a table");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> = paths.filter(|path| is_parquet(path)).collect();
        files.sort();
        files
    }

    /// The next offsets, by partition.
    fn progress(&self) -> Vec<Value> {
        let status = self.check(&["status", "--json"], DONE).documents();
        status.into_iter().map(|mut document| document["committed_offset"].take()).collect()
    }
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

#[test]
fn verify_proves_a_table_by_its_log_and_by_its_rows() {
    let bench = Bench::plain();
    bench.check(&["verify"], NEGATIVE_FINDING);
    bench.check(&["run"], DONE);
    let answer = bench.check(&["verify", "--deep"], DONE);
    let [sum, deep] = answer.lines()[..] else { panic!("{answer:?}") };
    assert!(
        sum.starts_with("orders: 20 = 20 rows + 0 dead letters; 0 gaps, 0 duplicates"),
        "{sum}"
    );
    assert!(deep.starts_with("orders: deep: 20 rows in "), "{deep}");
    let document = &bench.check(&["verify", "--deep", "--json"], DONE).documents()[0];
    assert_eq!((&document["rows"], &document["deep"]["rows"]), (&20.into(), &20.into()));
    assert_eq!(document["format_version"], 1);
}

#[test]
fn verify_deep_names_a_data_file_that_is_lost_or_damaged() {
    let bench = Bench::plain();
    bench.check(&["run"], DONE);
    let file = bench.data_files().remove(0);
    let (name, bytes) = (file.file_name().expect("a name"), fs::read(&file).expect("readable"));
    let told = |finding: &str| {
        bench.check(&["verify"], DONE);
        let answer = bench.check(&["verify", "--deep"], NEGATIVE_FINDING);
        assert!(answer.stdout.contains(finding), "{answer:?}");
        assert!(answer.stdout.contains(&*name.to_string_lossy()), "{answer:?}");
    };
    fs::remove_file(&file).expect("removed");
    told("the data file is not there");
    fs::write(&file, &bytes[1..]).expect("written");
    told(&format!("the log says {} bytes, there are {}", bytes.len(), bytes.len() - 1));
    fs::write(&file, vec![7; bytes.len()]).expect("written");
    told("cannot be read");
    fs::write(&file, &bytes).expect("written");
    bench.check(&["verify", "--deep"], DONE);
}

#[test]
fn verify_deep_says_what_it_cannot_compare() {
    let bench = Bench::new(
        "outputs: {orders: {table: ./orders, metadata_columns: [partition, timestamp]}}",
    );
    bench.check(&["run"], DONE);
    let answer = bench.check(&["verify", "--deep"], DONE);
    assert!(answer.stdout.contains("no column kafka_offset"), "{answer:?}");
}

#[test]
fn a_rewind_is_planned_then_asked_for_then_one_commit() {
    let bench = Bench::plain();
    bench.check(&["run"], DONE);
    let to = ["rewind", "--to-offsets", "orders:0=4"];
    let plan = bench.check(&[&to[..], &["--dry-run"]].concat(), DONE);
    assert!(plan.stdout.contains("6 records will be read again"), "{plan:?}");
    let unconfirmed = bench.check(&to, USAGE);
    assert!(unconfirmed.stderr.contains("--yes"), "{unconfirmed:?}");
    assert_eq!(bench.progress(), [10, 10], "nothing has happened yet");

    bench.check(&[&to[..], &["--yes"]].concat(), DONE);
    assert_eq!(bench.progress(), [4, 10]);
    bench.check(&["run"], DONE);
    let answer = bench.check(&["verify", "--deep"], DONE);
    assert!(answer.stdout.contains("6 read again after a rewind"), "{answer:?}");
    assert!(
        answer.stdout.contains("deep: 26 rows in "),
        "the rows that were there stay: {answer:?}"
    );
}

#[test]
fn a_rewind_goes_to_the_earliest_offsets_or_to_a_version() {
    let bench = Bench::plain();
    bench.check(&["run"], DONE);
    bench.check(&["rewind", "--to-version", "2", "--yes"], DONE);
    let then = bench.progress();
    let read: i64 = then.iter().map(|offset| offset.as_i64().expect("an offset")).sum();
    assert!((1..20).contains(&read), "version 2 is in the middle, not at {then:?}");
    bench.check(&["rewind", "--to-earliest", "--yes"], DONE);
    assert_eq!(bench.progress(), [0, 0]);
    let document = &bench.check(&["rewind", "--accept", "--yes", "--json"], DONE).documents()[0];
    assert_eq!(
        (&document["records_again"], document["committed_version"].is_u64()),
        (&0.into(), true)
    );
    bench.check(&["verify"], DONE);
}

#[test]
fn a_rewind_refuses_what_is_not_there() {
    let bench = Bench::plain();
    bench.check(&["run"], DONE);
    let refused = |arguments: &[&str], why: &str| {
        let answer = bench.check(&[&["rewind", "--yes"], arguments].concat(), USAGE);
        assert!(answer.stderr.contains(why), "{answer:?}");
    };
    refused(&["--to-offsets", "orders:0=11"], "Kafka has 0 to 10");
    refused(&["--to-offsets", "orders:7=1"], "neither Kafka nor the table");
    refused(&["--to-offsets", "orders:0=1,orders/0=2"], "named twice");
    refused(&["--to-version", "99"], "not in the kept log");
    refused(&["--to-earliest", "--output", "payments"], "there is orders");
    refused(&[], "--to-offsets");
    refused(&["--to-earliest", "--accept"], "--accept");
}

#[test]
fn progress_is_shown_and_set_without_kafka() {
    let bench = Bench::plain();
    bench.check(&["run"], DONE);
    bench.configure("127.0.0.1:1", "outputs: {orders: {table: ./orders}}");
    bench.check(&["rewind", "--to-offsets", "orders:1=3", "--yes"], DONE);
    let documents = bench.check(&["status", "--json"], UNREACHABLE).documents();
    assert_eq!(
        (&documents[1]["committed_offset"], &documents[1]["end_offset"]),
        (&3.into(), &Value::Null)
    );
}

#[test]
fn status_tells_the_lag_of_each_partition() {
    let bench = Bench::plain();
    let before = bench.check(&["status"], DONE);
    assert!(before.stdout.contains("there is no table"), "{before:?}");
    bench.check(&["run"], DONE);
    bench.produce(3);
    let answer = bench.check(&["status"], DONE);
    let line = answer.lines().into_iter().find(|line| line.contains("orders/1")).expect("a line");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["orders/1", "10", "13", "3"]);
}

#[test]
fn check_warns_of_what_a_start_would_make_of_the_configuration() {
    let bench = Bench::plain();
    let first = bench.check(&["check"], DONE);
    assert!(first.stdout.contains("a first run: 2 partitions, 20 records to read"), "{first:?}");
    assert!(!bench.folder.path().join("orders").exists(), "check writes nothing");
    bench.check(&["run"], DONE);
    let arguments =
        ["check", "--set", "source.start=latest", "--set", "trigger.mode=processing_time"];
    let every = |interval: &str| {
        let interval = format!("trigger.interval={interval}");
        bench.check(&[&arguments[..], &["--set", &interval]].concat(), DONE).stdout
    };
    let quiet = every("10s");
    assert!(quiet.contains("`start` is ignored: progress exists (table version"), "{quiet}");
    assert!(!quiet.contains("files a day"), "{quiet}");
    let busy = every("1s");
    assert!(busy.contains("86,400 batches a day × 1.0 files each = 86,400 files"), "{busy}");
    assert!(every("0s").contains("576,000 commits a day"));
}

#[test]
fn preview_shows_rows_and_rejects() {
    let bench = Bench::plain();
    let documents = bench.check(&["preview", "--limit", "3", "--json"], DONE).documents();
    let rows: Vec<_> = documents.iter().map(|d| (&d["partition"], &d["row"]["id"])).collect();
    let expected: [(Value, Value); 3] =
        [(0, 0), (0, 2), (1, 1)].map(|(partition, id)| (partition.into(), id.into()));
    assert_eq!(rows, expected.each_ref().map(|(partition, id)| (partition, id)));

    let wrong = ["preview", "--set", "decode.value.schema=id STRING NOT NULL"];
    let answer = bench.check(&wrong, DONE);
    assert_eq!(answer.stdout.matches("refused: SL3").count(), 20, "{answer:?}");
    let newest = bench.check(&["preview", "--limit", "2", "--set", "source.start=latest"], DONE);
    assert!(newest.stdout.contains("18") && newest.stdout.contains("19"), "{newest:?}");
    assert!(!bench.folder.path().join("orders").exists(), "preview writes nothing");
}

#[test]
fn init_writes_a_configuration_that_runs_as_it_is() {
    let bench = Bench::plain();
    let brokers = bench.cluster.bootstrap_servers();
    let init =
        ["init", "--brokers", &brokers, "--topic", "orders", "--samples", "10", "-o", "new.yaml"];
    let answer = bench.check(&init, DONE);
    assert!(answer.stdout.is_empty(), "{answer:?}");
    assert!(answer.stderr.contains("orders: JSON, columns: 1; 10 records looked at"), "{answer:?}");
    bench.check(&init, USAGE);
    bench.check(&["check", "new.yaml"], DONE);
    let ends = ["--set", "trigger.mode=available_now", "--set", "trigger.interval=null"];
    bench.check(&[&["run", "new.yaml"], &ends[..]].concat(), DONE);
    let answer = bench.check(&["verify", "new.yaml"], DONE);
    assert!(answer.stdout.starts_with("orders: 20 = 20 rows"), "{answer:?}");
}
