"""GPUs asked of real Docker daemons: with a runtime that stands for NVIDIA's, without one, and with one that fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from muster_agent.engines.base import EngineError
from tests.fixtures import shell_image
from tests.fixtures.docker_daemon import OwnDaemon, own_daemon
from tests.fixtures.docker_rig import DockerRig

pytestmark = pytest.mark.docker
HOOK = "nvidia-container-runtime-hook"
PROGRAMS = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
UUIDS = ("GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", "MIG-0b1f3b4e-8a56-5c39-a2d5-0c3d1f6f2f11")


@dataclass(frozen=True)
class Host:
    """A Docker daemon of the test's own, and what its NVIDIA hook does."""

    daemon: OwnDaemon
    hook: Path

    def hook_runs(self, script: str) -> None:
        fresh = self.hook.with_suffix(".new")
        fresh.write_text(f"#!/bin/sh\n{script}\n")
        fresh.chmod(0o755)
        fresh.rename(self.hook)


@contextmanager
def host(folder: Path, has_hook: bool) -> Iterator[Host]:
    if shutil.which(HOOK, path=PROGRAMS):
        pytest.skip("this host has NVIDIA's own runtime")
    (folder / "bin").mkdir()
    hook = folder / "bin" / (HOOK if has_hook else "unused")
    hook.touch(mode=0o755)
    with own_daemon(folder / "docker", f"{folder}/bin:{PROGRAMS}") as daemon:
        shell_image.build(daemon.client)
        yield Host(daemon, hook)


@pytest.fixture(scope="module")
def host_with_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("runtime"), has_hook=True) as found:
        yield found


@pytest.fixture
def rig(host_with_runtime: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerRig]:
    monkeypatch.setenv("DOCKER_HOST", host_with_runtime.daemon.url)
    yield DockerRig(tmp_path, shell_image.REFERENCE, host_with_runtime.daemon.client)
    host_with_runtime.daemon.clear()


def test_a_gpu_is_asked_for_by_its_uuid(host_with_runtime: Host, rig: DockerRig) -> None:
    host_with_runtime.hook_runs("exit 0")
    started = rig.engine.start(replace(rig.spec(), gpus=(1, 3), devices=UUIDS))
    requests = rig.client.api.inspect_container(started.id)["HostConfig"]["DeviceRequests"]
    assert [(each["DeviceIDs"], each["Count"]) for each in requests] == [(list(UUIDS), 0)]
    environment = Path(f"/proc/{started.pid}/environ").read_bytes().split(b"\0")
    assert f"NVIDIA_VISIBLE_DEVICES={','.join(UUIDS)}".encode() in environment


def test_without_nvidias_runtime_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with host(tmp_path, has_hook=False) as found:
        monkeypatch.setenv("DOCKER_HOST", found.daemon.url)
        rig = DockerRig(tmp_path, shell_image.REFERENCE, found.daemon.client)
        with pytest.raises(EngineError) as raised:
            rig.engine.start(replace(rig.spec(), gpus=(0,)))
        assert raised.value.error_code == "GPU_UNAVAILABLE"
        assert "apt-get install -y nvidia-container-toolkit" in raised.value.message
        assert "could not select device driver" in raised.value.message
        assert rig.client.containers.list(all=True) == []


@pytest.mark.parametrize(
    ("says", "code", "advice"),
    [
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "GPU_UNAVAILABLE", "nvidia-smi"),
        (
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver to "
            "a newer version, or use an earlier cuda container",
            "DRIVER_TOO_OLD",
            "update the driver",
        ),
    ],
)
def test_a_runtime_that_fails_is_told_in_its_own_words_and_leaves_nothing(
    host_with_runtime: Host, rig: DockerRig, says: str, code: str, advice: str
) -> None:
    host_with_runtime.hook_runs(f"echo '{says}' >&2; exit 1")
    with pytest.raises(EngineError) as raised:
        rig.engine.start(replace(rig.spec(), gpus=(0,), devices=UUIDS[:1]))
    assert raised.value.error_code == code
    assert advice in raised.value.message and says in raised.value.message
    assert rig.client.containers.list(all=True) == []
