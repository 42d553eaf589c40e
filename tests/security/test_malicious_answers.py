"""What a server may do on the wire, by real sockets: requests end, give nothing away, and cost little memory."""

from __future__ import annotations

import gzip
import io
import tracemalloc

import pytest

from muster.api.messages import Heartbeat
from muster_agent.control.client import MAX_ANSWER_BYTES, Api, Fatal, Retry
from tests.fixtures.waiting import PATIENCE
from tests.fixtures.wire import http, server

BEAT = Heartbeat(status="online", gpu_usage=[], active_deployments=[])
TOKEN = "mst_wrk_token-of-this-worker"
MIB = 1024 * 1024


def beat(url: str) -> None:
    Api(url).heartbeat("w1", TOKEN, BEAT, (PATIENCE, PATIENCE))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed_and_the_token_stays(status: str) -> None:
    with (
        server(lambda head: http()) as (elsewhere, got),
        server(lambda head: http(b"", status, f"Location: {elsewhere}/api/workers/w1/heartbeat")) as (url, first),
    ):
        with pytest.raises(Retry, match="redirects"):
            beat(url)
        assert TOKEN.encode() in first[0]
        assert got == []


def bomb(mib: int) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as file:
        for _ in range(mib):
            file.write(b" " * MIB)
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
def test_a_compressed_bomb_costs_little_memory(encoding: str) -> None:
    body = bomb(128)
    body = gzip.compress(body) if "," in encoding else body
    assert len(body) < MIB, "and yet it is 128 MiB"
    with server(lambda head: http(body, "200 OK", f"Content-Encoding: {encoding}")) as (url, _):
        tracemalloc.start()
        with pytest.raises(Retry):
            beat(url)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * MAX_ANSWER_BYTES, f"{peak / MIB:.0f} MiB"


ANSWERS = {
    "nothing": b"",
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a flood of headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n{}",
    "a header of megabytes": b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 8 * MIB + b"\r\n\r\n{}",
    "a body without an end": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_ANSWER_BYTES + 2 * MIB),
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    "a length that is not kept": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a chunk of 16 EiB": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    "another encoding": http(b"{}", "200 OK", "Content-Encoding: br"),
    "gzip that is none": http(b"{}", "200 OK", "Content-Encoding: gzip"),
    "a status that is none": b"HTTP/1.1 999999 X\r\n\r\n",
    "for ever continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "a wish to authenticate": http(b"", "401 X", "WWW-Authenticate: Basic realm=x"),
    "a proxy's wish": http(b"", "407 X", "Proxy-Authenticate: NTLM"),
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "html": http(b"<script>", "200 OK", "Content-Type: text/html"),
}


@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_none_may_be_tried_again(said: bytes) -> None:
    with server(lambda head: said) as (url, _), pytest.raises(Retry) as raised:
        beat(url)
    assert TOKEN not in str(raised.value)


def test_what_the_server_says_is_told_but_takes_no_room() -> None:
    said = b'{"error_code": "X", "message": "' + b"x" * MIB + b'"}'
    with server(lambda head: http(said, "400 Bad Request")) as (url, _), pytest.raises(Fatal) as raised:
        beat(url)
    assert len(str(raised.value)) < 5000
