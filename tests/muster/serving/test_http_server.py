"""The server of an application of any kind: its own errors, WebSockets where it names them, callers that leave."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from websockets.asyncio.client import connect as dial
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.sync.client import connect as websocket

from infra.local.server import listen
from muster.api.errors import ApiError
from muster.serving.answers import Answer
from muster.serving.connections import Connections
from muster.serving.http_server import HttpServer, Serving
from tests.fixtures.event_loop import run
from tests.fixtures.local_server import connect, until_closed
from tests.fixtures.waiting import PATIENCE, eventually


def refuse(error: ApiError, path: bytes) -> Answer:
    return Answer(418, [(b"Content-Length", b"6")], b"teapot")


class Served:
    """A server in a thread; a context with its port."""

    def __init__(self, application: Any, connections: Connections | None = None, **serving: Any) -> None:
        self.lines: list[tuple[str, int, str, str]] = []

        def answered(*line: Any) -> None:
            self.lines.append(line)

        self._listener = listen("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self._server = HttpServer(application, Serving(refuse, answered, **serving), connections or Connections(100))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_what_the_application_cannot_answer_has_its_shape() -> None:
    with Served(echo) as served, connect(served.port) as connection:
        connection.sendall(b"garbage\r\n\r\n")
        assert until_closed(connection).startswith(b"HTTP/1.1 418")
        eventually(lambda: [line[1] for line in served.lines], lambda seen: seen == [418])


def test_a_websocket_is_where_the_application_names_it_and_nowhere_else() -> None:
    with Served(echo, websockets=frozenset(("/tunnel",))) as served:
        with websocket(f"ws://127.0.0.1:{served.port}/tunnel") as opened:
            opened.send("text")
            opened.send(b"x" * 100_000)
            assert (opened.recv(), opened.recv()) == ("text", b"x" * 100_000)
        for path in ("/", "/tunnel/", "/other"):
            try:
                websocket(f"ws://127.0.0.1:{served.port}{path}")
            except (InvalidStatus, InvalidMessage):
                continue
            raise AssertionError(f"{path} became a WebSocket")


def test_an_open_websocket_is_not_ended_to_make_room() -> None:
    with (
        Served(echo, Connections(2), websockets=frozenset(("/tunnel",))) as served,
        websocket(f"ws://127.0.0.1:{served.port}/tunnel") as opened,
    ):
        for _ in range(5):
            with connect(served.port) as other:
                other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"ok" in until_closed(other)
        opened.send("still here")
        assert opened.recv() == "still here"


def test_a_caller_that_hangs_up_is_told_of_by_a_call() -> None:
    left = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        scope["muster.on_disconnect"](left.set)
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100_000):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            await asyncio.sleep(0.001)
            if left.is_set():
                return

    with Served(endless) as served:
        with connect(served.port) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(10)
        assert left.wait(PATIENCE)


def test_a_websocket_that_pings_and_never_reads_is_ended() -> None:
    async def go(port: int) -> None:
        async with dial(f"ws://127.0.0.1:{port}/tunnel", ping_interval=None, max_queue=1) as opened:
            opened.transport.pause_reading()
            frame = b"\x89\xfd\x00\x00\x00\x00" + b"p" * 125  # a ping, masked with zeros
            while not opened.transport.is_closing():
                opened.transport.write(frame * 2000)
                await asyncio.sleep(0.001)
            opened.transport.abort()

    with Served(echo, websockets=frozenset(("/tunnel",))) as served:
        run(asyncio.wait_for(go(served.port), PATIENCE))
