"""What goes wrong around sluice: the store, the brokers, the topic, other writers, the disk. The table stays exact, or
sluice stops and says why."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from deltalake import DeltaTable, write_deltalake

from conftest import Connector, Lake
from harness import oracle, producers, readers
from harness.kafka import Kafka
from harness.producers import SCHEMA, order
from harness.readers import by_path
from harness.s3 import S3
from harness.s3_proxy import COMMIT, Request, S3Proxy, cut, landed_but, late, refused
from harness.sluice import CONTINUOUS, DATA_REFUSED, DEAD_LETTERS, wait_caught_up, wait_version
from harness.waiting import wait_until


# The store


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    "action",
    [
        refused(500),
        refused(503),
        refused(409),
        refused(412),
        cut,
        landed_but(500),
        landed_but(409),
        landed_but(412),
        landed_but(None),
        late(0.7, lands=True),
        late(2.5, lands=True),
        late(2.5, lands=False),
    ],
    ids=[
        *("500", "503", "409", "412", "cut", "landed-500", "landed-409", "landed-412", "landed-cut"),
        *("slow", "landed-timeout", "timeout"),
    ],
)
def test_a_commit_whose_put_goes_wrong_happens_once(
    kafka: Kafka, topic: str, s3: S3, connector: Connector, tmp_path: Path, action, times: int
) -> None:
    lake = Lake(tmp_path, s3, stem=tmp_path.name)
    producers.orders(kafka.bootstrap, topic, 0, 2_000)
    with S3Proxy(s3.port) as proxy:
        impatient = {**s3.settings(proxy.endpoint), "timeout": "1s"}
        sluice = connector(topic, lake, limits={"max_records": 400}, storage=impatient)
        rule = proxy.on("PUT", COMMIT, action, skip=3, times=times)
        sluice.run()
        assert rule.used == times
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 2_000
    attempts = lake.log("orders").attempts()
    assert len(set(attempts)) == len(attempts)
    sluice.write(storage=s3.settings())
    sluice.verify()


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", r"\.parquet$"), ("GET", r"_delta_log"), ("GET", r"/lake/?$"), ("HEAD", r"_delta_log")],
    ids=["data file", "log entry", "listing", "check of the newest commit"],
)
def test_other_requests_that_go_wrong_do_no_harm(
    kafka: Kafka, topic: str, s3: S3, connector: Connector, tmp_path: Path, method: str, path: str
) -> None:
    lake = Lake(tmp_path, s3, stem=tmp_path.name)
    producers.orders(kafka.bootstrap, topic, 0, 2_000)
    with S3Proxy(s3.port) as proxy:
        sluice = connector(topic, lake, limits={"max_records": 400}, storage=s3.settings(proxy.endpoint))
        for number, action in enumerate((refused(500), cut, refused(503))):
            proxy.on(method, path, action, skip=2 * number)
        sluice.run()
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 2_000
    sluice.write(storage=s3.settings())
    sluice.verify()


def test_a_store_that_is_away_for_a_while(
    kafka: Kafka, topic: str, connector: Connector, tmp_path: Path
) -> None:
    with S3(folder=tmp_path / "s3") as s3:
        lake = Lake(tmp_path, s3, stem="away")
        sluice = connector(topic, lake, trigger=CONTINUOUS, limits={"max_records": 200})
        process = sluice.start()
        log = lake.log("orders")
        producers.orders(kafka.bootstrap, topic, 0, 1_000)
        wait_version(process, log, 2)
        s3.kill()
        producers.orders(kafka.bootstrap, topic, 1_000, 1_000)
        wait_until("sluice to notice", lambda: "WARN" in process.output.upper(), 60)
        s3.start()
        wait_caught_up(process, log, kafka, topic)
        assert process.terminate() == 0
        assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 2_000
        sluice.verify()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB. Mounting asks for root, as the rest of the set-up does."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "sluice-test", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_waited_out(kafka: Kafka, topic: str, small_disk: Path, connector: Connector) -> None:
    lake = Lake(small_disk)
    sluice = connector(topic, lake, trigger=CONTINUOUS, limits={"max_records": 2_000})
    process = sluice.start()
    log = lake.log("orders")
    producers.orders(kafka.bootstrap, topic, 0, 2_000)
    wait_caught_up(process, log, kafka, topic)
    ballast = small_disk / "ballast"
    _fill(ballast)
    producers.orders(kafka.bootstrap, topic, 2_000, 4_000)
    wait_until("sluice to notice", lambda: "no space left" in process.output.lower(), 60)
    version = log.version()
    ballast.unlink()
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert log.version() > version
    assert oracle.assert_exact(lake.table("orders"), kafka, topic) == 6_000
    sluice.verify()
    for process in sluice.processes:
        process.kill()


def _fill(file: Path) -> None:
    try:
        with file.open("wb", buffering=0) as open_file:
            while True:
                open_file.write(b"\0" * 4096)
    except OSError:
        pass


# The brokers


def test_a_broker_that_is_killed_and_comes_back(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    process = connector(topic, local, trigger=CONTINUOUS).start()
    log = local.log("orders")
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    wait_caught_up(process, log, kafka, topic)
    (broker,) = kafka.brokers
    broker.kill()
    broker.start()
    kafka.wait_ready()
    producers.orders(kafka.bootstrap, topic, 1_000, 1_000)
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 2_000


def test_a_leader_change_under_load(local: Lake, connector: Connector, tmp_path: Path) -> None:
    with Kafka(3, folder=tmp_path / "kafka", heap="384m") as kafka:
        topic = kafka.create_topic("orders", 4, min_insync_replicas=2)
        sluice = connector(topic, local, kafka=kafka, trigger=CONTINUOUS, limits={"max_records": 500})
        process = sluice.start()
        log = local.log("orders")
        producers.orders(kafka.bootstrap, topic, 0, 4_000)
        wait_version(process, log, 2)
        killed = kafka.leader(topic, 0)
        killed.kill()
        producers.orders(kafka.bootstrap, topic, 4_000, 4_000)
        assert kafka.leader(topic, 0) is not killed
        wait_caught_up(process, log, kafka, topic, seconds=90)
        assert process.terminate() == 0
        assert oracle.assert_exact(local.table("orders"), kafka, topic) == 8_000
        sluice.verify()


def test_a_partition_added_while_running(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    sluice = connector(topic, local, trigger=CONTINUOUS)
    sluice.write(source={**sluice.config["source"], "start": "latest"})
    process = sluice.start()
    log = local.log("orders")
    wait_version(process, log, 0)
    wait_caught_up(process, log, kafka, topic)
    producers.orders(kafka.bootstrap, topic, 0, 400)
    wait_caught_up(process, log, kafka, topic)
    kafka.add_partitions(topic, 6)
    producers.orders(kafka.bootstrap, topic, 400, 600, partitions=6)
    wait_caught_up(process, log, kafka, topic, seconds=90)
    assert process.terminate() == 0
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 1_000
    sluice.verify()


# The topic


RECREATED = [pytest.param(4, 200, id="shorter"), pytest.param(4, 3_000, id="longer"), pytest.param(2, 800, id="fewer")]


@pytest.mark.parametrize(("partitions", "records"), RECREATED)
@pytest.mark.parametrize("policy", ["fail", "continue"])
def test_a_topic_made_anew_between_two_runs(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, policy: str, partitions: int, records: int
) -> None:
    sluice = connector(topic, local)
    sluice.write(source={**sluice.config["source"], "on_data_loss": policy})
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    sluice.run()
    log = local.log("orders")
    version = log.version()
    kafka.recreate_topic(topic, partitions)
    producers.orders(kafka.bootstrap, topic, 10_000, records, partitions=partitions)
    if policy == "fail":
        answer = sluice.run(code=DATA_REFUSED)
        assert "deleted and created anew" in answer.stderr and "on_data_loss" in answer.stderr
        assert log.version() == version
        return
    sluice.run()
    assert _order_numbers(local) == [*range(1_000), *range(10_000, 10_000 + records)]
    sluice.run()
    sluice.verify()


def test_a_topic_made_anew_under_a_running_connector(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sluice = connector(topic, local, trigger=CONTINUOUS)
    sluice.write(source={**sluice.config["source"], "on_data_loss": "continue"})
    process = sluice.start()
    log = local.log("orders")
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    wait_caught_up(process, log, kafka, topic)
    kafka.recreate_topic(topic, 4)
    producers.orders(kafka.bootstrap, topic, 10_000, 4_000)
    everything = [*range(1_000), *range(10_000, 14_000)]

    def both_read() -> bool:
        return len(_order_numbers(local)) >= len(everything) or not process.running()

    wait_until("both lives of the topic", both_read, 90, every=0.2)
    process.terminate()
    assert _order_numbers(local) == everything
    sluice.verify()


def _order_numbers(lake: Lake) -> list[int]:
    return [int(order_id.removeprefix("order-")) for (order_id,) in lake.rows("orderId")]


@pytest.mark.parametrize("policy", ["fail", "continue"])
def test_retention_that_passed_the_checkpoint(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, policy: str
) -> None:
    sluice = connector(topic, local)
    sluice.write(source={**sluice.config["source"], "on_data_loss": policy})
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    sluice.run()
    before = oracle.records(kafka, topic)
    log = local.log("orders")
    version = log.version()
    producers.orders(kafka.bootstrap, topic, 1_000, 1_000)
    kafka.delete_records(topic, {0: 300, 2: 500})
    if policy == "fail":
        answer = sluice.run(code=DATA_REFUSED)
        assert "on_data_loss" in answer.stderr and "250" in answer.stderr and "300" in answer.stderr
        assert log.version() == version
        return
    sluice.run()
    after = oracle.records(kafka, topic)
    fresh = after.filter([row["o"] >= 250 for row in after.to_pylist()])
    expected = pyarrow.concat_tables([before, fresh])
    assert oracle.assert_exact(local.table("orders"), kafka, topic, expected=expected) == 2_000 - 50 - 250
    assert "300" in sluice.verify().stdout, "the gap is in the sum"


# Other writers


def test_other_writers_append_and_optimize_between_two_batches(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    sluice = connector(topic, lake, trigger=CONTINUOUS, limits={"max_records": 250})
    process = sluice.start()
    log = lake.log("orders")
    table = lake.table("orders")
    for part in range(4):
        producers.orders(kafka.bootstrap, topic, part * 1_000, 1_000)
        wait_caught_up(process, log, kafka, topic)
        other = readers.delta_rs(table, lake.storage)
        if part % 2:
            other.optimize.compact()
        else:
            write_deltalake(other, _foreign_row(other, part), mode="append")
    producers.orders(kafka.bootstrap, topic, 4_000, 1_000)
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    mine = oracle.records(kafka, topic)
    foreign = pyarrow.table({"p": [100, 100], "o": [0, 2], "v": [order(0), order(2)]}, schema=mine.schema)
    expected = pyarrow.concat_tables([mine, foreign])
    assert oracle.assert_exact(table, kafka, topic, lake.storage, expected=expected) == 5_002
    sluice.verify()


def _foreign_row(table: DeltaTable, number: int) -> pyarrow.Table:
    """Order `number` as another writer's row: a copy of a row that is there, in a partition of its own."""
    rows = table.to_pyarrow_table()
    row = rows.filter([value == f"order-{number:012}" for value in rows["orderId"].to_pylist()]).slice(0, 1)
    for name, value in (("kafka_partition", 100), ("kafka_offset", number)):
        at = row.schema.get_field_index(name)
        row = row.set_column(at, row.schema.field(at), pyarrow.array([value], row.schema.field(at).type))
    return row


def test_a_column_added_by_another_writer(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    sluice = connector(topic, local, trigger=CONTINUOUS)
    process = sluice.start()
    log = local.log("orders")
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    wait_caught_up(process, log, kafka, topic)
    spark.sql(f"ALTER TABLE {by_path(local.table('orders'))} ADD COLUMN (added STRING)")
    producers.orders(kafka.bootstrap, topic, 1_000, 1_000)
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 2_000
    assert local.rows("count(added)") == [(0,)]


def test_a_restore_stops_the_connector(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    sluice = connector(topic, local, trigger=CONTINUOUS, limits={"max_records": 200})
    process = sluice.start()
    log = local.log("orders")
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    wait_caught_up(process, log, kafka, topic)
    readers.delta_rs(local.table("orders")).restore(3)
    restored = log.version()
    producers.orders(kafka.bootstrap, topic, 1_000, 1_000)
    assert process.wait(60) == DATA_REFUSED
    assert "restored the table to an older state" in process.output and "rewind" in process.output
    assert log.version() == restored
    # A restart does not get past it either: the operator chooses.
    assert "rewind" in sluice.run(code=DATA_REFUSED).stderr
    assert log.version() == restored


def test_a_table_deleted_and_created_anew_under_a_running_connector(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sluice = connector(topic, local, trigger=CONTINUOUS)
    process = sluice.start()
    log = local.log("orders")
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    wait_caught_up(process, log, kafka, topic)
    table = Path(local.table("orders"))
    schema = readers.delta_rs(table).schema()
    process.signal(signal.SIGSTOP)  # so that it can't make the table itself in between
    shutil.rmtree(table)
    DeltaTable.create(str(table), schema)
    process.signal(signal.SIGCONT)
    producers.orders(kafka.bootstrap, topic, 1_000, 1_000)
    assert process.wait(60) == DATA_REFUSED, process.describe()
    assert log.version() == 0, "nothing is committed to a table that the progress does not belong to"


# Crashes at the two moments that order matters


def test_start_latest_and_a_crash_before_the_first_data(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sluice = connector(topic, local, trigger=CONTINUOUS)
    sluice.write(source={**sluice.config["source"], "start": "latest"})
    producers.orders(kafka.bootstrap, topic, 0, 400)
    process = sluice.start()
    log = local.log("orders")
    wait_until("the starts", lambda: log.offsets(topic) == {n: 100 for n in range(4)}, 30)
    process.kill()
    producers.orders(kafka.bootstrap, topic, 400, 400)
    process = sluice.start()
    wait_caught_up(process, log, kafka, topic)
    process.terminate()
    later = oracle.records(kafka, topic)
    later = later.filter([row["o"] >= 100 for row in later.to_pylist()])
    assert oracle.assert_exact(local.table("orders"), kafka, topic, expected=later) == 400


def test_a_schema_repaired_between_the_dead_letters_and_the_rows(
    kafka: Kafka, topic: str, s3: S3, connector: Connector, tmp_path: Path
) -> None:
    """The dead letters of a batch are committed, then the process dies. The repaired decoding would accept them now;
    their fate is settled, so they are in one table and not in both."""
    lake = Lake(tmp_path, s3, stem=tmp_path.name)
    values = [order(n)[:-1] + b',"extra":1}' if n % 5 == 2 else order(n) for n in range(100)]
    strict = {"value": {"format": "json", "schema": SCHEMA, "unknown_fields": "fail"}}
    repaired = {"value": {"format": "json", "schema": SCHEMA, "unknown_fields": "ignore"}}
    with S3Proxy(s3.port) as proxy:
        sluice = connector(topic, lake, dead_letters={"table": lake.table("dead")}, trigger=CONTINUOUS)
        sluice.write(storage=s3.settings(proxy.endpoint), decode={**strict, **DEAD_LETTERS})
        process = sluice.start()
        log = lake.log("orders")
        wait_until("the starts", lambda: log.offsets(topic) == {n: 0 for n in range(4)}, 30)
        version = log.version()

        def dies(_: Request) -> None:
            process.kill()

        rule = proxy.on("PUT", f"/orders{COMMIT}", dies)
        producers.send(kafka.bootstrap, topic, values[:50], partition=0)
        wait_until("the crash", lambda: rule.used and not process.running(), 30)
    assert log.version() == version
    settled = _dead_offsets(lake)
    assert settled and settled[-1] < 50

    producers.send(kafka.bootstrap, topic, values[50:], partition=0)
    sluice.write(storage=s3.settings(), decode={**repaired, **DEAD_LETTERS})
    process = sluice.start()
    wait_caught_up(process, log, kafka, topic)
    process.terminate()
    assert _dead_offsets(lake) == settled, "what was a dead letter stays one, and there are no new ones"
    everything = oracle.records(kafka, topic)
    others = everything.filter([offset not in settled for offset in everything["o"].to_pylist()])
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage, expected=others) == 100 - len(settled)
    sluice.verify()


def _dead_offsets(lake: Lake) -> list[int]:
    return [offset for (offset,) in lake.rows("kafka_offset", "dead")]
