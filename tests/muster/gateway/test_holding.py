"""Requests that wait for a model: bounded, and answered in words."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from muster.api.gateways import StartingModel
from muster.gateway.holding import MOST_BYTES, MOST_PER_KEY, MOST_PER_MODEL, Holding, not_ready
from muster.gateway.openai_errors import OpenAIError


@pytest.mark.parametrize(
    ("count", "place"),
    [
        (MOST_PER_KEY, lambda number: (f"m{number}", "key", 1)),
        (MOST_PER_MODEL, lambda number: ("m", f"key-{number}", 1)),
        (2, lambda number: (f"m{number}", f"key-{number}", MOST_BYTES // 2)),
    ],
)
def test_there_is_room_for_so_many_and_again_when_one_has_left(count: int, place: object) -> None:
    holding = Holding()
    assert callable(place)
    with ExitStack() as places:
        for number in range(count):
            places.enter_context(holding.place(*place(number)))
        with pytest.raises(OpenAIError) as error, holding.place(*place(count)):
            pass
        assert (error.value.status, error.value.code) == (503, "queue_full")
    with holding.place(*place(0)):
        pass
    assert not holding._by_key and not holding._by_model and not holding._bytes, "nothing is kept of who has left"


def test_the_nearest_of_several_starts_is_said_with_what_is_left() -> None:
    starts = [
        StartingModel("d1", "qwen", "pending"),
        StartingModel("d2", "qwen", "starting", "Loading the weights", 80.0, since=60.0),
    ]
    error = not_ready("qwen", starts, 60.0, 100.0)
    assert error.details == {"state": "starting", "state_message": "Loading the weights", "progress": 80.0, "eta": 10.0}
    assert (b"retry-after", b"10") in error.headers and "80 %, about 10 s left" in error.message


def test_nothing_is_estimated_from_nothing() -> None:
    error = not_ready("qwen", [StartingModel("d", "qwen", "pending")], 60.0, 100.0)
    assert error.details["eta"] is None and "about" not in error.message
