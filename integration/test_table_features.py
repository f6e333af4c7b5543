"""Tables that Spark made, feature by feature: written to as each feature asks, or refused by name at the start."""

from dataclasses import dataclass, field

import pytest

from conftest import Connector, Lake
from harness import oracle, producers, readers
from harness.kafka import Kafka
from harness.readers import Duck, by_path, scan
from harness.sluice import DATA_REFUSED

COLUMNS = (
    "orderId STRING NOT NULL, customerId BIGINT, country STRING, amount DECIMAL(18,4), price DOUBLE, quantity INT, "
    "paid BOOLEAN, event_time TIMESTAMP, note STRING, "
    "kafka_partition INT NOT NULL, kafka_offset BIGINT NOT NULL, kafka_timestamp TIMESTAMP"
)


@dataclass
class Case:
    """`create` and `alter` are Spark's SQL, with `{table}`; `refused`: what the message must name."""

    name: str
    columns: str = COLUMNS
    clauses: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)
    refused: str | None = None


ROW = (
    "INSERT INTO {table} (orderId, country, kafka_partition, kafka_offset) "
    "SELECT concat('old-', id), 'DE', 100, id FROM range(10)"
)
CASES = [
    Case("plain"),
    Case("appendOnly", properties={"delta.appendOnly": "true"}),
    Case("changeDataFeed", properties={"delta.enableChangeDataFeed": "true"}),
    Case(
        "deletionVectors",
        properties={"delta.enableDeletionVectors": "true"},
        after=[ROW, "DELETE FROM {table} WHERE kafka_offset % 3 = 0"],
    ),
    Case("v2Checkpoint", properties={"delta.checkpointPolicy": "v2", "delta.checkpointInterval": "2"}, after=[ROW] * 3),
    Case("typeWidening", properties={"delta.enableTypeWidening": "true"}),
    Case("partitioned", clauses="PARTITIONED BY (country)"),
    Case("column of another writer", columns=COLUMNS + ", added_by_others STRING"),
    Case("columnMapping", properties={"delta.columnMapping.mode": "name"}, refused="columnMapping"),
    Case("rowTracking", properties={"delta.enableRowTracking": "true"}, refused="rowTracking"),
    Case("inCommitTimestamp", properties={"delta.enableInCommitTimestamps": "true"}, refused="inCommitTimestamp"),
    Case(
        "checkConstraints",
        after=["ALTER TABLE {table} ADD CONSTRAINT few CHECK (quantity < 5)"],
        refused="checkConstraints",
    ),
    Case(
        "generatedColumns",
        columns=COLUMNS + ", event_date DATE GENERATED ALWAYS AS (CAST(event_time AS DATE))",
        refused="generatedColumns",
    ),
    Case(
        "identityColumns",
        columns=COLUMNS + ", id BIGINT GENERATED ALWAYS AS IDENTITY",
        refused="identityColumns",
    ),
    Case(
        "allowColumnDefaults",
        columns=COLUMNS + ", source STRING DEFAULT 'web'",
        properties={"delta.feature.allowColumnDefaults": "supported"},
        refused="allowColumnDefaults",
    ),
    Case("variantType", columns=COLUMNS + ", extra VARIANT", refused="variantType"),
    Case("another type", columns=COLUMNS.replace("amount DECIMAL(18,4)", "amount DOUBLE"), refused="`amount`"),
    Case("a missing column", columns=COLUMNS.replace("note STRING, ", ""), refused="`note`"),
    Case("NOT NULL", columns=COLUMNS.replace("country STRING", "country STRING NOT NULL"), refused="`country`"),
    Case("a required column of another writer", columns=COLUMNS + ", must STRING NOT NULL", refused="`must`"),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_a_table_that_spark_made(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark, case: Case
) -> None:
    table = local.table("orders")
    name = by_path(table)
    properties = ", ".join(f"'{key}' = '{value}'" for key, value in case.properties.items())
    clauses = case.clauses + (f" TBLPROPERTIES ({properties})" if properties else "")
    spark.sql(f"CREATE TABLE {name} ({case.columns}) USING delta {clauses}")
    for statement in case.after:
        spark.sql(statement.format(table=name))
    log = local.log("orders")
    version = log.version()
    before = spark.sql(f"SELECT count(*) FROM {name}").first()[0]

    producers.orders(kafka.bootstrap, topic, 0, 400)
    partition_by = {"partition_by": ["country"]} if case.clauses else {}
    sluice = connector(topic, local, output={"create": "never", **partition_by})
    if case.refused:
        refusal = sluice.run(code=DATA_REFUSED)
        assert case.refused in refusal.stderr
        assert log.version() == version, "a refused table is left alone"
        checked = sluice.ask("check")
        assert checked.code == 3 and case.refused in checked.stdout + checked.stderr
        return
    sluice.run()
    mine = f"SELECT * FROM {scan(table)} WHERE kafka_partition < 100"
    (rows,) = Duck().row(f"SELECT count(*) FROM ({mine})")
    assert rows == 400
    assert spark.sql(f"SELECT count(*) FROM {name}").first()[0] == before + 400
    assert readers.duckdb_summary(table) == readers.spark_summary(spark, table)
    if not before:
        oracle.assert_exact(table, kafka, topic)
    producers.orders(kafka.bootstrap, topic, 400, 400)
    sluice.run()
    assert spark.sql(f"SELECT count(*) FROM {name}").first()[0] == before + 800
    sluice.verify()


def test_change_data_feed_shows_each_row_as_an_insert(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    table = local.table("orders")
    properties = "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"
    spark.sql(f"CREATE TABLE {by_path(table)} ({COLUMNS}) USING delta {properties}")
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    connector(topic, local, limits={"max_records": 300}).run()
    changes = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 0).load(table)
    assert [tuple(row) for row in changes.groupBy("_change_type").count().collect()] == [("insert", 1_000)]


def test_spark_optimizes_deletes_and_vacuums_a_table_of_ours(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 2_000)
    table = local.table("orders")
    name = by_path(table)
    sluice = connector(topic, local, limits={"max_records": 200})
    sluice.run()
    spark.sql(f"OPTIMIZE {name}")
    spark.sql(f"DELETE FROM {name} WHERE country = 'FR'")
    spark.sql(f"VACUUM {name}")
    producers.orders(kafka.bootstrap, topic, 2_000, 2_000)
    sluice.run()
    (rows, french) = Duck().row(f"SELECT count(*), count(*) FILTER (country = 'FR') FROM {scan(table)}")
    sent = [sum(b'"FR"' in producers.order(n) for n in numbers) for numbers in (range(2_000), range(2_000, 4_000))]
    assert (rows, french) == (4_000 - sent[0], sent[1])
    assert readers.duckdb_summary(table) == readers.spark_summary(spark, table)


def test_history_shows_the_totals(kafka: Kafka, topic: str, local: Lake, connector: Connector, spark) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    connector(topic, local).run()
    newest = spark.sql(f"DESCRIBE HISTORY {by_path(local.table('orders'))} LIMIT 1").first()
    assert newest["operation"] == "WRITE"
    assert newest["isBlindAppend"] is True
    assert newest["operationMetrics"]["numOutputRows"] == "1000"
