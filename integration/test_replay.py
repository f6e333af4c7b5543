"""Dead letters replayed after a schema was repaired, against real parts: once, whatever is killed or runs beside it."""

import random
from typing import Any

from conftest import Connector, Lake
from harness import oracle, producers
from harness.delta_log import DeltaLog
from harness.kafka import Kafka
from harness.processes import Child
from harness.producers import SCHEMA, order
from harness.sluice import CONTINUOUS, DEAD_LETTERS, DONE, NEGATIVE_FINDING, Sluice, wait_caught_up
from harness.waiting import wait_until


def decode(unknown_fields: str) -> dict[str, Any]:
    return {"value": {"format": "json", "schema": SCHEMA, "unknown_fields": unknown_fields}, **DEAD_LETTERS}


STRICT, REPAIRED = decode("fail"), decode("ignore")


def with_extra(n: int) -> bytes:
    """The nth order with a field that STRICT refuses."""
    return order(n)[:-1] + b',"extra":1}'


def produce(kafka: Kafka, topic: str, first: int, count: int, every: int) -> int:
    """Orders, of which each `every`th is bad by STRICT, over four partitions; how many are."""
    values = [with_extra(n) if n % every == 1 else order(n) for n in range(first, first + count)]
    for partition in range(4):
        producers.send(kafka.bootstrap, topic, values[partition::4], partition=partition)
    return sum(n % every == 1 for n in range(first, first + count))


def replay(sluice: Sluice, *more: str, code: int = DONE, seconds: float = 60) -> str:
    """What a replay that ends with `code` says."""
    answer = sluice.ask("dead-letters replay", "--yes", *more, seconds=seconds)
    assert answer.code == code, answer
    return answer.stdout


def letters(lake: Lake) -> int:
    ((count,),) = lake.rows("count(*)", "dead")
    return count


def replayed(sluice: Sluice) -> dict[str, Any] | None:
    """What `verify --deep` proves of the replays into `orders`."""
    proofs = {proof["output"]: proof for proof in sluice.verify("--deep", "--json").ndjson()}
    assert proofs["orders"]["deep"]["duplicates"] == 0
    return proofs["orders"]["replay"]


def test_dead_letters_become_rows_once_the_schema_is_repaired(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    sluice = connector(topic, lake, dead_letters={"table": lake.table("dead")}, decode=STRICT)
    bad = produce(kafka, topic, 0, 2_000, 10)
    sluice.run()
    assert letters(lake) == bad == 200
    assert replayed(sluice) is None

    # By the schema as it was they are all bad still.
    assert "still bad: " in replay(sluice, code=NEGATIVE_FINDING)

    sluice.write(decode=REPAIRED)
    log, version = lake.log("orders"), lake.log("orders").version()
    plan = sluice.ask("dead-letters replay", "--dry-run", "--json")
    assert plan.code == DONE and sum(each["rows"] for each in plan.json()["partitions"]) == 200, plan
    assert log.version() == version
    assert "200 dead letters became 200 rows" in replay(sluice)
    assert log.version() == version + 1, "one transaction"
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 2_000
    assert replayed(sluice)["rows"] == 200

    replay(sluice)
    assert log.version() == version + 1, "again: a no-op"
    produce(kafka, topic, 2_000, 400, 10)
    sluice.run()
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 2_400
    sluice.verify()


def test_a_record_that_stays_bad_holds_its_partition_until_it_is_passed_over(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    values = [order(n) for n in range(200)] + [with_extra(200), b"{", with_extra(201)]
    producers.send(kafka.bootstrap, topic, values, partition=2)
    sluice = connector(topic, local, dead_letters={"table": local.table("dead")}, decode=STRICT)
    sluice.run()
    sluice.write(decode=REPAIRED)
    told = replay(sluice, code=NEGATIVE_FINDING)
    assert f"still bad: {topic}/2 offset 201: SL30" in told
    assert "1 dead letter behind one could be decoded" in told
    replay(sluice, "--skip-bad")
    kept = oracle.records(kafka, topic).filter([offset != 201 for offset in range(203)])
    assert oracle.assert_exact(local.table("orders"), kafka, topic, expected=kept) == 202
    assert replayed(sluice)["rows"] == 2


def wait_some_commits(log: DeltaLog, few: int, racing: list[Child]) -> None:
    """Or until nobody makes any."""
    wanted = log.version() + few
    wait_until(
        f"version {wanted}", lambda: log.version() >= wanted or not any(each.running() for each in racing), 60
    )


def test_replays_are_killed_and_race_while_the_connector_runs(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector, seed: int
) -> None:
    """Replays of 20 dead letters a commit are killed at random, two run at once, and the connector goes on reading by
    the schema that was wrong; each record is a row once in the end."""
    chance = random.Random(seed)
    dead = {"table": lake.table("dead")}
    reading = connector(topic, lake, dead_letters=dead, decode=STRICT, trigger=CONTINUOUS)
    limits = {"max_records": 20}
    repaired = connector(topic, lake, dead_letters=dead, decode=REPAIRED, limits=limits)
    log, process = lake.log("orders"), reading.start()
    total = produce(kafka, topic, 0, 4_000, 4)
    wait_caught_up(process, log, kafka, topic)
    for round_ in range(4):
        racing = [repaired.start("dead-letters replay", "--yes") for _ in range(2)]
        wait_some_commits(log, chance.randrange(1, 8), racing)
        total += produce(kafka, topic, 4_000 + 400 * round_, 400, 4)
        for each in racing:
            each.kill()
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == DONE
    assert letters(lake) == total == 1_400
    replay(repaired, seconds=120)
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 5_600
    assert replayed(repaired)["rows"] == total
