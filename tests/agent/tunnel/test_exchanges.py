"""Requests from a gateway through a real tunnel to a model: what passes, what is refused, what ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from muster.gateway.upstream import Broken, Unavailable, UpstreamResponse
from muster.tunnel.link import STREAM_WINDOW
from muster_agent.tunnel.orders import Orders
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import DEPLOYMENT, connected, request, until, whole_request

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"


async def all_of(response: UpstreamResponse) -> bytes:
    parts = []
    while part := await response.read():
        parts.append(part)
    return b"".join(parts)


def test_a_request_is_built_anew_and_its_answer_passes() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head, body = await whole_request(reader)
                heads.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\nX-Secret: s\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def ask() -> None:
        async with connected(answer) as (upstream, _, _):
            for size in (0, 3, 3 * STREAM_WINDOW):
                response = await upstream.send(request(b"x" * size))
                assert response.status == 200 and (b"x-secret", b"s") not in response.headers
                assert await all_of(response) == b"x" * size

    run(ask())
    assert all(head.startswith(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:") for head in heads)
    assert all(b"Authorization: Bearer model-key\r\n" in head for head in heads)


def test_what_is_no_inference_or_not_here_is_refused_before_the_model() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async def refused(path: bytes, deployment: str = DEPLOYMENT) -> str:
        async with connected(answer) as (upstream, _, _):
            with pytest.raises(Unavailable) as error:
                await upstream.send(request(path=path, deployment=deployment))
            return error.value.reason

    assert run(refused(b"/v1/load_lora_adapter")) == "path"
    assert run(refused(b"/v1/%2e%2e/metrics")) == "path"
    assert run(refused(b"/v1/completions", "another")) == "no-deployment"


def test_an_instance_that_drains_gets_nothing_new_and_finishes_what_runs() -> None:
    told: list[str] = []
    asked: list[tuple[bytes, bytes]] = []

    async def ask() -> None:
        gate = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await whole_request(reader))
            if len(asked) == 1:  # a second one, which should not be here, is answered at once
                await gate.wait()
            writer.write(OK)

        async with connected(answer) as (upstream, _, child):
            child.exchanges._drained = told.append
            running = asyncio.create_task(upstream.send(request()))
            await until(lambda: child.exchanges._under_way["instance-1"])
            models = dict(child.exchanges._models)
            orders = Orders(models=models, draining=["instance-1"])
            child.exchanges.serve(models, frozenset(orders.draining), child.exchanges.paths)
            with pytest.raises(Unavailable) as error:
                await upstream.send(request())
            assert (error.value.reason, error.value.is_replica_fault, told) == ("draining", False, [])
            gate.set()
            assert await all_of(await running) == b"hi"
            assert told == ["instance-1"]

    run(ask())


def test_a_gateway_that_cancels_ends_the_models_work() -> None:
    async def ask() -> None:
        ended = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await whole_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            with suppress(ConnectionError):
                await reader.read()
            ended.set()

        async with connected(answer) as (upstream, _, _):
            response = await upstream.send(request())
            assert await response.read() == b"hi"
            response.cancel()
            await asyncio.wait_for(ended.wait(), 200)

    run(ask())


def test_an_answer_that_ends_too_early_is_broken_and_one_that_never_begins_is_unavailable() -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.close()

    async def ask() -> None:
        async with connected(broken) as (upstream, _, _):
            with pytest.raises(Broken):
                await all_of(await upstream.send(request()))
        async with connected(silent) as (upstream, _, _):
            with pytest.raises(Unavailable) as error:
                await upstream.send(request())
            assert (error.value.reason, error.value.is_replica_fault) == ("unreachable", True)

    run(ask())


def test_a_reader_that_stalls_holds_one_window_and_delays_nobody() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                _, body = await whole_request(reader)
                size = int(body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                writer.write(b"x" * size)
                await writer.drain()

    async def ask() -> None:
        async with connected(answer) as (upstream, _, _):
            stalled = await upstream.send(request(b"%d" % (20 * STREAM_WINDOW)))
            for _ in range(20):
                quick = await upstream.send(request(b"1000"))
                assert len(await all_of(quick)) == 1000
            held = len(b"".join(stalled._parts))  # type: ignore[attr-defined]
            assert 0 < held <= STREAM_WINDOW
            assert len(await all_of(stalled)) == 20 * STREAM_WINDOW

    run(ask())
