"""Runs a command and measures its whole process tree: CPU seconds, peak memory, time to its first commit.

CPU comes from the kernel's accounting of ended children. A process of its own starts the command, adopts orphans of
its tree (a subreaper), so that the JVM that PySpark leaves behind is waited for and counted too, and knows no other
children. Memory is sampled, as the sum over the tree.
"""

import ctypes
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_SECONDS = 0.025


@dataclass
class Measured:
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    first_commit_seconds: float | None
    output: str
    # Thread name → CPU seconds, as last seen; threads that ended between two looks are missing.
    threads: dict[str, float] = field(default_factory=dict)


def measure(command: list[str], table: Path, log: Path, env: dict[str, str] | None = None) -> Measured:
    """Runs `command` to its end; `table` is where its commits appear."""
    runner = [sys.executable, "-m", "bench.measure", str(table), str(log), *command]
    done = subprocess.run(runner, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:4])}:\n{log.read_text(errors='replace')[-3000:]}")
    return Measured(**json.loads(done.stdout))


def _measure(command: list[str], table: Path, log: Path) -> Measured:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    started = time.monotonic()
    with log.open("wb") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file)
    peak, first_commit = 0, None
    threads: dict[tuple[int, int], tuple[str, float]] = {}
    while child.poll() is None:
        tree = _tree(os.getpid())
        peak = max(peak, sum(_resident(pid) for pid in tree))
        threads.update(_threads(child.pid))
        if first_commit is None and _has_data_commit(table):
            first_commit = time.monotonic() - started
        time.sleep(_EVERY_SECONDS)
    _reap_orphans()
    seconds = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    if first_commit is None and _has_data_commit(table):
        first_commit = seconds
    output = log.read_text(errors="replace")
    if child.returncode != 0:
        sys.exit(f"ended with {child.returncode}")
    by_name: dict[str, float] = defaultdict(float)
    for name, used in threads.values():
        by_name[name] += used
    return Measured(seconds, usage.ru_utime + usage.ru_stime, peak, first_commit, output, dict(by_name))


def _reap_orphans() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _tree(root: int) -> list[int]:
    """The descendants of `root`, without it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found, left = [], [root]
    while left:
        parent = left.pop()
        children = [pid for pid, its_parent in parents.items() if its_parent == parent]
        found += children
        left += children
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _threads(pid: int) -> dict[tuple[int, int], tuple[str, float]]:
    found = {}
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{task}/stat").read_text()
            fields = text.rpartition(")")[2].split()
            name = re.sub(r"[-:#]?\d+$", "", text[text.index("(") + 1 : text.rindex(")")])
            found[(pid, int(task))] = (name, (int(fields[11]) + int(fields[12])) / _TICKS)
    except (OSError, IndexError, ValueError):
        pass
    return found


def _has_data_commit(table: Path) -> bool:
    log = table / "_delta_log"
    try:
        entries = [entry for entry in log.iterdir() if re.fullmatch(r"\d{20}\.json", entry.name)]
        return any('"add"' in entry.read_text() for entry in sorted(entries))
    except OSError:
        return False


if __name__ == "__main__":
    table_given, log_given, *command_given = sys.argv[1:]
    print(json.dumps(asdict(_measure(command_given, Path(table_given), Path(log_given)))))
