"""Event-time windows as docs/WINDOWS.md says them, in the plainest way: a model to compare tables with.

Rows are judged one by one in the order of offsets, and kept in lists; when all have been read, the windows whose end W
has reached are those that must be in the table. Knows nothing of batches, state or commits. Holds for topics without
idle or joining partitions, where the clock decides nothing.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.feed import Event
from harness.readers import Duck, scan

# Start and end in milliseconds since 1970.
Span = tuple[int, int]
Keys = tuple[Any, ...]


@dataclass(frozen=True)
class Sliding:
    """Lengths in seconds."""

    size: int
    slide: int
    offset: int = 0

    @property
    def config(self) -> dict[str, str]:
        offset = {"offset": f"{self.offset}s"} if self.offset else {}
        if self.slide == self.size:
            return {"kind": "tumbling", "size": f"{self.size}s", **offset}
        return {"kind": "sliding", "size": f"{self.size}s", "slide": f"{self.slide}s", **offset}

    def spans(self, time: int) -> list[Span]:
        """The windows that hold an instant."""
        size, slide, offset = 1000 * self.size, 1000 * self.slide, 1000 * self.offset
        start = time - (time - offset) % slide
        found = []
        while start + size > time:
            found.append((start, start + size))
            start -= slide
        return found


def tumbling(size: int, offset: int = 0) -> Sliding:
    return Sliding(size, size, offset)


@dataclass(frozen=True)
class Session:
    """`joins`: a row exactly a gap after the last one belongs to its session, as Spark has it. `own`: orders that are not
    paid have twice the gap, and those of which nobody knows have none."""

    gap: int
    joins: bool = False
    own: bool = False

    @property
    def config(self) -> dict[str, str]:
        if self.own:
            seconds = f"CASE WHEN paid THEN {self.gap} WHEN NOT paid THEN {2 * self.gap} END"
            return {"kind": "session", "gap_seconds": seconds}
        return {"kind": "session", "gap": f"{self.gap}s"}

    def end(self, event: Event) -> int:
        """Of a session of this row alone."""
        return event.time + (2_000 if self.own and not event.paid else 1_000) * self.gap

    def takes(self, event: Event) -> bool:
        return not self.own or event.paid is not None


Window = Sliding | Session


@dataclass
class Model:
    """What a table with windows of `window` has; lengths in seconds. `latest`: event times after it, in milliseconds,
    are further ahead than `max_future` of every record's timestamp."""

    window: Window
    delay: int
    group_by: tuple[str, ...] = ("country",)
    where: Callable[[Event], bool] = lambda event: True
    latest: int | None = None
    # Fate → records.
    fates: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    late_partial: int = 0
    # Partition and offset of what no window takes.
    refused: set[tuple[int, int]] = field(default_factory=set)
    # Partition → its watermark in milliseconds; None before its first usable event time.
    watermarks: dict[int, int | None] = field(default_factory=dict)
    _rows: dict[Any, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def read(self, partitions: Iterable[Iterable[Event]]) -> "Model":
        for number, events in enumerate(partitions):
            self.watermarks[number] = None
            for event in events:
                self._judge(event)
        return self

    def _judge(self, event: Event) -> None:
        time = event.time
        gapless = isinstance(self.window, Session) and self.where(event) and not self.window.takes(event)
        usable = time is not None and not gapless
        future = usable and self.latest is not None and time > self.latest
        if usable and not future:
            before = self.watermarks[event.partition]
            reached = time - 1000 * self.delay
            self.watermarks[event.partition] = reached if before is None else max(before, reached)
        if not self.where(event):
            fate = "filtered"
        elif not usable:
            fate = "timeless"
        elif future:
            fate = "future"
        elif self._takes(event, self.watermarks[event.partition]):
            fate = "aggregated"
        else:
            fate = "late"
        self.fates[fate] += 1
        if fate in ("timeless", "future", "late"):
            self.refused.add((event.partition, event.offset))

    def _takes(self, event: Event, watermark: int) -> bool:
        keys = tuple(getattr(event, name) for name in self.group_by)
        if isinstance(self.window, Session):
            if event.time < watermark:
                return False
            self._rows[keys].append(event)
            return True
        spans = self.window.spans(event.time)
        still_open = [span for span in spans if span[1] > watermark]
        for span in still_open:
            self._rows[span, keys].append(event)
        self.late_partial += 0 < len(still_open) < len(spans)
        return bool(still_open)

    @property
    def watermark(self) -> int | None:
        """W in the end."""
        return None if None in self.watermarks.values() else min(self.watermarks.values())

    def closed(self) -> dict[tuple[Span, Keys], list[Event]]:
        """The rows of each window that is closed in the end, by (event time, partition, offset)."""
        if self.watermark is None:
            return {}
        return {place: rows for place, rows in self.windows().items() if place[0][1] <= self.watermark}

    def windows(self) -> dict[tuple[Span, Keys], list[Event]]:
        """The rows of each window, open or closed."""
        by_order = {place: sorted(rows, key=_order) for place, rows in self._rows.items()}
        return _sessions(by_order, self.window) if isinstance(self.window, Session) else by_order


def _order(event: Event) -> tuple[int, int, int]:
    return event.time, event.partition, event.offset


def _sessions(by_keys: dict[Keys, list[Event]], window: Session) -> dict[tuple[Span, Keys], list[Event]]:
    found = {}
    for keys, rows in by_keys.items():
        session: list[Event] = []
        end = 0
        for row in rows:
            if session and row.time >= end + window.joins:
                found[(session[0].time, end), keys] = session
                session = []
            end = max(end, window.end(row)) if session else window.end(row)
            session.append(row)
        if session:
            found[(session[0].time, end), keys] = session
    return found


# Measures: how sluice is asked for each, and what it is of a window's rows.


def _of(column: str, value: Callable[[list[Any]], Any]) -> Callable[[list[Event]], Any]:
    """`value` of what isn't null; null when nothing is left."""

    def measure(rows: list[Event]) -> Any:
        values = [each for row in rows if (each := getattr(row, column)) is not None]
        return value(values) if values else None

    return measure


def _amount(ten_thousandths: int) -> Decimal:
    return Decimal(ten_thousandths).scaleb(-4)


def _mean_amount(values: list[int]) -> Decimal:
    """Of eight places, half away from zero."""
    total = sum(values) * 10_000
    places = (2 * abs(total) + len(values)) // (2 * len(values))
    return Decimal(places if total >= 0 else -places).scaleb(-8)


def _variance(values: list[float], less: int = 0) -> float | None:
    mean = math.fsum(values) / len(values)
    below = len(values) - less
    return math.fsum((value - mean) ** 2 for value in values) / below if below else None


def _deviation(values: list[float], less: int = 0) -> float | None:
    found = _variance(values, less)
    return None if found is None else math.sqrt(found)


def _dearest(rows: list[Event]) -> list[int]:
    """The ids of orders with a price, the dearest first and of equals the first; `rows` are in order."""
    return [row.id for row in sorted((row for row in rows if row.price is not None), key=lambda row: -row.price)]


EXACT: dict[str, tuple[str, Callable[[list[Event]], Any]]] = {
    "orders": ("count(*)", len),
    "priced": ("count(price)", lambda rows: sum(row.price is not None for row in rows)),
    "paid_orders": ("count(*) filter (where paid)", lambda rows: sum(row.paid is True for row in rows)),
    "revenue": ("sum(amount)", _of("amount", lambda values: _amount(sum(values)))),
    "items": ("sum(quantity)", _of("quantity", sum)),
    "prices": ("sum(price)", _of("price", math.fsum)),
    "mean_amount": ("avg(amount)", _of("amount", _mean_amount)),
    "mean_items": ("avg(quantity)", _of("quantity", lambda values: sum(values) / len(values))),
    "mean_price": ("avg(price)", _of("price", lambda values: math.fsum(values) / len(values))),
    "least": ("min(amount)", _of("amount", lambda values: _amount(min(values)))),
    "dearest": ("max(price)", _of("price", max)),
    "all_paid": ("bool_and(paid)", _of("paid", all)),
    "any_paid": ("bool_or(paid)", _of("paid", any)),
    "first_id": ("first(id)", lambda rows: rows[0].id),
    "shops": ("count(distinct shop)", lambda rows: len({row.shop for row in rows})),
    "dearest_id": ("max_by(id, price)", lambda rows: next(iter(_dearest(rows)), None)),
    "dearest_ids": ("max_by(id, price, 3)", lambda rows: _dearest(rows)[:3] or None),
    "last_amount": ("last(amount)", lambda rows: None if rows[-1].amount is None else _amount(rows[-1].amount)),
}
# Rounded once, which the model doesn't do.
ROUNDED: dict[str, tuple[str, Callable[[list[Event]], Any]]] = {
    "var_pop": ("var_pop(price)", _of("price", _variance)),
    "var_samp": ("var_samp(quantity)", _of("quantity", lambda values: _variance(values, 1))),
    "stddev_pop": ("stddev_pop(quantity)", _of("quantity", _deviation)),
    "stddev_samp": ("stddev_samp(price)", _of("price", lambda values: _deviation(values, 1))),
}
MEASURES = {**EXACT, **ROUNDED}


Rows = dict[tuple[Any, ...], tuple[Any, ...]]


@dataclass(frozen=True)
class Windowed:
    """An output with windows: what sluice is asked for, and what the model says of it. Lengths in seconds."""

    window: Window
    group_by: tuple[str, ...] = ("country",)
    delay: int = 60
    measures: tuple[str, ...] = tuple(MEASURES)
    late_rows: Any = "drop"
    # `final`, or what `changes` takes.
    emit: Any = "final"
    # Where state is kept meanwhile.
    backend: str = "memory"

    def output(self, table: str | Path, watermark: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """Its configuration. `watermark`: more of its keys; `more`: of the output's."""
        aggregate = {
            "watermark": {"column": "event_time", "delay": f"{self.delay}s", **(watermark or {})},
            "window": self.window.config,
            "group_by": list(self.group_by),
            "measures": {name: MEASURES[name][0] for name in self.measures},
            "emit": self.emit,
            "late_rows": self.late_rows,
        }
        state = {"backend": self.backend, **more.pop("state", {})}
        return {"table": str(table), "aggregate": aggregate, "state": state, **more}

    def model(self, partitions: Iterable[Iterable[Event]], **more: Any) -> Model:
        return Model(self.window, self.delay, self.group_by, **more).read(partitions)

    def rows(self, windows: dict[tuple[Span, Keys], list[Event]]) -> Rows:
        """The table's rows: start, end and keys → measures."""
        chosen = [MEASURES[name][1] for name in self.measures]
        return {(*span, *keys): tuple(of(events) for of in chosen) for (span, keys), events in windows.items()}

    @property
    def columns(self) -> list[str]:
        """In DuckDB's SQL, as `rows` has them."""
        return ["epoch_ms(window_start)", "epoch_ms(window_end)", *self.group_by, *self.measures]

    def read(self, table: str | Path, storage: dict[str, str] | None = None) -> Rows:
        """What DuckDB reads; no window comes twice."""
        keys = 2 + len(self.group_by)
        found: Rows = {}
        for row in Duck(storage).rows(f"SELECT {', '.join(self.columns)} FROM {scan(table)}"):
            assert row[:keys] not in found, f"twice in {table}: {row[:keys]}"
            found[row[:keys]] = row[keys:]
        return found

    def assert_equal(self, got: Rows, wanted: Rows) -> int:
        """Row for row; the number of them."""
        missing = [(place, row) for place, row in wanted.items() if place not in got]
        invented = [(place, row) for place, row in got.items() if place not in wanted]
        differ = [
            (place, [each for each in zip(self.measures, row, wanted[place], strict=True) if not _alike(*each)])
            for place, row in got.items()
            if place in wanted
        ]
        differ = [(place, cells) for place, cells in differ if cells]
        assert not (missing or invented or differ), (
            f"{len(got)} rows, {len(wanted)} wanted; missing {len(missing)}: {missing[:3]}; invented {len(invented)}: "
            f"{invented[:3]}; (measure, got, wanted) {len(differ)}: {differ[:3]}"
        )
        return len(got)


def _alike(measure: str, got: Any, wanted: Any) -> bool:
    if measure in ROUNDED and got is not None and wanted is not None:
        return math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-6)
    return type(got) is type(wanted) and got == wanted
