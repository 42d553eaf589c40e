"""How many bytes of bodies a gateway holds: so many in all, and half as many for one key."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest

from muster.gateway.bodies import MAX_DIGITS, Bodies, declared
from muster.gateway.openai_errors import OpenAIError


def refusal(bodies: Bodies, key_id: str, size: int) -> tuple[int, str]:
    with pytest.raises(OpenAIError) as error, bodies.place(key_id, size):
        pass
    return error.value.status, error.value.code


def test_one_body_has_a_limit() -> None:
    assert refusal(Bodies(100), "key", 101) == (413, "body_too_large")


def test_one_key_leaves_room_for_the_others() -> None:
    bodies = Bodies(100, 400)
    with bodies.place("one", 100), bodies.place("one", 100):
        assert refusal(bodies, "one", 1) == (429, "bodies_too_large")
        with bodies.place("two", 100):
            pass


def test_all_keys_together_have_a_limit_and_room_again_when_some_have_left() -> None:
    bodies = Bodies(100, 400)
    with ExitStack() as places:
        for number in range(4):
            places.enter_context(bodies.place(f"key-{number}", 100))
        assert refusal(bodies, "another", 1) == (503, "gateway_full")
    with bodies.place("another", 100):
        pass
    assert not bodies._by_key and not bodies._bytes, "nothing is kept of who has left"


def test_a_limit_above_all_the_room_still_has_room_for_one() -> None:
    with Bodies(1000, 100).place("key", 1000):
        pass


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ([(b"content-length", b"12")], 12),
        ([(b"content-type", b"application/json")], 0),
        ([(b"content-length", b"9" * (MAX_DIGITS + 1))], sys.maxsize),
    ],
)
def test_the_size_is_what_the_head_says(headers: list[tuple[bytes, bytes]], size: int) -> None:
    assert declared(headers) == size
