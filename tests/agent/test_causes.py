"""The table of what kills models: which words of a log are which cause."""

from __future__ import annotations

import pytest

from agent.causes import CAUSES, LAST_RESORTS
from agent.crash import diagnose


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "/x/torch/cuda/__init__.py:129: UserWarning: CUDA initialization: The NVIDIA driver on your system is too "
            "old (found version 12020).\n  return torch._C._cuda_getDeviceCount() > 0\n"
            "RuntimeError: Failed to infer device type",
            "DRIVER_TOO_OLD",
        ),
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for DeviceConfig\n"
            "  Value error, Failed to infer device type",
            "GPU_UNAVAILABLE",
        ),
        (
            "host:1:1 [0] include/shm.h:48 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-x (size "
            "9637888), error: No space left on device (28)\nRuntimeError: NCCL error: unhandled system error",
            "SHM_TOO_SMALL",
        ),
        (
            "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}",
            "HOST_OUT_OF_MEMORY",
        ),
        ("ray.exceptions.OutOfMemoryError: Task was killed, node running low on memory", "HOST_OUT_OF_MEMORY"),
        (
            "Unable to find image 'x' locally\ndocker: Error response from daemon: Get \"https://reg.example/v2/\": "
            "dial tcp: lookup registry.example: no such host.",
            "REGISTRY_UNREACHABLE",
        ),
        (
            "Unable to find image 'x' locally\ndocker: Error response from daemon: manifest for x not found",
            "IMAGE_NOT_FOUND",
        ),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "CONTAINER_FAILED"),
        ("UserWarning: Not enough free disk space to download the file.\nTypeError: no", "CONTAINER_FAILED"),
        ("INFO: Received request: prompt: 'why is my CUDA out of memory?'\nTypeError: no", "CONTAINER_FAILED"),
    ],
)
def test_a_cause_that_looks_like_another_is_told_from_it(text: str, code: str) -> None:
    assert diagnose(text, 1, False).error_code == code


def test_gated_says_whether_the_token_or_the_licence_is_missing() -> None:
    assert "HF_TOKEN in" in diagnose("OSError: You are trying to access a gated repo.", 1, False).message
    assert "licence" in diagnose("403 Client Error: Forbidden for url: https://huggingface.co/x", 1, False).message


def test_every_cause_says_what_to_do() -> None:
    for cause in (*CAUSES, *LAST_RESORTS):
        assert cause.advice.endswith(".")
