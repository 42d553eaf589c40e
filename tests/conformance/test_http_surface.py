"""Unknown routes and methods, HEAD and OPTIONS, chunked bodies, and requests that are hardly HTTP."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.fixtures.http_client import Client, Operator, audit, raw
from tests.fixtures.routes import EVERY, NOBODY, WITH_BODY, Route
from tests.fixtures.served import Server
from tests.fixtures.waiting import PATIENCE

UNKNOWN = ["/api", "/api/", "/api/nothing", "/api/workers/a/b/c/d/e/f", "/favicon.ico", "/api//workers", "/%2e"]


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH", "PUT"])
def test_an_unknown_route_is_404_with_or_without_a_credential(
    path: str, method: str, anyone: Client, admin: Operator
) -> None:
    for client in (anyone, admin):
        client.call(method, path).expect(404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("route", EVERY, ids=str)
def test_another_method_is_405_before_any_credential(route: Route, anyone: Client, admin: Operator) -> None:
    for client in (anyone, admin):
        reply = client.call("PUT", route.at(NOBODY))
        reply.expect(405, "METHOD_NOT_ALLOWED")
        assert route.method in reply.headers["Allow"]


@pytest.mark.parametrize("path", sorted({route.at(NOBODY) for route in EVERY}))
def test_options_is_answered_or_refused_in_shape(path: str, anyone: Client, admin: Operator) -> None:
    for client in (anyone, admin):
        reply = client.call("OPTIONS", path)
        assert reply.status in (200, 204, 405)
        assert "Allow" in reply.headers


@pytest.mark.parametrize("path", sorted({route.at(NOBODY) for route in EVERY}))
def test_head_has_no_body_and_no_5xx(path: str, server: Server) -> None:
    request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=PATIENCE) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    status = int(answer.split()[1])
    assert status in (200, 401, 404, 405), answer
    assert answer.partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize("method", ["BREW", "TRACE", "get", "CONNECT"])
def test_a_method_that_nobody_knows_is_405(method: str, server: Server) -> None:
    reply = audit(raw(server.url, f"{method} /api/health HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
    assert reply.status in (400, 405), reply.text


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_a_chunked_body_is_refused_and_never_read_as_the_next_request(route: Route, server: Server) -> None:
    smuggled = b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
    request = (
        f"{route.method} {route.at(NOBODY)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.admin_key}\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n{len(smuggled):x}\r\n"
    ).encode()
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=PATIENCE) as connection:
        connection.sendall(request + smuggled + b"\r\n0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    status = int(answer.split()[1])
    assert 400 <= status < 500, answer
    assert b'"error_code"' in answer and server.admin_key.encode() not in answer
    assert answer.count(b"HTTP/1.") == 1, "the body was parsed as a request of its own"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_chunked_body_through_a_library_is_refused(method: str, admin: Operator) -> None:
    reply = admin.call(method, "/api/deployments", data=iter([b'{"model": ', b'"facebook/opt-125m"}']))
    assert 400 <= reply.status < 500


GARBAGE = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/health HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 500 + b"\r\n",
    b"GET /api/health HTTP/1.1\r\nno colon here\r\n\r\n",
    b"POST /api/deployments HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /api/deployments HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    b"POST /api/deployments HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n",
    b"POST /api/deployments HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:24]))
def test_garbage_never_takes_the_server_down(garbage: bytes, server: Server, anyone: Client) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=PATIENCE) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"<html" not in answer.lower() and b"Traceback" not in answer
    if answer.startswith(b"HTTP/1"):
        assert int(answer.split()[1]) < 500, answer[:300]
        assert b'"error_code"' in answer or b" 200 " in answer, answer[:300]
    anyone.get("/api/health").expect(200)


def test_openapi_and_the_documented_routes_are_the_same(anyone: Client) -> None:
    document = anyone.get("/api/openapi.json").expect(200)
    verbs = {"get", "post", "patch", "delete", "put"}
    described = {f"{verb.upper()} {path}" for path, item in document["paths"].items() for verb in item if verb in verbs}
    documented = {str(route) for route in EVERY}
    assert documented - described == set()
    assert {line for line in described - documented if " /api/" in line} == set()
