"""A replica behind a tunnel, as the proxy sees it; hostile workers end in clean errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from muster.gateway.upstream import Broken, Unavailable, UpstreamResponse
from muster.tunnel.carrier import Carrier
from muster.tunnel.link import STREAM_WINDOW, Headers, Stream
from muster.tunnel.protocol import SUBPROTOCOL
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import WORKER, request, ticket, tunnels_served, until

Serve = Callable[[Stream, Headers], Any]


class Ignoring:
    def on_headers(self, headers: Headers) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_lost(self, reason: str) -> None: ...


async def asked(serve: Serve, use: Callable[[Any], Any]) -> Any:
    """What `use` returns of the upstream of a worker that serves its streams by `serve`."""

    def accept(stream: Stream, headers: Headers) -> None:
        stream.receiver = Ignoring()
        serve(stream, headers)

    async with tunnels_served() as (tunnels, url):
        address = url.replace("http", "ws", 1) + "/tunnel"
        headers = {"Authorization": f"Bearer {ticket(url)}"}
        async with connect(address, subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=headers) as websocket:
            carrier = Carrier(websocket.send, accept)
            writing = asyncio.create_task(carrier.write())

            async def read() -> None:
                async for message in websocket:
                    assert isinstance(message, bytes)
                    carrier.receive(message)

            reading = asyncio.create_task(read())
            await until(lambda: tunnels.upstream(WORKER))
            try:
                return await use(tunnels.upstream(WORKER))
            finally:
                carrier.end("over")
                reading.cancel()
                await asyncio.gather(writing, reading, return_exceptions=True)


async def whole(response: UpstreamResponse) -> bytes:
    parts = []
    while part := await response.read():
        parts.append(part)
    return b"".join(parts)


def unavailable(serve: Serve) -> str:
    async def use(upstream: Any) -> str:
        with pytest.raises(Unavailable) as error:
            await upstream.send(request())
        return error.value.reason

    return str(run(asked(serve, use)))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ([(b":status", b"503"), (b"muster-refusal", b"draining")], "draining"),
        ([(b":status", b"200"), (b"muster-refusal", b"made up")], "bad-answer"),
        ([(b":status", b"999")], "bad-answer"),
        ([(b":status", b"-20")], "bad-answer"),
        ([(b":status", b"20")], "bad-answer"),
    ],
)
def test_a_refusal_or_an_impossible_status_is_no_answer(head: Headers, reason: str) -> None:
    assert unavailable(lambda stream, _: stream.send_headers(head, ends=True)) == reason


def test_a_stream_that_is_reset_before_an_answer_is_the_models_end() -> None:
    assert unavailable(lambda stream, _: stream.reset()) == "model-lost"


def test_an_answer_ends_broken_if_the_stream_does() -> None:
    def serve(stream: Stream, _: Headers) -> None:
        stream.send_headers([(b":status", b"200")])
        stream.send(b"begun")
        stream.reset(2)

    async def use(upstream: Any) -> bytes:
        response = await upstream.send(request())
        with pytest.raises(Broken):
            await whole(response)
        return b""

    run(asked(serve, use))


def test_headers_of_a_worker_are_those_of_the_list() -> None:
    def serve(stream: Stream, _: Headers) -> None:
        head = [(b":status", b"200"), (b"content-type", b"text/plain"), (b"set-cookie", b"a=b"), (b"location", b"/x")]
        stream.send_headers(head)
        stream.send(b"", ends=True)

    async def use(upstream: Any) -> Any:
        response = await upstream.send(request())
        return response.headers, await whole(response)

    assert run(asked(serve, use)) == ([(b"content-type", b"text/plain")], b"")


def test_a_worker_holds_no_more_than_a_window_here() -> None:
    def serve(stream: Stream, _: Headers) -> None:
        stream.send_headers([(b":status", b"200")])
        stream.send(b"x" * (50 * STREAM_WINDOW), ends=True)

    async def use(upstream: Any) -> tuple[int, int]:
        response = await upstream.send(request())
        await until(lambda: sum(map(len, response._parts)) == STREAM_WINDOW)
        held = sum(map(len, response._parts))
        return held, len(await whole(response))

    assert run(asked(serve, use)) == (STREAM_WINDOW, 50 * STREAM_WINDOW)


def test_who_waits_for_an_answer_and_leaves_cancels_the_request() -> None:
    lost: list[str] = []

    class Told(Ignoring):
        def on_lost(self, reason: str) -> None:
            lost.append(reason)

    def serve(stream: Stream, _: Headers) -> None:
        stream.receiver = Told()

    async def use(upstream: Any) -> None:
        asking = asyncio.create_task(upstream.send(request()))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: lost == ["cancelled"])

    run(asked(serve, use))


def test_a_tunnel_that_ends_before_an_answer_is_lost() -> None:
    async def use_lost() -> str:
        async with tunnels_served() as (tunnels, url):
            address = url.replace("http", "ws", 1) + "/tunnel"
            headers = {"Authorization": f"Bearer {ticket(url)}"}
            websocket = await connect(address, subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=headers)
            upstream = await until(lambda: tunnels.upstream(WORKER))
            assert upstream is not None
            asking = asyncio.create_task(upstream.send(request()))
            await asyncio.sleep(0.01)
            websocket.transport.abort()
            with pytest.raises(Unavailable) as error:
                await asking
            return error.value.reason

    assert run(use_lost()) == "tunnel-lost"
