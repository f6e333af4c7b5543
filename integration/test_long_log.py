"""Thousands of commits on one table: each costs what the first ones did, and the log may be cleaned."""

import os
import statistics
import time
from pathlib import Path

import pytest

from conftest import Connector, Lake
from harness import oracle, producers, readers
from harness.kafka import Kafka
from harness.processes import Child
from harness.waiting import wait_until

LENGTHS = [pytest.param(300, id="300"), pytest.param(2_000, id="2000", marks=pytest.mark.soak)]
DAY = 86_400


def resident_bytes(process: Child) -> int:
    """RSS; 0 once the process has ended."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("commits", LENGTHS)
def test_the_cost_of_a_commit_and_the_memory_stay_flat(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, commits: int
) -> None:
    batch = 100
    producers.orders(kafka.bootstrap, topic, 0, commits * batch, compression_type="lz4")
    log = local.log("orders")
    sluice = connector(topic, local, limits={"max_records": batch})
    process = sluice.start()
    memory: list[tuple[int, int]] = []

    def ended() -> bool:
        memory.append((log.version(), resident_bytes(process)))
        return not process.running()

    wait_until(f"{commits} commits", ended, 600, every=0.05)
    assert process.process.returncode == 0, process.describe()
    assert log.version() >= commits

    window = 100
    times = [log.entry(version).stat().st_mtime for version in log.versions()]
    gaps = [1000 * (later - earlier) for earlier, later in zip(times[1:], times[2:], strict=False)]
    first, last = statistics.median(gaps[:window]), statistics.median(gaps[-window:])
    used = [size for version, size in memory if size and version >= window]
    early, late = used[0], statistics.median(used[-5:])
    print(
        f"{log.version()} versions; from one commit to the next, median of the first {window}: {first:.2f} ms, of "
        f"the last: {last:.2f} ms; RSS at version {window}: {early / 2**20:.0f} MiB, at the end: {late / 2**20:.0f} MiB"
    )
    assert last <= 1.5 * first + 1.0, "a millisecond of grace for the clock of a shared machine"
    assert late <= 1.2 * early + 16 * 2**20
    assert log.checkpoints(), "the log is checkpointed"
    assert log.checkpoints()[-1] >= log.version() - 200
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == commits * batch
    sluice.verify()


def test_after_the_log_was_cleaned_the_connector_goes_on_where_it_was(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    table = local.table("orders")
    properties = {"delta.checkpointInterval": "10", "delta.logRetentionDuration": "interval 1 days"}
    producers.orders(kafka.bootstrap, topic, 0, 5_000)
    sluice = connector(topic, local, limits={"max_records": 100}, output={"table_properties": properties})
    sluice.run()
    log = local.log("orders")
    before = log.offsets(topic)
    readers.delta_rs(table).create_checkpoint()
    _age(log.folder, days=40)
    readers.delta_rs(table).cleanup_metadata()
    kept = log.versions()
    assert kept[0] > 10, f"the old entries are gone: {kept[:3]}..."
    assert log.offsets(topic) == before

    producers.orders(kafka.bootstrap, topic, 5_000, 1_000)
    sluice.run()
    assert oracle.assert_exact(table, kafka, topic) == 6_000
    sluice.verify()


def _age(folder: Path, days: int) -> None:
    """Makes each log entry look as old: clean-up goes by file times."""
    then = time.time() - days * DAY
    for file in folder.iterdir():
        os.utime(file, (then, then))
