"""Reports on their way to the control plane, whatever it answers."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import requests

from agent.api import Api, Fatal
from agent.backoff import Backoff
from agent.identity import Identity
from agent.reporter import IDLE, Reporter
from agent.spool import Spool
from chalicelib.contract.messages import Report
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.fake_server import FakeServer, error
from tests.fixtures.journals import forbid_writing, open_memory


def test_401_to_a_report_registers_again(world: AgentWorld) -> None:
    world.deploy()
    world.server.tokens += 1
    world.settle()
    assert world.agent.identity is None
    world.beat()
    world.settle()
    assert world.statuses()[-1] == "running"


class Member:
    """Who the agent is to the control plane, as the test wants it."""

    def __init__(self) -> None:
        self.identity: Identity | None = Identity("w1", "token-0", 3)
        self.refusals: list[str] = []

    def refused(self, identity: Identity, error: Fatal) -> None:
        assert identity is self.identity
        self.refusals.append(str(error.status))
        self.identity = None


class Sending:
    """A reporter with two reports to send."""

    def __init__(self, folder: Path) -> None:
        self.database = open_memory(folder).database
        self.spool = Spool(self.database)
        self.server = FakeServer()
        self.member = Member()
        api = Api("https://muster.example", self.server.session_to_here())
        self.reporter = Reporter(api, self.spool, self.member, Backoff(Random(1)), lambda seconds: None)
        for name in ("d1", "d2"):
            self.spool.put(name, Report("running", generation=1))

    @property
    def told(self) -> list[tuple[str, int | None]]:
        return [(about, report.session) for about, report in self.server.reports]


@pytest.fixture
def sending(tmp_path: Path) -> Sending:
    return Sending(tmp_path)


def test_reports_are_sent_in_their_order_with_the_session_of_the_moment(sending: Sending) -> None:
    assert sending.reporter.step() == 0.0
    sending.member.identity = Identity("w1", "token-0", 4)
    assert sending.reporter.step() == 0.0
    assert sending.reporter.step() == IDLE
    assert sending.told == [("d1", 3), ("d2", 4)]


def test_an_agent_that_has_to_register_first_sends_nothing(sending: Sending) -> None:
    sending.member.identity = None
    assert sending.reporter.step() == 1.0
    assert sending.server.requests == []


@pytest.mark.parametrize(
    ("failure", "least"),
    [
        (requests.ConnectionError("refused"), 1.0),
        (error(503, "UNAVAILABLE"), 1.0),
        (error(429, "TOO_MANY_REQUESTS", **{"Retry-After": "90"}), 90.0),
        ((403, b"<html>a proxy</html>", {}), 1.0),
    ],
)
def test_what_was_not_delivered_is_sent_again_before_what_came_later(
    sending: Sending, failure: Exception | tuple[int, bytes, dict[str, str]], least: float
) -> None:
    sending.server.failures = [failure]
    assert sending.reporter.step() >= least
    while sending.reporter.step() != IDLE:
        pass
    assert [about for about, _ in sending.told] == ["d1", "d2"]


def test_a_report_that_is_refused_for_what_it_says_holds_up_nothing(sending: Sending) -> None:
    sending.server.failures = [error(409, "ILLEGAL_TRANSITION")]
    assert sending.reporter.step() == 0.0
    assert sending.reporter.step() == 0.0
    assert [about for about, _ in sending.told] == ["d2"]
    assert sending.member.refusals == []


@pytest.mark.parametrize("refusal", [error(401, "UNAUTHENTICATED"), error(409, "SESSION_SUPERSEDED")])
def test_a_worker_that_is_refused_for_who_it_is_keeps_its_reports(
    sending: Sending, refusal: tuple[int, bytes, dict[str, str]]
) -> None:
    sending.server.failures = [refusal]
    assert sending.reporter.step() > 0
    assert sending.member.refusals == [str(refusal[0])]
    entry = sending.spool.first()
    assert entry is not None and entry.about == "d1"


def test_a_report_that_was_sent_and_cannot_be_forgotten_is_not_sent_again(sending: Sending) -> None:
    forbid_writing(sending.database)
    assert sending.reporter.step() > 0
    assert sending.reporter.step() > 0
    assert sending.reporter.step() == IDLE
    assert [about for about, _ in sending.told] == ["d1", "d2"]
