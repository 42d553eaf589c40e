"""What a function answered as HTTP, refusals, and the lines of the log."""

from __future__ import annotations

import json

from chalicelib.routes.matching import MethodNotAllowed
from infra.local.answers import of_app, refused
from muster.api.errors import ApiError


def test_an_answer_has_its_length_and_json_for_a_type_unless_it_names_another() -> None:
    answer = {"statusCode": 200, "headers": {}, "multiValueHeaders": {}, "body": "\u00e9"}
    assert of_app(answer).headers == [(b"Content-Length", b"2"), (b"Content-Type", b"application/json")]
    assert of_app(answer).body == "\u00e9".encode()
    named = of_app(answer | {"headers": {"Content-Type": "text/plain"}})
    assert named.headers == [(b"Content-Length", b"2"), (b"Content-Type", b"text/plain")]


def test_bytes_and_headers_with_several_values_come_as_they_were_meant() -> None:
    answer = {
        "statusCode": 200,
        "headers": {"Content-Type": "application/octet-stream"},
        "multiValueHeaders": {"X": ["a", "b"]},
        "body": "AAH/",
        "isBase64Encoded": True,
    }
    assert of_app(answer).body == b"\x00\x01\xff"
    assert of_app(answer).headers[-2:] == [(b"X", b"a"), (b"X", b"b")]


def test_not_modified_has_neither_length_nor_type() -> None:
    assert of_app({"statusCode": 304, "headers": {}, "multiValueHeaders": {}, "body": ""}).headers == []


def test_a_refusal_has_the_one_shape_and_the_headers_of_its_status() -> None:
    answer = refused(ApiError("INVALID_REQUEST", "no"))
    assert (answer.status, json.loads(answer.body)) == (400, {"error_code": "INVALID_REQUEST", "message": "no"})
    assert (b"Allow", b"GET, POST") in refused(MethodNotAllowed(["POST", "GET"])).headers
    assert (b"Retry-After", b"2") in refused(ApiError("UNAVAILABLE", "no", retry_after=2)).headers
