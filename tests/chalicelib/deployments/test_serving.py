"""What serves keeps its endpoint, its name, and its key, until its end is reported."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.deployments import intents, serving
from chalicelib.fleet import workers
from chalicelib.fleet.workers import ONLINE_WINDOW
from chalicelib.store.tables import Deployment
from chalicelib.telemetry import discovery
from chalicelib.workers import admin, liveness
from muster.api import resources as r
from muster.litellm import sync_plan
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

ENDPOINT = "http://10.0.0.7:8001"


class Agent:
    """A worker with a journal, whose reports name generations."""

    def __init__(self, world: PlaneWorld, name: str = "gpu-1", address: str = "10.0.0.7") -> None:
        self.world, self.worker = world, world.worker(name, address=address)
        self.worker.journal_id = f"journal of {name}"
        self.sequence = 0

    def take(self) -> int:
        """The generation of the deploy that waits."""
        commands = [c for c in self.worker.beat().commands if getattr(c, "deployment_id", None)]
        return commands[-1].generation  # type: ignore[union-attr]

    def report(self, deployment_id: str, status: str, generation: int, **fields: Any) -> None:
        self.sequence += 1
        about = {"generation": generation, "session": self.worker.answer.session, "sequence": self.sequence}
        self.worker.report(deployment_id, status, **about, **fields)

    def run(self, deployment_id: str, port: int = 8001) -> int:
        generation = self.take()
        self.report(deployment_id, "running", generation, container_id=f"c{generation}", port=port, address="10.0.0.7")
        self.worker.active = [deployment_id]
        return generation


@pytest.fixture
def agent(world: PlaneWorld) -> Agent:
    return Agent(world)


def change(world: PlaneWorld, deployment_id: str, **fields: Any) -> int:
    world.pass_(1)
    intents.patch(deployment_id, msgspec.convert(fields, r.DeploymentPatch), ADMIN, world.now)
    return int(intents.load(deployment_id).generation)


def serves(world: PlaneWorld, deployment_id: str) -> tuple[str | None, int | None]:
    """As a view shows it, which discovery and a gateway have to agree with."""
    seen = world.see(deployment_id)
    handed_on = [each.api_base for each in sync_plan.wanted([seen], _workers(world), {})]
    scraped = [target for each in discovery.targets(world.now) for target in each.targets]
    assert bool(handed_on) == bool(scraped) == (seen.endpoint is not None)
    return seen.endpoint, seen.serving_generation


def _workers(world: PlaneWorld) -> list[r.Worker]:
    return admin.list_(r.PageQuery(), world.now).workers


def test_while_a_change_waits_and_pulls_the_instance_before_keeps_its_endpoint(world: PlaneWorld, agent: Agent) -> None:
    deployment_id = world.deploy(gpus=0, config={"served_model_name": "old"})
    old = agent.run(deployment_id)
    assert serves(world, deployment_id) == (ENDPOINT, old)
    new = change(world, deployment_id, config={"served_model_name": "new"})
    assert serves(world, deployment_id) == (ENDPOINT, old), "the agent has not heard of it"
    assert agent.take() == new
    for status in ("downloading", "downloading", "starting"):
        agent.report(deployment_id, status, new, serving=old)
        assert serves(world, deployment_id) == (ENDPOINT, old)
        assert world.see(deployment_id).served_model_name == "old"
    agent.report(deployment_id, "starting", new, serving=0)
    assert serves(world, deployment_id) == (None, None)
    assert world.see(deployment_id).served_model_name == "new"
    agent.report(deployment_id, "running", new, container_id="c2", port=8002, address="10.0.0.7")
    assert serves(world, deployment_id) == ("http://10.0.0.7:8002", new)


@pytest.mark.parametrize("status", ["stopping", "stopped", "error"])
def test_the_end_of_a_change_is_the_end_of_what_served(world: PlaneWorld, agent: Agent, status: str) -> None:
    deployment_id = world.deploy(gpus=0)
    old = agent.run(deployment_id)
    new = change(world, deployment_id, config={"seed": 1})
    agent.take()
    agent.report(deployment_id, "downloading", new, serving=old)
    agent.report(deployment_id, status, new)
    assert serves(world, deployment_id) == (None, None)


@pytest.mark.parametrize("status", ["starting", "stopping", "stopped", "error"])
def test_a_late_word_of_the_generation_before_ends_it_too(world: PlaneWorld, agent: Agent, status: str) -> None:
    deployment_id = world.deploy(gpus=0)
    old = agent.run(deployment_id)
    change(world, deployment_id, config={"seed": 1})
    agent.report(deployment_id, status, old)
    assert serves(world, deployment_id) == (None, None)
    agent.report(deployment_id, "running", old, port=8001)
    assert serves(world, deployment_id)[0] is None, "a report that was sent again brings nothing back"


def test_what_its_worker_does_not_list_any_more_serves_no_more(world: PlaneWorld, agent: Agent) -> None:
    deployment_id = world.deploy(gpus=0)
    old = agent.run(deployment_id)
    change(world, deployment_id, config={"seed": 1})
    agent.worker.beat()
    assert serves(world, deployment_id) == (ENDPOINT, old)
    agent.worker.active = []
    agent.worker.beat()
    assert serves(world, deployment_id) == (None, None)


def test_an_agent_that_does_not_name_what_serves_ended_it_when_the_next_starts(world: PlaneWorld, agent: Agent) -> None:
    """One of release 0.1.0."""
    deployment_id = world.deploy(gpus=0)
    old = agent.run(deployment_id)
    new = change(world, deployment_id, config={"seed": 1})
    agent.take()
    agent.report(deployment_id, "downloading", new)
    assert serves(world, deployment_id) == (ENDPOINT, old)
    agent.report(deployment_id, "starting", new)
    assert serves(world, deployment_id) == (None, None)


def test_a_basic_client_serves_until_it_is_told_to_stop(world: PlaneWorld) -> None:
    worker = world.worker(address="10.0.0.7")
    deployment_id = world.deploy(gpus=0)
    worker.run(deployment_id)
    old = world.see(deployment_id).serving_generation
    change(world, deployment_id, config={"seed": 1})
    assert serves(world, deployment_id) == (ENDPOINT, old)
    assert worker.types() == ["stop"]
    assert serves(world, deployment_id) == (None, None)
    worker.report(deployment_id, "stopped")
    worker.active = []
    assert worker.types() == ["deploy"]
    worker.report(deployment_id, "running", container_id="c2", port=8002)
    assert serves(world, deployment_id)[0] == "http://10.0.0.7:8002"


def moved(world: PlaneWorld, agent: Agent) -> tuple[str, int, Worker]:
    there = world.worker("gpu-2", address="10.0.0.8")
    deployment_id = world.deploy(gpus=0, worker_id=agent.worker.id)
    old = agent.run(deployment_id)
    change(world, deployment_id, worker_id=there.id)
    return deployment_id, old, there


def test_what_moves_serves_at_its_old_worker_until_that_has_stopped_it(world: PlaneWorld, agent: Agent) -> None:
    deployment_id, old, there = moved(world, agent)
    there.beat()
    assert serves(world, deployment_id) == (ENDPOINT, old)
    assert world.see(deployment_id).serving_worker_id == agent.worker.id
    stop = agent.take()
    assert serves(world, deployment_id) == (ENDPOINT, old)
    agent.report(deployment_id, "stopping", stop)
    assert serves(world, deployment_id) == (None, None)


def test_what_moves_from_a_silent_worker_has_no_endpoint(world: PlaneWorld, agent: Agent) -> None:
    deployment_id, _, there = moved(world, agent)
    world.pass_(ONLINE_WINDOW + 1)
    there.beat()
    liveness.expire(world.now)
    assert serves(world, deployment_id) == (None, None)


def test_the_key_that_is_shown_is_that_of_what_serves(world: PlaneWorld, agent: Agent) -> None:
    deployment_id = world.deploy(gpus=0, env={"VLLM_API_KEY": "mine"})
    agent.run(deployment_id)
    assert world.see(deployment_id).api_key is msgspec.UNSET
    change(world, deployment_id, env={})
    assert world.see(deployment_id).api_key is msgspec.UNSET, "the instance before has the operator's"


def test_a_lost_deployment_serves_again_when_its_worker_lists_it_again(world: PlaneWorld) -> None:
    worker = world.worker(address="10.0.0.7")
    deployment_id = world.deploy(gpus=0)
    worker.run(deployment_id)
    world.pass_(90_000)
    liveness.expire(world.now)
    assert serves(world, deployment_id) == (None, None)
    for _ in range(3):
        worker.beat()
        world.pass_(26)
    worker.beat()
    assert serves(world, deployment_id)[0] == ENDPOINT


def test_what_an_older_release_stored_as_running_serves(world: PlaneWorld, agent: Agent) -> None:
    deployment_id = world.deploy(gpus=0)
    old = agent.run(deployment_id)
    intents.load(deployment_id).update(actions=[Deployment.serving.remove()])
    assert serves(world, deployment_id) == (ENDPOINT, old)
    change(world, deployment_id, config={"seed": 1})
    assert serves(world, deployment_id) == (ENDPOINT, old)


def test_a_deployment_that_is_to_stop_serves_until_it_does_but_not_through_a_gateway(
    world: PlaneWorld, agent: Agent
) -> None:
    deployment_id = world.deploy(gpus=0)
    agent.run(deployment_id)
    world.stop(deployment_id)
    seen = world.see(deployment_id)
    assert seen.endpoint == ENDPOINT
    assert sync_plan.wanted([seen], _workers(world), {}) == []
    assert workers.get(agent.worker.id).online(world.now)


def test_a_running_instance_without_a_port_serves_nothing(world: PlaneWorld, agent: Agent) -> None:
    deployment_id = world.deploy(gpus=0)
    agent.report(deployment_id, "running", agent.take(), container_id="c")
    assert serving.of(intents.load(deployment_id)) is None
    assert serves(world, deployment_id) == (None, None)
