"""The real parts, started once for all tests, and a connector for each test."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.delta_log import DeltaLog
from harness.kafka import Kafka
from harness.readers import Duck, scan, spark_session
from harness.registry import Proxy, Registry
from harness.s3 import S3
from harness.sluice import Sluice, configuration

Connector = Callable[..., Sluice]


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with Kafka(folder=tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(folder=tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(folder=tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The way to the registry that a test may cut."""
    with Proxy(registry, tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    session = spark_session(warehouse=tmp_path_factory.mktemp("warehouse"))
    yield session
    session.stop()


class Lake:
    """Where a test's tables are: local, or S3. The log is read from this disk in both cases."""

    def __init__(self, root: Path, s3: S3 | None = None, stem: str = ""):
        self.root = root
        self.s3 = s3
        self.stem = stem

    @property
    def storage(self) -> dict[str, str] | None:
        return self.s3.storage() if self.s3 else None

    @property
    def settings(self) -> dict[str, Any]:
        """What a configuration adds to reach it."""
        return {"storage": self.s3.settings()} if self.s3 else {}

    def table(self, name: str) -> str:
        return self.s3.url(f"{self.stem}/{name}") if self.s3 else str(self.root / "lake" / name)

    def path(self, name: str) -> Path:
        table = self.table(name)
        return self.s3.path(table) if self.s3 else Path(table)

    def log(self, name: str) -> DeltaLog:
        return DeltaLog(self.path(name))

    def rows(self, columns: str, name: str = "orders", order: str = "ALL") -> list[tuple[Any, ...]]:
        """What DuckDB selects from the table."""
        return Duck(self.storage).rows(f"SELECT {columns} FROM {scan(self.table(name))} ORDER BY {order}")


@pytest.fixture
def local(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture(params=["local", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """The test runs on both."""
    if request.param == "local":
        return Lake(tmp_path)
    return Lake(tmp_path, request.getfixturevalue("s3"), stem=tmp_path.name)


@pytest.fixture
def seed() -> int:
    """Another one each time, printed; `SLUICE_TEST_SEED` plays one again."""
    seed = int(os.environ.get("SLUICE_TEST_SEED") or random.randrange(2**32))
    print(f"seed {seed}")
    return seed


@pytest.fixture
def topic(kafka: Kafka, request: pytest.FixtureRequest) -> str:
    """An empty topic of four partitions, named after the test."""
    return kafka.create_topic(kafka.new_name(request.node.originalname[:40]), 4)


@pytest.fixture
def eight(kafka: Kafka, request: pytest.FixtureRequest) -> str:
    """An empty topic of eight partitions."""
    return kafka.create_topic(kafka.new_name(request.node.originalname[:40]), 8)


@pytest.fixture
def connector(kafka: Kafka, tmp_path: Path) -> Iterator[Connector]:
    """`connector(topic, lake, **keys of the configuration's first level)`; `output`: more keys of its one output."""
    made: list[Sluice] = []

    def make(topic: str | list[str], lake: Lake, table: str = "orders", kafka: Kafka = kafka, **top: Any) -> Sluice:
        config = configuration(kafka, topic, lake.table(table), **{**lake.settings, **top})
        made.append(Sluice(tmp_path / f"connector-{len(made)}", config))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """A failed test shows the end of each process's log."""
    report = yield
    if report.when == "call" and report.failed and hasattr(item, "funcargs"):
        folder = item.funcargs.get("tmp_path")
        for log in sorted(folder.glob("connector-*/*.log")) if folder else []:
            text = log.read_text(errors="replace")[-3000:]
            report.sections.append((f"{log.parent.name}/{log.name}", text))
    return report
