"""What moves a link's bytes on an event loop, and keeps its rhythm. What a pass sends leaves in one message or few."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from muster.tunnel.link import Headers, Link, LinkLost, Stream

SENT_BYTES = 256 * 1024
"""Of a message, at most: the other end takes MAX_MESSAGE_BYTES, and hundreds of streams have more to send."""


class Carrier:
    """`send` sends a binary message, and returns once the transport takes another one. `accept` is as for `Link`."""

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        accept: Callable[[Stream, Headers], None] | None = None,
    ) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._has_output = asyncio.Event()
        self.link = Link(self._loop.time(), self._has_output.set, accept)
        self.ended: str | None = None
        """Why the connection is over; None while it is not."""
        self._is_over = asyncio.Event()
        self._timer = self._loop.call_at(self.link.next_due, self._tick)

    def woken(self) -> None:
        """A stream was opened: signs of life are asked for more often."""
        if self.link.woken(self._loop.time()):
            self._timer.cancel()
            self._timer = self._loop.call_at(self.link.next_due, self._tick)

    def receive(self, data: bytes) -> None:
        """Take a binary message. One that breaks the protocol ends the connection."""
        try:
            self.link.receive(data, self._loop.time())
        except LinkLost as error:
            self.end(str(error))

    def end(self, reason: str) -> None:
        """The connection is over, or is to be: its streams are lost now, and `write` returns."""
        if self.ended is None:
            self.ended = reason
            self._timer.cancel()
            self.link.lose(reason)
            self._is_over.set()

    async def write(self) -> str:
        """Send what there is, until the connection ends. Returns why. Raises what `send` raises.

        A transport whose other end takes nothing keeps `send` for as long as the kernel has patience. So the end of the
        connection ends the sending, too.
        """
        tasks = [asyncio.ensure_future(self._send_on()), asyncio.ensure_future(self._is_over.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            sent, _ = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(sent, Exception):
            raise sent
        return self.ended or ""

    async def _send_on(self) -> None:
        while self.ended is None:
            self._has_output.clear()
            if data := self.link.take():
                await self._send_all(data)
            else:
                await self._has_output.wait()

    async def _send_all(self, data: bytes) -> None:
        for start in range(0, len(data), SENT_BYTES):
            await self._send(data[start : start + SENT_BYTES])

    def _tick(self) -> None:
        try:
            self.link.tick(self._loop.time())
        except LinkLost as error:
            self.end(str(error))
        else:
            self._timer = self._loop.call_at(self.link.next_due, self._tick)
