"""The Docker engine against a real daemon: the shared suite, and what only Docker can suffer."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer
from typing import Any

import docker
import pytest

from agent import labels
from agent.engines import Cancelled, Engine, EngineError
from agent.engines.docker import DockerEngine
from agent.engines.docker.engine import SHM_BYTES
from chalicelib.contract.messages import Progress
from tests.fixtures import shell_image
from tests.fixtures.engine_suite import EngineSuite, only, ready
from tests.fixtures.puppets import Puppets
from tests.fixtures.registry import registry

pytestmark = pytest.mark.docker


class DockerRig(Puppets):
    def __init__(self, folder: Path, reference: str, client: docker.DockerClient) -> None:
        self.client = client
        super().__init__(self.reopened(), folder, reference)

    def reopened(self) -> Engine:
        # Tests share the host's engine with whatever else runs there; other workers' leftovers are not theirs to prune.
        return DockerEngine(lambda: "w1")


@pytest.fixture
def rig(tmp_path: Path, puppet_image: str, docker_engine: docker.DockerClient) -> Iterator[DockerRig]:
    rig = DockerRig(tmp_path, puppet_image, docker_engine)
    yield rig
    rig.clear()


class TestDockerEngine(EngineSuite):
    """The shared suite."""


def inspected(rig: DockerRig, name: str = "muster-d1-g1") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = rig.client.api.inspect_container(name)
    return found


# Containers


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
    assert raised.value.error_code == "INVALID_CONFIG"
    assert [each for each in rig.engine.instances() if each.deployment_id] == []


def test_memory_that_runs_out_is_told(rig: DockerRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    rig.client.api.update_container(instance.id, mem_limit="8m", memswap_limit="8m")
    rig.hog(instance)
    assert (only(rig).exit_code, only(rig).oom_killed) == (137, True)


def test_long_lines_come_in_pieces_and_nothing_is_lost(rig: DockerRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    rig.say(instance, b"x" * 50_000 + b"\nend\n")
    assert rig.engine.logs(instance.id, 100, None).text.count("x") == 50_000


# Images


def test_images_say_their_size_and_who_uses_them(rig: DockerRig) -> None:
    rig.engine.start(rig.spec())
    (found,) = (each for each in rig.engine.images() if shell_image.REFERENCE in each.tags)
    assert found.size > 100_000
    assert found.used_by == ["d1"]
    assert found.created.endswith("Z")


def test_an_image_in_use_is_not_deleted(rig: DockerRig) -> None:
    rig.engine.start(rig.spec())
    for force in (False, True):
        with pytest.raises(EngineError) as raised:
            rig.engine.delete_image(rig.engine.start(rig.spec()).image, force)
        assert raised.value.error_code == "IMAGE_IN_USE"
    with pytest.raises(EngineError) as raised:
        rig.engine.delete_image("muster-test/none:1", force=False)
    assert raised.value.error_code == "IMAGE_NOT_FOUND"


def test_a_pull_shows_how_far_it_is_and_never_runs_backwards(rig: DockerRig) -> None:
    seen: list[Progress] = []
    with registry(3_000_000, 50_000, 9_000_000, 1_000_000) as server:
        pulled = rig.engine.pull(server.reference, seen.append, Event())
    try:
        assert pulled.tags == [server.reference]
        assert rig.engine.has_image(server.reference)
        shares = [(each.current or 0) / (each.total or 1) for each in seen]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert [each.phase for each in seen][-1] == "extracting"
        assert seen[-1].total is not None and 13_000_000 < seen[-1].total < 13_200_000
        assert len(seen) <= 210
    finally:
        assert pulled.id in rig.engine.delete_image(server.reference, force=False)
    assert not rig.engine.has_image(server.reference)


def test_a_pull_can_be_called_off_even_when_nothing_comes(rig: DockerRig) -> None:
    cancelled = Event()
    with registry(5_000_000) as server:
        server.stalled.set()
        Timer(1.0, cancelled.set).start()
        rescue = Timer(20.0, server.released.set)
        rescue.start()
        with pytest.raises(Cancelled):
            rig.engine.pull(server.reference, lambda progress: None, cancelled)
        assert not server.released.is_set(), "it waited for the registry"
        rescue.cancel()
        assert not rig.engine.has_image(server.reference)


@pytest.mark.parametrize("case", ["missing", "locked", "gone"])
def test_why_a_pull_fails(rig: DockerRig, case: str) -> None:
    codes = {"missing": "IMAGE_NOT_FOUND", "locked": "REGISTRY_UNAUTHORIZED", "gone": "REGISTRY_UNREACHABLE"}
    with registry(1000) as server:
        server.locked = case == "locked"
        reference = server.reference if case != "missing" else f"127.0.0.1:{server.server_port}/other:2"
        if case != "gone":
            _assert_pull_fails(rig, reference, codes[case])
    if case == "gone":
        _assert_pull_fails(rig, reference, codes[case])


def test_what_is_no_reference_is_not_pulled(rig: DockerRig) -> None:
    for reference in ("../images/json", "a b", "-x", "a//b", "x?y=z", ""):
        _assert_pull_fails(rig, reference, "IMAGE_NOT_FOUND")


def _assert_pull_fails(rig: DockerRig, reference: str, code: str) -> None:
    with pytest.raises(EngineError) as raised:
        rig.engine.pull(reference, lambda progress: None, Event())
    assert raised.value.error_code == code, raised.value.message


def test_prune_takes_pulled_images_that_nothing_uses(rig: DockerRig) -> None:
    with registry(200_000) as one, registry(300_000) as other:
        pulled = [rig.engine.pull(each.reference, lambda progress: None, Event()).id for each in (one, other)]
        strangers = _tagged(rig, "muster-test/strangers:1")
        user = rig.client.api.create_container(pulled[0], ["x"])["Id"]

    def prune(dry_run: bool) -> tuple[int, list[str]]:
        ids = frozenset([*pulled, "sha256:" + "0" * 64])
        answer = rig.engine.prune(images=ids, containers=False, volumes=False, dry_run=dry_run)
        return answer.space_reclaimed, [each.why for each in answer.kept]

    try:
        counted, why = prune(dry_run=True)
        assert counted >= 300_000
        assert len(why) == 1 and "uses it" in why[0]
        assert prune(dry_run=False) == (counted, why)
        assert [rig.engine.has_image(each) for each in pulled] == [True, False]
        assert rig.engine.has_image(strangers)
    finally:
        rig.client.api.remove_container(user)
        rig.client.images.remove(strangers)
        assert prune(dry_run=False)[0] >= 200_000


def test_prune_leaves_other_workers_and_strangers_alone(rig: DockerRig) -> None:
    """Also volumes: those with the label that nothing uses, and no others."""
    others = ready(rig, rig.engine.start(rig.spec("other", worker_id="w2")))
    rig.die(others, 1)
    volumes = [
        rig.client.volumes.create(labels={labels.WORKER: "w1"}),
        rig.client.volumes.create(labels={labels.WORKER: "w2"}),
        rig.client.volumes.create(),
    ]
    try:
        rig.engine.prune(images=frozenset(), containers=True, volumes=True, dry_run=False)
        left = {each.id for each in rig.client.volumes.list()}
        assert [each.id in left for each in volumes] == [False, True, True]
        assert only(rig).id == others.id
    finally:
        for each in volumes[1:]:
            each.remove()


def _tagged(rig: DockerRig, reference: str) -> str:
    repository, _, tag = reference.rpartition(":")
    rig.client.images.get(shell_image.REFERENCE).tag(repository, tag)
    return reference


# The daemon


class Front:
    """A socket before the daemon's own, which can go away and come back."""

    def __init__(self, path: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._open: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect("/var/run/docker.sock")
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def test_a_daemon_that_is_away_is_no_end(
    docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the start, and not in the middle: the same engine works as soon as the daemon does."""
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    engine = DockerEngine()
    for _ in range(2):
        with pytest.raises(EngineError) as raised:
            engine.instances()
        assert raised.value.error_code == "DOCKER_UNAVAILABLE"
        assert engine.root().is_absolute()
        front = Front(path)
        assert isinstance(engine.instances(), list)
        front.close()
        path.unlink()


def test_a_daemon_that_goes_away_in_mid_pull(
    docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    front = Front(path)
    with registry(5_000_000) as server:
        server.stalled.set()
        Timer(1.0, front.close).start()
        with pytest.raises(EngineError) as raised:
            DockerEngine().pull(server.reference, lambda progress: None, Event())
        assert raised.value.error_code == "DOCKER_UNAVAILABLE"
