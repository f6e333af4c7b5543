"""`emit: changes`: open windows are in the table as they stand, and end up as those of `emit: final`; with kills and other
writers in between."""

import random
import time
from collections import Counter
from dataclasses import replace

import pytest

from conftest import Connector, Lake
from harness import feed, readers
from harness.feed import Feed
from harness.kafka import Kafka
from harness.kills import kill_at_random
from harness.readers import Duck, scan
from harness.sluice import CONTINUOUS, wait_caught_up
from harness.waiting import wait_until
from harness.windows import Session, Sliding, Windowed, tumbling
from test_windows import KILLS, Feeding, configured, fates, late_rows_kept

OUTPUTS = {
    "minutes": Windowed(tumbling(60, offset=10)),
    "sliding": Windowed(Sliding(300, 70)),
    "sessions": Windowed(Session(30), ("country", "shop")),
}


def changing(every: str) -> dict[str, Windowed]:
    return {name: replace(asked, emit={"changes": {"every": every}}) for name, asked in OUTPUTS.items()}


def assert_whole(asked: Windowed, lake: Lake, name: str, everything: object) -> int:
    """Every window is in the table, open or closed, as it stands."""
    model = asked.model(everything)
    assert fates(lake.log(name)) == Counter(model.fates)
    return asked.assert_equal(asked.read(lake.table(name), lake.storage), asked.rows(model.windows()))


def test_open_windows_are_there_and_closed_ones_are_those_of_final(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int
) -> None:
    orders = Feed(seed, 40_000)
    feed.produce(kafka.bootstrap, eight, orders)
    final = {f"final-{name}": asked for name, asked in OUTPUTS.items()}
    sluice = configured(connector, eight, lake, {**changing("0s"), **final}, limits={"max_records": 4_000})
    sluice.run()
    for name, asked in OUTPUTS.items():
        rows = assert_whole(asked, lake, name, orders.everything())
        closed = asked.read(lake.table(f"final-{name}"), lake.storage)
        there = asked.read(lake.table(name), lake.storage)
        assert 0 < len(closed) < rows
        assert {place: there[place] for place in closed} == closed
    sluice.verify()


def test_changes_are_seen_within_their_time(
    kafka: Kafka, eight: str, local: Lake, connector: Connector, seed: int
) -> None:
    every = 1.0
    outputs = {"minutes": changing("1s")["minutes"]}
    sluice = configured(connector, eight, local, outputs, trigger=CONTINUOUS)
    table, log = local.table("minutes"), local.log("minutes")
    duck = Duck()

    def in_table() -> int:
        return duck.row(f"SELECT sum(orders) FROM {scan(table)}")[0] or 0

    process = sluice.start()
    waits = []
    with Feeding(kafka, eight, Feed(seed, 400_000)) as feeding:
        wait_until("the first commits", lambda: log.version() >= 4, 30)
        for _ in range(8):
            counted = fates(log)["aggregated"]
            began = time.monotonic()
            wait_until(f"{counted} in the table", lambda counted=counted: in_table() >= counted, 30, every=0.02)
            waits.append(time.monotonic() - began)
    wait_caught_up(process, log, kafka, eight)
    counted = fates(log)["aggregated"]
    wait_until("the last rows", lambda: in_table() == counted, 2 * every + 5)
    assert process.terminate() == 0
    print(f"counted records were in the table after {', '.join(f'{wait:.2f}' for wait in waits)} s")
    # Reading itself takes its time, and the machine is shared.
    assert sorted(waits)[len(waits) // 2] < every + 0.5, waits
    assert_whole(OUTPUTS["minutes"], local, "minutes", feeding.everything())
    sluice.verify()


def test_another_writers_optimize_moves_open_windows_and_none_comes_twice(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int
) -> None:
    orders = Feed(seed, 40_000)
    sluice = configured(
        connector, eight, lake, changing("0s"), trigger=CONTINUOUS, limits={"max_records": 1_000}
    )
    process = sluice.start()
    moved = 0
    for part in range(4):
        feed.produce(kafka.bootstrap, eight, orders, (part, part + 1), 4)
        for name in OUTPUTS:
            wait_caught_up(process, lake.log(name), kafka, eight)
            moved += readers.delta_rs(lake.table(name), lake.storage).optimize.compact()["numFilesRemoved"]
    assert moved > 10
    assert process.terminate() == 0
    sluice.run("--set", "trigger.mode=available_now")
    copied = Counter[str]()
    for name, asked in OUTPUTS.items():
        assert_whole(asked, lake, name, orders.everything())
        for commit in lake.log(name).commits():
            copied[name] += commit.sluice.get("windows", {}).get("copied", 0) if commit.sluice else 0
    print(f"{moved} files were rewritten by others, rows copied: {dict(copied)}")
    assert copied["minutes"] > 0, "open and closed windows stood in one file"
    sluice.verify()


@pytest.mark.parametrize("kills", KILLS)
def test_kills_leave_each_window_once_and_as_it_stands(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int, kills: int
) -> None:
    sluice = configured(
        connector, eight, lake, changing("0s"), trigger=CONTINUOUS, limits={"max_records": 400}
    )
    with Feeding(kafka, eight, Feed(seed, 800_000, span=50_000)) as feeding:
        before = kill_at_random(random.Random(seed), sluice, lake.log("minutes"), kills)
    process = sluice.start()
    for name in OUTPUTS:
        wait_caught_up(process, lake.log(name), kafka, eight, seconds=120)
    assert process.terminate() == 0
    sluice.run("--set", "trigger.mode=available_now")
    for name, asked in OUTPUTS.items():
        rows = assert_whole(asked, lake, name, feeding.everything())
        print(f"{name}: {kills} kills, {before} before a commit; {rows} windows")
    sluice.verify()


@pytest.mark.parametrize("kills", KILLS)
def test_kills_keep_each_late_row_once(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int, kills: int
) -> None:
    """They are committed before the windows: a kill in between leaves a range that is judged again."""
    kept = {name: replace(OUTPUTS[name], late_rows="dead_letter") for name in ("minutes", "sessions")}
    letters = {"table": lake.table("dead"), **lake.settings}
    sluice = configured(
        connector, eight, lake, kept, trigger=CONTINUOUS, limits={"max_records": 400}, dead_letters=letters
    )
    with Feeding(kafka, eight, Feed(seed, 800_000, span=50_000)) as feeding:
        kill_at_random(random.Random(seed), sluice, lake.log("minutes"), kills)
    process = sluice.start()
    for name in kept:
        wait_caught_up(process, lake.log(name), kafka, eight, seconds=120)
    assert process.terminate() == 0
    for name, asked in kept.items():
        model = asked.model(feeding.everything())
        assert fates(lake.log(name)) == Counter(model.fates)
        asked.assert_equal(asked.read(lake.table(name), lake.storage), asked.rows(model.closed()))
        found = late_rows_kept(lake, name)
        assert found == model.refused
        print(f"{name}: {kills} kills, {len(found)} rows that no window takes")
    proof = sluice.verify().stdout
    assert all(f"{name}.late: " in proof for name in kept), proof
    print(proof)
