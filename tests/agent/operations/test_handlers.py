"""What each operation does, and what it answers with."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from msgspec import Struct, convert

from muster.api.messages import (
    OUTPUTS,
    Container,
    ContainerLogs,
    Deleted,
    DeleteImage,
    Image,
    OperationCommand,
    Progress,
    Pulled,
    PullImage,
    StopContainer,
)
from muster_agent.backends.policy import TESTED_IMAGE
from muster_agent.engines.base import EngineError, Instance
from muster_agent.operations.handlers import Handlers
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.hub_cache import cache
from tests.fixtures.journals import forbid_writing


def test_every_output_is_what_its_route_answers_with(world: AgentWorld) -> None:
    cache(world.folder / "hub", "org/old", 10)
    world.deploy()
    world.settle()
    asked: dict[str, dict[str, Any]] = {
        "pull_image": {"image": TESTED_IMAGE},
        "list_images": {},
        "list_containers": {},
        "list_models": {},
        "delete_model": {"model": "org/old"},
        "container_logs": {"container_id": "d1"},
        "disk_usage": {},
        "prune": {"images": True, "containers": True},
        "stop_container": {"container_id": "d1"},
        "delete_image": {"image_id": TESTED_IMAGE, "force": True},
    }
    assert asked.keys() == OUTPUTS.keys()
    for number, (type, fields) in enumerate(asked.items()):
        result = world.ask(type, command_id=f"o{number}", **fields)
        assert result["status"] == "succeeded", (type, result)
        convert(result["output"], type=OUTPUTS[type])
        world.settle(2)


def test_worker_error_code_is_handed_on(world: AgentWorld) -> None:
    assert world.ask("pull_image", image="no/such")["error_code"] == "IMAGE_NOT_FOUND"
    assert world.ask("container_logs", command_id="o2", container_id="nobody")["error_code"] == "CONTAINER_NOT_FOUND"
    assert world.ask("container_logs", command_id="o3", container_id="")["error_code"] == "CONTAINER_NOT_FOUND"
    assert world.ask("delete_image", command_id="o4", image_id="no/such")["error_code"] == "IMAGE_NOT_FOUND"
    assert world.ask("delete_model", command_id="o5", model="no/such")["error_code"] == "MODEL_NOT_FOUND"


def test_containers_say_whose_they_are(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.add(Instance("x1", "db", "postgres", "running"))
    containers = world.ask("list_containers")["output"]["containers"]
    assert {each["name"]: each["ours"] for each in containers} == {"muster-d1-g1": True, "db": False}


def test_what_is_not_ours_is_neither_stopped_nor_read(world: AgentWorld) -> None:
    world.engine.add(Instance("x1", "db", "postgres", "running"))
    world.engine.add(Instance("x2", "muster-d9-g1", "i", "running", "another-worker", "d9", 1))
    for number, key in enumerate(["x1", "db", "x2", "muster-d9-g1"]):
        assert world.ask("stop_container", command_id=f"s{number}", container_id=key)["error_code"] == "NOT_OURS"
        assert world.ask("container_logs", command_id=f"l{number}", container_id=key)["error_code"] == "NOT_OURS"
    assert world.ask("container_logs", command_id="l9", container_id="d9")["error_code"] == "CONTAINER_NOT_FOUND"


def test_logs_are_found_by_id_prefix_name_and_deployment(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.engine.say(instance.id, "one")
    world.engine.say(instance.id, "two")
    for number, key in enumerate([instance.id, instance.id[:5], instance.name, "d1"]):
        output = world.ask("container_logs", command_id=f"o{number}", container_id=key, lines=1)["output"]
        assert (output["logs"], output["truncated"]) == ("two\n", True)


def test_image_in_use_is_not_deleted(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    image = world.engine.images()[0]
    assert world.ask("delete_image", image_id=image.id)["error_code"] == "IMAGE_IN_USE"
    assert world.ask("delete_image", command_id="o2", image_id=image.tags[0])["error_code"] == "IMAGE_IN_USE"


def test_image_of_a_deployment_that_waits_to_start_again_is_in_use(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.die(world.engine.only().id, 1)
    world.settle(2)
    assert world.engine.all == {}
    assert world.ask("delete_image", image_id=TESTED_IMAGE)["error_code"] == "IMAGE_IN_USE"
    pruned = world.ask("prune", command_id="o2", images=True)["output"]
    assert (pruned["space_reclaimed"], pruned["kept"][0]["bytes"]) == (0, 1000)
    assert "d1" in pruned["kept"][0]["why"]


def test_prune_takes_only_images_that_this_agent_pulled(world: AgentWorld) -> None:
    world.engine.pulled["theirs"] = Image("sha256:theirs", ["theirs"], 500, "2024-01-01T00:00:00Z")
    world.ask("pull_image", image=TESTED_IMAGE)
    assert world.ask("prune", command_id="o2", images=True, dry_run=True)["output"]["space_reclaimed"] == 1000
    assert len(world.engine.pulled) == 2
    assert world.ask("prune", command_id="o3", images=True)["output"]["space_reclaimed"] == 1000
    assert list(world.engine.pulled) == ["theirs"]


def test_image_that_was_there_before_is_not_ours_by_pulling_it(world: AgentWorld) -> None:
    world.engine.pulled[TESTED_IMAGE] = Image("sha256:t", [TESTED_IMAGE], 5, "")
    world.ask("pull_image", image=TESTED_IMAGE)
    assert world.ask("prune", command_id="o2", images=True)["output"]["space_reclaimed"] == 0


def test_weights_are_deleted_unless_a_deployment_uses_them(world: AgentWorld) -> None:
    used, unused = cache(world.folder / "hub", "org/model", 10), cache(world.folder / "hub", "gpt2", 20)
    world.deploy()
    world.settle()
    assert world.ask("delete_model", model="org/model")["error_code"] == "MODEL_IN_USE"
    assert world.ask("delete_model", command_id="o2", model="gpt2")["output"] == {"deleted": ["gpt2"]}
    assert (used.exists(), unused.exists()) == (True, False)


def test_weights_that_another_worker_of_this_host_runs_are_in_use(world: AgentWorld) -> None:
    cache(world.folder / "hub", "gpt2", 20)
    world.engine.add(Instance("x2", "muster-d9-g1", "i", "running", "another-worker", "d9", 1, "gpt2"))
    assert world.ask("delete_model", model="gpt2")["error_code"] == "MODEL_IN_USE"


def test_engine_without_images_says_so(world: AgentWorld) -> None:
    world.engine.uses_images = False
    assert world.ask("pull_image", image="i")["error_code"] == "UNSUPPORTED_BY_ENGINE"
    assert world.ask("list_images", command_id="o2")["output"] == {"images": []}


@pytest.fixture
def handlers(world: AgentWorld) -> Handlers:
    return world.runtime.operations._handlers


def run(handlers: Handlers, command: OperationCommand, told: list[Progress] | None = None) -> Struct:
    return handlers.run(command, (told if told is not None else []).append, Event())


def test_a_pull_tells_its_phases_and_answers_with_the_image(handlers: Handlers) -> None:
    told: list[Progress] = []
    pulled = run(handlers, PullImage("o1", 60, TESTED_IMAGE), told)
    assert isinstance(pulled, Pulled) and pulled.tags == [TESTED_IMAGE]
    assert [each.phase for each in told] == ["downloading", "extracting"]


def test_an_image_that_this_agent_neither_pulled_nor_may_run_is_not_deleted(
    world: AgentWorld, handlers: Handlers
) -> None:
    world.engine.pulled["theirs"] = Image("sha256:theirs", ["theirs:1"], 500, "")
    with pytest.raises(EngineError) as raised:
        run(handlers, DeleteImage("o1", 60, "theirs:1", force=True))
    assert raised.value.error_code == "REFUSED_BY_HOST"
    assert "theirs" in world.engine.pulled
    run(handlers, PullImage("o2", 60, TESTED_IMAGE))
    assert run(handlers, DeleteImage("o3", 60, TESTED_IMAGE)) == Deleted(["sha256:00000001"])


def test_a_stopped_orphan_is_removed_and_its_log_kept(world: AgentWorld, handlers: Handlers) -> None:
    orphan = world.engine.add(Instance("o" * 12, "muster-d9-g1", "i", "running", "w1", "d9", 1))
    world.engine.say(orphan.id, "last words")
    stopped = run(handlers, StopContainer("o1", 60, "d9"))
    assert isinstance(stopped, Container) and (stopped.state, stopped.ours) == ("exited", True)
    assert world.engine.all == {}
    logs = run(handlers, ContainerLogs("o2", 60, "d9"))
    assert getattr(logs, "logs", "") == "last words\n"


def test_a_deployments_id_means_its_newest_container_and_an_ambiguous_prefix_none(
    world: AgentWorld, handlers: Handlers
) -> None:
    for generation in (2, 3, 1):
        made = world.engine.add(
            Instance(f"abc{generation}", f"muster-d9-g{generation}", "i", "running", "w1", "d9", generation)
        )
        world.engine.say(made.id, f"of generation {generation}")
    assert getattr(run(handlers, ContainerLogs("o1", 60, "d9")), "logs", "") == "of generation 3\n"
    with pytest.raises(EngineError) as raised:
        run(handlers, ContainerLogs("o2", 60, "abc"))
    assert raised.value.error_code == "CONTAINER_NOT_FOUND"


def test_the_logs_of_pruned_containers_can_still_be_read(world: AgentWorld) -> None:
    dead = world.engine.add(Instance("dead", "muster-d9-g1", "i", "exited", "w1", "d9", 1))
    world.engine.say(dead.id, "last words")
    assert world.ask("prune", containers=True, dry_run=True)["status"] == "succeeded"
    assert "dead" in world.engine.all
    assert world.ask("prune", command_id="o2", containers=True)["status"] == "succeeded"
    assert world.engine.all == {}
    assert world.ask("container_logs", command_id="o3", container_id="dead")["output"]["logs"] == "last words\n"


def test_containers_are_pruned_where_their_logs_cannot_be_kept(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk they may be what is in the way."""
    world.engine.add(Instance("dead", "muster-d9-g1", "i", "exited", "w1", "d9", 1))
    forbid_writing(world.database)
    assert world.ask("prune", containers=True)["status"] == "succeeded"
    assert world.engine.all == {}
    assert "the log of muster-d9-g1 is lost" in caplog.text
