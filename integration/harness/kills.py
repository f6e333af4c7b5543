"""SIGKILL at random moments."""

import random
import time

from harness.delta_log import DeltaLog
from harness.sluice import Sluice
from harness.waiting import DeadlinePassed, wait_until


def kill_at_random(chance: random.Random, sluice: Sluice, log: DeltaLog, kills: int) -> int:
    """Starts the connector and kills it, so many times; how many of the processes had not committed by then."""
    before_a_commit = 0
    for _ in range(kills):
        before = log.version()
        process = sluice.start()
        _random_moment(chance, log, before)
        process.kill()
        before_a_commit += log.version() == before
    return before_a_commit


def _random_moment(chance: random.Random, log: DeltaLog, before: int) -> None:
    """Half of them a random time after the start, half a random few milliseconds after a commit, where the next one is
    under way. The sleeps are the moments themselves: nothing is waited for."""
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0.0, 0.8))
        return
    wanted = before + chance.randrange(1, 6)
    try:
        wait_until(f"version {wanted}", lambda: log.version() >= wanted, 5, every=0.002)
    except DeadlinePassed:
        pass  # there was not that much to commit
    time.sleep(chance.uniform(0.0, 0.03))
