"""`make bench-formats RECORDS=5000000`: the same orders as JSON and as Avro behind a registry's prefix, read by sluice
in turns; what a million records cost, and where. Avro should cost no more than JSON, and both tables of a round must
hold the same rows."""

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import fastavro

from bench.measure import Measured, measure
from harness import producers, readers
from harness.avro import datum, record
from harness.kafka import Kafka
from harness.registry import Registry, framed
from harness.sluice import Sluice, configuration

PARTITIONS = 4
SCHEMA = record(
    "Order",
    {
        "orderId": "string",
        "customerId": "long",
        "country": "string",
        "amount": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4},
        "price": "double",
        "quantity": "int",
        "paid": "boolean",
        "event_time": {"type": "long", "logicalType": "timestamp-millis"},
        "note": "string",
    },
)
PARSED = fastavro.parse_schema(SCHEMA)
# A full batch holds as many bytes of either format. Without the wait, those of the slower encoder would be smaller, and
# sluice would be measured at fetching them.
PRODUCING = {"compression_type": "lz4", "linger_ms": 2_000}
# The CPU time of a stage is that of its thread; `rdk` stands for all of librdkafka's.
STAGES = {"rdk": "fetch", "sluice-read": "take, decode", "sluice-write": "Parquet"}
REST = "commit, start and end"


def avro_order(schema_id: int, number: int) -> bytes:
    order = json.loads(producers.order(number), parse_float=Decimal)
    order["price"] = float(order["price"])
    order["event_time"] = datetime.fromisoformat(order["event_time"])
    return framed(schema_id, datum(PARSED, order))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help="of both formats by turns; the medians count")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    try:
        with Kafka(folder=folder / "kafka", heap="1g") as kafka, Registry(folder / "registry") as registry:
            compare(kafka, registry, folder, asked.records, asked.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(kafka: Kafka, registry: Registry, folder: Path, records: int, rounds: int) -> None:
    topics = {name: kafka.create_topic(f"orders-{name}", PARTITIONS) for name in ("json", "avro")}
    schema_id = registry.register(f"{topics['avro']}-value", SCHEMA)
    encoders = {"json": producers.order, "avro": partial(avro_order, schema_id)}
    for name, topic in topics.items():
        producers.many_orders(kafka.bootstrap, topic, records, PARTITIONS, encode=encoders[name], **PRODUCING)
    decodes = {
        "json": {"format": "json", "schema": producers.SCHEMA},
        "avro": {"format": "avro", "registry": {"url": registry.url}},
    }
    found: dict[str, list[Measured]] = {name: [] for name in topics}
    for number in range(rounds):
        summaries = {}
        for name in sorted(topics, reverse=number % 2 == 0):
            place = folder / f"{name}-{number}"
            config = configuration(kafka, topics[name], place / "table", decode={"value": decodes[name]})
            sluice = Sluice(place, config)
            found[name].append(measure(sluice.command("run"), place / "table", place / "log", sluice.env))
            summaries[name] = readers.duckdb_summary(place / "table")
            shutil.rmtree(place)
        assert summaries["json"] == summaries["avro"], summaries
        assert summaries["json"][0] == str(records), summaries
    sizes = ", ".join(f"{name} {len(encode(records // 2))} B" for name, encode in encoders.items())
    print(f"{records:,} orders ({sizes}), {PARTITIONS} partitions; medians of {rounds} runs by turns")
    print(costs(found, records))


def costs(found: dict[str, list[Measured]], records: int) -> str:
    stages = [*STAGES.values(), REST]
    header = ["CPU-s per million", "least to most", *stages, "records/s", "peak memory"]
    lines = [f"| | {' | '.join(header)} |", "|---" * (len(header) + 1) + "|"]

    def median(runs: list[Measured], of: Callable[[Measured], float]) -> float:
        return statistics.median(of(run) for run in runs)

    for name, runs in found.items():
        millionths = [run.cpu_seconds / records * 1e6 for run in runs]
        cells = [f"{statistics.median(millionths):.3f}", f"{min(millionths):.3f} to {max(millionths):.3f}"]
        cells += [f"{median(runs, lambda run, s=s: by_stage(run)[s]) / records * 1e6:.3f}" for s in stages]
        cells += [f"{records / median(runs, lambda run: run.seconds):,.0f}"]
        cells += [f"{median(runs, lambda run: run.peak_bytes) / 2**20:,.0f} MiB"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    json_cost, avro_cost = (median(found[name], lambda run: run.cpu_seconds) for name in ("json", "avro"))
    pairs = zip(found["json"], found["avro"], strict=True)
    each = ", ".join(f"{avro.cpu_seconds / json.cpu_seconds:.2f}" for json, avro in pairs)
    return "\n".join([*lines, f"Avro costs {avro_cost / json_cost:.2f} of JSON (each round: {each})"])


def by_stage(run: Measured) -> dict[str, float]:
    """CPU seconds; those of no stage's thread, and what sampling the threads has missed, are the rest."""
    used = dict.fromkeys(STAGES.values(), 0.0)
    for thread, seconds in run.threads.items():
        stage = STAGES.get("rdk" if thread.startswith("rdk") else thread)
        if stage:
            used[stage] += seconds
    return used | {REST: run.cpu_seconds - sum(used.values())}


if __name__ == "__main__":
    main()
