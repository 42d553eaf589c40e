"""One run: what a session missed, whose stop a slot holds, and an inbox that is above what was sent before."""

from __future__ import annotations

import pytest

from chalicelib.reconcile.reconcile_run import ReconcileRun
from chalicelib.store.tables import Slot, WorkerHeartbeat
from muster.api import messages as m
from tests.fixtures.plane_world import PlaneWorld
from tests.fixtures.reconciling import agent, heartbeat_of, slot_of


@pytest.mark.parametrize(
    ("same_session", "behind", "is_sent_again"),
    [(False, 1, True), (False, 0, False), (True, 1, False), (False, None, False)],
)
def test_a_journal_that_was_put_back_is_sent_what_it_missed(
    world: PlaneWorld, same_session: bool, behind: int | None, is_sent_again: bool
) -> None:
    """A journal says how far it had heard: one that a session before had heard further is older."""
    worker = agent(world)
    deployment_id = world.deploy()
    assert worker.types(inbox=0) == ["deploy"]
    worker.beat()
    sent = int(slot_of(worker, deployment_id).sent_inbox)
    if not same_session:
        worker.register(boot_id="b", past_boot_ids=["a"])
    heard = {} if behind is None else {"inbox": sent - behind}
    assert worker.types(**heard) == (["deploy"] if is_sent_again else [])


def test_what_was_sent_in_an_answer_is_above_the_inbox_that_the_answer_tells(world: PlaneWorld) -> None:
    """An answer that began before has a lower inbox, whenever it arrives; all commands of a look have the same."""
    worker = agent(world)
    deployed = [world.deploy(gpus=0) for _ in range(2)]
    answer = worker.beat(inbox=0)
    assert [slot_of(worker, each).sent_inbox for each in deployed] == [heartbeat_of(worker).inbox] * 2
    assert heartbeat_of(worker).inbox == answer.inbox + 1
    again = worker.beat(inbox=answer.inbox)
    assert (len(again.commands), again.inbox) == (0, answer.inbox + 1)


def test_a_client_that_tells_no_inbox_costs_no_write_for_it(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    answer = worker.beat()
    assert slot_of(worker, deployment_id).sent_inbox == heartbeat_of(worker).inbox == answer.inbox


@pytest.mark.parametrize(
    ("sent_session", "journal", "never"), [(0, None, True), (None, None, True), (5, None, False), (0, b"j", False)]
)
def test_a_stop_that_no_session_was_sent_is_of_the_machine_that_had_the_name_before(
    sent_session: int | None, journal: bytes | None, never: bool
) -> None:
    body = m.Heartbeat("online", [], [], session=6, journal_id="j")
    one = ReconcileRun(WorkerHeartbeat("w", journal=journal), body, 0.0, False, 1)
    assert one.is_of_earlier_machine(Slot("w", "D#d", sent_session=sent_session)) is never
