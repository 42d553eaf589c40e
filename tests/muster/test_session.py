"""Requests by a session: how often one is sent in all, and the pauses between, after a first attempt without one."""

from __future__ import annotations

import pytest
import requests

from muster import Client, DeploymentPatch, Unreachable
from muster.direct import Answer, Request
from muster.session import RETRIES, SessionConnection
from tests.fixtures.fake_server import FakeServer
from tests.fixtures.flaky import Flaky

ATTEMPTS = 5


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are not waited for."""
    found: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", found.append)
    return found


@pytest.mark.parametrize("answer", [None, (503, {}), (429, {}), (504, {})], ids=["lost", "503", "429", "504"])
def test_a_get_is_sent_five_times_in_all(pauses: list[float], answer: tuple[int, dict[str, str]] | None) -> None:
    with Flaky(*[answer] * ATTEMPTS) as server, pytest.raises(Unreachable):
        Client(server.url, "k").health()
    assert len(server.seen) == ATTEMPTS == 1 + (RETRIES.total or 0)
    assert [0.5 <= pauses[0] < 1, 1 <= pauses[1] < 1.5, 2 <= pauses[2] < 2.5] == [True] * 3 and len(pauses) == 3


def test_the_pause_that_the_server_asks_for_is_made_and_has_a_limit(pauses: list[float]) -> None:
    with Flaky((503, {"Retry-After": "7"}), (429, {"Retry-After": "100000"}), (200, {})) as server:
        assert Client(server.url, "k").health().version == "x"
    assert pauses == [7, 30]


def test_a_busy_answer_to_a_change_is_not_repeated() -> None:
    with Flaky((503, {})) as server, pytest.raises(Unreachable):
        Client(server.url, "k").change("d", DeploymentPatch(gpus=1))
    assert len(server.seen) == 1


def test_a_change_is_repeated_if_no_connection_was_made(pauses: list[float]) -> None:
    with Flaky() as server:
        url = server.url
    with pytest.raises(Unreachable, match="the connection was refused"):
        Client(url, "k").delete("d")
    assert len(pauses) == 3


def test_after_a_failure_a_client_has_all_repetitions_again() -> None:
    answers: list[tuple[int, dict[str, str]] | None] = [None, (200, {}), *[None] * 4, (200, {})]
    with Flaky(*answers) as server:
        client = Client(server.url, "k")
        assert [client.health().version for _ in range(2)] == ["x", "x"]
    assert len(server.seen) == len(answers)


def test_a_session_that_is_given_sends_everything() -> None:
    server = FakeServer()
    server.failures.append((200, b"{}", {}))
    connection = SessionConnection("https://muster.example", "k", (1, 1), server.session_to_here())
    assert connection.send(Request("GET", "/api/health", {}, None)) == Answer(200, b"{}")
    server.failures.append(requests.ConnectionError())
    with pytest.raises(OSError):
        connection.send(Request("GET", "/api/health", {}, None))
