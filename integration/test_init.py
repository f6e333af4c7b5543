"""`sluice init`: what it writes runs as it is: JSON, Avro with a registry, change events, secured ways to them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import Lake
from harness import oracle, places, producers
from harness.avro import record
from harness.kafka import Kafka
from harness.readers import Duck, scan
from harness.registry import Proxy, Registry, avro, framed
from harness.sluice import CONFIGURATION, DONE, NEGATIVE_FINDING, UNREACHABLE, USAGE, Answer, Sluice

MADE = {"type": "long", "logicalType": "timestamp-micros"}
ORDER = record("Order", {"id": "long", "customer": ["null", "string"], "made": MADE})
ORDERS = [{"id": n, "customer": f"c{n}" if n % 3 else None, "made": 1_760_000_000_000_000 + n} for n in range(200)]


class Init:
    """`sluice init` for a topic and a table; it runs in `folder`."""

    def __init__(self, kafka: Kafka, topic: str, table: str, folder: Path):
        self.folder = folder
        self.options = ["--brokers", kafka.bootstrap, "--topic", topic, "--table", table]

    def ask(self, *arguments: str, env: dict[str, str] | None = None) -> Answer:
        command = [places.sluice_binary(), "init", *self.options, *arguments]
        environment = {"PATH": "/usr/bin:/bin", "NO_COLOR": "1", **(env or {})}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120)
        return Answer(done.returncode, done.stdout, done.stderr)

    def writes(self, *arguments: str, env: dict[str, str] | None = None) -> Answer:
        """It must find something to write."""
        answer = self.ask(*arguments, env=env)
        assert answer.code == DONE, answer.stderr
        return answer

    def run(self, text: str, env: dict[str, str] | None = None) -> Sluice:
        """Checks and runs a configuration exactly as it was written; only the trigger is set, so that it ends."""
        sluice = Sluice(self.folder / "written", {}, env)
        sluice.file.write_text(text)
        answer = sluice.ask("check")
        assert answer.code == DONE, answer.stdout + answer.stderr
        sluice.run("--set", "trigger.mode=available_now", "--set", "trigger.interval=null")
        return sluice


@pytest.fixture
def init(kafka: Kafka, topic: str, local: Lake, tmp_path: Path) -> Init:
    return Init(kafka, topic, local.table("orders"), tmp_path)


def columns(table: str) -> dict[str, str]:
    return dict(Duck().rows(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {scan(table)})"))


def test_json_orders_run_as_they_were_found(
    kafka: Kafka, topic: str, local: Lake, init: Init, tmp_path: Path
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 5_000)
    file = tmp_path / "connector.yaml"
    answer = init.writes("-o", str(file))
    assert answer.stdout == ""
    assert "1,000 records looked at" in answer.stderr and "columns: 9" in answer.stderr, answer.stderr

    again = init.ask("-o", str(file))
    assert again.code == USAGE and "--force" in again.stderr
    init.writes("-o", str(file), "--force")

    sluice = init.run(file.read_text())
    table = local.table("orders")
    as_double = {**oracle.ORDER_COLUMNS, "amount": "(v->>'$.amount')::DOUBLE"}
    assert oracle.assert_exact(table, kafka, topic, columns=as_double) == 5_000
    found = columns(table)
    assert found["event_time"] == "TIMESTAMP WITH TIME ZONE" and found["customerId"] == "BIGINT", found
    sluice.verify()


def test_what_cannot_be_a_column_is_kept(kafka: Kafka, topic: str, local: Lake, init: Init) -> None:
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
    answer = init.writes()
    assert "# - odd: left out: of several types" in answer.stdout
    assert '`timestamps: {"made_at": epoch_millis}`' in answer.stdout
    init.run(answer.stdout)
    rows = local.rows('id, lines[1].price, "größe", "$ref", rescued_data', order="id")
    assert len(rows) == 500
    for sent, (id, price, size, ref, rescued) in zip(records, rows, strict=True):
        assert (id, price, size, ref) == (sent["id"], sent["lines"][0]["price"], sent["id"], "x")
        kept = {name: sent[name] for name in ("odd", "never", "a b") if sent[name] is not None}
        assert {name: value for name, value in json.loads(rescued).items() if value is not None} == kept


def test_bad_records_among_the_samples_become_dead_letters(kafka: Kafka, topic: str, local: Lake, init: Init) -> None:
    values = [b'{"id": %d}' % n for n in range(100)] + [b"{", b'{"id": 1, "id": 2}']
    producers.send(kafka.bootstrap, topic, values, partition=0)
    answer = init.writes()
    assert "# 2 of 102 records are bad; the first: " in answer.stdout, answer.stdout
    init.run(answer.stdout)
    assert local.rows("count(*)") == [(100,)]
    assert local.rows("count(*)", "orders_dead_letters") == [(2,)]


def test_avro_with_a_registry_runs_as_it_was_found(
    kafka: Kafka, registry: Registry, topic: str, local: Lake, init: Init
) -> None:
    schema_id = registry.register(f"{topic}-value", ORDER)
    producers.send(kafka.bootstrap, topic, avro(schema_id, ORDER, ORDERS))
    without = init.ask()
    assert without.code == NEGATIVE_FINDING, without.stdout
    assert f"(schema {schema_id}). Name the registry with --registry URL" in without.stderr

    answer = init.writes("--registry", registry.url)
    assert "format: avro" in answer.stdout and "subject_names" not in answer.stdout
    init.run(answer.stdout)
    assert local.rows("id, customer, epoch_us(made)") == [tuple(order.values()) for order in ORDERS]


def test_a_registry_behind_basic_auth_and_schemas_by_record_name(
    kafka: Kafka, registry: Registry, proxy: Proxy, topic: str, local: Lake, init: Init
) -> None:
    schema_id = registry.register(f"Order-of-{topic}", ORDER)
    producers.send(kafka.bootstrap, topic, avro(schema_id, ORDER, ORDERS))
    secret = {"REGISTRY_PASSWORD": proxy.PASSWORD}
    auth = ("--registry-username", proxy.USER, "--registry-password", "${env:REGISTRY_PASSWORD}")
    refused = init.ask("--registry", proxy.auth_url)
    assert refused.code == CONFIGURATION and "SL3208" in refused.stderr, refused.stderr

    answer = init.writes("--registry", proxy.auth_url, *auth, env=secret)
    assert proxy.PASSWORD not in answer.stdout + answer.stderr
    assert 'password: "${env:REGISTRY_PASSWORD}"' in answer.stdout
    assert "subject_names: record_name" in answer.stdout
    init.run(answer.stdout, secret)
    assert local.rows("count(*)") == [(200,)]


def test_json_schemas_of_a_registry(kafka: Kafka, registry: Registry, topic: str, local: Lake, init: Init) -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    schema_id = registry.register(f"{topic}-value", schema, kind="JSON")
    producers.send(kafka.bootstrap, topic, [framed(schema_id, producers.order(n)) for n in range(100)])
    answer = init.writes("--registry", registry.url)
    assert "framing: confluent" in answer.stdout and "orderId STRING," in answer.stdout
    init.run(answer.stdout)
    assert local.rows("count(DISTINCT orderId)") == [(100,)]


def test_an_empty_topic_needs_a_registry(kafka: Kafka, registry: Registry, topic: str, local: Lake, init: Init) -> None:
    answer = init.ask()
    assert answer.code == NEGATIVE_FINDING and "has no records with a value" in answer.stderr, answer.stderr
    registry.register(f"{topic}-value", ORDER)
    answer = init.writes("--registry", registry.url)
    init.run(answer.stdout)
    assert {"id", "customer", "made"} <= set(columns(local.table("orders")))


def test_change_events_are_merged_by_their_keys(kafka: Kafka, topic: str, local: Lake, init: Init) -> None:
    def event(op: str, before: Any, after: Any) -> bytes:
        return json.dumps({"before": before, "after": after, "op": op, "ts_ms": 1, "source": {"lsn": 7}}).encode()

    first, second = {"id": 1, "name": "x"}, {"id": 2, "name": "y"}
    records = [
        (b'{"id": 1}', event("c", None, first)),
        (b'{"id": 2}', event("r", None, second)),
        (b'{"id": 1}', event("u", first, {**first, "name": "z"})),
        (b'{"id": 2}', event("d", second, None)),
    ]
    producers.send_records(kafka.bootstrap, topic, records)
    answer = init.writes()
    assert "format: debezium" in answer.stdout and "merge_key: [id]" in answer.stdout, answer.stdout
    init.run(answer.stdout)
    assert local.rows("id, name") == [(1, "z")]


@pytest.mark.parametrize(
    ("values", "word", "kind"),
    [([b"hello", "grüße".encode()], "string", "VARCHAR"), ([b"\xff\xfe", b"x"], "bytes", "BLOB")],
    ids=["text", "bytes"],
)
def test_text_and_bytes_land_raw(
    kafka: Kafka, topic: str, local: Lake, init: Init, values: list[bytes], word: str, kind: str
) -> None:
    producers.send(kafka.bootstrap, topic, values, partition=0)
    document = init.writes("--json").json()
    assert (document["format"], document["records"], document["bad"]) == (word, 2, 0)
    init.run(document["config"])
    assert columns(local.table("orders"))["value"] == kind
    assert local.rows("count(*)") == [(2,)]


def test_what_is_not_there_is_told(kafka: Kafka, topic: str, init: Init) -> None:
    answer = init.ask("--topic", f"{topic}-no")
    assert answer.code == USAGE, "the option stands twice"
    for arguments, code, words in (
        (("--registry", "http://127.0.0.1:9/"), UNREACHABLE, "SL3205"),
        (("--registry", "ftp://registry"), CONFIGURATION, "`decode.value.registry.url`"),
        (("--client", "no-value"), USAGE, "KEY=VALUE"),
        (("--client", "bootstrap.servers=x"), CONFIGURATION, "bootstrap.servers"),
        (("--avro-schema", "no.avsc"), CONFIGURATION, "no.avsc"),
        (("--samples", "0"), USAGE, "--samples"),
    ):
        answer = init.ask(*arguments)
        assert answer.code == code and words in answer.stderr, (arguments, answer)
