"""The loop that people write themselves: confluent-kafka, pyarrow, deltalake, exactly once by `txn` actions.

`python -m bench.python_loop BOOTSTRAP TOPIC TABLE`: reads what is there now, then exits.
"""

import sys
import time

import pyarrow
import pyarrow.json
from confluent_kafka import Consumer, TopicPartition
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError

BATCH = 500_000
SCHEMA = pyarrow.schema(
    [
        ("orderId", pyarrow.string()),
        ("customerId", pyarrow.int64()),
        ("country", pyarrow.string()),
        ("amount", pyarrow.decimal128(18, 4)),
        ("price", pyarrow.float64()),
        ("quantity", pyarrow.int32()),
        ("paid", pyarrow.bool_()),
        ("event_time", pyarrow.timestamp("us", "UTC")),
        ("note", pyarrow.string()),
    ]
)


def app_id(topic: str, partition: int) -> str:
    return f"python-loop/{topic}/{partition}"


def progress(table: str, topic: str, partitions: int) -> dict[int, int]:
    try:
        opened = DeltaTable(table)
    except TableNotFoundError:
        return dict.fromkeys(range(partitions), 0)
    return {n: opened.transaction_version(app_id(topic, n)) or 0 for n in range(partitions)}


def decode(values: list[bytes]) -> pyarrow.Table:
    options = pyarrow.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="ignore")
    block = pyarrow.json.ReadOptions(block_size=64 << 20)
    text = pyarrow.BufferReader(b"\n".join(values))
    return pyarrow.json.read_json(text, read_options=block, parse_options=options)


def main() -> None:
    bootstrap, topic, table = sys.argv[1:4]
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "python-loop",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 5,
    }
    consumer = Consumer(settings)
    partitions = len(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1] for n in range(partitions)}
    offsets = progress(table, topic, partitions)
    consumer.assign([TopicPartition(topic, n, offset) for n, offset in offsets.items()])
    started = time.monotonic()
    while offsets != ends:
        values, numbers, places, times = [], [], [], []
        while len(values) < BATCH and offsets != ends:
            for message in consumer.consume(10_000, timeout=0.2):
                if message.error():
                    raise RuntimeError(message.error())
                partition, offset = message.partition(), message.offset()
                if offset < ends[partition]:
                    values.append(message.value())
                    places.append(offset)
                    numbers.append(partition)
                    times.append(message.timestamp()[1])
                    offsets[partition] = offset + 1
        rows = decode(values)
        rows = rows.append_column("kafka_partition", pyarrow.array(numbers, pyarrow.int32()))
        rows = rows.append_column("kafka_offset", pyarrow.array(places, pyarrow.int64()))
        clock = pyarrow.array(times, pyarrow.int64()).cast(pyarrow.timestamp("ms", "UTC"))
        rows = rows.append_column("kafka_timestamp", clock.cast(pyarrow.timestamp("us", "UTC")))
        transactions = [Transaction(app_id(topic, n), offset) for n, offset in offsets.items()]
        properties = CommitProperties(app_transactions=transactions)
        write_deltalake(table, rows, mode="append", commit_properties=properties)
    print(f"busy_seconds {time.monotonic() - started:.2f}")
    consumer.close()


if __name__ == "__main__":
    main()
