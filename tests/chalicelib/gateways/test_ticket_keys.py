"""The master keys: made once, rotated once, two versions valid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from chalicelib.gateways import ticket_keys
from chalicelib.gateways.ticket_keys import ROTATE_SECONDS, Masters
from muster.api.tickets import Claims, issue, read
from tests.fixtures.plane_world import PlaneWorld


def test_all_functions_have_the_same_master(world: PlaneWorld) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Masters().current(world.now), range(4)))
    assert all(keys == found[0] for keys in found) and list(found[0]) == [1] and len(found[0][1]) == 32


def test_another_version_is_added_after_a_month_and_the_two_newest_are_valid(world: PlaneWorld) -> None:
    seen = []
    for _ in range(4):
        seen.append(Masters().current(world.now))
        world.pass_(ROTATE_SECONDS)
    assert [list(keys) for keys in seen] == [[1], [1, 2], [2, 3], [3, 4]]
    assert seen[1][2] == seen[2][2] != seen[1][1], "a version keeps its key"


def test_a_ticket_of_the_newest_version_is_read_by_its_gateway_and_no_other(world: PlaneWorld) -> None:
    version, master = ticket_keys.newest(world.now)
    mine = {key.version: key.key for key in ticket_keys.of_gateway("key-1", world.now)}
    claims = Claims("https://x", "w", 1, 0.0, 600.0)
    from muster.api.tickets import derive

    assert read(issue(derive(master, "key-1"), version, claims), mine, "https://x") == claims
    assert {key.key for key in ticket_keys.of_gateway("key-2", world.now)}.isdisjoint(mine.values())


def test_the_masters_are_read_once_a_minute(world: PlaneWorld) -> None:
    masters = Masters()
    masters.current(world.now)
    before = len(world.database.calls)
    masters.current(world.now + 59)
    assert len(world.database.calls) == before
