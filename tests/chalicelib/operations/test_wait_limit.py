"""Who waits for a worker: no more at once than there are places, and the places of killed functions come back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from chalicelib.operations import wait_limit
from chalicelib.store.items import find
from chalicelib.store.tables import Waits
from tests.fixtures.database import Recorder

NOW = 1_700_000_000.0


def words() -> set[str]:
    found = find(Waits, Waits.KEY)
    return set(found.permits or ()) if found else set()


def test_beyond_the_bound_nobody_waits_and_a_place_that_is_left_is_taken_again(database: Recorder) -> None:
    with ExitStack() as waiting:
        assert [waiting.enter_context(wait_limit.permit(25, NOW, limit=2)) for _ in range(3)] == [True, True, False]
    assert words() == set()
    with wait_limit.permit(25, NOW, limit=2) as again:
        assert again


def test_the_places_of_killed_functions_run_out(database: Recorder) -> None:
    killed = wait_limit.permit(25, NOW, limit=1)
    assert killed.__enter__()
    with wait_limit.permit(25, NOW + 25 + wait_limit.GRACE_SECONDS - 1, limit=1) as early:
        assert not early
    with wait_limit.permit(25, NOW + 25 + wait_limit.GRACE_SECONDS + 1, limit=1) as late:
        assert late
        assert len(words()) == 1, "what ran out was cleared"


def test_who_does_not_wait_costs_nothing(database: Recorder) -> None:
    with database.counting() as calls, wait_limit.permit(0, NOW, limit=5) as place:
        assert not place
    assert calls == []


def test_a_wait_costs_two_writes(database: Recorder) -> None:
    with database.counting() as calls, wait_limit.permit(25, NOW, limit=5):
        pass
    assert [name for name, _ in calls] == ["UpdateItem", "UpdateItem"]


def test_of_many_at_once_no_more_get_a_place_than_there_are(engine: Recorder) -> None:
    with ExitStack() as waiting, ThreadPoolExecutor(16) as threads:
        places = [wait_limit.permit(25, NOW, limit=5) for _ in range(16)]
        taken = list(threads.map(lambda place: waiting.enter_context(place), places))
    assert taken.count(True) == 5
    assert words() == set()
