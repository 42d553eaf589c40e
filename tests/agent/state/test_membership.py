"""The journal knows which worker this is, whatever the host is called, and which workers it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from muster_agent.config import SettingError
from muster_agent.state import membership
from muster_agent.state.db import Database
from muster_agent.state.dir import Identity, StateDir
from muster_agent.wiring import Journal
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import full_journal, open_journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return open_journal(tmp_path)


@pytest.fixture
def database(journal: Journal) -> Database:
    return journal.database


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def start(
    database: Database, state: StateDir, hostname: str, *, name: str | None = None, token: str | None = "t"
) -> str:
    return membership.prepare(database, state, name=name, hostname=hostname, token=token)


def test_a_host_that_is_renamed_stays_the_same_worker(database: Database, state: StateDir) -> None:
    assert start(database, state, "node-a") == "node-a"
    assert start(database, state, "node-b") == "node-a"


def test_another_name_than_the_worker_has_is_refused_with_the_way_out(database: Database, state: StateDir) -> None:
    start(database, state, "node-a")
    assert start(database, state, "node-b", name="node-a") == "node-a"
    with pytest.raises(SettingError, match="belongs to worker 'node-a'; use another --state-dir, or --rejoin"):
        start(database, state, "node-b", name="node-b")


def test_the_first_start_needs_a_token_and_later_ones_do_not(database: Database, state: StateDir) -> None:
    with pytest.raises(SettingError, match="--token"):
        start(database, state, "node-a", token=None)
    start(database, state, "node-a")
    membership.become(database, Identity("w1", "own", 1))
    assert start(database, state, "node-a", token=None) == "node-a"
    membership.rejoin(database, state)
    assert start(database, state, "node-a", token=None) == "node-a", "its own token may still be good"


@pytest.mark.parametrize(("given", "after"), [(None, "node-b"), ("mine", "mine")])
def test_rejoin_takes_the_hosts_present_name_unless_the_owner_gave_one(
    database: Database, state: StateDir, given: str | None, after: str
) -> None:
    start(database, state, "node-a", name=given)
    start(database, state, "node-a")
    membership.rejoin(database, state)
    assert start(database, state, "node-b") == after


def test_rejoin_ends_parking_and_keeps_the_workers_own_token_aside(database: Database, state: StateDir) -> None:
    start(database, state, "node-a")
    membership.become(database, Identity("w1", "own", 1))
    state.park("superseded")
    for _ in range(2):
        membership.rejoin(database, state)
        assert state.parked is None
        assert (database.meta("token"), database.meta("token_before_rejoin")) == (None, "own")
    membership.become(database, Identity("w1", "fresh", 2))
    assert (database.meta("token"), database.meta("token_before_rejoin")) == ("fresh", None)


def test_the_workers_that_it_was_are_remembered_the_latest_first(database: Database) -> None:
    assert not membership.is_another(database, "w0")
    for number in range(membership.KEPT_PAST_WORKERS + 3):
        membership.become(database, Identity(f"w{number}", "t", 1))
    last = membership.KEPT_PAST_WORKERS + 2
    assert membership.past_workers(database) == tuple(f"w{number}" for number in reversed(range(2, last)))
    membership.become(database, Identity("w5", "t", 1))
    assert membership.past_workers(database)[0] == f"w{last}" and "w5" not in membership.past_workers(database)
    assert membership.is_another(database, "w6") and not membership.is_another(database, "w5")


def test_after_a_wiped_control_plane_what_runs_is_an_orphan_that_can_be_stopped(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    orphan = world.engine.only()
    world.server.worker_id = "w2"  # its database is empty: this host is a new worker there
    world.server.tokens += 1
    world.beat()
    world.beat()
    world.settle(1)
    world.beat()
    assert world.agent.identity is not None and world.agent.identity.worker_id == "w2"
    assert world.server.beats[-1].active_deployments == ["d1"]
    others = world.engine.add(replace(orphan, id="others", name="others", worker_id="w3"))
    for number, instance in enumerate((orphan, others)):
        world.server.order(type="stop_container", command_id=f"o{number}", expires_in=60, container_id=instance.id)
    world.beat()
    world.settle()
    results = {about: (result.status, result.error_code) for about, result in world.server.results}
    assert results == {"o0": ("succeeded", None), "o1": ("failed", "NOT_OURS")}
    assert list(world.engine.all.values()) == [others]


def test_who_a_worker_is_is_journaled_with_the_reserve(tmp_path: Path) -> None:
    journal = full_journal(tmp_path)
    membership.become(journal.database, Identity("w" * 128, "t" * 500, 1))
    assert journal.database.meta("token") == "t" * 500
