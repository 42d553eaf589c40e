"""Crash loops as agents report them: what is stored of them, what is shown, and when they are over."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.deployments import intents
from chalicelib.deployments.crash_loops import LONGEST_WAIT_SECONDS
from muster.api import messages as m
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines

OOM = "CUDA_OUT_OF_MEMORY"


@pytest.fixture
def worker(world: PlaneWorld) -> Worker:
    return world.worker()


class Agent:
    """Reports in order, as an agent does, of one deployment."""

    def __init__(self, world: PlaneWorld, worker: Worker) -> None:
        self.world, self.worker = world, worker
        self.deployment_id = world.deploy(name="chat")
        worker.beat()
        self.generation = world.see(self.deployment_id).generation
        self.sequence = 0

    def say(self, status: str, *, again: bool = False, **fields: Any) -> m.Applied:
        self.sequence += not again
        order = {"session": self.worker.answer.session, "sequence": self.sequence, "generation": self.generation}
        return self.worker.report(self.deployment_id, status, **order, **fields)

    def crash(self, times: int, next_start_in: int | None = 40, **fields: Any) -> m.Applied:
        loop = {"error_code": OOM, "times": times, "next_start_in": next_start_in}
        report: dict[str, Any] = {"error_code": OOM, "message": "m", "restarts": times, "crash_loop": loop}
        return self.say("starting", **report | fields)

    @property
    def shown(self) -> m.CrashLoop | None:
        return self.world.see(self.deployment_id).crash_loop


@pytest.fixture
def agent(world: PlaneWorld, worker: Worker) -> Agent:
    return Agent(world, worker)


def test_the_next_start_is_counted_down_by_the_control_planes_clock(world: PlaneWorld, agent: Agent) -> None:
    assert agent.shown is None
    agent.say("running")
    agent.crash(3)
    assert agent.shown == m.CrashLoop(OOM, 3, 40)
    world.pass_(15)
    assert agent.shown == m.CrashLoop(OOM, 3, 25)
    world.pass_(60)
    assert agent.shown == m.CrashLoop(OOM, 3, 0)


def test_a_start_under_way_has_no_countdown_and_is_news(world: PlaneWorld, agent: Agent) -> None:
    agent.crash(3)
    loop = {"error_code": OOM, "times": 3}
    assert agent.say("starting", message="Starting", crash_loop=loop).applied
    assert agent.shown == m.CrashLoop(OOM, 3)
    assert world.see(agent.deployment_id).message == "Starting"
    assert not agent.say("starting", message="again", crash_loop=loop).applied
    assert agent.say("running", crash_loop=loop).applied
    assert agent.shown == m.CrashLoop(OOM, 3), "it has not run for long"


def test_a_report_of_running_without_it_ends_the_loop_once(world: PlaneWorld, agent: Agent) -> None:
    agent.crash(3)
    agent.say("running", crash_loop={"error_code": OOM, "times": 3})
    world.pass_(600)
    assert agent.say("running").applied
    assert agent.shown is None
    assert not agent.say("running").applied
    said = [each.message for each in lines(world, agent.deployment_id)]
    assert said.count("the crash loop is over: it runs on") == 1


def test_repeats_of_a_report_move_no_start(world: PlaneWorld, agent: Agent) -> None:
    agent.crash(3)
    world.pass_(30)
    assert not agent.crash(3, again=True).applied, "the same request once more"
    assert agent.shown == m.CrashLoop(OOM, 3, 10)
    agent.crash(3)  # said again later, with the number that it had
    assert agent.shown == m.CrashLoop(OOM, 3, 10)
    agent.crash(3, 5)
    assert agent.shown == m.CrashLoop(OOM, 3, 5), "it starts sooner than was thought"
    agent.crash(4, 80)
    assert agent.shown == m.CrashLoop(OOM, 4, 80)


def test_each_crash_of_a_loop_is_one_event_that_names_it(world: PlaneWorld, agent: Agent) -> None:
    agent.crash(2, 20)
    agent.crash(2, 20, logs="the reason")
    agent.crash(3)
    said = [each.message for each in lines(world, agent.deployment_id)]
    assert said.count(f"crash loop: {OOM}, next start in 20 s: m") == 1
    assert said.count(f"crash loop: {OOM}, next start in 40 s: m") == 1


@pytest.mark.parametrize("verb", ["restart", "stop", "change"])
def test_what_an_operator_asks_for_ends_the_loop(world: PlaneWorld, agent: Agent, verb: str) -> None:
    agent.crash(12, 1800)
    if verb == "restart":
        intents.restart(agent.deployment_id, ADMIN, world.now)
    elif verb == "stop":
        intents.stop(agent.deployment_id, ADMIN, world.now)
    else:
        intents.patch(agent.deployment_id, r.DeploymentPatch(config={"seed": 1}), ADMIN, world.now)
    assert agent.shown is None


def test_one_that_failed_for_good_is_in_no_loop(agent: Agent) -> None:
    agent.crash(3)
    agent.say("error", error_code="INVALID_CONFIG")
    assert agent.shown is None


def test_what_a_worker_says_is_cut_and_never_refused(agent: Agent) -> None:
    agent.crash(2, 2**53, crash_loop={"error_code": "X" * 5000, "times": 2**53, "next_start_in": 2**53})
    shown = agent.shown
    assert shown is not None and (len(shown.error_code), shown.next_start_in) == (m.MAX_CODE, LONGEST_WAIT_SECONDS)


def test_a_client_that_knows_no_loops_shows_none(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.beat()
    for restarts in (1, 2, 3):
        worker.report(deployment_id, "starting", error_code="X", restarts=restarts)
    assert world.see(deployment_id).crash_loop is None
