"""A replica at a pinned address: real connections, checked addresses, no redirects, no proxies."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from muster.gateway.direct_upstream import Direct
from muster.gateway.upstream import Broken, Unavailable
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import model_served, request, whole_request


async def answered(answer: Any, times: int = 1, key: str | None = "k", path: str = "") -> list[tuple[int, bytes]]:
    """What each of several requests to a model is answered."""
    async with model_served(answer) as model:
        upstream = Direct().upstream(f"http://localhost:{model.port}{path}", key)
        found = []
        for _ in range(times):
            response = await upstream.send(request())
            parts = []
            while part := await response.read():
                parts.append(part)
            found.append((response.status, b"".join(parts)))
        return found


def test_requests_share_a_connection_and_have_the_models_own_key() -> None:
    connections: list[int] = []
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        with suppress(asyncio.IncompleteReadError):
            while True:
                head, _ = await whole_request(reader)
                heads.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    assert run(answered(answer, 3, path="/base")) == [(200, b"hi")] * 3
    assert len(connections) == 1 and all(b"Authorization: Bearer k\r\n" in head for head in heads)
    assert all(head.startswith(b"POST /base/v1/completions HTTP/1.1\r\nHost: localhost:") for head in heads)


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")

    assert run(answered(answer)) == [(302, b"")]


def test_a_kept_connection_that_has_ended_is_replaced() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        with suppress(asyncio.IncompleteReadError):
            await whole_request(reader)
        writer.close()

    assert run(answered(answer, 3)) == [(200, b"hi")] * 3


@pytest.mark.parametrize(
    "endpoint", ["http://169.254.169.254:80", "http://0.0.0.0:1", "http://[fe80::1]:1", "http://224.0.0.1:1"]
)
def test_an_address_that_no_model_may_have_is_not_dialed(endpoint: str) -> None:
    async def ask() -> str:
        with pytest.raises(Unavailable) as error:
            await Direct().upstream(endpoint, None).send(request())
        return error.value.reason

    assert run(ask()) == "forbidden-address"


def test_who_does_not_listen_or_cannot_be_resolved_is_unavailable() -> None:
    async def ask(endpoint: str) -> str:
        with pytest.raises(Unavailable) as error:
            await Direct().upstream(endpoint, None).send(request())
        return error.value.reason

    assert run(ask("http://127.0.0.1:1")) == "connect"
    assert run(ask("http://no-such-host.invalid:1")) == "resolve"


def test_an_answer_that_ends_too_early_is_broken() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi")
        await writer.drain()
        writer.close()

    with pytest.raises(Broken):
        run(answered(answer))
