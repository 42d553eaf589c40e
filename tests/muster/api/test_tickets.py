"""Tickets: signed for one gateway, and good for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.tickets import MAX_LENGTH, PREFIX, BadTicket, Claims, derive, issue, read

URL = "https://models.example.com"
CLAIMS = Claims(URL, "worker-1", 17, 1000.0, 1600.0)
KEY = derive(b"m" * 32, "key-1")


def test_a_ticket_shows_its_claims_to_the_gateway_that_it_is_for() -> None:
    assert read(issue(KEY, 2, CLAIMS), {1: b"x" * 32, 2: KEY}, URL) == CLAIMS


@pytest.mark.parametrize(
    ("keys", "audience", "why"),
    [
        ({1: KEY}, URL, "not known here"),
        ({2: derive(b"m" * 32, "key-2")}, URL, "signature"),
        ({2: derive(b"n" * 32, "key-1")}, URL, "signature"),
        ({2: KEY}, "https://other.example.com", "another gateway"),
    ],
)
def test_another_key_another_version_or_another_gateway_is_refused(
    keys: dict[int, bytes], audience: str, why: str
) -> None:
    with pytest.raises(BadTicket, match=why):
        read(issue(KEY, 2, CLAIMS), keys, audience)


@given(st.integers(min_value=0, max_value=10_000), st.characters(codec="utf-8"))
def test_a_ticket_that_was_changed_anywhere_is_refused(at: int, other: str) -> None:
    ticket = issue(KEY, 2, CLAIMS)
    at %= len(ticket)
    changed = ticket[:at] + other + ticket[at + 1 :]
    if changed == ticket:
        return
    with pytest.raises(BadTicket):
        read(changed, {2: KEY}, URL)


@pytest.mark.parametrize(
    "text", ["", "x", PREFIX, PREFIX + "2", PREFIX + "2.a.b", PREFIX + "9" * 30 + ".a.b", "x" * MAX_LENGTH * 2]
)
def test_what_is_no_ticket_is_refused(text: str) -> None:
    with pytest.raises(BadTicket):
        read(text, {2: KEY}, URL)


def test_keys_of_gateways_differ_and_say_nothing_of_each_other() -> None:
    assert len({derive(b"m" * 32, f"key-{number}") for number in range(100)}) == 100
