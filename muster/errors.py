"""What can go wrong between an operator and a control plane, as exceptions that say what HTTP said.

MusterError ─┬─ Unreachable ── TimedOut      nobody answered; nobody answered in time
             ├─ Invalid                      400, 413: the request is wrong
             ├─ AuthError                    401, 403: the key is not good, or not for this
             ├─ NotFound                     404
             ├─ Conflict                     409, 410: not in this state
             └─ WorkerFailed                 502: a worker did it, and it did not work there
"""

from __future__ import annotations

from chalicelib.contract.errors import STATUS, WORKER_FAILED


class MusterError(Exception):
    """`error_code` is one of the contract's or a worker's own; `status` is HTTP's, None where there was no answer."""

    def __init__(self, error_code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{error_code}: {message}")
        self.error_code = error_code
        self.message = message
        self.status = status


class Unreachable(MusterError):
    """No answer, or none that a control plane gives. What was asked may have been done all the same."""


class TimedOut(Unreachable):
    """It was asked for and accepted, and goes on; `operation_id` is where to look, if it is an operation."""

    def __init__(self, message: str, operation_id: str | None = None) -> None:
        super().__init__("TIMED_OUT", message)
        self.operation_id = operation_id


class Invalid(MusterError):
    pass


class AuthError(MusterError):
    pass


class NotFound(MusterError):
    pass


class Conflict(MusterError):
    pass


class WorkerFailed(MusterError):
    pass


KINDS: dict[int, type[MusterError]] = {
    400: Invalid,
    401: AuthError,
    403: AuthError,
    404: NotFound,
    409: Conflict,
    410: Conflict,
    413: Invalid,
    429: Unreachable,
    WORKER_FAILED: WorkerFailed,
    503: Unreachable,
    504: Unreachable,
}


def error(error_code: str, message: str, status: int | None = None) -> MusterError:
    """The exception for an error code; without an HTTP status, the one that the code has in the contract."""
    status = status or STATUS.get(error_code, WORKER_FAILED)
    return KINDS.get(status, MusterError)(error_code, message, status)
