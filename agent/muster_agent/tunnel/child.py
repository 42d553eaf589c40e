"""The child's event loop: orders on standard input, tunnels and models beside it. It ends when its input does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

import msgspec

from muster.model_http.model_pool import ModelPool
from muster.tunnel.paths import Paths
from muster.tunnel.protocol import CONNECTIONS
from muster_agent.tunnel.dialing import Dialer
from muster_agent.tunnel.exchanges import Exchanges
from muster_agent.tunnel.orders import Drained, Orders

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 4 * 1024 * 1024


class Gateway:
    """The dialers of one gateway, and its latest ticket."""

    def __init__(self, url: str, ticket: str, exchanges: Exchanges, *, insecure: bool) -> None:
        self.ticket = ticket
        self._dialers = [
            Dialer(url, lambda: self.ticket, exchanges.accept, insecure=insecure) for _ in range(CONNECTIONS)
        ]
        self._tasks = [asyncio.create_task(dialer.run()) for dialer in self._dialers]

    def renew(self, ticket: str) -> None:
        if ticket != self.ticket:
            self.ticket = ticket
            for dialer in self._dialers:
                dialer.renewed()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Child:
    """`write` sends a line to the agent."""

    def __init__(self, write: asyncio.StreamWriter | None = None) -> None:
        self._output = write
        self.exchanges = Exchanges(ModelPool(), self._tell_drained)
        self._gateways: dict[str, Gateway] = {}

    async def follow(self, lines: asyncio.StreamReader) -> None:
        """Do what the lines say, until there are no more."""
        try:
            while line := await lines.readline():
                await self.obey(msgspec.json.decode(line, type=Orders))
        finally:
            await self._dial({})

    async def obey(self, orders: Orders) -> None:
        self.exchanges.serve(orders.models, frozenset(orders.draining), Paths(orders.paths))
        await self._dial({order.url: order.ticket for order in orders.gateways}, insecure=orders.insecure)

    async def _dial(self, wanted: dict[str, str], *, insecure: bool = False) -> None:
        for url in self._gateways.keys() - wanted.keys():
            await self._gateways.pop(url).end()
        for url, ticket in wanted.items():
            if url in self._gateways:
                self._gateways[url].renew(ticket)
            else:
                self._gateways[url] = Gateway(url, ticket, self.exchanges, insecure=insecure)

    def _tell_drained(self, instance: str) -> None:
        if self._output is not None:
            self._output.write(msgspec.json.encode(Drained(instance)) + b"\n")


async def run() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    await Child(asyncio.StreamWriter(transport, protocol, None, loop)).follow(lines)


def main() -> None:
    """`python -m muster_agent.tunnel`, which the agent starts."""
    from muster.sanitize import log_to

    log_to(sys.stderr, "%(asctime)s %(levelname)s tunnel: %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
