"""What is journaled of each deployment: which intents count, and what a full disk still takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from muster.api.lifecycle import Status
from muster.api.messages import Progress, Report, Stop
from muster_agent.state.db import JournalFull
from muster_agent.state.deployments import Crashes, Receipt, Record
from muster_agent.wiring import Memory
from tests.fixtures.commands import deploy
from tests.fixtures.journals import BIG, DEPLOY, big_stop, open_memory


def test_an_intent_is_new_only_if_its_generation_is_newer_than_the_journaled_one(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    assert records.accept(DEPLOY) is Receipt.NEW
    assert records.accept(DEPLOY) is Receipt.REPEATED
    assert records.accept(Stop("c2", "d1", 2)) is Receipt.NEW
    assert records.accept(DEPLOY) is Receipt.STALE


def test_stop_takes_the_secrets_out_of_the_journal(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.records.accept(DEPLOY)
    memory.records.accept(Stop("c2", "d1", 2))
    record = memory.records.get("d1")
    assert record is not None
    assert isinstance(record.command, Stop)


def test_full_disk_takes_no_deploy(full: Memory) -> None:
    with pytest.raises(JournalFull):
        full.records.accept(DEPLOY)
    assert full.records.get("d1") is None


def test_full_disk_still_takes_a_stop(full: Memory) -> None:
    assert full.records.accept(big_stop("d1")) is Receipt.NEW


def test_an_agent_starts_on_a_full_disk_after_its_host_did(full: Memory) -> None:
    full.records.begin_run("another run of the host, " + BIG)
    assert (full.database.meta("host_run") or "").startswith("another run")


RUNS = Record(deploy(), Status.RUNNING, "c1", 20001, 3, 2, Report("running", generation=1))


def test_a_record_outlives_the_process_as_it_was_saved(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    records.accept(deploy())
    assert records.get("d1") == Record(deploy())
    records.save(RUNS)
    again = open_memory(tmp_path).records
    assert again.get("d1") == RUNS
    assert again.all() == [RUNS]
    assert again.get("d2") is None


def test_failures_in_a_row_are_kept_beside_the_report(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    records.accept(deploy())
    crashed = replace(RUNS, crashes=Crashes(3, "CUDA_OUT_OF_MEMORY", 2, 40.0, 140.0, "boot"))
    records.save(crashed)
    assert records.get("d1") == crashed
    newer = deploy()
    newer.generation = 2
    records.accept(newer)
    assert records.get("d1") == Record(newer, port=20001), "none of the newer generation"


def test_a_newer_intent_keeps_the_port_and_expects_no_container(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    records.accept(deploy())
    records.save(RUNS)
    newer = deploy()
    newer.generation = 2
    records.accept(newer)
    assert records.get("d1") == Record(newer, port=20001)


def test_what_is_saved_for_an_older_generation_changes_nothing(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    records.accept(Stop("c2", "d1", 2))
    records.save(RUNS)
    assert records.get("d1") == Record(Stop("c2", "d1", 2))


def test_another_run_of_the_host_expects_no_container_and_blames_no_command(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    records.begin_run("first")
    records.accept(deploy())
    records.save(RUNS)
    records.begin_run("first")
    assert records.get("d1") == RUNS
    records.begin_run("second")
    found = records.get("d1")
    assert found is not None
    assert (found.container_id, found.attempts, found.port, found.restarts) == (None, 0, 20001, 3)


def test_a_daemon_that_is_down_at_the_start_is_no_other_run_of_the_host(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    records.begin_run("boot:init:7:7777")
    records.accept(deploy())
    records.save(RUNS)
    records.begin_run("boot:init")
    assert records.get("d1") == RUNS, "its containers may run on"
    records.begin_run("boot:init:8:8888")
    found = records.get("d1")
    assert found is not None and found.container_id is None


def test_an_agent_that_was_asked_to_end_blames_no_command(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    records.accept(deploy())
    records.save(RUNS)
    records.forgive()
    found = records.get("d1")
    assert found is not None and (found.attempts, found.container_id) == (0, "c1")


def test_another_workers_deployments_operations_and_reports_are_forgotten(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.records.accept(deploy())
    memory.records.save(RUNS, RUNS.report)
    memory.ledger.add_pulled("sha256:1")
    memory.records.clear()
    assert memory.records.all() == []
    assert memory.spool.first() is None
    assert memory.ledger.pulled() == {"sha256:1"}, "images are the host's"


def test_of_reports_that_only_tell_how_far_it_is_the_last_is_sent(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.records.accept(deploy())

    def report(percent: float | None, error_code: str | None = None) -> None:
        progress = None if percent is None else Progress("downloading", percent=percent)
        said = Report("downloading", generation=1, progress=progress, error_code=error_code)
        memory.records.save(Record(deploy(), Status.DOWNLOADING, report=said), said)

    report(None)
    for percent in (10, 20, 30):
        report(percent)
    report(40, error_code="PULL_STALLED")
    sent = []
    while (entry := memory.spool.first()) is not None:
        sent.append((entry.body.get("progress") or {}).get("percent"))
        memory.spool.done(entry)
    assert sent == [None, 30, 40]


def test_a_full_disk_loses_no_report(full: Memory) -> None:
    full.records.accept(Stop("c2", "d1", 2))
    said = Report("stopped", generation=2, message=BIG)
    for _ in range(3):
        full.records.save(Record(Stop("c2", "d1", 2), Status.STOPPED, report=said), said)
    assert full.spool.arrived.is_set()
    entry = full.spool.first()
    assert entry is not None and (entry.about, entry.body["status"]) == ("d1", "stopped")


@pytest.mark.parametrize("status", [None, *Status])
def test_only_what_stopped_or_failed_is_at_rest(status: Status | None) -> None:
    assert Record(deploy(), status).at_rest is (status in (Status.STOPPED, Status.ERROR))
