"""A Docker engine for the tests that need one: the host's own, and an image made from the host's own shell."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.engines import image


@pytest.fixture(scope="module")
def docker_engine() -> Iterator[docker.DockerClient]:
    """A client of the reachable engine. Where there is none the test is skipped, or fails if Docker is required."""
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException as error:
        why = f"no Docker engine can be reached: {error}"
        if os.environ.get("MUSTER_REQUIRE_DOCKER") == "1":
            pytest.fail(f"MUSTER_REQUIRE_DOCKER=1, but {why}", pytrace=False)
        pytest.skip(why)
    # All test runs on this host would use the same names, so they take turns. The lock ends with its holder.
    with (Path(tempfile.gettempdir()) / "muster-docker-tests.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield client
    client.close()


@pytest.fixture(scope="module")
def puppet_image(docker_engine: docker.DockerClient) -> Iterator[str]:
    image.build(docker_engine)
    yield image.REFERENCE
    with suppress(ImageNotFound):
        docker_engine.images.remove(image.REFERENCE, force=True)
