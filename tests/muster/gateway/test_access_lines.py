"""One line for a request, in which nothing from outside can end the line or leave a secret."""

from __future__ import annotations

import json
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from muster.gateway.access_lines import MAX_TEXT, Access, AccessLog, line
from muster.sanitize import escape_control_characters
from tests.fixtures.waiting import PATIENCE, eventually


def access(**more: Any) -> Access:
    given = {"at": 1_796_126_400.25, "request_id": "r1", "method": "POST", "path": "/v1/chat/completions"}
    return Access(**{**given, "status": 200, "duration": 0.123456, **more})


def test_a_line_has_what_is_known_and_no_more() -> None:
    assert line(access()) == (
        '{"time": "2026-12-01T12:00:00.250Z", "request_id": "r1", "client": "", "method": "POST",'
        ' "path": "/v1/chat/completions", "status": 200, "duration": 0.1235}\n'
    )
    full = access(
        client="10.0.0.1",
        key_id="k",
        key_name="app",
        model="qwen",
        code="draining",
        first_token=0.05,
        prompt_tokens=7,
        completion_tokens=0,
        worker="gpu-1",
        retries=1,
    )
    assert (
        json.loads(line(full)).items()
        >= {
            "key": "app",
            "key_id": "k",
            "model": "qwen",
            "code": "draining",
            "ttft": 0.05,
            "prompt_tokens": 7,
            "completion_tokens": 0,
            "worker": "gpu-1",
            "retries": 1,
            "client": "10.0.0.1",
        }.items()
    )


def test_neither_queries_nor_secrets_are_logged() -> None:
    written = line(access(path="/v1/models/mst_key_abc?api_key=hidden", model="sk-abc123", request_id="mst_reg_x1"))
    assert "abc" not in written and "hidden" not in written and "x1" not in written
    assert json.loads(written)["path"] == "/v1/models/mst_key_…"


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_a_line_is_one_line_of_json_whatever_comes(text: str) -> None:
    written = line(access(path="/" + text, model=text, request_id=text, key_name=text, worker=text, client=text))
    assert written.endswith("\n") and len(written.splitlines()) == 1
    assert escape_control_characters(written[:-1]) == written[:-1]
    written.encode()
    if "mst_" not in text and "sk" not in text:
        assert json.loads(written)["model"] == text


def test_long_texts_are_cut() -> None:
    assert len(json.loads(line(access(model="x" * 10_000)))["model"]) == MAX_TEXT


def test_lines_are_written_in_their_order_and_all_of_them_at_the_end() -> None:
    written: list[str] = []
    log = AccessLog(written.append)
    log.start()
    for number in range(2_000):
        log.put(access(request_id=f"r{number}"))
    log.stop(PATIENCE)
    assert [json.loads(each)["request_id"] for each in "".join(written).splitlines()] == [
        f"r{number}" for number in range(2_000)
    ]


def test_a_reader_that_stalls_costs_lines_and_delays_nobody() -> None:
    written, stalled, goes_on = list[str](), threading.Event(), threading.Event()

    def write(text: str) -> None:
        stalled.set()
        assert goes_on.wait(PATIENCE)
        written.append(text)

    log = AccessLog(write, most=10)
    log.start()
    log.put(access())
    assert stalled.wait(PATIENCE)
    for _ in range(15):
        log.put(access())
    goes_on.set()
    log.stop(PATIENCE)
    lines = [json.loads(each) for each in "".join(written).splitlines()]
    assert len(lines) == 1 + 10 + 1 and {"dropped_lines": 5} in lines


def test_a_log_that_nobody_reads_any_more_does_not_end_the_thread() -> None:
    written: list[str] = []
    is_closed = [True]

    def write(text: str) -> None:
        if is_closed[0]:
            raise BrokenPipeError
        written.append(text)

    log = AccessLog(write)
    log.start()
    log.put(access())
    eventually(lambda: log._dropped, what="the failed write")
    is_closed[0] = False
    log.put(access(request_id="r2"))
    log.stop(PATIENCE)
    lines = [json.loads(each) for each in "".join(written).splitlines()]
    assert [each.get("request_id") for each in lines] == ["r2", None] and lines[1] == {"dropped_lines": 1}


def test_what_was_never_started_can_be_stopped() -> None:
    log = AccessLog(lambda text: None)
    log.put(access())
    log.stop()
