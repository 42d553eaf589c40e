"""A TCP proxy between an agent (or an operator) and the control plane, which breaks what passes through it.

Faults are dealt from a shuffled deck rather than thrown like dice: of `PACK` requests each fault strikes one, so that a
short run has them all, and a seed says in which order.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from socketserver import StreamRequestHandler
from typing import IO

from tests.fixtures.http_server import TcpServer
from tests.fixtures.waiting import PATIENCE

PACK = 24
STALLS = (0.5, 3.0)
"""Seconds, at least and at most, for which a stalled or late request is held."""
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(HTML), HTML)

RESET = b"RST"

FAULTS = ("request lost", "answer lost", "doubled", "stalled", "late", "truncated", "reset", "HTML 502")
IN_ORDER = tuple(fault for fault in FAULTS if fault != "late")
"""For who sends one request after another: one that is late arrives after those that were sent later."""


@dataclass(frozen=True)
class Passed:
    """One request: `at` in monotonic seconds, `status` as the control plane answered, None where it was not asked."""

    at: float
    method: str
    path: str
    fault: str | None
    status: int | None


class Deck:
    """While it is `bad`, says what is to happen to a request; `happened` counts. Any thread."""

    def __init__(self, seed: int, faults: Sequence[str] = FAULTS, pack: int = PACK) -> None:
        self.bad = True
        self.happened: Counter[str] = Counter()
        self._random = Random(seed)
        self._faults, self._pack = faults, pack
        self._cards: list[str | None] = []
        self._lock = threading.Lock()

    def rarest(self) -> int:
        """How often the rarest fault happened."""
        return min((self.happened[fault] for fault in self._faults), default=0)

    def draw(self) -> tuple[str | None, float]:
        """The fault, and for how many seconds where it is one that lasts."""
        with self._lock:
            if not self.bad:
                return None, 0.0
            if not self._cards:
                self._cards = [*self._faults, *[None] * (self._pack - len(self._faults))]
                self._random.shuffle(self._cards)
            fault = self._cards.pop()
            if fault is not None:
                self.happened[fault] += 1
            return fault, self._random.uniform(*STALLS)


def calm() -> Deck:
    """Everything passes."""
    deck = Deck(0, ())
    deck.bad = False
    return deck


class Proxy(TcpServer):
    """On a port of its own; `seen` is what came. One request at a time of each connection, as clients here do.

    `rule(request)` may answer a request itself, as a gateway does that does not like it: with RESET instead of an
    answer, the connection ends.
    """

    block_on_close = False

    def __init__(self, port: int, deck: Deck | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.deck = deck or calm()
        self.seen: list[Passed] = []
        self.rule: Callable[[bytes], bytes | None] = lambda request: None
        self._to = port
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, ending: str) -> int:
        """How many requests came for a path that ends so."""
        return sum(each.path.endswith(ending) for each in self.seen.copy())

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    def ask(self, request: bytes) -> bytes:
        """The control plane's whole answer. Raises OSError where there is none."""
        with socket.create_connection(("127.0.0.1", self._to), timeout=PATIENCE) as upstream:
            upstream.sendall(request)
            with upstream.makefile("rb") as answers:
                return read_message(answers)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed leave connections in every state; that is what this is for."""


class _Connection(StreamRequestHandler):
    server: Proxy
    rfile: IO[bytes]  # type: ignore[assignment]

    def handle(self) -> None:
        while request := read_message(self.rfile):
            ruled = self.server.rule(request)
            if ruled is not None:
                if not self._pass_on(ruled, "reset" if ruled == RESET else None):
                    return
                continue
            fault, seconds = self.server.deck.draw()
            try:
                answer = self._answer(request, fault, seconds)
            except OSError:
                answer = None  # the control plane is down: it is killed, too
            self._note(request, fault, answer)
            if not self._pass_on(answer, fault):
                return

    def _answer(self, request: bytes, fault: str | None, seconds: float) -> bytes | None:
        ask = self.server.ask
        match fault:
            case "request lost":
                return None
            case "HTML 502":
                return BAD_GATEWAY
            case "late":
                threading.Thread(target=_later, args=(seconds, lambda: ask(request)), daemon=True).start()
                return None
            case "stalled":
                time.sleep(seconds)
            case "doubled":
                ask(request)
        return ask(request)

    def _pass_on(self, answer: bytes | None, fault: str | None) -> bool:
        """Whether the connection goes on."""
        if fault == "reset":
            # Closed with something to linger for and no time for it, which sends a RST (socket(7)).
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return False
        if not answer or fault == "answer lost":
            return False
        self.wfile.write(answer[: len(answer) // 2] if fault == "truncated" else answer)
        return fault != "truncated"

    def _note(self, request: bytes, fault: str | None, answer: bytes | None) -> None:
        method, path = request.split(b" ", 2)[:2]
        asked = answer is not None and fault != "HTML 502"
        status = int(answer.split(b" ", 2)[1]) if asked and answer else None
        self.server.seen.append(Passed(time.monotonic(), method.decode(), path.decode(), fault, status))


def read_message(stream: IO[bytes]) -> bytes:
    """Head and body of one that has a Content-Length or no body; nothing where the other side has gone."""
    head, length = b"", 0
    while line := stream.readline():
        head += line
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if line == b"\r\n":
            body = stream.read(length)
            return head + body if len(body) == length else b""
    return b""


def _later(seconds: float, ask: Callable[[], object]) -> None:
    time.sleep(seconds)
    with suppress(OSError):
        ask()
