"""`make bench RECORDS=5000000`: one topic of JSON orders, read by sluice, by Spark and by a Python loop, one after
the other; each table is checked against the others, and a table of costs is printed."""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

from bench.measure import Measured, measure
from harness import producers, readers
from harness.delta_log import DeltaLog
from harness.kafka import Kafka
from harness.sluice import Sluice, configuration

PEERS = ("sluice", "spark", "python-loop")
PARTITIONS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1, help="of all peers; the best CPU time of each counts")
    parser.add_argument("--only", choices=PEERS, action="append", help="may come more than once")
    parser.add_argument("--codec", choices=producers.CODECS, default="lz4")
    parser.add_argument("--set", action="append", default=[], help="for sluice, as its own --set")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    try:
        with Kafka(folder=folder / "kafka", heap="1g") as kafka:
            topic = kafka.create_topic("orders", PARTITIONS)
            producers.many_orders(kafka.bootstrap, topic, asked.records, PARTITIONS, compression_type=asked.codec)
            size = len(producers.order(asked.records // 2))
            print(f"{asked.records:,} JSON records of {size} B, {PARTITIONS} partitions, {asked.codec}", flush=True)
            peers = asked.only or PEERS
            best: dict[str, Measured] = {}
            for number in range(asked.rounds):
                tables = {}
                for peer in peers:
                    place = folder / f"{peer}-{number}"
                    place.mkdir()
                    tables[peer] = place / "table"
                    found = run(peer, kafka, topic, place, asked.set)
                    if peer not in best or found.cpu_seconds < best[peer].cpu_seconds:
                        best[peer] = found
                check_alike(tables, asked.records)
                if number + 1 < asked.rounds:
                    for peer in peers:
                        shutil.rmtree(folder / f"{peer}-{number}")
            print(costs(best, asked.records))
            if "sluice" in best:
                print(split(best["sluice"], tables["sluice"], asked.records))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(peer: str, kafka: Kafka, topic: str, place: Path, settings: list[str]) -> Measured:
    table, log = place / "table", place / "log"
    if peer == "sluice":
        sluice = Sluice(place, configuration(kafka, topic, table))
        options = [option for setting in settings for option in ("--set", setting)]
        return measure([*sluice.command("run"), *options], table, log, sluice.env)
    if peer == "spark":
        script = [sys.executable, "-m", "bench.spark_stream", kafka.bootstrap, topic, str(table)]
        return measure([*script, str(place / "checkpoint")], table, log)
    return measure([sys.executable, "-m", "bench.python_loop", kafka.bootstrap, topic, str(table)], table, log)


def check_alike(tables: dict[str, Path], records: int) -> None:
    """Every peer has each order once and the same sums, else its figures are worth nothing."""
    summaries = {peer: readers.duckdb_summary(table) for peer, table in tables.items()}
    for peer, summary in summaries.items():
        assert summary[0] == summary[1] == str(records), f"{peer}: {summary}"
        assert summary == next(iter(summaries.values())), summaries


def costs(found: dict[str, Measured], records: int) -> str:
    lines = [
        "| | CPU-s per million | records/s | records/s after start-up | peak memory | first commit | CPU, sluice = 1 |",
        "|---|---|---|---|---|---|---|",
    ]
    own = found.get("sluice")
    for peer, each in found.items():
        busy = re.search(r"busy_seconds ([\d.]+)", each.output)
        seconds = float(busy[1]) if busy else each.seconds
        ratio = f"{each.cpu_seconds / own.cpu_seconds:.1f}" if own else "–"
        first = f"{each.first_commit_seconds:.2f} s" if each.first_commit_seconds is not None else "–"
        lines.append(
            f"| {peer} | {each.cpu_seconds / records * 1e6:.2f} | {records / each.seconds:,.0f} | "
            f"{records / seconds:,.0f} | {each.peak_bytes / 2**20:,.0f} MiB | {first} | {ratio} |"
        )
    return "\n".join(lines)


def split(own: Measured, table: Path, records: int) -> str:
    """Where sluice's CPU time went, by thread, and how its commits were cut."""
    named = sorted(own.threads.items(), key=lambda each: -each[1])
    lines = ["", "sluice's CPU-s per million, by thread (sampled):"]
    lines += [f"  {name:<18}{used / records * 1e6:6.3f}" for name, used in named if used >= 0.01 * own.cpu_seconds]
    data = [commit for commit in DeltaLog(table).commits() if commit.of("add")]
    sizes = [add["size"] for commit in data for add in commit.of("add")]
    lines.append(f"{len(data)} commits with data, {len(sizes)} files, {sum(sizes) / 2**20:,.0f} MiB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
