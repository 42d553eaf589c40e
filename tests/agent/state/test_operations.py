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
from muster_agent.state.operations import MOST, Ledger, frees_space, only_looks
from muster_agent.state.reserve import ReserveFile
from muster_agent.wiring import Memory
from tests.fixtures.journals import BIG, forbid_writing, open_memory
from tests.fixtures.small_disk import fill, small_disk


def test_full_disk_still_takes_what_frees_it(full: Memory) -> None:
    assert full.ledger.accept(DeleteImage("o1", 60, BIG), 0) is None
    full.ledger.begin("o1")
    full.ledger.finish("o1", Result("succeeded"))
    assert full.spool.first() is not None


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return open_memory(tmp_path)


PULL = PullImage("o1", 60, "image")
FAILED = Result("failed", error_code="IMAGE_NOT_FOUND")


def test_a_repeat_is_answered_with_what_is_known_of_the_first(memory: Memory, tmp_path: Path) -> None:
    assert memory.ledger.accept(PULL, 100.0) is None
    for ledger in (memory.ledger, open_memory(tmp_path).ledger):
        again = ledger.accept(PULL, 900.0)
        assert again is not None
        assert (again.command, again.deadline, again.begun, again.result) == (PULL, 100.0, False, None)
    memory.ledger.begin("o1")
    memory.ledger.finish("o1", FAILED)
    again = open_memory(tmp_path).ledger.accept(PULL, 900.0)
    assert again is not None
    assert (again.begun, again.result) == (True, FAILED)


def test_progress_and_results_wake_the_sender(memory: Memory) -> None:
    memory.ledger.accept(PULL, 0.0)
    assert not memory.spool.arrived.is_set()
    memory.ledger.progress("o1", Result("running"))
    assert memory.spool.arrived.is_set()
    memory.spool.arrived.clear()
    memory.ledger.finish("o1", FAILED)
    assert memory.spool.arrived.is_set()


def test_a_full_disk_remembers_what_was_pulled_at_the_cost_of_the_reserve(full: Memory) -> None:
    full.ledger.add_pulled(BIG)
    assert full.ledger.pulled() == {BIG}


def test_what_has_no_result_is_unfinished_in_the_order_in_which_it_came(memory: Memory, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        memory.ledger.accept(PullImage(f"o{number}", 60, "image"), float(number))
    memory.ledger.begin("o1")
    memory.ledger.finish("o2", FAILED)
    unfinished = open_memory(tmp_path).ledger.unfinished()
    assert [(each.command.command_id, each.begun) for each in unfinished] == [("o3", False), ("o1", True)]


def test_a_result_takes_the_place_of_the_progress_that_was_not_sent_yet(memory: Memory) -> None:
    memory.ledger.accept(PULL, 0.0)
    for percent in (10, 20):
        memory.ledger.progress("o1", Result("running", progress=Progress("downloading", percent=percent)))
    entry = memory.spool.first()
    assert entry is not None and entry.body["progress"]["percent"] == 20
    memory.ledger.finish("o1", FAILED)
    entry = memory.spool.first()
    assert entry is not None and entry.body["status"] == "failed"
    memory.spool.done(entry)
    assert memory.spool.first() is None


def test_old_results_are_forgotten_and_what_has_no_result_is_not(memory: Memory) -> None:
    memory.database.connection.execute("PRAGMA synchronous = OFF")
    for number in range(MOST + 3):
        memory.ledger.accept(PullImage(f"o{number}", 60, "image"), 0.0)
        if number != 1:
            memory.ledger.finish(f"o{number}", FAILED)
    kept = [
        number
        for number in range(MOST + 3)
        if memory.database.read("SELECT 1 FROM operations WHERE command_id = ?", f"o{number}")
    ]
    assert kept == [1, *range(3, MOST + 3)]


def test_only_what_this_agent_pulled_is_its_own(memory: Memory, tmp_path: Path) -> None:
    assert memory.ledger.pulled() == frozenset()
    memory.ledger.add_pulled("sha256:1")
    memory.ledger.add_pulled("sha256:1")
    assert open_memory(tmp_path).ledger.pulled() == {"sha256:1"}


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
    memory: Memory, command: OperationCommand, looks: bool, frees: bool
) -> None:
    assert (only_looks(command), frees_space(command)) == (looks, frees)
    forbid_writing(memory.database)
    if not looks and not frees:
        with pytest.raises(JournalFull):
            memory.ledger.accept(command, 0.0)
        return
    assert memory.ledger.accept(command, 0.0) is None
    memory.ledger.begin("o")
    again = memory.ledger.accept(command, 0.0)
    assert again is not None and again.begun
    memory.ledger.finish("o", FAILED)
    held = memory.spool.first()
    assert held is not None and held.about == "o"


@pytest.mark.parametrize("command", [Prune("o1", 1, containers=True), PULL])
def test_what_has_run_is_not_taken_again_by_a_disk_that_takes_nothing(
    memory: Memory, command: OperationCommand
) -> None:
    assert memory.ledger.accept(command, 0.0) is None
    memory.ledger.begin("o1")
    memory.ledger.finish("o1", FAILED)
    forbid_writing(memory.database)
    again = memory.ledger.accept(command, 0.0)
    assert again is not None and (again.begun, again.result) == (True, FAILED)


def test_while_space_is_freed_the_reserve_is_given_up(tmp_path: Path, memory: Memory) -> None:
    assert isinstance(memory.ledger, Ledger)
    with pytest.raises(ZeroDivisionError), memory.ledger.room():
        assert not (tmp_path / "reserve").exists()
        raise ZeroDivisionError
    assert (tmp_path / "reserve").stat().st_size == 4096


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_an_operation_is_begun_on_a_full_disk_at_the_cost_of_the_reserve(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        memory = Memory.of(Database(disk / "journal", ReserveFile(disk / "reserve", 256 * 1024)))
        memory.ledger.accept(PULL, 0.0)
        fill(disk)
        memory.ledger.begin("o1")
        assert not (disk / "reserve").exists()
        assert [each.begun for each in memory.ledger.all()] == [True]
        memory.database.close()


def test_everything_that_was_accepted_is_listed_with_its_result_in_the_order_in_which_it_came(memory: Memory) -> None:
    for number in (2, 1):
        memory.ledger.accept(PullImage(f"o{number}", 60, "image"), float(number))
    memory.ledger.finish("o2", FAILED)
    listed = [(each.command.command_id, each.deadline, each.result) for each in memory.ledger.all()]
    assert listed == [("o2", 2.0, FAILED), ("o1", 1.0, None)]


def test_the_boot_that_deadlines_count_from_outlives_the_process(memory: Memory, tmp_path: Path) -> None:
    assert memory.ledger.boot_id is None
    memory.ledger.begin_boot("boot-1")
    assert open_memory(tmp_path).ledger.boot_id == "boot-1"


def test_on_a_disk_that_takes_nothing_the_boot_stays_the_last_one_and_the_agent_starts(memory: Memory) -> None:
    memory.ledger.begin_boot("boot-1")
    forbid_writing(memory.database)
    memory.ledger.begin_boot("boot-2")
    assert memory.ledger.boot_id == "boot-1"


def test_a_result_is_sent_once_it_is_known_also_where_it_cannot_be_journaled(memory: Memory) -> None:
    memory.ledger.accept(PULL, 0.0)
    forbid_writing(memory.database)
    memory.ledger.progress("o1", Result("running"))
    assert memory.spool.first() is None, "progress can be done without"
    memory.ledger.finish("o1", FAILED)
    entry = memory.spool.first()
    assert entry is not None and entry.body["status"] == "failed"
    assert memory.spool.arrived.is_set()
