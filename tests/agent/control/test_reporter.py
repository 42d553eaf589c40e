"""Reports on their way to the control plane, whatever it, or something in between, answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from urllib3.exceptions import ProtocolError

from muster.api.conditions import ConditionType
from muster.api.messages import CrashLoop, Fix, Progress, Report, ReportedCondition, Result
from muster_agent.conditions import Conditions
from muster_agent.control.client import Api, Fatal
from muster_agent.control.reporter import IDLE_SECONDS, Reporter
from muster_agent.host.clocks import Clocks
from muster_agent.state.dir import Identity, StateError
from muster_agent.state.outbox import Entry, Head, Outbox
from tests.fixtures.agent_world import AgentWorld, Clock
from tests.fixtures.fake_server import Answer, FakeServer, error
from tests.fixtures.journals import forbid_writing, open_journal

EPOCH = 1796014800.0
SINCE = "since 2026-11-30T05:00:00Z"
HTML = b"<html>a proxy</html>"
MANY = 1000
"""More steps than anything here takes: a reporter that takes more goes in a circle."""
CRASH = Report(
    "error",
    generation=7,
    error_code="CONTAINER_FAILED",
    message="It ended with exit code 1. " + "more " * 500,
    logs="a line of the log\n" * 600,
    fix=Fix(gpus=2),
)


def cut_off() -> Exception:
    """A connection that is reset while the request is sent."""
    return requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset by peer")))


ANSWERS: list[Answer | Exception] = [
    (403, HTML, {}),
    (413, HTML, {}),
    (400, b"", {}),
    (404, HTML, {}),
    (502, HTML, {}),
    (200, HTML, {}),
    (302, b"", {"Location": "https://login.example"}),
    (403, b'{"message": "Forbidden"}', {}),
    cut_off(),
]
"""What something in between may answer to a report that it does not like."""


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
        self.left: dict[tuple[str, int | None], int] = {}

    def next_start_in(self, deployment_id: str, generation: int | None) -> int | None:
        return self.left.get((deployment_id, generation))

    def refused(self, identity: Identity, error: Fatal) -> None:
        assert identity is self.identity
        self.refusals.append(str(error.status))
        self.identity = None


class Gateway(FakeServer):
    """Answers a request itself where `refuses(path, bytes of the body)` gives an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str, int], Answer | Exception | None] = lambda path, size: None
        self.sizes: list[tuple[str, int]] = []

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        self.sizes.append((request.path_url, len(request.body or b"")))
        refusal = self.refuses(*self.sizes[-1])
        if refusal is not None:
            self.failures.insert(0, refusal)
        return super().exchange(request)


def above(limit: int, answer: Answer | Exception) -> Callable[[str, int], Answer | Exception | None]:
    return lambda path, size: answer if size > limit else None


def of(name: str, answer: Answer | Exception) -> Callable[[str, int], Answer | Exception | None]:
    return lambda path, size: answer if f"/{name}/" in path else None


class Sending:
    """A reporter with two reports to send, behind a gateway."""

    def __init__(self, folder: Path) -> None:
        self.database = open_journal(folder).database
        self.outbox = Outbox(self.database)
        self.server = Gateway()
        self.member = Member()
        self.clock, self.wall = Clock(0.0), Clock(EPOCH)
        self.conditions = Conditions(self.clock)
        api = Api("https://muster.example", self.server.session_to_here())
        clocks = Clocks(wall=self.wall, monotonic=self.clock)
        self.reporter = Reporter(api, self.outbox, self.member, Random(1), self.conditions, clocks)
        self.database.connection.execute("PRAGMA synchronous = OFF")  # nothing here is about a disk
        for name in ("d1", "d2"):
            self.outbox.put(name, Report("running", generation=1))

    def tell_progress(self, about: str, number: int) -> None:
        """In the place of progress that was not sent yet."""
        report = Report("downloading", generation=2, progress=Progress("downloading", number))
        self.database.write(lambda connection: self.outbox.insert(connection, about, report, f"{about} downloading"))

    @property
    def told(self) -> list[tuple[str, int | None]]:
        return [(about, report.session) for about, report in self.server.reports]

    def of(self, about: str) -> list[Report]:
        return [report for named, report in self.server.reports if named == about]

    def drain(self) -> float:
        """Send what can be sent now; seconds until more can be."""
        for _ in range(MANY):
            delay = self.reporter.step()
            assert isinstance(delay, float) and delay >= 0.0
            if delay:
                return delay
        raise AssertionError("the reporter never waits")

    def work(self, seconds: float) -> None:
        """As the thread does for that long."""
        until = self.clock.now + seconds
        for _ in range(MANY):
            delay = self.drain()
            if delay >= until - self.clock.now:
                self.clock.now = until
                return
            self.clock.pass_time(delay)
        raise AssertionError("the reporter hardly waits")

    def sizes(self, name: str) -> list[int]:
        """Bytes of each request that was about it."""
        return [size for path, size in self.server.sizes if f"/{name}/" in path]

    @property
    def condition(self) -> ReportedCondition | None:
        return next(iter(self.conditions.current()), None)


@pytest.fixture
def sending(tmp_path: Path) -> Sending:
    return Sending(tmp_path)


def test_reports_are_sent_in_their_order_with_the_session_of_the_moment(sending: Sending) -> None:
    assert sending.reporter.step() == 0.0
    sending.member.identity = Identity("w1", "token-0", 4)
    assert sending.reporter.step() == 0.0
    assert sending.reporter.step() == IDLE_SECONDS
    assert sending.told == [("d1", 3), ("d2", 4)]


def test_an_agent_that_has_to_register_first_sends_nothing(sending: Sending) -> None:
    sending.member.identity = None
    assert sending.reporter.step() == 1.0
    assert sending.server.requests == []


def test_a_report_that_was_replaced_when_its_turn_came_costs_no_wait(sending: Sending) -> None:
    heads = sending.outbox.heads

    def replaced() -> list[Head]:
        found = heads()
        sending.outbox.heads = heads  # type: ignore[method-assign]
        first = found[0].id
        sending.database.write(lambda connection: connection.execute("DELETE FROM spool WHERE id = ?", (first,)))
        return found

    sending.outbox.heads = replaced  # type: ignore[method-assign]
    assert sending.reporter.step() == 0.0
    assert sending.server.requests == []
    assert sending.drain() == IDLE_SECONDS
    assert [about for about, _ in sending.told] == ["d2"]


# Retries


@pytest.mark.parametrize(
    ("failure", "least"),
    [
        (cut_off(), 1.0),
        (error(503, "UNAVAILABLE"), 1.0),
        (error(429, "TOO_MANY_REQUESTS", **{"Retry-After": "90"}), 90.0),
        ((503, HTML, {}), 1.0),
    ],
    ids=str,
)
def test_what_was_not_delivered_is_sent_again_after_its_own_backoff(
    sending: Sending, failure: Exception | Answer, least: float
) -> None:
    sending.server.failures = [failure]
    delay = sending.drain()
    assert [about for about, _ in sending.told] == ["d2"]
    assert delay >= least
    sending.clock.pass_time(delay)
    assert sending.drain() == IDLE_SECONDS
    assert [about for about, _ in sending.told] == ["d2", "d1"]


def test_without_a_connection_one_attempt_stands_for_all(sending: Sending) -> None:
    sending.server.refuses = lambda path, size: requests.ConnectTimeout("nobody there")
    for number in range(50):
        sending.outbox.put(f"more-{number}", Report("running"))
    sending.work(300)
    assert len(sending.server.requests) < 30
    assert sending.condition is None
    sending.server.refuses = lambda path, size: None
    sending.work(120)
    assert len(sending.told) == 52


def test_connections_that_end_without_a_response_are_a_common_trouble_from_the_second_on(sending: Sending) -> None:
    sending.server.refuses = lambda path, size: cut_off()
    for number in range(50):
        sending.outbox.put(f"more-{number}", Report("running"))
    sending.work(60)
    assert len(sending.server.requests) < 30
    sending.server.refuses = lambda path, size: None
    sending.work(120)
    assert len(sending.told) == 52


def test_after_two_connections_that_end_without_a_response_nothing_is_sent_for_a_while(sending: Sending) -> None:
    sending.server.refuses = lambda path, size: None if "/d3/" in path else cut_off()
    sending.outbox.put("d3", Report("running", generation=1))
    assert sending.drain() >= 1.0
    assert (sending.told, len(sending.server.requests)) == ([], 2)
    sending.work(60)
    assert [about for about, _ in sending.told] == ["d3"]


@pytest.mark.parametrize("trouble", [requests.ConnectTimeout("nobody there"), cut_off()], ids=str)
def test_a_common_backoff_begins_anew_once_the_control_plane_answered(sending: Sending, trouble: Exception) -> None:
    sending.server.refuses = lambda path, size: trouble
    sending.work(600)
    sending.server.refuses = lambda path, size: None
    sending.work(120)
    assert len(sending.told) == 2
    sending.server.refuses = lambda path, size: trouble
    for name in ("d3", "d4"):
        sending.outbox.put(name, Report("running", generation=1))
    assert sending.drain() <= 2.0


@pytest.mark.parametrize("answer", [None, (403, HTML, {}), error(409, "ILLEGAL_TRANSITION")], ids=str)
def test_connections_that_end_without_a_response_are_no_common_trouble_where_others_are_answered(
    sending: Sending, answer: Answer | None
) -> None:
    answers = {"d1": cut_off(), "d2": answer, "d3": cut_off()}
    sending.server.refuses = lambda path, size: answers.get(path.split("/")[-2])
    for name in ("d3", "d4"):
        sending.outbox.put(name, Report("running", generation=1))
    sending.drain()
    assert sending.told[-1][0] == "d4"


def test_a_log_whose_connections_end_without_a_response_is_no_sign_of_a_common_trouble(sending: Sending) -> None:
    sending.server.refuses = above(6000, (413, HTML, {}))
    sending.outbox.put("d3", CRASH)
    rest_due = sending.drain()
    sending.server.refuses = lambda path, size: cut_off()
    sending.clock.pass_time(rest_due)
    sending.outbox.put("d4", Report("running", generation=1))
    sending.drain()
    assert sending.sizes("d3")[-1] == sending.sizes("d3")[0], "the log was tried"
    sending.server.refuses = lambda path, size: None
    sending.outbox.put("d5", Report("running", generation=1))
    sending.drain()
    assert sending.told[-1][0] == "d5"


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_one_deployments_refused_reports_hold_up_no_other(sending: Sending, answer: Answer | Exception) -> None:
    sending.server.refuses = of("d1", answer)
    sending.outbox.put("d3", Report("starting", generation=1))
    sending.outbox.put("d3", Report("running", generation=1))
    sending.drain()
    assert [about for about, _ in sending.told] == ["d2", "d3", "d3"]
    sending.work(3600)
    sending.outbox.put("d4", Report("running", generation=1))
    sending.drain()
    assert sending.told[-1][0] == "d4"
    sending.server.refuses = lambda path, size: None
    sending.work(120)
    assert sending.told[-1][0] == "d1"


def test_what_is_refused_for_an_hour_is_tried_with_backoff(sending: Sending) -> None:
    sending.server.refuses = of("d1", (403, HTML, {}))
    sending.work(3600)
    tried = [path for path in sending.server.requests if "/d1/" in path]
    assert 60 < len(tried) < 200


def test_news_of_a_deployment_do_not_shorten_its_backoff(sending: Sending) -> None:
    sending.server.refuses = of("d1", (403, HTML, {}))
    for number in range(60):
        sending.tell_progress("d1", number)
        sending.work(1)
    assert len([path for path in sending.server.requests if "/d1/" in path]) < 20


def test_order_is_kept_within_a_deployment(sending: Sending) -> None:
    sending.server.failures = [error(503, "UNAVAILABLE")]
    sending.outbox.put("d1", Report("stopping", generation=1))
    sending.work(60)
    assert [report.status for report in sending.of("d1")] == ["running", "stopping"]


def test_a_wall_clock_that_steps_moves_no_retry(sending: Sending) -> None:
    sending.server.failures = [error(503, "UNAVAILABLE")]
    delay = sending.drain()
    sending.wall.pass_time(-86400)
    assert sending.drain() == delay
    sending.clock.pass_time(delay)
    assert sending.drain() == IDLE_SECONDS


def test_a_report_that_breaks_the_reporter_holds_up_nothing(sending: Sending) -> None:
    sending.server.refuses = of("d1", RuntimeError("a bug"))
    assert sending.drain() > 0
    assert [about for about, _ in sending.told] == ["d2"]


# Smaller versions


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
@pytest.mark.parametrize("limit", [6000, 1000, 200])
def test_a_final_status_arrives_by_shrinking_and_its_log_once_the_network_takes_it(
    sending: Sending, answer: Answer | Exception, limit: int
) -> None:
    sending.server.refuses = above(limit, answer)
    sending.outbox.put("d3", CRASH)
    sending.work(60)
    arrived = sending.of("d3")[0]
    assert (arrived.status, arrived.error_code, arrived.generation) == ("error", "CONTAINER_FAILED", 7)
    assert arrived.logs is None
    assert (arrived.message == CRASH.message) == (limit == 6000)
    sending.work(3600)
    assert len(sending.of("d3")) == 1
    sending.server.refuses = lambda path, size: None
    sending.work(1200)
    last = sending.of("d3")[-1]
    assert (last.status, last.message, last.logs, last.fix) == ("error", CRASH.message, CRASH.logs, CRASH.fix)
    assert (last.sequence or 0) > (arrived.sequence or 0), "else it would be late over there"
    assert sending.drain() == IDLE_SECONDS


def test_a_log_that_a_smaller_version_left_out_is_tried_after_a_pause(sending: Sending) -> None:
    sending.server.refuses = above(6000, (413, HTML, {}))
    sending.outbox.put("d3", CRASH)
    pause = sending.drain()
    assert [size > 6000 for size in sending.sizes("d3")] == [True, False]
    sending.clock.pass_time(pause)
    sending.drain()
    assert [size > 6000 for size in sending.sizes("d3")] == [True, False, True]


def test_a_log_is_not_sent_where_the_deployment_has_something_newer_to_report(sending: Sending) -> None:
    sending.server.refuses = above(6000, (413, HTML, {}))
    sending.outbox.put("d3", CRASH)
    sending.work(1000)
    sending.outbox.put("d3", Report("starting", generation=8))
    assert sending.drain() == IDLE_SECONDS, "a backoff of the log holds up nothing"
    sending.server.refuses = lambda path, size: None
    sending.work(1200)
    assert [report.status for report in sending.of("d3")] == ["error", "starting"]


def test_a_log_that_is_owed_survives_a_restart(sending: Sending, tmp_path: Path) -> None:
    sending.server.refuses = above(6000, (413, HTML, {}))
    sending.outbox.put("d3", CRASH)
    sending.drain()
    sending.database.close()
    entry = open_journal(tmp_path).outbox.first()
    assert entry is not None and entry.is_rest and entry.body["logs"] == CRASH.logs


def test_a_report_that_is_refused_is_made_smaller_step_by_step_and_at_once(sending: Sending) -> None:
    sending.server.refuses = of("d3", (403, HTML, {}))
    sending.outbox.put("d3", CRASH)
    sending.drain()
    sizes = sending.sizes("d3")
    assert len(sizes) == 4 and sizes == sorted(set(sizes), reverse=True)
    sending.work(120)
    assert set(sending.sizes("d3")[4:]) == {sizes[-1]}


@pytest.mark.parametrize("answer", [cut_off(), (503, HTML, {})], ids=str)
def test_what_may_be_refused_for_its_size_is_made_smaller_after_two_failures_and_a_result_after_three(
    sending: Sending, answer: Answer | Exception
) -> None:
    for name, body, failures in (
        ("d3", CRASH, 2),
        ("o1", Result("succeeded", output={"logs": "line\n" * 10_000}), 3),
    ):
        sending.server.refuses = of(name, answer)
        sending.outbox.put(name, body)
        sending.work(600)
        whole, *smaller = sending.sizes(name)[failures - 1 :]
        assert set(sending.sizes(name)[:failures]) == {whole}
        assert whole > smaller[0] > smaller[1] > smaller[2]
        assert set(smaller[3:]) == {smaller[2]}
        sending.server.refuses = lambda path, size: None
        sending.work(1200)


def test_a_report_is_not_made_smaller_for_an_outage_of_the_control_plane(sending: Sending) -> None:
    sending.server.refuses = of("d3", error(503, "UNAVAILABLE"))
    sending.outbox.put("d3", CRASH)
    sending.work(600)
    assert len(sending.sizes("d3")) > 5 and len(set(sending.sizes("d3"))) == 1


def test_news_that_has_fewer_versions_than_what_it_takes_the_place_of_is_sent(sending: Sending) -> None:
    sending.server.refuses = of("d3", (403, HTML, {}))
    for report in (CRASH, Report("running", generation=7)):
        sending.database.write(
            lambda connection, report=report: sending.outbox.insert(connection, "d3", report, "the latest")  # type: ignore[misc]
        )
        sending.work(5)
    sending.server.refuses = lambda path, size: None
    sending.work(60)
    assert [report.status for report in sending.of("d3")] == ["running"]


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (CRASH, 100_000),
        (Report("running", generation=1, message="more " * 2000), 6000),
        (Result("failed", error_code="PULL_FAILED", message="more " * 2000), 6000),
    ],
    ids=["a crash report that arrived whole", "a report that is no crash report", "a result"],
)
def test_nothing_follows(sending: Sending, body: Report | Result, limit: int) -> None:
    sending.server.refuses = above(limit, (413, HTML, {}))
    sending.outbox.put("x1", body)
    sending.work(60)
    assert sending.drain() == IDLE_SECONDS
    arrived: list[Report | Result] = [*sending.of("x1"), *(result for _, result in sending.server.results)]
    assert [each.status for each in arrived] == [body.status]


@pytest.mark.parametrize("refusal", [error(400, "INVALID_REQUEST"), error(413, "PAYLOAD_TOO_LARGE")], ids=str)
def test_a_report_that_the_control_plane_itself_refuses_for_its_form_is_shrunk_too(
    sending: Sending, refusal: Answer
) -> None:
    sending.server.refuses = above(6000, refusal)
    sending.outbox.put("d3", CRASH)
    sending.drain()
    assert [report.status for report in sending.of("d3")] == ["error"]


def test_a_report_that_the_control_plane_refuses_at_its_smallest_is_dropped(sending: Sending) -> None:
    sending.server.refuses = of("d1", error(400, "INVALID_REQUEST"))
    assert sending.drain() == IDLE_SECONDS
    assert [about for about, _ in sending.told] == ["d2"]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (Result("succeeded", output={"logs": "line\n" * 10_000}), error(400, "INVALID_REQUEST")),
        (CRASH, error(409, "ILLEGAL_TRANSITION")),
    ],
    ids=["a result for its form", "a report for what it says"],
)
def test_what_no_smaller_version_would_mend_is_dropped_at_once(
    sending: Sending, body: Report | Result, refusal: Answer
) -> None:
    sending.server.refuses = of("x1", refusal)
    sending.outbox.put("x1", body)
    assert sending.drain() == IDLE_SECONDS
    assert len(sending.sizes("x1")) == 1


@pytest.mark.parametrize("answer", [(403, HTML, {}), (413, HTML, {}), error(413, "PAYLOAD_TOO_LARGE")], ids=str)
def test_a_result_that_is_refused_holds_up_no_other_and_arrives_as_what_fits(sending: Sending, answer: Answer) -> None:
    sending.server.refuses = above(6000, answer)
    sending.outbox.put("o1", Result("succeeded", output={"images": ["x" * 10_000]}))
    sending.outbox.put("o2", Result("succeeded", output={"logs": "a" * 10_000 + "the end"}))
    sending.outbox.put("o3", Result("succeeded", output={"space_reclaimed": 7, "kept": ["x" * 10_000]}))
    sending.outbox.put("o4", Result("succeeded", output={"deleted": ["i"]}))
    sending.drain()
    assert [about for about, _ in sending.server.results] == ["o4"]
    sending.work(60)
    results = dict(sending.server.results)
    assert (results["o1"].status, results["o1"].error_code) == ("failed", "RESULT_TOO_LARGE")
    logs = results["o2"].output or {}
    assert results["o2"].status == "succeeded" and logs["truncated"] and logs["logs"].endswith("the end")
    assert (results["o3"].status, results["o3"].output) == ("succeeded", {"space_reclaimed": 7, "kept": []})


def test_a_short_refusal_does_not_cost_a_result_its_output(sending: Sending) -> None:
    sending.outbox.put("o1", Result("succeeded", output={"images": ["x" * 10_000]}))
    sending.server.refuses = lambda path, size: (403, HTML, {})
    sending.drain()
    sending.server.refuses = lambda path, size: None
    sending.work(60)
    assert [result.output for _, result in sending.server.results] == [{"images": ["x" * 10_000]}]


# The condition


def test_a_refusal_names_the_status_and_since_when_and_whose_reports(sending: Sending) -> None:
    sending.server.refuses = lambda path, size: (403, HTML, {})
    sending.outbox.put("o1", Result("succeeded"))
    sending.work(60)
    found = sending.condition
    assert found is not None and found.type == "ReportsRefused"
    what = "reports of 2 deployments and results of 1 operation are refused"
    assert found.message == f"403 from something in between, {SINCE}: {what}"
    assert found.deployments == ["d1", "d2"]
    sending.server.refuses = lambda path, size: None
    sending.work(60)
    sending.work(2 * IDLE_SECONDS)
    assert sending.condition is None


def test_a_log_that_does_not_arrive_is_a_refused_report(sending: Sending) -> None:
    sending.server.refuses = above(6000, (413, HTML, {}))
    sending.outbox.put("d3", CRASH)
    sending.work(10)
    found = sending.condition
    assert found is not None and found.deployments == ["d3"]
    assert found.message == f"413 from something in between, {SINCE}: logs of 1 deployment are refused"


def test_the_condition_has_the_answer_to_what_is_refused_last_and_the_time_of_the_first(sending: Sending) -> None:
    sending.server.refuses = of("d1", (403, HTML, {}))
    sending.work(60)
    sending.wall.pass_time(60)
    sending.server.refuses = lambda path, size: (413 if "/d3/" in path else 403, HTML, {})
    sending.outbox.put("d3", Report("running", generation=1))
    sending.work(60)
    found = sending.condition
    assert found is not None
    assert found.message == f"413 from something in between, {SINCE}: reports of 2 deployments are refused"


def test_the_condition_names_only_what_still_waits(sending: Sending) -> None:
    sending.server.refuses = lambda path, size: (403, HTML, {})
    sending.work(60)
    sending.server.refuses = of("d2", (403, HTML, {}))
    for _ in range(MANY):
        if not sending.told:
            sending.clock.pass_time(sending.reporter.step())
    assert sending.condition is not None and sending.condition.deployments == ["d2"]
    sending.outbox.put("d3", Report("running", generation=1))
    sending.server.refuses = lambda path, size: (403, HTML, {})
    sending.work(60)
    assert sending.condition is not None and sending.condition.deployments == ["d2", "d3"]
    sending.database.write(lambda connection: connection.execute("DELETE FROM spool WHERE about = 'd2'"))
    sending.work(60)
    assert sending.condition is not None and sending.condition.deployments == ["d3"], "what was pushed out is gone"


@pytest.mark.parametrize(
    "answer",
    [(500, HTML, {}), (503, HTML, {}), (429, HTML, {}), error(503, "UNAVAILABLE"), cut_off()],
    ids=str,
)
def test_a_server_error_counts_as_a_refusal_once_it_lasts(sending: Sending, answer: Answer | Exception) -> None:
    sending.server.refuses = of("d1", answer)
    sending.work(30)
    assert sending.condition is None
    sending.work(600)
    assert sending.condition is not None and sending.condition.deployments == ["d1"]


def test_one_refusal_by_chance_is_no_condition(sending: Sending) -> None:
    sending.server.failures = [(403, HTML, {})] * 2
    sending.work(300)
    assert sending.condition is None


# The control plane's own no


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
    entry = sending.outbox.first()
    assert entry is not None and entry.about == "d1"


def test_a_report_that_was_sent_and_cannot_be_forgotten_is_not_sent_again(sending: Sending) -> None:
    forbid_writing(sending.database)
    assert sending.drain() == IDLE_SECONDS
    assert [about for about, _ in sending.told] == ["d1", "d2"]


# The thread


class Ended(BaseException):
    """Ends a thread's loop, which ends with its process otherwise."""


def work_as_thread(sending: Sending, waits: int) -> list[float]:
    """Let the reporter's thread run until it has waited so often; the seconds of each wait."""
    waited: list[float] = []

    def wait(timeout: float | None = None) -> bool:
        waited.append(timeout or 0.0)
        sending.clock.pass_time(timeout or 0.0)
        if len(waited) == waits:
            raise Ended
        return True

    clear, steps = sending.outbox.arrived.clear, iter(range(MANY))

    def step() -> None:
        assert next(steps, None) is not None, "the reporter never waits"
        clear()

    sending.outbox.arrived.wait = wait  # type: ignore[method-assign]
    sending.outbox.arrived.clear = step  # type: ignore[method-assign]
    with pytest.raises(Ended):
        sending.reporter.run()
    return waited


def flushed(sending: Sending) -> bool:
    """Whether a flush ends because everything that can be sent has been, and not with its time."""
    ended: list[bool] = []

    def wait(timeout: float | None = None) -> bool:
        assert timeout == 5.0
        assert sending.outbox.arrived.is_set(), "the thread is woken"
        work_as_thread(sending, 1)
        ended.append(sending.reporter._drained.is_set())
        return ended[-1]

    sending.reporter._drained.wait = wait  # type: ignore[method-assign]
    sending.reporter.flush(5.0)
    return ended == [True]


def test_the_thread_sends_everything_and_then_waits_for_something_new(sending: Sending) -> None:
    assert work_as_thread(sending, 1) == [IDLE_SECONDS]
    assert [about for about, _ in sending.told] == ["d1", "d2"]
    assert not sending.outbox.arrived.is_set(), "what arrives from here on wakes it"


@pytest.mark.parametrize("trouble", [StateError("the journal is damaged"), RuntimeError("a bug")], ids=str)
def test_whatever_happens_to_the_thread_it_goes_on_after_a_while(sending: Sending, trouble: Exception) -> None:
    done, troubles = sending.outbox.done, [trouble]

    def fail(entry: Entry, rest: dict[str, Any] | None = None) -> None:
        if troubles:
            raise troubles.pop()
        done(entry, rest)

    sending.outbox.done = fail  # type: ignore[method-assign]
    waited = work_as_thread(sending, 2)
    assert waited[0] > 0
    assert waited[1] == IDLE_SECONDS
    assert {about for about, _ in sending.told} == {"d1", "d2"}


def test_a_journal_that_cannot_be_read_any_more_stops_the_sending_and_not_one_report_alone(sending: Sending) -> None:
    def damaged(entry: Entry, rest: dict[str, Any] | None = None) -> None:
        raise StateError("the journal is damaged")

    sending.outbox.done = damaged  # type: ignore[method-assign]
    with pytest.raises(StateError):
        sending.reporter.step()


def test_a_flush_ends_as_soon_as_everything_was_sent(sending: Sending) -> None:
    assert flushed(sending)
    assert [about for about, _ in sending.told] == ["d1", "d2"]
    assert flushed(sending), "and so does the next one"


def test_a_flush_does_not_wait_for_what_is_refused_again_and_again(sending: Sending) -> None:
    sending.server.refuses = of("d1", (403, HTML, {}))
    assert flushed(sending)
    assert [about for about, _ in sending.told] == ["d2"]


def test_a_flush_goes_on_for_its_time_where_nobody_can_be_reached(sending: Sending) -> None:
    assert flushed(sending)
    sending.outbox.put("d3", Report("stopped", generation=1))
    sending.server.refuses = lambda path, size: requests.ConnectTimeout("nobody there")
    assert not flushed(sending)


def test_a_flush_does_not_end_before_what_arrives_at_its_end(sending: Sending) -> None:
    in_order, noted = sending.conditions.in_order, list[int]()

    def arrives(type_: ConditionType) -> None:
        in_order(type_)
        noted.append(len(sending.outbox.heads()))
        if noted[-2:] == [0, 0]:  # after the last delivery, and when nothing more was found
            sending.conditions.in_order = in_order  # type: ignore[method-assign]
            sending.outbox.put("d3", Report("stopped", generation=1))

    sending.conditions.in_order = arrives  # type: ignore[method-assign]
    assert not flushed(sending)
    assert flushed(sending)
    assert [about for about, _ in sending.told] == ["d1", "d2", "d3"]


# How long it is until the next start


def looping(sending: Sending, **left: int) -> CrashLoop | None:
    """What is told of a report of 40 s, where so many are left of that generation."""
    sending.drain()
    sending.member.left = {("d1", int(generation[1:])): seconds for generation, seconds in left.items()}
    sending.outbox.put("d1", Report("starting", generation=2, crash_loop=CrashLoop("X", 3, 40)))
    sending.drain()
    return sending.of("d1")[-1].crash_loop


def test_what_is_left_until_the_next_start_is_that_of_the_moment(sending: Sending) -> None:
    assert looping(sending, g2=15) == CrashLoop("X", 3, 15)
    assert looping(sending, g2=0) == CrashLoop("X", 3, 0)


def test_a_later_wait_and_another_generations_are_not_this_reports(sending: Sending) -> None:
    assert looping(sending, g2=80) == CrashLoop("X", 3, 40)
    assert looping(sending, g3=15) == CrashLoop("X", 3, 40)
    assert looping(sending) == CrashLoop("X", 3, 40)
