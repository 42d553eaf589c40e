"""Hostile callers and workers, and keys that are for something else, at a gateway that is a process."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from muster.tunnel.paths import INFERENCE
from muster.tunnel.protocol import SUBPROTOCOL, Close
from tests.fixtures.gateway_rig import MODEL, GatewayRig, TunnelHost
from tests.fixtures.http_client import Client, Json, audit
from tests.fixtures.http_client import session as http_session
from tests.fixtures.http_workers import Agent
from tests.fixtures.routes import GUARDED, OF_GATEWAYS, Route
from tests.fixtures.serve import REGISTRATION_TOKEN
from tests.fixtures.waiting import PATIENCE, eventually

CHAT = "/v1/chat/completions"
GOOD = json.dumps({"model": MODEL, "messages": []}).encode()


class TolerantHost(TunnelHost):
    def model_command(self) -> str:
        return f"{sys.executable} -m tests.security.tolerant_model"


class Rig(GatewayRig):
    host = TolerantHost


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayRig]:
    with Rig(tmp_path_factory.mktemp("attacked"), hosts=1) as found:
        yield found


@pytest.fixture(autouse=True)
def still_serves(rig: GatewayRig) -> Iterator[None]:
    """After each attack a good caller gets an answer, from the process that was attacked."""
    before = rig.gateway.process.pid
    yield
    is_good(rig)
    assert rig.gateway.process.poll() is None and rig.gateway.process.pid == before


def is_good(rig: GatewayRig) -> None:
    """A good caller gets the answer to its own request."""
    answer = rig.ask()
    assert answer.status_code == 200 and "post /v1/chat/completions" in answer.json()["head"], answer.text


def is_refusal(status: int, body: bytes) -> bool:
    """Whether an answer is a 4xx in OpenAI's shape."""
    error = json.loads(body)["error"]
    return 400 <= status < 500 and set(error) >= {"message", "type", "param", "code"} and bool(error["message"])


# Keys that are for something else


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_a_callers_key_opens_no_route_of_the_control_plane(route: Route, rig: GatewayRig) -> None:
    reply = Client(rig.serve.url, rig.key).call(route.method, route.at(worker_id(rig)), route.body)
    audit(reply, rig.key)
    assert reply.status == 403, f"{reply.status} {reply.text[:200]}"


@pytest.mark.parametrize("route", [route for route in GUARDED if route not in OF_GATEWAYS], ids=str)
def test_a_gateways_key_opens_its_own_routes_alone(route: Route, rig: GatewayRig) -> None:
    key = rig.gateway.environment["MUSTER_GATEWAY_KEY"]
    reply = Client(rig.serve.url, key).call(route.method, route.at(worker_id(rig)), route.body)
    audit(reply, key)
    assert reply.status == 403, f"{reply.status} {reply.text[:200]}"


def test_what_is_no_callers_key_asks_no_model(rig: GatewayRig) -> None:
    evil = hostile_worker(rig)
    secrets = {
        "an admin's key": rig.operator.key,
        "the gateway's key": rig.gateway.environment["MUSTER_GATEWAY_KEY"],
        "a worker's token": str(evil.client.bearer),
        "a ticket": tickets_of(evil)[rig.gateway.url],
        "a registration token": REGISTRATION_TOKEN,
        "a key and more": rig.key + "x",
        "a key cut short": rig.key[:-1],
        "two keys": f"{rig.key},{rig.key}",
        "nothing": "",
    }
    headers: dict[str, dict[str, str]] = {
        **{what: {"Authorization": f"Bearer {secret}"} for what, secret in secrets.items()},
        "a key by Basic": {"Authorization": f"Basic {rig.key}"},
        "a key without a scheme": {"Authorization": rig.key},
        "a key as a cookie": {"Cookie": f"Authorization=Bearer {rig.key}"},
        "a key as proxy's": {"Proxy-Authorization": f"Bearer {rig.key}"},
    }
    for what, given_headers in headers.items():
        for path in (CHAT, f"{CHAT}?api_key={rig.key}"):
            answer = http_session().post(rig.gateway.url + path, data=GOOD, headers=given_headers, timeout=PATIENCE)
            assert answer.status_code == 401 and is_refusal(401, answer.content), f"{what}: {answer.text}"


# Hostile workers


def worker_id(rig: GatewayRig) -> str:
    """Of the host that serves."""
    return next(str(each["worker_id"]) for each in rig.operator.call("GET", "/api/workers")["workers"])


def hostile_worker(rig: GatewayRig) -> Agent:
    """One that joined as anybody with a registration token may, and knows tunnels."""
    token = rig.operator.call("POST", "/api/registration-tokens", {"max_uses": 10})["token"]
    found = Agent(rig.serve.url, str(token))
    found.register(features=["tunnel"])
    return found


def tickets_of(agent: Agent) -> dict[str, str]:
    """By the URL of the gateway."""
    given = agent.client.post(agent.path("gateways"), {}).expect(200)
    return {each["url"]: each["ticket"] for each in given["gateways"]}


def dialed(rig: GatewayRig, bearer: str) -> ClientConnection:
    address = rig.gateway.url.replace("http", "ws", 1) + "/tunnel"
    headers = {"Authorization": f"Bearer {bearer}"}
    return connect(
        address,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers=headers,
        ping_interval=None,
        open_timeout=PATIENCE,
    )


def code_of(websocket: ClientConnection) -> int | None:
    """The code that the gateway closes the connection with."""
    with websocket, pytest.raises(ConnectionClosed):
        while True:
            websocket.recv(timeout=PATIENCE)
    return websocket.protocol.close_code


def test_a_worker_gets_no_ticket_of_another_worker(rig: GatewayRig) -> None:
    evil, victim = hostile_worker(rig), worker_id(rig)
    for bearer in (evil.client.bearer, rig.key, rig.gateway.environment["MUSTER_GATEWAY_KEY"], REGISTRATION_TOKEN):
        reply = Client(rig.serve.url, bearer).post(f"/api/workers/{victim}/gateways", {})
        assert reply.status in (401, 403) and "mst_tkt_" not in reply.text, reply.text
    own = evil.client.post(evil.path("gateways"), {"worker_id": victim, "session": 99}).expect(200)
    assert victim not in str(own)


def test_tickets_that_are_replayed_altered_or_for_another_gateway_open_no_tunnel(rig: GatewayRig) -> None:
    evil = hostile_worker(rig)
    first = tickets_of(evil)[rig.gateway.url]
    evil.boot_id = "another boot"
    evil.register(features=["tunnel"])
    newest = tickets_of(evil)[rig.gateway.url]
    head, claims, mac = newest.split(".")
    other = gateway_elsewhere(rig, evil)
    with dialed(rig, newest) as good:
        good.recv(timeout=PATIENCE)
        assert code_of(dialed(rig, first)) == Close.SUPERSEDED, "the session before"
        altered = [
            f"{head}.{claims}.{mac[:-2]}AA",
            f"{head}.{claims[:-2]}AA.{mac}",
            f"{head}.{claims}.",
            f"{head[:-1]}9.{claims}.{mac}",
        ]
        for bad in (*altered, other, newest + "x", newest.upper(), "", str(evil.client.bearer), rig.key):
            assert code_of(dialed(rig, bad)) == Close.BAD_TICKET, bad


def gateway_elsewhere(rig: GatewayRig, worker: Agent) -> str:
    """A ticket for a gateway with another URL and the same key."""
    key, url = rig.gateway.environment["MUSTER_GATEWAY_KEY"], "http://127.0.0.1:1"
    gateway = Client(rig.serve.url, key)
    registered = gateway.post("/api/gateways", {"url": url}).expect(200)
    try:
        return tickets_of(worker)[url]
    finally:
        gateway.delete(f"/api/gateways/{registered['gateway_id']}").expect(200)


def test_a_worker_with_a_tunnel_is_asked_nothing_that_is_anothers(rig: GatewayRig) -> None:
    """Whatever it says of itself: only the control plane says which deployment is where."""
    evil = hostile_worker(rig)
    (deployment,) = rig.operator.call("GET", "/api/deployments")["deployments"]
    deployment_id = deployment["deployment_id"]
    evil.try_beat(deployment_id)
    evil.report(deployment_id, "running", container_id="c", port=8001).expect(404)
    with dialed(rig, tickets_of(evil)[rig.gateway.url]) as tunnel:
        first = bytes(tunnel.recv(timeout=PATIENCE))  # type: ignore[arg-type]
        eventually(lambda: rig.gateway.metric("muster_gateway_tunnel_workers"), lambda count: count >= 2)
        for _ in range(20):
            is_good(rig)
        assert 1 not in frames(first + arrived(tunnel)), "a HEADERS frame is a request"
    hello = json.dumps({"deployments": [deployment_id], "models": [MODEL], "worker_id": worker_id(rig)})
    with dialed(rig, tickets_of(evil)[rig.gateway.url]) as tunnel:
        tunnel.send(hello)
        assert code_of(tunnel) == Close.BAD_TICKET, "a tunnel has nothing to announce"


def arrived(tunnel: ClientConnection) -> bytes:
    """All that the gateway has sent by now."""
    parts = []
    with suppress(TimeoutError):
        while True:
            parts.append(bytes(tunnel.recv(timeout=0)))  # type: ignore[arg-type]
    return b"".join(parts)


def frames(sent: bytes) -> list[int]:
    """The types of HTTP/2's frames, after the client's preface."""
    at, found = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []
    while at + 9 <= len(sent):
        found.append(sent[at + 3])
        at += 9 + int.from_bytes(sent[at : at + 3], "big")
    return found


# Hostile callers: what hides a second request


def hidden(rig: GatewayRig) -> bytes:
    return f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\n\r\n".encode()


FRAMES = {
    "two lengths": b"Content-Length: 3\r\nContent-Length: %d\r\n",
    "the same length twice": b"Content-Length: 3\r\nContent-Length: 3\r\nX: %d\r\n",
    "two lengths in one": b"Content-Length: 3, %d\r\n",
    "a length with a sign": b"Content-Length: +3\r\nX: %d\r\n",
    "a negative length": b"Content-Length: -3\r\nX: %d\r\n",
    "a length in hex": b"Content-Length: 0x3\r\nX: %d\r\n",
    "a length of other digits": b"Content-Length: \xb2\r\nX: %d\r\n",
    "a length of a hundred digits": b"Content-Length: " + b"9" * 100 + b"\r\nX: %d\r\n",
    "a length with a space before the colon": b"Content-Length : 3\r\nX: %d\r\n",
    "a folded length": b"Content-Length:\r\n 3\r\nX: %d\r\n",
    "a folded header": b"Content-Length: 3\r\nX: a\r\n b%d\r\n",
    "a length and chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nX: %d\r\n",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
    "chunks": b"Transfer-Encoding: chunked\r\nX: %d\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nX: %d\r\n",
    "unknown chunks": b"Transfer-Encoding: xchunked\r\nX: %d\r\n",
    "chunks in capitals": b"TRANSFER-ENCODING: CHUNKED\r\nX: %d\r\n",
    "chunks behind a bare CR": b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 3\r\nY: %d\r\n",
    "chunks behind a bare LF": b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nY: %d\r\n",
    "a NUL": b"Content-Length: 3\r\nX: a\x00b%d\r\n",
    "no colon": b"Content-Length 3\r\nX: %d\r\n",
    "a line that begins with a space": b" Content-Length: 3\r\nX: %d\r\n",
    "two hosts": b"Content-Length: 3\r\nHost: y\r\nX: %d\r\n",
}
BODIES = {
    "a body": b"{}\n",
    "chunks": b"3\r\n{}\n\r\n0\r\n\r\n",
    "chunks with extensions": b"3;a=b\r\n{}\n\r\n0;x\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_no_frame_hides_a_second_request(frame: bytes, body: bytes, rig: GatewayRig) -> None:
    second = hidden(rig)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\n".encode()
    is_one_refusal(exchanged(rig, head + frame % (len(second) + 3) + b"\r\n" + body + second))


ODD = {
    "HTTP/0.9": b"GET /v1/models\r\n",
    "HTTP/0.9 with a key": b"GET /v1/models\r\nAuthorization: Bearer %s\r\n\r\n",
    "HTTP/2.0": b"GET /v1/models HTTP/2.0\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%s",
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n%s\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
    "TRACE": b"TRACE /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
    "a method of small letters": b"post /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
    "a WebSocket to a model": (
        b"GET /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
    "lines that end in LF": b"GET /v1/models HTTP/1.1\nHost: x\nAuthorization: Bearer %s\n\n",
    "10,000 headers": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n%s",
    "a long header": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: " + b"b" * (4 << 20) + b"\r\n\r\n%s",
    "a long target": b"GET /v1/models?" + b"b" * (4 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n%s",
    "an unknown expectation": (
        b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nExpect: 200-ok\r\n"
        b"Content-Length: 0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("request_", ODD.values(), ids=ODD)
def test_what_is_no_request_of_http_1_1_is_refused(request_: bytes, rig: GatewayRig) -> None:
    is_one_refusal(exchanged(rig, request_.replace(b"%s", rig.key.encode())))


def test_an_upgrade_is_not_made_and_an_expectation_is_met_or_ignored(rig: GatewayRig) -> None:
    for more in (
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Expect: 100-continue\r\n",
    ):
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\n{more}"
        head += f"Content-Type: application/json\r\nContent-Length: {len(GOOD)}\r\n\r\n"
        answer = exchanged(rig, head.encode() + GOOD)
        assert b" 101 " not in answer and b"HTTP/1.1 200 " in answer, answer[:300]


PATHS = [
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/sleep", "/wake_up", "/is_sleeping", "/collective_rpc"),
    *("/reset_prefix_cache", "/pause", "/server_info", "/update_weights", "/start_profile", "/invocations", "/docs"),
    *("/v1/..%2fsleep", "/v1/../sleep", "/v1/./completions", "//v1/completions", "/v1//completions", "/V1/completions"),
    *("/v1/completions/", "/v1%2fcompletions", "/v1/%2e%2e/metrics", "/v1/completions;/../../sleep", "/tunnel", "*"),
    *("/v1/completions%3b", "/v1\\completions", "/v1/completions%00", "/v1/%252e%252e/sleep", "/api/gateway/routes"),
    *("/v1/completions%0d%0aHost:%20x", "http://127.0.0.1:22/", "http://x/v1/../sleep", "http://x/sleep", "/proxy"),
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_but_those_of_inference_reaches_a_host(path: str, rig: GatewayRig) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(GOOD)}\r\n\r\n"
    is_one_refusal(exchanged(rig, head.encode() + GOOD))


def test_headers_that_lead_elsewhere_lead_nowhere(rig: GatewayRig) -> None:
    """The request that a model gets is built anew: with its own host, and without what frames or forwards."""
    odd = {"X-Original-URL": "/sleep", "X-Rewrite-URL": "/sleep", "X-HTTP-Method-Override": "GET", "Host": "other:22"}
    odd |= {"X-Forwarded-Host": "other", "Forwarded": "host=other", "Muster-Deployment": "another", "Cookie": "a=b"}
    headers = {**odd, "Authorization": f"Bearer {rig.key}", "Content-Type": "application/json"}
    answer = http_session().post(rig.gateway.url + CHAT, data=GOOD, headers=headers, timeout=PATIENCE)
    head = answer.json()["head"]
    assert head.startswith("post /v1/chat/completions http/1.1\r\nhost: 127.0.0.1:")
    assert not any(word in head for word in ("other", "/sleep", "override", "cookie", "another", rig.key.lower())), head


def exchanged(rig: GatewayRig, payload: bytes) -> bytes:
    """All that is answered until the gateway closes the connection, after the caller has closed its half."""
    with connection_to(rig) as connection:
        with suppress(OSError):  # refused early
            connection.sendall(payload)
            connection.shutdown(socket.SHUT_WR)
        parts = []
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


def connection_to(rig: GatewayRig) -> socket.socket:
    return socket.create_connection(("127.0.0.1", rig.gateway.port), timeout=PATIENCE)


def is_one_refusal(answer: bytes) -> None:
    """A 4xx in OpenAI's shape and nothing after it, or a connection that was closed without an answer."""
    if answer:
        assert answer.count(b"HTTP/1.") == 1, answer[:600]
        head, _, body = answer.partition(b"\r\n\r\n")
        assert is_refusal(int(head.split(b" ")[1]), body), answer[:600]


# Hostile callers: what takes all there is


def test_callers_that_are_slow_or_never_read_keep_nobody_waiting(rig: GatewayRig) -> None:
    begun = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\nContent-Type: application/json\r\n"
    endless = json.dumps({"model": MODEL, "stream": True, "max_tokens": 10_000_000}).encode()
    whole = f"{begun}Content-Length: {len(endless)}\r\n\r\n".encode() + endless
    with ExitStack() as stack:
        silent, heads, bodies, unread = (
            [stack.enter_context(connection_to(rig)) for _ in range(count)] for count in (100, 100, 100, 8)
        )
        for connection in heads:
            connection.sendall(begun.encode())
        for connection in bodies:
            connection.sendall(f"{begun}Content-Length: 1000\r\n\r\n".encode() + b'{"model":')
        for connection in unread:
            connection.sendall(whole)
        for connection in unread:
            assert connection.recv(9) == b"HTTP/1.1 ", "it has begun, and is read no further"
        for _ in range(5):
            is_good(rig)
        assert len(silent) == 100
    eventually(lambda: rig.gateway.metric("muster_gateway_in_flight"), lambda count: count == 0)


# Hostile callers: bodies

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["model", "stream", "max_tokens", "messages", "stream_options", "n", "user", "tools", "\x00"])
OBJECTS = st.lists(st.tuples(FIELDS, VALUES | st.just(MODEL) | st.just({"include_usage": "x"})), max_size=6)
DEEP = st.integers(1, 30_000).map(lambda depth: b'{"model":"bench","x":' + b"[" * depth + b"]" * depth + b"}")
NUMBERS = st.sampled_from([b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 5000, b"0x1", b"1.", b"00", b"1e-400"])
HUGE = NUMBERS.map(lambda number: b'{"model":"bench","max_tokens":' + number + b',"stream":true}')
KEYS = st.sampled_from([b'{"model":"bench","model":"other"}', b'{"model":"bench","\\u006dodel":"other"}'])


def written(fields: list[tuple[str, Any]]) -> bytes:
    """JSON with the fields as they are: also twice, and numbers that JSON does not have."""
    return b"{%s}" % b",".join(f"{json.dumps(name)}:{json.dumps(value)}".encode() for name, value in fields)


def cut(content: tuple[bytes, int, bytes]) -> bytes:
    """Other bytes in the place of what is at a position."""
    body, at, others = content
    return body[: at % (len(body) + 1)] + others + body[at % (len(body) + 1) + len(others) :]


WRITTEN = OBJECTS.map(written)
CUT = st.tuples(WRITTEN | st.just(GOOD), st.integers(0, 1000), st.binary(min_size=1, max_size=6)).map(cut)
TYPES = st.sampled_from(["application/json", "", "text/json; charset=utf-16", "multipart/form-data; boundary=x"])


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(WRITTEN | CUT | DEEP | HUGE | KEYS | st.binary(max_size=200), TYPES, st.sampled_from(sorted(INFERENCE)))
def test_no_body_is_an_error_of_the_gateway(rig: GatewayRig, body: bytes, kind: str, path: str) -> None:
    answer = posted(rig, path, body, kind)
    if answer.status_code != 200:
        assert is_refusal(answer.status_code, answer.content), f"{answer.status_code} {answer.text[:300]}"


def posted(rig: GatewayRig, path: str, body: bytes, kind: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {rig.key}", "Content-Type": kind}
    return http_session().post(rig.gateway.url + path, data=body, headers=headers, timeout=PATIENCE)


@pytest.mark.parametrize("key", ['"\\u006dodel"', '"mode\\u006c"', '"\\u006D\\u006fdel"'])
def test_a_model_that_is_named_twice_is_refused_however_it_is_written(key: str, rig: GatewayRig) -> None:
    """A key may be good for the one and not for the other."""
    for fields in (f'"model":"{MODEL}",{key}:"{MODEL}"', f'{key}:"{MODEL}","model":"{MODEL}"'):
        answer = posted(rig, CHAT, f"{{{fields}}}".encode(), "application/json")
        assert answer.status_code == 400 and is_refusal(400, answer.content), answer.text


def test_a_key_for_one_model_asks_no_other(rig: GatewayRig) -> None:
    made: Json = rig.operator.call("POST", "/api/api-keys", {"name": "other", "role": "caller", "models": ["other"]})
    headers = {"Authorization": f"Bearer {made['key']}", "Content-Type": "application/json"}

    def ask(body: bytes) -> requests.Response:
        return http_session().post(rig.gateway.url + CHAT, data=body, headers=headers, timeout=PATIENCE)

    eventually(lambda: ask(GOOD).status_code, lambda status: status == 403, "the key to be known")
    for body in (GOOD, b'{"model":"other","model":"bench"}', b'{"model":"other","\\u006dodel":"bench"}'):
        answer = ask(body)
        assert answer.status_code in (400, 403) and is_refusal(answer.status_code, answer.content), answer.text
