"""The same windows by Spark Structured Streaming and by sluice, from one topic without late rows: the same rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Connector, Lake
from harness import feed, spark_windows
from harness.feed import FIRST_MILLIS, Event, Feed
from harness.kafka import Kafka
from harness.readers import Duck, scan
from harness.windows import MEASURES, Keys, Session, Sliding, Span, Windowed, tumbling
from test_windows import configured, fates

# Of `first`, `last` and equals of `max_by`, Spark takes whichever comes; it has no `count(distinct)` in streams.
OWN = ("first_id", "last_amount", "shops", "dearest_id", "dearest_ids")
SHARED = tuple(name for name in MEASURES if name not in OWN)
# Behind the disorder and the lags of the feed: nothing is late, neither by a partition's own watermark nor by Spark's.
DELAY = 90
OUTPUTS = {
    "minutes": Windowed(tumbling(60, offset=10), delay=DELAY, measures=SHARED),
    "sliding": Windowed(Sliding(300, 70, offset=15), delay=DELAY, measures=SHARED),
    "sessions": Windowed(Session(15), ("country", "shop"), delay=DELAY, measures=SHARED),
    "visits": Windowed(Session(8, own=True), ("country", "shop"), delay=DELAY, measures=SHARED),
}
# Records, and how many make a batch of Spark's.
SIZES = [pytest.param(8_000, None, id="8k"), pytest.param(1_000_000, 200_000, id="1M", marks=pytest.mark.soak)]


def on_time(seed: int, records: int) -> Feed:
    lags = (0, 0, 1, 2, 5, 10, 15, 20)
    # Sessions of a few rows each, however many rows there are.
    return Feed(seed, records, lags=lags, span=records // 6, straggler_every=0, disorder=30)


@pytest.mark.parametrize(("records", "batch"), SIZES)
def test_spark_and_sluice_close_the_same_windows(
    kafka: Kafka,
    local: Lake,
    connector: Connector,
    spark: Any,
    seed: int,
    tmp_path: Path,
    records: int,
    batch: int | None,
) -> None:
    topic = kafka.create_topic(kafka.new_name("spark-windows"), 8)
    orders = on_time(seed, records)
    feed.produce(kafka.bootstrap, topic, orders)
    configured(connector, topic, local, OUTPUTS, limits={"max_records": records // 5}).run()
    running = [
        spark_windows.start(
            spark, kafka.bootstrap, topic, asked, local.table(f"spark-{name}"), tmp_path / f"checkpoint-{name}", batch
        )
        for name, asked in OUTPUTS.items()
    ]
    for query in running:
        query.awaitTermination()
    for name, asked in OUTPUTS.items():
        model = asked.model(orders.everything())
        assert not model.fates["late"] and not model.late_partial
        ours, theirs = asked.read(local.table(name)), asked.read(local.table(f"spark-{name}"))
        asked.assert_equal(ours, asked.rows(model.closed()))
        # Spark's watermark is the furthest partition's, so that it closes more: by its rule those that end up to there.
        furthest = max(each for each in model.watermarks.values() if each is not None)
        # And a row exactly a gap after a session's last one belongs to it.
        by_spark = replace(asked, window=replace(asked.window, joins=True)) if isinstance(asked.window, Session) else asked
        wanted = by_spark.model(orders.everything()).windows()
        wanted = {place: rows for place, rows in wanted.items() if place[0][1] <= furthest}
        asked.assert_equal(theirs, asked.rows(wanted))
        # But for that, the same rows.
        joined = {place for place in ours if place not in theirs}
        assert joined <= touching(model.windows())
        alike = {place: row for place, row in ours.items() if place not in joined}
        asked.assert_equal(alike, {place: row for place, row in theirs.items() if place in alike})
        assert types(local.table(name)) == types(local.table(f"spark-{name}"))
        more = [place for place in theirs if place[1] > model.watermark]
        print(f"{name}: {len(alike):,} alike; {len(joined)} that Spark joins; {len(more)} that only Spark has closed")
        assert len(alike) > 100 and len(joined) < 20 + len(ours) / 1_000


def types(table: str) -> list[tuple[str, str]]:
    return [row[:2] for row in Duck().rows(f"DESCRIBE SELECT * FROM {scan(table)}")]


def touching(windows: dict[tuple[Span, Keys], Any]) -> set[tuple[Any, ...]]:
    """Sessions that begin where another of their keys ends, or end where one begins."""
    starts = {(span[0], keys) for span, keys in windows}
    ends = {(span[1], keys) for span, keys in windows}
    return {(*span, *keys) for span, keys in windows if (span[0], keys) in ends or (span[1], keys) in starts}


# Where they differ: docs/WINDOWS.md, "Differences from Spark"


# Of seconds after it, windows of a minute are whole minutes.
ZERO = FIRST_MILLIS + 40_000
BIG = 2**53


def order(partition: int, offset: int, second: int | None, country: str = "DE", quantity: int | None = None) -> Event:
    """By default of so many items as seconds: their sum tells which orders a window has."""
    time = None if second is None else ZERO + 1_000 * second
    items = quantity if quantity is not None else second or 0
    return Event(partition, offset, 0, time, country, "shop-1", 10_000, 1.0, items, True)


def numbered(partition: int, first: int, *each: tuple[Any, ...]) -> list[Event]:
    return [order(partition, first + n, *one) for n, one in enumerate(each)]


def test_what_spark_does_otherwise(
    kafka: Kafka, local: Lake, connector: Connector, spark: Any, tmp_path: Path
) -> None:
    outputs = {
        "minutes": Windowed(tumbling(60), delay=60, measures=("items", "mean_items")),
        "sessions": Windowed(Session(60), delay=60, measures=("items",)),
    }
    topic = kafka.create_topic(kafka.new_name("spark-differs"), 2)
    sluice = configured(connector, topic, local, outputs)

    def read() -> None:
        sluice.run()
        running = [
            spark_windows.start(
                spark, kafka.bootstrap, topic, asked, local.table(f"spark-{name}"), tmp_path / f"checkpoint-{name}"
            )
            for name, asked in outputs.items()
        ]
        for query in running:
            query.awaitTermination()

    first = numbered(0, 0, (10,), (10, "FR"), (70, "FR"), (11, "NL", BIG), (12, "NL", 1), (13, "NL", 1), (600,))
    # Far behind an order of the same batch.
    first += numbered(0, len(first), (20,), (None,))
    feed.send(kafka.bootstrap, topic, {0: first})
    read()
    # The other partition lags; of the first one, an order in a minute that is over, but near enough for a session.
    lagging, near = numbered(1, 0, (15,), (1_000,)), numbered(0, len(first), (505,), (1_000,))
    feed.send(kafka.bootstrap, topic, {0: near, 1: lagging})
    read()

    def found(name: str, measure: int = 0) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Ours and Spark's: seconds and country → the measure."""
        asked = outputs[name]
        tables = (asked.read(local.table(name)), asked.read(local.table(f"spark-{name}")))
        ours, theirs = (
            {(_second(start), _second(end), country): row[measure] for (start, end, country), row in each.items()}
            for each in tables
        )
        return ours, theirs

    big = {(0, 60, "NL"): BIG + 2}
    alike = {(0, 60, "FR"): 10, (60, 120, "FR"): 70, (600, 660, "DE"): 600, **big}
    assert found("minutes") == ({**alike, (0, 60, "DE"): 10 + 15}, {**alike, (0, 60, "DE"): 10 + 20})
    ours, theirs = found("minutes", measure=1)
    assert ours[0, 60, "NL"] == (BIG + 2) / 3 and theirs[0, 60, "NL"] == BIG / 3
    big = {(11, 73, "NL"): BIG + 2}
    alike = {(600, 660, "DE"): 600, **big}
    assert found("sessions") == (
        {**alike, (10, 75, "DE"): 10 + 15, (10, 70, "FR"): 10, (70, 130, "FR"): 70},
        {**alike, (10, 80, "DE"): 10 + 20, (505, 565, "DE"): 505, (10, 130, "FR"): 80},
    )
    # What ours leaves out is counted.
    left_out = {"late": 2, "timeless": 1}
    for name in outputs:
        told = fates(local.log(name))
        assert {fate: told[fate] for fate in left_out} == left_out


def _second(millis: int) -> int:
    return (millis - ZERO) // 1_000
