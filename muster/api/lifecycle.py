"""The two state machines. Whoever stores a state asks here whether it may move, and stores it on that condition.

A deployment's status is what its worker last reported; what operators want is `desired`, another field.

     pending ─ downloading ─ starting ──► running ──► stopping ──► stopped
        └───────────┴───────────┴────────────┴────────────┴──► error

The first three come in any order, since an image may be cached, and `running` may follow each of them. Not drawn:
any live state may go to stopping or stopped; running goes back to starting when the agent restarts the container;
an error that only meant lost contact (WORKER_LOST, CONTAINER_LOST) goes back to running, or on to stopped, when its
worker reports that of the same generation. A new generation of a deploy starts at pending.

An operation is everything else that a worker is asked for. It runs once.

    queued ──► sent ──► accepted ──► running ──► succeeded
       │         │          │           └──────► failed
       ├► cancelled, expired: only what was never sent can be taken back
       └─────────┴──────────┴──────────────────► succeeded, failed: a result settles it from wherever it was
                                    failed/RESULT_LOST ──► succeeded, failed: the late result
"""

from __future__ import annotations

from muster.api.compat import StrEnum


class Status(StrEnum):
    """The status of a deployment, as its worker last reported it."""

    PENDING = "pending"
    DOWNLOADING = "downloading"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


LIVE = frozenset(Status) - {Status.STOPPED, Status.ERROR}
"""States in which a deployment holds its GPUs and may have a container."""

COMING_UP = frozenset({Status.PENDING, Status.DOWNLOADING, Status.STARTING})
ENDING = frozenset({Status.STOPPING, Status.STOPPED, Status.ERROR})

MOVES: dict[Status, frozenset[Status]] = {
    Status.PENDING: COMING_UP | ENDING | {Status.RUNNING},
    Status.DOWNLOADING: COMING_UP | ENDING | {Status.RUNNING},
    Status.STARTING: COMING_UP | ENDING | {Status.RUNNING},
    Status.RUNNING: ENDING | {Status.STARTING},
    Status.STOPPING: frozenset({Status.STOPPED, Status.ERROR}),
    Status.STOPPED: frozenset(),
    Status.ERROR: frozenset(),
}

CONTACT_LOST = frozenset({"WORKER_LOST", "CONTAINER_LOST", "WORKER_REMOVED"})
"""Errors that the control plane concluded by itself; the worker's own word undoes them. A removed worker has none,
unless its removal was cut off in the middle."""


def may_move(current: Status, new: Status, error_code: str | None = None) -> bool:
    """Whether a deployment in `current` (with `error_code`, where that is an error) may be reported as `new`."""
    if current is Status.ERROR and error_code in CONTACT_LOST:
        return new in (Status.RUNNING, Status.STOPPED)
    return new is not current and new in MOVES[current]


class OperationStatus(StrEnum):
    """The status of an operation, which has ended if it is `succeeded`, `failed`, `expired`, or `cancelled`."""

    QUEUED = "queued"
    SENT = "sent"
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OPEN = frozenset({OperationStatus.QUEUED, OperationStatus.SENT, OperationStatus.ACCEPTED, OperationStatus.RUNNING})
"""States in which an operation still waits for its result."""

OPERATION_MOVES: dict[OperationStatus, frozenset[OperationStatus]] = {
    OperationStatus.QUEUED: frozenset(OperationStatus) - {OperationStatus.QUEUED},
    OperationStatus.SENT: frozenset(
        {OperationStatus.ACCEPTED, OperationStatus.RUNNING, OperationStatus.SUCCEEDED, OperationStatus.FAILED}
    ),
    OperationStatus.ACCEPTED: frozenset({OperationStatus.RUNNING, OperationStatus.SUCCEEDED, OperationStatus.FAILED}),
    OperationStatus.RUNNING: frozenset({OperationStatus.SUCCEEDED, OperationStatus.FAILED}),
    OperationStatus.SUCCEEDED: frozenset(),
    OperationStatus.FAILED: frozenset(),
    OperationStatus.EXPIRED: frozenset(),
    OperationStatus.CANCELLED: frozenset(),
}


def sources(new: OperationStatus) -> list[OperationStatus]:
    """The states from which an operation may move to `new`, for the store's condition."""
    return [state for state, targets in OPERATION_MOVES.items() if new in targets]
