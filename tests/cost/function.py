"""The app as Lambda calls it, behind API Gateway and the schedule; each call is metered.

What Lambda writes into the log of a function by itself, and what API Gateway puts on top of an answer, is written out
here as they do it, and counted with the rest.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from muster.api.endpoints import BY_NAME, Endpoint
from tests.cost.meter import METER
from tests.cost.use import Use

REQUEST_ID = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
OF_LAMBDA = (
    f"START RequestId: {REQUEST_ID} Version: $LATEST\n",
    f"END RequestId: {REQUEST_ID}\n",
    f"REPORT RequestId: {REQUEST_ID}\tDuration: 15.27 ms\tBilled Duration: 16 ms\tMemory Size: 1024 MB\t"
    "Max Memory Used: 101 MB\t\n",
)
LINE = 26
"""Bytes that CloudWatch counts for a line, beside its text."""
ANSWER = "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\nContent-Length: 123\r\nConnection: keep-alive\r\n"
OF_GATEWAY = {
    "http": f"{ANSWER}Apigw-Requestid: CyPLGhmKIAMEPIQ=\r\n\r\n",
    "rest": f"{ANSWER}x-amzn-RequestId: {REQUEST_ID}\r\nx-amz-apigw-id: CyPLGhmKIAMEPIQ=\r\n"
    "X-Amzn-Trace-Id: Root=1-5e1b4151-5ac6c58f5b5daa8a3a8b1a2e;Sampled=0\r\n\r\n",
}
"""Around the headers and the body that the app answers with."""
SCHEDULED = {
    "version": "0", "id": REQUEST_ID, "detail-type": "Scheduled Event", "source": "aws.events", "account": "0",
    "time": "2026-11-24T10:00:00Z", "region": "us-east-1", "resources": [], "detail": {},
}  # fmt: skip


def request(name: str, ids: dict[str, str], bearer: str, body: object = None) -> tuple[Any, Use]:
    """The decoded answer of that endpoint, and what it took. An error is one here too."""
    endpoint = BY_NAME[name]
    headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
    event = _event(endpoint, endpoint.path.format(**ids), headers)
    event |= {"pathParameters": ids, "body": None if body is None else json.dumps(body)}
    answer, use = _sent(event)
    assert answer["statusCode"] < 300, f"{name}: {answer['body']}"
    return json.loads(answer["body"]), use


@dataclass
class Tab:
    """A console that shows the fleet, as far as its requests go (chalicelib/console/snapshot.js, api.js)."""

    key: str
    token: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    """The last ETag of each query that was answered."""
    changed: int = 0
    """Rows of the last answer."""

    def look(self) -> Use:
        """Ask once, as a browser does: with what it has, and accepting gzip."""
        query = {"since": [self.token]} if self.token else {}
        answer, use = conditional("fleet", self.key, self.tags.get(self.token), query)
        self.changed = 0
        if answer["statusCode"] == 304:
            return use
        sent = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()
        found = json.loads(gzip.decompress(sent) if "Content-Encoding" in answer["headers"] else sent)
        self.tags[self.token] = answer["headers"]["ETag"]
        self.token, self.changed = found["token"], len(found["workers"]) + len(found["deployments"])
        return use


def conditional(
    name: str, bearer: str, tag: str | None, query: dict[str, list[str]] | None = None
) -> tuple[dict[str, Any], Use]:
    """The function's answer to a GET that accepts gzip, and 304 where `tag` is still the ETag; and what it took."""
    endpoint = BY_NAME[name]
    headers = {"authorization": f"Bearer {bearer}", "accept-encoding": "gzip, deflate, br, zstd"}
    event = _event(endpoint, endpoint.path, headers | ({"if-none-match": tag} if tag else {}))
    answer, use = _sent(event | {"multiValueQueryStringParameters": query or None})
    assert answer["statusCode"] in (200, 304), answer["body"]
    return answer, use


def _event(endpoint: Endpoint, path: str, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "requestContext": {
            "httpMethod": endpoint.method,
            "resourcePath": endpoint.path,
            "path": path,
            "requestId": REQUEST_ID,
        },
        "headers": headers,
        "multiValueHeaders": {key: [value] for key, value in headers.items()},
        "pathParameters": {},
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }


def _sent(event: dict[str, Any]) -> tuple[dict[str, Any], Use]:
    """The function's answer, and what it took: of a compressed one the bytes that the gateway sends."""
    import app

    with _said() as said, METER.metered():
        answer = app.app(event, _context())
    encoded = answer["body"].encode()
    body = len(base64.b64decode(encoded)) if answer.get("isBase64Encoded") else len(encoded)
    sent = body + sum(len(f"{key}: {value}\r\n") for key, value in answer["headers"].items())
    return answer, replace(_logged(said), requests=1, sent=sent)


def sweep() -> Use:
    """What one call of the schedule takes."""
    import app

    with _said() as said, METER.metered():
        app.expire(SCHEDULED, _context())
    return _logged(said)


def _logged(said: list[str]) -> Use:
    lines = [*OF_LAMBDA, *said]
    logged = sum(len(line.encode()) + LINE for line in lines)
    return replace(METER.use, invocations=1, logged=logged)


def _context() -> Any:
    return SimpleNamespace(
        aws_request_id=REQUEST_ID, function_name="muster", get_remaining_time_in_millis=lambda: 29_000
    )


@contextlib.contextmanager
def _said() -> Iterator[list[str]]:
    """The lines that are written meanwhile to standard output and error, which is a function's log."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, before in enumerate(kept, start=1):
                os.dup2(before, number)
                os.close(before)
            log.seek(0)
            lines += log.read().decode(errors="replace").splitlines(keepends=True)
