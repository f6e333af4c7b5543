"""The commands as a person and a script meet them: what they print, what they leave alone, how they exit."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

from conftest import Connector, Lake
from harness import places, producers, readers
from harness.kafka import Kafka
from harness.processes import free_ports
from harness.producers import SCHEMA
from harness.sluice import (
    CONFIGURATION,
    CONTINUOUS,
    DATA_REFUSED,
    DONE,
    NEGATIVE_FINDING,
    UNREACHABLE,
    USAGE,
    Answer,
    Sluice,
    wait_caught_up,
)
from harness.waiting import wait_until


def files_below(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def test_check_is_content_and_writes_nothing(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 40)
    sluice = connector(topic, local)
    answer = sluice.ask("check")
    assert answer.code == DONE, answer
    assert not Path(local.table("orders")).exists()
    sluice.run()
    before = files_below(local.root / "lake")
    assert sluice.ask("check").code == DONE
    assert files_below(local.root / "lake") == before


def test_check_offline_asks_nobody(local: Lake, connector: Connector, kafka: Kafka) -> None:
    sluice = connector("orders", local)
    sluice.write(source={"brokers": ["127.0.0.1:1"], "topics": ["orders"]})
    assert sluice.ask("check", "--offline").code == DONE


def test_check_tells_each_thing_that_is_wrong(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    absent = connector("no-such-topic", local).ask("check")
    assert absent.code == NEGATIVE_FINDING
    assert "no-such-topic" in absent.stdout + absent.stderr
    wrong_schema = connector(topic, local)
    wrong_schema.run()
    wrong_schema.write(decode={"value": {"format": "json", "schema": SCHEMA.replace("DECIMAL(18,4)", "DOUBLE")}})
    answer = wrong_schema.ask("check")
    assert answer.code == NEGATIVE_FINDING
    assert "`amount`" in answer.stdout + answer.stderr


def test_check_proves_the_conditional_put(kafka: Kafka, topic: str, lake: Lake, connector: Connector) -> None:
    answer = connector(topic, lake).ask("check", "--probe-write")
    assert answer.code == DONE, answer


def test_preview_shows_rows_and_rejects_and_writes_nothing(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.send(kafka.bootstrap, topic, [producers.order(0), b"{broken", producers.order(1)], partition=0)
    sluice = connector(topic, local)
    answer = sluice.ask("preview", "--limit", "20")
    assert answer.code == DONE, answer
    assert "order-000000000001" in answer.stdout
    assert "order-000000000001" in sluice.ask("preview", "--json").stdout
    assert sum("order-" in line for line in sluice.ask("preview", "--limit", "1", "--json").stdout.splitlines()) == 1
    assert not Path(local.table("orders")).exists()
    assert kafka.committed("sluice-orders", topic) == {}


def test_status_gives_offsets_ends_and_lag(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 400)
    sluice = connector(topic, local)
    sluice.run()
    producers.orders(kafka.bootstrap, topic, 400, 40)
    answer = sluice.ask("status", "--json")
    assert answer.code == DONE, answer
    text = answer.stdout
    values = [value for line in answer.ndjson() for value in _leaves(line)]
    assert values.count(100) >= 4 and values.count(110) >= 4 and values.count(10) >= 4, text
    assert "format_version" in text
    plain = sluice.ask("status")
    assert plain.code == DONE and topic in plain.stdout


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value]


def test_verify_finds_a_file_that_a_commit_lost(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    sluice = connector(topic, local, limits={"max_records": 100})
    sluice.run()
    assert sluice.verify().stdout
    log = local.log("orders")
    version = next(commit.version for commit in log.commits()[3:] if commit.of("add"))
    entry = log.entry(version)
    original = entry.read_text()
    entry.write_text("".join(line + "\n" for line in original.splitlines() if not line.startswith('{"add"')))
    found = sluice.verify(code=NEGATIVE_FINDING)
    assert str(version) in found.stdout + found.stderr
    entry.write_text(original)
    sluice.verify()


def test_verify_deep_finds_a_row_that_is_there_twice(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    sluice = connector(topic, local, limits={"max_records": 100})
    sluice.run()
    log = local.log("orders")
    adds = [add for commit in log.commits() for add in commit.of("add")]
    one, other = (Path(local.table("orders")) / adds[n]["path"] for n in (1, 2))
    other.write_bytes(one.read_bytes())
    sluice.verify("--deep", code=NEGATIVE_FINDING)


def test_verify_tells_of_another_writers_delete(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 1_000)
    sluice = connector(topic, local)
    sluice.run()
    readers.delta_rs(local.table("orders")).delete("country = 'FR'")
    answer = sluice.ask("verify")
    assert "DELETE" in answer.stdout.upper()


def test_rewind_dry_run_tells_and_changes_nothing(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 400)
    sluice = connector(topic, local)
    sluice.run()
    before = files_below(local.root / "lake")
    plan = sluice.ask("rewind", "--to-offsets", f"{topic}:0=40", "--dry-run")
    assert plan.code == DONE, plan
    assert "60" in plan.stdout, "records to be read again"
    unconfirmed = sluice.ask("rewind", "--to-offsets", f"{topic}:0=40")
    assert unconfirmed.code == USAGE and "--yes" in unconfirmed.stderr
    assert files_below(local.root / "lake") == before


def test_rewind_reads_again_from_where_it_is_told(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    producers.orders(kafka.bootstrap, topic, 0, 400)
    sluice = connector(topic, local, limits={"max_records": 50})
    sluice.run()
    answer = sluice.ask("rewind", "--to-offsets", f"{topic}:0=40", "--yes")
    assert answer.code == DONE, answer
    assert local.log("orders").offsets(topic) == {0: 40, 1: 100, 2: 100, 3: 100}
    sluice.run()
    assert local.log("orders").offsets(topic) == {n: 100 for n in range(4)}
    sluice.verify()


def test_config_show_hides_secrets_and_tells_origins(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2-from-a-file\n")
    sluice = connector(topic, local)
    client = {"sasl.password": f"${{file:{secret}}}", "sasl.username": "${env:KAFKA_USER:-nobody}"}
    sluice.write(source={**sluice.config["source"], "client": client}, storage={"aws_secret_access_key": "hunter2"})
    sluice.env.update({"KAFKA_USER": "a-user-from-the-environment", "SLUICE__LIMITS__MAX_RECORDS": "4321"})
    for arguments in ((), ("--json",)):
        answer = sluice_config(sluice, "show", *arguments, "--set", "trigger.interval=7s")
        assert answer.code == DONE, answer
        assert "hunter2" not in answer.stdout + answer.stderr
        assert "a-user-from-the-environment" in answer.stdout
        assert "4321" in answer.stdout and "7s" in answer.stdout
        assert "SLUICE__LIMITS__MAX_RECORDS" in answer.stdout and "--set" in answer.stdout


def sluice_config(sluice: Sluice, *arguments: str):
    command = [str(places.sluice_binary()), "config", arguments[0], str(sluice.file), *arguments[1:]]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={**os.environ, **sluice.env}, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_config_schema_is_json_schema(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    done = subprocess.run([str(places.sluice_binary()), "config", "schema"], capture_output=True, check=True)
    schema = json.loads(done.stdout)
    assert {"source", "decode", "trigger", "outputs"} <= set(schema["properties"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "--no-such-flag"], USAGE),
        (["no-such-command"], USAGE),
        (["run", "no-such-file.yaml"], CONFIGURATION),
        (["--version"], DONE),
        (["--help"], DONE),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_exit_codes_of_the_command_line(arguments: list[str], code: int) -> None:
    done = subprocess.run([str(places.sluice_binary()), *arguments], capture_output=True, timeout=30, check=False)
    assert done.returncode == code, done


def test_a_broken_configuration_exits_78_with_every_problem(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sluice = connector(topic, local, trigger={"mode": "processing_time", "interval": "10"})
    sluice.write(outputs={"orders": {"table": local.table("orders"), "partiton_by": ["country"]}})
    answer = sluice.run(code=CONFIGURATION)
    assert "did you mean `partition_by`?" in answer.stderr
    assert "needs a unit" in answer.stderr
    assert "connector.yaml:" in answer.stderr, "with file and line"


def test_an_unreachable_broker_exits_75_when_it_may_give_up(local: Lake, connector: Connector, kafka: Kafka) -> None:
    sluice = connector("orders", local, retry={"give_up_after": "2s", "initial_backoff": "50ms"})
    (port,) = free_ports(1)
    sluice.write(source={"brokers": [f"127.0.0.1:{port}"], "topics": ["orders"]})
    assert f"127.0.0.1:{port}" in sluice.run(code=UNREACHABLE).stderr


def test_all_records_bad_stops_before_anything_is_committed(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    wire = [b"\x00\x00\x00\x00\x01" + producers.order(n) for n in range(1_000)]
    producers.send(kafka.bootstrap, topic, wire, partition=0)
    sluice = connector(topic, local, dead_letters={"table": local.table("dead")})
    sluice.write(decode={**sluice.config["decode"], "on_bad_record": "dead_letter"})
    answer = sluice.run(code=DATA_REFUSED)
    assert "of 1000 records are bad" in answer.stderr.replace(",", "") and "avro" in answer.stderr
    assert local.log("orders").offsets(topic) == {n: 0 for n in range(4)}
    assert not local.log("dead").offsets(topic).get(0)


def test_metrics_health_and_status_are_served(kafka: Kafka, topic: str, local: Lake, connector: Connector) -> None:
    (port,) = free_ports(1)
    sluice = connector(topic, local, trigger=CONTINUOUS, http={"listen": f"127.0.0.1:{port}"})
    producers.orders(kafka.bootstrap, topic, 0, 400)
    process = sluice.start()
    wait_caught_up(process, local.log("orders"), kafka, topic)

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    assert get("/healthz") is not None and get("/readyz") is not None
    wait_until("the counter", lambda: _rows_counted(get("/metrics")) == 400, 10)
    assert topic in get("/status")
    assert process.terminate() == 0


def _rows_counted(metrics: str) -> float:
    lines = (line for line in metrics.splitlines() if line.startswith("sluice_records_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'fate="rows"' in line)


def test_the_demo_needs_nothing_and_counts_right(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "SLUICE_CACHE"}
    done = subprocess.run(
        [str(places.sluice_binary()), "demo"], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=env, check=False
    )
    assert done.returncode == DONE, done
    assert "100,000 = 99,997 rows + 3 dead letters; 0 gaps, 0 duplicates" in done.stdout
