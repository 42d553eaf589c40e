from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.fixtures.docker_rig import DockerRig


@pytest.fixture
def rig(tmp_path: Path, puppet_image: str, docker_engine: docker.DockerClient) -> Iterator[DockerRig]:
    rig = DockerRig(tmp_path, puppet_image, docker_engine)
    try:
        yield rig
    finally:
        rig.clear()
