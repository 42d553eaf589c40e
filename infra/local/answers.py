"""The app's answers, in the API's one error shape, as the server sends them."""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import Any

from chalicelib.routes.http import failure
from muster.api.errors import ApiError
from muster.serving.answers import Answer, Headers


def of_app(answer: dict[str, Any]) -> Answer:
    """What a Lambda function answered (payload 1.0)."""
    body = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()
    headers: Headers = []
    if answer["statusCode"] != HTTPStatus.NOT_MODIFIED:
        headers.append((b"Content-Length", b"%d" % len(body)))
        if "Content-Type" not in answer["headers"]:
            headers.append((b"Content-Type", b"application/json"))
    for name, value in answer["headers"].items():
        headers.append((name.encode(), str(value).encode("latin-1")))
    for name, values in answer["multiValueHeaders"].items():
        headers += ((name.encode(), str(value).encode("latin-1")) for value in values)
    return Answer(answer["statusCode"], headers, body)


def refused(error: ApiError, path: bytes = b"") -> Answer:
    return of_app(failure(error).to_dict())
