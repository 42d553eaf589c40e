"""The steps of a plan: pulls, ends, removals and starts, and what is journaled around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event

import pytest

from muster.api.messages import Progress, Pulled
from muster_agent.backends.policy import TESTED_IMAGE
from muster_agent.engines.base import EngineError, Instance, RunSpec
from muster_agent.runner.reconciler import MAX_ATTEMPTS
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import forbid_writing


def test_progress_of_a_pull_is_reported(world: AgentWorld) -> None:
    world.deploy()
    world.runner().step(world.clock.monotonic())
    world.deliver()
    assert [report.progress is None for _, report in world.server.reports][:2] == [True, False]


def test_what_a_failed_start_could_not_remove_is_removed_later(world: AgentWorld) -> None:
    def stuck(spec: RunSpec) -> None:
        owner = (spec.worker_id, spec.deployment_id, spec.generation)
        world.engine.add(Instance("stuck", spec.name, str(spec.image), "created", *owner))
        raise EngineError("CONTAINER_FAILED", "no such program")

    world.engine.on_start = stuck
    world.deploy(restart="never")
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("error", "CONTAINER_FAILED")
    assert world.engine.all == {}


def test_an_attempt_is_journaled_before_anything_is_done_and_taken_back_after_it(world: AgentWorld) -> None:
    counted: list[int] = []

    def attempts() -> int:
        record = world.journal.deployments_table.get("d1")
        return record.attempts if record else -1

    def note(spec: RunSpec) -> None:
        counted.append(attempts())

    world.engine.on_start = note
    world.deploy()
    world.journal.deployments_table.save(replace(world.runner().record, attempts=1))
    world.restart()
    world.settle()
    assert set(counted) == {2}, "an agent that dies of the start has tried once more than before"
    assert attempts() == 0


def test_an_engine_that_refuses_a_step_again_and_again_poisons_no_command(world: AgentWorld) -> None:
    refusals = [EngineError("CONTAINER_FAILED", "500 Server Error")] * (MAX_ATTEMPTS + 1)

    def refuse(spec: RunSpec) -> None:
        if refusals:
            raise refusals.pop()

    world.engine.on_start = refuse
    world.deploy()
    world.settle(40, seconds=60)
    assert (world.last_report().status, world.last_report().restarts) == ("running", MAX_ATTEMPTS + 1)
    assert "POISON_COMMAND" not in {report.error_code for _, report in world.server.reports}


@pytest.mark.parametrize("image", ["vllm/vllm-openai:latest", "vllm/vllm-openai:other"], ids=["is there", "is pulled"])
def test_the_end_of_what_serves_is_announced_before_it_ends(world: AgentWorld, image: str) -> None:
    told: list[str] = []
    world.engine.available.add("vllm/vllm-openai:other")
    world.deploy(image="vllm/vllm-openai:latest")
    world.settle()
    stop = world.engine.stop

    def watched(instance_id: str, grace: float) -> None:
        world.deliver()
        told.append(world.last_report().status)
        stop(instance_id, grace)

    world.engine.stop = watched  # type: ignore[method-assign]
    world.deploy(generation=2, image=image)
    world.settle()
    assert told == ["starting"]
    assert world.serving()[-2:] == [("starting", 0), ("running", None)]


def test_an_image_that_was_pulled_where_nothing_can_be_journaled_is_run(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.deploy()
    forbid_writing(world.database)
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("running", None)
    assert f"image {TESTED_IMAGE} was pulled, and prune will not count it" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_newer_intent_that_comes_while_an_older_instance_ends_keeps_the_next_from_starting(world: AgentWorld) -> None:
    stop = world.engine.stop

    def slow(instance_id: str, grace: float) -> None:
        stop(instance_id, grace)
        world.stop(generation=3)

    world.deploy()
    world.settle()
    world.engine.stop = slow  # type: ignore[method-assign]
    world.deploy(generation=2)
    world.settle()
    assert [each.generation for each in world.engine.specs] == [1]
    assert world.statuses()[-1] == "stopped"


def test_a_pull_that_is_tried_again_is_reported_with_the_reason(world: AgentWorld) -> None:
    attempts: list[str] = []
    pull = world.engine.pull

    def again(reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        world.deliver()
        attempts.append(reference)
        if len(attempts) == 1:
            raise EngineError("REGISTRY_UNREACHABLE", "no route to host")
        return pull(reference, on_progress, cancelled)

    world.engine.pull = again  # type: ignore[method-assign]
    world.deploy()
    world.settle()
    said = [each for _, each in world.server.reports if "REGISTRY_UNREACHABLE" in (each.message or "")]
    assert [(each.status, each.error_code) for each in said] == [("downloading", None)]
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)


def test_requests_may_finish_before_their_instance_is_stopped(world: AgentWorld) -> None:
    drained: list[tuple[str, bool]] = []

    def drain(instance: str, cancelled: Callable[[], bool]) -> None:
        drained.append((instance, instance in world.engine.all and not cancelled()))

    world.drain = drain
    world.restart()
    world.deploy()
    world.settle()
    assert drained == [], "nothing is stopped"
    running = world.runner().record.container_id
    world.stop()
    world.settle()
    assert drained == [(running, True)] and world.last_report().status == "stopped"
