"""What a container of a hostile order is, as a real Docker daemon tells it: its words, and nothing of the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from muster.api.messages import Deploy
from muster_agent.backends.command import run_template
from muster_agent.backends.policy import CONTAINER_HUB_CACHE, HostPolicy, refusal
from muster_agent.engines.base import EngineError
from muster_agent.engines.docker import DockerEngine
from tests.fixtures import shell_image
from tests.fixtures.ports import free_port

pytestmark = pytest.mark.docker

NAME = "muster-security-hostile-g1"
WORDS = [
    "; touch /owned",
    "$(touch /owned)",
    "`id`",
    "| sh",
    "&& reboot",
    "--privileged",
    "-v",
    "C:/host",
    "\n",
    "'\"\\",
]


@pytest.fixture
def client(docker_engine: docker.DockerClient, puppet_image: str) -> Iterator[docker.DockerClient]:
    yield docker_engine
    for each in docker_engine.containers.list(all=True, filters={"name": NAME}):
        each.remove(force=True)


def started(client: docker.DockerClient, folder: Path, **order: Any) -> dict[str, Any]:
    """Allowed by the owner in every point, or this would say nothing; then as Docker has it."""
    policy = HostPolicy(allow_images=("muster-test/puppet",), hub_cache=folder / "hub", allow_remote_code=True)
    command = Deploy("c", "security-hostile", 1, "vllm", "org/model", image=shell_image.REFERENCE, **order)
    assert refusal(command, policy, uses_images=True) is None
    host_env = {"AWS_SECRET_ACCESS_KEY": "s", "HTTPS_PROXY": "http://proxy"}
    spec = run_template(command, policy, host_env, True).spec("security", "127.0.0.1", free_port())
    DockerEngine(lambda: "security").start(spec)
    found: dict[str, Any] = client.api.inspect_container(NAME)
    return found


def test_it_has_nothing_of_the_host(client: docker.DockerClient, tmp_path: Path) -> None:
    config = {"extra_args": ["--x", *WORDS], "chat_template": "{{ '/etc/shadow' }}"}
    env = {"DOCKER_HOST": "unix:///var/run/docker.sock", "PATH": "/evil", "PYTHONPATH": "/evil", "A": "$(id)\n; reboot"}
    found = started(client, tmp_path, config=config, env=env)
    host = found["HostConfig"]
    assert not host["Privileged"] and not host["CapAdd"] and not host["Devices"] and not host["DeviceRequests"]
    assert not host["Binds"] and not host["VolumesFrom"] and not host["Links"] and not host["GroupAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"], host["CgroupParent"]) == ("", "", "", "")
    assert host["NetworkMode"] in ("default", "bridge") and host["IpcMode"] in ("private", "shareable")
    assert host["RestartPolicy"]["Name"] in ("", "no")
    mounts = [(each["Source"], each["Destination"]) for each in found["Mounts"]]
    assert mounts == [(str((tmp_path / "hub").resolve()), CONTAINER_HUB_CACHE)]
    (bound,) = (each for several in host["PortBindings"].values() for each in several)
    assert bound["HostIp"] == "127.0.0.1"


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/var/run/docker.sock", "/:/host", "../../etc", "~/.ssh", "file:///etc"]
)
def test_a_path_of_the_host_is_refused_although_a_container_would_not_have_it(path: str) -> None:
    policy = HostPolicy(allow_remote_code=True, allow_entrypoint=True, allow_host_network=True)
    for config in ({"chat_template": path}, {"extra_args": ["--chat-template", path]}, {"lora_modules": [f"a={path}"]}):
        command = Deploy("c", "d1", 1, "vllm", "org/model", config=config)
        assert path in (refusal(command, policy, uses_images=True) or "")


def test_words_stay_words(client: docker.DockerClient, tmp_path: Path) -> None:
    found = started(client, tmp_path, config={"extra_args": ["--x", *WORDS]})
    assert found["Config"]["Cmd"][-len(WORDS) :] == WORDS, "each is one argument, which no shell reads"


def test_variables_are_the_orders_and_how_to_reach_the_hub(client: docker.DockerClient, tmp_path: Path) -> None:
    env = started(client, tmp_path, env={"A": "$(id)\nB=c", "HF_ENDPOINT": "https://evil.example"})["Config"]["Env"]
    assert "A=$(id)\nB=c" in env and "HTTPS_PROXY=http://proxy" in env and "HF_TOKEN=" in env
    assert not any(each.startswith(("AWS_", "B=", "MUSTER_")) for each in env)
    assert "NVIDIA_VISIBLE_DEVICES=void" in env


@pytest.mark.parametrize(
    "reference", ["../containers/json", "x?all=1", "a/../../b", "%2e%2e", "-x", "a b", "a\n", "\0", "", "a" * 600]
)
def test_a_reference_never_becomes_another_path_of_dockers_api(client: docker.DockerClient, reference: str) -> None:
    engine = DockerEngine(lambda: "security")
    for call in (engine.has_image, lambda each: engine.delete_image(each, force=True)):
        with pytest.raises(EngineError) as raised:
            call(reference)
        assert raised.value.error_code == "IMAGE_NOT_FOUND"
    engine.stop(reference, 1)
    engine.remove(reference)
    with pytest.raises(EngineError, match="no container"):
        engine.logs(reference, 10, None)
