"""The schema registry: schemas that evolve in mid-stream, references, outages, credentials, TLS, ids nobody knows."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from conftest import Connector, Lake
from harness import producers
from harness.avro import record
from harness.kafka import Kafka
from harness.readers import by_path, spark_rows
from harness.registry import Proxy, Reference, Registry, avro, framed
from harness.sluice import CONFIGURATION, CONTINUOUS, DATA_REFUSED, DEAD_LETTERS, DONE, wait_caught_up

V1 = record("shop.Order", {"id": "long", "quantity": "int"})
V2 = record("shop.Order", {"id": "long", "quantity": "int", "country": "string"}, {"country": "XX"})
V3 = record("shop.Order", {"id": "long", "quantity": "long", "country": "string"}, {"country": "XX"})
V4 = record("shop.Order", {"id": "long", "country": "string"}, {"country": "XX"})


def decode(url: str | list[str], on_bad_record: str = "fail", **more: Any) -> dict[str, Any]:
    value = {"format": "avro", "registry": {"url": url, **more}}
    return {"value": value, "on_bad_record": on_bad_record}


def orders(numbers: Iterable[int], **more: Any) -> list[dict[str, Any]]:
    return [{"id": n, "quantity": n, **more} for n in numbers]


def send(kafka: Kafka, topic: str, records: list[bytes], partition: int = 0) -> None:
    producers.send(kafka.bootstrap, topic, records, partition=partition)


def first_order(kafka: Kafka, registry: Registry, topic: str, subject: str | None = None) -> int:
    """Order 1, in the topic; its schema's id."""
    schema_id = registry.register(subject or f"{topic}-value", V1)
    send(kafka, topic, avro(schema_id, V1, orders([1])))
    return schema_id


def incompatible(registry: Registry, subject: str) -> tuple[int, dict[str, Any]]:
    """The subject's next schema, whose quantities are texts, and its id."""
    registry.any_change(subject)
    schema = record("shop.Order", {"id": "long", "quantity": "string"})
    return registry.register(subject, schema), schema


def test_schemas_evolve_in_mid_stream(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector, spark
) -> None:
    """A field with a default is added, then an int becomes a long; the connector runs on, and every reader follows."""
    subject = f"{topic}-value"
    first = registry.register(subject, V1)
    send(kafka, topic, avro(first, V1, orders(range(100))))
    evolving = {"schema_evolution": "widen"}
    sluice = connector(topic, local, decode=decode(registry.url), output=evolving, trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    table = by_path(local.table("orders"))

    def both_read(columns: str, expected: list[tuple[Any, ...]]) -> None:
        wait_caught_up(process, log, kafka, topic)
        assert local.rows(columns) == expected
        assert spark_rows(spark, f"SELECT {columns} FROM {table} ORDER BY id") == expected

    both_read("id, quantity", [(n, n) for n in range(100)])

    second = registry.register(subject, V2)
    send(kafka, topic, avro(second, V2, orders(range(100, 200), country="DE")))
    columns = "id, quantity, country"
    expected: list[tuple[Any, ...]] = [(n, n, None) for n in range(100)] + [(n, n, "DE") for n in range(100, 200)]
    both_read(columns, expected)
    # Producers are not all of one mind: what is written by the old schema has the new field's default.
    send(kafka, topic, avro(first, V1, orders([200])))
    expected.append((200, 200, "XX"))
    both_read(columns, expected)

    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')")
    registry.any_change(subject)
    third = registry.register(subject, V3)
    large = {"id": 300, "quantity": 1 << 40, "country": "FR"}
    send(kafka, topic, avro(third, V3, [large]))
    send(kafka, topic, avro(second, V2, [{"id": 301, "quantity": 7, "country": "FR"}]))
    expected += [(300, 1 << 40, "FR"), (301, 7, "FR")]
    both_read(columns, expected)

    # A field that was required goes. No column has to change for that, nor for a start by the newest schema.
    fourth = registry.register(subject, V4)
    for id in (302, 303):
        send(kafka, topic, avro(fourth, V4, [{"id": id, "country": "IT"}]))
        expected.append((id, None, "IT"))
        both_read(columns, expected)
        process.terminate()
        process = sluice.start()
    process.terminate()
    sluice.verify()


def test_a_topic_of_three_schemas_is_read_by_the_newest(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    subject = f"{topic}-value"
    ids = [registry.register(subject, V1), registry.register(subject, V2)]
    registry.any_change(subject)
    ids.append(registry.register(subject, V3))
    schemas = [V1, V2, V3]
    for n in range(30):
        at = (n * 7) % 3
        value = {"id": n, "quantity": n, "country": "DE"}
        wanted = {field["name"] for field in schemas[at]["fields"]}
        send(kafka, topic, avro(ids[at], schemas[at], [{k: v for k, v in value.items() if k in wanted}]), n % 4)
    sluice = connector(topic, local, decode=decode(registry.url))
    sluice.run()
    expected = [(n, n, "XX" if (n * 7) % 3 == 0 else "DE") for n in range(30)]
    assert local.rows("id, quantity, country") == expected
    assert local.rows("DISTINCT typeof(quantity)") == [("BIGINT",)]
    sluice.verify()


def test_an_incompatible_change_is_refused_naming_field_and_schema(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    first_order(kafka, registry, topic)
    sluice = connector(topic, local, decode=decode(registry.url), output={"schema_evolution": "widen"})
    sluice.run()
    changed, text = incompatible(registry, f"{topic}-value")
    send(kafka, topic, avro(changed, text, [{"id": 2, "quantity": "two"}]))
    answer = sluice.run(code=DATA_REFUSED)
    assert "quantity" in answer.stderr and f"schema id {changed}" in answer.stderr, answer.stderr
    assert local.rows("id, quantity") == [(1, 1)]


@pytest.mark.parametrize("declared", [False, True], ids=["followed", "declared"])
def test_records_of_an_incompatible_schema_become_dead_letters(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector, declared: bool
) -> None:
    """The others go on, over a restart too, though it begins with the newest schema."""
    first = first_order(kafka, registry, topic)
    config = {**decode(registry.url), **DEAD_LETTERS, "on_incompatible_schema": "dead_letter"}
    if declared:
        config["value"]["schema"] = "id BIGINT, quantity INT"
    dead = {"table": local.table("dead")}
    sluice = connector(topic, local, decode=config, dead_letters=dead, trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)
    changed, text = incompatible(registry, f"{topic}-value")
    send(kafka, topic, avro(changed, text, [{"id": 2, "quantity": "two"}]))
    send(kafka, topic, avro(first, V1, orders([3])))
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    send(kafka, topic, avro(changed, text, [{"id": 4, "quantity": "four"}]))
    send(kafka, topic, avro(first, V1, orders([5])))
    answer = sluice.ask("check")
    assert answer.code == DONE, answer
    assert declared or f"schema id {changed}" in answer.stdout
    sluice.finish()
    assert local.rows("id, quantity") == [(1, 1), (3, 3), (5, 5)]
    reasons = local.rows("reason", "dead")
    assert len(reasons) == 2
    assert all("quantity" in reason and f"schema id {changed}" in reason for (reason,) in reasons), reasons
    sluice.verify()


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_records_that_the_table_can_not_take_become_dead_letters(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector, restart: bool
) -> None:
    """Avro has a type for both schemas, a BIGINT; the table has an INT, and may not be widened."""
    subject = f"{topic}-value"
    first = registry.register(subject, V2)
    send(kafka, topic, avro(first, V2, orders([1], country="DE")))
    config = {**decode(registry.url), **DEAD_LETTERS, "on_incompatible_schema": "dead_letter"}
    dead = {"table": local.table("dead")}
    sluice = connector(topic, local, decode=config, dead_letters=dead, trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)
    if restart:
        assert process.terminate() == 0
    registry.any_change(subject)
    changed = registry.register(subject, V3)
    send(kafka, topic, avro(changed, V3, orders([2], country="DE")))
    send(kafka, topic, avro(first, V2, orders([3], country="DE")))
    if restart:
        process = sluice.start()
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert local.rows("id, quantity, country") == [(1, 1, "DE"), (3, 3, "DE")]
    [(reason,)] = local.rows("reason", "dead")
    assert "`quantity`: table INT, output BIGINT" in reason and f"schema id {changed}" in reason, reason
    sluice.verify()


def test_a_logical_type_that_comes_later_changes_no_column_over_a_restart(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    """By the newest schema alone the column would be a TIMESTAMP, which the table has not."""
    subject = f"{topic}-value"
    plain, logical = (
        record("shop.Order", {"id": "long", "at": kind})
        for kind in ("long", {"type": "long", "logicalType": "timestamp-millis"})
    )
    first = registry.register(subject, plain)
    send(kafka, topic, avro(first, plain, [{"id": 1, "at": 1_000}]))
    sluice = connector(topic, local, decode=decode(registry.url))
    sluice.run()
    registry.any_change(subject)
    second = registry.register(subject, logical)
    send(kafka, topic, avro(second, plain, [{"id": 2, "at": 2_000}]))
    answer = sluice.ask("check")
    assert answer.code == DONE, answer
    sluice.run()
    assert local.rows('id, "at"') == [(1, 1_000), (2, 2_000)]
    assert local.rows('DISTINCT typeof("at")') == [("BIGINT",)]
    sluice.verify()


def test_references_between_subjects_are_resolved(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    """An order refers to an address and to money; the address refers to a country: a diamond with money's."""
    country = record("shop.Country", {"code": "string"})
    address = record("shop.Address", {"street": "string", "country": "shop.Country"})
    money = record("shop.Money", {"cents": "long", "country": "shop.Country"})
    order = record("shop.Order", {"id": "long", "to": ["null", "shop.Address"], "total": "shop.Money"})
    stem = topic.replace("-", ".")
    registry.register(f"{stem}/country", country)
    to_country = Reference("shop.Country", f"{stem}/country", 1)
    registry.register(f"{stem}/address", address, references=[to_country])
    registry.register(f"{stem}/money", money, references=[to_country])
    to = [Reference("shop.Address", f"{stem}/address", 1), Reference("shop.Money", f"{stem}/money", 1)]
    schema_id = registry.register(f"{topic}-value", order, references=to)

    whole = json.loads(json.dumps(order))
    whole["fields"][1]["type"][1] = {**address, "fields": [address["fields"][0], {"name": "country", "type": country}]}
    whole["fields"][2]["type"] = money
    spree = {"street": "Spree 1", "country": {"code": "DE"}}
    values = [
        {"id": 1, "to": spree, "total": {"cents": 5, "country": {"code": "FR"}}},
        {"id": 2, "to": None, "total": {"cents": 7, "country": {"code": "NL"}}},
    ]
    send(kafka, topic, avro(schema_id, whole, values))
    sluice = connector(topic, local, decode=decode(registry.url))
    sluice.run()
    columns = 'id, "to".street, "to".country.code, total.cents, total.country.code'
    assert local.rows(columns) == [(1, "Spree 1", "DE", 5, "FR"), (2, None, None, 7, "NL")]


def test_an_outage_stops_nothing_that_is_known_and_loses_nothing_new(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first = first_order(kafka, registry, topic)
    config = decode(proxy.url, "dead_letter")
    dead = {"table": local.table("dead")}
    evolving = {"schema_evolution": "add_columns"}
    sluice = connector(topic, local, decode=config, dead_letters=dead, output=evolving, trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)

    proxy.kill()
    send(kafka, topic, avro(first, V1, orders(range(2, 50))))
    wait_caught_up(process, log, kafka, topic)
    assert len(local.rows("id")) == 49, "a known schema needs no registry"

    second = registry.register(f"{topic}-value", V2)
    send(kafka, topic, avro(second, V2, orders([50], country="DE")))
    send(kafka, topic, avro(first, V1, orders([51])))
    process.wait_output("SL3205", 60)
    assert process.running()
    version = log.version()
    proxy.start()
    wait_caught_up(process, log, kafka, topic)
    assert log.version() > version
    assert process.terminate() == 0
    assert local.rows("id") == [(n,) for n in range(1, 52)]
    assert local.rows("country")[0] == ("DE",)
    assert not local.path("dead").exists() or local.rows("reason", "dead") == []
    sluice.verify()


def test_a_registry_that_hangs_is_waited_for(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, tmp_path
) -> None:
    with Registry(tmp_path) as own:
        first_order(kafka, own, topic)
        own.pause()
        process = connector(topic, local, decode=decode(own.url, "skip")).start()
        process.wait_output("no answer within 10s", 60)
        own.resume()
        assert process.wait(60) == 0, process.describe()
        assert local.rows("id, quantity") == [(1, 1)]


def test_a_new_instance_goes_on_when_the_registry_is_there_again(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first_order(kafka, registry, topic)
    proxy.kill()
    process = connector(topic, local, decode=decode(proxy.url)).start()
    process.wait_output("SL3205", 60)
    assert "Connection refused" in process.output
    proxy.start()
    assert process.wait(60) == 0, process.describe()
    assert local.rows("id, quantity") == [(1, 1)]


def test_of_several_urls_one_that_answers_is_enough(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first_order(kafka, registry, topic)
    proxy.kill()
    connector(topic, local, decode=decode([proxy.url, registry.url])).run(seconds=30)
    assert local.rows("id, quantity") == [(1, 1)]


def test_basic_auth(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first_order(kafka, registry, topic)
    secret = "${env:REGISTRY_PASSWORD}"
    right = decode(proxy.auth_url, auth={"username": proxy.USER, "password": secret})
    sluice = connector(topic, local, decode=right)

    sluice.env["REGISTRY_PASSWORD"] = "hunter2"
    answer = sluice.run(code=CONFIGURATION)
    told = f"the schema registry at {proxy.auth_url} answers 401 Unauthorized: correct `registry.auth`"
    assert told in answer.stderr, answer.stderr
    assert "hunter2" not in answer.stderr

    sluice.write(decode=decode(proxy.auth_url))
    answer = sluice.run(code=CONFIGURATION)
    assert "answers 401 Unauthorized: it wants to know who asks; set `registry.auth`" in answer.stderr, answer.stderr

    sluice.write(decode=right)
    sluice.env["REGISTRY_PASSWORD"] = proxy.PASSWORD
    sluice.run()
    assert local.rows("id, quantity") == [(1, 1)]
    assert {line.split()[0] for line in proxy.requests()} == {"200", "401"}


def test_tls_with_an_authority_of_its_own(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first_order(kafka, registry, topic)
    sluice = connector(topic, local, decode=decode(proxy.tls_url))
    process = sluice.start()
    process.wait_output("SL3205", 60)
    assert "UnknownIssuer; set `registry.ca_file`" in process.output, process.output
    process.kill()
    sluice.write(decode=decode(proxy.tls_url, ca_file=str(proxy.ca_file)))
    sluice.run()
    assert local.rows("id, quantity") == [(1, 1)]


def test_a_page_in_the_registrys_place_is_told(
    kafka: Kafka, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    send(kafka, topic, [framed(1, b"\x02\x02")])
    for url, words in ((proxy.odd_url, "no JSON"), (proxy.url.removesuffix("/apis/ccompat/v7"), "base path missing?")):
        process = connector(topic, local, decode=decode(url)).start()
        process.wait_output("SL3207", 60)
        assert words in process.output, process.output
        process.kill()


UNKNOWN = [2_000_000_000, 4_000_000_000, 2_000_000_001]  # one is larger than any registry gives


@pytest.mark.parametrize("policy", ["fail", "skip", "dead_letter"])
def test_an_id_that_nobody_knows_is_a_bad_record(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector, policy: str
) -> None:
    first = registry.register(f"{topic}-value", V1)
    good = avro(first, V1, orders(range(300)))
    bad = [framed(unknown, b"\x02\x02") for unknown in UNKNOWN]
    send(kafka, topic, good[:200] + bad + good[200:])
    dead = {"dead_letters": {"table": local.table("dead")}} if policy == "dead_letter" else {}
    sluice = connector(topic, local, decode=decode(registry.url, policy), **dead)
    if policy == "fail":
        answer = sluice.run(code=DATA_REFUSED)
        assert "offset 200" in answer.stderr and "2000000000" in answer.stderr, answer.stderr
        return
    sluice.run()
    assert local.rows("id") == [(n,) for n in range(300)]
    if policy == "dead_letter":
        dead = local.rows("kafka_offset, reason", "dead")
        assert [offset for offset, _ in dead] == [200, 201, 202]
        assert all(str(unknown) in reason for unknown, (_, reason) in zip(UNKNOWN, dead, strict=True)), dead
    sluice.verify()


def test_an_id_that_arrives_after_its_record_is_waited_for(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    """As with a follower that learns of an id a moment after the leader gave it to a producer."""
    subject = f"{topic}-value"
    schemas = [{**V1, "doc": f"{topic} {n}"} for n in range(2)]
    first = registry.register(subject, schemas[0])
    send(kafka, topic, avro(first, schemas[0], orders([1])))
    sluice = connector(topic, local, decode=decode(registry.url), trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)
    send(kafka, topic, avro(first + 1, schemas[1], orders([2])))
    assert registry.register(subject, schemas[1]) == first + 1, "ids are given in order"
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert local.rows("id, quantity") == [(1, 1), (2, 2)]


def test_a_subject_of_another_name(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    subject = f"shop/{topic}: orders"
    first_order(kafka, registry, topic, subject)
    connector(topic, local, decode=decode(registry.url, subject=subject)).run()
    assert local.rows("id, quantity") == [(1, 1)]


def test_json_with_the_registrys_prefix(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    schema_id = registry.register(f"{topic}-value", schema, kind="JSON")
    send(kafka, topic, [framed(schema_id, producers.order(n)) for n in range(50)])
    value = {"format": "json", "schema": producers.SCHEMA, "framing": "confluent"}
    connector(topic, local, decode={"value": value}).run()
    assert local.rows("orderId") == [(f"order-{n:012d}",) for n in range(50)]
