"""The table of what kills models: which words of a log are which cause."""

from __future__ import annotations

import pytest

from agent.causes import CAUSES, LAST_RESORTS
from agent.crash import diagnose
from tests.fixtures.vllm_logs import SOURCES, log


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


def test_gated_says_whether_the_token_or_the_license_is_missing() -> None:
    assert "HF_TOKEN in" in diagnose("OSError: You are trying to access a gated repo.", 1, False).message
    assert "license" in diagnose("403 Client Error: Forbidden for url: https://huggingface.co/x", 1, False).message


def test_every_cause_says_what_to_do() -> None:
    for cause in (*CAUSES, *LAST_RESORTS):
        assert cause.advice.endswith(".")


CAUSED = [name for name, source in SOURCES.items() if source["code"] in {each.error_code for each in CAUSES}]


@pytest.mark.parametrize("name", CAUSED)
def test_a_real_log_has_a_line_that_a_row_of_its_cause_names(name: str) -> None:
    code, permanent = SOURCES[name]["code"], SOURCES[name].get("permanent", False)
    rows = [each for each in (*CAUSES, *LAST_RESORTS) if (each.error_code, each.permanent) == (code, permanent)]
    lines = log(name).splitlines()
    assert rows
    told_by_exit_code = "exit_code" in SOURCES[name]
    assert told_by_exit_code or any(each.pattern.search(line) for each in rows for line in lines)


def test_a_healthy_log_has_no_line_that_a_row_names() -> None:
    lines = log("healthy").splitlines()
    assert lines
    assert [each.error_code for each in CAUSES for line in lines if each.pattern.search(line)] == []


def test_of_two_rows_that_fit_one_line_the_upper_wins() -> None:
    both = "ERROR: No space left on device: unable to write to file </torch_1_2>"
    fitting = [each.error_code for each in CAUSES if each.pattern.search(both)]
    assert fitting == ["SHM_TOO_SMALL", "DISK_FULL"]
    assert diagnose(both, 1, False).error_code == "SHM_TOO_SMALL"


def test_of_two_rows_of_one_code_the_upper_gives_the_advice() -> None:
    text = "torch.OutOfMemoryError: CUDA out of memory.\nValueError: No available memory for the cache blocks."
    found = diagnose(text, 1, False)
    assert found.error_code == "CUDA_OUT_OF_MEMORY" and "leave no GPU memory for the cache" in found.message
