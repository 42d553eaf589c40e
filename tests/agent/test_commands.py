"""Commands as they arrive: journaled, handed on, acked with the next heartbeat."""

from __future__ import annotations

import pytest
from msgspec import Raw, json

from muster_agent.commands import MAX_COMMANDS, CommandReceiver
from muster_agent.engines.base import Instance
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import BIG, allow_writing, fill, forbid_writing


def test_ack_comes_with_the_beat_after(world: AgentWorld) -> None:
    world.deploy()
    assert world.server.beats[-1].acks == []
    world.beat()
    assert world.server.beats[-1].acks == ["deploy-d1-1"]
    world.beat()
    assert world.server.beats[-1].acks == []
    assert world.server.beats[-1].inbox == world.server.inbox


def test_ack_is_repeated_when_a_beat_is_lost(world: AgentWorld) -> None:
    world.deploy()
    world.server.failures = [TimeoutError()]
    world.beat()
    world.beat()
    assert world.server.beats[-1].acks == ["deploy-d1-1"]


def test_unknown_command_costs_the_others_nothing(world: AgentWorld) -> None:
    world.server.order(type="dance", command_id="o9", expires_in=60)
    world.server.order(type="deploy", command_id="o8", deployment_id="d8", generation=3, backend="vllm", model=7)
    world.deploy()
    world.settle()
    assert world.result("o9")["error_code"] == "UNSUPPORTED_COMMAND"
    assert world.last_report("d8").error_code == "UNSUPPORTED_COMMAND"
    assert world.statuses()[-1] == "running"


def test_full_disk_is_said_and_not_acked(world: AgentWorld) -> None:
    fill(world.database)
    world.deploy(env={"BIG": BIG})
    world.order(type="pull_image", command_id="o1", expires_in=60, image=BIG)
    assert world.server.beats[-1].acks == []
    world.deliver()
    assert world.last_report().error_code == "DISK_FULL"
    assert world.result("o1")["error_code"] == "DISK_FULL"
    assert world.engine.calls == []


def test_what_cannot_be_journaled_is_said_once_and_taken_when_it_can(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    fill(world.database)
    world.deploy(env={"BIG": BIG})
    for _ in range(3):
        world.beat()
    assert [each.about for each in world.journal.outbox.heads()] == ["d1"]
    assert caplog.text.count("command deploy-d1-1 is not taken") == 1
    world.database.connection.execute("PRAGMA max_page_count = 1000000")
    world.beat()
    assert world.journal.deployments_table.get("d1") is not None, "it came again"


def test_a_stop_that_cannot_be_journaled_has_not_failed(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    forbid_writing(world.database)
    world.stop()
    world.deliver()
    assert (world.last_report().status, world.last_report().error_code) == ("stopping", None)
    assert "Not stopped yet. STATE_UNAVAILABLE: The worker cannot journal this" in (world.last_report().message or "")
    assert world.engine.only().deployment_id == "d1"


@pytest.fixture
def receiver(world: AgentWorld) -> CommandReceiver:
    return CommandReceiver(world.journal, world.clock.boottime)


def raw(**command: object) -> Raw:
    return Raw(json.encode(command))


def test_what_is_no_command_is_dropped_and_costs_the_others_nothing(
    world: AgentWorld, receiver: CommandReceiver
) -> None:
    no_generation = raw(type="stop", command_id="c1", deployment_id="d1", generation=2**63)
    strange = [Raw(b"7"), Raw(b"[" * 100_000), Raw(b"null"), raw(type="deploy"), raw(command_id="o9"), no_generation]
    ours = raw(type="disk_usage", command_id="o1", expires_in=60)
    assert receiver.receive([*strange, ours], world.clock.boottime(), world.runtime)
    assert receiver.acks == ["o1"]


def test_a_command_is_acked_once_until_the_control_plane_has_the_ack(
    world: AgentWorld, receiver: CommandReceiver
) -> None:
    commands = [raw(type="disk_usage", command_id=f"o{number}", expires_in=60) for number in range(3)]
    for _ in range(2):
        assert receiver.receive(commands, world.clock.boottime(), world.runtime)
    assert receiver.acks == ["o0", "o1", "o2"]
    receiver.acked(["o0", "o2", "another"])
    assert receiver.acks == ["o1"]


def test_more_than_fits_between_two_heartbeats_comes_again(world: AgentWorld, receiver: CommandReceiver) -> None:
    commands = [raw(type="disk_usage", command_id=f"o{number}", expires_in=60) for number in range(MAX_COMMANDS + 1)]
    assert not receiver.receive(commands, world.clock.boottime(), world.runtime)
    assert len(receiver.acks) == MAX_COMMANDS
    assert receiver.receive(commands[MAX_COMMANDS:], world.clock.boottime(), world.runtime)
    assert receiver.acks[-1] == f"o{MAX_COMMANDS}"


def test_a_repeated_operation_is_answered_and_not_run_again(world: AgentWorld, receiver: CommandReceiver) -> None:
    world.engine.add(Instance("i1", "muster-d9-g1", "i", "running", "w1", "d9", 1))
    command = raw(type="stop_container", command_id="o1", expires_in=60, container_id="d9")
    for _ in range(3):
        assert receiver.receive([command], world.clock.boottime(), world.runtime)
        world.runtime.operations.run_all()
        world.deliver()
    assert world.engine.calls == ["stop i1"]
    assert [result.status for _, result in world.server.results] == ["succeeded"] * 3


def test_a_deploy_that_was_told_to_have_failed_is_not_run_when_it_comes_again(world: AgentWorld) -> None:
    """An operator may have started it elsewhere by then."""
    forbid_writing(world.database)
    world.deploy()
    world.deliver()
    assert world.last_report().status == "error"
    allow_writing(world.database)
    world.server.pending["deploy-d1-1"] = deploy("d1", 1)
    world.beat()
    world.settle()
    assert (world.engine.calls, world.journal.deployments_table.all()) == ([], [])
    assert world.last_report().status == "error"
    world.deploy(generation=2)
    world.settle()
    assert world.last_report().status == "running"


def test_a_failure_that_nobody_was_told_is_taken_back_when_the_deploy_can_be_journaled(world: AgentWorld) -> None:
    forbid_writing(world.database)
    world.deploy()
    world.beat()
    allow_writing(world.database)
    world.beat()
    world.settle()
    assert [status for status in world.statuses() if status == "error"] == []
    assert world.last_report().status == "running"


def test_a_failure_that_may_be_on_its_way_is_not_taken_back(world: AgentWorld) -> None:
    forbid_writing(world.database)
    world.deploy()
    world.server.failures = [TimeoutError()]
    world.deliver()
    allow_writing(world.database)
    world.beat()
    world.settle(seconds=30)
    assert (world.last_report().status, world.engine.calls) == ("error", [])


def test_a_change_that_cannot_be_journaled_has_not_failed_and_what_runs_goes_on(world: AgentWorld) -> None:
    """As failed, its GPUs would be given to others, and the instance before holds them."""
    world.deploy()
    world.settle()
    before = world.engine.only()
    forbid_writing(world.database)
    world.deploy(generation=2)
    world.deliver()
    assert (world.last_report().status, world.last_report().generation) == ("running", 1)
    assert world.engine.only() == before
    for _ in range(2):
        world.beat()
    (condition,) = world.server.beats[-1].conditions or []
    assert (condition.type, condition.deployments) == ("StateUnavailable", ["d1"])
    allow_writing(world.database)
    world.beat()
    world.settle()
    assert (world.engine.only().generation, world.last_report().status) == (2, "running")


def test_a_change_of_what_comes_up_has_not_failed_either(world: AgentWorld) -> None:
    world.deploy()
    forbid_writing(world.database)
    world.deploy(generation=2)
    world.settle()
    assert {report.status for _, report in world.server.reports} == {"downloading", "starting", "running"}
    allow_writing(world.database)
    world.beat()
    world.settle()
    assert (world.engine.only().generation, world.last_report().generation) == (2, 2)


def deploy(deployment_id: str, generation: int) -> dict[str, object]:
    command = {"type": "deploy", "command_id": f"deploy-{deployment_id}-{generation}", "generation": generation}
    return {**command, "deployment_id": deployment_id, "backend": "vllm", "model": "org/model", "config": {}}
