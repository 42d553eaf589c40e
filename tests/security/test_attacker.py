"""An attacker on the network: every kind of credential that is none on every route, and tricks of path and of framing.

What tests/conformance holds already (no credential, forged ones, other workers', roles too low) is not said again.
"""

from __future__ import annotations

import base64
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.fixtures.http_client import Client, Json, Operator, Reply, audit, raw
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.routes import GUARDED, Route
from tests.fixtures.served import Server
from tests.fixtures.waiting import PATIENCE, eventually

Headers = dict[str, str]


# Credentials


@pytest.fixture(scope="module")
def credentials(server: Server, host: Worker, admin: Operator) -> Iterator[dict[str, tuple[Headers, str]]]:
    """What opens nothing, by what it is: headers and query."""
    spent = _made(admin, "registration-tokens", {"max_uses": 1})
    Worker(server.url, spent["token"]).register()
    expired = _made(admin, "registration-tokens", {"expires_in": 1, "max_uses": 1000})
    revoked_token = _made(admin, "registration-tokens", {})
    revoked_key = _made(admin, "api-keys", {"name": "gone", "role": "admin"})
    for path in (f"registration-tokens/{revoked_token['token_id']}", f"api-keys/{revoked_key['key_id']}"):
        admin.delete(f"/api/{path}").expect(200)
    removed = Worker(server.url, server.registration_token)
    removed.register()
    eventually(lambda: Worker(server.url, expired["token"]).try_register().status, lambda status: status == 401)
    key, worker = server.admin_key, str(host.client.bearer)
    basic = base64.b64encode(f"admin:{key}".encode()).decode()
    bearers = {
        "a registration token": server.registration_token,
        "a takeover token": _made(admin, "registration-tokens", {"takeover": True})["token"],
        "a used-up token": spent["token"],
        "an expired token": expired["token"],
        "a revoked token": revoked_token["token"],
        "a revoked key": revoked_key["key"],
        "a key, percent-encoded": quote(key).replace("_", "%5F"),
        "a key in quotes": f'"{key}"',
        "a key and more": key + "x",
        "a key cut short": key[:-1],
        "a key in capitals": key.upper(),
        "a key twice": f"{key} {key}",
        "a key behind a NUL": f"x{key}",
        "two keys": f"{key},{key}",
        "an id of a key": revoked_key["key_id"],
        "a worker's id": host.worker_id,
        "a worker's token without its secret": f"mst_wrk_{host.worker_id}_",
        "a worker's token with another's secret": worker[:48] + str(removed.client.bearer)[48:],
        "64 KiB": "y" * 60_000,
    }
    yield {
        **{what: ({"Authorization": f"Bearer {secret}"}, "") for what, secret in bearers.items()},
        "a key by Basic": ({"Authorization": f"Basic {basic}"}, ""),
        "a key by Token": ({"Authorization": f"Token {key}"}, ""),
        "a key without a scheme": ({"Authorization": key}, ""),
        "a key by BearerX": ({"Authorization": f"BearerX {key}"}, ""),
        "a key as a cookie": ({"Cookie": f"Authorization=Bearer {key}; token={key}"}, ""),
        "a key in another header": ({"X-Api-Key": key, "X-Forwarded-Authorization": f"Bearer {key}"}, ""),
        "a key as proxy's": ({"Proxy-Authorization": f"Bearer {key}"}, ""),
        "a key in the query": ({}, f"token={key}&key={key}&access_token={key}&authorization=Bearer%20{key}"),
        "a worker's token in the query": ({}, f"token={worker}&access_token={worker}"),
        "a rewritten address": ({"X-Original-URL": "/api/health", "X-Rewrite-URL": "/api/health"}, ""),
        "a method that is overridden": ({"X-HTTP-Method-Override": "GET", "X-Forwarded-For": "127.0.0.1"}, ""),
    }


def _made(admin: Operator, kind: str, body: Json) -> Json:
    return admin.post(f"/api/{kind}", body).expect(201)


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_what_is_no_credential_opens_nothing(
    route: Route, credentials: dict[str, tuple[Headers, str]], host: Worker, server: Server
) -> None:
    for what, (headers, query) in credentials.items():
        path = route.at(host.worker_id) + (f"?{query}" if query else "")
        reply = Client(server.url).call(route.method, path, route.body, headers=headers)
        secret = headers.get("Authorization", "").rpartition(" ")[2]
        audit(reply, secret, server.admin_key, str(host.client.bearer))
        refused = reply.status == 401 or (what == "64 KiB" and reply.status in (400, 401))
        assert refused, f"{what}: {reply.status} {reply.text[:200]}"


def test_two_authorizations_are_refused_or_one_of_them(server: Server) -> None:
    good, bad = (f"Authorization: Bearer {secret}\r\n" for secret in (server.admin_key, "nonsense"))
    for lines in (good + bad, bad + good):
        head = f"GET /api/workers HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n"
        reply = audit(raw(server.url, head.encode()), server.admin_key)
        assert reply.status in (200, 400, 401)


# Registration


def test_a_name_is_not_taken_by_forging_what_the_machine_says_of_itself(
    agent: Agent, registration_token: Callable[..., Json]
) -> None:
    """With another token, whatever else is right; with the token that it joined with, but not its machine."""
    shown = {"hostname": agent.host, "cpu_count": 1, "memory_total": 1, "os": "x"}
    for fields in (
        {"token": registration_token()["token"], "machine_id": agent.machine_id, "system_info": shown},
        {"token": registration_token(takeover=True)["token"], "machine_id": agent.machine_id, "system_info": shown},
        {"token": agent.token, "machine_id": "forged", "system_info": shown},
        {"token": agent.token, "machine_id": None, "system_info": shown},
        {"token": agent.token, "machine_id": "", "system_info": shown},
    ):
        body = agent.registration() | fields | {"boot_id": "an-attackers"}
        reply = Client(agent.client.url).post("/api/workers/register", body)
        assert reply.status in (400, 409), reply.text
    agent.beat()


def test_a_registration_that_was_overheard_is_good_for_its_own_machine_alone(
    server: Server, registration_token: Callable[..., Json]
) -> None:
    agent = Agent(server.url, registration_token()["token"])
    overheard = agent.registration()
    agent.register()
    agent.beat()
    for change in ({"name": "another"}, {"machine_id": "another"}, {"machine_id": "another", "boot_id": "another"}):
        reply = Client(server.url).post("/api/workers/register", overheard | change)
        assert reply.status in (401, 409), reply.text
    agent.beat()


def test_names_that_look_alike_are_not_the_same(server: Server, worker: Worker) -> None:
    for name in (worker.name.upper(), worker.name + "\u00a0", worker.name.replace("o", "\u043e")):
        other = Worker(server.url, server.registration_token, name=name)
        if other.try_register().status == 200:
            assert other.register()["worker_id"] != worker.worker_id
    worker.beat()


# A worker that was taken over


def test_a_worker_reports_on_nothing_of_another(agent: Agent, server: Server, operator: Operator) -> None:
    victim = Agent(server.url, server.registration_token)
    victim.register()
    deployment_id = operator.deploy(victim.worker_id)["deployment_id"]
    victim.start(deployment_id)
    asked = operator.get(victim.path("containers/c/logs?wait=0")).expect(202)["operation_id"]
    command_id = victim.fetch("container_logs")["command_id"]
    agent.report(deployment_id, "error", error_code="X", logs="forged").expect(404, "DEPLOYMENT_NOT_FOUND")
    agent.result(command_id, output={"logs": "forged"}).expect(404, "OPERATION_NOT_FOUND")
    agent.beat(deployment_id)
    shown = operator.deployment(deployment_id)
    assert (shown["status"], shown["worker_id"], shown["last_crash"]) == ("running", victim.worker_id, None)
    assert "forged" not in str(operator.operation(asked))


def test_a_worker_registers_under_no_name_but_its_own(agent: Agent, worker: Worker) -> None:
    before = worker.worker_id
    for body in (
        agent.registration(token=agent.client.bearer) | {"name": worker.name},
        worker.registration(token=agent.client.bearer),
    ):
        reply = agent.client.post("/api/workers/register", body)
        assert reply.status in (401, 409), reply.text
    worker.beat()
    assert worker.register()["worker_id"] == before


def test_a_worker_is_told_of_its_own_deployments_alone(agent: Agent, server: Server, operator: Operator) -> None:
    victim = Agent(server.url, server.registration_token)
    victim.register()
    deployment_id = operator.deploy(victim.worker_id, env={"A": "a secret of another"})["deployment_id"]
    assert "a secret of another" not in agent.try_beat(deployment_id).text
    assert "a secret of another" in victim.try_beat().text


@pytest.mark.parametrize("odd", ["\x9b2J", "a\u202eb", "a\u2028b", "a\u2066b", "a\x85b", "a\nb", "a\x1b[2Jb"])
def test_a_name_is_a_line_of_printable_text(server: Server, odd: str, admin: Operator) -> None:
    Worker(server.url, server.registration_token, name=odd).try_register().expect(400, "INVALID_REQUEST")
    admin.post("/api/api-keys", {"name": odd, "role": "viewer"}).expect(400, "INVALID_REQUEST")
    admin.post("/api/deployments", {"model": odd}).expect(400, "INVALID_REQUEST")


# Paths


TRICKS = [
    *("..%2f..%2fapi-keys", "%2e%2e%2fworkers", "..", ".", "%2e%2e", "..;", "..%5c..", "%252e%252e%252f"),
    *("%00", "a%00b", "%0d%0aSet-Cookie:%20a=b", "%0a", "%c0%ae%c0%ae", "%ff%fe", "%u002e", "%e2%80%ae", "*", "%25"),
    *("--privileged", "-f", "%24%28reboot%29", "%3breboot", "%60id%60", "%7cid", "'%20or%20'1'='1", "%3cscript%3e"),
    *("vllm%2f..%2f..%2fx", "%2fetc%2fpasswd", "file:%2f%2f%2fetc", "x" * 3000, "0", "null", "__proto__", "{}"),
]
PARAMETERS = ("worker_id", "deployment_id", "operation_id", "container_id", "image_id", "model", "token_id", "key_id")


def _with(route: Route, parameter: str, trick: str, worker_id: str) -> str:
    path = route.path.replace(f"{{{parameter}}}", trick)
    return Route(route.method, path, route.role).at(worker_id)


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_tricks_of_path_lead_nowhere(
    parameter: str, away: Worker, admin: Operator, server: Server, thorough: bool
) -> None:
    for route in (each for each in GUARDED if f"{{{parameter}}}" in each.path and each.role):
        for trick in TRICKS if thorough else TRICKS[::3]:
            reply = _raw_call(server, route, _with(route, parameter, trick, away.worker_id))
            assert reply.status in (400, 404, 405, 409), f"{route} {trick}: {reply.status} {reply.text[:200]}"
            assert "Set-Cookie" not in reply.headers and "<script" not in reply.text
            audit(reply, server.admin_key)
    admin.get(f"/api/workers/{away.worker_id}").expect(200)


def _raw_call(server: Server, route: Route, path: str) -> Reply:
    """As it is: a library would put the path in order."""
    body = b"" if route.body is None else b"{}"
    head = f"{route.method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.admin_key}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return raw(server.url, head.encode("latin-1") + body, route.method)


IMAGES = [
    "--privileged",
    "../../x",
    "a;reboot",
    "$(id)",
    "a b",
    "a\nb",
    "a\x00",
    "",
    "/etc/passwd",
    "-v/:/x",
    "\u00fc",
    "a" * 513,
]


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_no_image_reference_reaches_no_worker(image: str, worker: Worker, admin: Operator) -> None:
    admin.post(worker.path("images/pull"), {"image": image}).expect(400, "INVALID_REQUEST")
    admin.post("/api/deployments", {"model": "m", "image": image, "gpus": 0}).expect(400, "INVALID_REQUEST")
    assert worker.commands() == []


# Framing


SMUGGLED = b"GET /api/workers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
FRAMES = {
    "two lengths": b"Content-Length: 3\r\nContent-Length: %d\r\n",
    "two lengths in one": b"Content-Length: 3, %d\r\n",
    "the same length twice in one": b"Content-Length: 3, 3\r\nX: %d\r\n",
    "a length with a sign": b"Content-Length: +3\r\nX: %d\r\n",
    "a length in hex": b"Content-Length: 0x3\r\nX: %d\r\n",
    "a length of other digits": b"Content-Length: \xb2\r\nX: %d\r\n",
    "a length with a space before the colon": b"Content-Length : 3\r\nX: %d\r\n",
    "a folded length": b"Content-Length:\r\n 3\r\nX: %d\r\n",
    "a length and chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nX: %d\r\n",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nX: %d\r\n",
    "hidden chunks": b"Transfer-Encoding: xchunked\r\nX: %d\r\n",
    "chunks with a tab": b"Transfer-Encoding:\tchunked\r\nX: %d\r\n",
    "chunks with a space before the colon": b"Transfer-Encoding : chunked\r\nX: %d\r\n",
    "folded chunks": b"X: y\r\n Transfer-Encoding: chunked\r\nY: %d\r\n",
    "chunks behind a bare CR": b"X: y\rTransfer-Encoding: chunked\r\nY: %d\r\n",
    "chunks behind a bare LF": b"X: y\nTransfer-Encoding: chunked\r\nY: %d\r\n",
    "no colon": b"Content-Length 3\r\nX: %d\r\n",
    "a line that begins with a space": b" Content-Length: 3\r\nX: %d\r\n",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_no_frame_hides_a_second_request(frame: bytes, server: Server) -> None:
    """Whoever shares a connection with others (behind a proxy) could otherwise speak in their name."""
    hidden = SMUGGLED % server.admin_key.encode()
    head = b"POST /api/workers/register HTTP/1.1\r\nHost: x\r\n" + frame % (len(hidden) + 3)
    answer = _exchange(server, head + b"\r\n{}\n" + hidden)
    assert answer.count(b"HTTP/1.") == 1, answer[:600]
    assert b" 400 " in answer.split(b"\r\n")[0], answer[:300]
    assert b"workers" not in answer.partition(b"\r\n\r\n")[2] and b"Connection: close" in answer


FLOODS = {
    "many headers": b"X-A: b\r\n" * 20_000,
    "one long header": b"X-A: " + b"b" * (4 << 20) + b"\r\n",
    "one long name": b"X" * (4 << 20) + b": b\r\n",
    "many cookies": b"Cookie: a=b\r\n" * 200,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_headers_is_refused(flood: bytes, server: Server, anyone: Client) -> None:
    answer = _exchange(server, b"GET /api/workers HTTP/1.1\r\nHost: x\r\n" + flood + b"\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401")), answer[:200]
    anyone.get("/api/health").expect(200)


def test_those_who_say_nothing_keep_nobody_else_waiting(server: Server) -> None:
    where = urlsplit(server.url)
    half = b"POST /api/workers/register HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"

    def nobody_waits() -> bool:
        """Whether a new connection is answered while the server still has all the silent ones."""
        with ExitStack() as stack:
            address = (where.hostname or "", where.port or 80)
            silent = [stack.enter_context(socket.create_connection(address)) for _ in range(150)]
            for each in silent[:75]:
                each.sendall(half)
            raw(server.url, b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect(200)
            return not select.select(silent, [], [], 0)[0]

    eventually(nobody_waits, what="an answer before the server hangs up on one that is silent")


def _exchange(server: Server, request: bytes) -> bytes:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=PATIENCE) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        chunks: list[Any] = []
        try:
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        except ConnectionError:
            pass
    return b"".join(chunks)
