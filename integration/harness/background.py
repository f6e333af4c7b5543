"""What goes on beside a test, until the test says that it is enough."""

import threading
from typing import Self


class Background:
    """Does `step` again and again in a thread, from the block's start to its end; what it raises is raised there."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def step(self) -> float:
        """The seconds until the next one: its pace, not a wait for anything."""
        raise NotImplementedError

    def finish(self) -> None:
        """What remains to be done after the last step."""

    def _run(self) -> None:
        try:
            while not self._stop.wait(self.step()):
                pass
            self.finish()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "its last step does not end"
        if self._error:
            raise self._error
