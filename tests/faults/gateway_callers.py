"""Callers that ask a gateway without end, and keep how each request began and ended."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
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
ENDLESS_TOKENS = 10**7
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

    def short_waits(self, since: int = 0) -> list[float]:
        """How long each answer that was not streamed took, of those that ended after the first `since`; in seconds."""
        return [each.ended - each.began for each in self.ended[since:] if not each.streamed]

    @property
    def failed_before_a_byte(self) -> list[Ended]:
        return self.failed(lambda each: not each.has_begun)

    @property
    def broken(self) -> list[Ended]:
        """Answers that began, and ended before their end."""
        return self.failed(lambda each: each.has_begun and not each.is_whole)


class StalledReaders:
    """Callers that ask for streams which never end, read how each begins, and then read nothing more."""

    def __init__(self, port: int, key: str, count: int) -> None:
        self._address, self._key, self._count = ("127.0.0.1", port), key, count
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> StalledReaders:
        for _ in range(self._count):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            reader.settimeout(PATIENCE)
            reader.connect(self._address)
            self._sockets.append(reader)
            body = {"model": MODEL, "messages": [], "stream": True, "max_tokens": ENDLESS_TOKENS, "user": "0"}
            reader.sendall(_request(body, self._key))
        for reader in self._sockets:
            head = reader.recv(2000)
            assert head.startswith(b"HTTP/1.1 200 "), head
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._sockets:
            reader.close()


def _request(body: dict[str, object], key: str) -> bytes:
    content = json.dumps(body).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: gateway", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {key}", f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


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
