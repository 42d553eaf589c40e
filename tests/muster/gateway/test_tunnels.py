"""Who may open a tunnel, and which are open: real WebSockets on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from muster.gateway import tunnels as tunnels_module
from muster.gateway.tunnels import Tunnels
from muster.gateway.upstream import Unavailable
from muster.tunnel.protocol import SUBPROTOCOL, Close
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import KEY, VERSION, WORKER, request, ticket, tunnels_served, until


async def dialed(url: str, bearer: str | None, subprotocol: str = SUBPROTOCOL) -> ClientConnection:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
    address = url.replace("http", "ws", 1) + "/tunnel"
    return await connect(
        address, subprotocols=[Subprotocol(subprotocol)], additional_headers=headers, ping_interval=None
    )


async def closed(websocket: ClientConnection) -> int | None:
    """The code that the gateway closes the connection with."""
    with pytest.raises(ConnectionClosed):
        while True:
            await websocket.recv()
    return websocket.close_code


REFUSED: dict[str, Callable[[str], str | None]] = {
    "no ticket": lambda url: None,
    "no ticket at all": lambda url: "mst_tkt_x",
    "another gateway's": lambda url: ticket("http://other"),
    "another key's": lambda url: ticket(url, key=b"x" * 32),
    "an expired one": lambda url: ticket(url, lasts=-1.0),
    "a worker's token": lambda url: "mst_wrk_" + "x" * 40,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_without_a_good_ticket_there_is_no_tunnel(kind: str) -> None:
    async def go() -> tuple[int | None, int]:
        async with tunnels_served() as (tunnels, url):
            return await closed(await dialed(url, REFUSED[kind](url))), tunnels.count

    assert run(go()) == (Close.BAD_TICKET, 0)


def test_another_protocol_is_refused() -> None:
    async def go() -> int | None:
        async with tunnels_served() as (tunnels, url):
            try:
                code = await closed(await dialed(url, ticket(url), "something.v9"))
            except Exception as error:  # the client does not accept an answer with another protocol
                code = Close.BAD_TICKET if "protocol" in str(error).lower() else None
            assert tunnels.count == 0
            return code

    assert run(go()) == Close.BAD_TICKET


def test_a_third_connection_replaces_the_oldest_and_a_newer_session_all_before_it() -> None:
    async def go() -> None:
        async with tunnels_served() as (tunnels, url):
            first, second, third = [await dialed(url, ticket(url)) for _ in range(3)]
            assert await closed(first) == Close.REPLACED and tunnels.count == 2 and tunnels.workers == 1
            newer = await dialed(url, ticket(url, session=2))
            assert [await closed(each) for each in (second, third)] == [Close.SUPERSEDED] * 2
            assert tunnels.count == 1
            assert await closed(await dialed(url, ticket(url, session=1))) == Close.SUPERSEDED
            await newer.close()
            await until(lambda: tunnels.count == 0)
            assert tunnels.upstream(WORKER) is None and not tunnels.has(WORKER)
            assert await closed(await dialed(url, ticket(url, session=1))) == Close.SUPERSEDED, "it is remembered"

    run(go())


def test_a_tunnel_that_is_about_to_close_takes_no_more_requests() -> None:
    """A request on it would never be answered: what ends its streams has been."""

    async def go() -> None:
        async with tunnels_served() as (tunnels, url):
            await dialed(url, ticket(url))
            await until(lambda: tunnels.count == 1)
            upstream = tunnels.upstream(WORKER)
            assert upstream is not None
            tunnels._open[WORKER][0].close(Close.LOST, "the end")
            assert tunnels.count == 1 and tunnels.upstream(WORKER) is None
            with pytest.raises(Unavailable) as error:
                await upstream.send(request())
            assert error.value.reason == "tunnel-lost"

    run(go())


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def test_a_ticket_that_expires_ends_its_tunnel_unless_another_one_is_shown() -> None:
    async def go() -> None:
        clock = Clock()
        counts = [True]
        async with tunnels_served(clock=clock, counts_expiry=lambda expires: counts[0]) as (tunnels, url):
            kept, lost = [await dialed(url, ticket(url, worker)) for worker in ("kept", "lost")]
            await kept.send(ticket(url, "kept", lasts=3600.0))
            await until(lambda: tunnels._open["kept"][0].claims.expires > time.time() + 1000)
            clock.ahead = 700.0
            counts[0] = False  # the control plane is away: nobody can renew
            tunnels.check()
            assert tunnels.count == 2
            counts[0] = True
            tunnels.check()
            assert await closed(lost) == Close.BAD_TICKET and tunnels.has("kept")

    run(go())


@pytest.mark.parametrize("text", ["nonsense", "x" * 10_000, "another"])
def test_a_bad_renewal_ends_the_tunnel(text: str) -> None:
    async def go() -> int | None:
        async with tunnels_served() as (_, url):
            websocket = await dialed(url, ticket(url))
            await websocket.send(ticket(url, "worker-2") if text == "another" else text)
            return await closed(websocket)

    assert run(go()) == Close.BAD_TICKET


@pytest.mark.parametrize("data", [b"\x00" * 100_000, b"GET / HTTP/1.1\r\n\r\n" * 5000])
def test_what_is_no_http2_ends_the_tunnel(data: bytes) -> None:
    async def go() -> int | None:
        async with tunnels_served() as (_, url):
            websocket = await dialed(url, ticket(url))
            await websocket.send(data)
            return await closed(websocket)

    assert run(go()) == Close.LOST


def test_a_gateway_that_ends_says_so_and_opens_no_others() -> None:
    async def go() -> None:
        async with tunnels_served() as (tunnels, url):
            websocket = await dialed(url, ticket(url))
            tunnels.close_all(Close.GOING, "the gateway ends")
            assert await closed(websocket) == Close.GOING
            assert await closed(await dialed(url, ticket(url))) == Close.GOING

    run(go())


def test_who_waits_for_a_change_is_woken_by_one() -> None:
    async def go() -> None:
        async with tunnels_served() as (tunnels, url):
            waiting = asyncio.ensure_future(tunnels.wait_change())
            await asyncio.sleep(0)
            await dialed(url, ticket(url))
            await waiting

    run(go())


def test_there_are_so_many_tunnels_and_no_more() -> None:
    async def go() -> None:
        async with tunnels_served(most=1) as (tunnels, url):
            await dialed(url, ticket(url))
            await until(lambda: tunnels.count == 1)
            assert await closed(await dialed(url, ticket(url, "worker-2"))) == Close.GOING

    run(go())


def test_a_scope_without_a_handshake_is_left_alone() -> None:
    async def go() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "websocket.disconnect", "code": 1006}

        async def send(message: Any) -> None:
            raise AssertionError(message)

        await Tunnels("http://x", lambda: {}, time.time).connect({"headers": []}, receive, send)

    run(go())


def test_a_tunnel_whose_agent_takes_nothing_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels_module, "SAY_WHY_SECONDS", 0.0)

    async def go() -> None:
        tunnels = Tunnels("http://gateway", lambda: {VERSION: KEY}, time.time)
        headers = [(b"authorization", b"Bearer " + ticket("http://gateway").encode())]
        scope = {"type": "websocket", "subprotocols": [SUBPROTOCOL], "headers": headers}
        received: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        received.put_nowait({"type": "websocket.connect"})
        blocked = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] != "websocket.accept":
                blocked.set()
                await asyncio.Event().wait()

        connecting = asyncio.create_task(tunnels.connect(scope, received.get, send))
        await blocked.wait()
        tunnel = tunnels._open[WORKER][0]
        tunnel.carrier.end("the other end shows no sign of life")
        assert tunnels.upstream(WORKER) is None, "no request is sent to it, not even before it is forgotten"
        await connecting
        assert not tunnels.has(WORKER) and tunnels.count == 0

    run(go())
