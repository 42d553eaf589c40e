"""A replica that fails again and again is asked less often."""

from __future__ import annotations

from muster.gateway.circuits import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, THRESHOLD, Circuits


def failed(circuits: Circuits, now: float, times: int = 1) -> None:
    for _ in range(times):
        circuits.begin("d", now)
        circuits.failed("d", now)


def test_it_opens_after_failures_in_a_row_and_lets_one_request_try() -> None:
    told: list[tuple[str, bool]] = []
    circuits = Circuits(lambda deployment_id, is_open: told.append((deployment_id, is_open)))
    failed(circuits, 0.0, THRESHOLD - 1)
    assert circuits.allows("d", 0.0) and told == []
    failed(circuits, 0.0)
    assert not circuits.allows("d", FIRST_PAUSE_SECONDS - 0.01) and told == [("d", True)]
    assert circuits.allows("d", FIRST_PAUSE_SECONDS)
    circuits.begin("d", FIRST_PAUSE_SECONDS)
    assert not circuits.allows("d", FIRST_PAUSE_SECONDS), "one tries, the others wait for its outcome"
    circuits.succeeded("d")
    assert circuits.allows("d", FIRST_PAUSE_SECONDS) and told == [("d", True), ("d", False)]


def test_its_pause_doubles_up_to_a_minute() -> None:
    circuits, now, pauses = Circuits(), 0.0, []
    failed(circuits, now, THRESHOLD)
    for _ in range(8):
        pause = next(seconds for seconds in range(1, 100) if circuits.allows("d", now + seconds))
        pauses.append(pause)
        now += pause
        failed(circuits, now)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60] and max(pauses) == LONGEST_PAUSE_SECONDS


def test_a_success_in_between_begins_the_count_anew() -> None:
    circuits = Circuits()
    for _ in range(5):
        failed(circuits, 0.0, THRESHOLD - 1)
        circuits.succeeded("d")
    assert circuits.allows("d", 0.0)


def test_a_request_that_shows_nothing_leaves_the_try_to_the_next_one() -> None:
    circuits = Circuits()
    failed(circuits, 0.0, THRESHOLD)
    circuits.begin("d", FIRST_PAUSE_SECONDS)
    circuits.left("d")
    assert circuits.allows("d", FIRST_PAUSE_SECONDS)


def test_what_the_routes_do_not_name_is_forgotten() -> None:
    circuits = Circuits()
    failed(circuits, 0.0, THRESHOLD)
    circuits.keep(["another"])
    assert circuits.allows("d", 0.0)
