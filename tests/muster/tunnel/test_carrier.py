"""A link on an event loop: one message for each pass, signs of life, and the end."""

from __future__ import annotations

import asyncio

import pytest

from muster.tunnel.carrier import SENT_BYTES, Carrier
from muster.tunnel.link import STREAM_WINDOW, Headers, Stream
from muster.tunnel.protocol import MAX_MESSAGE_BYTES
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import until
from tests.fixtures.waiting import PATIENCE

STREAMS = 100


def test_messages_flow_until_one_end_ends() -> None:
    async def go() -> None:
        seen: list[Headers] = []

        def accept(stream: Stream, headers: Headers) -> None:
            stream.receiver = Quiet()
            seen.append(headers)

        to_agent: list[bytes] = []

        async def to_the_agent(data: bytes) -> None:
            to_agent.append(data)
            agent.receive(data)

        async def to_the_gateway(data: bytes) -> None:
            gateway.receive(data)

        gateway, agent = Carrier(to_the_agent), Carrier(to_the_gateway, accept)
        writing = [asyncio.create_task(each.write()) for each in (gateway, agent)]
        await until(lambda: to_agent)
        before = len(to_agent)
        for _ in range(3):
            head = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"d"), (b":path", b"/")]
            gateway.link.open_stream(Quiet()).send_headers(head, ends=True)
        gateway.woken()
        await until(lambda: len(seen) == 3)
        assert len(to_agent) == before + 1, "three requests of one pass leave in one message"
        agent.end("over")
        gateway.end("over, too")
        gateway.end("said before")
        assert await asyncio.gather(*writing) == ["over, too", "over"]

    run(go())


def test_what_many_streams_send_at_once_leaves_in_messages_that_the_other_end_takes() -> None:
    """Together they may send far more than one message may contain."""

    async def go() -> list[int]:
        opened: list[Stream] = []
        sizes: list[int] = []

        def accept(stream: Stream, headers: Headers) -> None:
            stream.receiver = Quiet()
            opened.append(stream)

        async def to_the_agent(data: bytes) -> None:
            agent.receive(data)

        async def to_the_gateway(data: bytes) -> None:
            sizes.append(len(data))
            gateway.receive(data)

        gateway, agent = Carrier(to_the_agent), Carrier(to_the_gateway, accept)
        for _ in range(STREAMS):
            head = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"d"), (b":path", b"/")]
            gateway.link.open_stream(Quiet()).send_headers(head, ends=True)
        writing = [asyncio.create_task(gateway.write())]
        await until(lambda: len(opened) == STREAMS)
        for stream in opened:
            stream.send_headers([(b":status", b"200")])
            stream.send(b"x" * STREAM_WINDOW)
        writing.append(asyncio.create_task(agent.write()))
        await until(lambda: sum(sizes) > STREAMS * STREAM_WINDOW)
        for carrier in (gateway, agent):
            carrier.end("over")
        await asyncio.gather(*writing)
        return sizes

    assert max(run(go())) <= SENT_BYTES <= MAX_MESSAGE_BYTES


def test_what_breaks_the_protocol_ends_it() -> None:
    async def go() -> str | None:
        async def send(data: bytes) -> None:
            return None

        carrier = Carrier(send)
        carrier.receive(b"no http/2 at all" * 2000)
        await carrier.write()
        return carrier.ended

    assert "too long" in (run(go()) or "")


class Quiet:
    def on_headers(self, headers: Headers) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_lost(self, reason: str) -> None: ...


def test_an_end_that_takes_nothing_does_not_keep_the_connection() -> None:
    async def go() -> str:
        blocked = asyncio.Event()

        async def send(data: bytes) -> None:
            blocked.set()
            await asyncio.Event().wait()

        carrier = Carrier(send)
        writing = asyncio.create_task(carrier.write())
        await blocked.wait()
        carrier.end("no sign of life")
        return await asyncio.wait_for(writing, PATIENCE)

    assert run(go()) == "no sign of life"


def test_what_sending_raises_is_raised() -> None:
    async def go() -> None:
        async def send(data: bytes) -> None:
            raise ConnectionResetError("gone")

        await Carrier(send).write()

    with pytest.raises(ConnectionResetError, match="gone"):
        run(go())
