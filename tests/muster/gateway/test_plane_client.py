"""What each answer of a control plane means, and of what only pretends to be one."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from muster.api.gateways import GatewayRegistered, Replica, Routes, TicketKey, UsageReport, UsageSum
from muster.api.version import VERSION
from muster.gateway.plane_client import (
    MAX_ANSWER_BYTES,
    MAX_ROUTES_BYTES,
    MAX_TICKET_KEYS,
    Failed,
    PlaneClient,
    Refused,
    Rejected,
)
from tests.fixtures.broken_servers import answering, silent
from tests.fixtures.ports import free_port
from tests.fixtures.routes_server import KEY, TICKET_KEY, Reply, RoutesServer, error, routes_server

REGISTER, ROUTES, USAGE = "POST /api/gateways", "GET /api/gateway/routes", "POST /api/gateway/usage"


@pytest.fixture
def plane() -> Iterator[RoutesServer]:
    with routes_server() as made:
        yield made


@pytest.fixture
def client(plane: RoutesServer) -> Iterator[PlaneClient]:
    made = PlaneClient(plane.url, KEY)
    yield made
    made.close()


def test_a_gateway_registers_its_url_and_gets_its_ticket_keys(plane: RoutesServer, client: PlaneClient) -> None:
    registered = client.register("https://models.example", "site=lab")
    assert (registered.gateway_id, dict(registered.ticket_keys), registered.renew_in) == (
        "gateway-1",
        {1: TICKET_KEY},
        30,
    )
    assert [(each.url, each.version) for each in plane.registered] == [("https://models.example", VERSION)]
    _, _, headers = plane.asked[0]
    assert headers["authorization"] == f"Bearer {KEY}" and headers["user-agent"] == f"muster-gateway/{VERSION}"


def test_routes_that_did_not_change_are_not_sent_again(plane: RoutesServer, client: PlaneClient) -> None:
    plane.routes = Routes([Replica("d", "qwen", "w", "gpu-1")], [], [], poll=3)
    first = client.routes(None, None, 2)
    assert first.routes == plane.routes and first.poll == 3 and first.etag
    second = client.routes(None, first.etag, first.poll)
    assert (second.routes, second.poll, second.etag) == (None, 3, first.etag)
    plane.routes.poll = 4
    assert client.routes(None, first.etag, first.poll).poll == 4


def test_the_selector_is_a_query(plane: RoutesServer, client: PlaneClient) -> None:
    client.routes("gpu=h200,site=a&b", None, 2)
    client.routes("gpu=h200", None, 2, fresh=True)
    client.routes(None, None, 2, fresh=True)
    assert [path.removeprefix("/api/gateway/routes") for _, path, _ in plane.asked] == [
        "?selector=gpu%3Dh200%2Csite%3Da%26b",
        "?selector=gpu%3Dh200&fresh=true",
        "?fresh=true",
    ]


def test_a_goodbye_to_who_does_not_know_this_gateway_is_none_the_less_one(
    plane: RoutesServer, client: PlaneClient
) -> None:
    client.goodbye("gateway/1")
    plane.say["DELETE /api/gateways/x"] = lambda: error(404, "ROUTE_NOT_FOUND")
    client.goodbye("x")
    assert plane.gone == ["gateway%2F1"]


def test_usage_is_reported(plane: RoutesServer, client: PlaneClient) -> None:
    report = UsageReport("ledger", [UsageSum("k", "qwen", "2026-12-01", 1, 2, 3)])
    client.report(report)
    assert plane.reports == [report]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(401, "UNAUTHENTICATED"), Refused),
        (error(403, "FORBIDDEN"), Refused),
        (error(403, "SOMETHING_ELSE"), Failed),
        (error(404, "ROUTE_NOT_FOUND"), Rejected),
        (error(400, "INVALID_REQUEST"), Rejected),
        (error(413, "PAYLOAD_TOO_LARGE"), Rejected),
        (error(429, "UNAVAILABLE"), Failed),
        (error(408, "UNAVAILABLE"), Failed),
        (error(500, "INTERNAL_ERROR"), Failed),
        (error(503, "UNAVAILABLE"), Failed),
        (Reply(401, b"<html>log in</html>"), Failed),
        (Reply(403, b'{"message": "Missing Authentication Token"}'), Failed),
        (Reply(404, b"not here"), Failed),
        (Reply(502, b""), Failed),
        (Reply(302, b"", {"Location": "https://elsewhere.example/"}), Failed),
        (Reply(200, b"<html>"), Failed),
        (Reply(200, b"null"), Failed),
        (Reply(200, b"[" * 50_000), Failed),
        (Reply(200, b"x" * (MAX_ANSWER_BYTES + 1)), Failed),
    ],
    ids=str,
)
def test_only_the_control_planes_own_no_counts_as_one(
    plane: RoutesServer, client: PlaneClient, reply: Reply, kind: type[Exception]
) -> None:
    plane.say[REGISTER] = plane.say[USAGE] = lambda: reply
    with pytest.raises(kind) as raised:
        client.register("https://models.example", "site=lab")
    assert KEY not in str(raised.value) and len(str(raised.value)) < 1000
    if reply.status != 200:
        with pytest.raises(kind):
            client.report(UsageReport("ledger", []))


def test_a_redirect_is_not_followed_with_the_key(plane: RoutesServer, client: PlaneClient) -> None:
    plane.say[ROUTES] = lambda: Reply(307, b"", {"Location": plane.url + "/elsewhere"})
    with pytest.raises(Failed, match="redirects elsewhere"):
        client.routes(None, None, 2)
    assert plane.count("") == 1


@pytest.mark.parametrize(("header", "after"), [("7", 7.0), ("soon", None), ("-1", None), ("99999", None)])
def test_the_control_plane_may_ask_for_a_pause(
    plane: RoutesServer, client: PlaneClient, header: str, after: float | None
) -> None:
    plane.say[ROUTES] = lambda: Reply(503, error(503, "UNAVAILABLE").body, {"Retry-After": header})
    with pytest.raises(Failed) as failed:
        client.routes(None, None, 2)
    assert failed.value.after == after


@pytest.mark.parametrize(
    "registered",
    [
        GatewayRegistered("", [TicketKey(1, TICKET_KEY)], 30),
        GatewayRegistered("x" * 500, [TicketKey(1, TICKET_KEY)], 30),
        GatewayRegistered("g", [TicketKey(1, b"")], 30),
        GatewayRegistered("g", [TicketKey(1, b"short")], 30),
        GatewayRegistered("g", [TicketKey(1, b"x" * 5000)], 30),
        GatewayRegistered("g", [TicketKey(number, TICKET_KEY) for number in range(MAX_TICKET_KEYS + 1)], 30),
    ],
    ids=str,
)
def test_keys_with_which_anybody_could_make_tickets_are_not_taken(
    plane: RoutesServer, client: PlaneClient, registered: GatewayRegistered
) -> None:
    plane.say[REGISTER] = lambda: Reply(200, msgspec.json.encode(registered))
    with pytest.raises(Failed):
        client.register("https://models.example", "site=lab")


@pytest.mark.parametrize(("given", "taken"), [(0.0, 5.0), (-1.0, 5.0), (1e300, 120.0), (30.0, 30.0)])
def test_the_pause_between_registrations_is_bounded(
    plane: RoutesServer, client: PlaneClient, given: float, taken: float
) -> None:
    plane.renew_in = given
    assert client.register("https://models.example", "site=lab").renew_in == taken


@pytest.mark.parametrize(("given", "taken"), [(0.0, 0.5), (1e300, 60.0), (10.0, 10.0)])
def test_the_pause_between_polls_is_bounded(
    plane: RoutesServer, client: PlaneClient, given: float, taken: float
) -> None:
    plane.routes.poll = given
    assert client.routes(None, None, 2).poll == taken


def test_an_etag_that_no_header_carries_is_not_kept(plane: RoutesServer, client: PlaneClient) -> None:
    plane.say[ROUTES] = lambda: Reply(200, msgspec.json.encode(plane.routes), {"ETag": "x" * 1000})
    assert client.routes(None, None, 2).etag is None


def test_a_304_that_nobody_asked_for_is_no_answer(plane: RoutesServer, client: PlaneClient) -> None:
    plane.say[ROUTES] = lambda: Reply(304)
    with pytest.raises(Failed, match="304"):
        client.routes(None, None, 2)


def test_routes_that_never_end_are_given_up() -> None:
    huge = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * (MAX_ROUTES_BYTES + 1)
    with answering(huge) as port, pytest.raises(Failed, match="bytes"):
        PlaneClient(f"http://127.0.0.1:{port}", KEY).routes(None, None, 2)


def test_nobody_who_listens_and_nobody_who_answers_are_failures() -> None:
    with pytest.raises(Failed, match="the connection was refused"):
        PlaneClient(f"http://127.0.0.1:{free_port()}", KEY).routes(None, None, 2)
    with silent() as port, pytest.raises(Failed, match="timed out"):
        PlaneClient(f"http://127.0.0.1:{port}", KEY, timeout=(1.0, 0.01)).routes(None, None, 2)


def test_unknown_fields_are_ignored(plane: RoutesServer, client: PlaneClient) -> None:
    body = {"replicas": [{"deployment_id": "d", "model": "m", "worker_id": "w", "worker": "n", "new": 1}]}
    body |= {"starting": [], "callers": [], "poll": 2, "more": []}  # type: ignore[dict-item]
    plane.say[ROUTES] = lambda: Reply(200, msgspec.json.encode(body))
    routes = client.routes(None, None, 2).routes
    assert routes is not None and routes.replicas[0].model == "m"


@pytest.mark.parametrize("field", ["replicas", "starting", "callers", "poll"])
@pytest.mark.parametrize("value", [None, True, "x", {"a": 1}, [1], [[]]], ids=str)
def test_wrong_types_are_no_routes(plane: RoutesServer, client: PlaneClient, field: str, value: object) -> None:
    body = {"replicas": [], "starting": [], "callers": [], "poll": 2, field: value}
    plane.say[ROUTES] = lambda: Reply(200, msgspec.json.encode(body))
    with pytest.raises(Failed, match="not a control plane's"):
        client.routes(None, None, 2)
