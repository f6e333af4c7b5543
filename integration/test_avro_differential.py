"""Avro against fastavro: thousands of pairs of a writer's and a reader's schema, with data, through Kafka, a schema registry
and a Delta table.

Pairs are packed: the schemas of a topic are records with one field for each of 84 pairs, so that 25 topics and one
process read 2,100 of them. The reader's schema is the newest of the topic's subject, the data are written by the older
one. What fastavro makes of data and both schemas must stand in the table.

Where the two differ by intent, `EXPLAINED` says why, with an example that shows both; the comparison accepts nothing
else.
"""

import io
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
from deltalake import DeltaTable

from conftest import Connector, Lake
from harness import producers
from harness.avro import Schema, datum, kind, logical, record
from harness.avro_pairs import Pair, Pairs
from harness.avro_tables import column, ddl, from_avro, from_table, members, one, table_schema
from harness.kafka import Kafka
from harness.registry import Registry, framed
from harness.sluice import DEAD_LETTERS

TOPICS, PAIRS = 25, 84
SEED = int(os.environ.get("SLUICE_AVRO_SEED", "20261101"))


def read(datum: bytes, writer: Schema, reader: Schema) -> Any:
    parsed = [fastavro.parse_schema(schema) for schema in (writer, reader)]
    return fastavro.schemaless_reader(io.BytesIO(datum), *parsed)


def decode(registry: Registry, **more: Any) -> dict[str, Any]:
    return {"value": {"format": "avro", "registry": {"url": registry.url}}, **more}


def with_dead_letters(registry: Registry, **value: Any) -> dict[str, Any]:
    spec = decode(registry, **DEAD_LETTERS, on_incompatible_schema="dead_letter")
    spec["value"].update(value)
    return spec


def one_partition(kafka: Kafka, name: str) -> str:
    return kafka.create_topic(kafka.new_name(name), 1)


def differences(schema: Schema, expected: Any, actual: Any, path: str) -> list[str]:
    """Where two values differ that `from_avro` and `from_table` made. An enum's default is explained."""
    if several := members(schema):
        if isinstance(expected, dict) and isinstance(actual, dict):
            pairs = [(n, branch, f"member{n}") for n, branch in enumerate(several)]
            return [d for _, b, m in pairs for d in differences(b, expected[m], actual[m], f"{path}.{m}")]
        return [] if expected == actual else [f"{path}: {expected!r} in fastavro, {actual!r} in the table"]
    if expected == actual:
        return []
    schema = one(schema)
    of = kind(schema)
    if expected is not None and actual is not None and not logical(schema):
        if of == "record":
            parts = schema["fields"]
            return [
                d
                for f in parts
                for d in differences(f["type"], expected[f["name"]], actual[f["name"]], f"{path}.{f['name']}")
            ]
        if of == "array" and len(expected) == len(actual):
            items = zip(expected, actual, strict=True)
            return [d for a, b in items for d in differences(schema["items"], a, b, f"{path}[]")]
        if of == "map" and expected.keys() == actual.keys():
            return [d for k in expected for d in differences(schema["values"], expected[k], actual[k], f"{path}[]")]
        if of == "enum" and expected == schema.get("default") and actual not in schema["symbols"]:
            return []
    return [f"{path}: {expected!r} in fastavro, {actual!r} in the table"]


def test_pairs_of_schemas_are_read_as_fastavro_reads_them(
    kafka: Kafka, registry: Registry, local: Lake, connector: Connector
) -> None:
    generator = Pairs(SEED)
    packs: dict[str, list[Pair]] = {}
    for number in range(TOPICS):
        topic = one_partition(kafka, f"pairs-{number}")
        packs[topic] = pairs = [generator.pair(values=3) for _ in range(PAIRS)]
        writer = record("Packed", {f"p{n}": pair.writer for n, pair in enumerate(pairs)})
        reader = record("Packed", {f"p{n}": pair.reader for n, pair in enumerate(pairs)})
        subject = f"{topic}-value"
        old = registry.register(subject, writer)
        registry.any_change(subject)
        registry.register(subject, reader)
        values = [{f"p{n}": pair.data[row] for n, pair in enumerate(pairs)} for row in range(3)]
        producers.send(kafka.bootstrap, topic, [framed(old, datum(writer, value)) for value in values])
        # Nullable throughout: what the writer lacks or may leave out is no matter for a table that exists.
        schema = table_schema({f"p{n}": pair.reader for n, pair in enumerate(pairs)})
        DeltaTable.create(local.table(topic), schema)
    sluice = connector(
        list(packs),
        local,
        decode=decode(registry),
        outputs={
            "pairs": {
                "table": local.table("{topic}"),
                "schema_evolution": "add_columns",
                "metadata_columns": ["offset"],
            }
        },
    )
    sluice.run(seconds=300)
    wrong = []
    for topic, pairs in packs.items():
        rows = DeltaTable(local.table(topic)).to_pyarrow_table().sort_by("kafka_offset").to_pylist()
        assert len(rows) == 3, topic
        for n, pair in enumerate(pairs):
            for row, value in enumerate(pair.data):
                expected = from_avro(pair.reader, read(datum(pair.writer, value), pair.writer, pair.reader))
                actual = from_table(pair.reader, rows[row][f"p{n}"])
                for difference in differences(pair.reader, expected, actual, f"p{n}"):
                    wrong.append(f"{difference}\n  writer {pair.writer}\n  reader {pair.reader}\n  value {value!r}")
    assert not wrong, f"{len(wrong)} of seed {SEED}:\n" + "\n".join(wrong[:8])
    print(f"{TOPICS * PAIRS} pairs alike, {3 * TOPICS * PAIRS} values")


@dataclass
class Explained:
    """A case in which the table holds something other than fastavro's answer, and the rule by which it does."""

    why: str
    writer: Schema
    reader: Schema
    value: Any
    fastavro: Any
    table: Any
    """As `from_table` gives it; `REFUSED`: a dead letter."""

    @property
    def datum(self) -> bytes:
        """The value as the writer writes it; bytes are the datum itself."""
        return self.value if isinstance(self.value, bytes) else datum(self.writer, self.value)


REFUSED = object()
_ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B"]}
_MILLIS = {"type": "long", "logicalType": "timestamp-millis"}

EXPLAINED = [
    Explained(
        "Columns follow all schemas, so an enum's column holds the symbol that was written. The default is for readers "
        "that have no place for it (specification, Enums: `default`).",
        _ENUM, {**_ENUM, "symbols": ["A"], "default": "A"}, "B", "A", "B",
    ),
    Explained(
        "Both types are in both unions: the value keeps its own. The text of the rule for unions would take the first one "
        "that the value can be promoted to; Avro's own implementation in Java prefers the type itself.",
        ["double", "int"], ["double", "int", "null"], bytes([2, 14]), 7.0, {"member0": None, "member1": 7},
    ),
    Explained(
        "The same where the order differs.",
        ["int", "string"], ["string", "double", "int"], 7, 7.0, {"member0": None, "member1": None, "member2": 7},
    ),
    Explained(
        "A plain number is read by the reader's logical type (specification, Schema Resolution: the types beneath are "
        "resolved; a reader then has its own logical type). fastavro looks at the writer's alone.",
        "long", _MILLIS, 1500, 1500, 1_500_000,
    ),
    Explained(
        "A number and a logical type on it are one type to the rules; the column is the reader's: a number.",
        _MILLIS, "long", 1500, datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC), 1500,
    ),
    Explained(
        "By the rules an error. A column of both schemas can hold both, and does (reference, Columns that follow schemas).",
        "long", "int", 1 << 40, REFUSED, 1 << 40,
    ),
    Explained(
        "The same for a field that the reader must have and the writer lacks: it is null.",
        {"type": "record", "name": "s", "fields": [{"name": "a", "type": "int"}]},
        {"type": "record", "name": "s", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]},
        {"a": 1}, REFUSED, {"a": 1, "b": None},
    ),
    Explained(
        "The same for a null of the writer's where the reader allows none.",
        ["null", "int"], "int", None, REFUSED, None,
    ),
    Explained(
        "Names of types that are no union's count for nothing: the column has none.",
        _ENUM, {**_ENUM, "name": "other"}, "B", REFUSED, "B",
    ),
    Explained(
        "A map that holds a key twice is no map to the table's readers; fastavro keeps the last one.",
        {"type": "map", "values": "int"}, {"type": "map", "values": "int"},
        bytes([4, 2, ord("k"), 2, 2, ord("k"), 4, 0]), {"k": 2}, REFUSED,
    ),
    Explained(
        "A block that is not as long as it says: who skips it and who reads it go on at different bytes.",
        {"type": "array", "items": "int"}, {"type": "array", "items": "int"},
        bytes([1, 4, 2, 0]), [1], REFUSED,
    ),
    Explained(
        "Bytes after the datum: what wrote them had another schema.",
        "int", "int", bytes([2, 0]), 1, REFUSED,
    ),
]  # fmt: skip


def test_each_disagreement_is_the_one_that_is_explained(
    kafka: Kafka, registry: Registry, local: Lake, connector: Connector
) -> None:
    topics = {}
    for number, case in enumerate(EXPLAINED):
        topic = one_partition(kafka, f"explained-{number}")
        topics[topic] = case
        subject = f"{topic}-value"
        old = registry.register(subject, record("Packed", {"f": case.writer}))
        registry.any_change(subject)
        registry.register(subject, record("Packed", {"f": case.reader}))
        producers.send(kafka.bootstrap, topic, [framed(old, case.datum)])
        # A table that is there already, with nullable columns that are wide enough: what becomes of others is
        # `schema_evolution`'s business.
        of = "long" if case.reader == "int" else case.reader
        DeltaTable.create(local.table(topic), table_schema({"f": of}))
    sluice = connector(
        list(topics),
        local,
        decode=with_dead_letters(registry),
        dead_letters={"table": local.table("dead")},
        outputs={"out": {"table": local.table("{topic}"), "schema_evolution": "widen", "metadata_columns": ["offset"]}},
    )
    sluice.run()
    for topic, case in topics.items():
        try:
            theirs = read(case.datum, case.writer, case.reader)
        except Exception:  # fastavro has no one class for what it refuses
            theirs = REFUSED
        assert (theirs, type(theirs)) == (case.fastavro, type(case.fastavro)), case
        rows = DeltaTable(local.table(topic)).to_pyarrow_table().to_pylist()
        ours = from_table(case.reader, rows[0]["f"]) if rows else REFUSED
        assert ours == case.table, case
        assert type(ours) is type(case.table), case


def named(of: str, name: str, **more: Any) -> Schema:
    return {"type": of, "name": name, **more}


def meant(of: str, meaning: str, **more: Any) -> Schema:
    return {"type": of, "logicalType": meaning, **more}


_DECIMAL = {"logicalType": "decimal", "precision": 9, "scale": 2}
# Each type, with a value of it.
TYPES: dict[str, tuple[Schema, Any]] = {
    "boolean": ("boolean", True),
    "int": ("int", -7),
    "long": ("long", 1 << 40),
    "float": ("float", 0.1),
    "double": ("double", 0.1),
    "bytes": ("bytes", b"ab"),
    "string": ("string", "\u00e4"),
    "fixed": (named("fixed", "f", size=4), b"abcd"),
    "longer fixed": (named("fixed", "f", size=5), b"abcde"),
    "enum": (named("enum", "e", symbols=["A", "B"]), "B"),
    "date": (meant("int", "date"), 20_000),
    "time-millis": (meant("int", "time-millis"), 1_000),
    "time-micros": (meant("long", "time-micros"), 1_000_000),
    "timestamp-millis": (_MILLIS, 1_500),
    "timestamp-micros": (meant("long", "timestamp-micros"), 1_500_001),
    "local-timestamp-millis": (meant("long", "local-timestamp-millis"), 1_500),
    "decimal": ({"type": "bytes", **_DECIMAL}, Decimal("-1.23")),
    "fixed decimal": (named("fixed", "d", size=4, **_DECIMAL), Decimal("-1.23")),
    "other decimal": ({"type": "bytes", **_DECIMAL, "scale": 3}, Decimal("-1.234")),
    "uuid": (meant("string", "uuid"), "123e4567-e89b-12d3-a456-426614174000"),
    "duration": (named("fixed", "u", size=12, logicalType="duration"), bytes(range(12))),
    "array": ({"type": "array", "items": "int"}, [1, 2]),
    "map": ({"type": "map", "values": "int"}, {"a": 1}),
    "record": (named("record", "r", fields=[{"name": "a", "type": "int"}]), {"a": 1}),
    "null": (["null", "int"], None),
    "int or null": (["null", "int"], 7),
    "one of several": (["int", "boolean"], 7),
}
_FIXED = {"fixed", "longer fixed", "fixed decimal", "duration"}
_NUMBERS = {"date", "time-millis", "time-micros", "timestamp-millis", "timestamp-micros", "local-timestamp-millis"}
_DECIMALS = {"decimal", "fixed decimal", "other decimal"}


def beyond_the_rules(writer: str, reader: str) -> str | None:
    """Why a declared column takes what a reader of its Avro type would refuse."""
    if reader in ("string", "uuid") and writer == "enum":
        return "an enum is its symbol"
    if reader in ("bytes", "fixed", "longer fixed") and writer in _FIXED | {"bytes", "string", "uuid"} | _DECIMALS:
        return "BINARY has no length, and no name"
    if reader == "enum" and writer in ("string", "bytes", "uuid"):
        return "STRING has no symbols"
    if {writer, reader} <= {"decimal", "fixed decimal"}:
        return "DECIMAL is not on bytes or fixed"
    if writer == "null":
        return "a declared column may be null"
    if writer == "record" and reader in ("duration", "one of several"):
        return "a STRUCT takes a record by the names of its fields; those that aren't there are null"
    return None


def short_of_the_rules(writer: str, reader: str) -> str | None:
    """Why a declared column refuses what a reader of its Avro type would take."""
    if reader in _NUMBERS - {"time-millis", "time-micros"} and writer != reader:
        return "a number is no time, and no other time, unless its schema says so"
    if reader in _DECIMALS or writer in _DECIMALS:
        return "bytes are no decimal, a decimal no text, and none of another scale"
    if reader == "duration":
        return "bytes are no duration"
    if reader == "one of several":
        return "a STRUCT of a union's fields takes a union"
    return None


def test_declared_columns_take_what_the_reference_says(
    kafka: Kafka, registry: Registry, local: Lake, connector: Connector
) -> None:
    """Each type into a column that is declared as each other's. A declaration is not a schema: `beyond_the_rules` and
    `short_of_the_rules` name the reasons for which a column takes more or less than a reader with that schema."""
    pairs = [(writer, reader) for writer in TYPES for reader in TYPES]
    topic = one_partition(kafka, "declared")
    payloads = []
    for n, (writer, _) in enumerate(pairs):
        schema, value = TYPES[writer]
        old = registry.register(f"{topic}-{n}", record("Packed", {f"p{n}": schema}))
        payloads.append(framed(old, datum(schema, value)))
    producers.send(kafka.bootstrap, topic, payloads)
    columns = ", ".join(f"p{n} {ddl(column(TYPES[reader][0]))}" for n, (_, reader) in enumerate(pairs))
    sluice = connector(
        topic,
        local,
        decode=with_dead_letters(registry, schema=columns),
        dead_letters={"table": local.table("dead")},
        outputs={"out": {"table": local.table("declared"), "metadata_columns": ["offset"]}},
    )
    sluice.run()
    rows = {row["kafka_offset"]: row for row in DeltaTable(local.table("declared")).to_pyarrow_table().to_pylist()}
    counts, wrong = dict.fromkeys(["alike", "refused", "beyond", "short"], 0), []
    for n, (writer, reader) in enumerate(pairs):
        (of, value), (by, _) = TYPES[writer], TYPES[reader]
        ours = from_table(by, rows[n][f"p{n}"]) if n in rows else REFUSED
        try:
            theirs = from_avro(by, as_column(datum(of, value), of, by))
        except Exception:  # fastavro has no one class for what it refuses
            theirs = REFUSED
        if ours is REFUSED and theirs is REFUSED:
            counts["refused"] += 1
        elif ours is REFUSED and short_of_the_rules(writer, reader):
            counts["short"] += 1
        elif theirs is REFUSED and ours is not REFUSED and beyond_the_rules(writer, reader):
            counts["beyond"] += 1
        elif ours is not REFUSED and theirs is not REFUSED and not differences(by, theirs, ours, ""):
            counts["alike"] += 1
        else:
            wrong.append(f"{writer} into {reader}: {theirs!r} in fastavro, {ours!r} in the table")
    print(counts)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)


def as_column(datum: bytes, writer: Schema, reader: Schema) -> Any:
    """As fastavro reads it; numbers for columns of numbers, whatever the writer means by them."""
    meaning = logical(one(reader))
    if meaning and not meaning.startswith("time-"):
        return read(datum, writer, reader)
    return read(datum, beneath(writer), beneath(reader))


def beneath(schema: Schema) -> Schema:
    if isinstance(schema, dict):
        return {key: value for key, value in schema.items() if key != "logicalType"}
    return schema
