"""The same request by either gateway, and by none: one answer, whatever was encoded, repeated or in bytes."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from chalice.app import Chalice, Response
from hypothesis import given
from hypothesis import strategies as st

from app import app as real
from chalicelib.routes.api_gateway import App
from chalicelib.routes.matching import Routes
from infra.local.asgi import Request
from tests.infra.cloud.lambda_emulator import Event, http_event, read, rest_event

SECRET = "mst_key_do_not_echo_this_one"
Headers = list[tuple[str, str]]


def echo() -> App:
    """What arrives behind all conversions."""
    app = App("echo", configure_logs=False)

    def show(**ids: str) -> Response:
        request: Any = app.current_request
        seen = {
            "route": request.path,
            "method": request.method,
            "ids": ids,
            "query": dict(request.query_params._dict) if request.query_params else {},
            "headers": dict(request.headers),
            "body": base64.b64encode(bytes(request.raw_body or b"")).decode(),
        }
        return Response(json.dumps(seen, sort_keys=True), {"Content-Type": "application/json", "X-Many": ["a", "b"]})

    for path in ("/things/{one}", "/things/{one}/of/{other}"):
        app.route(path, methods=["GET", "POST"], content_types=["*/*"], name=path.replace("/", "_"))(show)

    @app.route("/bytes", content_types=["*/*"])
    def all_bytes() -> Response:
        return Response(bytes(range(256)), {"Content-Type": "application/octet-stream"})

    return app


ECHO = echo()
Answer = tuple[int, dict[str, str], bytes]


def by_http(app: Chalice, method: str, target: str, headers: Headers, body: bytes) -> Answer:
    return read(app(json.loads(json.dumps(http_event(method, target, headers, body, app.routes))), None))


def by_rest(app: Chalice, method: str, target: str, headers: Headers, body: bytes) -> Answer:
    return read(app(json.loads(json.dumps(rest_event(method, target, headers, body, app.routes))), None))


def by_local_server(method: str, target: str, headers: Headers, body: bytes) -> tuple[Any, Any, bytes]:
    """The parameters of the path, the query, and the body, as the local server hands them to the app."""
    path, _, query = target.partition("?")
    fields = {name.lower(): value for name, value in headers}
    event = Request(method, path, query, fields).event(*Routes(ECHO.routes).match(path), body)
    return event["pathParameters"], event["multiValueQueryStringParameters"] or {}, event["body"] or b""


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
parameters = st.one_of(
    texts, st.sampled_from(["facebook/opt-125m", "sha256:ab%2Fcd", "a%20b", "%", "?", "a?b", "+", " "])
)
names = st.text("abcxyz", min_size=1, max_size=3)
queries = st.lists(st.tuples(names, texts | st.just("")), max_size=4)
values = st.text("abc ,=;%", min_size=1, max_size=6).map(lambda text: text.strip() or "x")
headers = st.lists(st.tuples(st.sampled_from(["X-One", "x-two", "X-THREE"]), values), max_size=5)
bodies = st.one_of(st.just(b""), st.binary(max_size=40), texts.map(str.encode))
kinds = st.sampled_from(["application/json", "text/plain", "application/octet-stream", "image/png", None])


@given(parameters, parameters | st.none(), queries, headers, bodies, kinds, st.sampled_from(["GET", "POST"]))
def test_what_arrives_is_the_same_and_is_what_was_sent(
    one: str,
    other: str | None,
    query: list[tuple[str, str]],
    several: Headers,
    body: bytes,
    kind: str | None,
    method: str,
) -> None:
    path = f"/things/{quote(one, safe='')}" + (f"/of/{quote(other, safe='')}" if other else "")
    asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query)
    target = f"{path}?{asked}" if asked else path
    sent = [*several, *([("Content-Type", kind)] if kind else [])]
    answers = [by(ECHO, method, target, sent, body) for by in (by_http, by_rest)]
    assert answers[0] == answers[1]
    status, given_headers, content = answers[0]
    assert (status, given_headers["x-many"]) == (200, "a,b")
    seen = json.loads(content)
    encoded = {"one": quote(one, safe="")} | ({"other": quote(other, safe="")} if other else {})
    assert seen["ids"] == encoded, "encoded once, as the local server hands it on; routes decode it"
    assert seen["query"] == parse_qs(asked, keep_blank_values=True)
    assert base64.b64decode(seen["body"]) == body
    for name in {name.lower() for name, _ in several}:
        assert seen["headers"][name] == ",".join(value for each, value in several if each.lower() == name)
    assert by_local_server(method, target, sent, body) == (seen["ids"], seen["query"], body)


@pytest.mark.parametrize("by", [by_http, by_rest])
def test_bytes_are_base64_in_between(by: Any) -> None:
    status, kept, content = by(ECHO, "GET", "/bytes", [("Accept", "application/octet-stream")], b"")
    assert (status, kept["content-type"], content) == (200, "application/octet-stream", bytes(range(256)))


@pytest.mark.parametrize("make", [http_event, rest_event])
def test_the_answer_has_the_form_that_its_gateway_takes(make: Any) -> None:
    answer = ECHO(make("GET", "/bytes", [("Accept", "application/octet-stream")], b"", ECHO.routes), None)
    assert answer["isBase64Encoded"] is True and isinstance(answer["body"], str)
    assert ("multiValueHeaders" in answer) == (make is rest_event)


REFUSED = [
    ("GET", "/nowhere", 404, "ROUTE_NOT_FOUND"),
    ("GET", f"/api/{SECRET}", 404, "ROUTE_NOT_FOUND"),
    ("GET", "/api/workers//images", 404, "ROUTE_NOT_FOUND"),
    ("POST", "/api/health", 405, "METHOD_NOT_ALLOWED"),
    ("HEAD", "/api/health", 405, "METHOD_NOT_ALLOWED"),
    ("OPTIONS", "/api/workers", 405, "METHOD_NOT_ALLOWED"),
    ("TRACE", "/", 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/muster.whl", 400, "INVALID_REQUEST"),
    ("GET", f"/console/{SECRET}/app.js", 404, "ROUTE_NOT_FOUND"),
]


@pytest.mark.parametrize("by", [by_http, by_rest])
@pytest.mark.parametrize(("method", "target", "status", "code"), REFUSED)
def test_what_no_route_takes_is_refused_in_our_shape(by: Any, method: str, target: str, status: int, code: str) -> None:
    headers = [("Authorization", f"Bearer {SECRET}"), ("Content-Type", "text/plain")]
    got, kept, content = by(real, method, target, headers, b"")
    assert (got, json.loads(content)["error_code"]) == (status, code)
    assert set(json.loads(content)) == {"error_code", "message"} and SECRET not in content.decode()
    assert ("allow" in kept) == (status == 405)


def test_a_stage_in_the_path_is_not_part_of_it() -> None:
    event = http_event("GET", "/things/x", [], b"", ECHO.routes)
    event |= {"routeKey": "$default", "rawPath": "/v1/things/x", "pathParameters": {}}
    event["requestContext"]["stage"] = "v1"
    assert read(ECHO(event, None))[0] == 200


def test_parameters_that_a_gateway_leaves_encoded_are_decoded_as_often() -> None:
    event: Event = http_event("GET", "/things/a%2Fb", [], b"", ECHO.routes)
    event["pathParameters"] = {"one": "a%2Fb"}
    assert json.loads(read(ECHO(event, None))[2])["ids"] == {"one": "a%2Fb"}


@pytest.mark.parametrize("event", [{"version": "2.0", "rawPath": SECRET}, {"path": SECRET}])
def test_whatever_the_app_does_not_handle_has_our_shape(event: Event) -> None:
    status, _, content = read(real(event, None))
    assert (status, json.loads(content)["error_code"]) == (500, "INTERNAL_ERROR")
    assert SECRET not in content.decode()
