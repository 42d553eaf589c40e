"""A host's clock that is far from the control plane's is a condition, which holds up nothing."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from muster_agent.conditions import CLEARED_AFTER_SECONDS, Conditions
from muster_agent.control.clock_check import TOLERATED_SKEW_SECONDS, ClockCheck, ahead
from tests.fixtures.agent_world import AgentWorld, Clock

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("written", "sent", "received", "seconds"),
    [
        (NOW, NOW, NOW, 0.0),
        (NOW, NOW + 0.9, NOW + 1, 0.0),
        (NOW, NOW - 20, NOW + 20, 0.0),
        (NOW, NOW + 101, NOW + 130, 100.0),
        (NOW, NOW - 130, NOW - 100, -100.0),
    ],
    ids=["the same", "of the same second", "some time in a slow exchange", "ahead", "behind"],
)
def test_the_offset_is_what_the_time_of_the_exchange_does_not_explain(
    written: float, sent: float, received: float, seconds: float
) -> None:
    assert ahead(formatdate(written, usegmt=True), sent, received) == seconds


@pytest.mark.parametrize("date", [None, "", "yesterday", "Tue, 99 Foo 2026 00:00:00 GMT"])
def test_without_a_date_nothing_is_known(date: str | None) -> None:
    assert ahead(date, NOW, NOW) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (75.0, "75 seconds ahead of"),
        (-75.0, "75 seconds behind"),
        (600.0, "10 minutes ahead of"),
        (-3 * 3600.0, "3 hours behind"),
        (-40 * 86400.0, "40 days behind"),
    ],
)
def test_a_clock_that_is_far_off_is_told_with_its_offset_and_what_to_do(seconds: float, told: str) -> None:
    conditions = Conditions(Clock())
    check = ClockCheck(conditions)
    check.note(seconds)
    assert conditions.current() == []
    check.note(seconds)
    (condition,) = conditions.current()
    assert (condition.type, condition.deployments) == ("ClockSkewed", [])
    assert f"this host's clock is {told} the control plane's" in condition.message
    assert "timedatectl set-ntp true" in condition.message


def test_a_clock_that_is_set_ends_it_and_a_response_without_a_date_changes_nothing() -> None:
    clock = Clock(0.0)
    conditions = Conditions(clock)
    check = ClockCheck(conditions)
    for seconds in (600.0, 600.0, None):
        check.note(seconds)
    assert conditions.current()
    for clock.now in (0.0, CLEARED_AFTER_SECONDS):
        check.note(TOLERATED_SKEW_SECONDS - 1)
    assert conditions.current() == []


def test_a_message_changes_only_with_the_offset_and_not_with_every_heartbeat() -> None:
    conditions = Conditions(Clock())
    check = ClockCheck(conditions)
    told = []
    for seconds in (89.4, 90.6, 89.5, 95.0, 115.0, 119.0, 3600.0, 3700.0):
        check.note(seconds)
        told += [each.message for each in conditions.current()]
    assert len(set(told)) == 2


def test_a_heartbeat_compares_the_clocks(world: AgentWorld) -> None:
    world.server.date = lambda: world.clock.now - 3600
    world.beat()
    world.beat()
    assert world.server.beats[-1].conditions is None
    world.beat()
    reported = world.server.beats[-1].conditions
    assert reported is not None and [each.type for each in reported] == ["ClockSkewed"]
    assert "60 minutes ahead of" in reported[0].message
