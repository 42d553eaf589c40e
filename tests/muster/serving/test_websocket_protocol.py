"""The connection of a WebSocket: its bounds."""

from __future__ import annotations

from websockets.sync.client import connect as websocket

from muster.serving.websocket_protocol import MAX_MESSAGE_BYTES, MAX_UNSENT_BYTES
from tests.fixtures.waiting import eventually
from tests.muster.serving.test_http_server import Served, echo

TUNNEL = frozenset(("/tunnel",))


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
