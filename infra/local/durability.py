"""Answers leave once what they say is on disk: the embedded database syncs many writes at once, and calls back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from infra.local.dynamodb import Engine

OnDisk = Callable[[BaseException | None], None]
"""Called by any thread, with the error of the write if there was one."""


class Seen(Protocol):
    """`sequence`: the latest write that the calls inside have made or read."""

    @property
    def sequence(self) -> int: ...


class Durability(Protocol):
    def deferred(self) -> AbstractContextManager[Seen]:
        """The calls of this thread inside return before what they write is on disk."""

    def when_durable(self, sequence: int, callback: OnDisk) -> None:
        """Call back once every write up to `sequence` is on disk, or has failed."""


@dataclass
class Nothing:
    sequence: int = 0


class AtOnce:
    """Durability of a database whose calls return once their writes are durable."""

    def deferred(self) -> AbstractContextManager[Seen]:
        return nullcontext(Nothing())

    def when_durable(self, sequence: int, callback: OnDisk) -> None:
        callback(None)


class Grouped:
    """Durability of the embedded database."""

    def __init__(self, engine: Engine) -> None:
        self.deferred = engine.client.deferred
        self.when_durable = engine.when_durable


class Deliveries:
    """Results that threads have for futures of the event loop, which is woken once for all that are ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """`loop` runs in the calling thread."""
        self._loop, self._thread = loop, get_ident()
        self._ready: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._is_woken = False

    def deliver(self, future: asyncio.Future[Any], result: Any, error: BaseException | None = None) -> None:
        """Called by any thread."""
        if get_ident() == self._thread:
            _settle(future, result, error)
            return
        self._ready.append((future, result, error))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_woken = False  # first: what is added from now on wakes the loop again
        while self._ready:
            _settle(*self._ready.popleft())


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # nobody waits any more
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
