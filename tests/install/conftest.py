"""A control plane that has its wheel, and hosts that join it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.fixtures.agent_process import Operator
from tests.fixtures.docker_engine import unavailable
from tests.fixtures.serve import Serve
from tests.install import debian
from tests.install.debian import Machine


@pytest.fixture(scope="session")
def debian_image(docker_engine: docker.DockerClient) -> str:
    if shutil.which("debootstrap") is None:
        unavailable("debootstrap, which makes a bare Debian, is not installed")
    if os.geteuid() != 0:
        unavailable("only root may make a bare Debian with debootstrap")
    return debian.build(docker_engine)


@pytest.fixture(scope="session")
def control_plane(
    wheel_served: Path, wheelhouse_here: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    environment = {"MUSTER_HEARTBEAT": "1", "MUSTER_WHEELHOUSE": str(wheelhouse_here)}
    with Serve(tmp_path_factory.mktemp("install") / "data", **environment) as serve:
        yield serve


@pytest.fixture(scope="session")
def operator(control_plane: Serve) -> Operator:
    return Operator(control_plane.url)


@pytest.fixture(scope="module")
def registration_token(operator: Operator) -> str:
    """For the hosts of one module."""
    return str(operator.call("POST", "/api/registration-tokens", {"max_uses": 2})["token"])


@pytest.fixture(scope="module")
def machine(docker_engine: docker.DockerClient, debian_image: str) -> Iterator[Machine]:
    machine = Machine(docker_engine)
    try:
        yield machine
    finally:
        machine.end()
