"""A Docker engine for the tests that need one: the host's own, and an image made from the host's own shell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.engines import image


@pytest.fixture(scope="session")
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
    yield client
    client.close()


@pytest.fixture(scope="session")
def puppet_image(docker_engine: docker.DockerClient) -> Iterator[str]:
    image.build(docker_engine)
    yield image.REFERENCE
    with suppress(ImageNotFound):
        docker_engine.images.remove(image.REFERENCE, force=True)
