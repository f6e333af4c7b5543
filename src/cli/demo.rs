//! `sluice demo`: the main job without any service, in seconds.
//!
//! A mock Kafka cluster (librdkafka's own, inside this process) holds a topic of orders, three of them bad. The
//! connector runs as a process of its own, is killed with SIGKILL while it writes a batch, runs again, and
//! `sluice verify` proves that nothing is missing and nothing is there twice.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::print;
use crate::disposition::Exit;
use crate::offsets::grouped;

/// The mock keeps 5 MiB a partition: with this many, all orders stay.
const PARTITIONS: i32 = 8;
const TOPIC: &str = "orders";
/// Records a batch: small, so that there are several commits to be killed in.
const BATCH: usize = 20_000;
/// The run is killed while it writes a batch after this version.
const KILL_AFTER_VERSION: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many orders.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(50_000..=100_000))]
    records: u32,
    /// Where tables and configuration go; it must not exist yet. The default is a new temporary folder.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) async fn demo(args: DemoArgs) -> Exit {
    let shown = tokio::task::spawn_blocking(move || show(&args)).await;
    match shown {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            print::note(format!("the demo failed: {error}"));
            Exit::Bug
        }
        Err(error) => {
            print::note(format!("the demo failed: {error}"));
            Exit::Bug
        }
    }
}

fn show(args: &DemoArgs) -> io::Result<Exit> {
    let began = Instant::now();
    let folder = new_folder(args.folder.as_deref())?;
    let cluster = MockCluster::new(1).map_err(io::Error::other)?;
    cluster.create_topic(TOPIC, PARTITIONS, 1).map_err(io::Error::other)?;
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, args.records)?;
    print::line(format!(
        "A mock Kafka at {brokers} holds {} orders in {PARTITIONS} partitions of the topic `{TOPIC}`, three of them bad.",
        grouped(u64::from(args.records))
    ));

    let config = folder.join("connector.yaml");
    fs::write(&config, configuration(&brokers))?;
    print::line(format!("$ sluice run {}", config.display()));
    let killed_at = run_and_kill(&folder, &config)?;
    let orphans = uncommitted_files(&folder.join("orders"))?;
    print::line(format!(
        "  killed with SIGKILL in the middle of a batch: the table is at version {killed_at}, and {orphans} file(s) \
         were written that no version names"
    ));
    print::line(format!("$ sluice run {}", config.display()));
    let status = sluice(&folder, &["run"], &config)?.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("the second run ended with {status}")));
    }
    print::line(format!("  done: version {}", newest_version(&folder.join("orders"))));

    print::line(format!("$ sluice verify {}", config.display()));
    let proof = sluice(&folder, &["verify"], &config)?.wait()?;
    print::line(format!(
        "\nIn {:.1} s. Look at the tables yourself:\n",
        began.elapsed().as_secs_f64()
    ));
    print::line(snippets(&folder));
    Ok(if proof.success() { Exit::Done } else { Exit::NegativeFinding })
}

fn new_folder(wanted: Option<&Path>) -> io::Result<PathBuf> {
    let folder = match wanted {
        Some(folder) => std::path::absolute(folder)?,
        None => std::env::temp_dir().join(format!("sluice-demo-{}", uuid::Uuid::new_v4().simple())),
    };
    fs::create_dir(&folder)?;
    Ok(folder)
}

fn produce(brokers: &str, records: u32) -> io::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("queue.buffering.max.messages", "200000")
        .set("linger.ms", "5")
        .create()
        .map_err(io::Error::other)?;
    for number in 0..records {
        let (key, value) = (format!("customer-{}", number % 1_000), order(number, records));
        let partition = i32::try_from(number).unwrap_or(0) % PARTITIONS;
        let record = BaseRecord::to(TOPIC).partition(partition).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| io::Error::other(error))?;
    }
    producer.flush(PATIENCE).map_err(io::Error::other)
}

/// An order as JSON; three in all are bad, each in its own way.
fn order(number: u32, records: u32) -> String {
    const COUNTRIES: [&str; 5] = ["DE", "FR", "IT", "NL", "PL"];
    let country = COUNTRIES[number as usize % COUNTRIES.len()];
    let cents = (u64::from(number) * 7_919) % 50_000;
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    let time = 1_790_000_000_000_u64 + u64::from(number) * 250;
    match number {
        n if n == records / 4 => {
            format!(r#"{{"order_id": {n}, "country": "{country}", "amount": "#)
        }
        n if n == records / 2 => {
            format!(
                r#"{{"order_id": {n}, "country": "{country}", "amount": "a lot", "event_time": {time}}}"#
            )
        }
        n if n == records / 4 * 3 => {
            format!(r#"{{"country": "{country}", "amount": {amount}, "event_time": {time}}}"#)
        }
        n => format!(
            r#"{{"order_id": {n}, "country": "{country}", "amount": {amount}, "event_time": {time}}}"#
        ),
    }
}

fn configuration(brokers: &str) -> String {
    format!(
        r#"name: demo
source:
  brokers: ["{brokers}"]
  topics: [{TOPIC}]
decode:
  value:
    format: json
    schema: "order_id BIGINT NOT NULL, country STRING, amount DECIMAL(18,2), event_time TIMESTAMP"
    timestamps: {{event_time: epoch_millis}}
  on_bad_record: dead_letter
dead_letters: {{table: ./dead_letters}}
trigger: {{mode: available_now}}
limits: {{max_records: {BATCH}}}
outputs:
  orders: {{table: ./orders}}
"#
    )
}

/// A sluice process of its own, with the tables' folder as its current one.
fn sluice(folder: &Path, command: &[&str], config: &Path) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--log-level", "warn"])
        .args(command)
        .arg(config)
        .current_dir(folder)
        .stdin(Stdio::null())
        .spawn()
}

/// Starts the connector and kills it as soon as a file appears that no version names yet; the version then.
fn run_and_kill(folder: &Path, config: &Path) -> io::Result<usize> {
    let table = folder.join("orders");
    let mut child = sluice(folder, &["run"], config)?;
    let deadline = Instant::now() + PATIENCE;
    while newest_version(&table) < KILL_AFTER_VERSION || uncommitted_files(&table)? == 0 {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!(
                "the first run ended with {status} before it was killed"
            )));
        }
        if Instant::now() > deadline {
            child.kill()?;
            return Err(io::Error::other("the first run committed nothing"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill()?;
    child.wait()?;
    Ok(newest_version(&table))
}

/// The number of the table's newest version; 0 before there is any.
fn newest_version(table: &Path) -> usize {
    let Ok(entries) = fs::read_dir(table.join("_delta_log")) else {
        return 0;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).max().unwrap_or(0)
}

/// Data files that no entry of the log names.
fn uncommitted_files(table: &Path) -> io::Result<usize> {
    let Ok(entries) = fs::read_dir(table) else {
        return Ok(0);
    };
    let mut files: BTreeSet<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".parquet"))
        .collect();
    for version in 0..=newest_version(table) {
        let entry = table.join("_delta_log").join(format!("{version:020}.json"));
        let text = fs::read_to_string(entry).unwrap_or_default();
        files.retain(|file| !text.contains(file.as_str()));
    }
    Ok(files.len())
}

fn snippets(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"  tables:  {folder}/orders
           {folder}/dead_letters
  DuckDB:  duckdb -c "INSTALL delta; LOAD delta; SELECT country, count(*), sum(amount) FROM delta_scan('{folder}/orders') GROUP BY country"
  Spark:   spark-sql --packages io.delta:delta-spark_2.13:4.0.0 --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension \
             --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog \
             -e "SELECT country, count(*), sum(amount) FROM delta.\`{folder}/orders\` GROUP BY country"
  why the three were refused:
           duckdb -c "LOAD delta; SELECT kafka_partition, kafka_offset, reason FROM delta_scan('{folder}/dead_letters')""#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_orders_are_bad() {
        let is_good = |n: &u32| {
            let value: Result<serde_json::Value, _> = serde_json::from_str(&order(*n, 100_000));
            value.is_ok_and(|v| v["order_id"].is_u64() && v["amount"].is_number())
        };
        assert_eq!((0..100_000).filter(is_good).count(), 99_997);
    }
}
