"""The schema registry: schemas that evolve in mid-stream, references, outages, credentials, TLS, ids nobody knows."""

import json
from typing import Any

import pytest

from conftest import Connector, Lake
from harness import producers
from harness.avro import record
from harness.kafka import Kafka
from harness.readers import Duck, scan, spark_rows
from harness.registry import Proxy, Reference, Registry, avro, framed
from harness.sluice import CONFIGURATION, CONTINUOUS, DATA_REFUSED, wait_caught_up
from harness.waiting import wait_until

V1 = record("shop.Order", {"id": "long", "quantity": "int"})
V2 = record("shop.Order", {"id": "long", "quantity": "int", "country": "string"}, {"country": "XX"})
V3 = record("shop.Order", {"id": "long", "quantity": "long", "country": "string"}, {"country": "XX"})


def decode(url: str | list[str], on_bad_record: str = "fail", **more: Any) -> dict[str, Any]:
    value = {"format": "avro", "registry": {"url": url, **more}}
    return {"value": value, "on_bad_record": on_bad_record}


def outputs(lake: Lake, **more: Any) -> dict[str, Any]:
    return {"orders": {"table": lake.table("orders"), **more}}


def rows(lake: Lake, columns: str, name: str = "orders") -> list[tuple[Any, ...]]:
    return Duck(lake.storage).rows(f"SELECT {columns} FROM {scan(lake.table(name))} ORDER BY ALL")


def send(kafka: Kafka, topic: str, values: list[bytes], partition: int = 0) -> None:
    producers.send(kafka.bootstrap, topic, values, partition=partition)


def test_schemas_evolve_in_mid_stream(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector, spark
) -> None:
    """A field with a default is added, then an int becomes a long; the connector runs on, and every reader follows."""
    subject = f"{topic}-value"
    first = registry.register(subject, V1)
    send(kafka, topic, avro(first, V1, [{"id": n, "quantity": n} for n in range(100)]))
    evolving = outputs(local, schema_evolution="widen")
    sluice = connector(topic, local, decode=decode(registry.url), outputs=evolving, trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)
    assert rows(local, "id, quantity") == [(n, n) for n in range(100)]

    second = registry.register(subject, V2)
    values = [{"id": n, "quantity": n, "country": "DE"} for n in range(100, 200)]
    send(kafka, topic, avro(second, V2, values))
    wait_caught_up(process, log, kafka, topic)
    # Producers are not all of one mind: what is written by the old schema has the new field's default.
    send(kafka, topic, avro(first, V1, [{"id": 200, "quantity": 200}]))
    wait_caught_up(process, log, kafka, topic)
    expected = [(n, n, None) for n in range(100)] + [(n, n, "DE") for n in range(100, 200)] + [(200, 200, "XX")]
    table = local.table("orders")
    query = "SELECT id, quantity, country FROM {} ORDER BY id"
    assert rows(local, "id, quantity, country") == expected
    assert spark_rows(spark, query.format(f"delta.`{table}`")) == expected

    spark.sql(f"ALTER TABLE delta.`{table}` SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')")
    registry.any_change(subject)
    third = registry.register(subject, V3)
    large = {"id": 300, "quantity": 1 << 40, "country": "FR"}
    send(kafka, topic, avro(third, V3, [large]))
    send(kafka, topic, avro(second, V2, [{"id": 301, "quantity": 7, "country": "FR"}]))
    wait_caught_up(process, log, kafka, topic)
    process.terminate()
    expected += [(300, 1 << 40, "FR"), (301, 7, "FR")]
    assert spark_rows(spark, query.format(f"delta.`{table}`")) == expected
    assert len(set(expected)) == len(expected)
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
    sluice = connector(topic, local, decode=decode(registry.url), outputs=outputs(local))
    sluice.run()
    expected = [(n, n, "XX" if (n * 7) % 3 == 0 else "DE") for n in range(30)]
    assert rows(local, "id, quantity, country") == expected
    assert rows(local, "DISTINCT typeof(quantity)") == [("BIGINT",)]
    sluice.verify()


def test_an_incompatible_change_is_refused_naming_field_and_schema(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    subject = f"{topic}-value"
    first = registry.register(subject, V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    sluice = connector(
        topic, local, decode=decode(registry.url), outputs=outputs(local, schema_evolution="widen")
    )
    sluice.run()
    registry.any_change(subject)
    text = record("shop.Order", {"id": "long", "quantity": "string"})
    changed = registry.register(subject, text)
    send(kafka, topic, avro(changed, text, [{"id": 2, "quantity": "two"}]))
    answer = sluice.ask("run")
    assert answer.code == DATA_REFUSED, answer.stderr
    assert "quantity" in answer.stderr and f"schema id {changed}" in answer.stderr, answer.stderr
    assert rows(local, "id, quantity") == [(1, 1)]


@pytest.mark.parametrize("declared", [False, True], ids=["followed", "declared"])
def test_records_of_an_incompatible_schema_become_dead_letters(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector, declared: bool
) -> None:
    """The others go on; declared columns stay what they are over a restart, too."""
    subject = f"{topic}-value"
    first = registry.register(subject, V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    config = {**decode(registry.url, "dead_letter"), "on_incompatible_schema": "dead_letter", "bad_record_limit": "100%"}
    if declared:
        config["value"]["schema"] = "id BIGINT, quantity INT"
    dead = {"table": local.table("dead")}
    sluice = connector(topic, local, decode=config, dead_letters=dead, outputs=outputs(local), trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)
    registry.any_change(subject)
    text = record("shop.Order", {"id": "long", "quantity": "string"})
    changed = registry.register(subject, text)
    send(kafka, topic, avro(changed, text, [{"id": 2, "quantity": "two"}]))
    send(kafka, topic, avro(first, V1, [{"id": 3, "quantity": 3}]))
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    expected = [(1, 1), (3, 3)]
    if declared:
        send(kafka, topic, avro(changed, text, [{"id": 4, "quantity": "four"}]))
        send(kafka, topic, avro(first, V1, [{"id": 5, "quantity": 5}]))
        sluice.finish()
        expected.append((5, 5))
    assert rows(local, "id, quantity") == expected
    reasons = rows(local, "reason", "dead")
    assert len(reasons) == (2 if declared else 1)
    assert all("quantity" in reason and f"schema id {changed}" in reason for (reason,) in reasons), reasons
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
    values = [
        {"id": 1, "to": {"street": "Spree 1", "country": {"code": "DE"}}, "total": {"cents": 5, "country": {"code": "FR"}}},
        {"id": 2, "to": None, "total": {"cents": 7, "country": {"code": "NL"}}},
    ]
    send(kafka, topic, avro(schema_id, whole, values))
    sluice = connector(topic, local, decode=decode(registry.url), outputs=outputs(local))
    sluice.run()
    columns = 'id, "to".street, "to".country.code, total.cents, total.country.code'
    assert rows(local, columns) == [(1, "Spree 1", "DE", 5, "FR"), (2, None, None, 7, "NL")]


def test_an_outage_stops_nothing_that_is_known_and_loses_nothing_new(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    subject = f"{topic}-value"
    first = registry.register(subject, V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    config = decode(proxy.url, "dead_letter")
    dead = {"table": local.table("dead")}
    evolving = outputs(local, schema_evolution="add_columns")
    sluice = connector(topic, local, decode=config, dead_letters=dead, outputs=evolving, trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)

    proxy.kill()
    send(kafka, topic, avro(first, V1, [{"id": n, "quantity": n} for n in range(2, 50)]))
    wait_caught_up(process, log, kafka, topic)
    assert len(rows(local, "id")) == 49, "a known schema needs no registry"

    second = registry.register(subject, V2)
    send(kafka, topic, avro(second, V2, [{"id": 50, "quantity": 1, "country": "DE"}]))
    send(kafka, topic, avro(first, V1, [{"id": 51, "quantity": 1}]))
    wait_until("the outage to be told", lambda: "SL3205" in process.output, 60)
    assert process.running()
    version = log.version()
    proxy.start()
    wait_caught_up(process, log, kafka, topic)
    assert log.version() > version
    assert process.terminate() == 0
    assert rows(local, "id") == [(n,) for n in range(1, 52)]
    assert rows(local, "country")[0] == ("DE",)
    assert not local.path("dead").exists() or rows(local, "reason", "dead") == []
    sluice.verify()


def test_a_registry_that_hangs_is_waited_for(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, tmp_path
) -> None:
    with Registry(tmp_path) as own:
        first = own.register(f"{topic}-value", V1)
        send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
        own.pause()
        sluice = connector(topic, local, decode=decode(own.url, "skip"), outputs=outputs(local))
        process = sluice.start()
        wait_until("the time-out to be told", lambda: "no answer within 10s" in process.output, 60)
        own.resume()
        assert process.wait(60) == 0, process.describe()
        assert rows(local, "id, quantity") == [(1, 1)]


def test_a_new_instance_goes_on_when_the_registry_is_there_again(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first = registry.register(f"{topic}-value", V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    proxy.kill()
    sluice = connector(topic, local, decode=decode(proxy.url), outputs=outputs(local))
    process = sluice.start()
    wait_until("the outage to be told", lambda: "SL3205" in process.output, 60)
    assert "Connection refused" in process.output
    proxy.start()
    assert process.wait(60) == 0, process.describe()
    assert rows(local, "id, quantity") == [(1, 1)]


def test_of_several_urls_one_that_answers_is_enough(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first = registry.register(f"{topic}-value", V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    gone = proxy.url
    proxy.kill()
    sluice = connector(topic, local, decode=decode([gone, registry.url]), outputs=outputs(local))
    sluice.run(seconds=30)
    assert rows(local, "id, quantity") == [(1, 1)]


def test_basic_auth(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first = registry.register(f"{topic}-value", V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    secret = "${env:REGISTRY_PASSWORD}"
    right = decode(proxy.auth_url, auth={"username": proxy.USER, "password": secret})
    sluice = connector(topic, local, decode=right, outputs=outputs(local))

    sluice.env["REGISTRY_PASSWORD"] = "hunter2"
    answer = sluice.ask("run")
    assert answer.code == CONFIGURATION, answer.stderr
    told = f"the schema registry at {proxy.auth_url} answers 401 Unauthorized: correct `registry.auth`"
    assert told in answer.stderr, answer.stderr
    assert "hunter2" not in answer.stderr

    sluice.write(decode=decode(proxy.auth_url))
    answer = sluice.ask("run")
    assert answer.code == CONFIGURATION, answer.stderr
    assert "answers 401 Unauthorized: it wants to know who asks; set `registry.auth`" in answer.stderr, answer.stderr

    sluice.write(decode=right)
    sluice.env["REGISTRY_PASSWORD"] = proxy.PASSWORD
    sluice.run()
    assert rows(local, "id, quantity") == [(1, 1)]
    assert {line.split()[0] for line in proxy.requests()} == {"200", "401"}


def test_tls_with_an_authority_of_its_own(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    first = registry.register(f"{topic}-value", V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    sluice = connector(topic, local, decode=decode(proxy.tls_url), outputs=outputs(local))
    process = sluice.start()
    wait_until("the refusal", lambda: "SL3205" in process.output, 60)
    assert "UnknownIssuer; set `registry.ca_file`" in process.output, process.output
    process.kill()
    sluice.write(decode=decode(proxy.tls_url, ca_file=str(proxy.ca_file)))
    sluice.run()
    assert rows(local, "id, quantity") == [(1, 1)]


def test_a_page_in_the_registrys_place_is_told(
    kafka: Kafka, proxy: Proxy, topic: str, local: Lake, connector: Connector
) -> None:
    send(kafka, topic, [framed(1, b"\x02\x02")])
    for url, words in ((proxy.odd_url, "no JSON"), (proxy.url.removesuffix("/apis/ccompat/v7"), "base path missing?")):
        sluice = connector(topic, local, decode=decode(url), outputs=outputs(local))
        process = sluice.start()
        wait_until("the answer to be told", lambda: "SL3207" in process.output, 60)
        assert words in process.output, process.output
        process.kill()


UNKNOWN = [2_000_000_000, 4_000_000_000, 2_000_000_001]  # one is larger than any registry gives


@pytest.mark.parametrize("policy", ["fail", "skip", "dead_letter"])
def test_an_id_that_nobody_knows_is_a_bad_record(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector, policy: str
) -> None:
    first = registry.register(f"{topic}-value", V1)
    good = avro(first, V1, [{"id": n, "quantity": n} for n in range(300)])
    bad = [framed(unknown, b"\x02\x02") for unknown in UNKNOWN]
    send(kafka, topic, good[:200] + bad + good[200:])
    config = {"decode": decode(registry.url, policy), "outputs": outputs(local)}
    if policy == "dead_letter":
        config["dead_letters"] = {"table": local.table("dead")}
    sluice = connector(topic, local, **config)
    answer = sluice.ask("run")
    if policy == "fail":
        assert answer.code == DATA_REFUSED, answer.stderr
        assert "offset 200" in answer.stderr and "2000000000" in answer.stderr, answer.stderr
        return
    assert answer.code == 0, answer.stderr
    assert rows(local, "id") == [(n,) for n in range(300)]
    if policy == "dead_letter":
        assert rows(local, "kafka_offset", "dead") == [(200,), (201,), (202,)]
        reasons = [reason for _, reason in rows(local, "kafka_offset, reason", "dead")]
        assert all(str(unknown) in reason for unknown, reason in zip(UNKNOWN, reasons, strict=True)), reasons
    sluice.verify()


def test_an_id_that_arrives_after_its_record_is_waited_for(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    """As with a follower that learns of an id a moment after the leader gave it to a producer."""
    subject = f"{topic}-value"
    schemas = [{**V1, "doc": f"{topic} {n}"} for n in range(2)]
    first = registry.register(subject, schemas[0])
    send(kafka, topic, avro(first, schemas[0], [{"id": 1, "quantity": 1}]))
    sluice = connector(topic, local, decode=decode(registry.url), outputs=outputs(local), trigger=CONTINUOUS)
    process, log = sluice.start(), local.log("orders")
    wait_caught_up(process, log, kafka, topic)
    send(kafka, topic, avro(first + 1, schemas[1], [{"id": 2, "quantity": 2}]))
    assert registry.register(subject, schemas[1]) == first + 1, "ids are given in order"
    wait_caught_up(process, log, kafka, topic)
    assert process.terminate() == 0
    assert rows(local, "id, quantity") == [(1, 1), (2, 2)]


def test_a_subject_of_another_name(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    first = registry.register(f"shop/{topic}: orders", V1)
    send(kafka, topic, avro(first, V1, [{"id": 1, "quantity": 1}]))
    named = decode(registry.url, subject=f"shop/{topic}: orders")
    sluice = connector(topic, local, decode=named, outputs=outputs(local))
    sluice.run()
    assert rows(local, "id, quantity") == [(1, 1)]


def test_json_with_the_registrys_prefix(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, connector: Connector
) -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    schema_id = registry.register(f"{topic}-value", schema, kind="JSON")
    send(kafka, topic, [framed(schema_id, producers.order(n)) for n in range(50)])
    value = {"format": "json", "schema": producers.SCHEMA, "framing": "confluent"}
    sluice = connector(topic, local, decode={"value": value})
    sluice.run()
    assert rows(local, "orderId") == [(f"order-{n:012d}",) for n in range(50)]
