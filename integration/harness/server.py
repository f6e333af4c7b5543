"""What the real parts that run as servers have in common: a folder, a process on a port, a start and an end.

A part knows its command and when it is ready. By hand, `until_interrupted` keeps it for whoever wants to use it.
"""

import shutil
import signal
import tempfile
from pathlib import Path
from typing import Self

from harness.processes import Child, answers, free_ports
from harness.waiting import wait_until


class Part:
    """Lives in `folder`, or in one that goes with it. Use as a context manager, or call `start` and `close`."""

    def __init__(self, name: str, folder: Path | None):
        self.name = name
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"sluice-{name}-"))
        self.folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns when it is ready."""
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL: every connection is cut, and new ones are refused until `start`."""
        raise NotImplementedError

    def close(self) -> None:
        self.kill()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


class Server(Part):
    """One process; started again, it has the same port and files."""

    env: dict[str, str] = {}

    def __init__(self, name: str, folder: Path | None, port: int | None = None):
        super().__init__(name, folder)
        self.port = port or free_ports(1)[0]
        self._child: Child | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        return answers(self.port)

    @property
    def child(self) -> Child:
        assert self._child, f"{self.name} was not started"
        return self._child

    def launch(self) -> None:
        """`start` without the waiting."""
        self._child = Child(self.command(), self.folder / f"{self.name}.log", self.env)

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.child.running(), f"{self.name} ended: {self.child.describe()}"
            return self.ready()

        wait_until(f"{self.name} to be ready", ready, 120)

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        if self._child:
            self._child.kill()

    def pause(self) -> None:
        """SIGSTOP: it accepts connections and does not answer."""
        self.child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.signal(signal.SIGCONT)


def until_interrupted(*lines: str) -> None:
    """Says how to use what has been started, and waits for Ctrl-C."""
    print(*lines, "Ctrl-C stops it.", sep="\n", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
