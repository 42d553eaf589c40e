"""An answer as it is, compressed, or 304: by what the caller has and accepts, behind every gateway."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chalice.app import Response

from app import app
from chalicelib.routes import http
from chalicelib.routes.matching import Routes
from chalicelib.routes.negotiation import SMALLEST, Compressed, negotiated
from infra.local.asgi import Request
from tests.infra.cloud.lambda_emulator import http_event, read, rest_event

LONG = json.dumps({"workers": [f"gpu-{number}" for number in range(300)]})
TYPE = {"Content-Type": "application/json"}


def answer(body: str = LONG, status: int = 200, **headers: str) -> Response:
    """To a GET with these headers."""
    return negotiated(Response(body, dict(TYPE), status), {n.replace("_", "-"): v for n, v in headers.items()})


def body_of(made: Response) -> str:
    return gzip.decompress(made.body).decode() if isinstance(made, Compressed) else str(made.body)


def test_a_caller_that_asks_for_nothing_gets_the_body_as_it_is() -> None:
    made = answer()
    assert (made.status_code, made.body) == (200, LONG) and made.headers["Content-Type"] == "application/json"
    assert "Content-Encoding" not in made.headers and made.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "accepted",
    ["gzip", "GZIP", "x-gzip", "*", "br, gzip", "gzip, deflate, br", "gzip;q=0.5", "gzip; q=1.0, identity; q=0.5"],
)
def test_gzip_is_for_callers_that_accept_it(accepted: str) -> None:
    made = answer(accept_encoding=accepted)
    assert made.headers["Content-Encoding"] == "gzip" and body_of(made) == LONG
    assert len(made.body) < len(LONG) / 3


@pytest.mark.parametrize(
    "accepted",
    ["", "identity", "br", "gzip;q=0", "gzip; q=0.000", "*;q=0", "gzip;q=0, *", "identity, gzip;q=0.5", "gzip;q=nan"],
)
def test_nobody_else_gets_it(accepted: str) -> None:
    assert answer(accept_encoding=accepted).body == LONG


@pytest.mark.parametrize(("size", "compressed"), [(SMALLEST - 1, False), (SMALLEST, True)])
def test_a_tiny_body_stays_as_it_is(size: int, compressed: bool) -> None:
    made = answer("x" * size, accept_encoding="gzip")
    assert isinstance(made, Compressed) is compressed
    assert made.headers["Vary"] == "Accept-Encoding", "another caller's answer may be of another size"


def test_the_same_content_has_the_same_validator_in_every_coding_and_another_one_has_not() -> None:
    tag = str(answer().headers["ETag"])
    assert tag == answer(accept_encoding="gzip").headers["ETag"] and tag.startswith('W/"')
    assert answer(accept_encoding="gzip").body == answer(accept_encoding="gzip").body
    assert answer(LONG + " ").headers["ETag"] != tag


@pytest.mark.parametrize("sent", ["{}", '"other", {}', 'W/"a",{} , "b"', "*", " * "])
def test_who_has_the_content_gets_304_and_its_validator(sent: str) -> None:
    tag = str(answer().headers["ETag"])
    for form in (tag, tag.removeprefix("W/")):
        made = answer(if_none_match=sent.replace("{}", form), accept_encoding="gzip")
        assert (made.status_code, made.body) == (304, "")
        assert made.headers == {"ETag": tag, "Vary": "Accept-Encoding"}


@pytest.mark.parametrize("sent", ["", '"other"', "W/", '""', "unquoted"])
def test_who_has_something_else_gets_all_of_it(sent: str) -> None:
    assert answer(if_none_match=sent).body == LONG
    unquoted = str(answer().headers["ETag"]).removeprefix("W/").strip('"')
    assert answer(if_none_match=unquoted).status_code == 200


@pytest.mark.parametrize("status", [202, 302, 404, 503])
def test_an_answer_with_another_status_is_left_alone(status: int) -> None:
    made = answer(status=status, if_none_match="*", accept_encoding="gzip")
    assert (made.status_code, made.body, made.headers) == (status, LONG, TYPE)


def test_a_file_of_bytes_is_left_alone() -> None:
    wheel = Response(b"x" * 10_000, {"Content-Type": "application/octet-stream"})
    assert negotiated(wheel, {"accept-encoding": "gzip", "if-none-match": "*"}) is wheel


# Behind gateways


@pytest.fixture(scope="module", autouse=True)
def handlers() -> Iterator[None]:
    """One route of the API that answers with LONG, and one that changes something and answers so too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("openapi", "register"):
            patch.setitem(http.HANDLERS, name, lambda _: Response(LONG, dict(TYPE)))
        yield


Sent = list[tuple[str, str]]
Answer = tuple[int, dict[str, str], bytes]


def by_lambda(event: Callable[..., Any]) -> Callable[[str, str, Sent], Answer]:
    return lambda method, path, sent: read(
        app(json.loads(json.dumps(event(method, path, sent, b"", app.routes))), None)
    )


def by_local_server(method: str, path: str, sent: Sent) -> Answer:
    request = Request(method, path, "", {name.lower(): value for name, value in sent})
    return read(app(request.event(*Routes(app.routes).match(path), b""), None))


@pytest.mark.parametrize("gateway", [by_lambda(http_event), by_local_server], ids=["http", "local"])
def test_a_gateway_sends_the_compressed_bytes(gateway: Callable[[str, str, Sent], Answer]) -> None:
    status, headers, body = gateway("GET", "/api/openapi.json", [("Accept-Encoding", "gzip")])
    assert (status, headers["content-encoding"], gzip.decompress(body).decode()) == (200, "gzip", LONG)
    status, headers, body = gateway("GET", "/api/openapi.json", [("If-None-Match", headers["etag"])])
    assert (status, body) == (304, b"") and "content-encoding" not in headers
    status, headers, body = gateway("GET", "/api/openapi.json", [])
    assert (status, body.decode()) == (200, LONG) and "content-encoding" not in headers


def test_a_rest_api_is_never_given_bytes_but_answers_304() -> None:
    gateway = by_lambda(rest_event)
    status, headers, body = gateway("GET", "/api/openapi.json", [("Accept-Encoding", "gzip")])
    assert (status, body.decode()) == (200, LONG) and "content-encoding" not in headers
    assert gateway("GET", "/api/openapi.json", [("If-None-Match", headers["etag"])])[0] == 304


@pytest.mark.parametrize("gateway", [by_lambda(http_event), by_local_server], ids=["http", "local"])
def test_only_a_get_is_conditional(gateway: Callable[[str, str, Sent], Answer]) -> None:
    sent = [("Accept-Encoding", "gzip"), ("If-None-Match", "*")]
    status, headers, body = gateway("POST", "/api/workers/register", sent)
    assert (status, body.decode()) == (200, LONG) and "etag" not in headers
