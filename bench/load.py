"""A load generator in a process of its own: raw sockets, prepared bytes, one request at a time on each connection.

    python -m bench.load <plan.json

The plan is a `Plan` as JSON, and so is the `Measured` that is printed. The client parses an answer's head for its
status and its length and nothing more, so that it needs less of a core than any server that it measures. Its own
processor time is in the result, to show where that fails.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECEIVE_BYTES = 256 * 1024
SILENCE_SECONDS = 60.0
"""A server that answers no connection for so long has stopped."""
HUNG_UP = "hung up"
"""Counted as a status where a server closed a connection in place of an answer."""


@dataclass(frozen=True)
class Plan:
    """`requests` are complete HTTP/1.1 requests, as Latin-1 text. `pids`: the server's processes, whose time is read.

    Each connection has its own share of the requests and sends them in turn. All are sent `warm_up` times before the
    measurement begins. It lasts `seconds`.
    """

    port: int
    connections: int
    seconds: float
    requests: list[str]
    pids: list[int] = field(default_factory=list)
    warm_up: int = 1
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class Measured:
    """Latencies are in milliseconds, processor times in seconds, and sizes in bytes of head and body together."""

    answers: int
    errors: int
    statuses: dict[str, int]
    seconds: float
    p50: float
    p99: float
    server_cpu: float
    client_cpu: float
    bytes_out: int
    bytes_in: int
    sample: str

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the ordered values do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]


def processor_seconds(pids: Sequence[int]) -> float:
    """The time that the processes have used; one that has ended counts no longer."""
    return sum(_ticks(pid) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    try:
        # The command's name, in parentheses, may have spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def answer_length(data: bytes | bytearray) -> int | None:
    """The bytes of the answer that `data` begins with; None while its head is incomplete. Raises ValueError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(data[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError(f"an answer without a Content-Length: {head[:200]!r}")
    return end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])


class Connection:
    """One kept connection. `sent_at` is 0 while no request is under way."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes]) -> None:
        self._address = address
        self.socket = self._opened()
        self._requests = requests
        self._next = 0
        self._received = bytearray()
        self.sent_at = 0.0
        self.bytes_out = 0

    def _opened(self) -> socket.socket:
        opened = socket.create_connection(self._address, SILENCE_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def reopen(self) -> None:
        """Connect again, where the server hung up."""
        self.socket.close()
        self._received.clear()
        self.socket = self._opened()

    def send(self) -> None:
        request = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        self.bytes_out += len(request)
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The answer, once it is complete; empty where the server hung up in its place."""
        try:
            chunk = self.socket.recv(RECEIVE_BYTES)
        except ConnectionError:
            chunk = b""
        if not chunk:
            return b""
        self._received += chunk
        length = answer_length(self._received)
        if length is None or len(self._received) < length:
            return None
        answer = bytes(self._received)
        self._received.clear()
        return answer


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        requests = [request.encode("latin-1") for request in plan.requests]
        count = min(plan.connections, len(requests))
        self._connections = [Connection((plan.host, plan.port), requests[at::count]) for at in range(count)]
        self._by_descriptor = {connection.socket.fileno(): connection for connection in self._connections}
        self._poll = select.epoll()
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.EPOLLIN)

    def run(self) -> Measured:
        if self._plan.warm_up:
            self._exchange(len(self._plan.requests) * self._plan.warm_up, None)
        out = sum(connection.bytes_out for connection in self._connections)
        busy, own, began = processor_seconds(self._plan.pids), time.process_time(), time.perf_counter()
        latencies, statuses, received, sample = self._exchange(None, began + self._plan.seconds)
        ended, own_end, busy_end = time.perf_counter(), time.process_time(), processor_seconds(self._plan.pids)
        latencies.sort()
        good = sum(count for status, count in statuses.items() if status.startswith("2"))
        return Measured(
            answers=good,
            errors=len(latencies) - good,
            statuses=dict(statuses),
            seconds=ended - began,
            p50=1000 * percentile(latencies, 0.50),
            p99=1000 * percentile(latencies, 0.99),
            server_cpu=busy_end - busy,
            client_cpu=own_end - own,
            bytes_out=sum(connection.bytes_out for connection in self._connections) - out,
            bytes_in=received,
            sample=sample.decode("latin-1")[:20_000],
        )

    def _exchange(self, count: int | None, deadline: float | None) -> tuple[list[float], Counter[str], int, bytes]:
        """Send `count` requests, or until `deadline`, and take in all answers: latencies, statuses, bytes, the last
        answer that was an error, or else the last one."""
        latencies: list[float] = []
        statuses: Counter[str] = Counter()
        received, sample, to_send, under_way = 0, b"", count if count is not None else sys.maxsize, 0
        for connection in self._connections[:to_send]:
            self._send(connection)
            to_send -= 1
            under_way += 1
        while under_way:
            events = self._poll.poll(SILENCE_SECONDS)
            if not events:
                raise SystemExit(f"no answer for {SILENCE_SECONDS:.0f} seconds")
            for descriptor, _ in events:
                connection = self._by_descriptor[descriptor]
                answer = connection.receive()
                if answer is None:
                    continue
                now = time.perf_counter()
                latencies.append(now - connection.sent_at)
                status = answer[9:12].decode("latin-1") or HUNG_UP
                statuses[status] += 1
                received += len(answer)
                if status[0] != "2" or sample[9:10] in (b"", b"2"):
                    sample = answer
                if not answer or b"\nconnection: close\r" in answer[:1000].lower():
                    self._reopen(connection)
                if to_send and (deadline is None or now < deadline):
                    self._send(connection)
                    to_send -= 1
                else:
                    under_way -= 1
        return latencies, statuses, received, sample

    def _send(self, connection: Connection) -> None:
        """A server that hung up since its last answer is connected to once more."""
        try:
            connection.send()
        except ConnectionError:
            self._reopen(connection)
            connection.send()

    def _reopen(self, connection: Connection) -> None:
        del self._by_descriptor[connection.socket.fileno()]
        connection.reopen()
        self._by_descriptor[connection.socket.fileno()] = connection
        self._poll.register(connection.socket.fileno(), select.EPOLLIN)


def main() -> None:
    given: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(asdict(Load(Plan(**given)).run())))


if __name__ == "__main__":
    main()
