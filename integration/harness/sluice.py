"""The binary under test: its configuration as a file, its processes, and what it has committed."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import places
from harness.delta_log import DeltaLog
from harness.kafka import Kafka
from harness.processes import Child
from harness.producers import SCHEMA
from harness.s3 import SECRET_KEY
from harness.waiting import wait_until

# Exit codes (docs/reference/exit-codes.md)
DONE, BUG, USAGE, NEGATIVE_FINDING, FENCED, DATA_REFUSED, UNREACHABLE, CONFIGURATION = 0, 1, 2, 3, 4, 5, 75, 78


def configuration(
    kafka: Kafka, topic: str | list[str], table: str | Path, output: dict[str, Any] | None = None, **top: Any
) -> dict[str, Any]:
    """An orders connector that reads `topic` to its end and exits; `top` replaces keys of the first level."""
    return {
        "name": "orders",
        "source": {
            "brokers": kafka.bootstrap.split(","),
            "topics": [topic] if isinstance(topic, str) else topic,
        },
        "decode": {"value": {"format": "json", "schema": SCHEMA}},
        "trigger": {"mode": "available_now"},
        "retry": {"initial_backoff": "50ms", "max_backoff": "500ms"},
        "outputs": {"orders": {"table": str(table), **(output or {})}},
        **top,
    }


CONTINUOUS = {"mode": "processing_time", "interval": "0s"}
# Of `decode`: nothing stops for a bad record.
DEAD_LETTERS = {"on_bad_record": "dead_letter", "bad_record_limit": "100%"}


@dataclass
class Answer:
    """What a command that ended said."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.stdout)

    def ndjson(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines() if line.strip()]


class Sluice:
    """One connector in a folder of its own: `connector.yaml`, and a log for each process."""

    def __init__(self, folder: Path, config: dict[str, Any], env: dict[str, str] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = config
        self.file = folder / "connector.yaml"
        own = {"RUST_BACKTRACE": "1", "NO_COLOR": "1", "SLUICE_TEST_S3_SECRET": SECRET_KEY, "TMPDIR": str(folder)}
        self.env = own | (env or {})
        self.processes: list[Child] = []
        self.write()

    def write(self, **top: Any) -> None:
        """Writes the configuration again, with keys of the first level replaced."""
        self.config.update(top)
        self.file.write_text(yaml(self.config))

    def command(self, *words: str) -> list[str]:
        """The command line of `sluice WORDS... FILE`."""
        return [str(places.sluice_binary()), *words, str(self.file)]

    def start(self, command: str = "run", *arguments: str) -> Child:
        """A process that goes on by itself; it is killed with the test at the latest. `command` may be two words."""
        words = command.split()
        name = f"{'-'.join(words)}-{len(self.processes)}"
        log = self.folder / f"{name}.log"
        child = Child([*self.command(*words), *arguments], log, self.env, stdout=self.folder / f"{name}.out")
        self.processes.append(child)
        return child

    def ask(self, command: str, *arguments: str, seconds: float = 60) -> Answer:
        """Runs a command to its end."""
        child = self.start(command, *arguments)
        try:
            code = child.wait(seconds)
        finally:
            child.kill()
        return Answer(code, self.stdout_of(child), child.output)

    def stdout_of(self, child: Child) -> str:
        return child.log.with_suffix(".out").read_text()

    def run(self, *arguments: str, code: int = DONE, seconds: float = 120) -> Answer:
        """`sluice run` to its end, which must come with `code`."""
        answer = self.ask("run", *arguments, seconds=seconds)
        assert answer.code == code, f"exit code {answer.code}, not {code}:\n{answer.stdout}\n{answer.stderr[-6000:]}"
        return answer

    def finish(self, **options: Any) -> Answer:
        """Runs what there is now to its end, whatever the trigger was."""
        self.write(trigger={"mode": "available_now"})
        return self.run(**options)

    def verify(self, *arguments: str, code: int = DONE) -> Answer:
        answer = self.ask("verify", *arguments)
        assert answer.code == code, f"verify: {answer.code}, not {code}:\n{answer.stdout}\n{answer.stderr[-4000:]}"
        return answer

    def close(self) -> None:
        for process in self.processes:
            process.signal(signal.SIGCONT)
            process.kill()


def caught_up(log: DeltaLog, kafka: Kafka, topic: str) -> bool:
    """Whether the table's progress stands at the topic's end in every partition."""
    wanted = {partition: end for partition, (_, end) in kafka.watermarks(topic).items()}
    return log.offsets(topic) == wanted


def wait_caught_up(process: Child, log: DeltaLog, kafka: Kafka, topic: str, seconds: float = 60) -> None:
    wanted = {partition: end for partition, (_, end) in kafka.watermarks(topic).items()}

    def there() -> bool:
        if log.offsets(topic) == wanted:
            return True
        assert process.running(), f"ended with {process.process.returncode}: {process.describe()}"
        return False

    try:
        wait_until(f"progress {wanted}", there, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; progress {log.offsets(topic)}; {process.describe()}") from None


def wait_version(process: Child, log: DeltaLog, version: int, seconds: float = 60) -> None:
    def there() -> bool:
        if log.version() >= version:
            return True
        assert process.running(), f"ended with {process.process.returncode}: {process.describe()}"
        return False

    try:
        wait_until(f"table version {version}", there, seconds, every=0.005)
    except AssertionError as error:
        raise AssertionError(f"{error}; version {log.version()}; {process.describe()}") from None


def yaml(value: Any, indent: int = 0) -> str:
    """Plain YAML of dicts, lists and scalars; scalars are quoted as JSON has them."""
    pad = "  " * indent
    lines = []
    for key, item in value.items():
        name = key if str(key).replace("_", "").isalnum() else json.dumps(str(key))
        if isinstance(item, dict) and item:
            lines.append(f"{pad}{name}:\n{yaml(item, indent + 1)}")
        else:
            lines.append(f"{pad}{name}: {json.dumps(item)}\n")
    return "".join(lines)
