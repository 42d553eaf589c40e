"""Docker's prose as error codes, and a daemon that goes away. The texts are those of engines 20.10 to 28."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import NoReturn

import docker
import pytest
import requests
import urllib3
from docker.errors import DockerException

from muster_agent.engines.base import EngineError
from muster_agent.engines.docker import DockerEngine
from muster_agent.engines.docker.daemon import APIError, failure, unreachable
from muster_agent.engines.docker.docker_engine import _run
from tests.fixtures.docker_front import DockerFront
from tests.fixtures.fake_docker import FakeDocker, fake_docker
from tests.fixtures.registry import registry


def test_a_failure_has_the_code_the_advice_and_the_permanence_of_its_cause() -> None:
    old = failure("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8", "OTHERWISE")
    assert (old.error_code, old.permanent) == ("DRIVER_TOO_OLD", True) and "update the driver" in old.message
    unknown = failure("something new", "OTHERWISE")
    assert (unknown.error_code, unknown.permanent, unknown.message) == ("OTHERWISE", False, "something new")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    with fake_docker(tmp_path) as made:
        monkeypatch.setenv("DOCKER_HOST", made.url)
        yield made


def trouble(engine: DockerEngine) -> EngineError:
    with pytest.raises(EngineError) as raised:
        engine.instances()
    return raised.value


def test_a_daemon_that_cannot_be_asked_is_told_with_its_address_its_cause_and_what_to_do(
    fake: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = DockerEngine(timeout=1)
    fake.hangs = True
    hangs = trouble(engine)
    fake.hangs = False
    assert engine.instances() == []
    fake.close()
    refused = trouble(engine)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    absent = trouble(DockerEngine())
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    unheard = trouble(DockerEngine())
    for error, cause, advice in (
        (hangs, f"at {fake.url} does not answer within 1 s", "systemctl restart docker"),
        (refused, f"nothing listens at {fake.url}", "systemctl start docker"),
        (absent, f"there is no socket unix://{tmp_path}/none.sock", "systemctl start docker"),
        (unheard, "nothing listens at tcp://127.0.0.1:1", "systemctl start docker"),
    ):
        assert (error.error_code, cause in error.message, advice in error.message) == (
            "DOCKER_UNAVAILABLE",
            True,
            True,
        ), error.message


def test_permission_is_told_as_what_it_is() -> None:
    error = DockerException("Error while fetching server API version")
    error.__cause__ = requests.ConnectionError(
        urllib3.exceptions.ProtocolError("Connection aborted.", PermissionError(13, "Permission denied"))
    )
    assert "add its user to the group docker" in unreachable(error, 30)


def test_what_is_not_known_is_told_in_the_same_words_each_time() -> None:
    said = {unreachable(requests.ConnectionError(f"<HTTPConnection object at 0x7f{n:08x}>: odd"), 30) for n in range(2)}
    assert len(said) == 1 and "connection: odd" in said.pop()


def test_a_daemon_that_answers_with_errors_is_told_in_its_own_words_and_asked_again(fake: FakeDocker) -> None:
    engine = DockerEngine()
    fake.status = 500
    assert "context deadline exceeded" in trouble(engine).message
    fake.status = 200
    assert engine.instances() == []


def test_what_is_no_docker_engine_is_told_as_such(fake: FakeDocker) -> None:
    fake.answers["/version"], fake.tells_version = {"name": "something else"}, False
    assert "does not answer as a Docker engine does" in trouble(DockerEngine()).message


def test_the_folder_of_the_daemon_is_learned_by_a_look_and_asking_for_it_waits_for_nothing(fake: FakeDocker) -> None:
    engine = DockerEngine()
    assert engine.root() == Path("/var/lib/docker")
    del fake.answers["/info"]
    assert engine.instances() == [], "a daemon that does not tell it can be looked at all the same"
    engine = DockerEngine()
    fake.answers["/info"] = {"DockerRootDir": "/data/docker"}
    engine.instances()
    fake.hangs = True
    assert engine.root() == Path("/data/docker")


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
        front = DockerFront(path, engine_socket)
        assert isinstance(engine.instances(), list)
        front.close()
        path.unlink()


@pytest.mark.docker
def test_a_daemon_that_goes_away_in_mid_pull(
    engine_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    front = DockerFront(path, engine_socket)
    with registry(5_000_000) as server:
        server.stalled.set()
        server.in_the_middle(front.close)
        with pytest.raises(EngineError) as raised:
            DockerEngine().pull(server.reference, lambda progress: None, Event())
        assert raised.value.error_code == "DOCKER_UNAVAILABLE"
