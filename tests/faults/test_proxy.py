"""That the proxy does what it counts: else the faults of the other tests might be none."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
import requests

from tests.faults.proxy import BAD_GATEWAY, FAULTS, PACK, RESET, Deck, Proxy
from tests.fixtures.http_server import HttpServer
from tests.fixtures.waiting import PATIENCE, eventually

BODY = b'{"some": "json"}'


class Upstream(HttpServer):
    asked = 0


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Always(Deck):
    """Deals one card."""

    def __init__(self, fault: str | None) -> None:
        super().__init__(0)
        self._fault = fault

    def draw(self) -> tuple[str | None, float]:
        return self._fault, 0.2


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(upstream: Upstream, fault: str | None) -> Iterator[Proxy]:
    proxy = Proxy(upstream.server_port, Always(fault))
    yield proxy
    proxy.end()


def post(proxy: Proxy) -> str:
    """The answer's status and body, or why there is none."""
    try:
        answer = requests.post(f"{proxy.url}/path", json={}, timeout=PATIENCE)
    except requests.ConnectionError as error:
        return "reset" if "ConnectionResetError" in repr(error) else "closed"
    return f"{answer.status_code} {answer.text[:6]}"


@pytest.mark.parametrize(
    ("fault", "seen", "asked"),
    [
        (None, '200 {"some', 1),
        ("request lost", "closed", 0),
        ("answer lost", "closed", 1),
        ("doubled", '200 {"some', 2),
        ("stalled", '200 {"some', 1),
        ("late", "closed", 1),
        ("truncated", "200 ", 1),
        ("reset", "reset", 1),
        ("HTML 502", "502 <html>", 0),
    ],
)
def test_each_fault_is_what_it_is_called(
    upstream: Upstream, proxy: Proxy, fault: str | None, seen: str, asked: int
) -> None:
    assert post(proxy) == seen
    eventually(lambda: upstream.asked, lambda count: count == asked, "asked so often")
    assert [(each.path, each.fault) for each in proxy.seen] == [("/path", fault)]


@pytest.mark.parametrize("fault", [None])
def test_a_rule_answers_or_resets_what_it_does_not_like(upstream: Upstream, proxy: Proxy) -> None:
    proxy.rule = lambda request: BAD_GATEWAY if b"/path" in request else None
    assert (post(proxy), upstream.asked) == ("502 <html>", 0)
    proxy.rule = lambda request: RESET
    assert (post(proxy), upstream.asked) == ("reset", 0)
    proxy.rule = lambda request: None
    assert (post(proxy), upstream.asked) == ('200 {"some', 1)


def test_of_each_pack_every_fault_strikes_one() -> None:
    deck, again = Deck(7), Deck(7)
    dealt = [deck.draw() for _ in range(5 * PACK)]
    assert dealt == [again.draw() for _ in range(5 * PACK)], "a seed says which"
    assert Counter(fault for fault, _ in dealt if fault) == dict.fromkeys(FAULTS, 5) == deck.happened
    assert deck.rarest() == 5
    deck.bad = False
    assert [deck.draw()[0] for _ in range(PACK)] == [None] * PACK
