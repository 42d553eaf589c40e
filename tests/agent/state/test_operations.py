"""Operations that were accepted: each is there once, with its result, on good disks and on full ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from muster.api.messages import (
    ContainerLogs,
    DeleteImage,
    DeleteModel,
    DiskUsage,
    ListContainers,
    ListImages,
    ListModels,
    OperationCommand,
    Progress,
    Prune,
    PullImage,
    Result,
    StopContainer,
)
from muster_agent.state.db import Database, JournalFull
from muster_agent.state.operations import MOST, OperationsTable, frees_space, only_looks
from muster_agent.state.reserve import ReserveFile
from muster_agent.wiring import Journal
from tests.fixtures.journals import BIG, forbid_writing, open_memory
from tests.fixtures.small_disk import fill, small_disk


def test_full_disk_still_takes_what_frees_it(full: Journal) -> None:
    assert full.operations_table.accept(DeleteImage("o1", 60, BIG), 0) is None
    full.operations_table.begin("o1")
    full.operations_table.finish("o1", Result("succeeded"))
    assert full.outbox.first() is not None


@pytest.fixture
def memory(tmp_path: Path) -> Journal:
    return open_memory(tmp_path)


PULL = PullImage("o1", 60, "image")
FAILED = Result("failed", error_code="IMAGE_NOT_FOUND")


def test_a_repeat_is_answered_with_what_is_known_of_the_first(memory: Journal, tmp_path: Path) -> None:
    assert memory.operations_table.accept(PULL, 100.0) is None
    for operations_table in (memory.operations_table, open_memory(tmp_path).operations_table):
        again = operations_table.accept(PULL, 900.0)
        assert again is not None
        assert (again.command, again.deadline, again.begun, again.result) == (PULL, 100.0, False, None)
    memory.operations_table.begin("o1")
    memory.operations_table.finish("o1", FAILED)
    again = open_memory(tmp_path).operations_table.accept(PULL, 900.0)
    assert again is not None
    assert (again.begun, again.result) == (True, FAILED)


def test_progress_and_results_wake_the_sender(memory: Journal) -> None:
    memory.operations_table.accept(PULL, 0.0)
    assert not memory.outbox.arrived.is_set()
    memory.operations_table.progress("o1", Result("running"))
    assert memory.outbox.arrived.is_set()
    memory.outbox.arrived.clear()
    memory.operations_table.finish("o1", FAILED)
    assert memory.outbox.arrived.is_set()


def test_a_full_disk_remembers_what_was_pulled_at_the_cost_of_the_reserve(full: Journal) -> None:
    full.operations_table.add_pulled(BIG)
    assert full.operations_table.pulled() == {BIG}


def test_what_has_no_result_is_unfinished_in_the_order_in_which_it_came(memory: Journal, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        memory.operations_table.accept(PullImage(f"o{number}", 60, "image"), float(number))
    memory.operations_table.begin("o1")
    memory.operations_table.finish("o2", FAILED)
    unfinished = open_memory(tmp_path).operations_table.unfinished()
    assert [(each.command.command_id, each.begun) for each in unfinished] == [("o3", False), ("o1", True)]


def test_a_result_takes_the_place_of_the_progress_that_was_not_sent_yet(memory: Journal) -> None:
    memory.operations_table.accept(PULL, 0.0)
    for percent in (10, 20):
        memory.operations_table.progress("o1", Result("running", progress=Progress("downloading", percent=percent)))
    entry = memory.outbox.first()
    assert entry is not None and entry.body["progress"]["percent"] == 20
    memory.operations_table.finish("o1", FAILED)
    entry = memory.outbox.first()
    assert entry is not None and entry.body["status"] == "failed"
    memory.outbox.done(entry)
    assert memory.outbox.first() is None


def test_old_results_are_forgotten_and_what_has_no_result_is_not(memory: Journal) -> None:
    memory.database.connection.execute("PRAGMA synchronous = OFF")
    for number in range(MOST + 3):
        memory.operations_table.accept(PullImage(f"o{number}", 60, "image"), 0.0)
        if number != 1:
            memory.operations_table.finish(f"o{number}", FAILED)
    kept = [
        number
        for number in range(MOST + 3)
        if memory.database.read("SELECT 1 FROM operations WHERE command_id = ?", f"o{number}")
    ]
    assert kept == [1, *range(3, MOST + 3)]


def test_only_what_this_agent_pulled_is_its_own(memory: Journal, tmp_path: Path) -> None:
    assert memory.operations_table.pulled() == frozenset()
    memory.operations_table.add_pulled("sha256:1")
    memory.operations_table.add_pulled("sha256:1")
    assert open_memory(tmp_path).operations_table.pulled() == {"sha256:1"}


@pytest.mark.parametrize(
    ("command", "looks", "frees"),
    [
        (PULL, False, False),
        (StopContainer("o", 1, "c"), False, False),
        (DeleteImage("o", 1, "i"), False, True),
        (DeleteModel("o", 1, "m"), False, True),
        (Prune("o", 1, images=True), False, True),
        (Prune("o", 1, images=True, dry_run=True), True, False),
        (ListImages("o", 1), True, False),
        (ListContainers("o", 1), True, False),
        (ListModels("o", 1), True, False),
        (ContainerLogs("o", 1, "c"), True, False),
        (DiskUsage("o", 1), True, False),
    ],
)
def test_a_disk_that_takes_nothing_takes_what_looks_or_frees_space_and_that_once(
    memory: Journal, command: OperationCommand, looks: bool, frees: bool
) -> None:
    assert (only_looks(command), frees_space(command)) == (looks, frees)
    forbid_writing(memory.database)
    if not looks and not frees:
        with pytest.raises(JournalFull):
            memory.operations_table.accept(command, 0.0)
        return
    assert memory.operations_table.accept(command, 0.0) is None
    memory.operations_table.begin("o")
    again = memory.operations_table.accept(command, 0.0)
    assert again is not None and again.begun
    memory.operations_table.finish("o", FAILED)
    held = memory.outbox.first()
    assert held is not None and held.about == "o"


@pytest.mark.parametrize("command", [Prune("o1", 1, containers=True), PULL])
def test_what_has_run_is_not_taken_again_by_a_disk_that_takes_nothing(
    memory: Journal, command: OperationCommand
) -> None:
    assert memory.operations_table.accept(command, 0.0) is None
    memory.operations_table.begin("o1")
    memory.operations_table.finish("o1", FAILED)
    forbid_writing(memory.database)
    again = memory.operations_table.accept(command, 0.0)
    assert again is not None and (again.begun, again.result) == (True, FAILED)


def test_while_space_is_freed_the_reserve_is_given_up(tmp_path: Path, memory: Journal) -> None:
    assert isinstance(memory.operations_table, OperationsTable)
    with pytest.raises(ZeroDivisionError), memory.operations_table.room():
        assert not (tmp_path / "reserve").exists()
        raise ZeroDivisionError
    assert (tmp_path / "reserve").stat().st_size == 4096


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_an_operation_is_begun_on_a_full_disk_at_the_cost_of_the_reserve(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        memory = Journal.of(Database(disk / "journal", ReserveFile(disk / "reserve", 256 * 1024)))
        memory.operations_table.accept(PULL, 0.0)
        fill(disk)
        memory.operations_table.begin("o1")
        assert not (disk / "reserve").exists()
        assert [each.begun for each in memory.operations_table.all()] == [True]
        memory.database.close()


def test_everything_that_was_accepted_is_listed_with_its_result_in_the_order_in_which_it_came(memory: Journal) -> None:
    for number in (2, 1):
        memory.operations_table.accept(PullImage(f"o{number}", 60, "image"), float(number))
    memory.operations_table.finish("o2", FAILED)
    listed = [(each.command.command_id, each.deadline, each.result) for each in memory.operations_table.all()]
    assert listed == [("o2", 2.0, FAILED), ("o1", 1.0, None)]


def test_the_boot_that_deadlines_count_from_outlives_the_process(memory: Journal, tmp_path: Path) -> None:
    assert memory.operations_table.boot_id is None
    memory.operations_table.begin_boot("boot-1")
    assert open_memory(tmp_path).operations_table.boot_id == "boot-1"


def test_on_a_disk_that_takes_nothing_the_boot_stays_the_last_one_and_the_agent_starts(memory: Journal) -> None:
    memory.operations_table.begin_boot("boot-1")
    forbid_writing(memory.database)
    memory.operations_table.begin_boot("boot-2")
    assert memory.operations_table.boot_id == "boot-1"


def test_a_result_is_sent_once_it_is_known_also_where_it_cannot_be_journaled(memory: Journal) -> None:
    memory.operations_table.accept(PULL, 0.0)
    forbid_writing(memory.database)
    memory.operations_table.progress("o1", Result("running"))
    assert memory.outbox.first() is None, "progress can be done without"
    memory.operations_table.finish("o1", FAILED)
    entry = memory.outbox.first()
    assert entry is not None and entry.body["status"] == "failed"
    assert memory.outbox.arrived.is_set()
