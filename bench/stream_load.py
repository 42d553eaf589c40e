"""A load generator for answers that are streamed token by token, in a process of its own.

    python -m bench.stream_load <plan.json

The plan is a `StreamPlan` as JSON, and so is the `StreamsMeasured` that is printed. A token is counted where its text
is found; nothing else of an answer is parsed. All streams begin together, and have the same number of tokens.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.load import RECEIVE_BYTES, SILENCE_SECONDS, percentile, processor_seconds

MARK = b'" token"'
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class StreamPlan:
    """`rate` is in tokens per second of each stream, 0 without a pause. `pids`: the processes whose time is read."""

    port: int
    streams: int
    tokens: int
    rate: float
    bearer: str = ""
    model: str = "bench"
    pids: list[int] = field(default_factory=list)
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class StreamsMeasured:
    """`first` and `lag` are in milliseconds: from a request to its first token, and from when a token was due to it.

    Processor times are in seconds.
    """

    tokens: int
    errors: int
    seconds: float
    first_p50: float
    first_p99: float
    lag_p50: float
    lag_p99: float
    server_cpu: float
    client_cpu: float
    sample: str

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def request(plan: StreamPlan) -> bytes:
    """A request for a streamed chat completion."""
    body = {
        "model": plan.model,
        "messages": [{"role": "user", "content": "Count."}],
        "stream": True,
        "max_tokens": plan.tokens,
        "user": str(plan.rate),
    }
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {plan.host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {plan.bearer}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Stream:
    """One connection and its answer; `lags` are in seconds."""

    def __init__(self, address: tuple[str, int], plan: StreamPlan) -> None:
        self.socket = socket.create_connection(address, SILENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pause = 1 / plan.rate if plan.rate else 0.0
        self._rest = b""
        self._due = 0.0
        self.sent_at = self.first = 0.0
        self.tokens = 0
        self.lags: list[float] = []
        self.sample = b""

    def send(self, data: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Take what arrived. Returns whether the answer has ended, in whatever way."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except ConnectionError:
            data = b""
        now = time.perf_counter()
        if not self.sample:
            self.sample = data[:2000]
        received = self._rest + data
        found = received.count(MARK)
        cut = received.rfind(MARK) + len(MARK) if found else 0
        self._rest = received[max(cut, len(received) - len(MARK) + 1) :]
        for _ in range(found):
            self._count(now)
        return not data or data.endswith(END) or not self.sample.startswith(b"HTTP/1.1 200")

    def _count(self, now: float) -> None:
        if not self.tokens:
            self.first = now - self.sent_at
            self._due = self.sent_at
        self.lags.append(now - self._due)
        self._due += self._pause
        self.tokens += 1


def run(plan: StreamPlan) -> StreamsMeasured:
    """Raises SystemExit if nothing arrives for a minute."""
    content = request(plan)
    streams = [Stream((plan.host, plan.port), plan) for _ in range(plan.streams)]
    by_descriptor = {stream.socket.fileno(): stream for stream in streams}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    busy, own, began = processor_seconds(plan.pids), time.process_time(), time.perf_counter()
    for stream in streams:
        stream.send(content)
    open_streams = set(by_descriptor)
    while open_streams:
        events = poll.poll(SILENCE_SECONDS)
        if not events:
            raise SystemExit(f"no token for {SILENCE_SECONDS:.0f} seconds")
        for descriptor, _ in events:
            if by_descriptor[descriptor].receive():
                poll.unregister(descriptor)
                open_streams.remove(descriptor)
    ended, own_end, busy_end = time.perf_counter(), time.process_time(), processor_seconds(plan.pids)
    return summary(streams, plan, ended - began, busy_end - busy, own_end - own)


def summary(
    streams: Sequence[Stream], plan: StreamPlan, seconds: float, server_cpu: float, client_cpu: float
) -> StreamsMeasured:
    firsts = sorted(1000 * stream.first for stream in streams if stream.tokens)
    lags = sorted(1000 * lag for stream in streams for lag in stream.lags) if plan.rate else []
    failed = [stream for stream in streams if stream.tokens != plan.tokens]
    return StreamsMeasured(
        tokens=sum(stream.tokens for stream in streams),
        errors=len(failed),
        seconds=seconds,
        first_p50=percentile(firsts, 0.50),
        first_p99=percentile(firsts, 0.99),
        lag_p50=percentile(lags, 0.50),
        lag_p99=percentile(lags, 0.99),
        server_cpu=server_cpu,
        client_cpu=client_cpu,
        sample=(failed or streams)[0].sample.decode("latin-1"),
    )


def main() -> None:
    given: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(asdict(run(StreamPlan(**given)))))


if __name__ == "__main__":
    main()
