"""Formats other than plain JSON values, keys, and a table for each topic: what was sent is what DuckDB reads."""

import json
from typing import Any

import pytest

from conftest import Connector, Lake
from harness import producers
from harness.kafka import Kafka
from harness.sluice import DEAD_LETTERS

Records = list[tuple[bytes | None, bytes | None]]


def rows(lake: Lake, columns: str, table: str = "orders") -> list[tuple[Any, ...]]:
    """In the order of their offsets."""
    return lake.rows(columns, table, order="kafka_partition, kafka_offset")


def test_text_and_bytes_land_as_they_are(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    values = ["plain", "", '{"json": true}', "ünïcode \N{GRINNING FACE}", "line\nbreak", "\x00"]
    producers.send_records(kafka.bootstrap, topic, [(None, value.encode()) for value in values] + [(None, b"\xff\xfe")])
    dead = {"dead_letters": {"table": local.table("dead")}}
    connector(topic, local, decode={"value": {"format": "string"}, **DEAD_LETTERS}, **dead).run()
    assert rows(local, "value") == [(value,) for value in values]
    ((code, reason, raw),) = rows(local, "reason_code, reason, kafka_value", "dead")
    assert (code, reason, raw) == ("SL3008", "byte 0: text that is not UTF-8", b"\xff\xfe")

    sluice = connector(topic, local, table="raw", name="raw", decode={"value": {"format": "bytes"}})
    sluice.run()
    assert rows(local, "value", "raw") == [(value.encode(),) for value in values] + [(b"\xff\xfe",)]
    sluice.verify("--deep")


def test_keys_of_each_format_stand_beside_the_values(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    keys = [b'{"id": 1, "part": "a"}', None, b'{"id": 2}']
    producers.send_records(kafka.bootstrap, topic, [(key, b'{"n": %d}' % n) for n, key in enumerate(keys)])
    value = {"format": "json", "schema": "n INT"}
    expected = {
        "string": [key and key.decode() for key in keys],
        "bytes": keys,
        "json": [{"id": 1, "part": "a"}, None, {"id": 2, "part": None}],
    }
    for number, (format, decoded) in enumerate(expected.items()):
        key: dict[str, Any] = {"format": format}
        if format == "json":
            key |= {"schema": "id INT NOT NULL, part STRING", "column": "the_key"}
        connector(topic, local, table=format, name=f"keys-{number}", decode={"key": key, "value": value}).run()
        column = key.get("column", "key")
        assert rows(local, f"n, {column}", format) == list(enumerate(decoded))


def test_a_key_that_does_not_fit_is_a_dead_letter(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.send_records(kafka.bootstrap, topic, [(b'{"id":1}', b"{}"), (b'{"id":"x"}', b"{}"), (b"", b"{}")])
    key = {"format": "json", "schema": "id INT NOT NULL"}
    decode = {"key": key, "value": {"format": "json", "schema": "n INT"}, **DEAD_LETTERS}
    connector(topic, local, decode=decode, dead_letters={"table": local.table("dead")}).run()
    assert rows(local, "key") == [({"id": 1},)]
    assert rows(local, "kafka_key, reason", "dead") == [
        (b'{"id":"x"}', "key: `id`, byte 6: a string, and the column is INT"),
        (b"", "key: byte 0: the key is empty (no key would be null)"),
    ]


def test_unknown_fields_and_the_value_itself_are_kept(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    values = [b'{"n":1}', b'{ "x" : [1, 2.50] , "n":2, "y":{"z":null}}', b'{"n":3,"m":"\\u00e4"}']
    producers.send_records(kafka.bootstrap, topic, [(None, value) for value in values])
    decode = {"value": {"format": "json", "schema": "n INT", "unknown_fields": "rescue"}}
    columns = {"metadata_columns": ["partition", "offset", "value"]}
    connector(topic, local, decode=decode, output=columns).run()
    found = rows(local, "n, rescued_data, kafka_value")
    assert found == [
        (1, None, values[0]),
        (2, '{"x":[1, 2.50],"y":{"z":null}}', values[1]),
        (3, '{"m":"\\u00e4"}', values[2]),
    ]
    for n, rescued, value in found:
        assert {"n": n, **json.loads(rescued or "{}")} == json.loads(value)


def test_json_behind_a_registrys_prefix(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    producers.send_records(kafka.bootstrap, topic, [(None, b'\x00\x00\x00\x00\x2a{"n":1}'), (None, b'{"n":2}')])
    decode = {"value": {"format": "json", "schema": "n INT", "framing": "confluent"}, **DEAD_LETTERS}
    connector(topic, local, decode=decode, dead_letters={"table": local.table("dead")}).run()
    assert rows(local, "n") == [(1,)]
    assert rows(local, "reason_code", "dead") == [("SL3080",)]


@pytest.mark.parametrize("batch", [1, 1_000], ids=["one-by-one", "at-once"])
def test_tombstones_delete_by_the_keys_column_or_by_its_fields(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, batch: int
) -> None:
    records: Records = [
        (b'{"id":1}', b'{"id":1,"n":10}'),
        (b'{"id":2}', b'{"id":2,"n":20}'),
        (b'{"id":1}', None),
        (b'{"id":3}', None),
        (None, None),
        (b'{"id":2}', b'{"id":2,"n":21}'),
        (b'{"id":1}', b'{"id":1,"n":11}'),
        (b'{"id":2}', None),
    ]
    producers.send_records(kafka.bootstrap, topic, records)
    value = {"format": "json", "schema": "id INT NOT NULL, n INT"}
    for by, key in {"key": {"format": "string"}, "id": {"format": "json", "schema": "id INT"}}.items():
        upsert = {"mode": "upsert", "merge_key": [by]}
        decode = {"key": key, "value": value}
        sluice = connector(
            topic, local, table=by, name=f"by-{by}", decode=decode, output=upsert, limits={"max_records": batch}
        )
        sluice.run()
        assert rows(local, "id, n, kafka_offset", by) == [(1, 11, 6)]
        sluice.verify("--deep")


def lines(number: int, topic: str) -> Records:
    return [(b"k%d" % number, b"%s %d" % (topic.encode(), n)) for n in range(100)]


def test_each_topic_has_a_table_of_its_own(kafka: Kafka, local: Lake, connector: Connector) -> None:
    stem = kafka.new_name("fanout")
    names = [f"{stem}.{name}" for name in ("a", "b", "c")]
    for number, name in enumerate(names[:2]):
        kafka.create_topic(name, 2)
        producers.send_records(kafka.bootstrap, name, lines(number, name))
    source = {"brokers": [kafka.bootstrap], "topic_pattern": f"{stem}\\..*"}
    decode = {"key": {"format": "string"}, "value": {"format": "string"}}
    sluice = connector(
        names, local, source=source, decode=decode, outputs={"raw": {"table": local.table("{topic}")}}
    )
    sluice.run()
    kafka.create_topic(names[2], 1)
    producers.send_records(kafka.bootstrap, names[2], lines(2, names[2]))
    sluice.run()
    for number, name in enumerate(names):
        assert rows(local, "value, key", name) == [(f"{name} {n}", f"k{number}") for n in range(100)]
    sluice.verify("--deep")
