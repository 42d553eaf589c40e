"""How far ahead a worker's numbers may be: generations and sessions that it sends back are stored and compared.

Both are milliseconds of the control plane's clock (store.grow). A worker may know a larger one than is stored, after an
older database was restored, and never one that lies in the future. An unbounded one would leave a deployment, or a
worker, for which nothing newer is possible.
"""

from __future__ import annotations

from chalicelib.fleet.workers import MAX_CLOCK_SKEW_SECONDS
from chalicelib.store.items import find, update_if
from chalicelib.store.tables import WorkerHeartbeat
from muster.api.errors import ApiError


def latest(now: float) -> int:
    """The largest number that the control plane can have given by `now`."""
    return int((now + MAX_CLOCK_SKEW_SECONDS) * 1000)


def check(field: str, number: int | None, stored: float, now: float) -> None:
    """Raises INVALID_REQUEST for one that is above both the `stored` one and what the clock allows."""
    most = max(int(stored), latest(now))
    if number is not None and number > most:
        raise ApiError(
            "INVALID_REQUEST",
            f"{field}: expected at most {most} (the stored one, or the control plane's time), got {number}; send back"
            " the one that the control plane gave",
        )


def check_session(worker_id: str, session: int | None, now: float) -> None:
    """Reads the worker only if the clock alone cannot decide. Raises INVALID_REQUEST."""
    if session is not None and session > latest(now):
        heartbeat = find(WorkerHeartbeat, worker_id)
        check("session", session, heartbeat.session if heartbeat else 0, now)


def adopt_session(worker_id: str, session: int | None, now: float) -> None:
    """Let the worker's next session be above this one, by which its reports are ordered. Raises INVALID_REQUEST.

    The next session is above every one of the past; only one that is ahead of the clock has to be stored.
    """
    check_session(worker_id, session, now)
    if session is not None and session >= int(now * 1000):
        update_if(
            WorkerHeartbeat(worker_id),
            [WorkerHeartbeat.session.set(session)],
            (WorkerHeartbeat.session < session) & WorkerHeartbeat.gone.does_not_exist(),
        )
