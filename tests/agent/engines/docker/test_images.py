"""Pulls from a real registry: how far they are, with whose credentials, why they fail, and that they do not hang."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import docker
import pytest

from muster.api.messages import Progress
from muster_agent.engines.base import Cancelled, EngineError
from muster_agent.engines.docker import DockerEngine
from tests.fixtures import shell_image
from tests.fixtures.docker_engine import NAME
from tests.fixtures.docker_rig import DockerRig
from tests.fixtures.ports import free_port
from tests.fixtures.real_registry import PASSWORD, RealRegistry, logged_in, real_registry
from tests.fixtures.registry import registry

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def open_registry(
    docker_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealRegistry]:
    with real_registry(docker_engine, tmp_path_factory.mktemp("open") / "registry") as server:
        yield server


@pytest.fixture(scope="module")
def locked_registry(
    docker_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealRegistry]:
    with real_registry(docker_engine, tmp_path_factory.mktemp("locked") / "registry", has_password=True) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The owner's Docker config is in this folder."""
    folder = tmp_path / "docker-config"
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder


def pull(reference: str, engine: DockerEngine | None = None) -> list[Progress]:
    seen: list[Progress] = []
    (engine or DockerEngine()).pull(reference, seen.append, Event())
    return seen


def refused(reference: str, engine: DockerEngine | None = None) -> EngineError:
    with pytest.raises(EngineError) as raised:
        pull(reference, engine)
    return raised.value


def test_one_percentage_for_all_layers_that_never_runs_backwards(open_registry: RealRegistry) -> None:
    reference = open_registry.push("model:1", 3_000_000, 20_000, 9_000_000, 700_000, 1_000_000)
    try:
        seen = pull(reference)
        percents = [each.percent or 0 for each in seen]
        assert percents == sorted(percents)
        assert percents[-1] == 100
        assert any(0 < each < 100 for each in percents)
        assert {each.phase for each in seen} == {"downloading", "extracting"}
        last = seen[-1]
        assert last.current == last.total
        assert 13_500_000 < (last.total or 0) < 14_500_000, "the bytes of the image"
    finally:
        open_registry.forget(reference)


def test_half_of_it_is_unpacking(open_registry: RealRegistry) -> None:
    reference = open_registry.push("model:1", 4_000_000)
    try:
        downloading = [each.percent or 0 for each in pull(reference) if each.phase == "downloading"]
        assert max(downloading) <= 50
    finally:
        open_registry.forget(reference)


def test_the_digest_is_told_which_stays_when_the_tag_moves_on(open_registry: RealRegistry) -> None:
    engine = DockerEngine()
    digests = []
    for _ in range(2):
        reference = open_registry.push("model:1", 1000)
        try:
            pull(reference, engine)
            (found,) = (each for each in engine.images() if reference in each.tags)
            digests += found.digests
        finally:
            open_registry.forget(reference)
    assert len(set(digests)) == 2
    assert all(each.startswith(f"{open_registry.host}/{NAME}/model@sha256:") for each in digests)


def test_credentials_are_those_of_the_owner_for_this_registry(
    locked_registry: RealRegistry, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those of a login after the agent was started, without a word of them in any log."""
    caplog.set_level(logging.DEBUG)
    reference = locked_registry.push("model:1", 10_000)
    engine = DockerEngine()
    without = refused(reference, engine)
    logged_in(home, locked_registry.host, password="wrong guess")
    wrong = refused(reference, engine)
    logged_in(home, "another.example:5000")
    another = refused(reference, engine)
    for error in (without, wrong, another):
        assert error.error_code == "REGISTRY_UNAUTHORIZED"
        assert f"docker login {locked_registry.host}" in error.message
        assert "wrong guess" not in error.message
    logged_in(home, locked_registry.host)
    try:
        assert pull(reference, engine)[-1].percent == 100
        assert PASSWORD not in caplog.text and "wrong guess" not in caplog.text
        assert refused(f"{locked_registry.host}/{NAME}/other:1", engine).error_code == "IMAGE_NOT_FOUND"
    finally:
        locked_registry.forget(reference)


@pytest.mark.parametrize("content", ["", "{", "{}", '{"credsStore": "nowhere"}'])
def test_a_config_without_credentials_is_none(open_registry: RealRegistry, home: Path, content: str) -> None:
    reference = open_registry.push("model:1", 1000)
    home.mkdir()
    (home / "config.json").write_text(content)
    try:
        assert pull(reference)[-1].percent == 100
    finally:
        open_registry.forget(reference)


@pytest.mark.parametrize("content", ["[]", '{"auths": 1}', '{"auths": {"a": {"auth": "c2VjcmV0"}}}'])
def test_a_broken_config_is_named(docker_engine: docker.DockerClient, home: Path, content: str) -> None:
    home.mkdir()
    (home / "config.json").write_text(content)
    error = refused("127.0.0.1:1/model:1")
    assert error.error_code == "DOCKER_UNAVAILABLE"
    assert "~/.docker/config.json" in error.message and "secret" not in error.message


def test_not_found_says_what_to_check(open_registry: RealRegistry) -> None:
    reference = open_registry.push("model:1", 1000)
    for missing in (f"{open_registry.host}/{NAME}/other:1", reference.replace("model:1", "model:2")):
        error = refused(missing)
        assert error.error_code == "IMAGE_NOT_FOUND"
        assert "check its name and tag" in error.message


def test_unreachable_says_what_to_check(docker_engine: docker.DockerClient) -> None:
    for nowhere in (f"127.0.0.1:{free_port()}/model:1", "no-such-host.invalid/model:1"):
        error = refused(nowhere)
        assert error.error_code == "REGISTRY_UNREACHABLE"
        assert "network, DNS and proxy" in error.message


def test_a_registry_that_dies_in_the_middle_is_given_up(docker_engine: docker.DockerClient) -> None:
    """Docker tries again for two and a half minutes, and says so all the time: that is no progress."""
    with registry(5_000_000) as server:
        server.stalled.set()
        server.in_the_middle(server.die)
        error = refused(server.reference, DockerEngine(patience=3.0))
    assert error.error_code == "PULL_STALLED"
    assert "stood still" in error.message


def test_a_registry_that_stands_still_is_given_up(docker_engine: docker.DockerClient) -> None:
    with registry(5_000_000) as server:
        server.stalled.set()
        assert refused(server.reference, DockerEngine(patience=2.0)).error_code == "PULL_STALLED"
        server.stalled.clear()
        server.released.set()
        pulled = DockerEngine().pull(server.reference, lambda progress: None, Event())
        assert DockerEngine().delete_image(pulled.id, force=True)


def test_a_pull_is_called_off_before_the_registry_says_a_word(docker_engine: docker.DockerClient) -> None:
    with registry(1000) as server:
        server.mute.set()
        cancelled = Event()
        server.in_the_middle(cancelled.set)
        with server.standing_still(), pytest.raises(Cancelled):
            DockerEngine().pull(server.reference, lambda progress: None, cancelled)


def test_a_registry_that_never_says_a_word_is_given_up(docker_engine: docker.DockerClient) -> None:
    with registry(1000) as server:
        server.mute.set()
        assert refused(server.reference, DockerEngine(patience=1.0)).error_code == "PULL_STALLED"


def test_images_are_listed_with_their_size_and_the_deployments_that_use_them(rig: DockerRig) -> None:
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
        server.in_the_middle(cancelled.set)
        with server.standing_still(), pytest.raises(Cancelled):
            rig.engine.pull(server.reference, lambda progress: None, cancelled)
        assert not rig.engine.has_image(server.reference)


@pytest.mark.parametrize("case", ["missing", "locked", "gone"])
def test_a_pull_that_fails_has_the_error_code_of_its_cause(rig: DockerRig, case: str) -> None:
    codes = {"missing": "IMAGE_NOT_FOUND", "locked": "REGISTRY_UNAUTHORIZED", "gone": "REGISTRY_UNREACHABLE"}
    with registry(1000) as server:
        server.locked = case == "locked"
        reference = server.reference if case != "missing" else f"127.0.0.1:{server.server_port}/other:2"
        if case != "gone":
            assert refused(reference).error_code == codes[case]
    if case == "gone":
        assert refused(reference).error_code == codes[case]


def test_what_is_no_reference_is_not_pulled(rig: DockerRig) -> None:
    for reference in ("../images/json", "a b", "-x", "a//b", "x?y=z", ""):
        assert refused(reference).error_code == "IMAGE_NOT_FOUND"


# What a pull would bring


def test_what_a_pull_would_fetch_is_what_is_not_here_already(docker_engine: docker.DockerClient) -> None:
    with registry(1000, 2_000_000) as server:
        engine = DockerEngine()
        offered = engine.offer(server.reference)
        assert offered is not None and offered.platform in offered.platforms
        assert 2_000_000 < offered.fetch < 2_100_000
        pull(server.reference, engine)
        again = engine.offer(server.reference)
        assert again is not None and again.fetch == 0
        manifests = sum(
            count for path, count in server.asked.items() if path.startswith("GET") and "/manifests/" in path
        )
        docker_engine.images.remove(server.reference)
        assert manifests <= 2, "a registry counts each question: one of preflight, one of the daemon"


def test_an_image_of_another_architecture_is_offered_as_such_and_a_silent_registry_offers_nothing() -> None:
    with registry(10) as server:
        server.add_index("arm", s390x=10)
        found = DockerEngine().offer(server.reference.removesuffix("1") + "arm")
        assert found is not None and found.platforms[0] == "linux/s390x" and found.fetch == 0
        assert DockerEngine().offer(server.reference.removesuffix("1") + "none") is None
    assert DockerEngine().offer(server.reference) is None


def test_a_registry_that_wants_a_login_is_asked_with_that_of_the_owner(
    locked_registry: RealRegistry, home: Path
) -> None:
    reference = locked_registry.push("model:2", 1000)
    locked_registry.forget(reference)
    assert DockerEngine().offer(reference) is None
    logged_in(home, locked_registry.host)
    offered = DockerEngine().offer(reference)
    assert offered is not None and offered.fetch > 1000
