"""Every route with bodies that nobody should send: malformed, absurd, too large, of wrong types, and ids of nothing."""

import json
from collections.abc import Callable

import pytest

from tests.fixtures.http_client import Client, Json, Operator, Reply, audit, raw
from tests.fixtures.http_workers import Worker
from tests.fixtures.routes import NOBODY, OF_GATEWAYS, OPERATOR_ONLY, REGISTER, SHARED, WITH_BODY, WORKER_ONLY, Route
from tests.fixtures.served import Server

NOT_JSON = [
    b"{",
    b"not json",
    b"'single'",
    b"\xff\xfe\x00",
    b"{} {}",
    b"[]",
    b"null",
    b"7",
    b'"text"',
    b"\xef\xbb\xbf{",
    b"[" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
]

Caller = Callable[[Route], Client]


@pytest.fixture(scope="module")
def caller(host: Worker, admin: Operator, gateway: Operator, anyone: Client) -> Caller:
    """The client that may call a route."""

    def pick(route: Route) -> Client:
        if route in OF_GATEWAYS:
            return gateway
        return anyone if route is REGISTER else admin if route.role else host.client

    return pick


def send(caller: Caller, route: Route, host: Worker, data: bytes) -> Reply:
    return caller(route).call(route.method, route.at(host.worker_id), data=data)


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_what_is_no_json_object_is_400(route: Route, host: Worker, caller: Caller) -> None:
    for data in NOT_JSON:
        send(caller, route, host, data).expect(400, "INVALID_REQUEST")


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_nan_is_400(route: Route, host: Worker, caller: Caller, number: str) -> None:
    for field in route.body:
        data = json.dumps(route.body | {field: "HERE"}).replace('"HERE"', number).encode()
        send(caller, route, host, data).expect(400, "INVALID_REQUEST")


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_a_field_of_a_wrong_type_is_400_and_named(route: Route, host: Worker, caller: Caller) -> None:
    for field in route.body:
        for wrong in ([[1]], 7.5):
            body = json.dumps(route.body | {field: wrong}).encode()
            assert field in send(caller, route, host, body).expect(400, "INVALID_REQUEST")["message"]


REQUIRED = [
    (route, field)
    for route, fields in [
        (REGISTER, ["name", "token", "gpu_info", "system_info"]),
        (WORKER_ONLY[0], ["status"]),
        (WORKER_ONLY[1], ["status"]),
        (WORKER_ONLY[2], ["status"]),
        (SHARED[2], ["image"]),
        (OPERATOR_ONLY[3], ["name", "role"]),
        (OPERATOR_ONLY[17], ["model"]),
    ]
    for field in fields
]


@pytest.mark.parametrize(("route", "field"), REQUIRED, ids=str)
def test_a_missing_field_is_400_and_named(route: Route, field: str, host: Worker, caller: Caller) -> None:
    body = {key: value for key, value in route.body.items() if key != field}
    assert field in send(caller, route, host, json.dumps(body).encode()).expect(400, "INVALID_REQUEST")["message"]


NESTED: list[tuple[Json, str]] = [
    ({"gpu_info": {"count": "2", "devices": []}}, "gpu_info.count"),
    ({"gpu_info": {"count": 1, "devices": [{"index": 0, "name": "A100", "memory_total": "80"}]}}, "memory_total"),
    ({"system_info": {"hostname": 5, "cpu_count": 1, "memory_total": 1, "os": "x"}}, "system_info.hostname"),
    ({"labels": {"pool": 5}}, "labels"),
]


@pytest.mark.parametrize(("wrong", "path"), NESTED)
def test_the_message_names_the_field_by_its_path(server: Server, wrong: Json, path: str) -> None:
    worker = Worker(server.url, server.registration_token)
    assert path in worker.try_register(**wrong).expect(400, "INVALID_REQUEST")["message"]


@pytest.mark.parametrize("route", [route for route in WITH_BODY if not route.role], ids=str)
def test_worker_facing_requests_ignore_unknown_fields(route: Route, host: Worker, caller: Caller) -> None:
    body = route.body | {"of_a_newer_agent": {"deep": [1]}}
    if route is REGISTER:
        body |= {"token": host.token, "name": host.name, "system_info": host.registration()["system_info"]}
    reply = send(caller, route, host, json.dumps(body).encode())
    assert reply.status in (200, 404), reply.text
    host.register()


@pytest.mark.parametrize("route", [route for route in WITH_BODY if route.role], ids=str)
def test_operator_facing_requests_refuse_unknown_fields(route: Route, host: Worker, caller: Caller) -> None:
    body = json.dumps(route.body | {"a_typo": 1}).encode()
    assert "a_typo" in send(caller, route, host, body).expect(400, "INVALID_REQUEST")["message"]


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_two_mebibytes_are_413(route: Route, host: Worker, caller: Caller, server: Server) -> None:
    data = json.dumps(route.body | {"filler": "x" * (2 << 20)}).encode()
    head = f"{route.method} {route.at(host.worker_id)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
    head += f"Content-Type: application/json\r\nAuthorization: Bearer {caller(route).bearer}\r\n\r\n"
    audit(raw(server.url, head.encode() + data, route.method)).expect(413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("route", [r for r in [*SHARED, *OPERATOR_ONLY] if r.unknown], ids=str)
def test_an_id_that_names_nothing_is_404(route: Route, admin: Operator) -> None:
    admin.call(route.method, route.at(NOBODY), route.body).expect(404, route.unknown)


@pytest.mark.parametrize("route", [route for route in WORKER_ONLY if route.unknown], ids=str)
def test_a_workers_id_that_names_nothing_is_404(route: Route, host: Worker) -> None:
    host.client.call(route.method, route.at(host.worker_id), route.body).expect(404, route.unknown)


@pytest.mark.parametrize("odd", ["%00", "%ff%fe", "..", "%2e%2e%2f", "a%20b", "\u00fc", "'", "x" * 3000, "%", "%zz"])
def test_an_id_that_is_none_is_404(odd: str, admin: Operator) -> None:
    for path in (f"/api/workers/{odd}x", f"/api/deployments/x{odd}x", f"/api/operations/x{odd}"):
        assert admin.get(path).status in (400, 404)


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_the_credential_is_checked_before_the_body(route: Route, host: Worker, anyone: Client) -> None:
    if route is not REGISTER:
        anyone.call(route.method, route.at(host.worker_id), data=b"{").expect(401, "UNAUTHENTICATED")


@pytest.mark.parametrize("route", [route for route in WITH_BODY if route.too_low], ids=str)
def test_the_role_is_checked_before_the_body(route: Route, host: Worker, viewer: Operator) -> None:
    viewer.call(route.method, route.at(host.worker_id), data=b"{").expect(403, "FORBIDDEN")


@pytest.mark.parametrize("route", [route for route in WITH_BODY if route.role and "{" in route.path], ids=str)
def test_the_body_is_checked_before_the_resource(route: Route, admin: Operator) -> None:
    admin.call(route.method, route.at(NOBODY), data=b"{").expect(400, "INVALID_REQUEST")


@pytest.mark.parametrize("query", ["wait=-1", "wait=x", "wait=NaN", "lines=x", "lines=-5", "since=yesterday"])
def test_a_query_parameter_that_is_wrong_is_400_and_named(query: str, host: Worker, admin: Operator) -> None:
    said = admin.get(host.path(f"containers/abc/logs?{query}")).expect(400, "INVALID_REQUEST")
    assert query.partition("=")[0] in said["message"]


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "next_token=nonsense", "status=nonsense"])
def test_a_list_parameter_that_is_wrong_is_400(query: str, admin: Operator) -> None:
    admin.get(f"/api/deployments?{query}").expect(400, "INVALID_REQUEST")
