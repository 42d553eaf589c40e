"""Connections to gateways: dialed again, renewed, refused; the addresses and authorities that are used."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidProxyStatus, InvalidStatus
from websockets.http11 import Response

from muster.gateway.tunnels import Tunnels
from muster.tunnel.protocol import Close
from muster_agent.tunnel import dialing
from muster_agent.tunnel.dialing import Dialer, NotDialed, close, tls_context, websocket_url
from muster_agent.tunnel.orders import GatewayOrder, Orders
from muster_agent.tunnel.proxies import Proxy
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import WORKER, child_of, ticket, tunnels_served, until

PROXY = Proxy("HTTPS_PROXY", "http://user:s3cret@p.example")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://models.example.com", "wss://models.example.com/tunnel"),
        ("https://h:8443/base/", "wss://h:8443/base/tunnel"),
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/tunnel"),
        ("http://[::1]:8000", "ws://[::1]:8000/tunnel"),
    ],
)
def test_the_tunnel_is_below_the_gateways_url(url: str, address: str) -> None:
    assert websocket_url(url) == address


def test_plain_http_to_another_host_takes_the_owners_word() -> None:
    with pytest.raises(NotDialed, match="https"):
        websocket_url("http://models.example.com")
    assert websocket_url("http://models.example.com", insecure=True) == "ws://models.example.com/tunnel"


def test_authorities_are_the_systems_or_those_that_the_environment_names(tmp_path: Path) -> None:
    assert tls_context({}).verify_mode is ssl.CERT_REQUIRED
    (tmp_path / "ca.pem").write_text("nonsense")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(NotDialed, match="authorities"):
            tls_context({"REQUESTS_CA_BUNDLE": str(tmp_path / name)})


def test_two_connections_are_kept_and_come_back_when_they_are_lost() -> None:
    async def go() -> None:
        async with tunnels_served() as (tunnels, url), child_of(Orders([GatewayOrder(url, ticket(url))])):
            for _ in range(3):
                await until(lambda: tunnels.count, lambda count: count == 2)
                before = list(tunnels._open[WORKER])
                for tunnel in before:
                    tunnel.close(Close.LOST, "a fault")
                await until(
                    lambda before=before: [t for t in tunnels._open.get(WORKER, []) if t not in before],  # type: ignore[misc]
                    lambda new: len(new) == 2,
                )

    run(go())


def test_a_renewed_ticket_is_shown_on_the_open_connections() -> None:
    async def go() -> None:
        async with tunnels_served() as (tunnels, url), child_of(Orders([GatewayOrder(url, ticket(url))])) as child:
            await until(lambda: tunnels.count, lambda count: count == 2)
            await child.obey(Orders([GatewayOrder(url, ticket(url, lasts=5000.0))]))
            await until(
                lambda: [tunnel.claims.expires for tunnel in tunnels._open[WORKER]],
                lambda seen: len(seen) == 2 and min(seen) > time.time() + 4000,
            )

    run(go())


def test_a_refused_ticket_is_tried_again_with_the_next_one() -> None:
    async def go() -> None:
        async with tunnels_served() as (tunnels, url), child_of(Orders([GatewayOrder(url, "mst_tkt_bad")])) as child:
            await asyncio.sleep(0.05)
            await child.obey(Orders([GatewayOrder(url, ticket(url))]))
            await until(lambda: tunnels.count, lambda count: count == 2)

    run(go())


def test_how_long_to_wait_is_decided_by_the_gateways_code(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that a gateway ends is not lost for an unknown reason: its code and its reason are read."""

    async def go() -> list[tuple[Close, str]]:
        seen: list[tuple[Close, str]] = []
        async with tunnels_served() as (tunnels, url):
            dialer = Dialer(url, lambda: ticket(url), lambda stream, headers: None)
            for code in (Close.SUPERSEDED, Close.BAD_TICKET, Close.NOT_WANTED, Close.REPLACED, Close.LOST):
                keeping = asyncio.create_task(dialer._keep())
                await until(lambda: tunnels.count)
                tunnels._open[WORKER][0].close(code, f"for {code.name}")
                least = {Close.SUPERSEDED: 150.0, Close.LOST: 0.0}.get(code, 7.5)
                assert await keeping >= least
                seen.append((code, f"no tunnel to {url}: for {code.name}"))
        return seen

    assert [code for code, said in run(go()) if said not in caplog.text] == []


def test_a_gateway_that_is_named_no_more_is_left() -> None:
    async def go() -> None:
        async with tunnels_served() as (tunnels, url), child_of(Orders([GatewayOrder(url, ticket(url))])) as child:
            await until(lambda: tunnels.count, lambda count: count == 2)
            await child.obey(Orders())
            await until(lambda: tunnels.count, lambda count: count == 0)

    run(go())


def test_waits_grow_and_a_superseded_agent_stays_away_for_long() -> None:
    async def go() -> None:
        dialer = Dialer("https://x", lambda: "t", lambda stream, headers: None)
        waits = [dialer._lost("down") for _ in range(20)]
        assert waits[0] <= 0.1 and 15.0 <= max(waits) <= 30.0
        assert dialer._closed(Close.SUPERSEDED, "newer") >= 150.0
        assert dialer._closed(Close.BAD_TICKET, "expired") >= 7.5

    run(go())


def test_a_gateway_that_takes_nothing_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "CLOSE_SECONDS", 0.05)

    async def fill(websocket: ClientConnection) -> None:
        while True:
            await websocket.send(b"x" * 1024 * 1024)

    async def go() -> None:
        over = asyncio.Event()

        async def never_read(websocket: ServerConnection) -> None:
            await over.wait()

        async with serve(never_read, "127.0.0.1", 0, max_queue=1, close_timeout=0.1) as server:
            port = server.sockets[0].getsockname()[1]
            websocket = await connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None)
            filling = asyncio.create_task(fill(websocket))
            await until(lambda: websocket.transport.get_write_buffer_size() > 0)
            await close(websocket)
            assert websocket.transport.is_closing()
            assert isinstance((await asyncio.gather(filling, return_exceptions=True))[0], ConnectionClosed)
            over.set()

    run(go())


@pytest.mark.parametrize(
    ("error", "proxy", "said"),
    [
        (TimeoutError("opening"), None, "timed out: nothing was opened within 10 s: check firewalls and proxies"),
        (ConnectionRefusedError(111, "x"), None, "the connection was refused: nothing listens there"),
        (ConnectionRefusedError(111, "x"), PROXY, "the proxy p.example (HTTPS_PROXY) does not serve: the connection"),
        (InvalidStatus(Response(502, "Bad Gateway", Headers())), PROXY, "server rejected WebSocket connection: HTTP"),
        (InvalidProxyStatus(Response(407, "No", Headers())), PROXY, "refuses the user or the password (407)"),
        (ConnectionClosedError(None, None), PROXY, "no close frame received or sent"),
    ],
)
def test_why_dialing_failed_is_said_without_a_password(error: Exception, proxy: Proxy | None, said: str) -> None:
    environment = {PROXY.variable: PROXY.url} if proxy else {}
    told = dialing.explained(error, "https://models.example.com", proxy, environment)
    assert said in told and "s3cret" not in told


def test_what_nobody_expected_is_logged_and_the_gateway_dialed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[str] = []

    def fail(url: str, environ: Mapping[str, str]) -> None:
        attempts.append(url)
        raise KeyError("a defect")

    monkeypatch.setattr(dialing, "proxy_for", fail)

    async def go() -> None:
        async with child_of(Orders([GatewayOrder("http://127.0.0.1:9", "t")])):
            await until(lambda: len(attempts) > 2)

    run(go())
    assert "no tunnel to http://127.0.0.1:9: KeyError" in caplog.text and "a defect" in caplog.text


def test_the_tunnels_of_the_rig_are_those_of_a_gateway() -> None:
    assert isinstance(Tunnels("x", lambda: {}, time.time).workers, int)
