"""Every error code of the API with its HTTP status, and the exception that carries them (docs/protocol.md, Errors)."""

from __future__ import annotations

STATUS: dict[str, int] = {
    "INVALID_REQUEST": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "ROUTE_NOT_FOUND": 404,
    "WORKER_NOT_FOUND": 404,
    "DEPLOYMENT_NOT_FOUND": 404,
    "CONTAINER_NOT_FOUND": 404,
    "IMAGE_NOT_FOUND": 404,
    "MODEL_NOT_FOUND": 404,
    "OPERATION_NOT_FOUND": 404,
    "TOKEN_NOT_FOUND": 404,
    "KEY_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "WORKER_NAME_IN_USE": 409,
    "WORKER_OFFLINE": 409,
    "WORKER_NOT_EMPTY": 409,
    "SESSION_SUPERSEDED": 409,
    "DEPLOYMENT_NAME_IN_USE": 409,
    "ILLEGAL_TRANSITION": 409,
    "IMAGE_IN_USE": 409,
    "IDEMPOTENCY_MISMATCH": 409,
    "WORKER_REMOVED": 410,
    "PAYLOAD_TOO_LARGE": 413,
    "INTERNAL_ERROR": 500,
    "UNAVAILABLE": 503,
}
WORKER_FAILED = 502
"""The status of a worker's own error code, where it is none of the above."""


class ApiError(Exception):
    """An answer other than success: a code of `STATUS` (or a worker's own), and a message that says what to do."""

    def __init__(self, error_code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.message = message
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        return STATUS.get(self.error_code, WORKER_FAILED)
