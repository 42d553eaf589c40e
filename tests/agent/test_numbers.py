"""A GPU keeps the index by which it was first known, whatever becomes of the others."""

from __future__ import annotations

import pytest

from agent.numbers import Numbers
from agent.nvml import Listed


def listed(*uuids: str | None) -> list[Listed]:
    """NVML's list; None is a device that does not answer."""
    return [
        Listed(position, uuid=uuid, name="H200", memory=140, error=None if uuid else "GPU is lost")
        for position, uuid in enumerate(uuids)
    ]


class Journal:
    text: str | None = None
    writes = 0

    def numbers(self) -> Numbers:
        return Numbers(lambda: self.text, self.save)

    def save(self, text: str) -> None:
        self.text, self.writes = text, self.writes + 1


def indexes(numbers: Numbers, *uuids: str | None) -> dict[int, str | None]:
    return {index: each.uuid for index, each in numbers.assign(listed(*uuids)).items()}


def test_the_first_indexes_are_nvmls() -> None:
    assert indexes(Numbers(), "a", "b", "c") == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize("restarted", [False, True])
def test_one_gpu_fewer_moves_no_other(restarted: bool) -> None:
    journal = Journal()
    numbers = journal.numbers()
    indexes(numbers, "a", "b", "c")
    numbers = journal.numbers() if restarted else numbers
    assert indexes(numbers, "b", "c") == {1: "b", 2: "c"}
    assert [(each.index, each.uuid) for each in numbers.known] == [(0, "a"), (1, "b"), (2, "c")]
    assert indexes(numbers, "c", "a", "b") == {0: "a", 1: "b", 2: "c"}, "another order on the bus"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_lost_gpu_is_known_by_the_place_that_it_had(restarted: bool) -> None:
    journal = Journal()
    numbers = journal.numbers()
    indexes(numbers, "a", "b", "c")
    numbers = journal.numbers() if restarted else numbers
    found = numbers.assign(listed("a", None, "c"))
    assert list(found) == [0, 1, 2]
    assert (found[1].error, found[1].position) == ("GPU is lost", 1)
    assert indexes(numbers, "b", None, "c") == {0: None, 1: "b", 2: "c"}


def test_a_lost_gpu_that_was_never_seen_in_order_has_nvmls_index() -> None:
    assert indexes(Numbers(), None, "b") == {0: None, 1: "b"}
    numbers = Numbers()
    indexes(numbers, "a")
    assert indexes(numbers, "a", None) == {0: "a", 1: None}


def test_a_new_gpu_in_the_place_of_one_that_is_gone_takes_its_index() -> None:
    numbers = Numbers()
    indexes(numbers, "a", "b")
    assert indexes(numbers, "new", "b") == {0: "new", 1: "b"}
    assert [each.uuid for each in numbers.known] == ["new", "b"]


def test_a_new_gpu_elsewhere_takes_an_index_that_no_gpu_had() -> None:
    numbers = Numbers()
    indexes(numbers, "a", "b")
    assert indexes(numbers, "b", "new") == {1: "b", 2: "new"}
    assert indexes(numbers, "a", "b", "new") == {0: "a", 1: "b", 2: "new"}


def test_there_are_always_as_many_indexes_as_gpus() -> None:
    numbers = Numbers()
    indexes(numbers, "z", *(f"a{n}" for n in range(63)))
    assert len(indexes(numbers, *(f"b{n}" for n in range(10)), "z")) == 11
    assert set(indexes(numbers, *(f"c{n}" for n in range(63)), "z")) == set(range(64))


def test_a_forgotten_index_goes_to_the_next_new_gpu() -> None:
    journal = Journal()
    numbers = journal.numbers()
    indexes(numbers, "a", "b")
    numbers.forget(0)
    assert [each.uuid for each in journal.numbers().known] == ["b"]
    assert indexes(numbers, "b", "c") == {1: "b", 0: "c"}


def test_the_journal_is_written_when_something_changed() -> None:
    journal = Journal()
    numbers = journal.numbers()
    for _ in range(3):
        indexes(numbers, "a", "b")
    assert journal.writes == 1
    indexes(numbers, None, "b")
    assert journal.writes == 1, "a lost GPU keeps what is known of it"


def test_a_journal_that_makes_no_sense_begins_anew() -> None:
    assert Numbers(lambda: "[{").known == []
