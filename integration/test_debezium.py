"""Change streams of Debezium, through Kafka: the history of a table by appending, the table itself by upserting."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Connector, Lake
from harness import producers
from harness.avro import datum, record
from harness.kafka import Kafka
from harness.readers import Duck, by_path, scan, spark_rows

Records = list[tuple[bytes | None, bytes | None]]

FIXTURES = Path(__file__).parent / "fixtures" / "debezium"
DATABASES = ["postgres", "mysql"]


def recording(database: str) -> tuple[Records, dict[str, Any]]:
    """Keys and values, and the tables that must come of them."""
    lines = (FIXTURES / f"{database}.tsv").read_text().splitlines()
    pairs = (line.split("\t") for line in lines)
    records = [(key.encode(), None if value == "null" else value.encode()) for key, value in pairs]
    return records, json.loads((FIXTURES / f"{database}.expected.json").read_text())


def sent(kafka: Kafka, topic: str, database: str) -> tuple[Records, dict[str, Any]]:
    """The recording, which is in the topic now."""
    records, expected = recording(database)
    producers.send_records(kafka.bootstrap, topic, records)
    return records, expected


def decode(expected: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": {"format": "json", "schema": expected["key_schema"]},
        "value": {
            "format": "debezium",
            "encoding": "json",
            "schema": expected["schema"],
            "timestamps": expected["timestamps"],
            "change_columns": ["op", "timestamp", "source"],
        },
    }


def history(lake: Lake) -> dict[str, Any]:
    return {"history": {"table": lake.table("history"), "metadata_columns": ["offset"]}}


def rows(lake: Lake) -> dict[str, Any]:
    return {"rows": {"table": lake.table("rows"), "mode": "upsert", "merge_key": ["id"], "metadata_columns": []}}


def plain(value: Any) -> Any:
    """As the expectations write it: times as ISO text."""
    if isinstance(value, datetime.datetime):
        text = value.isoformat(timespec="microseconds" if value.microsecond % 1000 else "milliseconds")
        zone = "Z" if value.tzinfo else ""
        return text.removesuffix("+00:00").removesuffix(".000") + zone
    return value.isoformat() if isinstance(value, datetime.date) else value


def read(lake: Lake, table: str, columns: list[str], order: str) -> list[list[Any]]:
    query = f"SELECT {', '.join(columns)} FROM {scan(lake.table(table))} ORDER BY {order}"
    found = Duck().connection.execute(query).to_arrow_table()
    values = zip(*(column.to_pylist() for column in found.columns), strict=True)
    return [[plain(value) for value in row] for row in values]


def assert_history(lake: Lake, expected: dict[str, Any]) -> None:
    columns = ["change_op", "change_timestamp", *expected["columns"]]
    assert read(lake, "history", columns, "kafka_offset") == expected["changes"]


@pytest.mark.parametrize("database", DATABASES)
def test_the_history_of_a_table(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, database: str
) -> None:
    records, expected = sent(kafka, topic, database)
    sluice = connector(topic, local, decode=decode(expected), outputs=history(local))
    sluice.run()
    assert_history(local, expected)
    sources = local.rows("change_source", "history", order="kafka_offset")
    envelopes = [json.loads(value) for _, value in records if value]
    expected_sources = [envelope.get("payload", envelope)["source"] for envelope in envelopes]
    assert [json.loads(source) for (source,) in sources] == expected_sources
    sluice.verify("--deep")


@pytest.mark.parametrize("batch", [1, 3, 1_000], ids=["one-by-one", "threes", "at-once"])
@pytest.mark.parametrize("database", DATABASES)
def test_the_table_itself_beside_its_history(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, database: str, batch: int
) -> None:
    _, expected = sent(kafka, topic, database)
    both = history(local) | rows(local)
    sluice = connector(topic, local, decode=decode(expected), outputs=both, limits={"max_records": batch})
    sluice.run()
    assert_history(local, expected)
    assert read(local, "rows", expected["columns"], "id") == expected["upsert"]
    sluice.verify("--deep")


def test_the_table_itself_on_any_store_for_any_reader(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector, spark: Any
) -> None:
    _, expected = sent(kafka, topic, "postgres")
    both = history(lake) | rows(lake)
    connector(topic, lake, decode=decode(expected), outputs=both, limits={"max_records": 4}).run()
    wanted = [(row[0], row[1], row[3]) for row in expected["upsert"]]
    assert lake.rows("id, name, balance", "rows", order="id") == wanted
    assert spark_rows(spark, f"SELECT id, name, balance FROM {by_path(lake.path('rows'))} ORDER BY id") == wanted


def connect_record(name: str, fields: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    """A record as Connect writes it: optional fields are unions with null, which is their default."""
    unions = {field: ["null", of] for field, of in optional.items()}
    return record(name, fields | unions, dict.fromkeys(optional))


def test_change_events_in_avro(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    """The same stream as Kafka Connect's Avro converter writes it, and the columns are those of the schema."""
    records, expected = recording("postgres")
    name = "shop.public.customers"
    row = connect_record(
        f"{name}.Value",
        {"id": "int", "name": "string"},
        {
            "email": "string",
            "balance": "string",
            "vip": "boolean",
            "born": {"type": "int", "connect.name": "io.debezium.time.Date"},
            "updated": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"},
            "created": {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"},
            "tags": {"type": "string", "connect.name": "io.debezium.data.Json"},
        },
    )
    place = {"connector": "string", "ts_ms": "long"}
    source = connect_record("io.debezium.connector.postgresql.Source", place, {"lsn": "long"})
    sides = {"before": ["null", row], "after": ["null", f"{name}.Value"]}
    rest = {"source": source, "op": "string", "ts_ms": ["null", "long"]}
    envelope = record(f"{name}.Envelope", {**sides, **rest}, dict.fromkeys(["before", "after", "ts_ms"]))
    key = record(f"{name}.Key", {"id": "int"})

    def written(schema: dict[str, Any], text: bytes | None) -> bytes | None:
        return None if text is None else datum(schema, json.loads(text))

    avro = [(written(key, each_key), written(envelope, value)) for each_key, value in records]
    producers.send_records(kafka.bootstrap, topic, avro)
    read_as = {
        "key": {"format": "avro", "avro_schema": json.dumps(key)},
        "value": {
            "format": "debezium",
            "encoding": "avro",
            "avro_schema": json.dumps(envelope),
            "change_columns": ["op", "timestamp", "source"],
        },
    }
    sluice = connector(topic, local, decode=read_as, outputs=history(local))
    sluice.run()
    # Debezium's own types are numbers and texts to Avro.
    columns = ["change_op", "change_timestamp", "id", "name", "email", "balance", "vip", "tags", "key.id"]
    wanted = [[*row[:7], row[-1], row[2]] for row in expected["changes"]]
    assert read(local, "history", columns, "kafka_offset") == wanted
    first, *_ = local.rows("born, updated, created, change_source", "history", order="kafka_offset")
    born, updated, created, place = first
    assert (born, updated, created) == (-56270, 1709251200000000, "2024-03-01T00:00:00.123456Z")
    assert json.loads(place) == {"connector": "postgresql", "ts_ms": 1709251300000, "lsn": 24023128}
    sluice.verify("--deep")
