"""What a running connector shows on `http.listen`: probes, metrics and status, against what is in the table."""

import json
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

from harness.processes import free_ports
from harness.producers import orders
from harness.sluice import CONTINUOUS
from harness.waiting import wait_until

RECORDS = 5_000
SAMPLE = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Endpoints:
    def __init__(self, port: int):
        self.base = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> tuple[int, str]:
        """Code and body; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(self.base + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict:
        return json.loads(self.get("/status")[1])

    def metrics(self) -> dict[tuple, float]:
        """(name, label=value, ...) to value; every line must be one of the text format's."""
        samples = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                found = SAMPLE.match(line)
                assert found, line
                labels = sorted(f"{name}={value}" for name, value in LABEL.findall(found[2] or ""))
                samples[found[1], *labels] = float(found[3])
        return samples


def serving(connector, topic, lake, **top):
    port = free_ports(1)[0]
    sluice = connector(topic, lake, trigger=CONTINUOUS, http={"listen": f"127.0.0.1:{port}"}, **top)
    return sluice.start(), Endpoints(port)


def test_metrics_and_status_agree_with_the_table(kafka, topic, local, connector):
    orders(kafka.bootstrap, topic, 0, RECORDS)
    process, endpoints = serving(connector, topic, local)
    rows = ("sluice_records_total", "connector=orders", "fate=rows", "output=orders")
    wait_until("all rows", lambda: endpoints.metrics().get(rows) == RECORDS)
    wait_until("no lag", lambda: endpoints.status()["outputs"]["orders"]["lag_records"] == 0)

    status, metrics = endpoints.status(), endpoints.metrics()
    output = status["outputs"]["orders"]
    assert status["state"] == "running" and status["ready"]
    assert output["records_since_start"]["rows"] == RECORDS
    assert {part["partition"]: part["committed"] for part in output["partitions"]} == {
        partition: end for partition, (_, end) in kafka.watermarks(topic).items()
    }
    assert output["table_version"] == max(log_versions(local.path("orders")))
    assert metrics["sluice_table_version", "connector=orders", "output=orders"] == output["table_version"]
    assert metrics["sluice_commits_total", "connector=orders", "output=orders", "result=committed"] >= 1
    assert metrics["sluice_end_to_end_latency_seconds_count", "connector=orders", "output=orders"] >= 1
    for partition in range(4):
        assert metrics["sluice_lag_records", "connector=orders", f"partition={partition}", f"topic={topic}"] == 0
    for phase in ["plan", "read", "write", "commit", "batch"]:
        assert metrics["sluice_batch_duration_seconds_count", "connector=orders", "output=", f"phase={phase}"] >= 1
    assert metrics["sluice_batch_duration_seconds_count", "connector=orders", "output=orders", "phase=commit"] >= 1

    code, page = endpoints.get("/")
    assert code == 200 and topic in page

    process.signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_an_outage_of_kafka_fails_no_probe(kafka, topic, local, connector):
    """Restarting pods would not bring a broker back."""
    orders(kafka.bootstrap, topic, 0, 100)
    _, endpoints = serving(connector, topic, local)
    wait_until("ready", lambda: endpoints.get("/readyz")[0] == 200)
    # In the middle of a read the outage would be noticed a minute later only.
    wait_until("no lag", lambda: endpoints.status()["outputs"]["orders"]["lag_records"] == 0)
    broker = kafka.leader(topic, 0)
    broker.pause()
    try:
        wait_until("an error", lambda: endpoints.status()["last_error"], seconds=60)
        assert endpoints.get("/healthz")[0] == 200
        assert endpoints.get("/readyz")[0] == 200
        assert any(name == "sluice_errors_total" for name, *_ in endpoints.metrics())
    finally:
        broker.resume()
    wait_until("running again", lambda: endpoints.status()["state"] == "running", seconds=60)


def test_alive_but_not_ready_before_the_first_recovery(topic, local, connector):
    port = free_ports(1)[0]
    source = {"brokers": [f"127.0.0.1:{port}"], "topics": [topic]}
    _, endpoints = serving(connector, topic, local, source=source)
    wait_until("alive", lambda: endpoints.get("/healthz")[0] == 200)
    wait_until("backing off", lambda: endpoints.get("/readyz") == (503, "backing off\n"), seconds=60)
    assert endpoints.get("/healthz")[0] == 200


def log_versions(table: Path) -> list[int]:
    return [int(entry.stem) for entry in (table / "_delta_log").glob("*.json") if entry.stem.isdigit()]
