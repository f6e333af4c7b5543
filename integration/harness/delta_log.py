"""A Delta log read as what it is, JSON lines: no library stands between a test and what sluice wrote."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

_ENTRY = re.compile(r"^(\d{20})\.json$")


@dataclass
class Commit:
    version: int
    actions: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [action[kind] for action in self.actions if kind in action]

    @property
    def info(self) -> dict[str, Any]:
        found = self.of("commitInfo")
        return found[0] if found else {}

    @property
    def sluice(self) -> dict[str, Any]:
        """The readable copy of progress; empty in another writer's commit."""
        return self.info.get("sluice", {})

    @property
    def txns(self) -> dict[str, int]:
        return {each["appId"]: each["version"] for each in self.of("txn")}


@dataclass
class DeltaLog:
    """The log of the table in a folder of this disk (an S3 table: `S3.path` of its URL)."""

    table: Path
    _read: dict[int, Commit] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.table / "_delta_log"

    def versions(self) -> list[int]:
        if not self.folder.exists():
            return []
        return sorted(int(found[1]) for entry in self.folder.iterdir() if (found := _ENTRY.match(entry.name)))

    def version(self) -> int:
        """The newest version; -1 before the first commit."""
        versions = self.versions()
        return versions[-1] if versions else -1

    def entry(self, version: int) -> Path:
        return self.folder / f"{version:020}.json"

    def commit(self, version: int) -> Commit:
        if version not in self._read:
            commit = Commit(version, [json.loads(line) for line in self.entry(version).read_text().splitlines()])
            if not commit.actions:
                return commit
            self._read[version] = commit
        return self._read[version]

    def commits(self) -> list[Commit]:
        """Those whose JSON is kept, oldest first."""
        return [self.commit(version) for version in self.versions()]

    def checkpoints(self) -> list[int]:
        if not self.folder.exists():
            return []
        names = (entry.name for entry in self.folder.iterdir() if ".checkpoint" in entry.name)
        return sorted({int(name[:20]) for name in names if name[:20].isdigit()})

    def txns(self) -> dict[str, int]:
        """appId → version now: the newest checkpoint, then the commits after it."""
        found: dict[str, int] = {}
        after = -1
        for version in self.checkpoints()[-1:]:
            after = version
            for file in sorted(self.folder.glob(f"{version:020}.checkpoint*.parquet")):
                for row in parquet.read_table(file, columns=["txn"])["txn"].to_pylist():
                    if row and row["appId"] is not None:
                        found[row["appId"]] = row["version"]
        for commit in self.commits():
            if commit.version > after:
                found.update(commit.txns)
        return found

    def offsets(self, topic: str, prefix: str = "") -> dict[int, int]:
        """Partition → next offset, from the `txn`s of `prefix` (`sluice/<connector>/<output>/`); without one of all
        but replays."""
        owner = re.escape(prefix) if prefix else r"(?!.*\.replay/).*/"
        place = re.compile(owner + re.escape(topic) + r"@.*/(\d+)")
        matches = ((place.fullmatch(app_id), version) for app_id, version in self.txns().items())
        return {int(match[1]): version for match, version in matches if match}

    def metadata(self) -> dict[str, Any]:
        """The newest `metaData` among the kept commits."""
        return [each for commit in self.commits() for each in commit.of("metaData")][-1]

    def protocol(self) -> dict[str, Any]:
        return [each for commit in self.commits() for each in commit.of("protocol")][-1]

    def attempts(self) -> list[str]:
        """The attempt of each of sluice's commits; none comes twice."""
        return [commit.sluice["attempt"] for commit in self.commits() if "attempt" in commit.sluice]
