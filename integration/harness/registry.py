"""A schema registry (Apicurio, by Confluent's API), nginx before it, and records in Confluent's wire format.

The registry keeps its schemas in memory: an outage is the proxy's, which can be stopped and started without losing
them. By hand: `make registry`.
"""

import json
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fastavro

from harness import places
from harness.avro import Schema, datum
from harness.processes import free_ports
from harness.server import Server, until_interrupted

API = "/apis/ccompat/v7"
_CONTENT = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True)
class Reference:
    """Another subject's version, under the name that the schema uses for it."""

    name: str
    subject: str
    version: int

    def body(self) -> dict[str, Any]:
        return {"name": self.name, "subject": self.subject, "version": self.version}


class Registry(Server):
    def __init__(self, folder: Path | None = None):
        super().__init__("registry", folder)
        self.url = f"http://127.0.0.1:{self.port}{API}"

    def command(self) -> list[str]:
        (jar,) = places.part("registry").glob("*-runner.jar")
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        listen = ["-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}"]
        return [places.java(), *options, *listen, "-jar", str(jar)]

    def ready(self) -> bool:
        if not super().ready():
            return False
        try:
            self.ask("/subjects")
            return True
        except (urllib.error.URLError, OSError):
            return False

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": _CONTENT}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            error.add_note(f"{path}: {error.read()[:1000]!r}")
            raise

    def register(self, subject: str, schema: Any, kind: str = "AVRO", references: Iterable[Reference] = ()) -> int:
        """The schema's id. `schema`: as an object, or as text."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        body = {"schema": text, "schemaType": kind, "references": [each.body() for each in references]}
        return self.ask(f"/subjects/{quote(subject, safe='')}/versions", body)["id"]

    def any_change(self, subject: str) -> None:
        """Lets a subject's next version be incompatible with those before."""
        self.ask(f"/config/{quote(subject, safe='')}", {"compatibility": "NONE"}, "PUT")

    def versions(self, subject: str) -> list[int]:
        return self.ask(f"/subjects/{quote(subject, safe='')}/versions")


class Proxy(Server):
    """nginx before a registry: basic auth, its own TLS, and outages, by `kill` and `start`."""

    USER, PASSWORD = "reader", "p:w/ö"

    def __init__(self, registry: Registry, folder: Path):
        port, self.auth_port, self.tls_port, self.odd_port = free_ports(4)
        super().__init__("nginx", folder, port)
        self.url = f"http://127.0.0.1:{port}{API}"  # without credentials
        self.auth_url = f"http://127.0.0.1:{self.auth_port}{API}"  # with basic auth
        self.tls_url = f"https://localhost:{self.tls_port}{API}"  # its certificate is signed by `ca_file`
        # Every answer is a page of HTML with status 200, as from a login portal.
        self.odd_url = f"http://127.0.0.1:{self.odd_port}{API}"
        self.ca_file = folder / "ca.pem"
        # Hashed, for a colon ends a plain one.
        hashed = self._openssl("passwd", "-apr1", self.PASSWORD).strip()
        (folder / "users").write_text(f"{self.USER}:{hashed}\n")
        self._certificates()
        self.configuration = folder / "nginx.conf"
        self.configuration.write_text(self._text(registry))

    def command(self) -> list[str]:
        program = places.part("nginx") / "usr" / "sbin" / "nginx"
        return [str(program), "-p", str(self.folder), "-e", "errors.log", "-c", str(self.configuration)]

    def requests(self) -> list[str]:
        """The paths that were asked for, with the status of each answer: `200 /apis/ccompat/v7/subjects`."""
        return (self.folder / "access.log").read_text().splitlines()

    def _openssl(self, *words: str) -> str:
        done = subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout

    def _certificates(self) -> None:
        """An authority of our own, and a certificate for localhost that it signed."""
        openssl = self._openssl
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
        openssl("req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=localhost")
        (self.folder / "names").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", "tls.csr", "-out", "tls.pem", *signing)

    def _text(self, registry: Registry) -> str:
        onward = f"location / {{ proxy_pass http://127.0.0.1:{registry.port}; }}"
        for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (self.folder / name).mkdir(exist_ok=True)
        return f"""\
daemon off;
master_process off;
pid nginx.pid;
events {{}}
http {{
  log_format short '$status $request_uri';
  access_log access.log short;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  proxy_http_version 1.1;
  server {{ listen 127.0.0.1:{self.port}; {onward} }}
  server {{
    listen 127.0.0.1:{self.auth_port};
    auth_basic registry;
    auth_basic_user_file users;
    {onward}
  }}
  server {{
    listen 127.0.0.1:{self.tls_port} ssl;
    ssl_certificate tls.pem;
    ssl_certificate_key tls.key;
    {onward}
  }}
  server {{
    listen 127.0.0.1:{self.odd_port};
    default_type text/html;
    location / {{ return 200 "<html>please log in</html>"; }}
  }}
}}
"""


def framed(schema_id: int, payload: bytes) -> bytes:
    """Confluent's wire format: a zero byte, the id in four, the payload."""
    return struct.pack(">bI", 0, schema_id) + payload


def avro(schema_id: int, schema: Schema, values: Iterable[Any], named: dict[str, Any] | None = None) -> list[bytes]:
    """Each value by the schema, framed. `named`: full names that the schema refers to, parsed before it."""
    parsed = fastavro.parse_schema(schema, named_schemas=dict(named or {}))
    return [framed(schema_id, datum(parsed, value)) for value in values]


def main() -> None:
    with Registry() as registry:
        until_interrupted(f"schema registry: {registry.url}")


if __name__ == "__main__":
    main()
