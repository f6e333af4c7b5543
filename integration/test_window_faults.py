"""What goes wrong with the store while windows are written: each window is in the table once, or as it stands, and state and
offsets are of one epoch."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Connector, Lake
from harness import feed
from harness.feed import Feed
from harness.kafka import Kafka
from harness.s3 import S3
from harness.s3_proxy import COMMIT, S3Proxy, cut, landed_but, late, refused
from harness.sluice import CONTINUOUS, FENCED
from harness.waiting import wait_until
from harness.windows import Session, Windowed, tumbling
from test_windows import Feeding, assert_epochs, configured, fates

STATE = r"/_sluice/state/.*\.state$"
MINUTES = Windowed(tumbling(60))
OUTPUTS = {
    "minutes": MINUTES,
    "open": replace(MINUTES, emit={"changes": {"every": "0s"}}),
    "sessions": Windowed(Session(30), ("country", "shop")),
}
ACTIONS = {
    "500": refused(500),
    "503": refused(503),
    "409": refused(409),
    "412": refused(412),
    "cut": cut,
    "landed-500": landed_but(500),
    "landed-409": landed_but(409),
    "landed-412": landed_but(412),
    "landed-cut": landed_but(None),
    "landed-timeout": late(2.5, lands=True),
    "timeout": late(2.5, lands=False),
}


@pytest.mark.parametrize("path", [COMMIT, STATE], ids=["commit", "state"])
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())
def test_a_put_that_goes_wrong_leaves_each_window_once(
    kafka: Kafka, eight: str, s3: S3, connector: Connector, tmp_path: Path, seed: int, action: Any, path: str
) -> None:
    lake = Lake(tmp_path, s3, stem=tmp_path.name)
    orders = Feed(seed, 4_000)
    feed.produce(kafka.bootstrap, eight, orders)
    with S3Proxy(s3.port) as proxy:
        impatient = {**s3.settings(proxy.endpoint), "timeout": "1s"}
        sluice = configured(connector, eight, lake, OUTPUTS, limits={"max_records": 600}, storage=impatient)
        rule = proxy.on("PUT", path, action, skip=7, times=2)
        sluice.run()
        assert rule.used == 2
    for name, asked in OUTPUTS.items():
        model = asked.model(orders.everything())
        assert fates(lake.log(name)) == Counter(model.fates)
        wanted = model.windows() if name == "open" else model.closed()
        asked.assert_equal(asked.read(lake.table(name), lake.storage), asked.rows(wanted))
        attempts = lake.log(name).attempts()
        assert len(set(attempts)) == len(attempts)
    for name in ("minutes", "sessions"):
        assert_epochs(lake, name)
    sluice.write(storage=s3.settings())
    sluice.verify()


def test_state_that_can_not_be_read_at_once_is_asked_for_again(
    kafka: Kafka, eight: str, s3: S3, connector: Connector, tmp_path: Path, seed: int
) -> None:
    lake = Lake(tmp_path, s3, stem=tmp_path.name)
    orders = Feed(seed, 4_000)
    with S3Proxy(s3.port) as proxy:
        storage = s3.settings(proxy.endpoint)
        sluice = configured(connector, eight, lake, {"minutes": MINUTES}, limits={"max_records": 600}, storage=storage)
        for part in range(4):
            feed.produce(kafka.bootstrap, eight, orders, (part, part + 1), 4)
            rules = [proxy.on("GET", STATE, action, skip=n) for n, action in enumerate((refused(500), cut))]
            sluice.run()
            assert part == 0 or all(rule.used for rule in rules)
    model = MINUTES.model(orders.everything())
    MINUTES.assert_equal(MINUTES.read(lake.table("minutes"), lake.storage), MINUTES.rows(model.closed()))
    sluice.write(storage=s3.settings())
    sluice.verify()


def test_two_instances_at_once_write_each_window_once(
    kafka: Kafka, eight: str, lake: Lake, connector: Connector, seed: int
) -> None:
    """Both go on from the same state; only one of them can name the next."""
    sluice = configured(connector, eight, lake, OUTPUTS, trigger=CONTINUOUS, limits={"max_records": 300})
    log = lake.log("minutes")
    both = [sluice.start(), sluice.start()]
    with Feeding(kafka, eight, Feed(seed, 400_000, span=50_000)) as feeding:
        wait_until("many versions", lambda: log.version() > 60 or not any(each.running() for each in both), 60)
    wait_until("one to be fenced", lambda: any("fenced" in each.output.lower() for each in both), 30)
    codes = [each.terminate() if each.running() else each.process.returncode for each in both]
    assert set(codes) <= {0, FENCED}, codes
    sluice.run("--set", "trigger.mode=available_now")
    for name, asked in OUTPUTS.items():
        model = asked.model(feeding.everything())
        assert fates(lake.log(name)) == Counter(model.fates)
        wanted = model.windows() if name == "open" else model.closed()
        asked.assert_equal(asked.read(lake.table(name), lake.storage), asked.rows(wanted))
    for name in ("minutes", "sessions"):
        assert_epochs(lake, name)
    sluice.verify()
