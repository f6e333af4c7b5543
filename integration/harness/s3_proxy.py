"""Stands between sluice and the S3 server, and spoils chosen requests: refuses them, answers too late, lets them
land and loses the answer, holds them until told.

It passes requests on byte for byte (signatures stay valid, for the Host header is kept), so what it spoils is what a
network and a store really do.
"""

import http.client
import http.server
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

COMMIT = r"/_delta_log/\d{20}\.json$"


@dataclass
class Request:
    method: str
    path: str
    body: bytes
    _handler: "_Handler" = field(repr=False)

    def forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Lets the request land; the store's answer."""
        return self._handler.upstream(self)

    def answer(self, status: int, body: bytes = b"", headers: list[tuple[str, str]] | None = None) -> None:
        self._handler.reply(status, headers or [], body)

    def cut(self) -> None:
        """Closes the connection without an answer."""
        self._handler.cut()


Action = Callable[[Request], None]


def passed(request: Request) -> None:
    status, headers, body = request.forward()
    request.answer(status, body, headers)


def refused(status: int) -> Action:
    """The store says `status`, and nothing landed."""

    def act(request: Request) -> None:
        text = f"<Error><Code>Injected{status}</Code><Message>injected</Message></Error>"
        request.answer(status, text.encode(), [("Content-Type", "application/xml")])

    return act


def cut(request: Request) -> None:
    """The connection breaks before anything landed."""
    request.cut()


def landed_but(status: int | None) -> Action:
    """It landed, and the answer is `status`; None: the connection breaks instead."""

    def act(request: Request) -> None:
        request.forward()
        if status is None:
            request.cut()
        else:
            refused(status)(request)

    return act


def late(seconds: float, lands: bool) -> Action:
    """It lands or not, and the answer comes after so many seconds; if whoever asked still wants it."""

    def act(request: Request) -> None:
        answer = request.forward() if lands else (500, [], b"")
        threading.Event().wait(seconds)
        try:
            request.answer(answer[0], answer[2], answer[1])
        except OSError:
            pass  # whoever asked has given up

    return act


class Held:
    """Keeps a request until `release`: the action to give to `on`, and what the test waits for."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.released = threading.Event()
        self.status: int | None = None

    def __call__(self, request: Request) -> None:
        self.arrived.set()
        assert self.released.wait(120), "nobody released the request"
        self.status, headers, body = request.forward()
        try:
            request.answer(self.status, body, headers)
        except OSError:
            pass  # whoever asked is gone

    def release(self) -> None:
        self.released.set()


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    action: Action
    skip: int
    left: int
    used: int = 0


class S3Proxy:
    """`on` gives the next matching requests to an action; everything else passes."""

    def __init__(self, upstream_port: int):
        self.upstream_port = upstream_port
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "S3Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, method: str, path: str, action: Action, times: int = 1, skip: int = 0) -> _Rule:
        """The matching requests after the first `skip` go to `action`, `times` of them."""
        rule = _Rule(method, re.compile(path), action, skip, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def action_for(self, request: Request) -> Action:
        path = request.path.partition("?")[0]
        with self._lock:
            for rule in self._rules:
                if rule.left > 0 and rule.method == request.method and rule.path.search(path):
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    rule.left -= 1
                    rule.used += 1
                    return rule.action
        return passed


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are the proxy's business, not news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: S3Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, body, self)
        self.proxy.action_for(request)(request)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def upstream(self, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream_port, timeout=60)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(request.body or None)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def log_message(self, *_: object) -> None:
        """Silent."""
