"""How far a control plane in an attacker's hand reaches on a host: not to its files, nor to what others run there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.api.messages import Image
from muster_agent.backends.policy import TESTED_IMAGE, HostPolicy
from muster_agent.engines.base import Instance
from tests.fixtures.agent_world import GIB, AgentWorld
from tests.security.hostile_host import MISSING, REFUSED, is_refused, world_of

# Files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The owner's weights, beside what is none of them."""
    (tmp_path / "weights" / "llama").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "weights" / "link").symlink_to(tmp_path / "private")
    (tmp_path / "weights-of-others").mkdir()
    return tmp_path / "weights"


@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
@pytest.mark.parametrize("path", ["link", "../private", "llama/../../private", "../weights-of-others", "//../private"])
def test_a_path_that_leaves_the_owners_folder_is_refused(
    tmp_path: Path, root: Path, path: str, processes: bool
) -> None:
    is_refused(world_of(tmp_path / "w", processes=processes, model_root=root), REFUSED, model=f"{root}/{path}")


class Turning(AgentWorld):
    """A host where somebody turns a link as soon as it was looked at."""

    def turn(self) -> None: ...

    @property
    def free_disk(self) -> int:
        """What is asked last before a start."""
        self.turn()
        return 1000 * GIB

    @free_disk.setter
    def free_disk(self, value: int) -> None: ...


@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
def test_a_link_that_is_turned_between_check_and_start_is_refused(tmp_path: Path, root: Path, processes: bool) -> None:
    (root / "turned").symlink_to(root / "llama")

    def turn() -> None:
        (root / "turned").unlink()
        (root / "turned").symlink_to(tmp_path / "private")

    world = Turning(tmp_path / "w")
    world.engine.uses_images = not processes
    world.policy = HostPolicy(hub_cache=tmp_path / "hub", model_root=root)
    world.boot().beat()
    world.turn = turn  # type: ignore[method-assign]  # from here on
    is_refused(world, REFUSED, model=f"{root}/turned")


MODEL_NAMES = ["..", "../..", "../../private", "org/../../private", ".locks", "/etc", "models--org--model", "evil/link"]


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_weights_are_deleted_by_name_and_never_by_path(tmp_path: Path, root: Path, model: str) -> None:
    world = world_of(tmp_path)
    blobs = tmp_path / "hub" / "models--org--model" / "blobs"
    blobs.mkdir(parents=True)
    (tmp_path / "hub" / "models--evil--link").symlink_to(tmp_path / "private")
    before = sorted(tmp_path.rglob("*"))
    assert world.ask("delete_model", model=model)["error_code"] == "MODEL_NOT_FOUND"
    assert {each for each in before if "state" not in each.parts} <= set(tmp_path.rglob("*"))


def test_a_folder_of_the_cache_that_is_named_as_no_model_is_not_listed(tmp_path: Path) -> None:
    """A container writes into the cache, and may be anybody's code."""
    world = world_of(tmp_path)
    for name in (b"models--org--ok", b"models--\x1b[2J", b"models--a\nb", b"models--\xff\xfe", b"models--\xe2\x80\xae"):
        os.makedirs(os.path.join(os.fsencode(tmp_path / "hub"), name))
    assert world.ask("list_models")["output"] == {"models": [{"model": "org/ok", "size": 0}]}


# What others run


@pytest.fixture
def others(tmp_path: Path) -> Iterator[AgentWorld]:
    world = world_of(tmp_path)
    world.engine.add(Instance(id="abc123", name="postgres", image="postgres:16", state="running"))
    foreign = Instance(id="def456", name="muster-x-g1", image=TESTED_IMAGE, state="running")
    world.engine.add(with_foreign_labels(foreign))
    yield world
    nothing_was_stopped(world)


def nothing_was_stopped(world: AgentWorld) -> None:
    assert {each.state for each in world.engine.all.values()} == {"running"}
    assert not any(call.startswith("stop") for call in world.engine.calls)


def with_foreign_labels(instance: Instance) -> Instance:
    from dataclasses import replace

    return replace(instance, worker_id="w2", deployment_id="x", generation=1)


@pytest.mark.parametrize("key", ["abc123", "abc", "postgres", "def456", "muster-x-g1", "d"])
@pytest.mark.parametrize("type", ["stop_container", "container_logs"])
def test_a_container_of_others_is_neither_stopped_nor_read(others: AgentWorld, type: str, key: str) -> None:
    assert others.ask(type, container_id=key)["error_code"] == "NOT_OURS"


@pytest.mark.parametrize("key", ["x", "", "../abc123", "%2e%2e/json", "abc123\n", "abc123?force=1", "\0"])
@pytest.mark.parametrize("type", ["stop_container", "container_logs"])
def test_a_container_id_that_is_none_finds_no_container(others: AgentWorld, type: str, key: str) -> None:
    assert others.ask(type, container_id=key)["error_code"] == "CONTAINER_NOT_FOUND"


def test_a_stop_of_a_deployment_that_another_worker_runs_stops_nothing(others: AgentWorld) -> None:
    others.stop(deployment_id="x", generation=9)
    others.settle()
    nothing_was_stopped(others)


MINE = Image("sha256:aaaa1111", ["app:1", "registry.example/app:1"], 1, "2024-01-01T00:00:00Z")
OFFERED = Image("sha256:bbbb2222", ["vllm/vllm-openai:v0.6"], 1, "2024-01-01T00:00:00Z")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["app:1", "docker.io/library/app:1", "sha256:aaaa1111", "aaaa", "sha256:a", "sha256:"])
def test_images_of_others_are_not_deleted(tmp_path: Path, name: str, force: bool) -> None:
    world = world_of(tmp_path)
    world.engine.pulled["app:1"] = MINE
    assert world.ask("delete_image", image_id=name, force=force)["error_code"] == REFUSED
    assert "app:1" in world.engine.pulled


@pytest.mark.parametrize("name", ["../../containers/abc123", "app:1?force=1", "app%3A1", "--force", "*", ""])
def test_an_image_name_that_is_none_deletes_nothing(tmp_path: Path, name: str) -> None:
    world = world_of(tmp_path)
    world.engine.pulled["app:1"] = MINE
    assert world.ask("delete_image", image_id=name)["error_code"] in (REFUSED, MISSING)
    assert "app:1" in world.engine.pulled


def test_images_that_may_run_here_and_those_that_were_pulled_for_muster_are_deleted(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.engine.available.add("any/other:1")
    world.engine.pulled["vllm/vllm-openai:v0.6"] = OFFERED
    world.ask("pull_image", command_id="o1", image="any/other:1")
    assert world.ask("delete_image", command_id="o2", image_id="any/other:1")["status"] == "succeeded"
    assert world.ask("delete_image", command_id="o3", image_id=OFFERED.id)["status"] == "succeeded"
