"""What the gateway still honors: each arrow of the machine, and each border of time."""

from __future__ import annotations

from muster.gateway.trust import State, Trust

DAY = 86400.0


class Monotonic:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def reached(at: float, clock: Monotonic, offline_for: float = DAY) -> Trust:
    trust = Trust(offline_for, clock)
    trust.reached(at)
    return trust


def test_nothing_is_honored_before_the_first_contact() -> None:
    trust = Trust(DAY, Monotonic())
    assert (trust.state, trust.serves(), trust.honors(None, 0), trust.away_for()) == (
        State.UNREACHABLE,
        False,
        False,
        None,
    )
    trust.failed("the connection was refused")
    assert not trust.serves() and trust.reason == "the connection was refused"


def test_while_the_control_plane_answers_an_expiry_counts() -> None:
    trust = reached(100, Monotonic())
    assert trust.honors(None, 100) and trust.honors(101, 100)
    assert not trust.honors(100, 100) and not trust.honors(99, 100)


def test_what_expires_while_the_control_plane_is_away_stays_good_until_offline_for_has_passed() -> None:
    clock = Monotonic()
    trust = reached(100, clock, offline_for=60)
    trust.failed("timed out")
    clock.now += 60
    assert trust.honors(101, 160) and trust.honors(None, 160) and trust.honors(500, 160)
    clock.now += 0.1
    assert not trust.honors(101, 160.1) and not trust.honors(None, 160.1) and not trust.honors(500, 160.1)


def test_what_had_expired_before_the_last_contact_is_not_revived() -> None:
    trust = reached(100, Monotonic())
    trust.failed("timed out")
    assert not trust.honors(100, 130) and not trust.honors(50, 130)


def test_the_next_answer_makes_expiries_count_again() -> None:
    trust = reached(100, Monotonic())
    trust.failed("timed out")
    assert trust.honors(110, 130)
    trust.reached(130)
    assert (trust.state, trust.reason) == (State.REACHABLE, None) and not trust.honors(110, 130)


def test_failures_do_not_move_the_last_contact() -> None:
    clock = Monotonic()
    trust = reached(100, clock)
    for _ in range(3):
        clock.now += 10
        trust.failed("timed out")
    assert (trust.contact, trust.away_for()) == (100, 30)


def test_a_step_of_the_wall_clock_neither_ends_nor_prolongs_the_service() -> None:
    clock = Monotonic()
    trust = reached(100, clock, offline_for=60)
    trust.failed("timed out")
    assert trust.honors(None, 100 + 10 * DAY)
    clock.now += 61
    assert not trust.honors(None, 100 - 10 * DAY)


def test_a_restart_goes_on_from_the_contact_that_was_kept() -> None:
    clock = Monotonic()
    trust = Trust(60, clock)
    trust.restore(100, now=150)
    assert trust.serves() and trust.away_for() == 50 and trust.honors(120, 150)
    clock.now += 11
    assert not trust.serves()


def test_a_contact_that_was_kept_in_the_future_is_one_of_now() -> None:
    trust = Trust(60, Monotonic())
    trust.restore(10_000, now=150)
    assert (trust.contact, trust.away_for()) == (150, 0)


def test_what_was_kept_does_not_replace_an_answer() -> None:
    trust = reached(500, Monotonic())
    trust.restore(100, now=500)
    assert (trust.state, trust.contact) == (State.REACHABLE, 500)


def test_a_refused_key_ends_all_of_it_for_good() -> None:
    trust = reached(100, Monotonic())
    trust.revoke("401 UNAUTHENTICATED: unknown key")
    trust.reached(110)
    trust.failed("timed out")
    trust.restore(100, 110)
    assert trust.state is State.REVOKED and trust.reason == "401 UNAUTHENTICATED: unknown key"
    assert not trust.serves() and not trust.honors(None, 110)
