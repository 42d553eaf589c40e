"""A GPU keeps the index by which it was first known, whatever becomes of the others."""

from __future__ import annotations

import pytest

from muster_agent.gpus.indexes import GpuIndexes
from muster_agent.gpus.nvml import NO_MIG_DEVICE, Listed


def listed(*uuids: str | None) -> list[Listed]:
    """NVML's list; None is a device that does not answer."""
    return [
        Listed(position, uuid=uuid, name="H200", memory=140, error=None if uuid else "GPU is lost")
        for position, uuid in enumerate(uuids)
    ]


class Journal:
    text: str | None = None
    writes = 0

    def numbers(self) -> GpuIndexes:
        return GpuIndexes(lambda: self.text, self.save)

    def save(self, text: str) -> None:
        self.text, self.writes = text, self.writes + 1


def indexes(numbers: GpuIndexes, *uuids: str | None) -> dict[int, str | None]:
    return {index: each.uuid for index, each in numbers.assign(listed(*uuids)).items()}


def test_the_first_indexes_are_nvmls() -> None:
    assert indexes(GpuIndexes(), "a", "b", "c") == {0: "a", 1: "b", 2: "c"}


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
    assert indexes(GpuIndexes(), None, "b") == {0: None, 1: "b"}
    numbers = GpuIndexes()
    indexes(numbers, "a")
    assert indexes(numbers, "a", None) == {0: "a", 1: None}


def test_a_new_gpu_in_the_place_of_one_that_is_gone_takes_its_index() -> None:
    numbers = GpuIndexes()
    indexes(numbers, "a", "b")
    assert indexes(numbers, "new", "b") == {0: "new", 1: "b"}
    assert [each.uuid for each in numbers.known] == ["new", "b"]


def test_a_new_gpu_elsewhere_takes_an_index_that_no_gpu_had() -> None:
    numbers = GpuIndexes()
    indexes(numbers, "a", "b")
    assert indexes(numbers, "b", "new") == {1: "b", 2: "new"}
    assert indexes(numbers, "a", "b", "new") == {0: "a", 1: "b", 2: "new"}


def test_there_are_always_as_many_indexes_as_gpus() -> None:
    numbers = GpuIndexes()
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
    assert GpuIndexes(lambda: "[{").known == []


# Devices without a UUID of their own


def test_a_gpu_whose_uuid_cannot_be_read_for_once_is_known_by_its_place() -> None:
    numbers = GpuIndexes()
    indexes(numbers, "a", "b")
    indexes(numbers, "b", "a")
    unread = [Listed(0, uuid=None, memory=140), Listed(1, uuid="a", memory=140)]
    assert {index: each.position for index, each in numbers.assign(unread).items()} == {0: 1, 1: 0}


def test_gpus_that_all_have_the_same_uuid_are_as_many_as_there_are() -> None:
    assert list(GpuIndexes().assign(listed("zero", "zero", "zero"))) == [0, 1, 2]


def test_a_name_and_a_size_that_cannot_be_read_for_once_stay_known() -> None:
    journal = Journal()
    numbers = journal.numbers()
    numbers.assign([Listed(0, uuid="a", name="H200", memory=140)])
    numbers.assign([Listed(0, uuid="a")])
    assert [(each.name, each.memory) for each in numbers.known] == [("H200", 140)]
    assert journal.writes == 1


def test_memory_that_is_unknown_is_written_as_nothing_that_an_older_agent_cannot_read() -> None:
    journal = Journal()
    journal.numbers().assign([Listed(0, uuid="a", memory=None)])
    assert journal.text is not None and '"memory":0' in journal.text


# MIG


def parts(position: int, *uuids: str) -> list[Listed]:
    return [Listed(position, uuid=f"MIG-{uuid}", memory=20, mig=True) for uuid in uuids]


def names(found: dict[int, Listed]) -> dict[int, str | None]:
    return {index: each.uuid for index, each in found.items()}


def test_gpus_have_nvmls_indexes_and_mig_devices_the_others_in_nvmls_order() -> None:
    numbers = GpuIndexes()
    there = [*parts(0, "x", "y"), Listed(1, uuid="b"), *parts(2, "z")]
    first = {0: "MIG-x", 1: "b", 2: "MIG-y", 3: "MIG-z"}
    assert names(numbers.assign(there)) == first
    assert names(numbers.assign([*parts(2, "z"), Listed(1, uuid="b"), *parts(0, "y", "x")])) == first, "another order"


def test_mig_devices_take_the_index_of_the_gpu_that_they_are_parts_of() -> None:
    numbers = GpuIndexes()
    indexes(numbers, "a", "b")
    indexes(numbers, "b", "a")  # NVML calls it 1 now
    assert names(numbers.assign([Listed(0, uuid="b"), *parts(1, "x", "y")])) == {0: "MIG-x", 1: "b", 2: "MIG-y"}
    assert [each.uuid for each in numbers.known] == ["MIG-x", "b", "MIG-y"]


def test_new_mig_devices_take_the_indexes_of_those_that_their_gpu_no_longer_has() -> None:
    numbers = GpuIndexes()
    numbers.assign([*parts(0, "x", "y"), Listed(1, uuid="b")])
    assert names(numbers.assign([*parts(0, "p", "q", "r"), Listed(1, uuid="b")])) == {
        **{0: "MIG-p", 1: "b"},
        **{2: "MIG-q", 3: "MIG-r"},
    }
    assert names(numbers.assign([Listed(0, uuid="a"), Listed(1, uuid="b")])) == {0: "a", 1: "b"}, "without MIG again"


@pytest.mark.parametrize("uuid", [None, "GPU-parent"])
def test_a_gpu_that_is_lost_takes_all_its_mig_devices_with_it(uuid: str | None) -> None:
    numbers = GpuIndexes()
    numbers.assign([*parts(0, "x", "y"), *parts(1, "z")])
    found = numbers.assign([Listed(0, uuid=uuid, error="GPU is lost"), *parts(1, "z")])
    assert {index: (each.uuid, each.error) for index, each in found.items()} == {
        **{0: ("MIG-x", "GPU is lost"), 1: ("MIG-y", "GPU is lost")},
        **{2: ("MIG-z", None)},
    }


def test_a_gpu_whose_mig_devices_were_removed_is_one_device_that_cannot_be_used() -> None:
    numbers = GpuIndexes()
    numbers.assign(parts(0, "x", "y"))
    found = numbers.assign([Listed(0, uuid="GPU-parent", error=NO_MIG_DEVICE)])
    assert names(found) == {0: "GPU-parent"}
    assert [each.mig for each in numbers.known] == [True, True]
