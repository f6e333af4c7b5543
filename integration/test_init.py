"""`sluice init`: what it writes runs as it is, on JSON, Avro with a registry, change events, and secured ways to them."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Lake
from harness import oracle, places, producers
from harness.avro import record
from harness.kafka import Kafka
from harness.readers import Duck, scan
from harness.registry import Proxy, Registry, avro, framed
from harness.sluice import CONFIGURATION, NEGATIVE_FINDING, UNREACHABLE, USAGE, Answer, Sluice

Init = Callable[..., Answer]

MADE = {"type": "long", "logicalType": "timestamp-micros"}
ORDER = record("Order", {"id": "long", "customer": ["null", "string"], "made": MADE})
ORDERS = [{"id": n, "customer": f"c{n}" if n % 3 else None, "made": 1_760_000_000_000_000 + n} for n in range(200)]


@pytest.fixture
def init(kafka: Kafka, topic: str, local: Lake, tmp_path: Path) -> Iterator[Init]:
    """`sluice init` for the test's topic and table, with more arguments; it runs in the test's folder."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> Answer:
        command = [places.sluice_binary(), "init", "--brokers", kafka.bootstrap, "--topic", topic]
        command += ["--table", local.table("orders"), *arguments]
        environment = {"PATH": "/usr/bin:/bin", "NO_COLOR": "1", **(env or {})}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        return Answer(done.returncode, done.stdout, done.stderr)

    yield run


def run_as_it_is(text: str, tmp_path: Path, env: dict[str, str] | None = None, code: int = 0) -> Sluice:
    """Checks and runs a configuration exactly as it was written; only the trigger is set, so that it ends."""
    sluice = Sluice(tmp_path / "written", {}, env)
    sluice.file.write_text(text)
    answer = sluice.ask("check")
    assert answer.code == 0, answer.stdout + answer.stderr
    sluice.run("--set", "trigger.mode=available_now", "--set", "trigger.interval=null", code=code)
    return sluice


def columns(table: str) -> dict[str, str]:
    return dict(Duck().rows(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {scan(table)})"))


def test_json_orders_run_as_they_were_found(
    kafka: Kafka, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 5_000)
    file = tmp_path / "connector.yaml"
    answer = init("-o", str(file))
    assert answer.code == 0, answer.stderr
    assert answer.stdout == ""
    assert "1,000 records looked at" in answer.stderr and "columns: 9" in answer.stderr, answer.stderr

    again = init("-o", str(file))
    assert again.code == USAGE and "--force" in again.stderr
    assert init("-o", str(file), "--force").code == 0

    sluice = run_as_it_is(file.read_text(), tmp_path)
    table = local.table("orders")
    as_double = {**oracle.ORDER_COLUMNS, "amount": "(v->>'$.amount')::DOUBLE"}
    assert oracle.assert_exact(table, kafka, topic, columns=as_double) == 5_000
    found = columns(table)
    assert found["event_time"] == "TIMESTAMP WITH TIME ZONE" and found["customerId"] == "BIGINT", found
    sluice.verify()


def test_what_cannot_be_a_column_is_kept(kafka: Kafka, topic: str, local: Lake, init: Init, tmp_path: Path) -> None:
    """Mixed types, nested values, epochs, odd names: nothing is refused and nothing at the top is lost."""
    records = [
        {
            "id": n,
            "odd": n if n % 2 else "x",
            "never": None,
            "lines": [{"sku": f"s{n}", "price": n / 4}],
            "made_at": 1_760_000_000_000 + n,
            "a b": n,
            "größe": n,
            "$ref": "x",
        }
        for n in range(500)
    ]
    producers.send(kafka.bootstrap, topic, [json.dumps(record).encode() for record in records])
    answer = init()
    assert answer.code == 0, answer.stderr
    assert "# - odd: left out: of several types" in answer.stdout
    assert '`timestamps: {"made_at": epoch_millis}`' in answer.stdout
    run_as_it_is(answer.stdout, tmp_path)
    query = 'SELECT id, lines[1].price, "größe", "$ref", rescued_data FROM {} ORDER BY id'
    rows = Duck().rows(query.format(scan(local.table("orders"))))
    assert len(rows) == 500
    for sent, (id, price, size, ref, rescued) in zip(records, rows, strict=True):
        assert (id, price, size, ref) == (sent["id"], sent["lines"][0]["price"], sent["id"], "x")
        kept = {name: sent[name] for name in ("odd", "never", "a b") if sent[name] is not None}
        assert {name: value for name, value in json.loads(rescued).items() if value is not None} == kept


def test_bad_records_among_the_samples_become_dead_letters(
    kafka: Kafka, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    values = [b'{"id": %d}' % n for n in range(100)] + [b"{", b'{"id": 1, "id": 2}']
    producers.send(kafka.bootstrap, topic, values, partition=0)
    answer = init()
    assert "# 2 of 102 records are bad; the first: " in answer.stdout, answer.stdout
    run_as_it_is(answer.stdout, tmp_path)
    count = "SELECT count(*) FROM {}"
    assert Duck().row(count.format(scan(local.table("orders")))) == (100,)
    assert Duck().row(count.format(scan(local.table("orders_dead_letters")))) == (2,)


def test_avro_with_a_registry_runs_as_it_was_found(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    schema_id = registry.register(f"{topic}-value", ORDER)
    producers.send(kafka.bootstrap, topic, avro(schema_id, ORDER, ORDERS))
    without = init()
    assert without.code == NEGATIVE_FINDING, without.stdout
    assert f"(schema {schema_id}). Name the registry with --registry URL" in without.stderr

    answer = init("--registry", registry.url)
    assert answer.code == 0, answer.stderr
    assert "format: avro" in answer.stdout and "subject_names" not in answer.stdout
    run_as_it_is(answer.stdout, tmp_path)
    rows = Duck().rows(f"SELECT id, customer, epoch_us(made) FROM {scan(local.table('orders'))} ORDER BY id")
    assert rows == [(order["id"], order["customer"], order["made"]) for order in ORDERS]


def test_a_registry_behind_basic_auth_and_schemas_by_record_name(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    schema_id = registry.register(f"Order-of-{topic}", ORDER)
    producers.send(kafka.bootstrap, topic, avro(schema_id, ORDER, ORDERS))
    secret = {"REGISTRY_PASSWORD": proxy.PASSWORD}
    auth = ("--registry-username", proxy.USER, "--registry-password", "${env:REGISTRY_PASSWORD}")
    refused = init("--registry", proxy.auth_url)
    assert refused.code == CONFIGURATION and "SL3208" in refused.stderr, refused.stderr

    answer = init("--registry", proxy.auth_url, *auth, env=secret)
    assert answer.code == 0, answer.stderr
    assert proxy.PASSWORD not in answer.stdout + answer.stderr
    assert 'password: "${env:REGISTRY_PASSWORD}"' in answer.stdout
    assert "subject_names: record_name" in answer.stdout
    run_as_it_is(answer.stdout, tmp_path, secret)
    assert Duck().row(f"SELECT count(*) FROM {scan(local.table('orders'))}") == (200,)


def test_json_schemas_of_a_registry(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    schema_id = registry.register(f"{topic}-value", schema, kind="JSON")
    producers.send(kafka.bootstrap, topic, [framed(schema_id, producers.order(n)) for n in range(100)])
    answer = init("--registry", registry.url)
    assert answer.code == 0, answer.stderr
    assert "framing: confluent" in answer.stdout and "orderId STRING," in answer.stdout
    run_as_it_is(answer.stdout, tmp_path)
    assert Duck().row(f"SELECT count(DISTINCT orderId) FROM {scan(local.table('orders'))}") == (100,)


def test_an_empty_topic_needs_a_registry(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    answer = init()
    assert answer.code == NEGATIVE_FINDING and "has no records with a value" in answer.stderr, answer.stderr
    registry.register(f"{topic}-value", ORDER)
    answer = init("--registry", registry.url)
    assert answer.code == 0, answer.stderr
    run_as_it_is(answer.stdout, tmp_path)
    assert {"id", "customer", "made"} <= set(columns(local.table("orders")))


def test_change_events_are_merged_by_their_keys(
    kafka: Kafka, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    def event(op: str, before: Any, after: Any) -> bytes:
        return json.dumps({"before": before, "after": after, "op": op, "ts_ms": 1, "source": {"lsn": 7}}).encode()

    first, second = {"id": 1, "name": "x"}, {"id": 2, "name": "y"}
    for row, value in (
        (first, event("c", None, first)),
        (second, event("r", None, second)),
        (first, event("u", first, {**first, "name": "z"})),
        (second, event("d", second, None)),
    ):
        key = json.dumps({"id": row["id"]}).encode()
        producers.send(kafka.bootstrap, topic, [value], partition=0, key=key)
    answer = init()
    assert answer.code == 0, answer.stderr
    assert "format: debezium" in answer.stdout and "merge_key: [id]" in answer.stdout, answer.stdout
    run_as_it_is(answer.stdout, tmp_path)
    assert Duck().rows(f"SELECT id, name FROM {scan(local.table('orders'))}") == [(1, "z")]


@pytest.mark.parametrize(
    ("values", "word", "kind"),
    [([b"hello", "grüße".encode()], "string", "VARCHAR"), ([b"\xff\xfe", b"x"], "bytes", "BLOB")],
    ids=["text", "bytes"],
)
def test_text_and_bytes_land_raw(
    kafka: Kafka, topic: str, local: Lake, init: Init, tmp_path: Path, values: list[bytes], word: str, kind: str
) -> None:
    producers.send(kafka.bootstrap, topic, values, partition=0)
    answer = init("--json")
    document = answer.json()
    assert (answer.code, document["format"], document["records"], document["bad"]) == (0, word, 2, 0)
    run_as_it_is(document["config"], tmp_path)
    assert columns(local.table("orders"))["value"] == kind
    assert Duck().row(f"SELECT count(*) FROM {scan(local.table('orders'))}") == (2,)


def test_what_is_not_there_is_told(kafka: Kafka, topic: str, init: Init) -> None:
    answer = init("--topic", f"{topic}-no")
    assert answer.code == USAGE, "the option stands twice"
    for arguments, code, words in (
        (("--registry", "http://127.0.0.1:9/"), UNREACHABLE, "SL3205"),
        (("--registry", "ftp://registry"), CONFIGURATION, "`decode.value.registry.url`"),
        (("--client", "no-value"), USAGE, "KEY=VALUE"),
        (("--client", "bootstrap.servers=x"), CONFIGURATION, "bootstrap.servers"),
        (("--avro-schema", "no.avsc"), CONFIGURATION, "no.avsc"),
        (("--samples", "0"), USAGE, "--samples"),
    ):
        answer = init(*arguments)
        assert answer.code == code and words in answer.stderr, (arguments, answer)
