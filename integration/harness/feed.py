"""Orders out of order: a topic whose partitions lag, and of which some records are late, have no event time or come
from the future. Record n of a partition is a function of the seed, so that a model needs no Kafka."""

import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from harness import producers
from harness.producers import COUNTRIES, scattered

SCHEMA = (
    "id BIGINT NOT NULL, country STRING, shop STRING, amount DECIMAL(18,4), price DOUBLE, quantity BIGINT, "
    "paid BOOLEAN, event_time TIMESTAMP"
)
DECODE = {"value": {"format": "json", "schema": SCHEMA, "timestamps": {"event_time": "epoch_millis"}}}
FIRST_MILLIS = 1_760_000_000_000
# Ahead of any record's own timestamp.
FUTURE_MILLIS = 4_000_000_000_000
_STEP = 5_000


class Event(NamedTuple):
    """A record; where a value is missing, None."""

    partition: int
    offset: int
    id: int
    # Milliseconds since 1970.
    time: int | None
    country: str | None
    shop: str
    # In ten-thousandths.
    amount: int | None
    # A multiple of an eighth: sums of such are exact in any order.
    price: float | None
    quantity: int
    paid: bool | None


@dataclass(frozen=True)
class Feed:
    """What is in the topic. Event times run over `span` seconds in each partition."""

    seed: int
    # Of all partitions together; the last one has a tenth of the others' share.
    records: int
    # How many seconds each partition's event times are behind those of the first.
    lags: tuple[int, ...] = (0, 0, 2, 5, 20, 45, 150, 400)
    span: int = 3_600
    shops: int = 20
    # Seconds by which neighbours are out of order.
    disorder: int = 20
    # Every so many records one is behind by up to so many seconds.
    straggler_every: int = 40
    straggler_behind: int = 600
    # Every so many records one has no event time, or one in the future; 0: none.
    timeless_every: int = 700
    future_every: int = 0

    @property
    def partitions(self) -> int:
        return len(self.lags)

    def count(self, partition: int) -> int:
        share = self.records * 10 // (10 * self.partitions - 9)
        thin = self.records - share * (self.partitions - 1)
        return thin if partition == self.partitions - 1 else share

    def events(self, partition: int, start: int = 0, stop: int | None = None) -> Iterator[Event]:
        """Those of the offsets [start, stop)."""
        count = self.count(partition)
        span, disorder, behind = 1000 * self.span, 1000 * self.disorder, 1000 * self.straggler_behind
        first = FIRST_MILLIS - 1000 * self.lags[partition]
        salt = scattered(self.seed) ^ partition << 40
        for offset in range(start, count if stop is None else stop):
            bits = scattered(salt + offset)
            time: int | None = first + span * offset // count - bits % (disorder + 1)
            if self.straggler_every and (bits >> 20) % self.straggler_every == 0:
                time -= (bits >> 26) % behind
            elif self.timeless_every and (bits >> 21) % self.timeless_every == 0:
                time = None
            elif self.future_every and (bits >> 22) % self.future_every == 0:
                time = FUTURE_MILLIS + (bits & 0xFFFF)
            yield Event(
                partition,
                offset,
                offset * self.partitions + partition,
                time,
                None if (bits >> 3) % 50 == 0 else COUNTRIES[bits >> 61],
                f"shop-{(bits >> 7) % self.shops}",
                None if (bits >> 9) % 90 == 0 else (bits >> 30) % 100_000_000 - 1_000_000,
                None if (bits >> 11) % 70 == 0 else ((bits >> 24) % 80_000) / 8,
                (bits >> 40) % 1_700 - 200,
                None if (bits >> 13) % 60 == 0 else bits & 0x300 != 0,
            )

    def everything(self) -> Iterator[Iterator[Event]]:
        """Each partition's events, in the order of offsets."""
        return (self.events(partition) for partition in range(self.partitions))


def text(event: Event) -> bytes:
    sign, amount = ("-", -event.amount) if (event.amount or 0) < 0 else ("", event.amount)
    return (
        '{"id":%d,"country":%s,"shop":"%s","amount":%s,"price":%s,"quantity":%d,"paid":%s,"event_time":%s}'
        % (
            event.id,
            "null" if event.country is None else f'"{event.country}"',
            event.shop,
            "null" if amount is None else "%s%d.%04d" % (sign, *divmod(amount, 10_000)),
            "null" if event.price is None else repr(event.price),
            event.quantity,
            "null" if event.paid is None else "true" if event.paid else "false",
            "null" if event.time is None else event.time,
        )
    ).encode()


def send(bootstrap: str, topic: str, events: dict[int, Iterable[Event]]) -> None:
    """Events of partitions, each in its order, partitions by turns."""
    made = producers.producer(bootstrap, enable_idempotence=True, compression_type="lz4")
    values = {partition: map(text, each) for partition, each in events.items()}
    producers.by_turns(made, topic, values, _STEP)


def produce(bootstrap: str, topic: str, feed: Feed, part: tuple[int, int] = (0, 1), of: int = 1) -> None:
    """The feed's parts [part) of `of` that are alike: by default all of it. Two processes, if it is large."""
    partitions = range(feed.partitions)
    if feed.records < 200_000:
        _produce(bootstrap, topic, feed, partitions, part, of)
        return
    spawn = multiprocessing.get_context("spawn")
    shares = (partitions[::2], partitions[1::2])
    children = [
        spawn.Process(target=_produce, args=(bootstrap, topic, feed, share, part, of)) for share in shares
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, f"a producer ended with {child.exitcode}"


def _produce(
    bootstrap: str, topic: str, feed: Feed, partitions: Iterable[int], part: tuple[int, int], of: int
) -> None:
    bounds = {n: [feed.count(n) * each // of for each in part] for n in partitions}
    send(bootstrap, topic, {n: feed.events(n, *bounds[n]) for n in partitions})
