"""The way from the gateway to one replica of a model, whether it is a tunnel or a direct connection.

send(request) ──► status and headers ──► read() … ──► b"" at the end
     │                                     │
     └── Unavailable: nothing was answered └── Broken: the answer ended too early
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class UpstreamRequest:
    """A request for a model: `path` is one that `muster.tunnel.paths` allows, with its query; `headers` are those that
    `muster.tunnel.headers` lets through to models. `body` is whole.
    """

    deployment_id: str
    method: bytes
    path: bytes
    headers: Headers
    body: bytes


class Unavailable(Exception):
    """No byte of an answer came. `reason` is a short code for metrics and logs, for example `draining`, `refused`,
    `tunnel-lost`, `connect`; the message is for people. `is_replica_fault`: whether it counts against the replica (a
    replica that drains did nothing wrong).
    """

    def __init__(self, reason: str, message: str, *, is_replica_fault: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.is_replica_fault = is_replica_fault


class Broken(Exception):
    """The answer ended before its end. `reason` is as for `Unavailable`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UpstreamResponse(Protocol):
    """An answer that has begun. Whoever has one reads it to its end or calls `cancel`, in any case."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The next bytes, as they arrived; b"" at the end. At most 64 KiB wait here unread. Raises Broken."""
        ...

    def cancel(self) -> None:
        """Nobody wants the rest: the request ends, down to the engine. Harmless after the end, and when repeated."""
        ...


class Upstream(Protocol):
    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request and wait for the head of the answer. Raises Unavailable. A caller that is cancelled while
        it waits cancels the request.
        """
        ...
