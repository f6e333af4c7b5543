"""The readers that sluice's tables are for: DuckDB, Spark, Polars, delta-rs. Each is asked for the same rows."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import duckdb
import polars
import pyarrow
from deltalake import DeltaTable

from harness import places
from harness.s3 import REGION


class Duck:
    """DuckDB with the Delta extension, offline. `storage` as sluice's, for tables on S3."""

    def __init__(self, storage: dict[str, str] | None = None):
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'; SET threads = 2; SET enable_progress_bar = false")
        for name in ("delta", "httpfs"):
            self.connection.execute(f"LOAD '{_extension(name)}'")
        if storage:
            address = urlparse(storage["aws_endpoint"]).netloc
            self.connection.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{storage['aws_access_key_id']}', "
                f"SECRET '{storage['aws_secret_access_key']}', ENDPOINT '{address}', REGION '{REGION}', "
                "URL_STYLE 'path', USE_SSL false)"
            )

    def rows(self, query: str, **relations: pyarrow.Table) -> list[tuple[Any, ...]]:
        for name, relation in relations.items():
            self.connection.register(name, relation)
        return self.connection.execute(query).fetchall()

    def row(self, query: str, **relations: pyarrow.Table) -> tuple[Any, ...]:
        (only,) = self.rows(query, **relations)
        return only


def _extension(name: str) -> Path:
    (found,) = places.part("venv").glob(f"lib/python3*/site-packages/duckdb_extension_{name}/**/*.duckdb_extension")
    return found


def scan(table: str | Path) -> str:
    """The table in DuckDB's SQL."""
    return f"delta_scan('{table}')"


def by_path(table: str | Path) -> str:
    """The table in Spark's SQL."""
    return f"delta.`{table}`"


def spark_session(warehouse: Path, memory: str = "1g", settings: dict[str, str] | None = None) -> Any:
    """`local[2]` with the Delta extension and the Kafka source; one a process."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    jars = ",".join(str(jar) for jar in sorted(places.part("spark").glob("*.jar")))
    builder = (
        SparkSession.builder.master("local[2]")
        .appName("sluice-integration")
        .config("spark.sql.warehouse.dir", str(warehouse))
        .config("spark.jars", jars)
        .config("spark.driver.memory", memory)
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.databricks.delta.snapshotPartitions", "2")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    )
    for key, value in (settings or {}).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def spark_rows(session: Any, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.sql(query).collect()]


def delta_rs(table: str | Path, storage: dict[str, str] | None = None) -> DeltaTable:
    return DeltaTable(str(table), storage_options=storage)


def polars_frame(table: str | Path, storage: dict[str, str] | None = None) -> polars.LazyFrame:
    return polars.scan_delta(str(table), storage_options=storage)


# The same summary of an orders table, asked of each reader: count, keys, sums. Decimals and counts are exact; the sum
# of doubles is rounded, since readers add them in different orders.
_SUMMARY = """
SELECT count(*), count(DISTINCT orderId), sum(amount), sum(customerId), sum(quantity), round(sum(price), 2),
       count(CASE WHEN paid THEN 1 END), min(event_time), max(event_time),
       count(DISTINCT concat(kafka_partition, '/', kafka_offset)), sum(kafka_offset)
FROM {table}
"""


def _plain(row: tuple[Any, ...]) -> tuple[str, ...]:
    """As text: zone-aware and zone-less clocks, Decimal and int, are spelled alike."""
    return tuple(str(value.replace(tzinfo=None)) if hasattr(value, "tzinfo") else str(value) for value in row)


def duckdb_summary(table: str | Path, storage: dict[str, str] | None = None) -> tuple[str, ...]:
    query = _SUMMARY.format(table=scan(table)).replace("min(event_time)", "min(event_time)::TIMESTAMP")
    return _plain(Duck(storage).row(query.replace("max(event_time)", "max(event_time)::TIMESTAMP")))


def spark_summary(session: Any, table: str | Path) -> tuple[str, ...]:
    (row,) = spark_rows(session, _SUMMARY.format(table=by_path(table)))
    return _plain(row)


def polars_summary(table: str | Path, storage: dict[str, str] | None = None) -> tuple[str, ...]:
    col = polars.col
    frame = polars_frame(table, storage).select(
        polars.len().alias("rows"),
        col("orderId").n_unique(),
        col("amount").sum(),
        col("customerId").sum().alias("customers"),
        col("quantity").cast(polars.Int64).sum(),
        col("price").sum().round(2),
        col("paid").sum().alias("paid_rows"),
        col("event_time").min().alias("first"),
        col("event_time").max().alias("last"),
        polars.struct("kafka_partition", "kafka_offset").n_unique().alias("places"),
        col("kafka_offset").sum(),
    )
    return _plain(frame.collect().row(0))


def delta_rs_summary(table: str | Path, storage: dict[str, str] | None = None) -> tuple[str, ...]:
    """delta-rs opens and reads the table; DuckDB's SQL only adds up the Arrow data it gave."""
    rows = delta_rs(table, storage).to_pyarrow_table()
    query = _SUMMARY.format(table="rows").replace("min(event_time)", "min(event_time)::TIMESTAMP")
    return _plain(Duck().row(query.replace("max(event_time)", "max(event_time)::TIMESTAMP"), rows=rows))
