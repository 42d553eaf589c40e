"""A control plane that has its wheel, and hosts that join it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import docker
import pytest

from tests.fixtures.agent_process import Operator
from tests.fixtures.serve import Serve
from tests.install import debian
from tests.install.debian import Machine


@pytest.fixture(scope="module")
def debian_image(docker_engine: docker.DockerClient) -> str:
    if shutil.which("debootstrap") is None:
        why = "debootstrap, which makes a bare Debian, is not installed"
        if os.environ.get("MUSTER_REQUIRE_DOCKER") == "1":
            pytest.fail(f"MUSTER_REQUIRE_DOCKER=1, but {why}", pytrace=False)
        pytest.skip(why)
    return debian.image(docker_engine)


@pytest.fixture(scope="module")
def control_plane(wheel_served: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    serve = Serve(tmp_path_factory.mktemp("install") / "data", MUSTER_HEARTBEAT="1")
    serve.start()
    yield serve
    serve.stop()


@pytest.fixture(scope="module")
def operator(control_plane: Serve) -> Operator:
    return Operator(control_plane.url)


@pytest.fixture
def registration_token(operator: Operator) -> str:
    return str(operator.call("POST", "/api/registration-tokens", {})["token"])


@pytest.fixture
def machine(docker_engine: docker.DockerClient, debian_image: str) -> Iterator[Machine]:
    machine = Machine(docker_engine)
    yield machine
    machine.end()
