"""The judge is judged first: the oracle must see each kind of fault, the proxy must do what it says."""

import pyarrow
import pytest
from deltalake import write_deltalake

from conftest import Lake
from harness import oracle, producers, readers
from harness.kafka import Kafka
from harness.oracle import ORDER_COLUMNS
from harness.readers import Duck
from harness.s3 import S3
from harness.s3_proxy import COMMIT, S3Proxy, cut, landed_but, refused


def orders_table(kafka: Kafka, topic: str) -> pyarrow.Table:
    """What sluice should make of a topic, made by DuckDB."""
    columns = ", ".join(f'{source} AS "{name}"' for name, source in ORDER_COLUMNS.items())
    duck = Duck()
    duck.connection.register("records", oracle.records(kafka, topic))
    return duck.connection.execute(
        f"SELECT {columns}, p AS kafka_partition, o AS kafka_offset FROM (SELECT p, o, decode(v) AS v FROM records)"
    ).to_arrow_table()


def changed(table: pyarrow.Table) -> pyarrow.Table:
    """One note of the first row is another."""
    notes = table["note"].to_pylist()
    at = table.schema.get_field_index("note")
    return table.set_column(at, "note", pyarrow.array(["not what was sent", *notes[1:]]))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda table: table, None),
        (lambda table: pyarrow.concat_tables([table, table.slice(3, 1)]), "twice: [("),
        (lambda table: table.slice(1), "missing: [(0, 0)]"),
        (lambda table: pyarrow.concat_tables([table, invented(table)]), "not in the topic: [(0, 999)]"),
        (changed, "not what was sent"),
    ],
    ids=["exact", "doubled", "missing", "invented", "changed"],
)
def test_the_oracle_tells_each_fault(kafka: Kafka, topic: str, local: Lake, fault, told: str | None) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 400)
    rows = orders_table(kafka, topic).sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])
    write_deltalake(local.table("orders"), fault(rows))
    if told is None:
        assert oracle.assert_exact(local.table("orders"), kafka, topic) == 400
    else:
        with pytest.raises(AssertionError) as error:
            oracle.assert_exact(local.table("orders"), kafka, topic)
        assert told in str(error.value)


def invented(table: pyarrow.Table) -> pyarrow.Table:
    row = table.slice(0, 1)
    at = row.schema.get_field_index("kafka_offset")
    return row.set_column(at, "kafka_offset", pyarrow.array([999], pyarrow.int64()))


def test_four_readers_give_one_summary(kafka: Kafka, topic: str, lake: Lake, spark) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 2_000)
    table = lake.table("orders")
    write_deltalake(table, orders_table(kafka, topic), storage_options=lake.storage)
    expected = readers.duckdb_summary(table, lake.storage)
    assert expected[0] == "2000"
    assert readers.polars_summary(table, lake.storage) == expected
    assert readers.delta_rs_summary(table, lake.storage) == expected
    assert readers.spark_summary(spark, lake.path("orders")) == expected


def test_the_proxy_spoils_what_it_is_told_to(s3: S3, topic: str) -> None:
    one_row = pyarrow.table({"a": [1]})
    with S3Proxy(s3.port) as proxy:
        storage = {**s3.storage(proxy.endpoint), "aws_conditional_put": "etag"}
        table = s3.url(f"proxy-{topic}")
        for action in (refused(503), cut, landed_but(500), landed_but(None)):
            rule = proxy.on("PUT", COMMIT, action)
            write_deltalake(table, one_row, mode="append", storage_options=storage)
            assert rule.used == 1, "object_store tried again and got through"
        assert readers.delta_rs(table, storage).version() >= 3
