"""Answers in the API's one error shape, as the server sends them, and the line that the log gets for each."""

from __future__ import annotations

import base64
import re
import sys
import time
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from chalicelib.routes.http import failure
from muster.api.errors import ApiError

CREDENTIAL = re.compile(r"(mst_[a-z]{3}_)[^/]+")
LINE_END = re.compile(rb"[\r\n]")
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes = b""


def of_app(answer: dict[str, Any]) -> Answer:
    """What a Lambda function answered (payload 1.0)."""
    body = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()
    headers: Headers = []
    if answer["statusCode"] != HTTPStatus.NOT_MODIFIED:
        headers.append((b"Content-Length", b"%d" % len(body)))
        if "Content-Type" not in answer["headers"]:
            headers.append((b"Content-Type", b"application/json"))
    for name, value in answer["headers"].items():
        headers.append((name.encode(), str(value).encode("latin-1")))
    for name, values in answer["multiValueHeaders"].items():
        headers += ((name.encode(), str(value).encode("latin-1")) for value in values)
    return Answer(answer["statusCode"], headers, body)


def refused(error: ApiError) -> Answer:
    return of_app(failure(error).to_dict())


@cache
def status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


class Log:
    """Standard error. A line has neither the query nor a credential, wherever somebody put it: others read logs."""

    def __init__(self) -> None:
        self._second, self._date = 0, ""

    def answered(self, client: str, status: int, method: str, path: str) -> None:
        now = int(time.time())
        if now != self._second:
            self._second, self._date = now, time.strftime("%d/%b/%Y %H:%M:%S", time.localtime(now))
        if "mst_" in path:
            path = CREDENTIAL.sub(r"\1…", path)
        sys.stderr.write(f"{client} - - [{self._date}] {status} {method} {path[:200]}\n")


LOG = Log()
