"""How long to wait before trying again."""

from __future__ import annotations

from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.fake_server import error


def test_unreachable_control_plane_is_tried_with_growing_jitter(world: AgentWorld) -> None:
    world.server.failures = [ConnectionError()] * 200
    delays = [world.beat() for _ in range(200)]
    assert all(1 <= delay <= 60 for delay in delays)
    assert max(delays[:2]) <= 4
    assert max(delays) > 50


def test_the_seconds_of_a_retry_after_are_waited(world: AgentWorld) -> None:
    world.server.failures = [error(503, "UNAVAILABLE", **{"Retry-After": "120"})]
    assert 120 <= world.beat() <= 122
