"""Agents' ends of many idle tunnels, in one process: they answer what HTTP/2 has to be answered, and do nothing else.

    python -m bench.idle_tunnels <plan.json      (an address and a ticket for each tunnel)

It prints `open` once all of them are open, and ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import h2.config
import h2.connection
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

DIALED_AT_ONCE = 50
SUBPROTOCOL = Subprotocol("muster-tunnel.v1")


async def hold(address: str, ticket: str, is_open: asyncio.Event, turns: asyncio.Semaphore) -> None:
    """Keep one tunnel until it ends."""
    headers = {"Authorization": f"Bearer {ticket}"}
    async with turns:
        websocket = await connect(
            address, subprotocols=[SUBPROTOCOL], additional_headers=headers, ping_interval=None, compression=None
        )
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    await websocket.send(connection.data_to_send())
    async for message in websocket:
        assert isinstance(message, bytes)
        connection.receive_data(message)
        is_open.set()
        if answer := connection.data_to_send():
            await websocket.send(answer)


async def all_of(events: list[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


async def main(plan: list[dict[str, Any]]) -> None:
    turns = asyncio.Semaphore(DIALED_AT_ONCE)
    events = [asyncio.Event() for _ in plan]
    tunnels = [
        asyncio.create_task(hold(each["address"], each["ticket"], event, turns))
        for each, event in zip(plan, events, strict=True)
    ]
    opened = asyncio.create_task(all_of(events))
    await asyncio.wait([opened, *tunnels], return_when=asyncio.FIRST_COMPLETED)
    for tunnel in tunnels:
        if tunnel.done():
            tunnel.result()  # raises why it could not be opened
    await opened
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for tunnel in tunnels:
        tunnel.cancel()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
