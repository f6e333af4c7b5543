"""`make bench-windows RECORDS=5000000`: orders and revenue per minute and country of event time, from one topic of JSON
orders, by sluice and by Spark Structured Streaming in turns; the tables must be alike, and the costs are printed.

Both read everything in one batch, so that what is compared is the job and not the number of commits. Of sluice, the
cost of each thread is told, too."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench.__main__ import costs
from bench.measure import Measured, measure
from harness import feed
from harness.feed import Feed
from harness.kafka import Kafka
from harness.sluice import Sluice, configuration
from harness.windows import Windowed, tumbling

PEERS = ("sluice", "spark")
# More than the feed's lags and its disorder: Spark would drop the rows of partitions that lag.
ASKED = Windowed(tumbling(60), delay=90, measures=("orders", "revenue"))
LAGS = (0, 5, 10, 20)
BAR = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1, help="of both; the best CPU time of each counts")
    parser.add_argument("--only", choices=PEERS, action="append", help="may come more than once")
    parser.add_argument("--set", action="append", default=[], help="for sluice, as its own --set")
    asked = parser.parse_args()
    orders = Feed(1, asked.records, LAGS, span=36_000, straggler_every=0)
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    try:
        with Kafka(folder=folder / "kafka", heap="1g") as kafka:
            topic = kafka.create_topic("orders", orders.partitions)
            feed.produce(kafka.bootstrap, topic, orders)
            size = len(feed.text(next(orders.events(0, 1))))
            print(f"{asked.records:,} JSON records of {size} B, {orders.partitions} partitions, lz4", flush=True)
            best: dict[str, Measured] = {}
            for number in range(asked.rounds):
                tables = {}
                for peer in asked.only or PEERS:
                    place = folder / f"{peer}-{number}"
                    place.mkdir()
                    tables[peer] = place / "table"
                    found = run(peer, kafka, topic, place, asked.set)
                    if peer not in best or found.cpu_seconds < best[peer].cpu_seconds:
                        best[peer] = found
                check_alike(tables, orders)
        print(costs(best, asked.records))
        if "sluice" in best:
            print(threads(best["sluice"], asked.records))
        if len(best) == len(PEERS):
            ratio = best["spark"].cpu_seconds / best["sluice"].cpu_seconds
            print(f"Spark's CPU time is {ratio:.1f} times sluice's; it should be {BAR} times at least")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(peer: str, kafka: Kafka, topic: str, place: Path, settings: list[str]) -> Measured:
    table, log = place / "table", place / "log"
    if peer == "sluice":
        outputs = {"minutes": ASKED.output(table)}
        config = configuration(kafka, topic, table, decode=feed.DECODE, outputs=outputs, trigger={"mode": "once"})
        sluice = Sluice(place, config)
        options = [option for setting in settings for option in ("--set", setting)]
        return measure([*sluice.command("run"), *options], table, log, sluice.env)
    script = [sys.executable, "-m", "bench.spark_windows", kafka.bootstrap, topic, str(table)]
    return measure([*script, str(place / "checkpoint")], table, log)


def check_alike(tables: dict[str, Path], orders: Feed) -> None:
    """Each has the rows that it must have by its own watermark, else its figures are worth nothing."""
    model = ASKED.model(orders.everything())
    by_spark = max(each for each in model.watermarks.values() if each is not None)
    for peer, table in tables.items():
        upto = model.watermark if peer == "sluice" else by_spark
        wanted = {place: rows for place, rows in model.windows().items() if place[0][1] <= upto}
        ASKED.assert_equal(ASKED.read(table), ASKED.rows(wanted))


def threads(own: Measured, records: int) -> str:
    named = sorted(own.threads.items(), key=lambda each: -each[1])
    lines = ["", "sluice's CPU-s per million, by thread (sampled); windows are computed on sluice-write:"]
    lines += [f"  {name:<18}{used / records * 1e6:6.3f}" for name, used in named if used >= 0.01 * own.cpu_seconds]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
