"""SIGKILL at random moments, again and again, while records come in: no offset missing, none twice."""

import random
import threading
import time

import pytest

from conftest import Connector, Lake
from harness import oracle, producers
from harness.kafka import Kafka
from harness.sluice import CONTINUOUS, wait_caught_up

KILLS = [pytest.param(20, id="20-kills"), pytest.param(100, id="100-kills", marks=pytest.mark.soak)]


class Producing:
    """Sends orders steadily in the background, every `bad_every`-th of them broken, until stopped."""

    def __init__(self, kafka: Kafka, topic: str, per_second: int, bad_every: int):
        self.sent = 0
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(kafka, topic, per_second, bad_every), daemon=True)

    def _run(self, kafka: Kafka, topic: str, per_second: int, bad_every: int) -> None:
        try:
            producer = producers.producer(kafka.bootstrap, compression_type="lz4")
            while not self._stop.wait(0.02):
                for _ in range(per_second // 50):
                    value = b'{"orderId":' if self.sent % bad_every == 3 else producers.order(self.sent)
                    producer.produce(topic, value=value, partition=self.sent % 4)
                    self.sent += 1
                producer.poll(0)
            assert producer.flush(30) == 0
        except BaseException as error:
            self._error = error

    def __enter__(self) -> "Producing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        if self._error:
            raise self._error


@pytest.mark.parametrize("kills", KILLS)
def test_no_offset_is_missing_and_none_comes_twice(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector, kills: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sluice = connector(
        topic,
        lake,
        trigger=CONTINUOUS,
        limits={"max_records": 500},
        dead_letters={"table": lake.table("dead")},
    )
    sluice.write(decode={**sluice.config["decode"], "on_bad_record": "dead_letter"})
    log = lake.log("orders")
    killed_before_a_commit = 0
    with Producing(kafka, topic, per_second=5_000, bad_every=211) as producing:
        for _ in range(kills):
            before = log.version()
            process = sluice.start()
            _random_moment(chance, log, before)
            process.kill()
            killed_before_a_commit += log.version() == before
    process = sluice.start()
    wait_caught_up(process, log, kafka, topic, seconds=120)
    assert process.terminate() == 0

    produced = oracle.records(kafka, topic)
    assert produced.num_rows == producing.sent
    bad = [value == b'{"orderId":' for value in produced["v"].to_pylist()]
    good = produced.filter([not flag for flag in bad])
    rows = oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage, expected=good)
    dead = lake.rows("kafka_partition, kafka_offset", "dead")
    places = zip(produced["p"].to_pylist(), produced["o"].to_pylist(), bad, strict=True)
    assert dead == sorted((p, o) for p, o, flag in places if flag)
    attempts = log.attempts()
    assert len(set(attempts)) == len(attempts)
    sluice.verify()
    print(
        f"{kills} kills, {killed_before_a_commit} before that process had committed; {log.version()} versions; "
        f"{producing.sent} records = {rows} rows + {len(dead)} dead letters"
    )


def _random_moment(chance: random.Random, log, before: int) -> None:
    """Half of the kills come a random time after the start, half a random few milliseconds after a commit, where
    the next one is under way."""
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0.0, 0.8))
        return
    wanted = before + chance.randrange(1, 6)
    deadline = time.monotonic() + 5
    while log.version() < wanted and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(chance.uniform(0.0, 0.03))
