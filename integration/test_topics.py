"""What topics hold besides plain records: transactions, holes, tombstones, nothing, huge records, every codec."""

import json

import pytest

from conftest import Connector, Lake
from harness import oracle, producers
from harness.kafka import Kafka
from harness.producers import CODECS, order
from harness.readers import by_path
from harness.sluice import CONTINUOUS, caught_up, wait_caught_up
from harness.waiting import wait_until


def test_records_of_aborted_transactions_are_not_rows(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    def plan():
        for number in range(60):
            values = [order(number * 100 + n) for n in range(50)]
            yield ("abort" if number % 3 == 1 else "commit"), values, number % 4

    producers.transactions(kafka.bootstrap, topic, plan(), f"{topic}-a")
    # Plain records among them, and a partition that ends in an aborted transaction.
    producers.orders(kafka.bootstrap, topic, 100_000, 500)
    tail = [("abort", [order(n) for n in range(200_000, 200_050)], 2)]
    producers.transactions(kafka.bootstrap, topic, tail, f"{topic}-b")

    sluice = connector(topic, lake, limits={"max_records": 333})
    sluice.run()
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 40 * 50 + 500
    assert caught_up(lake.log("orders"), kafka, topic), "progress passes the markers at the end"
    sluice.verify()


def test_an_open_transaction_is_waited_for(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    sluice = connector(topic, local, trigger=CONTINUOUS)
    process = sluice.start()
    producers.send(kafka.bootstrap, topic, [order(1)], partition=0)
    producer = producers.producer(kafka.bootstrap, transactional_id=f"{topic}-open", transaction_timeout_ms=60_000)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value=order(2), partition=0)
    producer.flush(30)
    producers.send(kafka.bootstrap, topic, [order(3)], partition=0)
    producers.send(kafka.bootstrap, topic, [order(4)], partition=1)
    log = local.log("orders")
    wait_until("what is stable", lambda: log.offsets(topic) == {0: 1, 1: 1, 2: 0, 3: 0}, 30)
    producer.commit_transaction(30)
    wait_caught_up(process, log, kafka, topic)
    process.terminate()
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 4


def test_a_compacted_topic_with_holes(kafka: Kafka, local: Lake, connector: Connector) -> None:
    topic = kafka.create_topic(
        kafka.new_name("compacted"),
        1,
        cleanup_policy="compact",
        segment_ms=100,
        min_cleanable_dirty_ratio=0.001,
        delete_retention_ms=0,
    )
    producer = producers.producer(kafka.bootstrap)
    sent = 0

    def some_more() -> None:
        nonlocal sent
        for n in range(sent, sent + 500):
            tombstone = n % 10 == 7
            producer.produce(topic, key=b"key-%d" % (n % 150), value=None if tombstone else order(n))
        producer.flush(30)
        sent += 500

    def has_holes() -> bool:
        some_more()  # a segment is closed by the next record after its time
        return oracle.records(kafka, topic).num_rows < sent - 1_000

    wait_until("compaction", has_holes, 60, every=0.3)
    sluice = connector(topic, local, limits={"max_records": 200})
    sluice.run()
    # Compaction goes on; what was read may be more than what is there now, never less.
    rows = local.rows("kafka_offset, orderId")
    assert len({offset for offset, _ in rows}) == len(rows)
    assert all(key == f"order-{offset:012}" for offset, key in rows)
    there = oracle.records(kafka, topic).to_pylist()
    end = local.log("orders").offsets(topic)[0]
    assert {row["o"] for row in there if row["v"] is not None and row["o"] < end} <= {offset for offset, _ in rows}
    assert end == sent
    sluice.verify()


def test_tombstones_are_counted_and_make_no_rows(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    values = [None if n % 4 == 2 else order(n) for n in range(1_000)]
    producers.send(kafka.bootstrap, topic, values, partition=1, key=b"k")
    producers.send(kafka.bootstrap, topic, [None] * 50, partition=3, key=b"k")
    sluice = connector(topic, local, limits={"max_records": 300})
    sluice.run()
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 750
    assert local.log("orders").offsets(topic) == {0: 0, 1: 1_000, 2: 0, 3: 50}
    assert "300" in sluice.verify().stdout, "300 tombstones in the sum"


def test_empty_partitions_are_no_obstacle(kafka: Kafka, lake: Lake, connector: Connector) -> None:
    topic = kafka.create_topic(kafka.new_name("empty"), 24)
    producers.send(kafka.bootstrap, topic, [order(n) for n in range(300)], partition=17)
    sluice = connector(topic, lake)
    sluice.run()
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 300
    assert lake.log("orders").offsets(topic) == {n: 300 if n == 17 else 0 for n in range(24)}
    version = lake.log("orders").version()
    sluice.run()
    assert lake.log("orders").version() == version
    sluice.verify()


def test_an_empty_topic_is_waited_on(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    process = connector(topic, local, trigger=CONTINUOUS).start()
    log = local.log("orders")
    wait_until("the starts", lambda: log.offsets(topic) == {n: 0 for n in range(4)}, 30)
    producers.orders(kafka.bootstrap, topic, 0, 40)
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 40


def test_records_of_a_megabyte(kafka: Kafka, local: Lake, connector: Connector) -> None:
    topic = kafka.create_topic(kafka.new_name("huge"), 2, max_message_bytes=12_000_000)
    sizes = [1_000_000, 900_000, 10, 1_048_576, 3_000_000, 1, 1_000_000, 5_000_000]
    values = [json.dumps({"n": n, "text": chr(97 + n) * size}).encode() for n, size in enumerate(sizes)]
    for partition in (0, 1):
        producers.send(kafka.bootstrap, topic, values, partition=partition, message_max_bytes=12_000_000)
    decode = {"value": {"format": "json", "schema": "n INT, text STRING"}}
    sluice = connector(topic, local, decode=decode, limits={"max_bytes": "2MiB"})
    sluice.run()
    columns = {"n": "(v->>'$.n')::INT", "text": "v->>'$.text'"}
    assert oracle.assert_exact(local.table("orders"), kafka, topic, columns=columns) == 16


def test_every_compression_codec_is_read(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    for number, codec in enumerate(CODECS):
        producers.orders(kafka.bootstrap, topic, number * 1_000, 1_000, compression_type=codec)
    connector(topic, local).run()
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == len(CODECS) * 1_000


def test_keys_headers_and_times_become_columns(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    producer = producers.producer(kafka.bootstrap)
    headers = [("trace", b"\x00\xff"), ("trace", b"again"), ("none", None)]
    producer.produce(topic, value=order(0), key=b"\x00key", partition=0, timestamp=1_700_000_000_123, headers=headers)
    producer.produce(topic, value=order(1), partition=0, timestamp=1_700_000_000_124)
    producer.flush(30)
    columns = ["topic", "partition", "offset", "timestamp", "key", "headers"]
    connector(topic, local, output={"metadata_columns": columns}).run()
    names = ", ".join(f"kafka_{column}" for column in columns)
    first, second = spark.sql(f"SELECT {names} FROM {by_path(local.table('orders'))} ORDER BY kafka_offset").collect()
    assert (first.kafka_topic, first.kafka_partition, first.kafka_offset) == (topic, 0, 0)
    assert first.kafka_timestamp.isoformat() == "2023-11-14T22:13:20.123000"
    assert bytes(first.kafka_key) == b"\x00key"
    got = [(header.key, header.value and bytes(header.value)) for header in first.kafka_headers]
    assert got == headers
    assert second.kafka_key is None and not second.kafka_headers


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("earliest", [0, 1, 2, 3, 4, 5]),
        ("latest", []),
        ({"timestamp": "2023-11-14T22:13:20.003Z"}, [3, 4, 5]),
        ({"timestamp": "2033-11-14T22:13:20Z"}, []),
        ({"offsets": {"TOPIC": {"0": 4}}}, [4, 5]),
    ],
    ids=["earliest", "latest", "timestamp", "timestamp-to-come", "offsets"],
)
def test_where_a_first_run_starts(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, start: object, expected: list[int]
) -> None:
    producer = producers.producer(kafka.bootstrap)
    for n in range(6):
        producer.produce(topic, value=order(n), partition=0, timestamp=1_700_000_000_000 + n)
    producer.flush(30)
    if isinstance(start, dict) and "offsets" in start:
        start = {"offsets": {topic: start["offsets"]["TOPIC"]}}
    sluice = connector(topic, local)
    sluice.write(source={**sluice.config["source"], "start": start})
    sluice.run()
    assert [offset for (offset,) in local.rows("kafka_offset")] == expected
    producers.send(kafka.bootstrap, topic, [order(6)], partition=0)
    sluice.run()
    assert [offset for (offset,) in local.rows("kafka_offset")] == [*expected, 6]
