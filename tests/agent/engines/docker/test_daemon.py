"""Docker's prose as error codes. The texts are those of engines 20.10 to 28."""

from __future__ import annotations

from typing import NoReturn

import docker
import pytest

from agent.causes import INSTALL_NVIDIA_RUNTIME
from agent.engines.docker.daemon import APIError, failure
from agent.engines.docker.engine import _run


@pytest.mark.parametrize(
    ("prose", "code"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "GPU_UNAVAILABLE"),
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "GPU_UNAVAILABLE"),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update", "DRIVER_TOO_OLD"),
        ("No such image: registry.example/nvidia/vllm:25.01", "IMAGE_NOT_FOUND"),
        ("Bind for 127.0.0.1:20000 failed: port is already allocated", "PORT_IN_USE"),
        ("listen tcp4 127.0.0.1:20000: bind: address already in use", "PORT_IN_USE"),
        ("listen tcp4 203.0.113.9:1: bind: cannot assign requested address", "INVALID_CONFIG"),
        ('exec: "vllm": executable file not found in $PATH', "INVALID_CONFIG"),
        ("write /var/lib/docker/tmp/x: no space left on device", "DISK_FULL"),
        ("manifest for vllm/vllm-openai:none not found: manifest unknown: manifest unknown", "IMAGE_NOT_FOUND"),
        ("pull access denied for x/y, repository does not exist or may require 'docker login'", "IMAGE_NOT_FOUND"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "IMAGE_NOT_FOUND"),
        ("Get https://registry.example/v2/: no basic auth credentials", "REGISTRY_UNAUTHORIZED"),
        ("unauthorized: authentication required", "REGISTRY_UNAUTHORIZED"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", "REGISTRY_UNREACHABLE"),
        ("dial tcp: lookup registry.example: no such host", "REGISTRY_UNREACHABLE"),
        ("toomanyrequests: You have reached your pull rate limit", "REGISTRY_UNREACHABLE"),
        ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", "REGISTRY_UNREACHABLE"),
        ("unable to delete 0 (cannot be forced) - image is being used by running container 1", "IMAGE_IN_USE"),
        ("something new", "OTHERWISE"),
    ],
)
def test_prose(prose: str, code: str) -> None:
    found = failure(prose, "OTHERWISE")
    assert found.error_code == code
    assert found.message.endswith(prose)


def test_what_is_wrong_with_a_gpu_says_what_to_do() -> None:
    missing = failure('could not select device driver "" with capabilities: [[gpu]]', "OTHERWISE").message
    assert INSTALL_NVIDIA_RUNTIME in missing
    old = failure("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8", "OTHERWISE").message
    assert "update the driver" in old


class Stuck(docker.APIClient):
    """Its containers neither start nor go."""

    def __init__(self) -> None:
        """It has no daemon."""

    def start(self, *_: object, **__: object) -> NoReturn:
        raise APIError("no such program")

    def remove_container(self, *_: object, **__: object) -> NoReturn:
        raise APIError("device is busy")


def test_a_container_that_neither_starts_nor_goes_is_told_of_and_the_start_is_what_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(APIError, match="no such program"):
        _run(Stuck(), "a" * 64)
    assert "container aaaaaaaaaaaa could not start, and is not removed yet: device is busy" in caplog.text
