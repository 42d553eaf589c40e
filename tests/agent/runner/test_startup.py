"""Whether a model on its way up still gets anywhere: phases, bytes, stalls."""

from __future__ import annotations

import pytest

from muster.api.messages import Progress
from muster_agent.engines.base import Instance
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.startup import (
    LONGEST_OBSERVATION_GAP_SECONDS,
    OBSERVE_EVERY_SECONDS,
    STALLED_AFTER_SECONDS,
    Observation,
    StartupObserver,
    StartupWatchdog,
)
from tests.fixtures.agent_world import GIB, AgentWorld
from tests.fixtures.commands import deploy
from tests.fixtures.hub_cache import cache


def phases(world: AgentWorld) -> list[Progress]:
    return [report.progress for _, report in world.server.reports if report.status == "starting" and report.progress]


LOADING = "INFO Starting to load model org/model..."
NEVER_NEWS = [
    "INFO No available shared memory broadcast block found in 60 seconds.",
    "INFO Waiting for 1 local, 0 remote core engine proc(s) to start.",
    'INFO: 127.0.0.1:4 - "GET /health HTTP/1.1" 503 Service Unavailable',
    'INFO: 127.0.0.1:4 - "GET /v1/models HTTP/1.1" 200 OK',
]


@pytest.mark.parametrize(
    ("observation", "grows"),
    [
        (Observation("a", 1, 1), False),
        (Observation("a\nb", 1, 1), True),
        (Observation("a", 2, 1), True),
        (Observation("a", 1, 2), True),
        (Observation("a", 0, 0), False),
        (Observation("a", 1, None), False),
        *((Observation(f"a\n{line}", 1, 1), False) for line in NEVER_NEWS),
    ],
)
def test_a_start_gets_on_as_long_as_log_weights_or_memory_grow(observation: Observation, grows: bool) -> None:
    watchdog = StartupWatchdog(0.0)
    for now in range(0, int(STALLED_AFTER_SECONDS), 60):
        watchdog.note(now, Observation("a", 1, 1))
    watchdog.note(STALLED_AFTER_SECONDS - 1, observation)
    assert watchdog.has_ended(STALLED_AFTER_SECONDS) is not grows
    assert watchdog.has_ended(2 * STALLED_AFTER_SECONDS - 1)


def test_time_in_which_nobody_could_look_is_no_standstill() -> None:
    watchdog = StartupWatchdog(0.0)
    watchdog.note(0.0, Observation("a", 1, 1))
    watchdog.note(5.0, Observation("a", 1, 1))
    back = 5.0 + 10 * STALLED_AFTER_SECONDS
    watchdog.note(back, Observation("a", 1, 1))
    assert not watchdog.has_ended(back)
    watchdog.note(back + LONGEST_OBSERVATION_GAP_SECONDS, Observation("a", 1, 1))
    assert watchdog.has_ended(back + STALLED_AFTER_SECONDS)


def test_a_start_is_looked_at_every_few_seconds() -> None:
    watchdog = StartupWatchdog(0.0)
    assert watchdog.is_due(0.0)
    watchdog.note(0.0, Observation(""))
    assert [watchdog.is_due(now) for now in (OBSERVE_EVERY_SECONDS - 0.1, OBSERVE_EVERY_SECONDS)] == [False, True]


def test_weights_are_downloaded_until_all_are_there_though_the_log_says_loading() -> None:
    watchdog = StartupWatchdog(0.0, weights=100)
    told = []
    for cached in (0, 40, 40, 100, 100):
        watchdog.note(0.0, Observation(LOADING, cached))
        told.append(watchdog.progress)
    assert told == [
        Progress("loading"),
        Progress("downloading_weights", 40, 100),
        Progress("downloading_weights", 40, 100),
        Progress("downloading_weights", 100, 100),
        Progress("loading"),
    ]


def test_an_onlooker_sees_log_weights_and_memory_of_the_deployment_alone(world: AgentWorld) -> None:
    hub = world.folder / "hub"
    cache(hub, "org/model", 10)
    cache(hub, "org/other", 500)
    instance = world.engine.add(Instance("i1", "n", "i", "running", "w1", "d1", 1))
    world.engine.say("i1", LOADING)
    used = [Gpu(0, 80 * GIB, 1), Gpu(1, 80 * GIB, 20), Gpu(2, 80 * GIB, 300)]
    observation = StartupObserver(world.engine, hub, lambda: used).observe(deploy(gpus=[0, 2]), instance)
    assert observation == Observation(f"{LOADING}\n", 10, 301)
    assert StartupObserver(world.engine, None, lambda: used).observe(deploy(), instance) == Observation(f"{LOADING}\n")


def test_memory_that_is_unknown_is_no_growth_and_no_standstill_of_the_memory() -> None:
    watchdog = StartupWatchdog(0.0)
    watchdog.note(0.0, Observation("a", 1, None))
    assert watchdog.watched == "neither its log nor its weights; how much memory it has on its GPUs is unknown"
    watchdog.note(60.0, Observation("a", 1, 5))
    assert watchdog.has_ended(STALLED_AFTER_SECONDS), "what becomes known has not grown"
    assert watchdog.watched == "neither its log nor its weights nor its memory on a GPU"


def test_an_onlooker_does_not_take_unknown_memory_for_none(world: AgentWorld) -> None:
    instance = world.engine.add(Instance("i1", "n", "i", "running", "w1", "d1", 1))
    for used, seen in (([None, None], None), ([None, 20], 20)):
        world.gpus = [Gpu(index, None, each) for index, each in enumerate(used)]
        startup_observer = StartupObserver(world.engine, None, lambda: world.gpus)
        assert startup_observer.observe(deploy(gpus=[0, 1]), instance).on_gpus == seen
