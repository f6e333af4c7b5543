"""`deduplicate`: of the rows of a key that are near to each other only the first is there, or in windows, whatever the batches
and kills."""

import random
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from conftest import Connector, Lake
from harness import feed, readers
from harness.feed import Event, Feed
from harness.kafka import Kafka
from harness.kills import kill_at_random
from harness.readers import Duck, scan
from harness.sluice import CONTINUOUS, Sluice, wait_caught_up
from harness.windows import Session, Windowed, tumbling
from test_windows import KILLS, Feeding, fates, late_rows_kept, windows_of

Place = tuple[int, int]


@dataclass(frozen=True)
class Deduplicated:
    """An output, and what the model says of it. Lengths in seconds."""

    keys: tuple[str, ...]
    key: Callable[[Event], Any]
    order: str
    backend: str
    within: int = 5
    delay: int = 60
    # What takes the rows that stay; none: the table.
    into: Windowed | None = None

    def output(self, table: str) -> dict[str, Any]:
        step = {"keys": list(self.keys), "within": f"{self.within}s", "order": self.order}
        if self.into is not None:
            return self.into.output(table, deduplicate=step, state={"backend": self.backend})
        step |= {"late_rows": "dead_letter", "watermark": {"column": "event_time", "delay": f"{self.delay}s"}}
        return {"table": table, "deduplicate": step, "state": {"backend": self.backend}}


@dataclass
class Model:
    """Every row that stayed is compared with; nothing is forgotten."""

    asked: Deduplicated
    rows: set[Place] = field(default_factory=set)
    refused: set[Place] = field(default_factory=set)
    fates: Counter[str] = field(default_factory=Counter)
    # Of those that waited.
    duplicates: int = 0

    def read(self, partitions: Iterable[Iterable[Event]]) -> "Model":
        on_time, watermarks = [], []
        for events in partitions:
            watermark = None
            for event in events:
                if event.time is not None:
                    reached = event.time - 1000 * self.asked.delay
                    watermark = reached if watermark is None else max(watermark, reached)
                if event.time is None or event.time < watermark:
                    self.refused.add((event.partition, event.offset))
                    self.fates["timeless" if event.time is None else "late"] += 1
                else:
                    on_time.append(event)
            watermarks.append(watermark)
        waits = self.asked.order == "event_time"
        if waits:
            self.fates["held"] = len(on_time)
            reached = None if None in watermarks else min(watermarks)
            on_time = [event for event in on_time if reached is not None and event.time < reached]
            on_time.sort(key=lambda event: (event.time, event.partition, event.offset))
        first = self._first(on_time)
        self.rows = {(event.partition, event.offset) for event in first}
        self.duplicates = len(on_time) - len(first)
        if not waits:
            become = "rows" if self.asked.into is None else "aggregated"
            self.fates.update({become: len(first), "duplicates": self.duplicates})
        return self

    def _first(self, events: list[Event]) -> list[Event]:
        first: list[Event] = []
        kept: dict[Any, list[int]] = {}
        for event in events:
            times = kept.setdefault(self.asked.key(event), [])
            at = bisect(times, event.time)
            if all(abs(event.time - time) >= 1000 * self.asked.within for time in times[max(at - 1, 0) : at + 1]):
                times.insert(at, event.time)
                first.append(event)
        return first


OUTPUTS = {
    # Between partitions, which one arrived first is a matter of batches.
    "arrival": Deduplicated(
        ("kafka_partition", "country"), lambda event: (event.partition, event.country), "arrival", "rocksdb"
    ),
    "earliest": Deduplicated(("country", "shop"), lambda event: (event.country, event.shop), "event_time", "memory"),
    "waiting": Deduplicated(("shop",), lambda event: event.shop, "event_time", "rocksdb", within=20),
    "minutes": Deduplicated(
        ("kafka_partition", "shop"),
        lambda event: (event.partition, event.shop),
        "arrival",
        "memory",
        into=Windowed(tumbling(60), late_rows="dead_letter"),
    ),
    "sessions": Deduplicated(
        ("shop",),
        lambda event: event.shop,
        "event_time",
        "rocksdb",
        within=2,
        into=Windowed(Session(4), late_rows="dead_letter", emit={"changes": {"every": "1s"}}),
    ),
}


def configured(connector: Connector, topic: str, lake: Lake, **top: Any) -> Sluice:
    outputs = {name: asked.output(lake.table(name)) for name, asked in OUTPUTS.items()}
    letters = {"table": lake.table("dead"), **lake.settings}
    return connector(topic, lake, decode=feed.DECODE, outputs=outputs, dead_letters=letters, **top)


def assert_each_once(lake: Lake, everything: Callable[[], Iterable[Iterable[Event]]]) -> None:
    for name, asked in OUTPUTS.items():
        model = Model(asked).read(everything())
        if asked.into is None:
            found = assert_rows(lake, name, model)
        else:
            found = assert_windows(lake, name, model, asked.into, everything())
        log = lake.log(name)
        assert fates(log) == +model.fates
        told = [commit.sluice["windows"] for commit in windows_of(log)]
        waited = sum(each.get("duplicates", 0) for each in told)
        assert waited == (model.duplicates if asked.order == "event_time" else 0)
        taken = sum(each.get("aggregated", 0) for each in told)
        assert taken == (len(model.rows) if asked.order == "event_time" and asked.into is not None else 0)
        dead = late_rows_kept(lake, name)
        assert dead == model.refused, f"{name}: late rows"
        print(f"{name}: {found} rows, {model.duplicates} duplicates, {len(dead)} late, {len(told)} epochs")
        assert min(found, model.duplicates, len(dead)) > 100, "the feed has it all"


def assert_rows(lake: Lake, name: str, model: Model) -> int:
    found = Duck(lake.storage).rows(f"SELECT kafka_partition, kafka_offset FROM {scan(lake.table(name))}")
    assert len(found) == len(set(found)), f"{name}: twice"
    missing, invented = model.rows - set(found), set(found) - model.rows
    assert not (missing or invented), f"{name}: missing {sorted(missing)[:5]}, invented {sorted(invented)[:5]}"
    return len(found)


def assert_windows(
    lake: Lake, name: str, model: Model, into: Windowed, partitions: Iterable[Iterable[Event]]
) -> int:
    """Windows of distinct rows are windows where all others are left out: these move watermarks all the same."""
    windows = into.model(partitions, where=lambda event: (event.partition, event.offset) in model.rows)
    wanted = windows.closed() if into.emit == "final" else windows.windows()
    return into.assert_equal(into.read(lake.table(name), lake.storage), into.rows(wanted))


def test_rows_are_the_models_also_when_another_writer_optimizes(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int
) -> None:
    orders = Feed(seed, 40_000)
    sluice = configured(connector, eight, lake, limits={"max_records": 3_000})
    for part in range(2):
        feed.produce(kafka.bootstrap, eight, orders, (part, part + 1), 2)
        sluice.run()
        for name in OUTPUTS:
            readers.delta_rs(lake.table(name), lake.storage).optimize.compact()
    assert_each_once(lake, orders.everything)
    sluice.verify()


@pytest.mark.parametrize("kills", KILLS)
def test_kills_keep_each_row_once(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int, kills: int
) -> None:
    sluice = configured(connector, eight, lake, trigger=CONTINUOUS, limits={"max_records": 400})
    with Feeding(kafka, eight, Feed(seed, 1_600_000, span=100_000)) as feeding:
        before = kill_at_random(random.Random(seed), sluice, lake.log("earliest"), kills)
    process = sluice.start()
    for name in OUTPUTS:
        wait_caught_up(process, lake.log(name), kafka, eight, seconds=120)
    assert process.terminate() == 0
    sluice.run("--set", "trigger.mode=available_now")
    assert_each_once(lake, feeding.everything)
    print(f"{kills} kills, {before} before a commit")
    sluice.verify()
