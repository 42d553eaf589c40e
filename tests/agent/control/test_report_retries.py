"""The state of each deployment's delivery: what a backoff is kept for, and when a failure counts as a refusal."""

from __future__ import annotations

from random import Random

from muster_agent.control.report_retries import OUTAGE_SECONDS, ReportRetries
from muster_agent.state.outbox import Head

REPORT, NEXT, REST = Head(1, "status", "d1"), Head(2, "status", "d1"), Head(3, "status", "d1", is_rest=True)
OTHER, RESULT = Head(4, "status", "d2"), Head(5, "result", "d1")


def test_deployments_and_operations_have_attempts_of_their_own() -> None:
    attempts = ReportRetries(Random(1))
    attempts.of(REPORT).due = 7.0
    assert attempts.of(NEXT).due == 7.0
    assert attempts.of(OTHER).due == attempts.of(RESULT).due == 0.0


def test_a_report_starts_afresh_after_a_rest() -> None:
    attempts = ReportRetries(Random(1))
    attempts.of(REPORT).note("403", True, 5.0, 1005.0)
    attempts.rest_follows(REPORT, 10.0)
    rest = attempts.of(REST)
    assert rest.due > 10.0 and (rest.since, rest.answer) == (1005.0, "403")
    attempts.keep_only([NEXT])
    assert attempts.of(NEXT).due == 0.0
    assert attempts.in_trouble(10.0) == {}


def test_what_is_gone_is_forgotten() -> None:
    attempts = ReportRetries(Random(1))
    for head in (REPORT, OTHER):
        attempts.of(head).note("403", True, 0.0, 1000.0)
    attempts.keep_only([OTHER])
    assert attempts.in_trouble(0.0).keys() == {OTHER.key}
    attempts.delivered(OTHER)
    assert attempts.in_trouble(0.0) == {}


def test_an_outage_counts_as_a_refusal_once_it_lasts_and_a_refusal_at_once() -> None:
    attempts = ReportRetries(Random(1))
    attempts.of(REPORT).note("503", False, 0.0, 1000.0)
    attempts.of(OTHER).note("403", True, 0.0, 1000.0)
    assert attempts.in_trouble(OUTAGE_SECONDS - 1).keys() == {OTHER.key}
    assert attempts.in_trouble(OUTAGE_SECONDS).keys() == {OTHER.key, REPORT.key}
    attempts.of(OTHER).note("503", False, 1.0, 1001.0)
    assert attempts.in_trouble(1.0)[OTHER.key].since == 1000.0
