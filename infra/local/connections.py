"""The open connections of a server, as many as it has room for: one that asks for nothing makes room for a newcomer.

Each connection has a thread, which waits for its socket; a socket that is shut down ends the wait. A connection whose
request is being answered is never ended.
"""

from __future__ import annotations

import contextlib
import resource
import socket
from dataclasses import dataclass
from threading import Lock

MAX_CONNECTIONS = 4096
"""Connections at once, each with a thread, where the process may have so many files."""
RESERVED_FILES = 64
"""Files that the process opens besides its connections."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Bytes of all bodies together that have not arrived to their end."""


@dataclass
class _Connection:
    """`since` orders all connections by the time at which each began to wait for what it waits for now."""

    since: int
    has_asked: bool = False
    is_answered: bool = False
    body: int = 0


class Connections:
    """Its methods may be called by any thread. `most` is a number of connections, `body_bytes` a number of bytes."""

    def __init__(self, most: int, body_bytes: int = MAX_BODY_BYTES) -> None:
        self._most, self._body_bytes = most, body_bytes
        self._lock = Lock()
        self._open: dict[socket.socket, _Connection] = {}
        self._count = 0

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._open) >= self._most:
                self._end_one()
            self._open[connection] = _Connection(self._next())

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)

    def received(self, connection: socket.socket, count: int) -> None:
        """So many more bytes of a body arrived. If all bodies are too large together, the largest one is given up."""
        with self._lock:
            if connection not in self._open:
                return
            self._open[connection].body += count
            if sum(state.body for state in self._open.values()) > self._body_bytes:
                largest = max(self._open, key=lambda connection: self._open[connection].body)
                self._end(largest)

    def answers(self, connection: socket.socket) -> None:
        """A whole request is there."""
        with self._lock:
            if state := self._open.get(connection):
                state.is_answered, state.has_asked, state.body = True, True, 0

    def waits(self, connection: socket.socket) -> None:
        """The connection waits for its next request."""
        with self._lock:
            if state := self._open.get(connection):
                state.is_answered, state.since, state.body = False, self._next(), 0

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _end_one(self) -> None:
        """Of those that wait, first one that never asked for anything, and of these the one that waits for longest."""
        waiting = {connection: state for connection, state in self._open.items() if not state.is_answered}
        if waiting:
            self._end(min(waiting, key=lambda connection: (waiting[connection].has_asked, waiting[connection].since)))

    def _end(self, connection: socket.socket) -> None:
        """Its thread closes it."""
        del self._open[connection]
        with contextlib.suppress(OSError):  # the caller has gone
            connection.shutdown(socket.SHUT_RDWR)


def room() -> int:
    """Returns how many connections this process may have; it may have as many files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft - RESERVED_FILES))
