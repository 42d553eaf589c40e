"""The two state machines as properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster.api.lifecycle import (
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
        is_lost = current is Status.ERROR and error_code in CONTACT_LOST
        undone = is_lost and new in (Status.RUNNING, Status.STOPPED)
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
