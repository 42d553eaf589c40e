"""Placement as properties: pure, so that hypothesis can try fleets that nobody would draw."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.scheduling.placement import Candidate, Need, Place, place

INDEXES = st.lists(st.integers(0, 7), unique=True, max_size=8).map(lambda each: tuple(sorted(each)))
LABELS = st.dictionaries(st.sampled_from(["site", "gpu"]), st.sampled_from(["lab", "h200"]))


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    names = draw(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=5))
    fleet = []
    for name in names:
        devices = draw(INDEXES)
        free = tuple(index for index in devices if draw(st.booleans()))
        fleet.append(Candidate(name, name, draw(st.booleans()), draw(st.booleans()), draw(LABELS), devices, free))
    return fleet


NEEDS = st.builds(Need, st.integers(0, 8) | INDEXES, st.none() | st.sampled_from(["a", "b"]), LABELS)


@given(NEEDS, candidates())
def test_what_is_placed_fits(need: Need, fleet: list[Candidate]) -> None:
    found = place(need, fleet)
    if not isinstance(found, Place):
        return
    worker = next(each for each in fleet if each.worker_id == found.worker_id)
    assert len(found.gpu_indexes) == need.count
    assert set(found.gpu_indexes) <= set(worker.free)
    assert not worker.draining and (worker.online or need.worker_id == worker.worker_id)
    assert need.worker_id in (None, worker.worker_id)
    assert need.selector.items() <= worker.labels.items()


@given(NEEDS, candidates())
def test_every_worker_that_was_asked_has_a_reason(need: Need, fleet: list[Candidate]) -> None:
    found = place(need, fleet)
    if isinstance(found, Place):
        return
    asked = [each for each in fleet if need.worker_id in (None, each.worker_id)]
    assert len(found) == max(1, len(asked))


@given(st.integers(1, 8), candidates())
def test_the_tightest_fit_leaves_room_for_large_ones(count: int, fleet: list[Candidate]) -> None:
    found = place(Need(count), fleet)
    if isinstance(found, Place):
        rooms = [len(w.free) for w in fleet if w.online and not w.draining and len(w.free) >= count]
        assert len(next(w.free for w in fleet if w.worker_id == found.worker_id)) == min(rooms)


def test_what_is_needed_is_the_same_for_every_worker_that_is_asked() -> None:
    need = Need(2)
    with pytest.raises(AttributeError, match="immutable"):
        need.gpus = 1  # type: ignore[misc]


def worker(free: tuple[int, ...], unusable: dict[int, str], devices: tuple[int, ...] = (0, 1, 2)) -> Candidate:
    return Candidate("w", "gpu-1", True, False, {}, devices, free, unusable)


def test_a_gpu_that_cannot_be_used_is_named_with_the_reason() -> None:
    one = worker((1,), {0: "lost"})
    assert place(Need(2), [one]) == ["gpu-1: 1 of 3 GPUs free, 2 needed (GPU 0 of gpu-1 is lost)"]
    assert place(Need((0,)), [one]) == ["gpu-1: GPU 0 of gpu-1 is lost"]
    assert place(Need((2,)), [one]) == ["gpu-1: GPU 2 held by another deployment"]
    assert place(Need(1), [one]) == Place("w", (1,))
    several = worker((), {0: "lost", 1: "in use by d9", 2: "lost"})
    assert place(Need(1), [several]) == [
        "gpu-1: 0 of 3 GPUs free, 1 needed (GPU 0, 2 of gpu-1 are lost, GPU 1 of gpu-1 is in use by d9)"
    ]


FREE = Candidate("w", "gpu-1", True, False, {"gpu": "h200"}, (0, 1), (0, 1))


@pytest.mark.parametrize(
    ("need", "changed", "reason"),
    [
        (Need(1), {"online": False}, "gpu-1: offline"),
        (Need(1), {"draining": True}, "gpu-1: draining"),
        (Need(1, selector={"gpu": "a100", "site": "lab"}), {}, "gpu-1: has no label gpu=a100, site=lab"),
        (Need(3), {}, "gpu-1: 2 of 2 GPUs free, 3 needed"),
        (Need((1, 2, 7)), {}, "gpu-1: has no GPU 2, 7"),
        (Need((0, 1)), {"free": (1,)}, "gpu-1: GPU 0 held by another deployment"),
        (Need(1, "other"), {}, "the worker that it is for was removed"),
    ],
)
def test_a_worker_that_cannot_have_it_says_why(need: Need, changed: dict[str, Any], reason: str) -> None:
    assert place(need, [replace(FREE, **changed)]) == [reason]


def test_without_any_worker_the_reason_is_that_none_has_joined() -> None:
    assert place(Need(1), []) == ["no worker has joined yet"]


@pytest.mark.parametrize(
    ("need", "indexes"),
    [
        (Need(0), ()),
        (Need(2), (0, 1)),
        (Need((1,)), (1,)),
        (Need(1, "w"), (0,)),
        (Need(1, selector={"gpu": "h200"}), (0,)),
    ],
)
def test_a_worker_that_can_have_it_gives_the_first_devices_or_those_that_were_named(
    need: Need, indexes: tuple[int, ...]
) -> None:
    assert place(need, [FREE]) == Place("w", indexes)
    assert need.count == len(indexes)


def test_a_pinned_worker_is_taken_even_while_it_is_silent() -> None:
    other = replace(FREE, worker_id="other", name="a")
    assert place(Need(1, "w"), [other, replace(FREE, online=False)]) == Place("w", (0,))


def test_workers_that_cannot_have_it_do_not_hide_one_that_can() -> None:
    fleet = [replace(FREE, worker_id=name, name=name, draining=name != "b") for name in ("a", "b", "c")]
    assert place(Need(1), fleet) == Place("b", (0,))
    assert place(Need(1, "b"), fleet) == Place("b", (0,))


def test_of_workers_with_equal_room_the_first_by_name_is_taken() -> None:
    fleet = [replace(FREE, worker_id=name, name=name) for name in ("c", "a", "b")]
    assert place(Need(1), fleet) == Place("a", (0,))


def test_a_model_on_several_gpus_gets_no_mig_device_and_one_on_a_single_gpu_does() -> None:
    mixed = replace(worker((0, 1, 2), {}), mig=frozenset({0, 1}))
    assert place(Need(1), [mixed]) == Place("w", (0,))
    assert place(Need((1,)), [mixed]) == Place("w", (1,))
    why = "GPU 0, 1 of gpu-1 are MIG devices, which a model has alone"
    assert place(Need(2), [mixed]) == [f"gpu-1: 1 of 3 GPUs free, 2 needed ({why})"]
    assert place(Need((1, 2)), [mixed]) == ["gpu-1: GPU 1 of gpu-1 is a MIG device, which a model has alone"]
    assert place(Need(2), [replace(mixed, mig=frozenset({1}))]) == Place("w", (0, 2))
