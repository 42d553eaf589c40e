"""The agent's image, and the very line of docs/install.md that runs it, as far as a model that is `running`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound

from infra import fake_vllm_image
from tests.fixtures import ROOT
from tests.fixtures.agent_process import Operator
from tests.fixtures.markdown import blocks
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker

IMAGE, STANDIN, NAME = "muster-test/agent:1", "muster-test/standin:1", "muster-test-agent"


@pytest.fixture(scope="module")
def agent_image(
    docker_engine: docker.DockerClient, debian_image: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("image")
    shutil.copy(wheel, folder)
    shutil.copy(ROOT / "infra" / "install" / "Dockerfile", folder)
    docker_engine.images.build(
        path=str(folder), tag=IMAGE, buildargs={"BASE": debian_image}, network_mode="host", rm=True, forcerm=True
    )
    return IMAGE


def documented(folder: Path, url: str) -> str:
    """The line, with this test's folders and names in the place of the documented ones."""
    (block,) = [each for each in blocks("docs/install.md") if each.comment == "docker run"]
    text = block.text
    for ours, theirs in {
        f"MUSTER={url}": "MUSTER=https://muster.example.com",
        f"STATE={folder}/state": "STATE=/var/lib/muster-agent",
        f"MODELS={folder}/models": "MODELS=/var/lib/muster-models",
        f"--name {NAME} ": "--name muster-agent ",
        f"    {IMAGE} --url": "    muster-agent --url",
        "": "export MUSTER_TOKEN=mst_reg_…\n",
    }.items():
        assert text.count(theirs) == 1, theirs
        text = text.replace(theirs, ours)
    return text.rstrip() + f" --allow-image {STANDIN}\n"


@pytest.fixture
def agent(
    agent_image: str,
    docker_engine: docker.DockerClient,
    control_plane: Serve,
    registration_token: str,
    tmp_path: Path,
) -> Iterator[str]:
    """Its container's name; the engine is left as it was found."""
    fake_vllm_image.build(docker_engine, STANDIN)
    line = documented(tmp_path, control_plane.url)
    try:
        subprocess.run(["bash", "-c", line], env=os.environ | {"MUSTER_TOKEN": registration_token}, check=True)
        yield NAME
    finally:
        remove(docker_engine, NAME)
        for each in docker_engine.containers.list(all=True, filters={"ancestor": STANDIN}):
            each.remove(force=True)


def remove(client: docker.DockerClient, name: str) -> None:
    with suppress(NotFound):
        client.containers.get(name).remove(force=True, v=True)


def joined(operator: Operator) -> list[str]:
    """Workers with the name of this host, which the documented line gives."""
    workers = operator.call("GET", "/api/workers")["workers"]
    return [each["worker_id"] for each in workers if each["name"] == socket.gethostname()]


def test_it_brings_a_model_up_and_its_successor_adopts_it(
    agent: str,
    docker_engine: docker.DockerClient,
    control_plane: Serve,
    operator: Operator,
    registration_token: str,
    tmp_path: Path,
) -> None:
    (worker_id,) = eventually(lambda: joined(operator), bool, "the worker joined")
    deployment_id = operator.deploy(image=STANDIN, worker_id=worker_id, env={"HF_ENDPOINT": "http://127.0.0.1:1"})
    before = operator.reach(deployment_id, "running")

    # As the page says: to upgrade, remove the container and run the line again.
    remove(docker_engine, agent)
    line = documented(tmp_path, control_plane.url)
    subprocess.run(["bash", "-c", line], env=os.environ | {"MUSTER_TOKEN": registration_token}, check=True)
    log = eventually(
        lambda: docker_engine.containers.get(agent).logs(), lambda said: b"registered" in said, "it came back"
    )
    assert worker_id.encode() in log
    after = operator.reach(deployment_id, "running")
    assert (after["container_id"], after["restarts"]) == (before["container_id"], 0)

    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")
