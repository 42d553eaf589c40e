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
from muster_agent.state.operations import MAX_KEPT_RESULTS, OperationsTable, frees_space, only_looks
from muster_agent.state.reserve import ReserveFile
from muster_agent.wiring import Journal
from tests.fixtures.journals import BIG, forbid_writing, open_journal
from tests.fixtures.small_disk import fill, small_disk


def test_full_disk_still_takes_what_frees_it(full: Journal) -> None:
    assert full.operations_table.accept(DeleteImage("o1", 60, BIG), 0) is None
    full.operations_table.begin("o1")
    full.operations_table.finish("o1", Result("succeeded"))
    assert full.outbox.first() is not None


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return open_journal(tmp_path)


PULL = PullImage("o1", 60, "image")
FAILED = Result("failed", error_code="IMAGE_NOT_FOUND")


def test_a_repeat_is_answered_with_what_is_known_of_the_first(journal: Journal, tmp_path: Path) -> None:
    assert journal.operations_table.accept(PULL, 100.0) is None
    for operations_table in (journal.operations_table, open_journal(tmp_path).operations_table):
        again = operations_table.accept(PULL, 900.0)
        assert again is not None
        assert (again.command, again.deadline, again.begun, again.result) == (PULL, 100.0, False, None)
    journal.operations_table.begin("o1")
    journal.operations_table.finish("o1", FAILED)
    again = open_journal(tmp_path).operations_table.accept(PULL, 900.0)
    assert again is not None
    assert (again.begun, again.result) == (True, FAILED)


def test_progress_and_results_wake_the_sender(journal: Journal) -> None:
    journal.operations_table.accept(PULL, 0.0)
    assert not journal.outbox.arrived.is_set()
    journal.operations_table.progress("o1", Result("running"))
    assert journal.outbox.arrived.is_set()
    journal.outbox.arrived.clear()
    journal.operations_table.finish("o1", FAILED)
    assert journal.outbox.arrived.is_set()


def test_a_full_disk_remembers_what_was_pulled_at_the_cost_of_the_reserve(full: Journal) -> None:
    full.operations_table.add_pulled(BIG)
    assert full.operations_table.pulled() == {BIG}


def test_what_has_no_result_is_unfinished_in_the_order_in_which_it_came(journal: Journal, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        journal.operations_table.accept(PullImage(f"o{number}", 60, "image"), float(number))
    journal.operations_table.begin("o1")
    journal.operations_table.finish("o2", FAILED)
    unfinished = open_journal(tmp_path).operations_table.unfinished()
    assert [(each.command.command_id, each.begun) for each in unfinished] == [("o3", False), ("o1", True)]


def test_a_result_takes_the_place_of_the_progress_that_was_not_sent_yet(journal: Journal) -> None:
    journal.operations_table.accept(PULL, 0.0)
    for percent in (10, 20):
        journal.operations_table.progress("o1", Result("running", progress=Progress("downloading", percent=percent)))
    entry = journal.outbox.first()
    assert entry is not None and entry.body["progress"]["percent"] == 20
    journal.operations_table.finish("o1", FAILED)
    entry = journal.outbox.first()
    assert entry is not None and entry.body["status"] == "failed"
    journal.outbox.done(entry)
    assert journal.outbox.first() is None


def test_old_results_are_forgotten_and_what_has_no_result_is_not(journal: Journal) -> None:
    journal.database.connection.execute("PRAGMA synchronous = OFF")
    for number in range(MAX_KEPT_RESULTS + 3):
        journal.operations_table.accept(PullImage(f"o{number}", 60, "image"), 0.0)
        if number != 1:
            journal.operations_table.finish(f"o{number}", FAILED)
    kept = [
        number
        for number in range(MAX_KEPT_RESULTS + 3)
        if journal.database.read("SELECT 1 FROM operations WHERE command_id = ?", f"o{number}")
    ]
    assert kept == [1, *range(3, MAX_KEPT_RESULTS + 3)]


def test_only_what_this_agent_pulled_is_its_own(journal: Journal, tmp_path: Path) -> None:
    assert journal.operations_table.pulled() == frozenset()
    journal.operations_table.add_pulled("sha256:1")
    journal.operations_table.add_pulled("sha256:1")
    assert open_journal(tmp_path).operations_table.pulled() == {"sha256:1"}


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
    journal: Journal, command: OperationCommand, looks: bool, frees: bool
) -> None:
    assert (only_looks(command), frees_space(command)) == (looks, frees)
    forbid_writing(journal.database)
    if not looks and not frees:
        with pytest.raises(JournalFull):
            journal.operations_table.accept(command, 0.0)
        return
    assert journal.operations_table.accept(command, 0.0) is None
    journal.operations_table.begin("o")
    again = journal.operations_table.accept(command, 0.0)
    assert again is not None and again.begun
    journal.operations_table.finish("o", FAILED)
    held = journal.outbox.first()
    assert held is not None and held.about == "o"


@pytest.mark.parametrize("command", [Prune("o1", 1, containers=True), PULL])
def test_what_has_run_is_not_taken_again_by_a_disk_that_takes_nothing(
    journal: Journal, command: OperationCommand
) -> None:
    assert journal.operations_table.accept(command, 0.0) is None
    journal.operations_table.begin("o1")
    journal.operations_table.finish("o1", FAILED)
    forbid_writing(journal.database)
    again = journal.operations_table.accept(command, 0.0)
    assert again is not None and (again.begun, again.result) == (True, FAILED)


def test_while_space_is_freed_the_reserve_is_given_up(tmp_path: Path, journal: Journal) -> None:
    assert isinstance(journal.operations_table, OperationsTable)
    with pytest.raises(ZeroDivisionError), journal.operations_table.room():
        assert not (tmp_path / "reserve").exists()
        raise ZeroDivisionError
    assert (tmp_path / "reserve").stat().st_size == 4096


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_an_operation_is_begun_on_a_full_disk_at_the_cost_of_the_reserve(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        journal = Journal.of(Database(disk / "journal", ReserveFile(disk / "reserve", 256 * 1024)))
        journal.operations_table.accept(PULL, 0.0)
        fill(disk)
        journal.operations_table.begin("o1")
        assert not (disk / "reserve").exists()
        assert [each.begun for each in journal.operations_table.all()] == [True]
        journal.database.close()


def test_everything_that_was_accepted_is_listed_with_its_result_in_the_order_in_which_it_came(journal: Journal) -> None:
    for number in (2, 1):
        journal.operations_table.accept(PullImage(f"o{number}", 60, "image"), float(number))
    journal.operations_table.finish("o2", FAILED)
    listed = [(each.command.command_id, each.deadline, each.result) for each in journal.operations_table.all()]
    assert listed == [("o2", 2.0, FAILED), ("o1", 1.0, None)]


def test_the_boot_that_deadlines_count_from_outlives_the_process(journal: Journal, tmp_path: Path) -> None:
    assert journal.operations_table.boot_id is None
    journal.operations_table.begin_boot("boot-1")
    assert open_journal(tmp_path).operations_table.boot_id == "boot-1"


def test_on_a_disk_that_takes_nothing_the_boot_stays_the_last_one_and_the_agent_starts(journal: Journal) -> None:
    journal.operations_table.begin_boot("boot-1")
    forbid_writing(journal.database)
    journal.operations_table.begin_boot("boot-2")
    assert journal.operations_table.boot_id == "boot-1"


def test_a_result_is_sent_once_it_is_known_also_where_it_cannot_be_journaled(journal: Journal) -> None:
    journal.operations_table.accept(PULL, 0.0)
    forbid_writing(journal.database)
    journal.operations_table.progress("o1", Result("running"))
    assert journal.outbox.first() is None, "progress can be done without"
    journal.operations_table.finish("o1", FAILED)
    entry = journal.outbox.first()
    assert entry is not None and entry.body["status"] == "failed"
    assert journal.outbox.arrived.is_set()
