"""What CloudWatch keeps of a request: a line of JSON with nothing that somebody sent but ids of the right form."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.telemetry import access_log

ID = "5c1d5c1d-0000-4000-8000-000000000000"
SECRET = "mst_key_do_not_write_this_one"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is written from now on; logging is afterwards as it was."""
    muster, root = logging.getLogger("muster"), logging.root
    before = root.handlers, root.level, muster.level, access_log.LOG.disabled
    stream, no_request = io.StringIO(), access_log.REQUEST.set(None)
    try:
        access_log.write_json(stream)
        yield stream
    finally:
        access_log.REQUEST.reset(no_request)
        (root.handlers, level, muster_level, access_log.LOG.disabled) = before
        root.setLevel(level)
        muster.setLevel(muster_level)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def answered(status: int = 200, body: str = "{}", route: str | None = "/api/x", **ids: str) -> None:
    access_log.answered("GET", route, ids, {"statusCode": status, "body": body}, 0.0123)


def test_a_request_is_one_line(written: io.StringIO) -> None:
    answered(worker_id=ID)
    [line] = lines(written)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "muster.requests",
        "message": "answered",
        "method": "GET",
        "route": "/api/x",
        "status": 200,
        "milliseconds": 12.3,
        "worker_id": ID,
    }


@pytest.mark.parametrize("text", [SECRET, f"{ID}\n", f" {ID}", ID.upper(), "", f"{ID}-gx", "a\nb"])
def test_what_is_no_id_is_not_written(written: io.StringIO, text: str) -> None:
    answered(deployment_id=text, image_id=ID)
    [line] = lines(written)
    assert "deployment_id" not in line and "image_id" not in line


def test_a_command_of_an_intent_is_an_id(written: io.StringIO) -> None:
    answered(command_id=f"{ID}-g1800000000000")
    assert lines(written)[0]["command_id"] == f"{ID}-g1800000000000"


def test_a_path_that_no_route_has_is_not_written(written: io.StringIO) -> None:
    answered(404, '{"error_code":"ROUTE_NOT_FOUND","message":"no"}', route=None)
    [line] = lines(written)
    assert "route" not in line and line["error_code"] == "ROUTE_NOT_FOUND"


@pytest.mark.parametrize("body", ['{"error_code":"a b"}', f'{{"error_code":"{SECRET}"}}', "no json", "[]", "{}", ""])
def test_an_error_code_that_is_none_is_not_written(written: io.StringIO, body: str) -> None:
    answered(502, body)
    assert "error_code" not in lines(written)[0]


def test_our_own_fault_is_an_error_and_others_are_not(written: io.StringIO) -> None:
    for status in (200, 404, 502, 503, 500):
        answered(status)
    assert [line["level"] for line in lines(written)] == ["INFO"] * 4 + ["ERROR"]


def test_a_trace_is_part_of_its_line_and_names_the_request(written: io.StringIO) -> None:
    token = access_log.REQUEST.set("request-1")
    try:
        try:
            raise ValueError("why\nand how")
        except ValueError:
            logging.getLogger("muster").exception("it failed")
    finally:
        access_log.REQUEST.reset(token)
    [line] = lines(written)
    assert (line["message"], line["request_id"], line["level"]) == ("it failed", "request-1", "ERROR")
    assert line["trace"].endswith("ValueError: why\nand how")


def test_of_libraries_only_warnings_are_written(written: io.StringIO) -> None:
    logging.getLogger("botocore").info("chatter")
    logging.getLogger("botocore").warning("trouble")
    assert [line["message"] for line in lines(written)] == ["trouble"]


def test_nothing_is_written_of_requests_until_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answered()
    assert access_log.LOG.disabled and caplog.records == []
