"""A proxy in front of moto's server that answers some requests with an error of AWS."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

import requests

from tests.fixtures.http_server import HttpServer, serving


@dataclass
class Refusal:
    """`operation`: as CloudFormation, STS and DynamoDB name it; of S3, method and path. After `times` it passes."""

    operation: str
    status: int
    code: str
    message: str = "as the test wants it"
    times: int = 1_000_000


class Refusing:
    """`refusals` may change at any time; `held` is set when an operation named `hold` came, which gets no answer."""

    def __init__(self, url: str, port: int) -> None:
        self.behind, self.url = url, f"http://127.0.0.1:{port}"
        self.refusals: list[Refusal] = []
        self.hold: str | None = None
        self.held, self.over = threading.Event(), threading.Event()

    def refusal(self, operation: str) -> Refusal | None:
        for each in self.refusals:
            if re.fullmatch(each.operation, operation) and each.times > 0:
                each.times -= 1
                return each
        return None


class Handler(BaseHTTPRequestHandler):
    proxy: Refusing

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = self._operation(body)
        if operation == self.proxy.hold:
            self.proxy.held.set()
            self.proxy.over.wait()
            return
        refusal = self.proxy.refusal(operation)
        if refusal:
            self._answer(refusal.status, {"Content-Type": "text/xml"}, self._error(refusal))
            return
        passed = requests.request(
            self.command, self.proxy.behind + self.path, data=body, headers=dict(self.headers), allow_redirects=False
        )
        kept = {k: v for k, v in passed.headers.items() if k.lower() not in {"content-length", "connection"}}
        self._answer(passed.status_code, kept, passed.content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

    def _operation(self, body: bytes) -> str:
        if target := self.headers.get("X-Amz-Target"):
            return str(target).rpartition(".")[2]
        named = re.search(rb"(?:^|&)Action=(\w+)", body)
        return named[1].decode() if named else f"{self.command} {self.path.partition('?')[0]}"

    def _error(self, refusal: Refusal) -> bytes:
        if self.headers.get("X-Amz-Target"):
            return json.dumps({"__type": refusal.code, "message": refusal.message}).encode()
        error = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
        is_s3 = self.command != "POST"
        return (error if is_s3 else f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>").encode()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def refusing(url: str) -> Iterator[Refusing]:
    """As long as this lasts, before the server at `url`."""
    handler = type("OfOneProxy", (Handler,), {})
    with serving(HttpServer(("127.0.0.1", 0), handler)) as server:
        handler.proxy = proxy = Refusing(url, server.server_address[1])  # type: ignore[attr-defined]
        try:
            yield proxy
        finally:
            proxy.over.set()
