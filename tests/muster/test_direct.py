"""A connection by the standard library: whom it trusts, what it leaves to requests, and answers that break off."""

from __future__ import annotations

import gzip
import http.client
from http.server import BaseHTTPRequestHandler

import pytest

from muster import direct as module
from muster.api.connection import CA_VARIABLES
from muster.direct import Answer, Direct, NotAnswered, NotConnected, Request, direct
from muster.exceptions import Unreachable
from tests.fixtures.broken_servers import answering
from tests.fixtures.certificates import Authority
from tests.fixtures.flaky import Flaky
from tests.fixtures.http_server import TcpServer, serving

GET = Request("GET", "/api/health", {"Accept": "application/json"}, None)
SECONDS = (60.0, 60.0)


def connection(url: str, environ: dict[str, str] | None = None) -> Direct:
    found = direct(url, "mst_key_x", SECONDS, environ or {})
    assert found is not None
    return found


@pytest.mark.parametrize("name", CA_VARIABLES)
def test_each_variable_is_trusted_beside_others(secure: str, own: Authority, other: Authority, name: str) -> None:
    others = dict.fromkeys(CA_VARIABLES, other.file)
    for environ in ({name: own.file}, others | {name: own.file}):
        assert connection(secure, environ).send(GET) == Answer(200, b"{}")
    with pytest.raises(NotConnected) as raised:
        connection(secure, others).send(GET)
    assert "CERTIFICATE_VERIFY_FAILED" in str(raised.value.__cause__)


@pytest.mark.parametrize("environ", [{}, {"SSL_CERT_FILE": "/nowhere.pem"}], ids=["certifi", "no file"])
def test_nobody_else_is_trusted(secure: str, environ: dict[str, str]) -> None:
    with pytest.raises(NotConnected):
        connection(secure, environ).send(GET)


def test_the_host_in_the_certificate_counts(secure: str, own: Authority) -> None:
    with pytest.raises(NotConnected):
        connection(secure.replace("127.0.0.1", "127.0.0.2"), {"SSL_CERT_FILE": own.file}).send(GET)


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_proxies_are_left_to_requests(name: str) -> None:
    assert direct("https://muster.example", "k", SECONDS, {name: "http://proxy:3128"}) is None
    assert direct("https://muster.example", "k", SECONDS, {name: "", "NO_PROXY": "*"}) is not None


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a", "a.example", "http://", "https://user:password@a", "https://a?b", "https://a#b", "https://a:port"),
        *("https://müster.example", "https://a/../b", "https://a/b c", "https://a/%41", "https://a_b", "https://[::1"),
    ],
)
def test_unusual_urls_are_left_to_requests(url: str) -> None:
    assert direct(url, "k", SECONDS, {}) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://[::1]:8443/a/b-c", "HTTPS://Muster.Example/v1.2"])
def test_usual_urls_are_not(url: str) -> None:
    assert direct(url, "k", SECONDS, {}) is not None


def test_a_system_that_keeps_proxies_elsewhere_is_left_to_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert direct("https://muster.example", "k", SECONDS, {}) is None


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections = 0
    requests: list[tuple[str, dict[str, str], bytes]] = []  # noqa: RUF012
    closes = False

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.path, dict(self.headers), body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.close_connection = self.closes  # without having said so

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("closes", "connections"), [(False, 1), (True, 2)])
def test_a_connection_is_kept_until_the_server_closes_it(closes: bool, connections: int) -> None:
    class Handler(Counting):
        pass

    Handler.requests, Handler.closes = [], closes
    with serving(TcpServer(("127.0.0.1", 0), Handler)) as server:
        kept = connection(f"http://127.0.0.1:{server.server_address[1]}/base")
        for _ in range(2):
            assert kept.send(Request("POST", "/api/x?a=b", {"Idempotency-Key": "i"}, b'{"a": 1}')).content == b"{}"
            if closes:
                assert kept._connection is not None
                assert kept._connection.sock.recv(1) == b"", "the server has closed it"
        kept.close()
    assert Handler.connections == connections
    for path, headers, body in Handler.requests:
        assert (path, body) == ("/base/api/x?a=b", b'{"a": 1}')
        assert headers["Authorization"] == "Bearer mst_key_x" and headers["Idempotency-Key"] == "i"


def test_a_compressed_answer_is_decompressed() -> None:
    body = gzip.compress(b'{"a": 1}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with answering(head + body) as port:
        assert connection(f"http://127.0.0.1:{port}").send(GET).content == b'{"a": 1}'


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")[:-9],
    ],
    ids=["length", "chunk", "gzip"],
)
def test_an_answer_that_breaks_off_is_no_answer(answer: bytes) -> None:
    with answering(answer) as port, pytest.raises(http.client.IncompleteRead):
        connection(f"http://127.0.0.1:{port}").send(GET)


@pytest.mark.parametrize("body", [b"x" * 101, gzip.compress(b"x" * 100_000)], ids=["plain", "gzip"])
def test_an_answer_of_more_than_the_limit_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100)
    encoding = b"Content-Encoding: gzip\r\n" * body.startswith(b"\x1f")
    told = "an answer of more than 100 bytes"
    with answering(b"HTTP/1.1 200 OK\r\n" + encoding + b"\r\n" + body) as port, pytest.raises(Unreachable, match=told):
        connection(f"http://127.0.0.1:{port}").send(GET)


def test_a_request_without_an_answer_is_told_from_one_that_was_not_sent() -> None:
    with Flaky() as server, pytest.raises(NotAnswered) as raised:
        connection(server.url).send(GET)
    assert isinstance(raised.value.__cause__, http.client.RemoteDisconnected)
    with pytest.raises(NotConnected) as unsent:
        connection(server.url).send(GET)
    assert isinstance(unsent.value.__cause__, ConnectionRefusedError)


def test_a_key_that_no_header_can_carry_is_not_sent() -> None:
    with Flaky((200, {})) as server:
        found = direct(server.url, "k\r\nHost: x", SECONDS, {})
        assert found is not None
        with pytest.raises(ValueError, match="Invalid header value"):
            found.send(GET)
    assert server.seen == [] or "Host: x" not in server.seen[0]
