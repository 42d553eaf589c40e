"""The client follows an engine that is upgraded or downgraded under it, and waits for none forever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException

from muster_agent.engines.docker.docker_client import KNOWN_VERSION, Client
from tests.fixtures.fake_docker import FakeDocker, fake_docker

TOO_NEW = (1, 99)


def version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    with fake_docker(tmp_path) as made:
        monkeypatch.setenv("DOCKER_HOST", made.url)
        yield made


@pytest.mark.parametrize(
    ("oldest", "newest", "spoken"),
    [
        ((1, 12), (1, 41), "1.41"),
        ((1, 24), TOO_NEW, KNOWN_VERSION),
        ((1, 98), TOO_NEW, "1.98"),
    ],
    ids=["an older engine's own", "the newest that the library knows", "the oldest of an engine that is far ahead"],
)
def test_the_version_is_the_newest_that_both_know(
    engine: FakeDocker, oldest: tuple[int, int], newest: tuple[int, int], spoken: str
) -> None:
    engine.oldest, engine.newest = oldest, newest
    assert Client(timeout=10).api_version == spoken


@pytest.mark.parametrize(
    ("oldest", "newest"),
    [((1, 44), (1, 52)), ((1, 12), (1, 30))],
    ids=["upgraded: the client is too old", "downgraded: the client is too new"],
)
def test_an_engine_that_was_changed_is_asked_again_in_a_version_that_it_speaks(
    engine: FakeDocker, oldest: tuple[int, int], newest: tuple[int, int]
) -> None:
    client = Client(timeout=10)
    assert client.containers(all=True) == []
    engine.oldest, engine.newest = oldest, newest
    assert client.containers(all=True) == [], "without a new client"
    assert oldest <= version(client.api_version) <= newest
    asked = len(engine.asked)
    client.containers(all=True)
    assert len(engine.asked) == asked + 1, "the version is negotiated once"


def test_another_refusal_of_the_engine_is_passed_on(engine: FakeDocker) -> None:
    client = Client(timeout=10)
    engine.status = 400
    with pytest.raises(APIError, match="context deadline exceeded"):
        client.containers()
    engine.status = 500
    with pytest.raises(APIError, match="context deadline exceeded"):
        client.containers()


def test_an_engine_that_was_changed_and_does_not_tell_its_version_yet_is_asked_again_later(engine: FakeDocker) -> None:
    client = Client(timeout=10)
    engine.oldest, engine.newest = (1, 44), (1, 52)
    engine.tells_version = False
    with pytest.raises(DockerException):
        client.containers()
    engine.tells_version = True
    assert client.containers() == []


def test_an_engine_that_hangs_is_waited_for_as_long_as_the_timeout(engine: FakeDocker) -> None:
    client = Client(timeout=1)
    engine.hangs = True
    with pytest.raises(requests.Timeout):
        client.containers()


def test_an_engine_that_hangs_in_the_middle_of_a_log_is_waited_for_as_long_as_the_timeout(engine: FakeDocker) -> None:
    client = Client(timeout=1)
    engine.answers["/containers/c/json"] = {"Config": {"Tty": False}}
    engine.stalls = "/containers/c/logs"
    frames = client.logs("c", stream=True, follow=False)
    assert next(frames) == b"half"
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        next(frames)
