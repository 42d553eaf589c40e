"""A condition is set after two looks in a row, and cleared after 60 seconds without the trouble."""

import logging

import pytest

from muster.api.conditions import ConditionType
from muster.api.messages import ReportedCondition
from muster_agent.conditions import CLEARED_AFTER_SECONDS, Conditions

DOWN, LOST = ConditionType.ENGINE_UNAVAILABLE, ConditionType.GPU_LOST


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def set_(conditions: Conditions, message: str = "Docker is down") -> None:
    for _ in range(2):
        conditions.trouble(DOWN, message)


def test_one_look_sets_nothing_and_the_second_does() -> None:
    conditions = Conditions(Clock())
    conditions.trouble(DOWN, "Docker is down")
    assert conditions.current() == []
    conditions.trouble(DOWN, "Docker is still down")
    assert conditions.current() == [ReportedCondition("EngineUnavailable", "Docker is still down")]


def test_a_look_in_order_between_two_in_trouble_sets_nothing() -> None:
    conditions = Conditions(Clock())
    conditions.trouble(DOWN, "Docker is down")
    conditions.in_order(DOWN)
    conditions.trouble(DOWN, "Docker is down")
    assert conditions.current() == []


def test_it_is_cleared_when_the_trouble_was_not_seen_for_a_minute() -> None:
    clock = Clock()
    conditions = Conditions(clock)
    set_(conditions)
    conditions.in_order(DOWN)
    clock.now = CLEARED_AFTER_SECONDS - 1
    conditions.in_order(DOWN)
    assert conditions.current(), "one minute has not passed"
    clock.now = CLEARED_AFTER_SECONDS
    conditions.in_order(DOWN)
    assert conditions.current() == []


def test_trouble_during_that_minute_begins_it_anew() -> None:
    clock = Clock()
    conditions = Conditions(clock)
    set_(conditions)
    conditions.in_order(DOWN)
    clock.now = CLEARED_AFTER_SECONDS - 1
    conditions.trouble(DOWN, "again")
    clock.now = CLEARED_AFTER_SECONDS
    conditions.in_order(DOWN)
    assert [each.message for each in conditions.current()] == ["again"]


def test_nobody_looking_clears_nothing() -> None:
    clock = Clock()
    conditions = Conditions(clock)
    set_(conditions)
    clock.now = 10 * CLEARED_AFTER_SECONDS
    assert conditions.current(), "a look may hang: silence is not a sign of order"


def test_each_type_is_by_itself_and_says_what_it_holds_up() -> None:
    conditions = Conditions(Clock())
    for _ in range(2):
        conditions.trouble(LOST, "GPU 1 fell off the bus", gpus=[1])
    set_(conditions)
    conditions.in_order(LOST)
    assert [(each.type, each.gpus) for each in conditions.current()] == [("EngineUnavailable", None), ("GpuLost", [1])]


def test_the_log_has_a_line_when_it_is_set_when_its_message_changes_and_when_it_is_cleared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muster_agent.conditions")
    clock = Clock()
    conditions = Conditions(clock)
    for message in ("down", "down", "down", "hangs", "hangs"):
        conditions.trouble(DOWN, message)
    for clock.now in (0.0, 30.0, 60.0, 90.0):
        conditions.in_order(DOWN)
    assert caplog.messages == [
        "condition EngineUnavailable: down",
        "condition EngineUnavailable: hangs",
        "condition EngineUnavailable has ended",
    ]


def test_a_single_look_in_trouble_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muster_agent.conditions")
    conditions = Conditions(Clock())
    conditions.trouble(DOWN, "down")
    conditions.in_order(DOWN)
    assert caplog.messages == []
