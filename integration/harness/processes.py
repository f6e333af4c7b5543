"""A child process with its log in a file, ended with its starter."""

import ctypes
import os
import signal
import socket
import subprocess
from pathlib import Path

from harness.waiting import wait_until

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """`output` appears in `log` from the byte where this child began."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None, stdout: Path | None = None):
        self.command = command
        self.log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as err, (stdout or log).open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def peak_memory(self) -> int:
        """The largest RSS so far, in bytes; it must be running."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.running():
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, seconds: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s: {self.describe()}") from None

    def wait_output(self, text: str, seconds: float = 30) -> None:
        def seen() -> bool:
            if text in self.output:
                return True
            assert self.running(), f"ended with {self.process.returncode} before it said {text!r}: {self.describe()}"
            return False

        wait_until(f"{text!r} in {self.log.name}", seen, seconds)

    def describe(self) -> str:
        return f"{' '.join(self.command[:3])} ...\n{self.output[-4000:]}"


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False
