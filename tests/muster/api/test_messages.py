"""What a worker may send: bounded where it identifies, taken at any length where it tells."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from muster.api import messages as m
from muster.api.lifecycle import Status

HEARTBEAT = {"status": "online", "gpu_usage": [], "active_deployments": []}
REGISTRATION = {"name": "gpu-1", "token": "t", "gpu_info": {"count": 0}, "system_info": {"hostname": "h"}}


def takes(value: object, type_: Any) -> bool:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        return False
    return True


def test_a_brief_text_is_the_beginning_of_a_long_one() -> None:
    assert m.brief("x" * 64, 64) == "x" * 64
    assert m.brief("x" * 65, 64) == "x" * 63 + "…"
    assert len(m.brief("x" * 10**6)) == m.MAX_MESSAGE


@pytest.mark.parametrize("text", ["a\nb", "a\n", "\x00", "\x1b[31m", "a\u202eb", "a\u2066b", "\u2028", "\x85", ""])
@pytest.mark.parametrize("type_", [m.Text, m.Name])
def test_a_line_has_no_control_characters_and_nothing_that_turns_writing(text: str, type_: Any) -> None:
    assert not takes(text, type_)
    assert takes("gpu-1 é 名", type_)


@pytest.mark.parametrize(
    ("since", "is_one"),
    [
        ("1800000000", True),
        ("1800000000.5", True),
        ("2026-11-30", True),
        ("2026-11-30T01:02:03Z", True),
        ("2026-11-30T01:02:03.123456+01:00", True),
        ("2026-11-30 01:02:03+0100", True),
        ("yesterday", False),
        ("10m", False),
        ("2026-11-30T01:02:03Z\n", False),
        ("-5", False),
        ("", False),
    ],
)
def test_a_point_in_time_is_rfc_3339_or_epoch_seconds(since: str, is_one: bool) -> None:
    assert takes(since, m.Since) is is_one


@pytest.mark.parametrize("image", ["vllm/vllm-openai:latest", "localhost:5000/a@sha256:0123", "a"])
def test_an_image_reference_is_taken(image: str) -> None:
    assert takes(image, m.ImageReference)


@pytest.mark.parametrize("image", ["", "-rm", "a b", "a;b", "a\n", "/a", "x" * 513])
def test_what_is_no_image_reference_is_refused(image: str) -> None:
    assert not takes(image, m.ImageReference)


@pytest.mark.parametrize(
    ("env", "is_one"),
    [
        ({"HF_TOKEN": "x"}, True),
        ({"HF_TOKEN": {"from_host": True}}, True),
        ({"HF_TOKEN": {"from_host": False}}, False),
        ({"HF_TOKEN": {"from_host": True, "more": 1}}, False),
        ({"A=B": "x"}, False),
        ({"1A": "x"}, False),
        ({"A\n": "x"}, False),
        ({"A": "x\x00"}, False),
    ],
)
def test_the_environment_has_names_and_texts_or_the_hosts_own(env: dict[str, object], is_one: bool) -> None:
    assert takes(env, m.Env) is is_one


@pytest.mark.parametrize(("body", "type_"), [(HEARTBEAT, m.Heartbeat), (REGISTRATION, m.Registration)])
def test_a_worker_may_send_fields_of_a_newer_version(body: dict[str, object], type_: Any) -> None:
    assert takes(body | {"of_a_newer_agent": {"deep": [1]}}, type_)


def test_what_a_worker_tells_is_taken_at_any_length() -> None:
    long = "x" * 10**6
    report = {"status": "error", "message": long, "logs": long, "error_code": long, "container_id": long}
    assert takes(report, m.Report)
    assert takes({"status": "failed", "message": long, "error_code": long}, m.Result)


@pytest.mark.parametrize("field", [{"session": 1}, {"journal_id": "j"}, {"inbox": 0}, {"acks": ["a"]}])
def test_a_client_is_basic_until_it_says_anything_that_worker_api_has_not(field: dict[str, object]) -> None:
    assert msgspec.convert(HEARTBEAT, m.Heartbeat).is_basic
    assert not msgspec.convert(HEARTBEAT | field, m.Heartbeat).is_basic


def test_deploying_is_read_as_starting_and_every_other_status_as_itself() -> None:
    assert msgspec.convert({"status": "deploying"}, m.Report).reported is Status.STARTING
    assert [msgspec.convert({"status": each}, m.Report).reported for each in Status] == list(Status)


def test_every_operation_has_an_output_and_reads_are_among_them() -> None:
    types = {each.__struct_config__.tag for each in get_args(m.OperationCommand)}
    assert types == m.OUTPUTS.keys()
    assert types > m.READS
    assert all("expires_in" in each.__struct_fields__ for each in get_args(m.OperationCommand))


def test_a_command_is_told_by_its_type() -> None:
    sent = msgspec.json.encode(m.Stop("c", "d", 1))
    assert msgspec.json.decode(sent, type=m.Command) == m.Stop("c", "d", 1)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"type":"reboot","command_id":"c"}', type=m.Command)
