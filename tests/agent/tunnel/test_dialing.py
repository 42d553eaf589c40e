"""Connections to gateways: dialed again, renewed, refused; the addresses and authorities that are used."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from muster.gateway.tunnels import Tunnels
from muster.tunnel.protocol import Close
from muster_agent.tunnel.dialing import Dialer, NotDialed, tls_context, websocket_url
from muster_agent.tunnel.orders import GatewayOrder, Orders
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import WORKER, child_of, ticket, tunnels_served, until


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


def test_the_tunnels_of_the_rig_are_those_of_a_gateway() -> None:
    assert isinstance(Tunnels("x", lambda: {}, time.time).workers, int)
