"""JSON in a topic becomes a table that every reader reads alike."""

import json
from collections import Counter

import pytest

from conftest import Connector, Lake
from harness import oracle, producers, readers
from harness.kafka import Kafka
from harness.readers import Duck, by_path, scan, spark_rows
from harness.sluice import CONTINUOUS, caught_up, wait_caught_up
from harness.waiting import wait_until

SIZES = [pytest.param(200_000, id="200k"), pytest.param(5_000_000, id="5M", marks=pytest.mark.soak)]


@pytest.mark.parametrize("records", SIZES)
def test_orders_arrive_and_four_readers_agree(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector, spark, records: int
) -> None:
    producers.many_orders(kafka.bootstrap, topic, records, compression_type="lz4")
    sluice = connector(topic, lake)
    sluice.run(seconds=300)

    table = lake.table("orders")
    assert oracle.assert_exact(table, kafka, topic, lake.storage) == records
    summary = readers.duckdb_summary(table, lake.storage)
    assert summary[0] == summary[1] == str(records), "each order once"
    assert summary[3] == str(sum(producers.customer(n) for n in range(records))), "customerId, from the count alone"
    assert readers.spark_summary(spark, lake.path("orders")) == summary
    assert readers.polars_summary(table, lake.storage) == summary
    assert readers.delta_rs_summary(table, lake.storage) == summary

    log = lake.log("orders")
    assert log.offsets(topic, "sluice/orders/orders/") == {n: records // 4 for n in range(4)}
    sluice.verify()
    sluice.verify("--deep")


def test_a_second_run_with_nothing_new_commits_nothing(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    sluice = connector(topic, lake)
    sluice.run()
    version = lake.log("orders").version()
    sluice.run()
    assert lake.log("orders").version() == version
    producers.orders(kafka.bootstrap, topic, 1_000, 1_000)
    sluice.run()
    assert lake.log("orders").version() > version
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 2_000


def test_the_first_commit_holds_the_starts_and_no_data(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 100)
    connector(topic, local).run()
    first_with_progress = next(commit for commit in local.log("orders").commits() if commit.txns)
    assert not first_with_progress.of("add")
    assert sorted(first_with_progress.txns.values()) == [0, 0, 0, 0]


def test_limits_cut_the_backlog_into_batches(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 10_000)
    connector(topic, local, limits={"max_records": 1_000}).run()
    rows = [sum(_rows(add) for add in commit.of("add")) for commit in local.log("orders").commits()]
    assert max(rows) <= 1_000
    assert sum(rows) == 10_000
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 10_000


def _rows(add: dict) -> int:
    return json.loads(add["stats"])["numRecords"]


def test_once_takes_everything_in_one_batch(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 10_000)
    connector(topic, local, trigger={"mode": "once"}, limits={"max_records": 1_000}).run()
    commits = local.log("orders").commits()
    assert sum(1 for commit in commits if commit.of("add")) == 1
    assert oracle.assert_exact(local.table("orders"), kafka, topic) == 10_000


@pytest.mark.parametrize("column", ["country", "paid", "quantity"])
def test_a_partitioned_table_reads_alike(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark, column: str
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 5_000)
    table = local.table("orders")
    connector(topic, local, output={"partition_by": [column]}).run()
    assert oracle.assert_exact(table, kafka, topic) == 5_000
    assert local.log("orders").metadata()["partitionColumns"] == [column]
    summary = readers.duckdb_summary(table)
    assert readers.spark_summary(spark, table) == summary
    assert readers.polars_summary(table) == summary
    assert readers.delta_rs_summary(table) == summary


def test_odd_partition_values_survive(kafka: Kafka, topic: str, local: Lake, connector: Connector, spark) -> None:
    values = ["a/b", "50% off", "1+1=2", "#x", "ü ñ", "a b", "quote'\"", "", None, "a:b?c*d", "back\\slash", "日本"]
    records = [json.dumps({"k": value, "n": n}).encode() for n, value in enumerate(values)]
    producers.send(kafka.bootstrap, topic, records)
    table = local.table("orders")
    decode = {"value": {"format": "json", "schema": "k STRING, n INT"}}
    connector(topic, local, decode=decode, output={"partition_by": ["k"]}).run()

    expected = {n: value or None for n, value in enumerate(values)}  # Delta stores an empty string as NULL
    assert dict(local.rows("n, k")) == expected
    assert {row.n: row.k for row in spark.sql(f"SELECT n, k FROM {by_path(table)}").collect()} == expected
    assert dict(readers.polars_frame(table).select("n", "k").collect().iter_rows()) == expected
    rows = readers.delta_rs(table).to_pyarrow_table(columns=["n", "k"]).to_pylist()
    assert {row["n"]: row["k"] for row in rows} == expected


def test_every_primitive_type_partitions_a_table(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    """One output partitioned by each column, and one by none: all hold the same rows for every reader."""
    schema = {
        "text": ("STRING", ['"a b"', '"ü/%"']),
        "flag": ("BOOLEAN", ["true", "false"]),
        "tiny": ("TINYINT", ["-128", "127"]),
        "small": ("SMALLINT", ["-32768", "32767"]),
        "whole": ("INT", ["-2147483648", "7"]),
        "large": ("BIGINT", ["-9223372036854775808", "9223372036854775807"]),
        "real": ("FLOAT", ["0.5", "-1.25e10"]),
        "precise": ("DOUBLE", ["0.1", "-1e-300"]),
        "price": ("DECIMAL(18,4)", ["12345678901234.5678", "0.0001"]),  # delta-rs 1.6.6 takes -1.5 apart as "-1.-5"
        "day": ("DATE", ['"1969-12-31"', '"2026-02-28"']),
        "moment": ("TIMESTAMP", ['"2026-02-28T23:59:59.123456Z"', '"1969-12-31T23:59:59+01:00"']),
    }
    fields = [", ".join(f'"{name}":{values[n]}' for name, (_, values) in schema.items()) for n in (0, 1)]
    producers.send(kafka.bootstrap, topic, [f"{{{text}}}".encode() for text in (*fields, "")], partition=0)
    ddl = ", ".join(f"{name} {kind}" for name, (kind, _) in schema.items())
    outputs = {"plain": {"table": local.table("plain")}}
    for name in schema:
        outputs[f"by_{name}"] = {"table": local.table(f"by_{name}"), "partition_by": [name]}
    connector(topic, local, decode={"value": {"format": "json", "schema": ddl}}, outputs=outputs).run()

    columns = [*schema, "kafka_offset"]
    text = ", ".join(f"{name}::VARCHAR" for name in columns)
    expected = Duck().rows(f"SELECT {text} FROM {scan(local.table('plain'))} ORDER BY kafka_offset")
    assert len(expected) == 3 and set(expected[2][:-1]) == {None}
    assert expected[0][5] == schema["large"][1][0] and expected[1][8] == schema["price"][1][1]
    query = f"SELECT {', '.join(columns)} FROM {{}} ORDER BY kafka_offset"
    by_spark = spark_rows(spark, query.format(by_path(local.table("plain"))))
    for name in schema:
        table = local.table(f"by_{name}")
        assert Duck().rows(f"SELECT {text} FROM {scan(table)} ORDER BY kafka_offset") == expected, name
        got = spark_rows(spark, query.format(by_path(table)))
        assert got == by_spark, name
        plain = readers.polars_frame(local.table("plain")).select(columns).sort("kafka_offset").collect()
        assert readers.polars_frame(table).select(columns).sort("kafka_offset").collect().equals(plain), name
        rows = readers.delta_rs(table).to_pyarrow_table(columns=columns)
        assert Duck().rows(f"SELECT {text} FROM got ORDER BY kafka_offset", got=rows) == expected, name


def test_several_outputs_of_several_topics_have_progress_of_their_own(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    other = kafka.create_topic(kafka.new_name("payments"), 2)
    producers.orders(kafka.bootstrap, topic, 0, 4_000)
    producers.orders(kafka.bootstrap, other, 0, 3_000, partitions=2)
    both, one = local.table("both"), local.table("one")
    columns = ["topic", "partition", "offset"]
    sluice = connector([topic, other], local)
    sluice.write(
        outputs={
            "both": {"table": both, "metadata_columns": columns},
            "one": {"table": one, "topics": [other], "metadata_columns": columns},
        }
    )
    sluice.run()
    per_topic = "SELECT kafka_topic, count(*) FROM {} GROUP BY ALL"
    assert dict(Duck().rows(per_topic.format(scan(both)))) == {topic: 4_000, other: 3_000}
    assert dict(Duck().rows(per_topic.format(scan(one)))) == {other: 3_000}
    oracle.assert_exact(one, kafka, other)

    # One more output later: it starts at the beginning, the others go on where they were.
    late = local.table("late")
    versions = local.log("both").version(), local.log("one").version()
    sluice.write(outputs={**sluice.config["outputs"], "late": {"table": late, "topics": [topic]}})
    sluice.run()
    assert oracle.assert_exact(late, kafka, topic) == 4_000
    assert (local.log("both").version(), local.log("one").version()) == versions
    sluice.verify()


def test_bad_records_become_dead_letters_exactly_once(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    good = [producers.order(n) for n in range(2_000)]
    bad = [b"{", b"", b"[]", b'{"orderId":null}', b'{"orderId":"x","quantity":99999999999}', b"\xff\xfe", b"1"]
    values = [value for n, value in enumerate(good) for value in ([value, bad[n // 300]] if n % 300 == 7 else [value])]
    producers.send(kafka.bootstrap, topic, values[:1_000], partition=0, key=b"k", headers=[("trace", b"\x00\x01")])
    producers.send(kafka.bootstrap, topic, values[1_000:], partition=1)
    sluice = connector(topic, lake, dead_letters={"table": lake.table("dead")}, limits={"max_records": 300})
    sluice.write(decode={**sluice.config["decode"], "on_bad_record": "dead_letter"})
    sluice.run()

    produced = oracle.records(kafka, topic)
    is_bad = ["o" in row and row["v"] in bad for row in produced.to_pylist()]
    bad_places = sorted((row["p"], row["o"]) for row, flag in zip(produced.to_pylist(), is_bad, strict=True) if flag)
    assert len(bad_places) == 7
    columns = Duck(lake.storage).connection.execute(f"DESCRIBE SELECT * FROM {scan(lake.table('dead'))}").fetchall()
    names = {name for name, *_ in columns}
    assert {"kafka_partition", "kafka_offset"} <= names, names
    dead = lake.rows("kafka_partition, kafka_offset", "dead")
    assert dead == bad_places
    kept = produced.filter([not flag for flag in is_bad])
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage, expected=kept) == 2_000
    sluice.verify()


def test_a_running_connector_follows_and_stops_on_sigterm(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector
) -> None:
    sluice = connector(topic, lake, trigger=CONTINUOUS)
    process = sluice.start()
    log = lake.log("orders")
    for part in range(3):
        producers.orders(kafka.bootstrap, topic, part * 1_000, 1_000)
        wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert oracle.assert_exact(lake.table("orders"), kafka, topic, lake.storage) == 3_000


def test_offsets_are_published_to_the_group(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 400)
    group = f"group-of-{topic}"
    sluice = connector(topic, local)
    sluice.write(source={**sluice.config["source"], "group_id": group})
    sluice.run()
    assert caught_up(local.log("orders"), kafka, topic)
    wait_until("the group's offsets", lambda: kafka.committed(group, topic) == {n: 100 for n in range(4)}, 10)


def test_topics_of_a_pattern_are_picked_up_while_running(
    kafka: Kafka, local: Lake, connector: Connector
) -> None:
    stem = kafka.new_name("pattern")
    first = kafka.create_topic(f"{stem}-a", 1)
    kafka.create_topic(f"not-{stem}-a", 1)
    producers.orders(kafka.bootstrap, first, 0, 100, partitions=1)
    source = {
        "brokers": [kafka.bootstrap],
        "topic_pattern": f"{stem}-.*",
    }
    output = {"metadata_columns": ["topic", "partition", "offset"]}
    sluice = connector(first, local, trigger=CONTINUOUS, source=source, output=output)
    process = sluice.start()
    wait_caught_up(process, local.log("orders"), kafka, first)
    second = kafka.create_topic(f"{stem}-b", 1)
    producers.orders(kafka.bootstrap, second, 0, 70, partitions=1)
    wait_caught_up(process, local.log("orders"), kafka, second, seconds=90)
    process.terminate()
    assert Counter(local.rows("kafka_topic")) == {(first,): 100, (second,): 70}
