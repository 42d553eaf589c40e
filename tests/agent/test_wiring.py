"""Everybody who works for one worker id: what they know before the first heartbeat."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from muster.api.messages import PullImage, Report
from muster_agent.wiring import Runtime
from tests.fixtures.agent_world import AgentWorld, no_thread


def test_first_beat_after_a_restart_knows_what_runs(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.restart()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]


def test_first_beat_after_a_lost_disk_knows_what_runs(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    shutil.rmtree(world.folder / "state")
    world.boot()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]


def test_an_engine_that_is_down_at_the_start_does_not_keep_the_agent_from_beating(world: AgentWorld) -> None:
    world.engine.down = True
    world.kill()
    world.boot()
    before = len(world.server.beats)
    world.beat()
    assert len(world.server.beats) == before + 1


def test_what_a_crew_is_made_of_works_for_one_worker_on_one_journal(world: AgentWorld) -> None:
    runtime = Runtime.build("w7", world.host, world.journal)
    assert runtime.context.worker_id == "w7"
    world.deploy()
    world.settle()
    runtime.list_instances(no_thread)
    assert runtime.context.instance_cache.seen == (world.engine.only(),)
    assert runtime.manager.active() == [], "what runs is another worker's"


def test_a_crew_resumes_what_the_journal_has_and_starts_nothing_after_it_is_closed(world: AgentWorld) -> None:
    world.deploy()
    world.order(type="disk_usage", command_id="o1", expires_in=60)
    started: list[str] = []
    runtime = Runtime.build("w1", world.host, world.journal)
    runtime.resume(lambda name, target: started.append(name))
    assert started == ["watch"]
    assert list(runtime.manager.runners) == ["d1"]
    runtime.close()
    runtime.poller.run()
    runtime.manager.runners["d1"].run()
    assert world.engine.all == {}
    runtime.operations.run_all()
    world.deliver()
    assert world.result("o1")["status"] == "succeeded"


def test_a_look_that_hangs_does_not_keep_the_agent_from_beating(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    waiting: list[Callable[[], None]] = []
    world.deploy()
    world.settle()
    runtime = Runtime.build("w1", world.host, world.journal)
    runtime.list_instances(lambda name, target: waiting.append(target), patience=0.0)
    assert "does not answer within 0 s, so the journal says what runs" in caplog.text
    assert runtime.manager.active() == ["d1"]
    waiting[0]()
    assert runtime.context.instance_cache.seen == (world.engine.only(),), "it may return later"


@pytest.mark.parametrize("down", [True, False])
def test_a_look_never_raises_what_the_engine_does(world: AgentWorld, down: bool) -> None:
    world.engine.down = down
    runtime = Runtime.build("w1", world.host, world.journal)
    runtime.list_instances(no_thread)
    assert runtime.context.instance_cache.seen == (None if down else ())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deployments SET command = x'7b'",
        "UPDATE deployments SET status = 'flying'",
        "UPDATE operations SET command = '{}'",
        "UPDATE spool SET body = '[]'",
        "UPDATE meta SET value = 'x' WHERE key = 'sequence'",
        "UPDATE meta SET value = 'x' WHERE key = 'last_contact'",
        "DROP TABLE spool",
    ],
)
def test_a_journal_with_something_that_cannot_be_read_is_begun_anew(world: AgentWorld, statement: str) -> None:
    """Such a page is whole to SQLite."""
    world.deploy()
    world.settle()
    world.server.failures = [ConnectionError()] * 1000
    world.order(type="disk_usage", command_id="o1", expires_in=60)
    world.journal.operations_table.accept(PullImage("o1", 600, "image"), 0)
    world.journal.outbox.put("d1", Report(status="running", generation=1))
    world.database.connection.execute(statement)
    before = world.database.journal_id
    world.kill()
    world.server.failures = []
    world.boot()
    world.beat()
    world.settle()
    assert world.database.journal_id != before
    assert list(world.state.path.glob("journal.damaged-*"))
    assert world.engine.only().deployment_id == "d1" and world.server.beats[-1].active_deployments == ["d1"]
