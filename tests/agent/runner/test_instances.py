"""One listing of the host serves everybody who asks within a moment; what the agent does itself ends it."""

from __future__ import annotations

import pytest

from muster.api.messages import Image
from muster_agent.engines.base import EngineError, Instance
from muster_agent.runner.instances import LIST_IMAGES_EVERY_SECONDS, MAX_LISTING_AGE_SECONDS, InstanceCache
from tests.fixtures.agent_world import DAY, Clock
from tests.fixtures.memory_engine import MemoryEngine


class Counted(MemoryEngine):
    listings = 0
    image_listings = 0

    def instances(self) -> list[Instance]:
        self.listings += 1
        return super().instances()

    def images(self) -> list[Image]:
        self.image_listings += 1
        return super().images()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine() -> Counted:
    return Counted()


@pytest.fixture
def instance_cache(engine: Counted, clock: Clock) -> InstanceCache:
    return InstanceCache(engine, clock.monotonic)


def test_nothing_was_seen_before_the_first_listing(instance_cache: InstanceCache) -> None:
    assert (instance_cache.seen, instance_cache.images) == (None, None)


def test_a_listing_serves_for_a_moment_and_is_then_made_afresh(
    instance_cache: InstanceCache, engine: Counted, clock: Clock
) -> None:
    assert instance_cache.instances() == ()
    engine.add(Instance("i1", "n1", "image", "running"))
    clock.pass_time(MAX_LISTING_AGE_SECONDS - 0.1)
    assert instance_cache.instances() == ()
    assert engine.listings == 1
    clock.pass_time(0.1)
    assert [each.id for each in instance_cache.instances()] == ["i1"]
    assert engine.listings == 2


def test_what_the_agent_changed_is_listed_at_once(instance_cache: InstanceCache, engine: Counted) -> None:
    instance_cache.instances()
    engine.add(Instance("i1", "n1", "image", "running"))
    instance_cache.changed()
    assert [each.id for each in instance_cache.instances()] == ["i1"]


@pytest.mark.parametrize("seconds", [-DAY, DAY])
def test_a_step_of_the_wall_clock_neither_ends_a_listing_nor_makes_it_last(
    instance_cache: InstanceCache, engine: Counted, clock: Clock, seconds: float
) -> None:
    instance_cache.instances()
    clock.step(seconds)
    instance_cache.instances()
    assert engine.listings == 1
    clock.pass_time(MAX_LISTING_AGE_SECONDS)
    instance_cache.instances()
    assert engine.listings == 2


def test_what_was_seen_last_stays_where_the_engine_is_down(instance_cache: InstanceCache, engine: Counted) -> None:
    engine.add(Instance("i1", "n1", "image", "running"))
    seen = instance_cache.instances()
    engine.down = True
    instance_cache.changed()
    with pytest.raises(EngineError):
        instance_cache.instances()
    assert instance_cache.seen == seen


def test_images_are_listed_once_a_minute_or_when_they_changed(
    instance_cache: InstanceCache, engine: Counted, clock: Clock
) -> None:
    instance_cache.refresh()
    clock.pass_time(LIST_IMAGES_EVERY_SECONDS - 1)
    instance_cache.refresh()
    assert engine.image_listings == 1
    clock.pass_time(1)
    instance_cache.refresh()
    assert engine.image_listings == 2
    instance_cache.images_changed()
    instance_cache.refresh()
    assert engine.image_listings == 3


def test_an_engine_without_images_is_not_asked_for_them(instance_cache: InstanceCache, engine: Counted) -> None:
    engine.uses_images = False
    instance_cache.refresh()
    assert (instance_cache.images, engine.image_listings) == (None, 0)


def test_what_was_started_is_unlisted_until_a_listing_that_began_after_it(
    instance_cache: InstanceCache, engine: Counted
) -> None:
    instance_cache.instances()
    with instance_cache.start("d1"):
        instance_cache.changed()
        instance_cache.instances()
        assert instance_cache.unlisted == {"d1"}, "it may have come up right after that"
    instance_cache.instances()
    assert instance_cache.unlisted == {"d1"}, "that listing is an older one"
    instance_cache.changed()
    engine.down = True
    with pytest.raises(EngineError):
        instance_cache.instances()
    assert instance_cache.unlisted == {"d1"}
    engine.down = False
    instance_cache.instances()
    assert instance_cache.unlisted == set()


def test_a_start_that_fails_may_have_started_something(instance_cache: InstanceCache) -> None:
    with pytest.raises(EngineError), instance_cache.start("d1"):
        raise EngineError("DOCKER_UNAVAILABLE", "no answer")
    assert instance_cache.unlisted == {"d1"}
    instance_cache.instances()
    assert instance_cache.unlisted == set()


def test_a_start_during_a_listing_is_unlisted_after_it(instance_cache: InstanceCache, engine: Counted) -> None:
    def start() -> None:
        with instance_cache.start("d1"):
            pass

    engine.on_look = start
    instance_cache.instances()
    assert instance_cache.unlisted == {"d1"}
