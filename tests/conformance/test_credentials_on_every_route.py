"""Every route with no credential, a malformed one, another worker's, and a role too low."""

import pytest

from tests.fixtures.http_client import Client, Operator, audit, raw
from tests.fixtures.http_workers import Worker
from tests.fixtures.routes import EVERY, GUARDED, NOBODY, OPEN, OPERATOR_ONLY, REGISTER, SHARED, WORKER_ONLY, Route
from tests.fixtures.served import Server

MALFORMED = [
    "",
    "Bearer",
    "Bearer ",
    "Basic YWRtaW46YWRtaW4=",
    "hunter2hunter2hunter2",
    "Bearer two words-of-a-secret",
    "Bearer -1",
    "Bearer ..",
    "Bearer " + "x" * 8000,
    "Bearer " + "\u00fc\u00ff\u0080" * 8,
]


@pytest.fixture(scope="module")
def stranger(server: Server) -> Client:
    """Another worker's client."""
    worker = Worker(server.url, server.registration_token)
    worker.register()
    worker.beat()
    return worker.client


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_no_credential_is_401(route: Route, host: Worker, anyone: Client) -> None:
    anyone.call(route.method, route.at(host.worker_id), route.body).expect(401, "UNAUTHENTICATED")


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_a_malformed_credential_is_401(route: Route, host: Worker, anyone: Client) -> None:
    for value in MALFORMED:
        reply = anyone.call(route.method, route.at(host.worker_id), route.body, headers={"Authorization": value})
        audit(reply, value.partition(" ")[2]).expect(401, "UNAUTHENTICATED")


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_a_credential_that_nobody_was_given_is_401(route: Route, host: Worker, server: Server) -> None:
    for known in (server.admin_key, host.client.bearer or ""):
        forged = Client(server.url, known[:-6] + "AAAAAA")
        forged.call(route.method, route.at(host.worker_id), route.body).expect(401, "UNAUTHENTICATED")


@pytest.mark.parametrize("route", [*WORKER_ONLY, *SHARED], ids=str)
def test_another_workers_token_is_403(route: Route, host: Worker, stranger: Client) -> None:
    stranger.call(route.method, route.at(host.worker_id), route.body).expect(403, "FORBIDDEN")
    stranger.call(route.method, route.at(NOBODY), route.body).expect(403, "FORBIDDEN")


@pytest.mark.parametrize("route", OPERATOR_ONLY, ids=str)
def test_a_worker_token_opens_nothing_but_worker_routes(route: Route, host: Worker) -> None:
    host.client.call(route.method, route.at(host.worker_id), route.body).expect(403, "FORBIDDEN")


@pytest.mark.parametrize("route", [each for each in OPERATOR_ONLY if "{worker_id}" in each.path], ids=str)
def test_nor_does_the_token_that_it_registered_with(route: Route, server: Server, operator: Operator) -> None:
    token = operator.post("/api/registration-tokens", {}).expect(201)["token"]
    worker = Worker(server.url, token)
    worker.register(bearer_from_body=True)
    worker.beat()
    worker.client.call(route.method, route.at(worker.worker_id), route.body).expect(403, "FORBIDDEN")


@pytest.mark.parametrize("route", WORKER_ONLY, ids=str)
def test_an_api_key_on_a_route_for_workers_is_403(route: Route, host: Worker, admin: Operator) -> None:
    admin.call(route.method, route.at(host.worker_id), route.body).expect(403, "FORBIDDEN")


@pytest.mark.parametrize("route", [route for route in GUARDED if route.too_low], ids=str)
def test_a_role_too_low_is_403(route: Route, host: Worker, viewer: Operator, operator: Operator) -> None:
    client = {"viewer": viewer, "operator": operator}[str(route.too_low)]
    client.call(route.method, route.at(host.worker_id), route.body).expect(403, "FORBIDDEN")
    client.call(route.method, route.at(NOBODY), route.body).expect(403, "FORBIDDEN")


@pytest.mark.parametrize("route", [route for route in OPERATOR_ONLY if route.role == "viewer"], ids=str)
def test_a_viewer_may_get_all_but_credentials(route: Route, host: Worker, viewer: Operator) -> None:
    do_not_wait = "?wait=0" if "{" in route.path else ""
    assert viewer.call(route.method, route.at(host.worker_id) + do_not_wait).status != 403


@pytest.mark.parametrize("route", OPEN, ids=str)
def test_health_and_openapi_need_no_credential(route: Route, anyone: Client) -> None:
    anyone.get(route.path).expect(200)
    anyone.get(route.path, headers={"Authorization": "Bearer nonsense-of-a-token"}).expect(200)


def test_only_an_admin_makes_takeover_tokens(operator: Operator, admin: Operator) -> None:
    operator.post("/api/registration-tokens", {"takeover": True}).expect(403, "FORBIDDEN")
    admin.post("/api/registration-tokens", {"takeover": True}).expect(201)


@pytest.mark.parametrize("token", ["", "no-such-token-at-all", "x" * 8000, "-1", "\x00\x01", "\U0001f600" * 5])
def test_register_with_a_token_that_nobody_was_given_is_401(server: Server, token: str) -> None:
    audit(Worker(server.url, token).try_register(), token).expect(401, "UNAUTHENTICATED")


def test_register_with_a_key_in_the_place_of_the_token_is_401(server: Server) -> None:
    audit(Worker(server.url, server.admin_key).try_register(), server.admin_key).expect(401, "UNAUTHENTICATED")


@pytest.mark.parametrize("route", EVERY, ids=str)
def test_a_header_that_is_huge_is_refused_in_the_same_shape(route: Route, host: Worker, server: Server) -> None:
    head = f"{route.method} {route.at(host.worker_id)} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
    sent = f"{head}Authorization: Bearer {'y' * 100_000}\r\n\r\n".encode()
    reply = raw(server.url, sent, route.method)
    assert reply.status < 500, reply.text[:300]
    assert set(reply.body) == {"error_code", "message"} and "yyyy" not in reply.text


def test_a_credential_in_the_path_is_not_echoed(server: Server, admin: Operator) -> None:
    admin.get(f"/api/workers/{server.admin_key}").expect(404, "WORKER_NOT_FOUND")
    assert REGISTER.role == ""
    audit(admin.get(f"/api/{server.registration_token}"), server.registration_token).expect(404, "ROUTE_NOT_FOUND")
