"""A gateway in an attacker's hand, at an agent's child: frames of HTTP/2 that no library would send."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from muster.gateway.tunnels import Tunnels
from muster.tunnel.headers import REFUSAL
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import DEPLOYMENT, WORKER, connected, request, until, whole_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from muster.tunnel.link import Headers

GOOD_PATH = b"/v1/completions"
PATHS = [
    *(b"/v1/load_lora_adapter", b"/v1/unload_lora_adapter", b"/sleep", b"/wake_up", b"/metrics", b"/health", b"/"),
    *(b"/collective_rpc", b"/reset_prefix_cache", b"/update_weights", b"/v1/models", b"/docs", b"/tokenize", b"", b"*"),
    *(b"/v1/../sleep", b"/v1/%2e%2e/sleep", b"/v1/..%2fsleep", b"//v1/completions", b"/v1//completions", b"\\sleep"),
    *(b"/v1/completions/", b"/v1/completions;/../../sleep", b"/v1/completions%3bx", b"/v1%2fcompletions"),
    *(b"/v1/completions%00", b"/v1/%252e%252e/sleep", b"http://127.0.0.1:22/", b"http://x/v1/completions"),
    *(b"/V1/completions", b"file:///etc", b"/v1/completions HTTP/1.1\r\nX: y", b"/v1/completions\x00"),
    *(b"/v1/completions#x", b"@127.0.0.1:22/v1/completions"),
]
OWN = DEPLOYMENT.encode()
DEPLOYMENTS = [b"another", b"", b"127.0.0.1:22", OWN + b"@x", OWN + b"/..", b"../x", b"*"]
METHODS = [b"GET", b"HEAD", b"PUT", b"DELETE", b"TRACE", b"OPTIONS", b"post", b"POST ", b"POST /sleep", b""]
ODD_HEADERS: dict[str, Headers] = {
    "a line in a value": [(b"x-request-id", b"a\r\nX-Injected: b"), (b"accept", b"a\nX-Injected: b")],
    "a line in a name": [(b"x-request-id\r\nx-injected", b"b")],
    "another host": [(b"host", b"other:22")],
    "its own key": [(b"authorization", b"Bearer stolen"), (b"x-api-key", b"stolen")],
    "another length": [(b"content-length", b"1")],
    "two lengths": [(b"content-length", b"2"), (b"content-length", b"3")],
    "chunks": [(b"transfer-encoding", b"chunked")],
    "a connection's": [(b"connection", b"upgrade"), (b"upgrade", b"h2c"), (b"te", b"trailers")],
    "a cookie": [(b"cookie", b"a=b"), (b"x-forwarded-for", b"1.2.3.4"), (b"x-original-url", b"/sleep")],
    "a second path": [(b":path", b"/sleep")],
    "a second deployment": [(b":authority", b"another")],
    "an unknown pseudo-header": [(b":protocol", b"websocket")],
    "a long value": [(b"accept", b"x" * 8000)],
    "names in capitals": [(b"Accept", b"a"), (b"HOST", b"other:22")],
}


@dataclass
class Model:
    """What a model was sent: the heads of its requests."""

    heads: list[bytes] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                self.heads.append((await whole_request(reader))[0])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")


class Outcome:
    """How a stream ended: `answered` by a status and a refusal, or lost."""

    def __init__(self) -> None:
        self.answered: tuple[int, bytes] | None = None
        self.is_lost = False

    def on_headers(self, headers: Headers) -> None:
        found = dict(headers)
        self.answered = int(found[b":status"]), found.get(REFUSAL, b"")

    def on_data(self, data: bytes) -> None:
        pass

    def on_end(self) -> None:
        pass

    def on_lost(self, reason: str) -> None:
        self.is_lost = True


@asynccontextmanager
async def attacked() -> AsyncIterator[tuple[Tunnels, Model]]:
    """After the attack the child still answers a good request, with the same model."""
    model = Model()
    async with connected(model.answer) as (_, tunnels, _):
        yield tunnels, model
        before = len(model.heads)
        upstream = await until(lambda: tunnels.upstream(WORKER))
        assert upstream is not None
        assert (await upstream.send(request())).status == 200
        assert len(model.heads) == before + 1


async def sent(tunnels: Tunnels, head: Headers) -> Outcome:
    """A request with this head as it is, and the body `{}`."""
    link, outcome = tunnels._open[WORKER][0].carrier.link, Outcome()
    config = link.h2.config
    config.validate_outbound_headers = config.normalize_outbound_headers = False
    stream = link.open_stream(outcome)
    stream.send_headers(head)
    stream.send(b"{}", ends=True)
    await until(lambda: outcome.answered is not None or outcome.is_lost)
    return outcome


def head(path: bytes = GOOD_PATH, deployment: bytes = DEPLOYMENT.encode(), method: bytes = b"POST") -> Headers:
    return [(b":method", method), (b":scheme", b"https"), (b":authority", deployment), (b":path", path)]


async def refused(requests: dict[bytes, Headers]) -> dict[bytes, bytes]:
    """The refusal of each request; "lost" where the child gave the connection up. None of them reaches the model."""
    found = {}
    for what, asked in requests.items():
        async with attacked() as (tunnels, model):
            outcome = await sent(tunnels, asked)
            found[what] = outcome.answered[1] if outcome.answered else b"lost"
            assert model.heads == [], what
    return found


@pytest.mark.parametrize("path", PATHS)
def test_no_path_but_those_of_inference_reaches_the_model(path: bytes) -> None:
    assert run(refused({path: head(path)}))[path] in (b"path", b"lost")


def test_no_deployment_but_those_of_the_host_is_asked() -> None:
    found = run(refused({deployment: head(deployment=deployment) for deployment in DEPLOYMENTS}))
    assert set(found.values()) <= {b"no-deployment", b"lost"} and found[b"another"] == b"no-deployment"


def test_nothing_but_a_post_is_passed_on() -> None:
    found = run(refused({method: head(method=method) for method in METHODS}))
    assert set(found.values()) <= {b"request", b"lost"} and found[b"GET"] == b"request"


@pytest.mark.parametrize("odd", ODD_HEADERS.values(), ids=ODD_HEADERS)
def test_a_model_gets_a_request_that_was_built_anew_or_none(odd: Headers) -> None:
    async def go() -> tuple[Outcome, list[bytes]]:
        async with attacked() as (tunnels, model):
            outcome = await sent(tunnels, [*head(), *odd])
            return outcome, list(model.heads)

    outcome, heads = run(go())
    assert len(heads) <= 1
    for got in heads:
        lines = got.split(b"\r\n")
        assert lines[0] == b"POST /v1/completions HTTP/1.1" and lines[1].startswith(b"Host: 127.0.0.1:")
        names = [line.partition(b":")[0].lower() for line in lines[1:] if line]
        assert len(set(names)) == len(names), got
        assert set(names) <= set(b"host authorization content-length content-type accept x-request-id".split()), got
        assert b"Authorization: Bearer model-key" in lines and b"Content-Length: 2" in lines
        assert b"stolen" not in got and b"\n" not in got.replace(b"\r\n", b"")
    assert outcome.is_lost or outcome.answered is not None
