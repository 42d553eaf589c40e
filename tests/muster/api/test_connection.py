"""Why a request had no answer: real failures of requests, each named by its cause and by what to mend."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NameResolutionError

from muster.api.connection import CA_VARIABLES, Cause, answered_by_something_else, authorities, cause
from tests.fixtures.broken_servers import answering, silent, success
from tests.fixtures.certificates import authority
from tests.fixtures.ports import free_port

HEALTHY = success(b"{}")
NO_ENVIRONMENT: dict[str, str] = {}


def failure(url: str, environ: Mapping[str, str] = NO_ENVIRONMENT, **given: Any) -> Cause:
    """Why `url` does not answer, asked with the proxies and the authorities of `environ`."""
    proxies = {name.partition("_")[0]: value for name, value in environ.items() if name.endswith("_proxy")}
    with requests.Session() as session:
        session.trust_env = False
        session.verify = next(iter(authorities(environ)), True)
        with pytest.raises((requests.RequestException, OSError)) as caught:
            session.get(url, proxies=proxies, **{"timeout": 60, **given})
    return cause(caught.value, url, environ)


def test_a_certificate_that_is_not_trusted_says_where_to_name_the_authority(tmp_path: Path) -> None:
    own = authority(tmp_path)
    (tmp_path / "other").mkdir()
    other = authority(tmp_path / "other").file
    with answering(HEALTHY, tls=own.server()) as port:
        url = f"https://127.0.0.1:{port}"
        found = failure(url)
        assert (found.kind, "is not trusted" in found.what) == ("certificate", True)
        assert "SSL_CERT_FILE" in found.mend
        assert "REQUESTS_CA_BUNDLE" in found.mend
        assert f"not in SSL_CERT_FILE={other}" in failure(url, {"SSL_CERT_FILE": other}).mend
        both = {"REQUESTS_CA_BUNDLE": other, "SSL_CERT_FILE": "/nowhere.pem"}
        assert failure(url, both).what == "SSL_CERT_FILE names /nowhere.pem, which is not there"


def test_the_variables_of_requests_come_before_those_of_openssl() -> None:
    assert authorities({"SSL_CERT_FILE": "c", "CURL_CA_BUNDLE": "b", "REQUESTS_CA_BUNDLE": "a"}) == ["a", "b", "c"]
    assert authorities({"SSL_CERT_FILE": "c", "CURL_CA_BUNDLE": "c", "REQUESTS_CA_BUNDLE": ""}) == ["c"]
    assert authorities({}) == []


@pytest.mark.parametrize(
    ("address", "expires", "what"),
    [("127.0.0.1", timedelta(days=-1), "has expired"), ("127.0.0.9", timedelta(days=9), "is for another name")],
)
def test_a_certificate_that_is_trusted_may_be_too_old_or_of_another(
    tmp_path: Path, address: str, expires: timedelta, what: str
) -> None:
    own = authority(tmp_path)
    with answering(HEALTHY, tls=own.server(address, expires)) as port:
        found = failure(f"https://127.0.0.1:{port}", {"REQUESTS_CA_BUNDLE": own.file})
    assert (found.kind, what in found.what) == ("certificate", True), found


@pytest.mark.parametrize("name", CA_VARIABLES)
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_authorities_that_is_no_such_file_is_named(tmp_path: Path, name: str, content: str | None) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    with silent() as port:
        found = failure(f"https://127.0.0.1:{port}", {name: str(file)})
    assert (found.kind, f"{name} names {file}, which" in found.what) == ("authorities", True), found
    assert ("is not there" in found.what) is (content is None)


def test_tls_with_a_server_that_has_none_and_the_other_way_round() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        found = failure(f"https://127.0.0.1:{port}")
    assert (found.kind, "http://" in found.mend) == ("tls", True), found
    for said in (b"Client sent an HTTP request to an HTTPS server.", b"The plain HTTP request was sent to HTTPS port"):
        known = answered_by_something_else(400, said)
        assert known is not None
        assert "https://" in known.mend
    assert answered_by_something_else(400, b"Bad Request") is None
    assert answered_by_something_else(502, b"<html>") is None


def test_a_name_that_is_not_known() -> None:
    assert failure("http://no-such-name.invalid").kind == "name"
    for number, what in ((socket.EAI_AGAIN, "no name server answers"), (socket.EAI_NONAME, "no such host")):
        unknown = NameResolutionError("x", HTTPConnection("x"), socket.gaierror(number, "said"))
        unknown.__cause__ = socket.gaierror(number, "said")
        error = requests.ConnectionError(MaxRetryError(HTTPConnectionPool("x"), "/", unknown))
        assert what in cause(error, "http://x", {}).what


def test_a_port_at_which_nothing_listens() -> None:
    found = failure(f"http://127.0.0.1:{free_port()}")
    assert (found.kind, str(found)) == ("refused", "the connection was refused: nothing listens there")


def test_no_answer_in_time() -> None:
    with silent() as port:
        found = failure(f"http://127.0.0.1:{port}", timeout=(60, 0.01))
        assert (found.kind, "no answer arrived" in found.what) == ("timeout", True), found
    slow = ConnectTimeoutError(HTTPConnection("x"), "timed out")
    found = cause(requests.ConnectTimeout(MaxRetryError(HTTPConnectionPool("x"), "/", slow)), "http://x", {})
    assert (found.kind, "no connection was made" in found.what) == ("timeout", True), found


@pytest.mark.parametrize(
    ("content", "reset", "what"),
    [
        (b"", True, "reset the connection"),
        (b"", False, "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", False, "in the middle"),
        (b"SSH-2.0-OpenSSH\r\n", False, "does not speak HTTP"),
    ],
)
def test_a_connection_that_was_closed(content: bytes, reset: bool, what: str) -> None:
    with answering(content, reset=reset) as port:
        found = failure(f"http://127.0.0.1:{port}")
    assert (found.kind, what in found.what) == ("closed", True), found


def test_a_proxy_is_named_with_its_variable_and_without_its_password() -> None:
    port = free_port()
    environ = {"https_proxy": f"http://me:s3cret@127.0.0.1:{port}"}
    found = failure("https://muster.example", environ)
    assert found.kind == "proxy"
    assert f"the proxy 127.0.0.1:{port} (https_proxy) does not serve: the connection was refused" in found.what
    assert "NO_PROXY" in found.mend
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("status", "what"), [(407, "asks for a login (407)"), (403, "does not connect to the server (403)")]
)
def test_a_proxy_that_refuses(status: int, what: str) -> None:
    with answering(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()) as port:
        found = failure("https://muster.example", {"https_proxy": f"http://127.0.0.1:{port}"})
    assert (found.kind, what in found.what) == ("proxy", True), found
    known = answered_by_something_else(407, b"")
    assert known is not None
    assert "login" in known.what


def test_a_proxy_that_refuses_a_password_says_where_to_correct_it() -> None:
    with answering(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as port:
        found = failure("https://muster.example", {"https_proxy": f"http://me:s3cret@127.0.0.1:{port}"})
    assert f"the proxy 127.0.0.1:{port} (https_proxy) refuses the user or the password (407)" in found.what
    assert "correct them in https_proxy" in found.mend and "s3cret" not in str(found)


def test_what_is_no_url_and_what_is_unknown() -> None:
    assert failure("nowhere").kind == "url"
    assert cause(requests.RequestException("Bearer mst_key_x"), "http://x", {}) == Cause("other", "RequestException")
