//! The source on librdkafka's mock cluster: ranges are exact, whatever is prefetched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use sluice::chunk::SourcePartition;
use sluice::config::{OnDataLoss, Source, Start, Topics};
use sluice::offsets::OffsetRange;
use sluice::source::{Control, Event, OffsetSpec, ReadError, Reader, Target};

fn cluster(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, Source) {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("orders", partitions, 1).expect("a topic");
    let source = Source {
        brokers: vec![cluster.bootstrap_servers()],
        topics: Topics::List(vec!["orders".into()]),
        start: Start::Earliest,
        on_data_loss: OnDataLoss::Fail,
        group_id: Some("sluice-test".into()),
        client: BTreeMap::new(),
    };
    (cluster, source)
}

fn produce(source: &Source, partition: i32, records: std::ops::Range<usize>) {
    produce_to(source, [(partition, records)]);
}

fn produce_to(
    source: &Source,
    partitions: impl IntoIterator<Item = (i32, std::ops::Range<usize>)>,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &source.brokers[0])
        .set("linger.ms", "1")
        .create()
        .expect("a producer");
    for (partition, records) in partitions {
        for n in records {
            let (key, value) = (format!("k{n}"), format!("v{n}"));
            producer
                .send(BaseRecord::to("orders").partition(partition).key(&key).payload(&value))
                .expect("room in the producer's queue");
        }
    }
    producer.flush(Duration::from_secs(10)).expect("delivered");
}

/// Reads up to the ends given, and answers with each record as partition, offset and value.
fn read(
    reader: &mut Reader,
    targets: &[Target],
    max_bytes: u64,
) -> (Vec<(i32, i64, String)>, Vec<OffsetRange>) {
    let mut records = Vec::new();
    let mut current: Option<(Arc<SourcePartition>, i64)> = None;
    let ranges = reader
        .read(targets, max_bytes, &AtomicBool::new(false), |event| -> Result<(), ()> {
            match event {
                Event::Begin(partition, start) => current = Some((partition.clone(), start)),
                Event::Record(message) => {
                    let (partition, _) = current.as_ref().expect("a run began");
                    let value =
                        String::from_utf8(message.value.expect("a value").to_vec()).expect("text");
                    records.push((partition.id.partition, message.offset, value));
                }
                Event::End(end) => {
                    let (_, start) = current.take().expect("a run began");
                    assert!(end > start, "a run moves");
                }
            }
            Ok(())
        })
        .map_err(|error| matches!(error, ReadError::Stopped))
        .expect("read");
    (records, ranges.into_iter().map(|(_, range)| range).collect())
}

#[test]
fn ranges_are_exact_whatever_is_prefetched() {
    let (_cluster, source) = cluster(2);
    produce(&source, 0, 0..3_000);
    produce(&source, 1, 0..10);
    let control = Control::connect(&source).expect("a client");
    let catalog = control.discover().expect("topics");
    let partitions: Vec<Arc<SourcePartition>> = catalog.partitions().map(Arc::new).collect();
    assert_eq!(partitions.len(), 2);
    let ids: Vec<_> = partitions.iter().map(|p| p.id.clone()).collect();
    let ends = control.offsets(&ids, OffsetSpec::Latest).expect("ends");
    assert_eq!(ends.values().copied().collect::<Vec<_>>(), [3_000, 10]);
    assert_eq!(
        control
            .offsets(&ids, OffsetSpec::Earliest)
            .expect("starts")
            .into_values()
            .collect::<Vec<_>>(),
        [0, 0]
    );

    let starts = partitions.iter().map(|p| (p.clone(), 0)).collect();
    let mut reader = Reader::assign(&source, &starts, false).expect("assigned");
    let to = |partition: usize, end| Target { partition: partitions[partition].clone(), end };

    let mut all = Vec::new();
    for (end0, end1) in [(1, 1), (1_500, 1), (1_501, 10), (3_000, 10)] {
        let (records, ranges) = read(&mut reader, &[to(0, end0), to(1, end1)], u64::MAX);
        assert_eq!((ranges[0].end, ranges[1].end), (end0, end1));
        all.extend(records);
    }
    for partition in 0..2 {
        let of: Vec<_> = all.iter().filter(|r| r.0 == partition).collect();
        assert_eq!(of.len(), if partition == 0 { 3_000 } else { 10 });
        assert!(of.iter().zip(0..).all(|(r, n)| r.1 == n && r.2 == format!("v{n}")));
    }
}

#[test]
fn a_byte_limit_cuts_a_range_and_the_rest_comes_next() {
    let (_cluster, source) = cluster(1);
    produce(&source, 0, 0..5_000);
    let catalog = Control::connect(&source).expect("a client").discover().expect("topics");
    let partition = Arc::new(catalog.partitions().next().expect("one partition"));
    let mut reader =
        Reader::assign(&source, &[(partition.clone(), 0)].into(), false).expect("assigned");
    let target = Target { partition, end: 5_000 };
    let mut count = 0;
    let mut batches = 0;
    while count < 5_000 {
        let (records, ranges) = read(&mut reader, std::slice::from_ref(&target), 1_000);
        assert_eq!(ranges[0].start, count);
        count += i64::try_from(records.len()).expect("few");
        assert_eq!(ranges[0].end, count);
        batches += 1;
    }
    assert!(batches > 1, "the limit cut nothing");
}

#[test]
fn a_reader_whose_receiver_refused_a_record_can_be_closed() {
    let (_cluster, source) = cluster(1);
    produce(&source, 0, 0..100);
    let catalog = Control::connect(&source).expect("a client").discover().expect("topics");
    let partition = Arc::new(catalog.partitions().next().expect("one partition"));
    let starts = [(partition.clone(), 0)].into();
    let mut reader = Reader::assign(&source, &starts, false).expect("assigned");
    let target = Target { partition, end: 100 };
    // A range that ends early leaves entries for the next one.
    let (records, _) = read(&mut reader, &[Target { end: 10, ..target.clone() }], u64::MAX);
    assert_eq!(records.len(), 10);
    let refused = reader.read(&[target], u64::MAX, &AtomicBool::new(false), |event| match event {
        Event::Record(_) => Err("refused"),
        _ => Ok(()),
    });
    assert!(matches!(refused, Err(ReadError::Receiver("refused"))));
    let (closed, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(reader);
        let _ = closed.send(());
    });
    wait.recv_timeout(Duration::from_secs(20)).expect("closing the client returns");
}

#[test]
fn of_many_partitions_each_has_its_turn() {
    let partitions = 150;
    let (_cluster, source) = cluster(partitions);
    // Some have nothing, and some more than a range takes.
    let records = |partition: i32| usize::try_from(partition % 5).expect("positive") * 40;
    produce_to(&source, (0..partitions).map(|partition| (partition, 0..records(partition))));
    let catalog = Control::connect(&source).expect("a client").discover().expect("topics");
    let all: Vec<Arc<SourcePartition>> = catalog.partitions().map(Arc::new).collect();
    let starts = all.iter().map(|p| (p.clone(), 0)).collect();
    let mut reader = Reader::assign(&source, &starts, false).expect("assigned");
    let mut seen = vec![0; all.len()];
    for part in 1..=3 {
        let end = |p: &SourcePartition| (records(p.id.partition) * part / 3) as i64;
        let target = |p: &Arc<SourcePartition>| Target { partition: p.clone(), end: end(p) };
        let targets: Vec<Target> = all
            .iter()
            .map(target)
            .filter(|t| t.end > seen[t.partition.id.partition as usize])
            .collect();
        let (read, ranges) = read(&mut reader, &targets, u64::MAX);
        assert!(ranges.iter().zip(&targets).all(|(range, target)| range.end == target.end));
        for (partition, offset, value) in read {
            let next = &mut seen[partition as usize];
            assert_eq!((offset, value), (*next, format!("v{offset}")));
            *next += 1;
        }
    }
    assert!(seen.iter().zip(0..).all(|(&seen, partition)| seen == records(partition) as i64));
}
