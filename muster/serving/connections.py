"""The open connections of a server, as many as it has room for: one that asks for nothing makes room for a newcomer.

A connection whose request is being answered is never ended. All of this runs on the event loop: nothing needs a lock.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass

MAX_CONNECTIONS = 4096
"""Connections at once, where the process may have so many files."""
ACCEPTED_AT_ONCE = 16
"""Connections that the event loop accepts before any of them can make room for another."""
RESERVED_FILES = 128
"""Files that the process opens besides its connections, those just accepted or ended included."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""Bytes of all bodies together that have not arrived to their end."""


@dataclass(eq=False)
class Connection:
    """`since` orders all connections by the time at which each began to wait for what it waits for now.

    `end` hangs up on the caller. `deadline` (monotonic seconds): `expire` is called when it has passed.
    """

    end: Callable[[], None]
    expire: Callable[[], None]
    deadline: float
    since: int = 0
    has_asked: bool = False
    is_answered: bool = False
    body: int = 0


class Connections:
    """`most` is a number of connections, `body_bytes` a number of bytes."""

    def __init__(self, most: int, body_bytes: int = MAX_BODY_BYTES) -> None:
        self._most, self._body_bytes = most, body_bytes
        self._open: set[Connection] = set()
        self._order = self._bodies = 0

    @property
    def count(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        if len(self._open) >= self._most:
            self._end_one()
        connection.since = self._next()
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._forget_body(connection)

    def received(self, connection: Connection, count: int) -> None:
        """So many more bytes of a body arrived. If all bodies are too large together, the largest one is given up."""
        if connection not in self._open:
            return
        connection.body += count
        self._bodies += count
        if self._bodies > self._body_bytes:
            self._end(max(self._open, key=lambda connection: connection.body))

    def answers(self, connection: Connection) -> None:
        """A whole request is there, or enough of it for its answer."""
        connection.is_answered = connection.has_asked = True
        self._forget_body(connection)

    def waits(self, connection: Connection) -> None:
        """The connection waits for its next request."""
        connection.is_answered, connection.since = False, self._next()

    def expire(self, now: float) -> None:
        """Call `expire` of every connection whose deadline has passed. `now`: monotonic seconds."""
        for connection in [connection for connection in self._open if connection.deadline < now]:
            connection.expire()

    def _forget_body(self, connection: Connection) -> None:
        if connection.body:
            self._bodies -= connection.body
            connection.body = 0

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _end_one(self) -> None:
        """Of those that wait, first one that never asked for anything, and of these the one that waits for longest."""
        waiting = [connection for connection in self._open if not connection.is_answered]
        if waiting:
            self._end(min(waiting, key=lambda connection: (connection.has_asked, connection.since)))

    def _end(self, connection: Connection) -> None:
        self.closed(connection)
        connection.end()


def room(most: int = MAX_CONNECTIONS) -> int:
    """Returns how many connections this process may have, at most `most`; it may have as many files as it is let."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - RESERVED_FILES))
