"""What stands in for the standard library on Python 3.10 is what later Pythons have."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import TypedDict, get_type_hints

import msgspec
import pytest

from muster.api.compat import StrEnum, Unpack


class Color(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (str(Color.RED), "red"),
        (f"{Color.RED}", "red"),
        (f"{Color.RED:>5}", "  red"),
        ("{:s}".format(Color.RED), "red"),  # noqa: UP032
        ("%s" % Color.RED, "red"),  # noqa: UP031
        ("-".join([Color.RED, Color.RED]), "red-red"),
        (json.dumps({Color.RED: Color.RED}), '{"red": "red"}'),
        (msgspec.json.encode({Color.RED: Color.RED}).decode(), '{"red":"red"}'),
    ],
)
def test_a_member_is_text(given: str, expected: str) -> None:
    assert given == expected


def test_a_member_is_found_by_its_value_and_equals_it() -> None:
    assert isinstance(Color.RED, Enum)
    assert Color("red") is Color.RED
    assert msgspec.json.decode(b'"red"', type=Color) is Color.RED
    assert (Color.RED == "red", hash(Color.RED) == hash("red"), {"red": 1}[Color.RED]) == (True, True, 1)  # type: ignore[comparison-overlap]
    with pytest.raises(ValueError, match="'blue' is not a valid"):
        Color("blue")


def test_a_member_without_a_value_has_its_name_in_lower_case() -> None:
    class Size(StrEnum):
        LARGE = auto()

    assert Size.LARGE == "large"  # type: ignore[comparison-overlap]


def test_annotations_that_unpack_can_be_read_at_run_time() -> None:
    class About(TypedDict, total=False):
        worker: str

    def events(**about: Unpack[About]) -> None: ...

    events.__annotations__["about"] = Unpack[About]
    assert "about" in get_type_hints(events)
