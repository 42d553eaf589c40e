"""The heartbeat: registration, intervals, refusals, parking."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import requests

from muster.api import usage
from muster.api.conditions import ConditionType
from muster.api.messages import GpuDevice, GpuInfo, Heartbeat, Image, ShortHeartbeat
from muster_agent.backends.policy import TESTED_IMAGE
from muster_agent.conditions import OBSERVATIONS_TO_SET
from muster_agent.config import LOOPBACK
from muster_agent.heartbeat import PARKED_SECONDS, REPEAT_GPUS_SECONDS, RegistrationRejected
from muster_agent.state.db import JournalFull
from muster_agent.state.dir import StateError
from tests.fixtures.agent_world import DISK, AgentWorld
from tests.fixtures.fake_server import Answer, FakeServer, error
from tests.fixtures.journals import allow_writing, forbid_writing


def test_first_beat_registers_and_tells_status_session_disk_and_journal(world: AgentWorld) -> None:
    assert world.server.registrations[0].boot_id == "boot-1"
    beat = world.server.beats[0]
    assert (beat.status, beat.session, beat.disk) == ("online", 1, DISK)
    assert beat.journal_id == world.database.journal_id
    assert world.host.listening.bind() == LOOPBACK


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

    world.agent.run(world.clock.monotonic, wait)
    assert beats == [0, 30, 60, 90, 120]


ONE, TWO = GpuInfo(1, [GpuDevice(0)]), GpuInfo(2, [GpuDevice(0), GpuDevice(1)])


def test_a_registration_has_the_gpus_of_the_moment(world: AgentWorld) -> None:
    world.inventory = TWO
    world.restart()
    world.beat()
    assert world.server.registrations[-1].gpu_info == TWO


def test_gpus_are_sent_when_they_changed_and_for_a_minute_after(world: AgentWorld) -> None:
    """A heartbeat that was given up may still arrive after a newer one, with what is no longer so."""
    world.inventory = ONE
    world.restart()
    world.beat()
    world.beat(61)
    assert world.server.beats[-1].gpu_info is None
    world.inventory = TWO
    world.beat(30)
    assert world.server.beats[-1].gpu_info == TWO
    world.beat(30)
    assert world.server.beats[-1].gpu_info == TWO
    world.beat(31)
    assert world.server.beats[-1].gpu_info is None


def test_gpus_are_sent_every_hour_whatever_the_database_has(world: AgentWorld) -> None:
    world.inventory = ONE
    world.restart()
    world.beat()
    world.beat(3598)
    assert world.server.beats[-1].gpu_info is None
    world.beat(2)
    assert world.server.beats[-1].gpu_info == ONE
    world.beat(61)
    assert world.server.beats[-1].gpu_info is None


def test_gpus_are_sent_until_a_heartbeat_with_them_was_answered(world: AgentWorld) -> None:
    world.beat(61)
    world.inventory = ONE
    world.server.failures = [requests.ConnectionError()] * 3
    for _ in range(3):
        world.beat(61)
    assert world.server.beats[-1].gpu_info is None
    world.beat(61)
    assert world.server.beats[-1].gpu_info == ONE
    world.beat(61)
    assert world.server.beats[-1].gpu_info is None


def test_images_that_are_too_many_for_a_request_are_cut(world: AgentWorld) -> None:
    for number in range(1000):
        world.engine.pulled[str(number)] = Image(f"sha256:{number}", ["x" * 2000], 1, "2024-01-01T00:00:00Z")
    world.settle(1)
    world.beat()
    images = world.server.beats[-1].images
    assert images is not None and 100 < len(images) < 1000


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


def test_401_registers_again_with_the_same_boot_id(world: AgentWorld) -> None:
    world.server.tokens += 1  # somebody rotated it
    world.beat()
    world.beat()
    first, again = world.server.registrations
    assert first.boot_id == again.boot_id
    assert world.server.session == 1
    assert len(world.server.beats) == 2


def test_a_refused_session_is_replaced_by_registering_again(world: AgentWorld) -> None:
    """The control plane has an older database, and a clock that was put back."""
    world.server.failures = [error(400, "INVALID_REQUEST")]
    world.beat()
    assert len(world.server.registrations) == 1
    world.beat()
    assert len(world.server.registrations) == 2
    assert len(world.server.beats) == 2, "it was online before, and is again"


@pytest.mark.parametrize("refusal", [error(409, "SESSION_SUPERSEDED"), error(410, "WORKER_REMOVED")])
def test_superseded_parks_for_good(world: AgentWorld, refusal: tuple[int, bytes, dict[str, str]]) -> None:
    world.deploy()
    world.settle()
    world.server.failures = [refusal]
    world.beat()
    assert world.beat() == PARKED_SECONDS
    asked = len(world.server.requests)
    world.kill()
    world.boot()
    assert world.beat() == PARKED_SECONDS
    assert len(world.server.requests) == asked
    assert world.agent.runtime is None
    assert world.engine.only().deployment_id == "d1"


def test_rejoin_ends_parking(world: AgentWorld) -> None:
    world.server.failures = [error(409, "SESSION_SUPERSEDED")]
    world.beat()
    world.state.unpark()
    assert world.beat() == 30


def test_first_registration_that_is_refused_ends_the_agent(tmp_path: Path) -> None:
    world = AgentWorld(tmp_path).boot()
    world.server.failures = [error(401, "UNAUTHENTICATED")]
    with pytest.raises(RegistrationRejected):
        world.beat()


def test_later_registration_that_is_refused_is_tried_again(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    world.boot()
    world.server.failures = [error(401, "UNAUTHENTICATED")] * 2
    assert world.beat() < PARKED_SECONDS
    world.engine.die(world.engine.only().id, 1)
    world.settle(10)
    assert world.engine.only().deployment_id == "d1"


def test_later_registration_shows_the_worker_token(world: AgentWorld) -> None:
    world.kill()
    world.boot(token="").beat()
    assert world.server.registrations[-1].token == "token-1"
    assert world.server.bearers[-2] == "Bearer token-1"


@pytest.mark.parametrize("damage", ["moved", "a file in its place", "unreadable journal"])
def test_a_state_folder_that_vanishes_ends_with_a_goodbye_from_memory(world: AgentWorld, damage: str) -> None:
    """The next agent on this host has a new folder; it registers at once where the worker is known to be offline."""
    world.deploy()
    world.settle()
    if damage == "unreadable journal":
        world.database.close()
    world.state.path.rename(world.state.path.with_name("elsewhere"))
    if damage == "a file in its place":
        world.state.path.write_text("")
    beats = iter([False, True])
    with pytest.raises(StateError):
        world.agent.run(world.clock, lambda seconds: next(beats))
    last = world.server.beats[-1]
    assert (last.status, last.active_deployments, last.session) == ("offline", ["d1"], 1)
    assert world.engine.only().deployment_id == "d1", "what runs is left alone"


def test_a_name_that_is_in_use_for_now_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = AgentWorld(tmp_path).boot()
    world.server.failures = [error(409, "WORKER_NAME_IN_USE", **{"Retry-After": "87"})] * 3
    for _ in range(3):
        assert world.beat() >= 87
        assert world.state.parked is None
    assert "not registered (409 WORKER_NAME_IN_USE: said the fake); the next attempt is in" in caplog.text
    assert world.beat() == 30
    assert len(world.server.requests) == 5


def test_a_name_that_is_in_use_for_good_ends_the_agent(tmp_path: Path) -> None:
    world = AgentWorld(tmp_path).boot()
    world.server.failures = [error(409, "WORKER_NAME_IN_USE")]
    with pytest.raises(RegistrationRejected):
        world.beat()


def test_an_agent_with_work_goes_on_with_it_while_its_name_is_in_use(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.restart()
    world.server.failures = [error(409, "WORKER_NAME_IN_USE", **{"Retry-After": "87"})]
    assert world.beat() >= 87
    world.engine.die(world.engine.only().id, 1)
    world.settle(10)
    assert world.engine.only().deployment_id == "d1"


def test_goodbye_tells_that_the_worker_is_offline(world: AgentWorld) -> None:
    world.agent.goodbye()
    assert world.server.beats[-1].status == "offline"


def test_a_goodbye_that_nobody_hears_is_sent_once_and_raises_nothing(world: AgentWorld) -> None:
    beats, asked = len(world.server.beats), len(world.server.requests)
    world.server.failures = [ConnectionError()]
    world.agent.goodbye()
    assert (len(world.server.beats), len(world.server.requests)) == (beats, asked + 1)


def test_becoming_another_worker_leaves_the_old_ones_alone(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.server.worker_id = "w2"
    world.server.failures = [error(404, "WORKER_NOT_FOUND")]
    world.beat()
    world.beat()
    world.settle()
    world.beat()
    assert world.runtime.context.worker_id == "w2"
    assert world.server.beats[-1].active_deployments == ["d1"], "an orphan, which operators may stop"
    assert world.engine.only().worker_id == "w1"


def test_a_registration_that_could_not_be_journaled_is_journaled_as_soon_as_that_is_possible(tmp_path: Path) -> None:
    world = AgentWorld(tmp_path).boot()
    forbid_writing(world.database)
    world.beat()
    assert world.database.meta("token") is None
    world.beat()
    assert world.database.meta("token") is None
    allow_writing(world.database)
    world.beat()
    assert (world.database.meta("worker_id"), world.database.meta("token")) == ("w1", "token-1")


def test_a_goodbye_journals_the_registration_that_the_next_start_needs(tmp_path: Path) -> None:
    """The owner mounts the disk for writing and restarts the agent, all between two heartbeats."""
    world = AgentWorld(tmp_path).boot()
    forbid_writing(world.database)
    world.beat()
    allow_writing(world.database)
    world.agent.goodbye()
    assert (world.database.meta("worker_id"), world.database.meta("token")) == ("w1", "token-1")
    world.restart()
    world.beat()
    assert "Bearer token-1" in world.server.bearers[-2:]


def test_a_goodbye_is_said_also_where_the_registration_still_cannot_be_journaled(tmp_path: Path) -> None:
    world = AgentWorld(tmp_path).boot()
    forbid_writing(world.database)
    world.beat()
    world.agent.goodbye()
    assert (world.server.beats[-1].status, world.database.meta("token")) == ("offline", None)


def test_a_host_becomes_another_worker_only_when_its_journal_has_room(world: AgentWorld) -> None:
    """What is journaled is the worker's that it was, and is not run again for the other."""
    world.deploy()
    world.settle()
    before = world.engine.only()
    world.server.worker_id, world.server.failures = "w2", [error(404, "WORKER_NOT_FOUND")]
    world.beat()
    forbid_writing(world.database)
    for _ in range(2):
        world.beat()
    assert (world.agent.identity, world.agent.runtime) == (None, None)
    allow_writing(world.database)
    world.beat()
    world.settle()
    assert (world.runtime.context.worker_id, world.engine.only()) == ("w2", before)
    assert world.journal.deployments_table.all() == []


def test_a_refusal_for_who_it_is_is_not_final_while_the_journal_cannot_be_written(world: AgentWorld) -> None:
    """The token that it has may be older than the one that the process before was given."""
    world.restart()
    forbid_writing(world.database)
    with suppress(JournalFull):
        world.database.set_meta(any="thing")
    world.server.failures = [error(409, "SESSION_SUPERSEDED")]
    world.beat()
    assert world.state.parked is None
    world.beat()
    assert world.agent.identity is not None


# Short heartbeats


class Shortening(FakeServer):
    """Gives a digest with each answer, and answers short heartbeats with `demands`, one after the other."""

    def __init__(self, *demands: Answer) -> None:
        super().__init__()
        self.demands = list(demands)
        self.short: list[ShortHeartbeat] = []

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        if request.path_url.endswith("/heartbeat") and isinstance(request.body, bytes) and b"unchanged" in request.body:
            self.short.append(msgspec.json.decode(request.body, type=ShortHeartbeat))
            self.failures.append(self.demands.pop(0) if self.demands else (200, b'{"next_heartbeat_in":30}', {}))
        return super().exchange(request)

    def _heartbeat(self, beat: Heartbeat) -> Answer:
        status, body, headers = super()._heartbeat(beat)
        return status, body[:-1] + b',"digest":"known"}', headers


@pytest.fixture
def shortening(tmp_path: Path) -> AgentWorld:
    """An agent whose GPUs are no news any more, right after a full heartbeat."""
    world = AgentWorld(tmp_path)
    world.server = Shortening()
    world.boot().beat()
    world.clock.pass_time(REPEAT_GPUS_SECONDS)
    world.beat()
    return world


def sent(world: AgentWorld) -> tuple[int, int]:
    """How many heartbeats were full, and how many were short, since this was asked last."""
    server = world.server
    assert isinstance(server, Shortening)
    counts = len(server.beats), len(server.short)
    server.beats.clear()
    server.short.clear()
    return counts


def test_a_heartbeat_without_news_is_short_and_has_the_figures(shortening: AgentWorld) -> None:
    sent(shortening)
    assert shortening.beat() == 30
    server = shortening.server
    assert isinstance(server, Shortening)
    (short,) = server.short
    assert (short.session, short.unchanged) == (1, "known")
    disk, _ = usage.unpack(short.usage)
    assert disk is not None and (disk.total, disk.used, disk.free) == (DISK.total, DISK.used, DISK.free)
    assert sent(shortening) == (0, 1)


def test_a_change_is_sent_in_full_and_then_is_known(shortening: AgentWorld) -> None:
    assert isinstance(shortening.server, Shortening)
    shortening.server.demands = [(200, b'{"next_heartbeat_in":0,"full":true}', {})]
    shortening.deploy()
    shortening.settle()
    for _ in range(3):
        shortening.beat()
    sent(shortening)
    shortening.beat()
    assert sent(shortening) == (0, 1)
    shortening.host.conditions.trouble(ConditionType.ENGINE_UNAVAILABLE, "x")
    for _ in range(OBSERVATIONS_TO_SET):
        shortening.host.conditions.trouble(ConditionType.ENGINE_UNAVAILABLE, "x")
    shortening.beat()
    shortening.beat()
    assert sent(shortening) == (1, 1)


@pytest.mark.parametrize(
    ("demand", "first", "second"),
    [
        ((200, b'{"next_heartbeat_in":0,"full":true}', {}), (1, 1), (0, 1)),
        ((200, b'{"next_heartbeat_in":30,"full":true}', {}), (0, 1), (1, 0)),
        (error(400, "INVALID_REQUEST"), (1, 1), (0, 1)),
        (error(503, "UNAVAILABLE"), (0, 1), (1, 0)),
    ],
    ids=["at once", "next", "older control plane", "busy"],
)
def test_what_is_demanded_or_was_not_understood_is_sent_in_full(
    shortening: AgentWorld, demand: Answer, first: tuple[int, int], second: tuple[int, int]
) -> None:
    sent(shortening)
    assert isinstance(shortening.server, Shortening)
    shortening.server.demands = [demand]
    shortening.beat()
    assert sent(shortening) == first
    shortening.beat()
    assert sent(shortening) == second


def test_a_goodbye_and_the_first_heartbeat_of_a_registration_are_full(shortening: AgentWorld) -> None:
    sent(shortening)
    assert isinstance(shortening.server, Shortening)
    shortening.server.demands = [error(401, "UNAUTHENTICATED")]
    shortening.beat()
    sent(shortening)
    shortening.beat()
    assert sent(shortening) == (1, 0), "registered again"
    shortening.agent.goodbye()
    assert sent(shortening) == (1, 0)
