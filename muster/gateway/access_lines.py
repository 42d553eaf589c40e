"""The access log: one line of JSON for each request, without prompts, keys, or queries.

    request ends ── put ──► at most MAX_WAITING lines ── a thread ──► the stream

A reader of the log that stalls delays no request: lines that find no place are dropped, and the next line that does
counts them. Whatever could end a line, or move a terminal's cursor, is written as JSON writes it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

MAX_WAITING = 10_000
MAX_TEXT = 256
"""Characters of a text that came from outside."""
LINES_AT_ONCE = 500
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Access:
    """What a line says of a request. Times are epoch seconds and durations seconds.

    `code` is the short code of the error, if there was one; `first_token` is how long the answer's first byte took.
    """

    at: float
    request_id: str
    method: str
    path: str
    status: int
    duration: float
    client: str = ""
    key_id: str | None = None
    key_name: str | None = None
    model: str | None = None
    code: str | None = None
    first_token: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    worker: str | None = None
    retries: int = 0


class AccessLog:
    """`write` gets whole lines, each with its end, and may block or raise OSError."""

    def __init__(self, write: Callable[[str], object], most: int = MAX_WAITING) -> None:
        self._write, self._most = write, most
        self._waiting: deque[Access] = deque()
        self._more = threading.Condition()
        self._dropped = 0
        self._is_ended = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="access log", daemon=True)
        self._thread.start()

    def put(self, access: Access) -> None:
        """Log a request, or drop its line if too many wait already. It never blocks."""
        with self._more:
            if len(self._waiting) >= self._most:
                self._dropped += 1
                return
            self._waiting.append(access)
            if len(self._waiting) == 1:
                self._more.notify()

    def stop(self, timeout: float = 2.0) -> None:
        """Write what waits, for at most `timeout` seconds."""
        with self._more:
            self._is_ended = True
            self._more.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._more:
                while not self._waiting and not self._is_ended:
                    self._more.wait()
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), LINES_AT_ONCE))]
                dropped, self._dropped = self._dropped, 0
                if not taken:
                    return
            lines = [line(access) for access in taken]
            if dropped:
                lines.append(json.dumps({"dropped_lines": dropped}) + "\n")
            try:
                self._write("".join(lines))
            except (OSError, ValueError):  # nobody reads the log any more, or the stream is closed
                with self._more:
                    self._dropped += dropped + len(taken)


def line(access: Access) -> str:
    """The line, with its end."""
    found = {
        "time": _time(access.at),
        "request_id": _short(access.request_id),
        "client": _short(access.client),
        "method": _short(access.method),
        "path": _short(access.path.partition("?")[0]),
        "status": access.status,
        "duration": round(access.duration, 4),
        "key_id": _short(access.key_id),
        "key": _short(access.key_name),
        "model": _short(access.model),
        "code": _short(access.code),
        "ttft": None if access.first_token is None else round(access.first_token, 4),
        "prompt_tokens": access.prompt_tokens,
        "completion_tokens": access.completion_tokens,
        "worker": _short(access.worker),
        "retries": access.retries or None,
    }
    text = json.dumps({name: value for name, value in found.items() if value is not None}, ensure_ascii=False)
    if not text.isprintable():
        text = _UNSEEN.sub(lambda unseen: f"\\u{ord(unseen[0]):04x}", text)
    return text + "\n"


def _time(at: float) -> str:
    """In UTC, with milliseconds."""
    return f"{_second(int(at))}.{int(at % 1 * 1000):03d}Z"


@lru_cache(4)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def _short(text: str | None) -> str | None:
    """A secret that somebody put into a path or a model's name does not reach the log."""
    if not text:
        return text
    if "mst_" in text or "sk" in text:
        text = _SECRET.sub(r"\1…", text)
    return text[:MAX_TEXT]


_SECRET = re.compile(r"((?:mst_[a-z]{3}|sk)[_-])[A-Za-z0-9_.-]+")
