"""The engine in the place of botocore's client: PynamoDB calls no more of it than `_make_api_call`.

botocore's serializer, signer, and parser cost more than the database, and none of them is part of a call here.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.local.dynamodb.group_commit import CommitFailed
from infra.local.dynamodb.refusals import Refused

if TYPE_CHECKING:
    from infra.local.dynamodb.engine import Engine


class Seen:
    """`sequence` is the last change that an answer inside depends on."""

    def __init__(self) -> None:
        self.sequence = 0


_SEEN: ContextVar[Seen | None] = ContextVar("_SEEN", default=None)


class Deferred:
    """Calls inside return before what they saw is durable. The caller holds its own answer back until it is."""

    def __enter__(self) -> Seen:
        seen = Seen()
        self._token: Token[Seen | None] = _SEEN.set(seen)
        return seen

    def __exit__(self, *_: object) -> None:
        _SEEN.reset(self._token)


class Client:
    """Thread-safe. Items in an answer are the stored ones: a caller must not change them."""

    _request_signer = None
    """PynamoDB looks here for credentials that could be missing."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def deferred(self) -> Deferred:
        """A context whose calls do not wait for the disk; it gives what they have seen (see Engine.when_durable)."""
        return Deferred()

    def _make_api_call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises ClientError."""
        engine = self.engine
        commits = engine.commits
        if engine.before is not None:
            engine.before(operation, request)
        if commits is None:
            try:
                with engine.lock:
                    return engine.perform(operation, request)
            except Refused as error:
                raise client_error(error, operation) from None
        seen = _SEEN.get()
        refused: Refused | None = None
        answer: dict[str, Any] = {}
        with engine.lock:
            if seen is not None and (failed := commits.failure(seen.sequence)) is not None:
                raise _unwritten(failed, operation)  # the caller decides by what was undone since
            try:
                answer = engine.perform(operation, request)
            except Refused as error:
                refused = error
            sequence = commits.sequence
        if seen is not None:
            seen.sequence = sequence
        else:
            try:
                commits.wait(sequence)
            except CommitFailed as failure:
                raise _unwritten(failure, operation) from failure
        if refused is not None:
            raise client_error(refused, operation)
        return answer


def client_error(refused: Refused, operation: str) -> ClientError:
    """The error as botocore raises it."""
    response: Any = {
        "Error": {"Code": refused.code, "Message": refused.message},
        "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {}, "RetryAttempts": 0},
        "message": refused.message,
        **refused.more,
    }
    return ClientError(response, operation)


def _unwritten(failure: CommitFailed, operation: str) -> ClientError:
    response: Any = {
        "Error": {"Code": "InternalServerError", "Message": str(failure)},
        "ResponseMetadata": {"HTTPStatusCode": 500, "HTTPHeaders": {}, "RetryAttempts": 0},
    }
    return ClientError(response, operation)
