"""Smaller versions of reports and results: what goes first, and what is never left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.messages import OUTPUTS, Result
from muster_agent.control.shrink import MESSAGE_CHARACTERS, versions

CRASH = {
    "status": "error",
    "generation": 3,
    "sequence": 9,
    "error_code": "CONTAINER_FAILED",
    "message": "m" * 1000,
    "logs": "l" * 5000,
    "fix": {"gpus": 2},
    "progress": {"phase": "loading"},
    "container_id": "c1",
    "port": 20000,
    "restarts": 1,
    "crash_loop": {"error_code": "CUDA_OUT_OF_MEMORY", "times": 2, "next_start_in": 20},
}


def test_a_report_loses_its_log_first_then_the_tail_of_its_message_then_all_but_its_status() -> None:
    whole, without_logs, with_head, bare = versions("status", CRASH)
    assert whole == CRASH
    assert CRASH.keys() - without_logs.keys() == {"logs"} and without_logs["message"] == CRASH["message"]
    assert with_head["message"] == "m" * (MESSAGE_CHARACTERS - 1) + "…" and "fix" in with_head
    assert CRASH.keys() - bare.keys() == {"logs", "message", "fix", "progress"}


def test_a_report_that_has_nothing_to_leave_out_has_one_version() -> None:
    assert len(versions("status", {"status": "running", "generation": 1, "sequence": 2})) == 1


@given(st.sets(st.sampled_from(sorted(CRASH.keys() - {"status"}))))
def test_each_version_is_smaller_and_has_the_same_status(without: set[str]) -> None:
    body = {name: value for name, value in CRASH.items() if name not in without}
    made = versions("status", body)
    sizes = [len(msgspec.json.encode(each)) for each in made]
    assert sizes == sorted(set(sizes), reverse=True)
    for each in made:
        for kept in (
            "status",
            "generation",
            "sequence",
            "error_code",
            "container_id",
            "port",
            "restarts",
            "crash_loop",
        ):
            assert each.get(kept) == body.get(kept)


@pytest.mark.parametrize(
    ("type_", "output", "code"),
    [
        ("pull_image", {"id": "sha256:1", "tags": ["t" * 9000]}, None),
        ("delete_image", {"deleted": ["d" * 9000]}, None),
        ("delete_model", {"deleted": ["d" * 9000]}, None),
        ("prune", {"space_reclaimed": 5, "kept": [{"what": "w" * 99, "bytes": 1, "why": "y"}] * 99}, None),
        ("stop_container", {"id": "c" * 64, "state": "exited"}, None),
        ("list_images", {"images": [{"id": "i" * 9000, "tags": [], "size": 1, "created": ""}]}, "RESULT_TOO_LARGE"),
        ("list_containers", {"containers": [{"id": "i" * 99}] * 99}, "RESULT_TOO_LARGE"),
        ("list_models", {"models": [{"model": "i" * 99, "size": 1}] * 99}, "RESULT_TOO_LARGE"),
        ("container_logs", {"logs": "l" * 9000}, "RESULT_TOO_LARGE"),
    ],
)
def test_a_result_ends_as_what_is_true_of_it(type_: str, output: dict[str, Any], code: str | None) -> None:
    for each in versions("result", {"status": "succeeded", "output": output}):
        result = msgspec.convert(each, Result)
        if result.status == "succeeded":
            msgspec.convert(result.output, OUTPUTS[type_])
    assert (result.status, result.error_code) == ("failed" if code else "succeeded", code)
    assert len(msgspec.json.encode(each)) < 500


def test_logs_keep_their_end_and_say_that_they_were_cut() -> None:
    _, *tails, failed = versions("result", {"status": "succeeded", "output": {"logs": "x" * 50_000 + "the end"}})
    assert len(tails) == 2 and failed["status"] == "failed"
    for each in tails:
        assert each["output"]["logs"].endswith("the end") and each["output"]["truncated"]


def test_a_failed_or_running_result_keeps_its_code_and_the_head_of_its_message() -> None:
    failed = versions("result", {"status": "failed", "error_code": "X", "message": "m" * 9000})[-1]
    assert (failed["status"], failed["error_code"], len(failed["message"])) == ("failed", "X", MESSAGE_CHARACTERS)
    assert versions("result", {"status": "running", "progress": {"phase": "pulling"}})[-1] == {"status": "running"}
