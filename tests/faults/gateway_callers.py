"""Callers that ask a gateway without end, and keep how each request began and ended."""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fixtures.gateway_rig import MODEL
from tests.fixtures.waiting import PATIENCE

STREAMED_TOKENS, STREAMED_RATE = 40, 40
"""Of each streamed answer, so that it takes a second: some are under way at any moment."""
MORE_TOKENS = 7
"""Requests that follow each other ask for numbers of tokens that differ by up to so many: a mixed-up answer shows."""
EVENT = b'" token"'


@dataclass(frozen=True)
class Ended:
    """A request: `status` is 0 without an answer. Times are monotonic seconds. `tail` is the end of the answer."""

    streamed: bool
    status: int
    began: float
    ended: float
    tokens: int
    tail: bytes
    asked: int = STREAMED_TOKENS

    @property
    def is_whole(self) -> bool:
        return self.status == 200 and self.tokens == self.asked

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the model's answer came."""
        return self.tokens > 0


@dataclass
class Callers:
    """`count` threads, each with a connection of its own; every other request is streamed.

    `prompt` is the number of characters that each request sends. With `tls` the gateway is asked by HTTPS.
    """

    port: int
    key: str
    count: int = 12
    address: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    prompt: int = 6
    ended: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self) -> None:
        connection = self._connection()
        while not self._over.is_set():
            number = next(self._numbers)
            streamed, more = number % 2 == 0, number % MORE_TOKENS
            body = {"tokens": (STREAMED_TOKENS if streamed else 1) + more, "prompt": self.prompt}
            self.ended.append(ask(connection, self.key, streamed=streamed, **body))
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.address, self.port, timeout=PATIENCE)
        return http.client.HTTPSConnection(self.address, self.port, timeout=PATIENCE, context=self.tls)

    def failed(self, is_fault: Callable[[Ended], bool]) -> list[Ended]:
        return [each for each in self.ended if is_fault(each)]

    @property
    def failed_before_a_byte(self) -> list[Ended]:
        return self.failed(lambda each: not each.has_begun)

    @property
    def broken(self) -> list[Ended]:
        """Answers that began, and ended before their end."""
        return self.failed(lambda each: each.has_begun and not each.is_whole)


def ask(connection: http.client.HTTPConnection, key: str, *, streamed: bool, tokens: int, prompt: int) -> Ended:
    """One request, to the end of its answer. A connection that breaks is closed, and made again by the next request."""
    body: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "x" * prompt}]}
    body |= {"stream": streamed, "max_tokens": tokens, "user": str(STREAMED_RATE)}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    began, status, received = time.monotonic(), 0, b""
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        status = answer.status
        while part := answer.read1():
            received += part
        answer.close()  # which read1 forgets at the end of chunks
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        received += f"\n{type(error).__name__}: {error}".encode()
    came = received.count(EVENT) if streamed else received.count(b" token")
    return Ended(streamed, status, began, time.monotonic(), came, received[-300:], tokens)
