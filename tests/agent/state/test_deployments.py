"""What is journaled of each deployment: which intents count, and what a full disk still takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from muster.api.lifecycle import Status
from muster.api.messages import Progress, Report, Stop
from muster_agent.state.db import JournalFull
from muster_agent.state.deployments import Crashes, Receipt, Record
from muster_agent.wiring import Journal
from tests.fixtures.commands import deploy
from tests.fixtures.journals import BIG, DEPLOY, big_stop, open_journal


def test_an_intent_is_new_only_if_its_generation_is_newer_than_the_journaled_one(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    assert deployments_table.accept(DEPLOY) is Receipt.NEW
    assert deployments_table.accept(DEPLOY) is Receipt.REPEATED
    assert deployments_table.accept(Stop("c2", "d1", 2)) is Receipt.NEW
    assert deployments_table.accept(DEPLOY) is Receipt.STALE


def test_stop_takes_the_secrets_out_of_the_journal(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.deployments_table.accept(DEPLOY)
    journal.deployments_table.accept(Stop("c2", "d1", 2))
    record = journal.deployments_table.get("d1")
    assert record is not None
    assert isinstance(record.command, Stop)


def test_full_disk_takes_no_deploy(full: Journal) -> None:
    with pytest.raises(JournalFull):
        full.deployments_table.accept(DEPLOY)
    assert full.deployments_table.get("d1") is None


def test_full_disk_still_takes_a_stop(full: Journal) -> None:
    assert full.deployments_table.accept(big_stop("d1")) is Receipt.NEW


def test_an_agent_starts_on_a_full_disk_after_its_host_did(full: Journal) -> None:
    full.deployments_table.begin_run("another run of the host, " + BIG)
    assert (full.database.meta("host_run") or "").startswith("another run")


RUNS = Record(deploy(), Status.RUNNING, "c1", 20001, 3, 2, Report("running", generation=1))


def test_a_record_outlives_the_process_as_it_was_saved(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    deployments_table.accept(deploy())
    assert deployments_table.get("d1") == Record(deploy())
    deployments_table.save(RUNS)
    again = open_journal(tmp_path).deployments_table
    assert again.get("d1") == RUNS
    assert again.all() == [RUNS]
    assert again.get("d2") is None


def test_failures_in_a_row_are_kept_beside_the_report(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    deployments_table.accept(deploy())
    crashed = replace(RUNS, crashes=Crashes(3, "CUDA_OUT_OF_MEMORY", 2, 40.0, 140.0, "boot"))
    deployments_table.save(crashed)
    assert deployments_table.get("d1") == crashed
    newer = deploy()
    newer.generation = 2
    deployments_table.accept(newer)
    assert deployments_table.get("d1") == Record(newer, port=20001), "none of the newer generation"


def test_a_newer_intent_keeps_the_port_and_expects_no_container(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    deployments_table.accept(deploy())
    deployments_table.save(RUNS)
    newer = deploy()
    newer.generation = 2
    deployments_table.accept(newer)
    assert deployments_table.get("d1") == Record(newer, port=20001)


def test_what_is_saved_for_an_older_generation_changes_nothing(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    deployments_table.accept(Stop("c2", "d1", 2))
    deployments_table.save(RUNS)
    assert deployments_table.get("d1") == Record(Stop("c2", "d1", 2))


def test_another_run_of_the_host_expects_no_container_and_blames_no_command(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    deployments_table.begin_run("first")
    deployments_table.accept(deploy())
    deployments_table.save(RUNS)
    deployments_table.begin_run("first")
    assert deployments_table.get("d1") == RUNS
    deployments_table.begin_run("second")
    found = deployments_table.get("d1")
    assert found is not None
    assert (found.container_id, found.attempts, found.port, found.restarts) == (None, 0, 20001, 3)


def test_a_daemon_that_is_down_at_the_start_is_no_other_run_of_the_host(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    deployments_table.begin_run("boot:init:7:7777")
    deployments_table.accept(deploy())
    deployments_table.save(RUNS)
    deployments_table.begin_run("boot:init")
    assert deployments_table.get("d1") == RUNS, "its containers may run on"
    deployments_table.begin_run("boot:init:8:8888")
    found = deployments_table.get("d1")
    assert found is not None and found.container_id is None


def test_an_agent_that_was_asked_to_end_blames_no_command(tmp_path: Path) -> None:
    deployments_table = open_journal(tmp_path).deployments_table
    deployments_table.accept(deploy())
    deployments_table.save(RUNS)
    deployments_table.forgive()
    found = deployments_table.get("d1")
    assert found is not None and (found.attempts, found.container_id) == (0, "c1")


def test_another_workers_deployments_operations_and_reports_are_forgotten(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.deployments_table.accept(deploy())
    journal.deployments_table.save(RUNS, RUNS.report)
    journal.operations_table.add_pulled("sha256:1")
    journal.deployments_table.clear()
    assert journal.deployments_table.all() == []
    assert journal.outbox.first() is None
    assert journal.operations_table.pulled() == {"sha256:1"}, "images are the host's"


def test_of_reports_that_only_tell_how_far_it_is_the_last_is_sent(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.deployments_table.accept(deploy())

    def report(percent: float | None, error_code: str | None = None) -> None:
        progress = None if percent is None else Progress("downloading", percent=percent)
        said = Report("downloading", generation=1, progress=progress, error_code=error_code)
        journal.deployments_table.save(Record(deploy(), Status.DOWNLOADING, report=said), said)

    report(None)
    for percent in (10, 20, 30):
        report(percent)
    report(40, error_code="PULL_STALLED")
    sent = []
    while (entry := journal.outbox.first()) is not None:
        sent.append((entry.body.get("progress") or {}).get("percent"))
        journal.outbox.done(entry)
    assert sent == [None, 30, 40]


def test_a_full_disk_loses_no_report(full: Journal) -> None:
    full.deployments_table.accept(Stop("c2", "d1", 2))
    said = Report("stopped", generation=2, message=BIG)
    for _ in range(3):
        full.deployments_table.save(Record(Stop("c2", "d1", 2), Status.STOPPED, report=said), said)
    assert full.outbox.arrived.is_set()
    entry = full.outbox.first()
    assert entry is not None and (entry.about, entry.body["status"]) == ("d1", "stopped")


@pytest.mark.parametrize("status", [None, *Status])
def test_only_what_stopped_or_failed_is_at_rest(status: Status | None) -> None:
    assert Record(deploy(), status).at_rest is (status in (Status.STOPPED, Status.ERROR))
