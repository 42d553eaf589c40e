"""What was sent, as the contract's types; what is wrong with it is named, and nothing that was sent is repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.routes import parsing
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError

SECRET = "mst_key_" + "Ab1-" * 11


def refused(raw: bytes, type_: Any = r.NewDeployment) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parsing.body(raw, type_)
    return caught.value


def refusal(body: object, type_: Any = r.NewDeployment) -> str:
    error = refused(json.dumps(body).encode(), type_)
    assert error.error_code == "INVALID_REQUEST"
    return error.message


def test_a_body_is_its_type() -> None:
    assert parsing.body(b'{"model":"org/model","gpus":[1]}', r.NewDeployment) == r.NewDeployment("org/model", gpus=[1])


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"'x'", b'{"model":"m"} {}', b"NaN", b'{"model":"\xff"}'])
def test_what_is_no_json_is_refused_as_that(raw: bytes) -> None:
    assert refused(raw).message == "body: expected a JSON object in UTF-8"


@pytest.mark.parametrize("raw", [b"[]", b"7", b"null", b'"x"'])
def test_json_that_is_no_object_is_refused_as_that(raw: bytes) -> None:
    assert refused(raw).message.startswith("body: expected object")


def test_what_is_nested_too_deeply_is_refused() -> None:
    assert refused(b'{"config":{"a":' + b"[" * 100_000).message == "body: nested too deeply"


def test_a_body_over_a_mebibyte_is_too_large() -> None:
    body = json.dumps({"model": "m", "config": {"a": ""}}).encode()
    fits = body.replace(b'""', b'"' + b"x" * (parsing.MAX_BODY_BYTES - len(body)) + b'"')
    assert len(fits) == parsing.MAX_BODY_BYTES and parsing.body(fits, r.NewDeployment).model == "m"
    assert refused(fits + b" ").error_code == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": 5}, "model: expected str, got int"),
        ({}, "body: object missing required field model"),
        ({"model": "m", "gpus": [0, "1"]}, "gpus[1]: expected int, got str"),
        ({"model": "m", "a_typo": 1}, "body: unknown field a_typo"),
        ({"model": "m", SECRET: 1}, "body: unknown field"),
        ({"model": "m", "backend": "other"}, "backend: expected one of vllm"),
        ({"model": "m", "restart": "banana"}, "restart: expected one of never, on-failure"),
        ({"model": "m", "env": {"A": {"from_host": False}}}, "env[...].from_host: expected one of true"),
    ],
)
def test_the_field_is_named_with_what_was_expected(body: dict[str, object], message: str) -> None:
    assert refusal(body) == message


def test_a_field_is_named_by_its_path() -> None:
    body = {"name": "n", "token": "t", "system_info": {"hostname": "h"}}
    assert refusal(body | {"gpu_info": {"count": "2"}}, m.Registration) == "gpu_info.count: expected int, got str"
    device = {"index": 0, "memory_total": "80"}
    message = refusal(body | {"gpu_info": {"count": 1, "devices": [device]}}, m.Registration)
    assert message == "gpu_info.devices[0].memory_total: expected int | null, got str"


def test_a_pattern_is_shown_and_what_was_sent_is_not() -> None:
    message = refusal({"model": "m", "name": "a b"})
    assert message.startswith("name: expected text of the form that this field has: ")
    assert "a b" not in message


FIELDS = ("model", "name", "image", "backend", "restart", "worker_id", "env", "labels", "status", SECRET)


@given(st.sampled_from(FIELDS), st.sampled_from([SECRET, [SECRET], {SECRET: SECRET}, {SECRET: 1}]))
def test_no_message_repeats_what_was_sent(field: str, value: object) -> None:
    for type_ in (r.NewDeployment, r.WorkerPatch, r.NewApiKey, m.Heartbeat, m.Report):
        try:
            parsing.body(json.dumps({"model": "m", field: value}).encode(), type_)
        except ApiError as error:
            assert SECRET not in error.message


def test_a_query_is_read_from_text_and_may_have_more() -> None:
    found = parsing.query({"wait": "1.5", "lines": "7", "unknown": "x"}, r.LogsQuery)
    assert (found.wait, found.lines, found.since) == (1.5, 7, None)
    assert parsing.query({"fresh": "true"}, r.ReportQuery).fresh is True


@pytest.mark.parametrize(
    ("given_", "type_", "message"),
    [
        ({"wait": "x"}, r.WaitQuery, "wait: expected float, got str"),
        ({"wait": "26"}, r.WaitQuery, "wait: expected float <= 25.0"),
        ({"status": "banana"}, r.DeploymentsQuery, "status: expected one of downloading, error, "),
    ],
)
def test_a_parameter_is_named_with_what_was_expected(given_: dict[str, str], type_: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parsing.query(given_, type_)
    assert caught.value.message.startswith(message)
