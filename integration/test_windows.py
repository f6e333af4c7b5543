"""Event-time windows: tables equal the model of harness/windows.py, whatever the batches, kills and other writers; what
commits say of them; partitions without records; state that is not there, or of another configuration."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars
import pytest

from conftest import Connector, Lake
from harness import feed, producers, readers
from harness.background import Background
from harness.delta_log import Commit, DeltaLog
from harness.feed import FIRST_MILLIS, Event, Feed
from harness.kafka import Kafka
from harness.kills import kill_at_random
from harness.readers import Duck, by_path, scan, spark_rows
from harness.sluice import CONFIGURATION, CONTINUOUS, DATA_REFUSED, Sluice, wait_caught_up
from harness.waiting import wait_until
from harness.windows import MEASURES, Rows, Session, Sliding, Window, Windowed, tumbling

OUTPUTS = {
    "minutes": Windowed(tumbling(60, offset=10)),
    "sliding": Windowed(Sliding(300, 70, offset=15)),
    "sessions": Windowed(Session(30), ("country", "shop"), backend="rocksdb"),
    "visits": Windowed(Session(15, own=True), ("country", "shop")),
}
MINUTES = {"orders": Windowed(tumbling(60))}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STATE = "sluice/orders/{}/state/0"


def configured(
    connector: Connector,
    topic: str,
    lake: Lake,
    asked: dict[str, Windowed],
    stem: str = "",
    watermark: dict[str, str] | None = None,
    output: dict[str, Any] | None = None,
    **top: Any,
) -> Sluice:
    """A connector with these outputs; their tables' names begin with `stem`."""
    tables = {name: lake.table(f"{stem}{name}") for name in asked}
    outputs = {name: each.output(tables[name], watermark, **(output or {})) for name, each in asked.items()}
    return connector(topic, lake, decode=feed.DECODE, outputs=outputs, **top)


def windows_of(log: DeltaLog) -> list[Commit]:
    """The commits that say something of windows."""
    return [commit for commit in log.commits() if "windows" in commit.sluice]


def fates(log: DeltaLog) -> Counter[str]:
    found: Counter[str] = Counter()
    for commit in log.commits():
        for partition in commit.sluice.get("partitions", []):
            found.update({fate: count for fate, count in partition["fates"].items() if count})
    return found


def late_rows_kept(lake: Lake, name: str) -> set[tuple[int, int]]:
    """Partition and offset of an output's rows in the table `dead`, where none is twice."""
    columns = "kafka_partition, kafka_offset"
    found = Duck(lake.storage).rows(f"SELECT {columns} FROM {scan(lake.table('dead'))} WHERE output = '{name}'")
    assert len(found) == len(set(found)), f"{name}: twice"
    return set(found)


def millis(time: str | None) -> int | None:
    return None if time is None else (datetime.fromisoformat(time) - EPOCH) // timedelta(milliseconds=1)


def state_object(table: Path, version: int, output: str = "orders") -> Path:
    """What a state's `txn` names."""
    return table / "_sluice" / "state" / output / f"{version >> 20:020}-{version % (1 << 20):05x}.state"


def assert_epochs(lake: Lake, name: str, output: str | None = None) -> int:
    """State and offsets are of one epoch in each commit, epochs count up, and each state is there. How many epochs."""
    output = output or name
    epochs = 0
    for commit in lake.log(name).commits():
        if not commit.sluice:
            continue
        state = commit.txns.get(STATE.format(output))
        moved = any(partition["end"] > partition["start"] for partition in commit.sluice["partitions"])
        assert state is not None or not moved, f"version {commit.version} moves offsets and no state"
        if state is None:
            continue
        epochs += 1
        told = commit.sluice["windows"]["epoch"]
        assert (state >> 20, told) == (epochs, epochs), f"version {commit.version}: epoch {state >> 20}, it says {told}"
        assert state_object(lake.path(name), state, output).exists(), f"version {commit.version}: no state object"
        added = sum(int(each["stats"].split('"numRecords":')[1].split(",")[0].rstrip("}")) for each in commit.of("add"))
        assert added == commit.sluice["windows"]["closed"], f"version {commit.version}: {added} rows"
    return epochs


# The model is the page's


MORNING = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 36_000_000
# Of docs/WINDOWS.md: a to h, then i.
PAGE = (
    [(10, "de", 5), (50, "fr", 3), (90, "de", 2), (185, "fr", 1), (59, "de", 9)],
    [(20, "de", 7), (200, "de", 4), (250, "de", 8)],
)
LATER = (270, "fr", 6)


def page_rows(window: Window, later: bool) -> tuple[set[tuple[Any, ...]], dict[str, int], int]:
    """Start and end in seconds after ten, country, orders, revenue; the fates; how many were late in part."""
    partitions = [
        [
            Event(number, n, n, MORNING + 1_000 * second, country, "", None, None, amount, None)
            for n, (second, country, amount) in enumerate(records)
        ]
        for number, records in enumerate((PAGE[0] + [LATER] * later, PAGE[1]))
    ]
    asked = Windowed(window, delay=120, measures=("orders", "items"))
    model = asked.model(partitions)
    rows = asked.rows(model.closed()).items()
    seconds = {(*((bound - MORNING) // 1_000 for bound in place[:2]), place[2], *row) for place, row in rows}
    return seconds, dict(model.fates), model.late_partial


def test_the_model_gives_the_examples_of_the_page() -> None:
    minute = {(0, 60, "de", 2, 12), (0, 60, "fr", 1, 3)}
    assert page_rows(tumbling(60), later=False) == (minute, {"aggregated": 7, "late": 1}, 0)
    assert page_rows(tumbling(60), later=True)[0] == minute | {(60, 120, "de", 1, 2)}
    two = {(-60, 60, "de", 2, 12), (-60, 60, "fr", 1, 3)}
    assert page_rows(Sliding(120, 60), later=False) == (two, {"aggregated": 8}, 1)
    assert page_rows(Sliding(120, 60), later=True)[0] == two | {(0, 120, "de", 4, 23), (0, 120, "fr", 1, 3)}
    assert page_rows(Session(60), later=False) == (set(), {"aggregated": 7, "late": 1}, 0)
    assert page_rows(Session(60), later=True)[0] == {(10, 80, "de", 2, 12), (50, 110, "fr", 1, 3)}


# Tables equal the model


def test_tables_equal_the_model_and_the_commits_count_it(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int
) -> None:
    orders = Feed(seed, 40_000, future_every=900)
    feed.produce(kafka.bootstrap, eight, orders)
    sluice = configured(
        connector,
        eight,
        lake,
        OUTPUTS,
        watermark={"max_future": "1h"},
        output={"where": "quantity >= -150"},
        limits={"max_records": 3_000},
    )
    sluice.run()
    for name, asked in OUTPUTS.items():
        model = asked.model(orders.everything(), where=lambda event: event.quantity >= -150, latest=FIRST_MILLIS * 2)
        rows = asked.assert_equal(asked.read(lake.table(name), lake.storage), asked.rows(model.closed()))
        assert rows > 100 and model.fates["late"] > 100 and model.fates["future"] > 10, "the feed has it all"
        log = lake.log(name)
        assert fates(log) == Counter(model.fates)
        told = [commit.sluice["windows"] for commit in windows_of(log)]
        assert sum(each["closed"] for each in told) == rows
        assert sum(each["late_partial"] for each in told) == model.late_partial
        assert millis(told[-1]["watermark"]) == model.watermark
        assert {each["partition"]: millis(each["watermark"]) for each in told[-1]["watermarks"]} == model.watermarks
        assert not any(each.get(what) for each in told for what in ("idle", "back", "left"))
        reached = [millis(each["watermark"]) or 0 for each in told]
        assert reached == sorted(reached)
        assert assert_epochs(lake, name) == len(told)
    proof = sluice.verify().stdout
    print(proof)
    sluice.run()
    sluice.verify()


def test_four_readers_read_the_same_rows(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, spark: Any, seed: int
) -> None:
    orders = Feed(seed, 20_000)
    feed.produce(kafka.bootstrap, eight, orders)
    asked = Windowed(tumbling(60), measures=("orders", "revenue", "mean_amount", "prices", "all_paid", "last_amount"))
    configured(connector, eight, lake, {"orders": asked}).run()
    table, keys = lake.table("orders"), 3
    wanted = asked.rows(asked.model(orders.everything()).closed())
    asked.assert_equal(asked.read(table, lake.storage), wanted)

    def assert_same(rows: list[tuple[Any, ...]]) -> None:
        asked.assert_equal({row[:keys]: row[keys:] for row in rows}, wanted)
        assert len(rows) == len(wanted)

    through_delta_rs = readers.delta_rs(table, lake.storage).to_pyarrow_table()
    assert_same(Duck().rows(f"SELECT {', '.join(asked.columns)} FROM rows", rows=through_delta_rs))
    bounds = [polars.col(name).dt.epoch("ms") for name in ("window_start", "window_end")]
    frame = readers.polars_frame(table, lake.storage).select(*bounds, *asked.group_by, *asked.measures)
    assert_same(frame.collect().rows())
    if lake.s3 is None:
        bounds_sql = "unix_millis(window_start), unix_millis(window_end)"
        named = ", ".join([*asked.group_by, *asked.measures])
        assert_same(spark_rows(spark, f"SELECT {bounds_sql}, {named} FROM {by_path(table)}"))


# Whatever the batches and kills


SIZES = [
    pytest.param(40_000, 6, id="40k-6-runs"),
    pytest.param(5_000_000, 40, id="5M-40-runs", marks=pytest.mark.soak),
]


def ways(chance: random.Random, records: int, runs: int) -> Iterator[tuple[dict[str, str], int, int]]:
    """A trigger, a limit of records, and how many kills. Each way comes with both back ends of state."""
    yield {"mode": "once"}, records, 0
    for number in range(1, runs):
        limit = int(records * 2 ** -chance.uniform(1, 7))
        yield (
            ({"mode": "available_now"}, limit, 0),
            (CONTINUOUS, limit, 0),
            # A batch each time, so that kills meet many of them.
            ({"mode": "processing_time", "interval": "20ms"}, records // 130, 3),
        )[number % 3]


def fingerprints(tables: Iterable[str]) -> list[tuple[Any, ...]]:
    """Of all rows of each in any order, bit for bit."""
    duck = Duck()
    return [
        duck.row(f"SELECT count(*), bit_xor(hash(t)), sum(hash(t)::HUGEINT) FROM {scan(table)} t") for table in tables
    ]


@pytest.mark.parametrize(("records", "runs"), SIZES)
def test_tables_are_bit_equal_whatever_the_batches_triggers_and_kills(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int, records: int, runs: int
) -> None:
    orders = Feed(seed, records)
    feed.produce(kafka.bootstrap, eight, orders)
    outputs = {name: Windowed(each.window, each.group_by) for name, each in OUTPUTS.items()}
    backends = ("memory", "rocksdb")
    chance = random.Random(seed)
    tables: dict[str, list[str]] = {name: [] for name in outputs}
    commits = []
    first: list[tuple[Any, ...]] = []
    for number, (trigger, limit, kills) in enumerate(ways(chance, records, runs)):
        stem = f"run-{number}-"
        sluice = configured(
            connector,
            eight,
            local,
            {name: replace(each, backend=backends[number % 2]) for name, each in outputs.items()},
            stem,
            trigger=trigger,
            limits={"max_records": limit},
        )
        if kills:
            kill_at_random(chance, sluice, local.log(f"{stem}minutes"), kills)
        if trigger["mode"] == "processing_time":
            process = sluice.start()
            for name in outputs:
                wait_caught_up(process, local.log(stem + name), kafka, eight, seconds=60 + records / 5_000)
            assert process.terminate() == 0
        else:
            sluice.run(seconds=60 + records / 5_000)
        sluice.verify()
        for name in outputs:
            tables[name].append(local.table(stem + name))
            epochs = assert_epochs(local, stem + name, name)
        commits.append(epochs)
        found = fingerprints(each[-1] for each in tables.values())
        first = first or found
        assert found == first, f"run {number}, {trigger}, {limit}, {kills} kills: {differences(tables)}"
    for name, asked in outputs.items():
        wanted = asked.rows(asked.model(orders.everything()).closed())
        asked.assert_equal(asked.read(tables[name][0]), wanted)
        print(f"{name}: {len(wanted):,} rows, {runs} times the same")
    print(f"{records:,} records; epochs of each run: {commits}")


def differences(tables: dict[str, list[str]]) -> list[Any]:
    duck = Duck()
    found = []
    for first, *_, last in tables.values():
        for one, other in ((first, last), (last, first)):
            query = f"SELECT * FROM {scan(one)} EXCEPT ALL SELECT * FROM {scan(other)} ORDER BY ALL LIMIT 2"
            found += duck.rows(query)
    return found


class Feeding(Background):
    """Sends a feed steadily, until stopped."""

    PARTS = 4_000

    def __init__(self, kafka: Kafka, topic: str, orders: Feed):
        super().__init__()
        self.topic, self.feed = topic, orders
        self.sent = 0
        self._producer = producers.producer(kafka.bootstrap, enable_idempotence=True)

    def upto(self, part: int) -> list[int]:
        """How many records each partition has after so many parts."""
        return [self.feed.count(n) * part // self.PARTS for n in range(self.feed.partitions)]

    def step(self) -> float:
        if self.sent < self.PARTS:
            bounds = enumerate(zip(self.upto(self.sent), self.upto(self.sent + 1), strict=True))
            values = {n: map(feed.text, self.feed.events(n, *each)) for n, each in bounds}
            producers.by_turns(self._producer, self.topic, values, 1_000)
            self.sent += 1
        return 0.05

    def everything(self) -> list[Iterator[Event]]:
        """What was sent, by partition."""
        return [self.feed.events(n, 0, end) for n, end in enumerate(self.upto(self.sent))]


KILLS = [pytest.param(8, id="8-kills"), pytest.param(100, id="100-kills", marks=pytest.mark.soak)]


@pytest.mark.parametrize("kills", KILLS)
def test_kills_lose_no_window_and_write_none_twice(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int, kills: int
) -> None:
    sluice = configured(connector, eight, lake, OUTPUTS, trigger=CONTINUOUS, limits={"max_records": 400})
    logs = {name: lake.log(name) for name in OUTPUTS}
    with Feeding(kafka, eight, Feed(seed, 1_600_000, span=100_000)) as feeding:
        before_a_commit = kill_at_random(random.Random(seed), sluice, logs["minutes"], kills)
    process = sluice.start()
    for log in logs.values():
        wait_caught_up(process, log, kafka, eight, seconds=120)
    assert process.terminate() == 0
    for name, asked in OUTPUTS.items():
        model = asked.model(feeding.everything())
        rows = asked.assert_equal(asked.read(lake.table(name), lake.storage), asked.rows(model.closed()))
        assert fates(logs[name]) == Counter(model.fates)
        attempts = logs[name].attempts()
        assert len(set(attempts)) == len(attempts)
        epochs = assert_epochs(lake, name)
        print(f"{name}: {kills} kills, {before_a_commit} before a commit; {epochs} epochs, {rows} windows")
    sluice.verify()


def test_another_writers_optimize_in_between_harms_nothing(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int
) -> None:
    orders = Feed(seed, 40_000)
    sluice = configured(connector, eight, lake, OUTPUTS, trigger=CONTINUOUS, limits={"max_records": 1_000})
    process = sluice.start()
    for part in range(4):
        feed.produce(kafka.bootstrap, eight, orders, (part, part + 1), 4)
        compacted = []
        for name in OUTPUTS:
            wait_caught_up(process, lake.log(name), kafka, eight)
            done = readers.delta_rs(lake.table(name), lake.storage).optimize.compact()
            compacted.append(done["numFilesRemoved"])
        assert part == 0 or all(compacted)
    assert process.terminate() == 0
    sluice.run("--set", "trigger.mode=available_now")
    for name, asked in OUTPUTS.items():
        wanted = asked.rows(asked.model(orders.everything()).closed())
        asked.assert_equal(asked.read(lake.table(name), lake.storage), wanted)
    sluice.verify()


# Partitions without records


def events(partition: int, seconds: list[int]) -> list[Event]:
    """One order at each of these seconds after the feed's first."""
    return [
        Event(partition, n, n, FIRST_MILLIS + 1_000 * second, "DE", "shop-1", 10_000, 1.0, 1, True)
        for n, second in enumerate(seconds)
    ]


QUIET = {0: [0, 30, 90, 200], 1: [10, 70, 150], 2: [5, 300, 310], 3: []}


def test_an_idle_partition_lets_windows_close_by_time(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sent = {n: events(n, seconds) for n, seconds in QUIET.items()}
    asked = Windowed(tumbling(60), delay=20)
    sluice = configured(
        connector, topic, local, {"orders": asked}, watermark={"idle_timeout": "2s"}, trigger=CONTINUOUS
    )
    log = local.log("orders")
    process = sluice.start()
    feed.send(kafka.bootstrap, topic, sent)
    model = asked.model(sent.values())
    furthest = max(each for each in model.watermarks.values() if each is not None)

    def reached(end: int) -> bool:
        found = windows_of(log)
        return bool(found) and millis(found[-1].sluice["windows"]["watermark"]) == end

    wait_until("all to be idle", lambda: reached(furthest), 30)
    by_time = [commit for commit in windows_of(log) if commit.sluice["windows"].get("idle")]
    for commit in by_time:
        assert commit.sluice["partitions"] == [] and list(commit.txns) == [STATE.format("orders")], commit
    assert sum(commit.sluice["windows"]["closed"] for commit in by_time) > 0
    idle = [name for commit in by_time for name in commit.sluice["windows"]["idle"]]
    assert sorted(idle) == [f"{topic}/{n}" for n in range(4)]
    closed = {place: rows for place, rows in model.windows().items() if place[0][1] <= furthest}
    asked.assert_equal(asked.read(local.table("orders")), asked.rows(closed))

    # It comes back behind all the others: late, and nothing is written twice.
    old = events(3, [40, 100, 20])
    feed.send(kafka.bootstrap, topic, {3: old})
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert fates(log) == {"aggregated": 10, "late": 3}
    asked.assert_equal(asked.read(local.table("orders")), asked.rows(closed))
    assert_epochs(local, "orders")
    sluice.verify()


def test_without_a_time_out_a_partition_without_records_holds_windows_open(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    asked = Windowed(tumbling(60), delay=20)
    sluice = configured(connector, topic, local, {"orders": asked})
    feed.send(kafka.bootstrap, topic, {n: events(n, seconds) for n, seconds in QUIET.items()})
    sluice.run()
    log = local.log("orders")
    assert fates(log) == {"aggregated": 10}
    assert asked.read(local.table("orders")) == {}
    newest = windows_of(log)[-1].sluice["windows"]
    assert newest["watermark"] is None and newest["watermarks"][3]["watermark"] is None
    # Nothing held back: what was open is written when the partition has caught up.
    feed.send(kafka.bootstrap, topic, {3: events(3, [130])})
    sluice.run()
    model = asked.model([*(events(n, QUIET[n]) for n in range(3)), events(3, [130])])
    assert asked.assert_equal(asked.read(local.table("orders")), asked.rows(model.closed())) == 2
    sluice.verify()


# State that is not there, or of another configuration


def half_read(kafka: Kafka, topic: str, local: Lake, connector: Connector, orders: Feed) -> Sluice:
    """A connector that has read half of the feed; the other half waits."""
    feed.produce(kafka.bootstrap, topic, orders, (0, 1), 2)
    sluice = configured(connector, topic, local, MINUTES, limits={"max_records": 1_000})
    sluice.run()
    feed.produce(kafka.bootstrap, topic, orders, (1, 2), 2)
    return sluice


def newest_state(local: Lake) -> Path:
    return state_object(local.path("orders"), local.log("orders").txns()[STATE.format("orders")])


def removed(file: Path) -> None:
    file.unlink()


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def bit_flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [removed, cut_short, bit_flipped])
def test_missing_or_damaged_state_is_refused_by_name(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int, harm: Callable[[Path], None]
) -> None:
    orders = Feed(seed, 8_000)
    sluice = half_read(kafka, eight, local, connector, orders)
    state, log = newest_state(local), local.log("orders")
    before, version = state.read_bytes(), log.version()
    harm(state)
    answer = sluice.run(code=DATA_REFUSED)
    assert state.name in answer.stderr and "--reset-state" in answer.stderr
    assert log.version() == version
    # Put back, it goes on.
    state.write_bytes(before)
    sluice.run()
    (asked,) = MINUTES.values()
    asked.assert_equal(asked.read(local.table("orders")), asked.rows(asked.model(orders.everything()).closed()))
    sluice.verify()


CHANGES = {
    "window": Windowed(tumbling(120)),
    "measures.first_id": Windowed(tumbling(60), measures=(*(name for name in MEASURES if name != "first_id"),)),
    "group_by": Windowed(tumbling(60), ("shop",)),
}


@pytest.mark.parametrize("part", CHANGES)
def test_another_meaning_of_the_state_is_refused_by_name(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int, part: str
) -> None:
    orders = Feed(seed, 8_000)
    sluice = half_read(kafka, eight, local, connector, orders)
    log = local.log("orders")
    version = log.version()
    before = sluice.config["outputs"]
    # That the table may have the new columns is not enough.
    changed = CHANGES[part].output(local.table("orders"), schema_evolution="add_columns")
    sluice.write(outputs={"orders": changed})
    answer = sluice.run(code=CONFIGURATION)
    assert part in answer.stderr and "--reset-state" in answer.stderr, answer.stderr
    assert log.version() == version
    sluice.write(outputs=before)
    sluice.run()
    (asked,) = MINUTES.values()
    asked.assert_equal(asked.read(local.table("orders")), asked.rows(asked.model(orders.everything()).closed()))


def test_another_delay_or_where_goes_on(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int
) -> None:
    # In order and without lags, nothing is late under either delay.
    orders = Feed(seed, 8_000, lags=(0,) * 8, straggler_every=0, timeless_every=0)
    sluice = half_read(kafka, eight, local, connector, orders)
    shorter = Windowed(tumbling(60), delay=30)
    table = local.table("orders")
    sluice.write(outputs={"orders": shorter.output(table, where="shop <> 'shop-7'")})
    sluice.run()
    halves = [orders.count(n) // 2 for n in range(8)]
    model = shorter.model(
        orders.everything(), where=lambda event: event.offset < halves[event.partition] or event.shop != "shop-7"
    )
    wanted: Rows = shorter.rows(model.closed())
    assert shorter.assert_equal(shorter.read(table), wanted) > 100
    assert fates(local.log("orders")) == Counter(model.fates)
    sluice.verify()
