"""The two state machines as properties, and the store that refuses what they do not allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.contract.errors import ApiError
from chalicelib.contract.lifecycle import (
    CONTACT_LOST,
    LIVE,
    MOVES,
    OPEN,
    OPERATION_MOVES,
    OperationStatus,
    Status,
    may_move,
    sources,
)
from tests.fixtures.plane_world import PlaneWorld

STATUS = st.sampled_from(Status)


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(Status)
    assert set(OPERATION_MOVES) == set(OperationStatus)


@given(STATUS)
def test_any_live_state_may_end(status: Status) -> None:
    for end in (Status.STOPPED, Status.ERROR):
        assert may_move(status, end) == (status in LIVE)


@given(STATUS, STATUS, st.sampled_from([None, "CUDA_OUT_OF_MEMORY", *CONTACT_LOST]))
def test_only_lost_contact_is_undone(current: Status, new: Status, error_code: str | None) -> None:
    if current in (Status.STOPPED, Status.ERROR):
        undone = current is Status.ERROR and error_code in CONTACT_LOST and new is Status.RUNNING
        assert may_move(current, new, error_code) == undone


@given(STATUS, STATUS, STATUS)
def test_the_first_three_come_in_any_order(a: Status, b: Status, c: Status) -> None:
    first = {Status.PENDING, Status.DOWNLOADING, Status.STARTING}
    if a != b and {a, b} <= first:
        assert may_move(a, b)
    if a in first and b is Status.RUNNING:
        assert may_move(a, b) and not (may_move(b, c) and c in first - {Status.STARTING})


@given(st.sampled_from(OperationStatus))
def test_an_ended_operation_stays_ended(status: OperationStatus) -> None:
    assert bool(OPERATION_MOVES[status]) == (status in OPEN)
    assert all(source in OPEN for source in sources(status))


@pytest.mark.parametrize(
    ("reached", "refused"),
    [
        (["running"], "downloading"),
        (["running", "stopped"], "running"),
        (["running", "stopping"], "running"),
        (["error"], "running"),
        (["starting", "error"], "stopping"),
    ],
)
def test_the_store_refuses_an_illegal_move_and_names_both_states(
    world: PlaneWorld, reached: list[str], refused: str
) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.beat()
    for status in reached:
        assert worker.report(deployment_id, status).applied
    with pytest.raises(ApiError, match=f"{reached[-1]} → {refused}") as caught:
        worker.report(deployment_id, refused)
    assert caught.value.error_code == "ILLEGAL_TRANSITION"
    assert world.see(deployment_id).status == reached[-1]


def test_the_same_status_again_changes_nothing(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    assert not worker.report(deployment_id, "running").applied


def test_running_to_starting_is_a_restart_by_the_agent(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.report(deployment_id, "starting", restarts=1, error_code="CONTAINER_FAILED", logs="the reason")
    seen = world.see(deployment_id)
    assert (seen.status, seen.restarts) == ("starting", 1)
    assert seen.last_crash is not None and seen.last_crash.logs == "the reason"


def test_a_crash_while_starting_is_kept_although_the_status_is_the_same(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.beat()
    worker.report(deployment_id, "starting")
    again = {"restarts": 1, "error_code": "CONTAINER_FAILED", "message": "it ended with 2", "logs": "the reason"}
    assert worker.report(deployment_id, "starting", **again).applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.restarts, seen.message) == ("starting", 1, "it ended with 2")
    assert seen.last_crash is not None and seen.last_crash.logs == "the reason"
