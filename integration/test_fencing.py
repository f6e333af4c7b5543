"""Two instances of one connector: the log lets only one of them commit a range."""

import json
import signal
from pathlib import Path

from conftest import Connector, Lake
from harness import oracle, producers
from harness.delta_log import DeltaLog
from harness.kafka import Kafka
from harness.processes import Child
from harness.s3 import S3
from harness.s3_proxy import COMMIT, Held, S3Proxy
from harness.sluice import CONFIGURATION, CONTINUOUS, FENCED, caught_up, wait_caught_up, wait_version
from harness.waiting import wait_until


def fenced(process: Child) -> bool:
    return "fenced" in process.output.lower()


def test_two_instances_at_once_write_nothing_twice(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    sluice = connector(topic, lake, trigger=CONTINUOUS, limits={"max_records": 200})
    log = lake.log("orders")
    both = [sluice.start(), sluice.start()]
    for part in range(30):
        producers.orders(kafka.bootstrap, topic, part * 400, 400)
    wait_until("the backlog's end", lambda: caught_up(log, kafka, topic) or _all_ended(both), 120)
    wait_until("one of them to be fenced", lambda: any(fenced(each) for each in both), 30)
    codes = [each.terminate() if each.running() else each.process.returncode for each in both]
    assert set(codes) <= {0, FENCED}, codes
    sluice.finish()
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 12_000
    sluice.verify()


def _all_ended(processes: list[Child]) -> bool:
    return not any(each.running() for each in processes)


def test_an_instance_stopped_with_its_files_written_loses_to_the_next(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    """SIGSTOP between a data file and its commit: the other instance commits that range; then SIGCONT."""
    sluice = connector(topic, local, trigger=CONTINUOUS, limits={"max_records": 500})
    producers.orders(kafka.bootstrap, topic, 0, 40_000)
    log = local.log("orders")
    first = sluice.start()
    wait_version(first, log, 2)
    _stop_in_mid_commit(first, log)
    second = sluice.start()
    wait_caught_up(second, log, kafka, topic)
    stopped_at = log.version()
    first.signal(signal.SIGCONT)
    wait_until("the first to say that it was fenced", lambda: fenced(first), 30)
    assert log.version() == stopped_at, "the loser committed nothing"
    producers.orders(kafka.bootstrap, topic, 40_000, 2_000)
    wait_until("the end", lambda: caught_up(log, kafka, topic), 60)
    for each in (first, second):
        assert (each.terminate() if each.running() else each.process.returncode) in (0, FENCED)
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 42_000
    sluice.verify()


def _stop_in_mid_commit(process: Child, log: DeltaLog) -> None:
    """Stops the process when a data file is there that no commit names. Tries again where the commit was quicker."""

    def stopped_with_a_file_on_its_way() -> bool:
        process.signal(signal.SIGSTOP)
        if _uncommitted(log):
            return True
        process.signal(signal.SIGCONT)
        return False

    wait_until("a stop in the middle of a commit", stopped_with_a_file_on_its_way, 30, every=0.003)


def _uncommitted(log: DeltaLog) -> list[Path]:
    """Whole Parquet files that no commit names."""
    named = {add["path"] for commit in log.commits() for add in commit.of("add")}
    files = [file for file in log.table.glob("*.parquet") if file.name not in named]
    return [file for file in files if file.read_bytes()[-4:] == b"PAR1"]


def test_a_commit_held_in_the_network_lands_late_and_loses(
    kafka: Kafka, topic: str, s3: S3, connector: Connector, tmp_path: Path
) -> None:
    """The first instance's put is on its way when it is stopped; it reaches the store after the second's commit."""
    lake = Lake(tmp_path, s3, stem=tmp_path.name)
    with S3Proxy(s3.port) as proxy:
        slow = connector(topic, lake, trigger=CONTINUOUS, limits={"max_records": 500})
        slow.write(storage=s3.settings(proxy.endpoint))
        quick = connector(topic, lake, trigger=CONTINUOUS, limits={"max_records": 500})
        log = lake.log("orders")
        producers.orders(kafka.bootstrap, topic, 0, 4_000)
        first = slow.start()
        wait_version(first, log, 2)
        held = Held()
        proxy.on("PUT", COMMIT, held)
        producers.orders(kafka.bootstrap, topic, 4_000, 4_000)
        assert held.arrived.wait(30)
        first.signal(signal.SIGSTOP)

        second = quick.start()
        wait_caught_up(second, log, kafka, topic)
        held.release()
        wait_until("the late put's answer", lambda: held.status is not None, 30)
        assert held.status == 412, "the store refused it: the version was taken"
        first.signal(signal.SIGCONT)
        wait_until("the first to say that it was fenced", lambda: fenced(first), 30)
        for each in (first, second):
            assert (each.terminate() if each.running() else each.process.returncode) in (0, FENCED)
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 8_000
    quick.verify()


def test_a_held_commit_that_lands_first_fences_the_second(
    kafka: Kafka, topic: str, s3: S3, connector: Connector, tmp_path: Path
) -> None:
    """The other order: the stopped instance's put lands, and the second, which planned the same range, loses."""
    lake = Lake(tmp_path, s3, stem=tmp_path.name)
    with S3Proxy(s3.port) as one, S3Proxy(s3.port) as other:
        config = {"trigger": CONTINUOUS, "limits": {"max_records": 500}}
        slow, quick = connector(topic, lake, **config), connector(topic, lake, **config)
        slow.write(storage=s3.settings(one.endpoint))
        quick.write(storage=s3.settings(other.endpoint))
        log = lake.log("orders")
        producers.orders(kafka.bootstrap, topic, 0, 400)
        first = slow.start()
        wait_caught_up(first, log, kafka, topic)
        before = log.version()
        held, also_held = Held(), Held()
        one.on("PUT", COMMIT, held)
        other.on("PUT", COMMIT, also_held)
        producers.orders(kafka.bootstrap, topic, 400, 400)
        assert held.arrived.wait(30)
        first.signal(signal.SIGSTOP)
        second = quick.start()
        assert also_held.arrived.wait(30)
        held.release()
        wait_until("the first's commit", lambda: log.version() == before + 1, 30)
        also_held.release()
        wait_until("the second to say that it was fenced", lambda: fenced(second), 30)
        first.signal(signal.SIGCONT)
        wait_until("the end", lambda: caught_up(log, kafka, topic), 60)
        for each in (first, second):
            assert (each.terminate() if each.running() else each.process.returncode) in (0, FENCED)
        slow.verify()
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 800


def test_an_instance_that_is_fenced_again_and_again_exits(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    """`fenced_limit`: two instances must not depose each other for ever."""
    retry = {"initial_backoff": "10ms", "max_backoff": "20ms", "fenced_limit": 2}
    sluice = connector(topic, local, trigger=CONTINUOUS, limits={"max_records": 100}, retry=retry)
    both = [sluice.start(), sluice.start()]
    sent = 0
    while all(each.running() for each in both) and sent < 200_000:
        producers.orders(kafka.bootstrap, topic, sent, 1_000)
        sent += 1_000
    ended = [each for each in both if not each.running()]
    assert ended, "neither gave up"
    assert {each.process.returncode for each in ended} == {FENCED}
    assert all("one instance per" in each.output for each in ended)
    for each in both:
        each.terminate()
    sluice.finish()
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == sent


def test_progress_under_another_name_is_refused(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    """A renamed connector or output would read the topic into its table again."""
    producers.orders(kafka.bootstrap, topic, 0, 400)
    sluice = connector(topic, local)
    sluice.run()
    version = local.log("orders").version()
    config = json.loads(json.dumps(sluice.config))
    renamed = connector(topic, local, name="other")
    answer = renamed.run(code=CONFIGURATION)
    assert "connector `orders`, output `orders`" in answer.stderr and "adopt" in answer.stderr
    again = connector(topic, local, outputs={"renamed": config["outputs"]["orders"]})
    again.run(code=CONFIGURATION)
    assert local.log("orders").version() == version
