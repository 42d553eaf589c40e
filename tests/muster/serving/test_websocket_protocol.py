"""The connection of a WebSocket: its bounds."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.sync.client import connect as websocket

from muster.serving import websocket_protocol
from muster.serving.connections import Connections
from muster.serving.websocket_protocol import MAX_MESSAGE_BYTES, MAX_UNSENT_BYTES
from tests.fixtures.local_server import connect
from tests.fixtures.waiting import eventually
from tests.muster.serving.test_http_server import Served, echo

TUNNEL = frozenset(("/tunnel",))
HANDSHAKE = (
    b"GET /tunnel HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FLOOD_BYTES = 64 * 1024 * 1024


def test_a_message_has_a_bound_and_what_is_not_taken_has_one() -> None:
    with (
        Served(echo, websockets=TUNNEL) as served,
        websocket(f"ws://127.0.0.1:{served.port}/tunnel", max_size=None) as opened,
    ):
        opened.send(b"x" * MAX_MESSAGE_BYTES)
        assert len(opened.recv()) == MAX_MESSAGE_BYTES
        opened.send(b"x" * (MAX_MESSAGE_BYTES + 1))
        eventually(lambda: opened.close_code, lambda code: code == 1009, "the end")
    assert MAX_UNSENT_BYTES >= MAX_MESSAGE_BYTES


def test_small_messages_go_back_and_forth() -> None:
    with (
        Served(echo, websockets=TUNNEL) as served,
        websocket(f"ws://127.0.0.1:{served.port}/tunnel") as opened,
    ):
        for number in range(50):
            opened.send(f"{number}")
            assert opened.recv() == f"{number}"


def test_an_end_that_takes_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_protocol, "LINGER_SECONDS", 0.0)

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        """Sends more than the sockets' buffers take, and ends."""
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "bytes": b"x" * FLOOD_BYTES})

    open_ones = Connections(100)
    with Served(flood, open_ones, websockets=TUNNEL) as served, connect(served.port) as connection:
        connection.sendall(HANDSHAKE)
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        connection.sendall(b"\x82\x80\x00\x00\x00\x00")  # an empty message
        eventually(lambda: open_ones.count, lambda count: count == 0, "the server to give it up")
