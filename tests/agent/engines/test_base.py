"""What every engine shares: errors that can be sent, and GPUs as a container and as CUDA name them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_agent.engines.base import EngineError, RunSpec

SPEC = RunSpec("m", "w", "d", 1, "org/model", None, (), {"HF_TOKEN": "hf_secret"}, (0, 3), "127.0.0.1", 8000)


def test_the_message_of_an_error_can_be_sent() -> None:
    error = EngineError("INVALID_CONFIG", "half of a pair: \ud83d")
    assert error.message == str(error) == "half of a pair: ?"


def test_a_specification_that_is_logged_has_no_environment() -> None:
    assert "hf_secret" not in repr(SPEC)


@pytest.mark.parametrize(
    ("devices", "positions", "ids", "visible"),
    [
        ((), (), ("0", "3"), ("0", "3")),
        ((), (1, 2), ("1", "2"), ("1", "2")),
        (("GPU-a", "GPU-b"), (1, 2), ("GPU-a", "GPU-b"), ("1", "2")),
        (("GPU-a", "MIG-b"), (1, 2), ("GPU-a", "MIG-b"), ("1", "MIG-b")),
    ],
)
def test_gpus_are_given_by_uuid_and_seen_by_position(
    devices: tuple[str, ...], positions: tuple[int, ...], ids: tuple[str, ...], visible: tuple[str, ...]
) -> None:
    spec = replace(SPEC, devices=devices, positions=positions)
    assert (spec.device_ids, spec.visible) == (ids, visible)
