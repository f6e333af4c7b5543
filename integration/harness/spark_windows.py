"""An output with windows as a Structured Streaming query of Spark."""

from pathlib import Path
from typing import Any

from harness.feed import SCHEMA
from harness.windows import MEASURES, Session, Windowed

_COLUMNS = SCHEMA.replace(" NOT NULL", "").replace("event_time TIMESTAMP", "event_millis BIGINT")


def start(
    session: Any,
    bootstrap: str,
    topic: str,
    asked: Windowed,
    table: str,
    checkpoint: Path,
    batch: int | None = None,
) -> Any:
    """The query, started: it reads what is in the topic now, `batch` records at a time, and ends."""
    from pyspark.sql import functions

    reader = (
        session.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("kafka.isolation.level", "read_committed")
    )
    if batch:
        reader = reader.option("maxOffsetsPerTrigger", batch)
    parsed = f"from_json(replace(CAST(value AS STRING), 'event_time', 'event_millis'), '{_COLUMNS}') AS v"
    rows = (
        reader.load()
        .selectExpr(parsed)
        .selectExpr("v.*", "timestamp_millis(v.event_millis) AS event_time")
        .withWatermark("event_time", f"{asked.delay} seconds")
    )
    measures = [functions.expr(f"{MEASURES[name][0]} AS {name}") for name in asked.measures]
    window = functions.expr(f"{_window(asked)} AS w")
    results = rows.groupBy(window, *asked.group_by).agg(*measures)
    results = results.selectExpr("w.start AS window_start", "w.end AS window_end", *asked.group_by, *asked.measures)
    return (
        results.writeStream.format("delta")
        .outputMode("append")
        .option("checkpointLocation", str(checkpoint))
        .trigger(availableNow=True)
        .start(table)
    )


def _window(asked: Windowed) -> str:
    window = asked.window
    if isinstance(window, Session) and window.own:
        gap = f"CASE WHEN paid THEN '{window.gap} seconds' WHEN NOT paid THEN '{2 * window.gap} seconds' ELSE '0 seconds' END"
        return f"session_window(event_time, {gap})"
    if isinstance(window, Session):
        return f"session_window(event_time, '{window.gap} seconds')"
    lengths = (window.size, window.slide, window.offset)
    return "window(event_time, {})".format(", ".join(f"'{length} seconds'" for length in lengths))
