"""What every route shares: who calls, what was sent, and one shape for whatever goes wrong.

The order of checks is PROTOCOL's: route and method by the gateway; then credential, role, body, resource.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Response
from pynamodb.exceptions import PutError, PynamoDBException

from chalicelib.auth import access, refusals
from chalicelib.auth.tokens import Principal
from chalicelib.fleet import workers
from chalicelib.operations import queue, wait_limit
from chalicelib.routes import parsing
from chalicelib.routes.matching import MethodNotAllowed
from chalicelib.store import idempotency
from chalicelib.store.items import TransactionConflict
from chalicelib.store.tables import Operation
from chalicelib.telemetry import access_log
from muster.api import messages as m
from muster.api import resources as r
from muster.api.endpoints import BY_NAME, Access, Endpoint
from muster.api.errors import ApiError
from muster.api.lifecycle import OPEN, OperationStatus
from muster.api.structs import Value

BUSY = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
}
"""DynamoDB's errors that another attempt may not meet."""
LOG = logging.getLogger("muster")
S = TypeVar("S", bound=msgspec.Struct)


class Clock(Value, frozen=True):
    """Where routes read the time, in epoch seconds, and how they wait."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


SYSTEM = Clock()
CLOCK: ContextVar[Clock] = ContextVar("clock", default=SYSTEM)
"""The clock that routes use for the current request. Tests set a virtual clock around their requests."""


class Call(Value, frozen=True):
    """One request. `ids`: the path's parameters, decoded once. `principal`: None where none is needed, or known yet."""

    endpoint: Endpoint
    ids: dict[str, str]
    headers: Any
    query: dict[str, str]
    raw: bytes
    now: float
    principal: Principal | None = None

    @property
    def bearer(self) -> str | None:
        scheme, _, secret = str(self.headers.get("authorization", "")).partition(" ")
        return secret.strip() or None if scheme.lower() == "bearer" else None

    @property
    def secret(self) -> str:
        """The credential. Raises UNAUTHENTICATED if there is none."""
        if self.bearer is None:
            raise refusals.missing()
        return self.bearer

    def authenticate(self) -> Principal:
        """Who presents the credential. Raises what `chalicelib.auth.access.principal` raises."""
        return access.principal(self.secret, self.endpoint, self.ids.get("worker_id"), self.now)

    @property
    def by(self) -> Principal:
        assert self.principal is not None, "the route needs a credential"
        return self.principal

    def body(self, type_: type[S]) -> S:
        return parsing.body(self.raw, type_)

    def params(self, type_: type[S]) -> S:
        return parsing.query(self.query, type_)

    @property
    def once(self) -> idempotency.Key | None:
        """From the Idempotency-Key header; the path belongs to the key, since ids are in it. Raises INVALID_REQUEST."""
        key = self.headers.get("idempotency-key")
        if key is None:
            return None
        if not key.strip():
            # Whoever sends one relies on it: what is made twice all the same would be found too late.
            raise ApiError("INVALID_REQUEST", "Idempotency-Key: expected at least one character")
        route = "\0".join([self.endpoint.name, *self.ids.values()])
        return idempotency.key_for(self.by.id, route, key, self.raw)


Handler = Callable[[Call], Any]


HANDLERS: dict[str, Handler] = {}
"""By the names of the endpoints: those that are imported by now (table.py)."""


def route(name: str) -> Callable[[Handler], Handler]:
    """Make a function the handler of that endpoint. It gets a call whose credential and role were checked."""

    def register(handler: Handler) -> Handler:
        HANDLERS[name] = handler
        return handler

    return register


def answer(endpoint: Endpoint, request: Any, ids: dict[str, str]) -> Response:
    """The response of the endpoint's handler. `ids` are the path's parameters, as they were sent."""

    def handled() -> Response:
        decoded = {name: unquote(value) for name, value in ids.items()}
        raw = bytes(request.raw_body or b"")
        call = Call(endpoint, decoded, request.headers, dict(request.query_params or {}), raw, CLOCK.get().now())
        made = HANDLERS[endpoint.name](authenticated(call))
        answered = made if isinstance(made, Response) else dump(made, endpoint.status)
        return negotiated(answered, request.headers) if endpoint.method == "GET" else answered

    return guarded(endpoint.name, handled)


def negotiated(answered: Response, headers: Any) -> Response:
    """What `negotiation.negotiated` returns, which a cold start for a heartbeat does not import (docs/adr/0044)."""
    from chalicelib.routes import negotiation

    return negotiation.negotiated(answered, headers)


def guarded(name: str, answer: Callable[[], Response]) -> Response:
    """Whatever goes wrong, the caller gets our shape, and the log gets the reason."""
    try:
        return answer()
    except ApiError as error:
        return failure(error)
    except Exception as error:
        # Chalice would answer in a shape of its own, and its middleware does not see the exception.
        return failure(unexpected(error, name))


def dump(answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return Response(body.decode(), {"Content-Type": "application/json", **(headers or {})}, status)


def failure(error: ApiError) -> Response:
    """The response of an error, with the headers that its status calls for."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if error.error_code == "UNAUTHENTICATED":
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    return dump(r.ErrorBody(error.error_code, error.message), error.status, headers)


def unexpected(error: Exception, where: str) -> ApiError:
    """Log an exception that no route foresaw; UNAVAILABLE if the database is the cause, else INTERNAL_ERROR."""
    request_id = access_log.REQUEST.get() or str(uuid.uuid4())
    cause = getattr(error, "cause", None) or error
    code = cause.response.get("Error", {}).get("Code") if isinstance(cause, ClientError) else None
    unreachable = isinstance(cause, BotoCoreError) or (isinstance(error, PynamoDBException) and code in BUSY)
    # Without a cause, DynamoDB left a part of a batch unprocessed as often as PynamoDB sends one.
    left_unprocessed = isinstance(error, PutError) and error.cause is None
    if unreachable or left_unprocessed or isinstance(error, TransactionConflict):
        LOG.warning("database unavailable in %s: %s (%s)", where, code or type(cause).__name__, request_id)
        return ApiError(
            "UNAVAILABLE", f"the database cannot be reached or is busy; try again ({request_id})", retry_after=2
        )
    LOG.error("unexpected error in %s (%s)", where, request_id, exc_info=error)
    return ApiError("INTERNAL_ERROR", f"internal error; the log has it under the request ID {request_id}")


# Credentials and roles


def authenticated(call: Call) -> Call:
    """The call with its principal, unless its endpoint is open to anyone or authenticates itself.

    Raises UNAUTHENTICATED, FORBIDDEN, SESSION_SUPERSEDED, WORKER_REMOVED, INVALID_REQUEST.
    """
    endpoint = call.endpoint
    if endpoint.access is not Access.ANYONE and not endpoint.authenticates_itself:
        call = msgspec.structs.replace(call, principal=call.authenticate())
    if endpoint.body is None and endpoint.method != "GET" and call.raw:
        call.body(m.Nothing if endpoint.access is Access.WORKER else r.Nothing)
    return call


def admit(name: str, ids: dict[str, str], headers: Mapping[str, str], length: int) -> None:
    """Check a request of the endpoint `name` whose body of `length` bytes has not arrived.

    Raises ApiError, as the endpoint itself would once it had read the body.
    """
    endpoint = BY_NAME.get(name)
    if endpoint is not None and endpoint.access is not Access.ANYONE:
        decoded = {name: unquote(value) for name, value in ids.items()}
        Call(endpoint, decoded, headers, {}, b"", CLOCK.get().now()).authenticate()
    if length > parsing.MAX_BODY_BYTES:
        raise parsing.too_large()


# Operations that look synchronous


def ask(call: Call, worker_id: str, type_: str, parameters: dict[str, Any], seconds: float) -> Response:
    """Enqueue, wait if there is a permit, and answer: the output, 202 with where to look, or the worker's own error."""
    clock = CLOCK.get()
    operation = queue.enqueue(worker_id, type_, parameters, call.by.label, call.now, call.once)
    if OperationStatus(operation.status) in OPEN:
        with wait_limit.permit(seconds, clock.now()) as may_wait:
            operation = queue.wait(operation, seconds if may_wait else 0, clock.now, clock.sleep)
    if OperationStatus(operation.status) in OPEN:
        return _accepted(operation)
    return dump(queue.output_of(operation))


def _accepted(operation: Operation) -> Response:
    view = queue.view(operation)
    next_heartbeat = max(1, workers.due_in(workers.get(view.worker_id).heartbeat, CLOCK.get().now()))
    body = r.Accepted(view.operation_id, view.status, view.expires_at, next_heartbeat)
    headers = {"Location": f"/api/operations/{view.operation_id}", "Retry-After": str(next_heartbeat)}
    return dump(body, 202, headers)
