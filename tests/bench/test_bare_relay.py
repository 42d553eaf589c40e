"""The floor of a gateway passes requests and answers on, whole and streamed."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path

import pytest

from bench.bare_relay import message_length
from bench.gateway_stack import BareRelay, completion
from bench.stream_load import StreamPlan, run


@pytest.mark.parametrize(
    ("received", "length"),
    [
        (b"GET / HTTP/1.1\r\n\r\nmore", 18),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcd", 41),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", None),
        (b"GET / HTTP/1.1\r\n", None),
    ],
)
def test_a_message_ends_where_its_length_says(received: bytes, length: int | None) -> None:
    assert message_length(received) == length


def test_answers_pass_whole_and_streamed(tmp_path: Path) -> None:
    relay = BareRelay(tmp_path, Path(sys.executable))
    try:
        relay.start()
        connection = http.client.HTTPConnection("127.0.0.1", relay.port)
        for tokens in (1, 3):
            connection.request("POST", "/v1/chat/completions", completion(tokens))
            answer = json.loads(connection.getresponse().read())
            assert answer["usage"]["completion_tokens"] == tokens
        connection.close()
        measured = run(StreamPlan(relay.port, streams=4, tokens=300, rate=0.0, pids=relay.pids))
        assert (measured.tokens, measured.errors) == (1200, 0)
    finally:
        relay.stop()
