"""The slots of a worker and its bell: what an intent holds, and who may overwrite or settle it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from chalicelib.store import slots
from chalicelib.store.items import TransactionConflict, find, transact
from chalicelib.store.tables import Slot, WorkerHeartbeat
from chalicelib.workers import admin
from tests.fixtures.database import Recorder
from tests.fixtures.plane_world import PlaneWorld

NOW = 1_800_000_000.0


def put(intent: Literal["deploy", "stop"], generation: int, before: Slot | None) -> Slot:
    transact(lambda t: slots.put(t, slots.Intent("w", "d", intent, generation), before))
    return got()


def got() -> Slot:
    found = slots.get("w", "d")
    assert found is not None
    return found


def sent(slot: Slot, session: int = 1) -> Slot:
    slot.update(actions=[Slot.sent_at.set(NOW), Slot.sent_session.set(session)])
    return got()


def test_a_deploy_holds_its_gpus_and_nothing_lives_there_yet(database: Recorder) -> None:
    slot = put("deploy", 1, None)
    assert (slot.holds_gpus, slot.may_be_running, slots.never_sent(slot), slots.coming(slot)) == (
        True,
        False,
        True,
        True,
    )


def test_a_stop_of_what_was_never_sent_holds_nothing(database: Recorder) -> None:
    slot = put("stop", 2, put("deploy", 1, None))
    assert (slot.holds_gpus, slot.may_be_running) == (False, False)


def test_a_stop_holds_what_was_held_until_it_is_over(database: Recorder) -> None:
    slot = put("stop", 2, sent(put("deploy", 1, None)))
    assert (slot.holds_gpus, slot.may_be_running) == (True, True)
    assert slots.ended(slot)
    assert (got().holds_gpus, got().may_be_running) == (False, False)


def test_a_deploy_over_what_may_live_is_not_one_that_nobody_heard_of(database: Recorder) -> None:
    slot = put("deploy", 2, sent(put("deploy", 1, None)))
    assert (slot.may_be_running, slots.never_sent(slot), slots.coming(slot)) == (True, False, True)
    assert slots.ended(slot)
    assert (got().holds_gpus, got().may_be_running) == (True, False), "the newer deploy is on its way"


def test_a_deploy_that_may_begin_yet_is_followed_by_stops_that_are_sent_until_one_was_heard(database: Recorder) -> None:
    assert slots.ended(sent(put("deploy", 1, None)), may_begin=True)
    again = put("deploy", 2, got())
    assert (again.may_be_running, slots.never_sent(again)) == (False, False)
    stop = put("stop", 3, got())
    assert (stop.holds_gpus, stop.may_begin) == (False, True)
    slots.settle(sent(stop), 1, NOW)
    assert slots.never_sent(put("deploy", 4, got()))


def test_another_intent_or_its_sending_forbids_what_was_decided_before(database: Recorder) -> None:
    changes: list[Callable[[Slot], Slot]] = [sent, lambda slot: put("stop", 3, slot)]
    put("deploy", 1, None)
    for change in changes:
        before = got()
        change(got())
        with pytest.raises(TransactionConflict):
            put("stop", 2, before)
        assert not slots.ended(before)
    with pytest.raises(TransactionConflict):
        put("deploy", 9, None)


@pytest.mark.parametrize(("session", "settles"), [(None, True), (4, False), (5, True), (6, True)])
def test_only_a_session_that_was_sent_an_intent_settles_it(
    database: Recorder, session: int | None, settles: bool
) -> None:
    slot = sent(put("deploy", 1, None), session=5)
    slots.settle(slot, session, NOW)
    assert (got().settled_at is not None) is settles


def test_what_is_settled_stays_settled_as_it_was(database: Recorder) -> None:
    slot = sent(put("deploy", 1, None))
    slots.settle(slot, 1, NOW)
    slots.settle(got(), 1, NOW + 5)
    assert got().settled_at == NOW


def test_a_settled_deploy_may_be_there_although_it_was_never_marked_as_sent(database: Recorder) -> None:
    slot = put("deploy", 1, None)
    slots.settle(slot, None, NOW)
    assert not slots.never_sent(got())


def test_the_bell_raises_the_inbox_and_makes_the_next_beats_come_quickly(world: PlaneWorld) -> None:
    worker = world.worker()
    world.pass_(400)
    before = worker.beat()
    slots.wake(worker.id, world.now)
    heartbeat = find(WorkerHeartbeat, worker.id)
    assert heartbeat is not None and heartbeat.needs_reconcile
    assert (heartbeat.inbox > before.inbox, heartbeat.activity_at) == (True, world.now)
    assert (before.next_heartbeat_in, worker.beat().next_heartbeat_in) == (30, 1)


def test_an_inbox_grows_also_where_the_clock_does_not(world: PlaneWorld) -> None:
    worker = world.worker()
    raised = [slots.bump_inbox(worker.id, now) for now in (world.now, world.now, world.now - 100)]
    assert raised == sorted(set(raised))


def test_a_worker_that_was_removed_has_no_inbox(world: PlaneWorld) -> None:
    worker = world.worker()
    admin.remove(worker.id, False, "an admin", world.now)
    assert slots.bump_inbox(worker.id, world.now) == slots.bump_inbox("nobody", world.now) == 0
    assert find(WorkerHeartbeat, "nobody") is None


def test_of_a_worker_are_its_intents_and_what_it_has_not_taken_and_no_shared_reads(world: PlaneWorld) -> None:
    worker, other = world.worker(), world.worker("other")
    deployments = {world.deploy(worker_id=worker.id, gpus=0) for _ in range(3)}
    world.deploy(worker_id=other.id, gpus=0)
    asked = {world.ask(worker, "list_models"), world.ask(worker, "pull_image", image="a:b")}
    intents, queued = slots.of_worker(worker.id)
    assert {slot.deployment_id for slot in intents} == deployments
    assert {row.operation_id for row in queued} == asked


def test_a_worker_with_more_than_a_page_of_slots_has_all_of_them(database: Recorder) -> None:
    """A page ends before 1 MB."""
    ids = [f"{number:04d}{'d' * 900}" for number in range(1200)]
    for deployment_id in ids:
        Slot("w", f"D#{deployment_id}", intent="deploy", generation=1).save()
    with database.counting() as calls:
        intents, queued = slots.of_worker("w")
    assert [operation for operation, _ in calls] == ["Query", "Query"]
    assert ([slot.slot[2:] for slot in intents], queued) == (ids, [])


def test_a_deploy_that_was_lost_before_it_was_sent_is_not_on_its_way(database: Recorder) -> None:
    lost = put("deploy", 1, None)
    assert slots.coming(lost)
    lost.settled_at = NOW
    assert not slots.coming(lost)
