"""The daemon's events, read in a thread of their own, so that whoever waits for them can stop at any moment.

The daemon answers a pull only when the registry has, and then may say nothing for minutes. Another thread's read is
woken by nothing but the end of its socket, and before the answer there is none to be had.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from requests import Response

ENDED: dict[str, Any] = {}
"""What `next` gives after the last event."""


class Stream:
    """Of the response that `request` gives. After `close` the daemon gives up what it does for it."""

    def __init__(self, request: Callable[[], Response]) -> None:
        self._request = request
        self._news: SimpleQueue[dict[str, Any] | Exception] = SimpleQueue()
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._closed = False
        Thread(target=self._read, name="pull", daemon=True).start()

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next event, ENDED after the last, None if none comes in time. Raises what reading it raised."""
        try:
            news = self._news.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(news, Exception):
            raise news
        return news

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._socket is not None:
                with suppress(OSError):  # the read has ended by itself
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        try:
            with self._request() as response:
                if self._opened(response):
                    self._pass_on(response)
        except Exception as error:  # whatever it is, it is for the one who waits, if anybody does
            self._news.put(error)
        else:
            self._news.put(ENDED)

    def _opened(self, response: Response) -> bool:
        assert response.raw.connection is not None, "a stream that was just begun has its connection"
        with self._lock:
            self._socket = response.raw.connection.sock
            return not self._closed

    def _pass_on(self, response: Response) -> None:
        try:
            for line in response.iter_lines(chunk_size=None):
                if line:
                    self._news.put(json.loads(line))
        finally:
            # From here on the connection may be another request's.
            with self._lock:
                self._socket = None
