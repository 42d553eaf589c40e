"""Why a credential opens nothing: one place for the errors of everyone who presents one."""

from __future__ import annotations

from chalicelib.auth import tokens
from chalicelib.auth.tokens import Principal
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat
from muster.api.endpoints import Access, Endpoint
from muster.api.errors import ApiError


def missing() -> ApiError:
    return ApiError("UNAUTHENTICATED", "expected the header `Authorization: Bearer …`")


def superseded() -> ApiError:
    return ApiError("SESSION_SUPERSEDED", "a newer session of this worker superseded this one; stop this agent")


def removed() -> ApiError:
    return ApiError("WORKER_REMOVED", "an operator removed this worker; it may join again with a registration token")


def explain(secret: str, endpoint: Endpoint, worker_id: str | None, now: float) -> ApiError:
    """Why `secret` does not open `endpoint`. `worker_id`: the worker that the path names, if it names one."""
    key = tokens.api_key(secret)
    return lacks_role(key, endpoint) if key is not None else no_api_key(secret, endpoint, worker_id, now)


def no_api_key(secret: str, endpoint: Endpoint, worker_id: str | None, now: float) -> ApiError:
    """Why `secret`, which is no API key, does not open `endpoint`."""
    presented = tokens.digest(secret)
    owner_id = tokens.worker_named_by(secret) or worker_id  # a registration token names no worker
    owner = find(WorkerHeartbeat, owner_id) if owner_id else None
    if owner and tokens.opens(owner, presented, now) and not (owner_id == worker_id and is_own(endpoint)):
        return ApiError("FORBIDDEN", "a worker's token opens that worker's own routes and nothing else")
    heartbeat = owner if owner_id == worker_id else find(WorkerHeartbeat, worker_id) if worker_id else None
    if heartbeat is None or not (tokens.opens(heartbeat, presented, now) or tokens.was_retired(heartbeat, presented)):
        return ApiError("UNAUTHENTICATED", "the credential is unknown, expired or revoked; register again")
    return removed() if heartbeat.gone else superseded()


def lacks_role(key: Principal, endpoint: Endpoint) -> ApiError:
    if endpoint.access is Access.WORKER:
        return ApiError("FORBIDDEN", "this route is for workers; an API key does not open it")
    needed, has = endpoint.access.name.lower(), key.access.name.lower()
    return ApiError("FORBIDDEN", f"this needs the role {needed}; the key's is {has}")


def is_own(endpoint: Endpoint) -> bool:
    """Whether the worker that the path names may call it with its own token."""
    return endpoint.access is Access.WORKER or endpoint.own_worker
