"""The words that no attribute may be named by in an expression."""

from __future__ import annotations

from infra.local.dynamodb.reserved_words import RESERVED_WORDS


def test_they_are_those_of_the_documentation() -> None:
    assert len(RESERVED_WORDS) == 573
    assert {"ABORT", "NAME", "STATUS", "TTL", "VALUE", "ZONE"} <= RESERVED_WORDS
    assert all(word == word.upper() for word in RESERVED_WORDS)
