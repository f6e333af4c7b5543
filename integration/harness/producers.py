"""Orders as JSON, and the ways to get them into a topic: plain and fast, in transactions, compressed, compacted, huge.

Order n is a function of n, so that a checksum over a table can be worked out from the count alone; its values are
scattered as real ones are, so that no encoding finds a pattern in them. By hand:
`python -m harness.producers BOOTSTRAP TOPIC COUNT`.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from confluent_kafka import Producer

SCHEMA = (
    "orderId STRING NOT NULL, customerId BIGINT, country STRING, amount DECIMAL(18,4), price DOUBLE, quantity INT, "
    "paid BOOLEAN, event_time TIMESTAMP, note STRING"
)
COUNTRIES = ("DE", "FR", "NL", "PL", "ES", "IT", "SE", "AT")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_QUEUE = 1_000_000
_FIRST_EVENT_MILLIS = 1_760_000_000_000
_NOTE = "please leave it with the neighbours if nobody opens, and ring twice"
_NOTES = tuple(f"{country}: {_NOTE[: 58 + n]}" for n, country in enumerate(COUNTRIES))
_SCATTER, _BITS = 0x9E3779B97F4A7C15, (1 << 64) - 1


def scattered(n: int) -> int:
    """64 bits that look random (Fibonacci hashing: n times 2**64 over the golden ratio)."""
    mixed = n * _SCATTER & _BITS
    return (mixed ^ mixed >> 29) * _SCATTER & _BITS


def customer(n: int) -> int:
    return 1_000_000 + scattered(n) % 99_991


def order(n: int) -> bytes:
    """The nth order, about 260 bytes."""
    bits = scattered(n)
    # Events come nearly in order, as from many clocks.
    seconds, millis = divmod(_FIRST_EVENT_MILLIS + 37 * n + (bits >> 50), 1000)
    return (
        '{"orderId":"order-%012d","customerId":%d,"country":"%s","amount":%d.%04d,"price":%d.%02d,"quantity":%d,'
        '"paid":%s,"event_time":"%s.%03dZ","note":"%s %016x"}'
        % (
            n,
            1_000_000 + bits % 99_991,
            COUNTRIES[bits >> 61],
            (bits >> 16) % 10_000,
            (bits >> 24) % 10_000,
            (bits >> 8) % 500,
            (bits >> 32) % 100,
            (bits >> 40) % 17,
            "true" if bits & 0x300 else "false",
            _iso_seconds(seconds),
            millis,
            _NOTES[(bits >> 5) % 8],
            bits,
        )
    ).encode()


_iso_cache: dict[int, str] = {}


def _iso_seconds(seconds: int) -> str:
    text = _iso_cache.get(seconds)
    if text is None:
        if len(_iso_cache) > 10_000:
            _iso_cache.clear()
        text = _iso_cache[seconds] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return text


def producer(bootstrap: str, **settings: object) -> Producer:
    """`settings` in Python's spelling: `compression_type="zstd"`."""
    config = {
        "bootstrap.servers": bootstrap,
        "linger.ms": 5,
        "acks": "all",
        "batch.num.messages": 100_000,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": _QUEUE,
        "log_level": 2,
    }
    config.update({key.replace("_", "."): value for key, value in settings.items()})
    return Producer(config)


class _Failures:
    def __init__(self) -> None:
        self.first: object = None

    def __call__(self, error: object, _message: object) -> None:
        if error is not None and self.first is None:
            self.first = error


def send(
    bootstrap: str,
    topic: str,
    values: Iterable[bytes | None],
    partition: int | None = None,
    key: bytes | None = None,
    headers: list[tuple[str, bytes]] | None = None,
    **settings: object,
) -> None:
    """Sends and waits for the acknowledgement of each; raises if one was refused."""
    made = producer(bootstrap, **settings)
    more = {"partition": partition, "headers": headers}
    more = {name: given for name, given in more.items() if given is not None}
    _send(made, topic, ((key, value) for value in values), **more)


def send_records(
    bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], partition: int = 0
) -> None:
    """Sends pairs of key and value to one partition, in their order; raises if one was refused."""
    _send(producer(bootstrap), topic, records, partition=partition)


def _send(
    made: Producer, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], **more: object
) -> None:
    failures = _Failures()
    for key, value in records:
        made.produce(topic, value=value, key=key, on_delivery=failures, **more)
        made.poll(0)
    _finish(made, failures)


def _finish(made: Producer, failures: _Failures) -> None:
    left = made.flush(60)
    assert left == 0, f"{left} records were not acknowledged"
    assert failures.first is None, failures.first


def orders(
    bootstrap: str,
    topic: str,
    start: int,
    count: int,
    partitions: int = 4,
    encode: Callable[[int], bytes] = order,
    **settings: object,
) -> None:
    """Orders [start, start + count), order n to partition n % partitions. About 0.3 M records/s."""
    made = producer(bootstrap, **settings)
    failures = _Failures()
    step = 20_000
    for first in range(start, start + count, step):
        last = min(first + step, start + count)
        for partition in range(partitions):
            numbers = range(first + (partition - first) % partitions, last, partitions)
            _send_batch(made, topic, [encode(n) for n in numbers], partition, failures)
    _finish(made, failures)


def _send_batch(made: Producer, topic: str, values: list[bytes], partition: int, failures: _Failures) -> None:
    batch = [{"value": value} for value in values]
    while batch:
        made.produce_batch(topic, batch, partition=partition, on_delivery=failures)
        batch = [message for message in batch if "_error" in message]
        for message in batch:  # the queue is full
            del message["_error"]
        made.poll(0.05 if batch else 0)


def by_turns(made: Producer, topic: str, values: dict[int, Iterator[bytes]], step: int) -> None:
    """Each partition's values in their order, `step` of a partition before the next has its turn."""
    failures = _Failures()
    left = dict(values)
    while left:
        for partition, more in list(left.items()):
            batch = list(islice(more, step))
            if len(batch) < step:
                del left[partition]
            # A batch that finds the queue full is taken in part, and the rest of it would come later than the next.
            while len(made) > _QUEUE // 2:
                made.poll(0.05)
            _send_batch(made, topic, batch, partition, failures)
    _finish(made, failures)


def many_orders(bootstrap: str, topic: str, count: int, partitions: int = 4, **settings: object) -> None:
    """Orders [0, count) by two processes: for topics of millions. `settings` as of `orders`."""
    half = count // 2
    spawn = multiprocessing.get_context("spawn")
    shares = [(0, half), (half, count - half)]
    children = [
        spawn.Process(target=orders, args=(bootstrap, topic, start, share, partitions), kwargs=settings)
        for start, share in shares
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, f"a producer ended with {child.exitcode}"


def transactions(bootstrap: str, topic: str, plan: Iterable[tuple[str, list[bytes], int]], name: str) -> None:
    """One transaction for each `(what, values, partition)`; `what` is `commit` or `abort`."""
    made = producer(bootstrap, transactional_id=name, transaction_timeout_ms=60_000)
    made.init_transactions(30)
    for what, values, partition in plan:
        made.begin_transaction()
        for value in values:
            made.produce(topic, value=value, partition=partition)
        if what == "commit":
            made.commit_transaction(30)
        else:
            made.flush(30)  # so that the records are in the log, and only their abort hides them
            made.abort_transaction(30)


def main() -> None:
    bootstrap, topic, count = sys.argv[1:4]
    started = time.monotonic()
    many_orders(bootstrap, topic, int(count), compression_type="lz4")
    seconds = time.monotonic() - started
    print(f"{int(count):,} orders of {len(order(1))} B in {seconds:.1f} s, {int(count) / seconds:,.0f}/s")
    print(f"schema: {SCHEMA}")


if __name__ == "__main__":
    main()
