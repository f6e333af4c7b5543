"""State of windows over a long time: its objects are cleaned up, and memory doesn't grow with what has passed."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Connector, Lake
from harness import feed
from harness.feed import Feed
from harness.kafka import Kafka
from harness.sluice import CONTINUOUS, wait_caught_up
from harness.waiting import wait_until
from harness.windows import Windowed, tumbling
from test_windows import Feeding, assert_epochs, configured, windows_of

# A start reads so many objects at most.
CHAIN = 64
MINUTES = {"orders": Windowed(tumbling(60), measures=("orders", "revenue"))}


def states(lake: Lake) -> list[Path]:
    return sorted((lake.path("orders") / "_sluice" / "state" / "orders").glob("*.state"))


def ages_of(files: list[Path], now: float) -> Iterator[float]:
    """Of those that are still there."""
    for each in files:
        with contextlib.suppress(FileNotFoundError):
            yield now - each.stat().st_mtime


def resident(pid: int, line: str = "VmRSS") -> int:
    """Bytes now; as `VmHWM`, the most that there were."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{line}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def test_state_is_told_and_each_epoch_has_one_object(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int
) -> None:
    orders = Feed(seed, 20_000)
    feed.produce(kafka.bootstrap, eight, orders)
    asked = MINUTES["orders"]
    sluice = configured(connector, eight, lake, MINUTES, limits={"max_records": 200})
    sluice.run()
    epochs = assert_epochs(lake, "orders")
    assert epochs > CHAIN
    if lake.s3 is None:
        assert len(states(lake)) == epochs
    told = sluice.ask("state", "--json").json()
    assert (told["epoch"], told["objects"]) == (epochs, CHAIN)
    assert told["watermark"] == windows_of(lake.log("orders"))[-1].sluice["windows"]["watermark"]
    model = asked.model(orders.everything())
    assert told["rows"] == len(model.windows()) - len(model.closed())
    text = sluice.ask("state", "--groups").stdout
    assert f"epoch {epochs}" in text and len(text.splitlines()) > 256, text


@pytest.mark.soak
def test_state_objects_are_bounded_over_ten_thousand_epochs(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int
) -> None:
    """With a retention of a minute, which is the least, there are never more objects than were made in a minute and the
    eighth of one that may pass between two looks, and those of a chain."""
    epochs, retention = 10_000, 60
    sluice = configured(
        connector,
        eight,
        local,
        MINUTES,
        output={"state": {"retention": f"{retention}s"}},
        trigger=CONTINUOUS,
        limits={"max_records": 60},
    )
    log = local.log("orders")
    began = time.monotonic()
    most, most_old, kills = 0, 0.0, 0
    with Feeding(kafka, eight, Feed(seed, 8_000_000, span=800_000)):
        process = sluice.start()
        while log.version() < epochs or time.monotonic() - began < 4 * retention:
            wait_until("more epochs", lambda before=log.version(): log.version() > before + 200, 120)
            # A killed process leaves an object that no commit names now and then.
            process.kill()
            kills += 1
            process = sluice.start()
            now = time.time()
            ages = list(ages_of(states(local), now))
            rate = log.version() / (time.monotonic() - began)
            most = max(most, len(ages))
            if time.monotonic() - began > 2 * retention:
                most_old = max(most_old, *ages)
                assert most_old < 2 * retention, f"an object of {most_old:.0f} s"
                assert len(ages) < 2 * rate * retention * 9 / 8 + CHAIN + kills, f"{len(ages)} at {rate:.0f}/s"
        assert process.terminate() == 0
    sluice.run("--set", "trigger.mode=available_now", "--set", "limits.max_records=100000")
    sluice.verify()
    print(f"{log.version():,} versions, {kills} kills, at most {most:,} state objects, the oldest {most_old:.0f} s")


@pytest.mark.soak
def test_memory_is_flat_over_twenty_million_records(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int
) -> None:
    """The same keys all the time: what is kept is that of the open windows."""
    orders = Feed(seed, 20_000_000, shops=1_000, span=200_000, lags=(0,) * 8)
    asked = Windowed(tumbling(60), ("shop",), measures=("orders", "revenue"))
    sluice = configured(connector, eight, local, {"orders": asked}, trigger=CONTINUOUS)
    log = local.log("orders")
    process = sluice.start()
    sizes, rows = [], []
    for part in range(10):
        feed.produce(kafka.bootstrap, eight, orders, (part, part + 1), 10)
        wait_caught_up(process, log, kafka, eight, seconds=300)
        sizes.append(resident(process.pid))
        rows.append(sluice.ask("state", "--json").json()["rows"])
    assert process.terminate() == 0
    sluice.verify()
    told = ", ".join(f"{size / 2**20:.0f}" for size in sizes)
    print(f"after each two million records: {told} MiB resident; rows of state {rows}")
    assert max(sizes[2:]) < 1.25 * min(sizes[2:]) and max(sizes) < 256 << 20
    assert max(rows[1:]) < 2 * min(rows[1:])


MIB = 1 << 20


@pytest.mark.soak
@pytest.mark.parametrize(("backend", "most_mib"), [("memory", 3_072), ("rocksdb", 512)])
def test_memory_and_a_start_with_ten_million_open_windows(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int, backend: str, most_mib: int
) -> None:
    """Each record has a key of its own, and a window that stays open."""
    orders = Feed(seed, 10_000_000, lags=(0,) * 8, timeless_every=0)
    asked = Windowed(tumbling(30 * 86_400), ("id",), measures=("orders", "revenue"), backend=backend)
    sluice = configured(
        connector, eight, local, {"orders": asked}, output={"state": {"max_bytes": "4GiB"}}, trigger=CONTINUOUS
    )
    log = local.log("orders")
    process = sluice.start()
    for part in range(10):
        feed.produce(kafka.bootstrap, eight, orders, (part, part + 1), 10)
        wait_caught_up(process, log, kafka, eight, seconds=300)
    read = resident(process.pid, "VmHWM")
    assert process.terminate() == 0

    began = time.monotonic()
    process = sluice.start()
    feed.send(kafka.bootstrap, eight, {0: orders.events(0, 0, 1)})
    wait_caught_up(process, log, kafka, eight, seconds=300)
    took, restored = time.monotonic() - began, resident(process.pid, "VmHWM")
    assert process.terminate() == 0
    assert list(sluice.folder.glob("sluice/orders/orders/*")) == [], "files of state are gone with the process"
    told = sluice.ask("state", "--json", seconds=300).json()
    assert told["rows"] == orders.records
    print(
        f"{backend}: {told['rows']:,} rows of state, {told['bytes'] // MIB} MiB; at most {read // MIB} MiB resident "
        f"while reading, {restored // MIB} MiB at the next start, which took {took:.1f} s to its first commit"
    )
    assert max(read, restored) < most_mib * MIB
    sluice.verify()
