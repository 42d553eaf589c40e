"""Errors in OpenAI's shape."""

from __future__ import annotations

import json

import pytest

from muster.gateway import openai_errors as errors
from muster.gateway.openai_errors import OpenAIError

MADE = [
    errors.missing_key(),
    errors.unknown_key(),
    errors.model_not_allowed("m"),
    errors.model_not_found("m", [f"m{number}" for number in range(50)]),
    errors.model_not_found("m", []),
    errors.no_route("GET", "/x" * 1000),
    errors.wrong_method("GET", "POST"),
    OpenAIError(503, "x", "y", retry_after=0.2, details={"progress": None}),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: error.code)
def test_each_has_the_four_fields_and_says_what_to_do(error: OpenAIError) -> None:
    found = json.loads(error.body())["error"]
    assert found.keys() >= {"message", "type", "param", "code"} and found["code"] == error.code
    assert len(found["message"]) < 1000
    assert error.event() == b"data: " + error.body() + b"\n\ndata: [DONE]\n\n"


def test_a_wait_is_a_whole_number_of_seconds_and_never_none() -> None:
    assert MADE[-1].headers == [(b"retry-after", b"1")]
    assert OpenAIError(429, "x", "y", retry_after=12.2).headers == [(b"retry-after", b"13")]


def test_statuses_have_openais_types() -> None:
    types = {status: json.loads(OpenAIError(status, "x", "y").body())["error"]["type"] for status in (401, 429, 502)}
    assert types == {401: "authentication_error", 429: "rate_limit_error", 502: "server_error"}
