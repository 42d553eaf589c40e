"""The exceptions of `muster.Client`. The HTTP status of an answer decides the class.

MusterError ─┬─ Unreachable ── TimedOut      429, 503, 504, or no answer; no answer in time
             ├─ Invalid                      400, 413: the request is not valid
             ├─ AuthError                    401, 403: the key is not accepted, or its role does not suffice
             ├─ NotFound                     404
             ├─ Conflict                     409, 410: not possible in the present state
             └─ WorkerFailed                 502: the worker tried and failed
"""

from __future__ import annotations

from muster.api.errors import STATUS, WORKER_FAILED


class MusterError(Exception):
    """The base class of all errors, and the error for any other status, for example 500.

    `error_code` is a code of docs/troubleshooting.md, `message` is text for people, and `status` is the HTTP status,
    `None` if there was no answer.
    """

    def __init__(self, error_code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{error_code}: {message}")
        self.error_code = error_code
        self.message = message
        self.status = status


class Unreachable(MusterError):
    """There is no answer of the control plane, or the control plane is busy. The request may have been carried out."""


class TimedOut(Unreachable):
    """A timeout passed. What was asked for continues; `operation_id` is the id of its operation, or `None`."""

    def __init__(self, message: str, operation_id: str | None = None) -> None:
        super().__init__("TIMED_OUT", message)
        self.operation_id = operation_id


class Invalid(MusterError):
    """The control plane does not accept the request or one of its values; `message` names the field (400, 413)."""


class AuthError(MusterError):
    """The control plane does not accept the API key, or the role of the key does not suffice (401, 403)."""


class NotFound(MusterError):
    """The object does not exist (404)."""


class Conflict(MusterError):
    """The request is not possible in the present state of the object, or a name is in use (409, 410)."""


class WorkerFailed(MusterError):
    """The worker tried to carry out the request and failed; `error_code` is the worker's code (502)."""


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
    """Return the exception for an error code. Without `status`, the HTTP status is that of the code in the contract."""
    status = status or STATUS.get(error_code, WORKER_FAILED)
    return KINDS.get(status, MusterError)(error_code, message, status)
