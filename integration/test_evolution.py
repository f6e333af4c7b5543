"""Schemas that change from run to run: what is added, what is widened, what is refused, and who reads it."""

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import polars
import pytest
from deltalake import DeltaTable

from conftest import Connector, Lake
from harness import producers
from harness.kafka import Kafka
from harness.readers import Duck, by_path, delta_rs, polars_frame, scan, spark_rows
from harness.sluice import CONTINUOUS, DATA_REFUSED, Answer, Sluice, wait_caught_up, wait_version

Row = dict[str, Any]

WIDENING = {"delta.enableTypeWidening": "true"}
READ_ONLY_BY_SPARK_AND_DUCKDB = "after which delta-rs and Polars can't read it"


def set_schema(sluice: Sluice, schema: str, evolution: str = "add_columns", **output: Any) -> None:
    outputs = {"orders": {**sluice.config["outputs"]["orders"], "schema_evolution": evolution, **output}}
    sluice.write(decode={"value": {"format": "json", "schema": schema}}, outputs=outputs)


def run(
    sluice: Sluice, schema: str, evolution: str = "add_columns", command: str = "run", code: int = 0, **output: Any
) -> Answer:
    """A run, or another command, with this schema and policy."""
    set_schema(sluice, schema, evolution, **output)
    answer = sluice.ask(command)
    assert answer.code == code, f"exit code {answer.code}, not {code}:\n{answer.stdout}\n{answer.stderr[-4000:]}"
    return answer


def send(kafka: Kafka, topic: str, *rows: Row) -> None:
    producers.send(kafka.bootstrap, topic, [as_json(row).encode() for row in rows], partition=0)


def as_json(value: Any) -> str:
    """Decimals digit by digit, days and times as ISO 8601."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{as_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_json, value)) + "]"
    if isinstance(value, date):
        return json.dumps(value.isoformat())
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def columns_of(table: str) -> list[str]:
    """But for what Kafka says of each record."""
    return [field.name for field in DeltaTable(table).schema().fields if not field.name.startswith("kafka_")]


def plain(value: Any) -> Any:
    """Without NULLs, and with a map as a dict, whatever a reader makes of it."""
    if hasattr(value, "asDict"):
        value = value.asDict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if not isinstance(value, list):
        return value
    if value and all(type(item) is tuple for item in value):  # delta-rs
        return {key: plain(item) for key, item in value}
    if value and all(isinstance(item, dict) and set(item) == {"key", "value"} for item in value):  # Polars
        return {item["key"]: plain(item["value"]) for item in value}
    return [plain(item) for item in value]


def spark_reads(spark: Any, table: str, columns: list[str], version: int | None = None) -> list[Row]:
    at = "" if version is None else f" VERSION AS OF {version}"
    names = ", ".join(f"`{name}`" for name in columns)
    rows = spark.sql(f"SELECT {names} FROM {by_path(table)}{at} ORDER BY id").collect()
    return [plain(row) for row in rows]


def duckdb_reads(table: str, columns: list[str]) -> list[Row]:
    names = ", ".join(f'"{name}"' for name in columns)
    rows = Duck().rows(f"SELECT {names} FROM {scan(table)} ORDER BY id")
    return [plain(dict(zip(columns, row))) for row in rows]


def delta_rs_reads(table: str, columns: list[str], version: int | None = None) -> list[Row]:
    rows = DeltaTable(table, version=version).to_pyarrow_table(columns=columns).to_pylist()
    return sorted((plain(row) for row in rows), key=lambda row: row["id"])


def polars_reads(table: str, columns: list[str]) -> list[Row]:
    rows = polars_frame(table).select(columns).sort(polars.col(columns[0])).collect().to_dicts()
    return [plain(row) for row in rows]


def two_read(spark: Any, table: str, columns: list[str], expected: list[Row]) -> None:
    """Those that know widened columns."""
    assert spark_reads(spark, table, columns) == expected, "Spark"
    assert duckdb_reads(table, columns) == expected, "DuckDB"


def all_read(spark: Any, table: str, expected: list[Row]) -> None:
    columns = columns_of(table)
    two_read(spark, table, columns, expected)
    assert delta_rs_reads(table, columns) == expected, "delta-rs"
    assert polars_reads(table, columns) == expected, "Polars"


# Each step: the schema, the rows sent, and the columns that the table has then.
STEPS: list[tuple[str, list[Row], str]] = [
    (
        "id BIGINT NOT NULL, place STRUCT<City: STRING>, tags ARRAY<STRUCT<k: STRING>>, "
        "attrs MAP<STRING, STRUCT<v: INT>>",
        [
            {"id": 1, "place": {"City": "Ulm"}, "tags": [{"k": "a"}], "attrs": {"x": {"v": 1}}},
            {"id": 2, "place": {}, "tags": []},
            {"id": 3},
        ],
        "id place{City} tags{k} attrs{v}",
    ),
    # A column and a nested field; the second `city` is the first one.
    (
        "name STRING NOT NULL, id BIGINT NOT NULL, place STRUCT<zip: INT NOT NULL, city: STRING>",
        [{"id": 4, "name": "d", "place": {"city": "Bonn", "zip": 53111}}, {"id": 5, "name": "e"}],
        "id place{City,zip} tags{k} attrs{v} name",
    ),
    # Fields inside an array's elements and a map's values; a column of lists and maps.
    (
        "ID BIGINT NOT NULL, tags ARRAY<STRUCT<n: INT, k: STRING>>, attrs MAP<STRING, STRUCT<v: INT, w: DOUBLE>>, "
        "deep STRUCT<m: MAP<STRING, STRUCT<a: INT>>, l: ARRAY<ARRAY<INT>>>",
        [
            {"ID": 6, "tags": [{"k": "b", "n": 2}], "attrs": {"y": {"v": 2, "w": 0.5}}},
            {"ID": 7, "deep": {"m": {"k": {"a": 1}}, "l": [[1, 2], [3]]}},
            {"ID": 8, "deep": {"l": []}},
        ],
        "id place{City,zip} tags{k,n} attrs{v,w} name deep{m,l}",
    ),
    # A map inside a struct, NULL in a row, whose values get a field.
    (
        "id BIGINT NOT NULL, deep STRUCT<m: MAP<STRING, STRUCT<b: STRING, a: INT>>>",
        [{"id": 9, "deep": {"m": {"k": {"a": 1, "b": "x"}}}}],
        "id place{City,zip} tags{k,n} attrs{v,w} name deep{m,l}",
    ),
    # A feature of its own.
    (
        "id BIGINT NOT NULL, local TIMESTAMP_NTZ",
        [{"id": 10, "local": "2026-11-01T12:30:00"}],
        "id place{City,zip} tags{k,n} attrs{v,w} name deep{m,l} local",
    ),
]


def as_table_has_it(row: Row) -> Row:
    spelled: Row = {"ID": "id", "city": "City"}

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {spelled.get(key, key): of(item) for key, item in value.items()}
        return [of(item) for item in value] if isinstance(value, list) else value

    row = of(row)
    if "local" in row:
        row["local"] = datetime.fromisoformat(row["local"])
    return row


def test_columns_and_nested_fields_are_added_and_four_readers_read_every_step(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    table, log = local.table("orders"), local.log("orders")
    sluice = connector(topic, local)
    sent: list[Row] = []
    snapshots: list[tuple[int, list[str], list[Row]]] = []
    for schema, rows, columns in STEPS:
        send(kafka, topic, *rows)
        run(sluice, schema)
        sent += [as_table_has_it(row) for row in rows]
        names = [name.split("{")[0] for name in columns.split(" ")]
        assert columns_of(table) == names
        for name in columns.split(" "):
            if "{" in name:
                assert nested_names(log, name.split("{")[0]) == name[:-1].split("{")[1].split(",")
        all_read(spark, table, sent)
        snapshots.append((log.version(), names, list(sent)))
        sluice.verify("--deep")
    for version, names, rows in snapshots:
        assert spark_reads(spark, table, names, version) == rows, f"Spark, version {version}"
        assert delta_rs_reads(table, names, version) == rows, f"delta-rs, version {version}"

    changes = [commit for commit in log.commits() if commit.of("metaData") and commit.of("add")]
    assert len(changes) == len(STEPS) - 1, "each change is in the version of the rows that need it"
    assert changes[0].info["operationParameters"] == {
        "mode": "Append",
        "addedColumns": json.dumps(["`place.zip` INT", "`name` STRING"], separators=(",", ":")),
    }
    protocols = [commit.of("protocol") for commit in changes]
    assert protocols[:-1] == [[]] * (len(changes) - 1)
    assert protocols[-1][0]["readerFeatures"] == ["timestampNtz"]
    spark.sql(f"OPTIMIZE {by_path(table)}")
    all_read(spark, table, sent)


def nested_names(log: Any, column: str) -> list[str]:
    schema = json.loads(log.metadata()["schemaString"])
    kind = next(field["type"] for field in schema["fields"] if field["name"] == column)
    kind = kind.get("elementType") or kind.get("valueType") or kind
    return [field["name"] for field in kind["fields"]]


def test_a_column_that_rows_lose_is_null_and_one_not_null_is_refused(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    sluice = connector(topic, local)
    send(kafka, topic, {"id": 1, "a": 1, "must": "x"})
    run(sluice, "id BIGINT, a INT, must STRING NOT NULL")
    send(kafka, topic, {"id": 2, "must": "y"})
    run(sluice, "id BIGINT, must STRING NOT NULL")
    all_read(spark, local.table("orders"), [{"id": 1, "a": 1, "must": "x"}, {"id": 2, "must": "y"}])
    refused = run(sluice, "id BIGINT", code=DATA_REFUSED)
    assert (
        "`must`: NOT NULL in the table, but the output has no such column: add it to the schema, or drop NOT NULL in "
        "the table"
    ) in refused.stderr


# Column, its first type and value, the type and value of the rows after that, and what the table has then.
WIDENED = [
    ("byte_short", "TINYINT", 5, "SMALLINT", 300, "SMALLINT"),
    ("byte_int", "TINYINT", 5, "INT", 70_000, "INT"),
    ("byte_long", "TINYINT", 5, "BIGINT", 5_000_000_000, "BIGINT"),
    ("short_int", "SMALLINT", -5, "INT", 70_000, "INT"),
    ("short_long", "SMALLINT", -5, "BIGINT", 5_000_000_000, "BIGINT"),
    ("int_long", "INT", -2147483648, "BIGINT", 9223372036854775807, "BIGINT"),
    ("float_double", "FLOAT", 1.5, "DOUBLE", 0.1, "DOUBLE"),
    ("byte_double", "TINYINT", 5, "DOUBLE", 0.1, "DOUBLE"),
    ("short_double", "SMALLINT", 5, "DOUBLE", 0.1, "DOUBLE"),
    ("int_double", "INT", 1234567, "DOUBLE", 0.1, "DOUBLE"),
    ("int_float", "INT", -1234567, "FLOAT", 0.5, "DOUBLE"),
    ("date_local", "DATE", date(2026, 2, 28), "TIMESTAMP_NTZ", datetime(2026, 11, 1, 12, 30, 0, 5), "TIMESTAMP_NTZ"),
    ("precision", "DECIMAL(5,2)", Decimal("-1.25"), "DECIMAL(7,2)", Decimal("12345.25"), "DECIMAL(7,2)"),
    ("scale", "DECIMAL(5,2)", Decimal("1.25"), "DECIMAL(9,4)", Decimal("1.1234"), "DECIMAL(9,4)"),
    ("digits", "DECIMAL(5,2)", Decimal("123.25"), "DECIMAL(6,4)", Decimal("1.1234"), "DECIMAL(7,4)"),
    ("large", "DECIMAL(18,2)", Decimal("1.25"), "DECIMAL(38,4)", Decimal("1.1234"), "DECIMAL(38,4)"),
    ("byte_decimal", "TINYINT", 5, "DECIMAL(10,0)", Decimal(7), "DECIMAL(10,0)"),
    ("short_decimal", "SMALLINT", 5, "DECIMAL(5,2)", Decimal("7.25"), "DECIMAL(12,2)"),
    ("int_decimal", "INT", 2147483647, "DECIMAL(12,2)", Decimal("7.25"), "DECIMAL(12,2)"),
    ("long_decimal", "BIGINT", 9223372036854775807, "DECIMAL(25,5)", Decimal("7.12345"), "DECIMAL(25,5)"),
]


def test_types_are_widened_where_the_table_allows_it(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    """Every change of the protocol, at the top and inside a list of structs; who reads it:
    docs/reference/table-features.md."""
    table, log = local.table("orders"), local.log("orders")

    def schema(kind: int) -> str:
        columns = ", ".join(f"{each[0]} {each[kind]}" for each in WIDENED)
        nested = ", ".join(f"{each[0]}: {each[kind]}" for each in WIDENED)
        return f"id BIGINT, {columns}, nested ARRAY<STRUCT<{nested}>>"

    def row(number: int, value: int) -> Row:
        values = {each[0]: each[value] for each in WIDENED}
        return {"id": number, **values, "nested": [values]}

    sluice = connector(topic, local)
    send(kafka, topic, row(1, 2))
    checkpoints = {"delta.checkpointInterval": "1", "delta.checkpoint.writeStatsAsStruct": "true"}
    run(sluice, schema(1), "widen", table_properties={**WIDENING, **checkpoints})
    protocol = log.protocol()
    assert (protocol["minReaderVersion"], protocol["minWriterVersion"]) == (3, 7)
    assert protocol["readerFeatures"] == ["typeWidening"]
    assert protocol["writerFeatures"] == ["appendOnly", "invariants", "typeWidening"]
    send(kafka, topic, row(2, 4))
    told = run(sluice, schema(3), "widen", "check")
    assert "the first rows would widen `byte_short` from TINYINT to SMALLINT" in told.stdout
    run(sluice, schema(3), "widen")
    assert log.protocol()["readerFeatures"] == ["typeWidening", "timestampNtz"]
    # Rows of the first types again: they are cast, and nothing else changes.
    version = log.version()
    send(kafka, topic, row(3, 2))
    run(sluice, schema(1), "fail")
    assert not any(commit.of("metaData") for commit in log.commits() if commit.version > version)

    by_spark = widened(partial(spark_rows, spark), by_path(table), first_element=0)
    by_duckdb = widened(Duck().rows, scan(table), first_element=1)
    for name, first, _, later, _, wide in WIDENED:
        changed = f"{name}, {first} to {later}"
        want = [(text, text) for text in expected_texts(name)]
        assert by_spark[name] == want, f"Spark, {changed}"
        assert by_duckdb[name] == want, f"DuckDB, {changed}"
        kind = spark.table(by_path(table)).schema[name].dataType.simpleString()
        assert kind == {"TINYINT": "tinyint", "BIGINT": "bigint"}.get(wide, wide.lower())
    # Files are skipped by their statistics, those of the old type too.
    found = {each[0]: (2,) for each in WIDENED}
    assert found == {name: (count,) for name, count in spark_rows(spark, filtered(by_path(table), "TIMESTAMP_NTZ"))}
    assert found == {name: (count,) for name, count in Duck().rows(filtered(scan(table), "TIMESTAMP"))}
    assert log.checkpoints()[-1] >= version, "the readers began at one of ours"
    # Neither reads a table that lists the feature, widened or not.
    with pytest.raises(Exception, match="typeWidening"):
        delta_rs(table).to_pyarrow_table()
    with pytest.raises(Exception, match="typeWidening"):
        polars_frame(table).collect()
    sluice.verify("--deep")
    spark.sql(f"OPTIMIZE {by_path(table)}")
    assert Duck().row(f"SELECT count(*), count(int_long) FROM {scan(table)}") == (3, 3)


def widened(
    ask: Callable[[str], list[tuple[Any, ...]]], table: str, first_element: int
) -> dict[str, list[tuple[str, str]]]:
    """Per column, the texts of each row's value and of the same inside the list."""
    names = [each[0] for each in WIDENED]
    casts = ", ".join(f"CAST({name} AS STRING), CAST(nested[{first_element}].{name} AS STRING)" for name in names)
    rows = ask(f"SELECT {casts} FROM {table} ORDER BY id")
    return {name: [row[2 * n : 2 * n + 2] for row in rows] for n, name in enumerate(names)}


def filtered(table: str, local_time: str) -> str:
    """Per column, how many rows have its first value."""

    def count(name: str) -> str:
        value = expected_texts(name)[0]
        literal = f"{local_time} '{value}'" if name == "date_local" else value
        return f"SELECT '{name}', count(*) FROM {table} WHERE {name} = {literal}"

    return " UNION ALL ".join(count(each[0]) for each in WIDENED)


def expected_texts(name: str) -> list[str]:
    """The column's values in the three rows, as Spark and DuckDB spell them."""
    ((_, _, one, _, other, wide),) = (each for each in WIDENED if each[0] == name)

    def text(value: Any) -> str:
        if wide.startswith("DECIMAL"):
            scale = int(wide[:-1].split(",")[1])
            return str(Decimal(value).quantize(Decimal(1).scaleb(-scale)))
        if wide == "DOUBLE":
            return str(float(value))
        if wide == "TIMESTAMP_NTZ":
            time = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
            return str(time)
        return str(value)

    return [text(one), text(other), text(one)]


def test_what_does_not_fit_is_refused_and_told_by_check(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    log = local.log("orders")
    sluice = connector(topic, local)
    send(kafka, topic, {"id": 1, "n": 1, "d": 1.5, "s": {"a": 1}})
    run(sluice, "id BIGINT, n INT, d DOUBLE, s STRUCT<a: INT>", "fail")
    version = log.version()
    send(kafka, topic, {"id": 2})

    def refused(schema: str, evolution: str, *messages: str) -> None:
        ran = run(sluice, schema, evolution, code=DATA_REFUSED)
        checked = run(sluice, schema, evolution, "check", code=3)
        for message in messages:
            assert message in ran.stderr
            assert message in checked.stdout
        assert log.version() == version, "a refused table is left alone"

    refused(
        "id BIGINT, x STRING, s STRUCT<b: INT>",
        "fail",
        "`x`: the table has no such column, output STRING: set `schema_evolution: add_columns`, take it out of the "
        "schema, or write to another table",
        "`s.b`: the table has no such column, output INT: set `schema_evolution: add_columns`",
    )
    refused(
        "id BIGINT, n BIGINT, x STRING",
        "add_columns",
        "`n`: table INT, output BIGINT: change the schema, write to another table, or let the table be widened: "
        "`schema_evolution: widen` here and ALTER TABLE ... SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true') "
        f"there, {READ_ONLY_BY_SPARK_AND_DUCKDB}",
    )
    refused(
        "id BIGINT, n BIGINT",
        "widen",
        "`n`: table INT, output BIGINT: change the schema, write to another table, or let the table be widened: ALTER "
        f"TABLE ... SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true'), {READ_ONLY_BY_SPARK_AND_DUCKDB}",
    )
    refused(
        "id BIGINT, d STRING, s STRUCT<a: BOOLEAN>",
        "widen",
        "`d`: table DOUBLE, output STRING: change the schema, or write to another table",
        "`s.a`: table INT, output BOOLEAN: change the schema, or write to another table",
    )
    told = run(sluice, "id BIGINT, s STRUCT<b: INT>, x STRING", "add_columns", "check")
    assert "fits, version 2; the first rows would add columns `s.b` INT, `x` STRING" in told.stdout.replace("\n", " ")
    assert log.version() == version, "looking changes nothing"


def test_a_table_that_spark_made_and_changes(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    table, log = local.table("orders"), local.log("orders")
    name = by_path(table)
    spark.sql(
        f"CREATE TABLE {name} (Id BIGINT COMMENT 'the key', N TINYINT, s STRUCT<a: INT COMMENT 'inner'>, "
        "country STRING) USING delta PARTITIONED BY (country) "
        "TBLPROPERTIES ('delta.enableTypeWidening' = 'true')"
    )
    spark.sql(f"INSERT INTO {name} VALUES (1, 1, struct(1), 'DE')")
    spark.sql(f"ALTER TABLE {name} CHANGE COLUMN N TYPE SMALLINT")
    sluice = connector(topic, local, output={"partition_by": ["country"], "metadata_columns": []})
    send(kafka, topic, {"id": 2, "n": 70_000, "s": {"b": 2}, "country": "FR", "extra": "x"})
    run(sluice, "id BIGINT, n INT, s STRUCT<b: INT>, country STRING, extra STRING", "widen")
    expected = [
        {"Id": 1, "N": 1, "s": {"a": 1}, "country": "DE"},
        {"Id": 2, "N": 70_000, "s": {"b": 2}, "country": "FR", "extra": "x"},
    ]
    columns = ["Id", "N", "s", "country", "extra"]
    two_read(spark, table, columns, expected)
    schema = json.loads(log.metadata()["schemaString"])
    fields = {field["name"]: field for field in schema["fields"]}
    assert fields["Id"]["metadata"] == {"comment": "the key"}
    assert fields["s"]["type"]["fields"][0]["metadata"] == {"comment": "inner"}
    assert fields["N"]["metadata"]["delta.typeChanges"] == [
        {"fromType": "byte", "toType": "short"},
        {"fromType": "short", "toType": "integer"},
    ]
    # Spark goes on from there, and so does sluice.
    spark.sql(f"ALTER TABLE {name} CHANGE COLUMN N TYPE BIGINT")
    spark.sql(f"ALTER TABLE {name} ADD COLUMN (theirs INT)")
    send(kafka, topic, {"id": 3, "n": 3, "country": "DE", "ours": 1.5})
    run(sluice, "id BIGINT, n INT, country STRING, ours DOUBLE", "widen")
    expected.append({"Id": 3, "N": 3, "country": "DE", "ours": 1.5})
    columns += ["theirs", "ours"]
    assert [field["name"] for field in json.loads(log.metadata()["schemaString"])["fields"]] == columns
    two_read(spark, table, columns, expected)
    refused = run(sluice, "id BIGINT, country INT", "widen", code=DATA_REFUSED)
    assert "`country`: table STRING, output INT: change the schema, or write to another table" in refused.stderr


def test_another_writer_changes_the_columns_while_it_runs(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark
) -> None:
    """The change is found at the next commit, the batch is planned again, and its columns join theirs."""
    table, log = local.table("orders"), local.log("orders")
    name = by_path(table)
    sluice = connector(topic, local)
    send(kafka, topic, {"id": 1})
    run(sluice, "id BIGINT")
    send(kafka, topic, {"id": 2})
    set_schema(sluice, "id BIGINT, n INT, x STRING")
    sluice.write(trigger=CONTINUOUS)
    process = sluice.start()
    wait_caught_up(process, log, kafka, topic)
    spark.sql(f"ALTER TABLE {name} ADD COLUMN (theirs INT)")
    send(kafka, topic, {"id": 3, "n": 3})
    wait_caught_up(process, log, kafka, topic)
    spark.sql(f"INSERT INTO {name} (id, theirs, kafka_partition, kafka_offset) VALUES (4, 4, 100, 1)")
    send(kafka, topic, {"id": 5, "x": "y"})
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate(30) == 0
    expected = [{"id": 1}, {"id": 2}, {"id": 3, "n": 3}, {"id": 4, "theirs": 4}, {"id": 5, "x": "y"}]
    all_read(spark, table, expected)
    sluice.verify()


@pytest.mark.parametrize("killed_at", [0, 1, 3])
def test_killed_around_the_change(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, killed_at: int
) -> None:
    log = local.log("orders")
    sluice = connector(topic, local, limits={"max_records": 500})
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    run(sluice, "orderId STRING NOT NULL")
    before = log.version()
    producers.orders(kafka.bootstrap, topic, 1_000, 9_000)
    set_schema(sluice, producers.SCHEMA)
    process = sluice.start()
    if killed_at:
        wait_version(process, log, before + killed_at)
    process.kill()
    run(sluice, producers.SCHEMA)
    assert local.rows("count(*), count(DISTINCT orderId), count(note)") == [(10_000, 10_000, 9_000)]
    assert sum(1 for commit in log.commits() if commit.of("metaData") and commit.of("add")) == 1
    sluice.verify("--deep")
