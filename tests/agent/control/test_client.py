"""Retry or Fatal: the table, and the troubles of the transport."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from muster.api.messages import Heartbeat
from muster_agent.control.client import Api, Fatal, Retry, failure
from tests.fixtures.certificates import check_trust
from tests.fixtures.fake_server import FakeServer

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
BEAT = Heartbeat(status="online", gpu_usage=[], active_deployments=[])


def said(error_code: str) -> bytes:
    return msgspec.json.encode({"error_code": error_code, "message": "m"})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (408, said("REQUEST_TIMEOUT")),
        (429, said("TOO_MANY_REQUESTS")),
        (500, said("INTERNAL_ERROR")),
        (502, HTML),
        (503, said("UNAVAILABLE")),
        (504, b""),
        (400, HTML),
        (401, HTML),
        (403, HTML),
        (403, b'{"message": "Forbidden"}'),
        (404, HTML),
        (410, HTML),
        (413, HTML),
        (404, b"\xff\xfe"),
        (400, b"[" * 100_000),
    ],
)
def test_what_a_proxy_or_a_busy_server_answers_is_retried(status: int, body: bytes) -> None:
    assert isinstance(failure(status, body), Retry)


@pytest.mark.parametrize(
    ("status", "body", "unauthorized", "superseded"),
    [
        (400, said("INVALID_REQUEST"), False, False),
        (401, said("UNAUTHENTICATED"), True, False),
        (403, said("FORBIDDEN"), False, False),
        (404, said("DEPLOYMENT_NOT_FOUND"), False, False),
        (404, said("WORKER_NOT_FOUND"), True, False),
        (409, said("ILLEGAL_TRANSITION"), False, False),
        (409, said("SESSION_SUPERSEDED"), False, True),
        (410, said("WORKER_REMOVED"), False, True),
        (413, said("PAYLOAD_TOO_LARGE"), False, False),
    ],
)
def test_what_the_control_plane_refuses_is_fatal(
    status: int, body: bytes, unauthorized: bool, superseded: bool
) -> None:
    error = failure(status, body)
    assert isinstance(error, Fatal)
    assert (error.unauthorized, error.superseded) == (unauthorized, superseded)


@pytest.mark.parametrize("code", ["WORKER_NAME_IN_USE", "SESSION_SUPERSEDED", "UNHEARD_OF"])
def test_a_conflict_with_retry_after_is_for_the_moment_and_without_it_for_good(code: str) -> None:
    error = failure(409, said(code), "87")
    assert isinstance(error, Retry)
    assert error.after == 87
    for header in (None, "soon"):
        assert isinstance(failure(409, said(code), header), Fatal)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0", 0), (None, None), ("soon", None), ("-1", None)])
def test_retry_after_is_read_as_seconds_where_it_is_a_number(header: str | None, seconds: float | None) -> None:
    error = failure(503, said("UNAVAILABLE"), header)
    assert isinstance(error, Retry)
    assert error.after == seconds


@pytest.mark.parametrize(
    "trouble",
    [
        requests.ConnectionError("refused"),
        requests.Timeout("slow"),
        requests.exceptions.ChunkedEncodingError("cut"),
        OSError("odd"),
        (200, HTML, {}),
        (200, b'{"commands": []}', {}),
        (200, b"", {}),
        (302, b"", {"Location": "https://login.example"}),
    ],
)
def test_trouble_on_the_way_is_retried(trouble: Exception | tuple[int, bytes, dict[str, str]]) -> None:
    server = FakeServer()
    server.failures = [trouble]
    with pytest.raises(Retry):
        Api("https://muster.example", server.session_to_here()).heartbeat("w1", "t", BEAT)


def test_ids_are_escaped_in_paths() -> None:
    server = FakeServer()
    server.failures_of["status"] = (200, b"{}", {})
    Api("https://muster.example", server.session_to_here()).tell("w1", "t", "status", "../a b", {})
    assert server.requests == ["/api/workers/w1/deployments/..%2Fa%20b/status"]


def test_errors_never_show_the_token() -> None:
    server = FakeServer()
    server.failures = [requests.ConnectionError("https://muster.example Bearer very-secret")]
    with pytest.raises(Retry) as error:
        Api("https://muster.example", server.session_to_here()).heartbeat("w1", "very-secret", BEAT)
    assert "very-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("trouble", "status", "foreign", "connected"),
    [
        ((403, HTML, {}), 403, True, True),
        ((413, HTML, {}), 413, True, True),
        ((403, b'{"message": "Forbidden"}', {}), 403, True, True),
        ((302, b"", {"Location": "https://login.example"}), 302, True, True),
        ((200, HTML, {}), 200, True, True),
        ((503, said("UNAVAILABLE"), {}), 503, False, True),
        (requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError())), None, False, True),
        (requests.ReadTimeout("slow"), None, False, True),
        (requests.exceptions.ChunkedEncodingError("cut"), None, False, True),
        (requests.ConnectTimeout("nobody there"), None, False, False),
        (requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused"))), None, False, False),  # type: ignore[arg-type]
        (requests.exceptions.SSLError("certificate"), None, False, False),
        (requests.exceptions.ProxyError("no"), None, False, False),
    ],
)
def test_retry_tells_who_answered_what_and_whether_there_was_a_connection(
    trouble: Exception | tuple[int, bytes, dict[str, str]], status: int | None, foreign: bool, connected: bool
) -> None:
    server = FakeServer()
    server.failures = [trouble]
    with pytest.raises(Retry) as caught:
        Api("https://muster.example", server.session_to_here()).tell("w1", "t", "status", "d1", {})
    assert (caught.value.status, caught.value.foreign, caught.value.connected) == (status, foreign, connected)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_of_the_owners_is_trusted_by_either_variable_and_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    answer = b'{"commands":[],"inbox":0,"next_heartbeat_in":1}'
    check_trust(tmp_path, monkeypatch, variable, answer, lambda url: Api(url).heartbeat("w1", "token", BEAT), Retry)


def test_an_answer_of_a_proxy_says_what_it_wants() -> None:
    said = failure(407, b"<html>Proxy Authentication Required</html>")
    assert isinstance(said, Retry)
    assert "the proxy asks for a login (407)" in str(said)
