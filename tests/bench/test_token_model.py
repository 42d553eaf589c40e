"""The model of the measurements: as many tokens as are asked for, streamed or whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bench.token_model import TOKEN, Model, option
from tests.fixtures.event_loop import run


def answered(*requests: dict[str, Any]) -> bytes:
    """The bytes that the model sends to a caller of these completions, sent at once on one connection."""

    async def ask() -> bytes:
        server = await asyncio.get_running_loop().create_server(lambda: Model("bench"), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for request in requests:
            body = json.dumps(request).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        received = await reader.readuntil(b"\r\n\r\n{}")
        writer.close()
        server.close()
        return received

    return run(ask())


def test_a_whole_answer_has_the_tokens_and_the_usage() -> None:
    head, _, body = answered({"max_tokens": 3}).partition(b"\r\n\r\n")
    found, _ = json.JSONDecoder().raw_decode(body.decode())
    assert head.startswith(b"HTTP/1.1 200 OK") and found["choices"][0]["message"]["content"] == " token" * 3
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


@pytest.mark.parametrize("rate", ["0", "1000"])
def test_a_stream_has_one_event_for_each_token(rate: str) -> None:
    received = answered({"stream": True, "max_tokens": 5, "user": rate})
    assert received.count(TOKEN) == 5 and received.count(b"data: [DONE]") == 1 and b'"usage"' not in received


def test_usage_is_the_last_event_where_it_is_asked_for() -> None:
    received = answered({"stream": True, "max_tokens": 2, "stream_options": {"include_usage": True}})
    assert received.index(b'"completion_tokens":2') > received.rindex(b" token")


def test_requests_on_one_connection_are_answered_in_turn() -> None:
    received = answered({"stream": True, "max_tokens": 2, "user": "500"}, {"max_tokens": 1})
    assert received.index(b"[DONE]") < received.index(b'"chat.completion"')


def test_options_that_the_agent_gives_are_found() -> None:
    assert option(["qwen", "--port", "8001", "--x"], "--port", "8000") == "8001"
    assert option(["qwen"], "--port", "8000") == "8000"
