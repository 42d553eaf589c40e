"""What both ends agree on."""

from __future__ import annotations

from muster.tunnel.protocol import STATUS, Close, Refusal


def test_every_refusal_has_a_status_of_http() -> None:
    assert set(STATUS) == set(Refusal) and all(400 <= status <= 599 for status in STATUS.values())


def test_close_codes_are_those_that_applications_may_use() -> None:
    assert all(code == 1012 or 4000 <= code <= 4999 for code in Close) and len(set(Close)) == len(Close)
