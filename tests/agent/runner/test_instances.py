"""One listing of the host serves everybody who asks within a moment; what the agent does itself ends it."""

from __future__ import annotations

import pytest

from muster.api.messages import Image
from muster_agent.engines.base import EngineError, Instance
from muster_agent.runner.instances import IMAGES_EVERY, MAX_AGE, Inventory
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
def inventory(engine: Counted, clock: Clock) -> Inventory:
    return Inventory(engine, clock.monotonic)


def test_nothing_was_seen_before_the_first_listing(inventory: Inventory) -> None:
    assert (inventory.seen, inventory.images) == (None, None)


def test_a_listing_serves_for_a_moment_and_is_then_made_afresh(
    inventory: Inventory, engine: Counted, clock: Clock
) -> None:
    assert inventory.instances() == ()
    engine.add(Instance("i1", "n1", "image", "running"))
    clock.pass_time(MAX_AGE - 0.1)
    assert inventory.instances() == ()
    assert engine.listings == 1
    clock.pass_time(0.1)
    assert [each.id for each in inventory.instances()] == ["i1"]
    assert engine.listings == 2


def test_what_the_agent_changed_is_listed_at_once(inventory: Inventory, engine: Counted) -> None:
    inventory.instances()
    engine.add(Instance("i1", "n1", "image", "running"))
    inventory.changed()
    assert [each.id for each in inventory.instances()] == ["i1"]


@pytest.mark.parametrize("seconds", [-DAY, DAY])
def test_a_step_of_the_wall_clock_neither_ends_a_listing_nor_makes_it_last(
    inventory: Inventory, engine: Counted, clock: Clock, seconds: float
) -> None:
    inventory.instances()
    clock.step(seconds)
    inventory.instances()
    assert engine.listings == 1
    clock.pass_time(MAX_AGE)
    inventory.instances()
    assert engine.listings == 2


def test_what_was_seen_last_stays_where_the_engine_is_down(inventory: Inventory, engine: Counted) -> None:
    engine.add(Instance("i1", "n1", "image", "running"))
    seen = inventory.instances()
    engine.down = True
    inventory.changed()
    with pytest.raises(EngineError):
        inventory.instances()
    assert inventory.seen == seen


def test_images_are_listed_once_a_minute_or_when_they_changed(
    inventory: Inventory, engine: Counted, clock: Clock
) -> None:
    inventory.refresh()
    clock.pass_time(IMAGES_EVERY - 1)
    inventory.refresh()
    assert engine.image_listings == 1
    clock.pass_time(1)
    inventory.refresh()
    assert engine.image_listings == 2
    inventory.images_changed()
    inventory.refresh()
    assert engine.image_listings == 3


def test_an_engine_without_images_is_not_asked_for_them(inventory: Inventory, engine: Counted) -> None:
    engine.uses_images = False
    inventory.refresh()
    assert (inventory.images, engine.image_listings) == (None, 0)


def test_what_was_started_is_unlisted_until_a_listing_that_began_after_it(
    inventory: Inventory, engine: Counted
) -> None:
    inventory.instances()
    with inventory.start("d1"):
        inventory.changed()
        inventory.instances()
        assert inventory.unlisted == {"d1"}, "it may have come up right after that"
    inventory.instances()
    assert inventory.unlisted == {"d1"}, "that listing is an older one"
    inventory.changed()
    engine.down = True
    with pytest.raises(EngineError):
        inventory.instances()
    assert inventory.unlisted == {"d1"}
    engine.down = False
    inventory.instances()
    assert inventory.unlisted == set()


def test_a_start_that_fails_may_have_started_something(inventory: Inventory) -> None:
    with pytest.raises(EngineError), inventory.start("d1"):
        raise EngineError("DOCKER_UNAVAILABLE", "no answer")
    assert inventory.unlisted == {"d1"}
    inventory.instances()
    assert inventory.unlisted == set()


def test_a_start_during_a_listing_is_unlisted_after_it(inventory: Inventory, engine: Counted) -> None:
    def start() -> None:
        with inventory.start("d1"):
            pass

    engine.on_look = start
    inventory.instances()
    assert inventory.unlisted == {"d1"}
