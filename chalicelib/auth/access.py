"""Who calls, and whether the route is open to that caller.

Endpoints that authenticate themselves (the heartbeat, whose one write checks its token) are the exception: they ask
refusals.py alone, and only after that write failed.
"""

from __future__ import annotations

from chalicelib.auth import provisional, refusals, tokens
from chalicelib.auth.tokens import Principal
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat
from muster.api.endpoints import Access, Endpoint
from muster.api.errors import ApiError


def principal(secret: str, endpoint: Endpoint, worker_id: str | None, now: float) -> Principal:
    """The worker `worker_id` on its own routes, or an API key.

    Raises UNAUTHENTICATED, FORBIDDEN, SESSION_SUPERSEDED, WORKER_REMOVED.
    """
    presented = tokens.digest(secret)
    if worker_id and refusals.is_own(endpoint):
        heartbeat = find(WorkerHeartbeat, worker_id)
        if heartbeat and tokens.opens(heartbeat, presented, now):
            tokens.first_use(heartbeat, presented)
            return Principal(f"worker {worker_id}", Access.WORKER, worker_id)
    key = tokens.api_key(secret)
    if key is not None:
        if not _suffices(key.access, endpoint.access):
            raise refusals.lacks_role(key, endpoint)
        return key
    if worker_id and provisional.waits(worker_id, presented):
        return _provisional(worker_id, endpoint)
    raise refusals.no_api_key(secret, endpoint, worker_id, now)


def _suffices(has: Access, needed: Access) -> bool:
    """Whether a key of that access opens a route: an exact match for gateways' routes, the order for operators', in
    which CALLER and GATEWAY are below all."""
    if needed in (Access.WORKER, Access.GATEWAY):
        return has is needed
    return has >= needed


def _provisional(worker_id: str, endpoint: Endpoint) -> Principal:
    """A client that registered while the worker was online: it may report, which changes nothing, and no more."""
    if endpoint.access is not Access.WORKER:
        raise ApiError("FORBIDDEN", "this client registered provisionally; the worker itself is online")
    return Principal(f"worker {worker_id}", Access.WORKER, worker_id, provisional=True)
