"""How long to wait before trying again."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from muster_agent.control.backoff import MAX_RETRY_AFTER_SECONDS, Backoff
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.fake_server import error

RANDOMS = st.integers(0, 2**32).map(Random)


def test_unreachable_control_plane_is_tried_with_growing_jitter(world: AgentWorld) -> None:
    world.server.failures = [ConnectionError()] * 200
    delays = [world.beat() for _ in range(200)]
    assert all(1 <= delay <= 60 for delay in delays)
    assert max(delays[:2]) <= 4
    assert max(delays) > 50


def test_the_seconds_of_a_retry_after_are_waited(world: AgentWorld) -> None:
    world.server.failures = [error(503, "UNAVAILABLE", **{"Retry-After": "120"})]
    assert 120 <= world.beat() <= 122


@given(RANDOMS, st.integers(0, 100))
def test_every_wait_is_between_the_base_and_a_ceiling_that_doubles(random: Random, failures: int) -> None:
    backoff = Backoff(random, base=2.0, cap=30.0)
    for _ in range(failures):
        backoff.next()
    assert 2.0 <= backoff.next() <= min(30.0, 2.0 * 2.0 ** (failures + 1))


@given(RANDOMS, st.floats(-1e9, 1e9))
def test_a_retry_after_is_waited_up_to_ten_minutes_and_spread(random: Random, seconds: float) -> None:
    wait = Backoff(random).next(seconds)
    least = min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)
    assert least <= wait <= least + 1.0


def test_a_success_makes_the_next_failure_the_first() -> None:
    backoff = Backoff(Random(1))
    assert not backoff.failing
    for _ in range(10):
        backoff.next()
    assert backoff.failing
    backoff.reset()
    assert not backoff.failing
    assert backoff.next() <= 2.0


def test_agents_that_fail_together_do_not_come_back_together() -> None:
    waits = []
    for seed in range(20):
        backoff = Backoff(Random(seed))
        waits.append([backoff.next() for _ in range(5)][-1])
    assert len(set(waits)) == 20
    assert max(waits) - min(waits) > 10
