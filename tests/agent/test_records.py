"""What is journaled of each deployment: which intents count, and what a full disk still takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.crew import Memory
from agent.journal import JournalFull
from agent.records import Receipt
from chalicelib.contract.messages import Stop
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
