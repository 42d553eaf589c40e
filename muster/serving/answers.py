"""A whole answer as the server sends it, and the line that the log gets for each."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

from muster.api.errors import ApiError

CREDENTIAL = re.compile(r"(mst_[a-z]{3}_)[^/]+")
LINE_END = re.compile(rb"[\r\n]")
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes = b""


Refuse = Callable[[ApiError, bytes], Answer]
"""What is answered in place of the application, by the error and the path that was asked for (empty: unknown)."""
Answered = Callable[[str, int, str, str], None]
"""Called for each answer, with the client, the status, the method, and the path."""


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
