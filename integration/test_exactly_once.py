"""SIGKILL at random moments, again and again, while records come in: no offset missing, none twice."""

import random

import pytest

from conftest import Connector, Lake
from harness import oracle, producers
from harness.background import Background
from harness.kafka import Kafka
from harness.kills import kill_at_random
from harness.sluice import CONTINUOUS, wait_caught_up

KILLS = [pytest.param(20, id="20-kills"), pytest.param(100, id="100-kills", marks=pytest.mark.soak)]


class Producing(Background):
    """Sends orders steadily in the background, every `bad_every`-th of them broken, until stopped."""

    def __init__(self, kafka: Kafka, topic: str, per_second: int, bad_every: int):
        super().__init__()
        self.topic, self.per_second, self.bad_every = topic, per_second, bad_every
        self.sent = 0
        self._producer = producers.producer(kafka.bootstrap, compression_type="lz4")

    def step(self) -> float:
        for _ in range(self.per_second // 50):
            value = b'{"orderId":' if self.sent % self.bad_every == 3 else producers.order(self.sent)
            self._producer.produce(self.topic, value=value, partition=self.sent % 4)
            self.sent += 1
        self._producer.poll(0)
        return 0.02

    def finish(self) -> None:
        assert self._producer.flush(30) == 0


@pytest.mark.parametrize("kills", KILLS)
def test_no_offset_is_missing_and_none_comes_twice(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector, seed: int, kills: int
) -> None:
    sluice = connector(
        topic,
        lake,
        trigger=CONTINUOUS,
        limits={"max_records": 500},
        dead_letters={"table": lake.table("dead")},
    )
    sluice.write(decode={**sluice.config["decode"], "on_bad_record": "dead_letter"})
    log = lake.log("orders")
    with Producing(kafka, topic, per_second=5_000, bad_every=211) as producing:
        before_a_commit = kill_at_random(random.Random(seed), sluice, log, kills)
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
        f"{kills} kills, {before_a_commit} before that process had committed; {log.version()} versions; "
        f"{producing.sent} records = {rows} rows + {len(dead)} dead letters"
    )
