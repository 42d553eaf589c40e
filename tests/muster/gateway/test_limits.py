"""Requests and tokens in a minute, tokens in a day, and OpenAI's headers."""

from __future__ import annotations

import pytest

from muster.api.gateways import Caller
from muster.gateway.limits import DAY_SECONDS, Limits, Verdict

NOON = 20_000 * DAY_SECONDS + 43_200.0


def caller(key_id: str = "k", /, **limits: int) -> Caller:
    return Caller(key_id, "d" * 64, "app", **limits)  # type: ignore[arg-type]


def headers(verdict: Verdict) -> dict[str, str]:
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in verdict.headers}


def test_a_key_without_limits_has_no_headers_and_is_not_remembered() -> None:
    limits = Limits()
    verdict = limits.admit(caller(), NOON)
    limits.settle(caller(), 1000, NOON)
    assert verdict == Verdict(True, []) and limits.count == 0


def test_no_window_of_a_minute_has_more_requests_than_the_limit() -> None:
    limits, key = Limits(), caller(rpm=10)
    admitted = [second for second in range(0, 300) if limits.admit(key, NOON + second).allowed]
    assert admitted[:10] == list(range(10))
    for start in range(240):
        assert sum(start <= second < start + 60 for second in admitted) <= 10
    assert len(admitted) >= 40


def test_a_refused_request_counts_nothing_and_says_when_to_come_again() -> None:
    limits, key = Limits(), caller(rpm=2)
    assert limits.admit(key, NOON).allowed and limits.admit(key, NOON + 10).allowed
    for _ in range(5):
        refused = limits.admit(key, NOON + 20)
    assert (refused.allowed, refused.limit) == (False, "rpm")
    assert refused.message == "API key 'app' is limited to 2 requests per minute; try again in 41s"
    assert refused.retry_after == 41
    assert not limits.admit(key, NOON + 60).allowed
    assert limits.admit(key, NOON + 20 + 41).allowed


def test_the_headers_are_those_of_openai() -> None:
    limits, key = Limits(), caller(rpm=60, tpm=1000)
    limits.admit(key, NOON)
    limits.settle(key, 300, NOON)
    assert headers(limits.admit(key, NOON + 1)) == {
        "limit-requests": "60",
        "remaining-requests": "58",
        "reset-requests": "1m1s",
        "limit-tokens": "1000",
        "remaining-tokens": "700",
        "reset-tokens": "1m0s",
    }


def test_tokens_of_a_minute_refuse_the_next_request_and_leave_with_time() -> None:
    limits, key = Limits(), caller(tpm=1000)
    assert limits.admit(key, NOON).allowed
    limits.settle(key, 1200, NOON)
    refused = limits.admit(key, NOON + 1)
    assert (refused.allowed, refused.limit, refused.retry_after) == (False, "tpm", 60)
    assert headers(refused)["remaining-tokens"] == "0"
    assert limits.admit(key, NOON + 61).allowed


def test_tokens_of_a_day_end_with_the_day() -> None:
    limits, key = Limits(), caller(tpd=1000)
    limits.settle(key, 999, NOON)
    assert limits.admit(key, NOON).allowed
    limits.settle(key, 1, NOON)
    refused = limits.admit(key, NOON)
    assert (refused.allowed, refused.limit, refused.retry_after) == (False, "tpd", 43_200)
    assert headers(refused) == {"limit-tokens": "1000", "remaining-tokens": "0", "reset-tokens": "12h0m0s"}
    assert not limits.admit(key, NOON + 43_199).allowed and limits.admit(key, NOON + 43_200).allowed


def test_the_day_goes_on_after_a_restart_with_what_the_ledger_has() -> None:
    asked: list[tuple[str, int]] = []

    def of_day(key_id: str, day: int) -> int:
        asked.append((key_id, day))
        return 1000 if day == 20_000 else 0

    limits, key = Limits(of_day), caller(tpd=1000)
    assert not limits.admit(key, NOON).allowed
    assert limits.admit(key, NOON + DAY_SECONDS).allowed
    assert asked == [("k", 20_000), ("k", 20_001)]


def test_of_several_limits_the_one_that_lasts_longest_is_told() -> None:
    limits, key = Limits(), caller(rpm=1, tpm=10, tpd=10)
    limits.admit(key, NOON)
    limits.settle(key, 10, NOON)
    assert limits.admit(key, NOON).limit == "tpd"


def test_the_headers_of_tokens_are_about_the_limit_that_leaves_less() -> None:
    limits, key = Limits(), caller(tpm=100, tpd=1000)
    limits.settle(key, 10, NOON)
    assert headers(limits.admit(key, NOON))["limit-tokens"] == "100"
    for minute in range(1, 10):
        limits.settle(key, 100, NOON + 120 * minute)
    assert headers(limits.admit(key, NOON + 2000))["limit-tokens"] == "1000"


@pytest.mark.parametrize("limit", ["rpm", "tpm", "tpd"])
def test_a_limit_of_zero_admits_nothing(limit: str) -> None:
    limits, key = Limits(), caller(**{limit: 0})
    verdict = limits.admit(key, NOON)
    assert not verdict.allowed and verdict.retry_after is not None and verdict.retry_after > 0


def test_keys_have_limits_of_their_own() -> None:
    limits = Limits()
    assert limits.admit(caller("a", rpm=1), NOON).allowed and limits.admit(caller("b", rpm=1), NOON).allowed
    assert not limits.admit(caller("a", rpm=1), NOON).allowed


def test_a_limit_that_an_operator_changes_counts_at_once() -> None:
    limits = Limits()
    for _ in range(3):
        limits.admit(caller(rpm=3), NOON)
    assert not limits.admit(caller(rpm=3), NOON).allowed
    assert limits.admit(caller(rpm=4), NOON).allowed and not limits.admit(caller(rpm=2), NOON).allowed


def test_a_revoked_key_is_forgotten() -> None:
    limits = Limits()
    for key_id in ("a", "b", "c"):
        limits.admit(caller(key_id, rpm=1), NOON)
    limits.keep({"b"})
    assert limits.count == 1 and not limits.admit(caller("b", rpm=1), NOON).allowed


def test_tokens_that_no_model_can_have_used_are_not_counted() -> None:
    limits, key = Limits(), caller(tpm=10)
    limits.settle(key, -100, NOON)
    limits.settle(key, 10, NOON)
    assert not limits.admit(key, NOON).allowed


def test_a_clock_that_is_set_back_admits_nothing_more() -> None:
    limits, key = Limits(), caller(rpm=1, tpd=10)
    limits.admit(key, NOON)
    limits.settle(key, 10, NOON)
    assert not limits.admit(key, NOON - 10 * DAY_SECONDS).allowed
