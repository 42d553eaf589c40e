"""The Docker engine against a real daemon: the shared suite, and what only a container can suffer."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from muster.diagnostics.log import diagnose
from muster_agent.engines import labels
from muster_agent.engines.base import EngineError, Mount
from muster_agent.engines.docker.docker_engine import SHM_BYTES
from tests.fixtures.docker_rig import DockerRig
from tests.fixtures.engine_suite import EngineSuite, only, own, ready
from tests.fixtures.shell_image import build
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker


class TestDockerEngine(EngineSuite):
    """The shared suite."""


def inspected(rig: DockerRig, name: str = "muster-d1-g1") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = rig.client.api.inspect_container(name)
    return found


def test_the_container_is_made_as_the_host_owner_wants_it(rig: DockerRig) -> None:
    rig.engine.start(rig.spec())
    config = inspected(rig)["HostConfig"]
    assert config["Privileged"] is False
    assert config["RestartPolicy"] in ({"Name": name, "MaximumRetryCount": 0} for name in ("", "no"))
    assert config["ShmSize"] == SHM_BYTES
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert config["DeviceRequests"] is None
    assert config["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "32m", "max-file": "2"}}


def test_the_port_is_published_on_its_address_alone(rig: DockerRig) -> None:
    spec = rig.spec()
    rig.engine.start(spec)
    published = inspected(rig)["HostConfig"]["PortBindings"]
    assert published == {f"{spec.port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(spec.port)}]}
    with socket.create_server(("127.0.0.2", spec.port)):
        pass


def test_on_the_hosts_network_nothing_is_published(rig: DockerRig) -> None:
    instance = ready(rig, rig.engine.start(replace(rig.spec(), host_network=True)))
    found = inspected(rig)
    assert found["HostConfig"]["NetworkMode"] == "host"
    assert not found["HostConfig"]["PortBindings"] and not found["HostConfig"]["Privileged"]
    assert (instance.bind, instance.port) == ("127.0.0.1", rig.spec().port), "known by its labels"


def test_on_the_hosts_network_a_port_that_is_taken_is_told_before_anything_is_made(rig: DockerRig) -> None:
    spec = replace(rig.spec(), host_network=True)
    with rig.occupied(spec.port):
        with pytest.raises(EngineError) as raised:
            rig.engine.start(spec)
        assert raised.value.error_code == "PORT_IN_USE"
    assert own(rig.engine) == []
    first = rig.engine.start(spec)
    with rig.occupied(spec.port):
        assert rig.engine.start(spec).id == first.id, "it is adopted, and the port is its own"


def test_a_file_of_the_host_is_mounted_as_a_file_and_read_only(rig: DockerRig, tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("the template\n")
    (tmp_path / "work").mkdir()
    spec = rig.spec()
    mounts = (*spec.mounts, Mount(template, "/t.jinja", True), Mount(tmp_path / "work", "/kept", False))
    script = "cat /t.jinja; echo x > /t.jinja; echo y > /kept/y; sleep 1000"
    instance = rig.engine.start(replace(spec, mounts=mounts, arguments=("-c", script), entrypoint=("/bin/sh",)))
    said = eventually(
        lambda: rig.engine.logs(instance.id, 10, None).text, lambda text: "Read-only" in text, "its words"
    )
    assert "the template" in said
    eventually(lambda: (tmp_path / "work/y").exists(), bool, "it wrote")
    assert template.read_text() == "the template\n"


def test_gpus_are_asked_for_by_index(rig: DockerRig) -> None:
    """A no-op nvidia-container-runtime-hook on the daemon's PATH stands for the GPU runtime (.ci/run)."""
    if not shutil.which("nvidia-container-runtime-hook"):
        pytest.skip("the engine has no GPU runtime, nor the hook that stands for one")
    rig.engine.start(replace(rig.spec(), gpus=(1, 3)))
    requests = inspected(rig)["HostConfig"]["DeviceRequests"]
    assert [(each["DeviceIDs"], each["Count"]) for each in requests] == [(["1", "3"], 0)]


def test_without_gpus_it_is_told_that_there_are_none(rig: DockerRig) -> None:
    rig.engine.start(rig.spec())
    assert "NVIDIA_VISIBLE_DEVICES=void" in inspected(rig)["Config"]["Env"]


def test_an_image_that_is_not_there(rig: DockerRig) -> None:
    for reference in ("muster-test/none:1", "../../etc", "UPPER/case"):
        with pytest.raises(EngineError) as raised:
            rig.engine.start(replace(rig.spec(), image=reference))
        assert raised.value.error_code in ("IMAGE_NOT_FOUND", "INVALID_CONFIG")


def test_a_program_that_the_image_does_not_have_is_permanent_and_tini_is_quoted(rig: DockerRig) -> None:
    build(rig.client, "muster-test/absent:1", 'ENTRYPOINT ["/absent"]')
    rig.engine.start(replace(rig.spec(), image="muster-test/absent:1"))
    dead = eventually(lambda: only(rig), lambda each: each.exit_code is not None, "its end")
    found = diagnose(rig.engine.logs(dead.id, 100, None).text, dead.exit_code, dead.oom_killed)
    assert (dead.exit_code, found.error_code, found.permanent) == (127, "IMAGE_UNSUITABLE", True)
    assert "exec /absent failed: No such file or directory" in found.message


def test_a_start_that_was_cut_off_before_it_ran_is_taken_up(rig: DockerRig) -> None:
    spec = rig.spec()
    (strings,) = (str(each.source) for each in spec.mounts)
    rig.client.containers.create(
        spec.image or "",
        list(spec.arguments),
        name=spec.name,
        labels=labels.write(spec),
        volumes={strings: {"bind": strings, "mode": "rw"}},
    )
    assert only(rig).state == "created"
    assert rig.engine.start(spec).state == "running"


def test_a_stranger_with_the_name_is_left_alone(rig: DockerRig) -> None:
    spec = rig.spec()
    stranger = rig.client.api.create_container(spec.image, name=spec.name)["Id"]
    try:
        with pytest.raises(EngineError, match="not this worker's"):
            rig.engine.start(spec)
        (seen,) = (each for each in rig.engine.instances() if each.id == stranger)
        assert (seen.deployment_id, seen.worker_id) == (None, None)
    finally:
        rig.client.api.remove_container(stranger)


def test_an_address_that_is_not_here(rig: DockerRig) -> None:
    with pytest.raises(EngineError) as raised:
        rig.engine.start(replace(rig.spec(), bind="203.0.113.9"))
    assert raised.value.error_code == "ADDRESS_MISSING"
    assert own(rig.engine) == []


def test_memory_that_runs_out_is_told(rig: DockerRig) -> None:
    """Docker itself does not tell of it where the container's end reaches it before the kernel's notice: then again."""

    def told() -> bool:
        instance = ready(rig, rig.engine.start(rig.spec()))
        rig.client.api.update_container(instance.id, mem_limit="8m", memswap_limit="8m")
        rig.hog(instance)
        ended = only(rig)
        assert ended.exit_code == 137
        rig.engine.remove(instance.id)
        return ended.oom_killed

    assert eventually(told, what="Docker to tell that memory ran out")
