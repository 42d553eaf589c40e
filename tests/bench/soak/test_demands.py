"""What counts as lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bench.soak.async_http import Trouble
from bench.soak.demands import Demand, Demands


@pytest.fixture
def demands() -> Demands:
    made = Demands(1, Trouble(), ["w1"], random.Random(1))
    made.accepted = {"d1": Demand("w1", "running", 7)}
    return made


RUNNING = {"d1": {"generation": 7, "status": "running"}}


def test_what_came_about_is_not_lost(demands: Demands) -> None:
    assert demands.losses(RUNNING, {"d1": "running"}) == []


@pytest.mark.parametrize(
    ("listed", "held", "loss"),
    [
        ({}, {}, "d1 is not in the list"),
        ({"d1": {"generation": 6, "status": "running"}}, {"d1": "running"}, "generation 6, and 7 was accepted"),
        ({"d1": {"generation": 7, "status": "starting"}}, {"d1": "running"}, "d1 is starting, and running"),
        (RUNNING, {"d1": "stopped"}, "d1 is stopped at its agent"),
        (RUNNING, {}, "d1 is None at its agent"),
    ],
)
def test_a_demand_that_did_not_come_about_is_lost(
    demands: Demands, listed: dict[str, Any], held: dict[str, str], loss: str
) -> None:
    (text,) = demands.losses(listed, held)
    assert loss in text


def test_a_deploy_that_was_stopped_before_it_was_sent_is_not_lost(demands: Demands) -> None:
    demands.accepted["d1"].wanted = "stopped"
    assert demands.losses({"d1": {"generation": 7, "status": "stopped"}}, {}) == []
