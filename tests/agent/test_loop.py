"""The heartbeat: registration, intervals, acks, refusals, parking."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.identity import StateError
from agent.loop import PARKED, Refused
from agent.policy import TESTED_IMAGE
from agent.settings import LOOPBACK
from tests.fixtures.agent_world import DISK, AgentWorld
from tests.fixtures.fake_server import error


def test_first_beat_registers_and_says_all(world: AgentWorld) -> None:
    assert world.server.registrations[0].boot_id == "boot-1"
    beat = world.server.beats[0]
    assert (beat.status, beat.session, beat.disk) == ("online", 1, DISK)
    assert beat.journal_id == world.database.journal_id
    assert world.host.bind == LOOPBACK


def test_without_its_state_folder_it_ends(world: AgentWorld) -> None:
    """What it writes there would be lost, and it would not even know."""
    world.state.path.rename(world.state.path.with_name("elsewhere"))
    with pytest.raises(StateError, match="is gone"):
        world.beat()


def test_interval_is_what_the_control_plane_says(world: AgentWorld) -> None:
    world.server.next_heartbeat_in = 5
    assert world.beat() == 5
    world.server.next_heartbeat_in = 0
    assert world.beat() == 1


def test_schedule_does_not_drift(world: AgentWorld) -> None:
    world.server.next_heartbeat_in = 30
    started = world.clock.now
    beats: list[float] = []

    def wait(seconds: float) -> bool:
        world.clock.pass_time(seconds)
        beats.append(world.clock.now - started)
        world.clock.pass_time(4)  # a slow beat
        return len(beats) == 5

    world.agent.run(world.clock, wait)
    assert beats == [0, 30, 60, 90, 120]


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


def test_images_are_sent_when_they_changed(world: AgentWorld) -> None:
    world.settle(1)
    world.beat()
    assert world.server.beats[-1].images == []
    world.beat()
    assert world.server.beats[-1].images is None
    world.deploy()
    world.settle()
    world.beat()
    images = world.server.beats[-1].images
    assert images is not None
    assert images[0].tags == [TESTED_IMAGE]


def test_unreachable_control_plane_is_tried_with_growing_jitter(world: AgentWorld) -> None:
    world.server.failures = [ConnectionError()] * 200
    delays = [world.beat() for _ in range(200)]
    assert all(1 <= delay <= 60 for delay in delays)
    assert max(delays[:2]) <= 4
    assert max(delays) > 50


def test_retry_after_is_honoured(world: AgentWorld) -> None:
    world.server.failures = [error(503, "UNAVAILABLE", **{"Retry-After": "120"})]
    assert 120 <= world.beat() <= 122


def test_401_registers_again_with_the_same_boot_id(world: AgentWorld) -> None:
    world.server.tokens += 1  # somebody rotated it
    world.beat()
    world.beat()
    first, again = world.server.registrations
    assert first.boot_id == again.boot_id
    assert world.server.session == 1
    assert len(world.server.beats) == 2


def test_401_to_a_report_registers_again(world: AgentWorld) -> None:
    world.deploy()
    world.server.tokens += 1
    world.settle()
    assert world.agent.identity is None
    world.beat()
    world.settle()
    assert world.statuses()[-1] == "running"


@pytest.mark.parametrize("refusal", [error(409, "SESSION_SUPERSEDED"), error(410, "WORKER_REMOVED")])
def test_superseded_parks_for_good(world: AgentWorld, refusal: tuple[int, bytes, dict[str, str]]) -> None:
    world.deploy()
    world.settle()
    world.server.failures = [refusal]
    world.beat()
    assert world.beat() == PARKED
    asked = len(world.server.requests)
    world.kill()
    world.boot()
    assert world.beat() == PARKED
    assert len(world.server.requests) == asked
    assert world.agent.crew is None
    assert world.engine.only().deployment_id == "d1"


def test_rejoin_ends_parking(world: AgentWorld) -> None:
    world.server.failures = [error(409, "SESSION_SUPERSEDED")]
    world.beat()
    world.state.unpark()
    assert world.beat() == 30


def test_first_registration_that_is_refused_ends_the_agent(tmp_path: Path) -> None:
    world = AgentWorld(tmp_path).boot()
    world.server.failures = [error(401, "UNAUTHENTICATED")]
    with pytest.raises(Refused):
        world.beat()


def test_later_registration_that_is_refused_is_tried_again(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    world.boot()
    world.server.failures = [error(401, "UNAUTHENTICATED")] * 2
    assert world.beat() < PARKED
    world.engine.die(world.engine.only().id, 1)
    world.settle(10)
    assert world.engine.only().deployment_id == "d1"


def test_later_registration_shows_the_worker_token(world: AgentWorld) -> None:
    world.kill()
    world.boot(token="").beat()
    assert world.server.registrations[-1].token == "token-1"
    assert world.server.bearers[-2] == "Bearer token-1"


def test_unknown_command_costs_the_others_nothing(world: AgentWorld) -> None:
    world.server.order(type="dance", command_id="o9", expires_in=60)
    world.server.order(type="deploy", command_id="o8", deployment_id="d8", generation=3, backend="vllm", model=7)
    world.deploy()
    world.settle()
    assert world.result("o9")["error_code"] == "UNSUPPORTED_COMMAND"
    assert world.last_report("d8").error_code == "UNSUPPORTED_COMMAND"
    assert world.statuses()[-1] == "running"


def test_goodbye(world: AgentWorld) -> None:
    world.agent.goodbye()
    assert world.server.beats[-1].status == "offline"


def test_goodbye_to_nobody(world: AgentWorld) -> None:
    world.server.failures = [ConnectionError()]
    world.agent.goodbye()


def test_becoming_another_worker_leaves_the_old_ones_alone(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.server.worker_id = "w2"
    world.server.failures = [error(404, "WORKER_NOT_FOUND")]
    world.beat()
    world.beat()
    world.settle()
    world.beat()
    assert world.crew.worker_id == "w2"
    assert world.server.beats[-1].active_deployments == []
    assert world.engine.only().worker_id == "w1"
