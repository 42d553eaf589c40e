"""Docker's prose as error codes, and a daemon that goes away. The texts are those of engines 20.10 to 28."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import NoReturn

import docker
import pytest

from agent.causes import INSTALL_NVIDIA_RUNTIME
from agent.engines import EngineError
from agent.engines.docker import DockerEngine
from agent.engines.docker.daemon import APIError, failure
from agent.engines.docker.engine import _run
from tests.fixtures.registry import registry


@pytest.mark.parametrize(
    ("prose", "code"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "GPU_UNAVAILABLE"),
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "GPU_UNAVAILABLE"),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update", "DRIVER_TOO_OLD"),
        ("No such image: registry.example/nvidia/vllm:25.01", "IMAGE_NOT_FOUND"),
        ("Bind for 127.0.0.1:20000 failed: port is already allocated", "PORT_IN_USE"),
        ("listen tcp4 127.0.0.1:20000: bind: address already in use", "PORT_IN_USE"),
        ("listen tcp4 203.0.113.9:1: bind: cannot assign requested address", "ADDRESS_MISSING"),
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
def test_dockers_prose_has_the_error_code_of_its_cause(prose: str, code: str) -> None:
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


class Front:
    """A socket before the daemon's own, which can go away and come back."""

    def __init__(self, path: Path, daemon: str) -> None:
        self._daemon = daemon
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._open: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._daemon)
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def engine_socket(docker_engine: docker.DockerClient) -> str:
    """The path of this machine's engine. Skips the test where the engine is elsewhere."""
    url = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not url.startswith("unix://"):
        pytest.skip(f"the engine has no socket on this machine: {url}")
    return url.removeprefix("unix://")


@pytest.mark.docker
def test_a_daemon_that_is_away_is_no_end(engine_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the start, and not in the middle: the same engine works as soon as the daemon does."""
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    engine = DockerEngine()
    for _ in range(2):
        with pytest.raises(EngineError) as raised:
            engine.instances()
        assert raised.value.error_code == "DOCKER_UNAVAILABLE"
        assert engine.root().is_absolute()
        front = Front(path, engine_socket)
        assert isinstance(engine.instances(), list)
        front.close()
        path.unlink()


@pytest.mark.docker
def test_a_daemon_that_goes_away_in_mid_pull(
    engine_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    front = Front(path, engine_socket)
    with registry(5_000_000) as server:
        server.stalled.set()
        server.in_the_middle(front.close)
        with pytest.raises(EngineError) as raised:
            DockerEngine().pull(server.reference, lambda progress: None, Event())
        assert raised.value.error_code == "DOCKER_UNAVAILABLE"
