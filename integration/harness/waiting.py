"""Waiting for something to be true, with a deadline. Nothing in the tests sleeps for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DeadlinePassed(AssertionError):
    pass


def wait_until(what: str, probe: Callable[[], T], seconds: float = 30.0, every: float = 0.02) -> T:
    """The first true answer of `probe`; DeadlinePassed, naming `what` and the last answer, after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise DeadlinePassed(f"waited {seconds:g} s for {what}; the last answer was {answer!r}")
        time.sleep(every)
