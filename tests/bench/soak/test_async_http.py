"""An agent's connection: what is an error, and what a kill explains."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bench.soak.async_http import AsyncCaller, Trouble, Unanswered
from tests.fixtures import event_loop

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def with_server(serve: Serve, test: Callable[[int], Awaitable[None]]) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await test(server.sockets[0].getsockname()[1])
    finally:
        server.close()


def answering(*answers: bytes) -> tuple[Serve, list[bytes]]:
    """A server that gives these answers in turn, and hangs up in place of an empty one; and what it was sent."""
    waiting, heads = list(answers), list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while waiting:
            try:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            content = waiting.pop(0)
            if not content:
                break
            writer.write(content)
        writer.close()

    return serve, heads


def test_an_answer_is_parsed_and_counted() -> None:
    trouble = Trouble()
    serve, heads = answering(answer(200, b'{"a": 1}'), answer(201, b"{}"))

    async def test(port: int) -> None:
        caller = AsyncCaller(port, trouble, "secret")
        assert await caller.call("GET", "/x", key="k1") == {"a": 1}
        assert await caller.call("POST", "/x") == {}
        caller.close()

    event_loop.run(with_server(serve, test))
    assert (trouble.answers, trouble.errors.total()) == (2, 0)
    assert b"Authorization: Bearer secret" in heads[0] and b"Idempotency-Key: k1" in heads[0]


def test_an_error_is_counted_without_ids() -> None:
    trouble = Trouble()
    serve, _ = answering(answer(409, b"no"))

    async def test(port: int) -> None:
        with pytest.raises(Unanswered):
            await AsyncCaller(port, trouble).call("GET", "/api/workers/9a03e0ea-aab1-42a5-a15d-b8bec838db11/x?a=b")

    event_loop.run(with_server(serve, test))
    assert dict(trouble.errors) == {"GET /api/workers/…/x: 409 no": 1}


@pytest.mark.parametrize("killed", [True, False])
def test_a_connection_that_a_kill_closed_is_no_error(killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.soak.async_http.RETRY_SECONDS", 0.0)
    trouble = Trouble()
    serve, _ = answering(answer(200, b"{}"), b"", answer(200, b"{}"))

    async def test(port: int) -> None:
        caller = AsyncCaller(port, trouble)
        await caller.call("GET", "/x")
        trouble.kills += killed
        await caller.call("GET", "/x")
        caller.close()

    event_loop.run(with_server(serve, test))
    assert (trouble.interruptions, trouble.errors.total()) == ((1, 0) if killed else (0, 1))
    assert trouble.answers == 2
