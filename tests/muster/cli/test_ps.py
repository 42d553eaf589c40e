"""muster ps: where each deployment is, and its status in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from muster.api import messages as m
from muster.cli.ps import endpoint_of, gpus_of, status_of
from tests.fixtures.operators import Operators
from tests.fixtures.resources import NOW, condition, deployment
from tests.fixtures.tables import columns


def loop(times: int, next_start_in: int | None = None) -> m.CrashLoop:
    return m.CrashLoop("CUDA_OUT_OF_MEMORY", times, next_start_in)


MODEL = "deploy org/model --name m --gpus 0 --wait"


def test_ps_lists_the_models_and_where_they_are_reached(operators: Operators) -> None:
    operators.out(MODEL)
    operators.clock.pass_time(60)
    head, row = columns(operators.out("ps"))
    assert head == ["NAME", "STATUS", "MODEL", "WORKER", "GPUS", "ENDPOINT", "AGE", "ID"]
    assert row[:7] == ["m", "running", "org/model", "gpu-1", "none", "local only: no address", "1m"]
    assert operators.out("ps --status error") == "No deployments: muster deploy MODEL\n"
    assert len(columns(operators.out("ps --on gpu-1"))) == 2


def test_a_model_that_cannot_be_reached_is_shown_with_its_age(operators: Operators) -> None:
    operators.out(MODEL)
    operators.clock.pass_time(725)
    assert columns(operators.out("ps"))[1][1] == "running (unreachable 12m)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "running"),
        ({"restarts": 2}, "running (restarts: 2)"),
        ({"desired": "stopped"}, "stopping"),
        ({"desired": "stopped", "status": "stopped"}, "stopped"),
        ({"status": "error", "error_code": "PORT_IN_USE", "reachable": False}, "error: PORT_IN_USE"),
        ({"status": "pending", "worker_id": None}, "pending: no place"),
        ({"status": "pending"}, "pending"),
        ({"status": "starting", "progress": {"phase": "compiling"}}, "starting: compiling"),
        ({"reachable": False}, "running (unreachable 12m)"),
        ({"conditions": [condition(), condition(type="New")]}, "running (GpuLost, New)"),
        ({"status": "error", "error_code": "X", "conditions": [condition()]}, "error: X"),
        ({"reachable": False, "restarts": 1}, "running (unreachable 12m) (restarts: 1)"),
        (
            {"status": "starting", "restarts": 3, "crash_loop": loop(3, 40)},
            "crash loop: CUDA_OUT_OF_MEMORY, next start in 40 s (restarts: 3)",
        ),
        (
            {"status": "starting", "crash_loop": loop(12, 1800)},
            "crash loop: CUDA_OUT_OF_MEMORY, next start in 30 min; the same cause 12 times",
        ),
        (
            {"status": "starting", "progress": {"phase": "compiling"}, "crash_loop": loop(3)},
            "starting: compiling (crash loop: CUDA_OUT_OF_MEMORY)",
        ),
        ({"crash_loop": loop(3), "restarts": 3}, "running (crash loop: CUDA_OUT_OF_MEMORY) (restarts: 3)"),
    ],
)
def test_a_state_is_shown_in_words(changes: dict[str, object], words: str) -> None:
    assert status_of(deployment(**changes), NOW + timedelta(minutes=12)) == words


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"gpu_indexes": [0, 2]}, "0,2"),
        ({"gpu_indexes": [], "gpus": 2}, "2 wanted"),
        ({"gpu_indexes": [], "gpus": [3]}, "[3] wanted"),
        ({"gpu_indexes": [], "gpus": 0}, "none"),
    ],
)
def test_the_gpus_are_those_it_has_else_those_it_wants(changes: dict[str, object], shown: str) -> None:
    assert gpus_of(deployment(**changes)) == shown


def test_only_a_running_model_has_an_endpoint() -> None:
    assert endpoint_of(deployment()) == "http://10.0.0.7:20000"
    assert endpoint_of(deployment(endpoint=None)) == "local only: no address"
    assert endpoint_of(deployment(status="starting", endpoint=None)) is None


def test_an_instance_that_serves_while_a_change_is_prepared_has_an_endpoint() -> None:
    older = deployment(status="downloading", generation=2, serving_generation=1, serving_worker_id="w1")
    assert endpoint_of(older) == "http://10.0.0.7:20000"
    hidden = deployment(endpoint=None, endpoint_problem="worker b holds it")
    assert endpoint_of(hidden) == "none: see muster show"
