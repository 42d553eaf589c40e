"""Errors in OpenAI's shape, which its clients know how to show and when to repeat."""

from __future__ import annotations

import math

import msgspec

Headers = list[tuple[bytes, bytes]]

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class OpenAIError(Exception):
    """An answer other than success. `code` is a short word for programs, `param` the field at fault.

    `details` are more fields of the error, for people who wait for a model. `retry_after` is in
    seconds, and rounded up: a caller that waits so long is not early.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Headers | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers = list(headers or [])
        if retry_after is not None:
            self.headers.append((b"retry-after", b"%d" % max(1, math.ceil(retry_after))))
        self.details = details or {}

    def body(self) -> bytes:
        """JSON: {"error": {…}}."""
        error = {
            "message": self.message,
            "type": TYPES.get(self.status, "server_error"),
            "param": self.param,
            "code": self.code,
            **self.details,
        }
        return msgspec.json.encode({"error": error})

    def event(self) -> bytes:
        """The same as the last events of a stream that has begun."""
        return b"data: " + self.body() + b"\n\ndata: [DONE]\n\n"


def missing_key() -> OpenAIError:
    return OpenAIError(401, "invalid_api_key", "expected the header `Authorization: Bearer mst_key_…`")


def unknown_key() -> OpenAIError:
    message = "the API key is unknown, expired, or revoked; an operator creates keys by `muster keys create`"
    return OpenAIError(401, "invalid_api_key", message)


def model_not_allowed(model: str) -> OpenAIError:
    message = f"this API key may not use the model {model!r}; GET /v1/models lists those that it may use"
    return OpenAIError(403, "model_not_allowed", message, param="model")


def model_not_found(model: str, known: list[str]) -> OpenAIError:
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    there = f"the models are: {shown}" if known else "no model runs at the moment"
    return OpenAIError(404, "model_not_found", f"there is no model {model!r}; {there}", param="model")


def no_route(method: str, path: str) -> OpenAIError:
    message = f"{method} {path[:200]} is not served here; see docs/gateway.md for the paths that are"
    return OpenAIError(404, "route_not_found", message)


def wrong_method(method: str, allowed: str) -> OpenAIError:
    error = OpenAIError(405, "method_not_allowed", f"this path takes {allowed}, not {method}")
    error.headers.append((b"allow", allowed.encode()))
    return error
