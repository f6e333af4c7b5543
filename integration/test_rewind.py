"""Rewinds against real parts: after another writer's RESTORE, to a time, on S3."""

from datetime import UTC, datetime

from conftest import Connector, Lake
from harness import oracle, producers, readers
from harness.kafka import Kafka
from harness.sluice import DATA_REFUSED, DONE, Sluice


def restored(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> tuple[Sluice, int]:
    """A table that was taken back to version 3, and the connector that refuses to go on."""
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    sluice = connector(topic, local, limits={"max_records": 200})
    sluice.run()
    readers.delta_rs(local.table("orders")).restore(3)
    assert "rewind" in sluice.run(code=DATA_REFUSED).stderr
    checked = sluice.ask("check")
    assert checked.code == 3 and "restored" in checked.stdout, checked
    return sluice, readers.delta_rs(local.table("orders")).count()


def test_what_a_restore_took_out_is_read_again_from_its_version(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sluice, left = restored(kafka, topic, local, connector)
    assert 0 < left < 1_000
    answer = sluice.ask("rewind", "--to-version", "3", "--yes")
    assert answer.code == DONE and "RESTORE" in answer.stdout, answer
    sluice.run()
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 1_000
    assert "RESTORE" in sluice.verify().stdout
    sluice.verify("--deep")


def test_a_restore_that_is_accepted_leaves_out_what_it_took(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sluice, left = restored(kafka, topic, local, connector)
    assert sluice.ask("rewind", "--accept", "--yes").code == DONE
    producers.orders(kafka.bootstrap, topic, 1_000, 100)
    sluice.run()
    assert readers.delta_rs(local.table("orders")).count() == left + 100
    deep = sluice.verify("--deep").stdout
    assert f"{1_000 - left} of 1100 rows are gone" in deep, deep


def test_a_rewind_to_a_time_reads_from_the_first_record_that_young(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 400)
    sluice = connector(topic, lake)
    sluice.run()
    between = datetime.now(UTC).isoformat()
    producers.orders(kafka.bootstrap, topic, 400, 40)
    sluice.run()
    assert sluice.ask("rewind", "--to-time", between, "--yes").code == DONE
    assert lake.log("orders").offsets(topic) == {n: 100 for n in range(4)}
    sluice.run()
    assert lake.log("orders").offsets(topic) == {n: 110 for n in range(4)}
    deep = sluice.verify("--deep").stdout
    assert "40 read again after a rewind" in deep and "480 rows in" in deep, deep
