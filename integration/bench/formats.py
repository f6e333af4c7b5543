"""`make bench-formats RECORDS=1000000`: the same orders as JSON and as Avro behind a registry's prefix, read by sluice in
turns; what a million records cost, by thread. Both tables must hold the same rows."""

import argparse
import io
import json
import multiprocessing
import shutil
import statistics
import tempfile
from decimal import Decimal
from datetime import datetime
from pathlib import Path

import fastavro

from bench.measure import Measured, measure
from harness import producers, readers
from harness.kafka import Kafka
from harness.registry import Registry, framed
from harness.sluice import Sluice, configuration

PARTITIONS = 4
SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "orderId", "type": "string"},
        {"name": "customerId", "type": "long"},
        {"name": "country", "type": "string"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}},
        {"name": "price", "type": "double"},
        {"name": "quantity", "type": "int"},
        {"name": "paid", "type": "boolean"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": "string"},
    ],
}


def encode(number: int) -> bytes:
    order = json.loads(producers.order(number), parse_float=Decimal)
    order["price"] = float(order["price"])
    order["event_time"] = datetime.fromisoformat(order["event_time"].replace("Z", "+00:00"))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA_PARSED, order)
    return out.getvalue()


SCHEMA_PARSED = fastavro.parse_schema(SCHEMA)


def share(bootstrap: str, topic: str, schema_id: int, start: int, count: int) -> None:
    made = producers.producer(bootstrap, compression_type="lz4")
    for number in range(start, start + count):
        while True:
            try:
                made.produce(topic, value=framed(schema_id, encode(number)), partition=number % PARTITIONS)
                break
            except BufferError:
                made.poll(0.1)
    left = made.flush(60)
    assert left == 0, f"{left} orders were not delivered"


def produce_avro(bootstrap: str, topic: str, schema_id: int, count: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    half = count // 2
    parts = [(0, half), (half, count - half)]
    children = [spawn.Process(target=share, args=(bootstrap, topic, schema_id, *part)) for part in parts]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, f"a producer ended with {child.exitcode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help="of both formats by turns; the median counts")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    try:
        with Kafka(folder=folder / "kafka", heap="1g") as kafka, Registry(folder / "registry") as registry:
            compare(kafka, registry, folder, asked.records, asked.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(kafka: Kafka, registry: Registry, folder: Path, records: int, rounds: int) -> None:
    topics = {name: kafka.create_topic(f"orders-{name}", PARTITIONS) for name in ("json", "avro")}
    producers.many_orders(kafka.bootstrap, topics["json"], records, PARTITIONS, compression_type="lz4")
    schema_id = registry.register(f"{topics['avro']}-value", SCHEMA)
    produce_avro(kafka.bootstrap, topics["avro"], schema_id, records)
    decodes = {
        "json": {"format": "json", "schema": producers.SCHEMA},
        "avro": {"format": "avro", "registry": {"url": registry.url}},
    }
    found: dict[str, list[Measured]] = {name: [] for name in topics}
    summaries = {}
    for number in range(rounds):
        for name, topic in topics.items():
            place = folder / f"{name}-{number}"
            config = configuration(kafka, topic, place / "table", decode={"value": decodes[name]})
            sluice = Sluice(place, config)
            found[name].append(measure(sluice.command("run"), place / "table", place / "log", sluice.env))
            summaries[name] = readers.duckdb_summary(place / "table")
            shutil.rmtree(place / "table")
    assert summaries["json"] == summaries["avro"], summaries
    print(f"{records:,} orders: JSON {len(producers.order(records // 2))} B, Avro {len(encode(records // 2)) + 5} B; medians of {rounds}")
    print("| | CPU-s per million | by thread |\n|---|---|---|")
    for name, runs in found.items():
        cost = statistics.median(run.cpu_seconds for run in runs) / records * 1e6
        threads: dict[str, float] = {}
        for run in runs:
            for thread, used in run.threads.items():
                threads[thread] = threads.get(thread, 0) + used / len(runs) / records * 1e6
        named = ", ".join(f"{thread} {used:.3f}" for thread, used in sorted(threads.items(), key=lambda each: -each[1])[:6])
        print(f"| {name} | {cost:.3f} | {named} |")


if __name__ == "__main__":
    main()
