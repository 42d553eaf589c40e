"""A heartbeat: who may send it, when it looks at the slots, and what it keeps of the worker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.fleet import workers
from chalicelib.reconcile import sending
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat
from chalicelib.workers import heartbeat
from muster.api import messages as m
from muster.api import usage
from muster.api.errors import ApiError
from tests.fixtures.plane_world import JOIN, PlaneWorld, Worker

DISK = {"path": "/", "purpose": "weights", "total": 2, "used": 1, "free": 1}


def heartbeat_of(worker: Worker) -> WorkerHeartbeat:
    found = find(WorkerHeartbeat, worker.id)
    assert found is not None
    return found


def looks(world: PlaneWorld, worker: Worker, **fields: Any) -> bool:
    """Whether one more heartbeat reads the slots."""
    with world.database.counting() as calls:
        worker.beat(**fields)
    return "Query" in [operation for operation, _ in calls]


@pytest.fixture
def idle(world: PlaneWorld) -> Worker:
    """A worker of which nothing is wanted, right after a tenth beat."""
    worker = world.worker()
    for _ in range(heartbeat.RECONCILE_EVERY_HEARTBEATS):
        worker.beat()
    assert heartbeat_of(worker).beats % heartbeat.RECONCILE_EVERY_HEARTBEATS == 0
    return worker


def test_an_idle_heartbeat_looks_at_every_tenth_beat_alone(world: PlaneWorld, idle: Worker) -> None:
    assert [looks(world, idle) for _ in range(20)] == ([False] * 9 + [True]) * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"active_deployments": ["x"]},
        {"images": []},
        {"status": "draining"},
        {"conditions": [{"type": "GpuLost", "message": "x"}]},
        {"disk": {"total": 2, "used": 1, "free": 1, "paths": [DISK]}},
        {"gpu_info": {"count": 1, "devices": [{"index": 0}]}},
        {"orphans": [{"deployment_id": "x", "gpus": [0]}]},
    ],
)
def test_a_heartbeat_with_news_of_the_worker_looks_once(
    world: PlaneWorld, idle: Worker, fields: dict[str, Any]
) -> None:
    assert [looks(world, idle, **fields) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    "fields",
    [
        {"gpu_usage": [{"index": 0, "utilization": 5}]},
        {"status": "offline"},
        {"disk": {"total": 2, "used": 1, "free": 1}},
    ],
)
def test_figures_and_a_goodbye_are_no_news(world: PlaneWorld, idle: Worker, fields: dict[str, Any]) -> None:
    assert not looks(world, idle, **fields)


def test_a_heartbeat_with_an_ack_or_an_older_inbox_looks(world: PlaneWorld, idle: Worker) -> None:
    inbox = int(heartbeat_of(idle).inbox)
    assert looks(world, idle, inbox=inbox - 1)
    assert looks(world, idle, acks=["x"], inbox=inbox)
    assert not looks(world, idle, inbox=inbox)


def test_a_heartbeat_after_something_was_wanted_looks_until_it_is_settled(world: PlaneWorld, idle: Worker) -> None:
    deployment_id = world.deploy()
    assert [looks(world, idle) for _ in range(3)] == [True] * 3
    idle.report(deployment_id, "running")
    idle.active = [deployment_id]
    assert looks(world, idle), "to see that it is settled"
    assert not looks(world, idle)


def test_the_answer_has_the_interval_and_the_inbox(world: PlaneWorld) -> None:
    worker = world.worker()
    world.pass_(400)
    quiet = worker.beat()
    world.ask(worker)
    busy = worker.beat()
    assert (quiet.next_heartbeat_in, busy.next_heartbeat_in) == (30, 1)
    assert busy.inbox > quiet.inbox > 0


@pytest.mark.parametrize(("operations", "is_all"), [(sending.MAX_COMMANDS - 1, True), (sending.MAX_COMMANDS, False)])
def test_the_inbox_is_not_heard_before_the_last_of_many_commands(
    world: PlaneWorld, operations: int, is_all: bool
) -> None:
    worker = world.worker(journal_id="journal")
    for number in range(operations):
        world.ask(worker, "pull_image", image=f"a:{number}")
    assert (worker.beat(inbox=7).inbox == 7) is not is_all
    assert worker.beat(inbox=2**52).inbox < 2**52, "of a database that is older"


def test_a_credential_that_nobody_was_given_is_refused_and_stamps_nothing(world: PlaneWorld) -> None:
    worker = world.worker()
    before = heartbeat_of(worker).serialize()
    world.pass_(1)
    worker.token = "mst_wrk_" + worker.id + "_forged"
    with pytest.raises(ApiError) as caught:
        worker.beat()
    assert caught.value.error_code == "UNAUTHENTICATED"
    assert heartbeat_of(worker).serialize() == before


def test_a_session_below_the_stored_one_is_superseded(world: PlaneWorld) -> None:
    worker = world.worker()
    with pytest.raises(ApiError) as caught:
        worker.beat(session=worker.answer.session - 1)
    assert caught.value.error_code == "SESSION_SUPERSEDED"


def test_what_a_worker_registered_with_opens_until_its_own_token_is_used(world: PlaneWorld) -> None:
    worker = world.worker()
    issued, worker.token = worker.token, JOIN
    worker.beat()
    worker.token = issued
    worker.beat()
    worker.token = JOIN
    with pytest.raises(ApiError) as caught:
        worker.beat()
    assert caught.value.error_code == "UNAUTHENTICATED"


def test_a_worker_that_nobody_knows_is_unauthenticated(world: PlaneWorld) -> None:
    body = msgspec.convert({"status": "online", "gpu_usage": [], "active_deployments": []}, m.Heartbeat)
    with pytest.raises(ApiError) as caught:
        heartbeat.receive("nobody", "a secret", body, world.now)
    assert caught.value.error_code == "UNAUTHENTICATED"
    assert find(WorkerHeartbeat, "nobody") is None


def refusal(worker: Worker, **fields: Any) -> str:
    with pytest.raises(ApiError) as caught:
        worker.beat(**fields)
    return caught.value.error_code


def test_a_heartbeat_stamps_what_the_worker_is_like(world: PlaneWorld, idle: Worker) -> None:
    world.pass_(10)
    before = heartbeat_of(idle).beats
    idle.beat(status="draining", conditions=[{"type": "GpuLost", "message": "x"}])
    heartbeat = heartbeat_of(idle)
    assert (heartbeat.status, heartbeat.last_seen, heartbeat.beats) == ("draining", world.now, before + 1)
    assert heartbeat.conditions
    idle.beat()
    assert not heartbeat_of(idle).conditions


def test_a_session_from_the_future_is_refused_unless_it_is_the_stored_one(world: PlaneWorld) -> None:
    worker = world.worker()
    latest = int(world.now * 1000) + 300_000
    assert refusal(worker, session=latest + 1) == "INVALID_REQUEST"
    worker.beat(session=latest)
    assert heartbeat_of(worker).session == latest
    world.pass_(-86400)
    worker.beat(session=latest)
    assert refusal(worker, session=latest + 1) == "INVALID_REQUEST"
    assert refusal(worker, session=latest - 1) == "SESSION_SUPERSEDED"


def test_who_has_no_credential_learns_nothing_of_the_stored_session(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.token = "mst_wrk_forged"
    assert refusal(worker, session=int(world.now * 1000) + 300_001) == "UNAUTHENTICATED"


@pytest.mark.parametrize("times", [1, 3])
def test_an_older_token_opens_for_ten_minutes_while_the_new_one_was_not_used(world: PlaneWorld, times: int) -> None:
    """The last that was used, and the one before the latest: the answers since may have been lost."""
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    used = worker.token
    for _ in range(times):
        before, worker.token = worker.token, ""  # with the registration token alone
        worker.register()
    for token in (used, before):
        worker.token = token
        worker.beat()
    world.pass_(599)
    worker.beat()
    world.pass_(1)
    assert refusal(worker) == "UNAUTHENTICATED"


def test_an_older_token_ends_with_the_first_use_of_the_new_one(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    older = worker.token
    worker.register(boot_id="b")
    worker.beat()
    worker.token = older
    assert refusal(worker) == "SESSION_SUPERSEDED"


# A client that was kept aside


def test_a_client_that_is_kept_aside_gets_nothing_until_the_worker_is_silent(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat()
    other = world.worker()
    world.deploy()
    answer = other.beat()
    assert (answer.commands, answer.inbox, answer.next_heartbeat_in) == ([], 0, 30)
    world.pass_(91)
    assert other.types() == ["deploy"], "it is the worker now"
    assert heartbeat_of(other).last_seen == world.now
    assert refusal(worker) == "SESSION_SUPERSEDED"


def test_a_client_that_is_kept_aside_ends_with_a_heartbeat_of_the_worker(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat()
    other = world.worker()
    world.pass_(11)
    worker.beat()
    assert refusal(other) == "SESSION_SUPERSEDED"
    world.pass_(91)
    assert refusal(other) == "SESSION_SUPERSEDED"


@pytest.mark.parametrize("calls", range(2, 6))
def test_a_promotion_that_the_worker_overtakes_is_none(world: PlaneWorld, calls: int) -> None:
    worker = world.worker()
    worker.beat()
    other = world.worker()
    world.pass_(91)
    with world.database.overtaken_after(calls, worker.beat):
        assert refusal(other) == "SESSION_SUPERSEDED"
        assert world.database.overtake is None
    worker.beat()


# Short heartbeats


@pytest.fixture
def agent(world: PlaneWorld) -> Worker:
    """An agent of which nothing is wanted, right after a tenth heartbeat."""
    worker = world.worker(journal_id="journal")
    for _ in range(heartbeat.RECONCILE_EVERY_HEARTBEATS):
        worker.beat()
    return worker


def digest_of(agent: Worker, **fields: Any) -> object:
    return agent.beat(inbox=int(heartbeat_of(agent).inbox), **fields).digest


def demands(answer: m.ShortHeartbeatAnswer) -> bool:
    return answer.full and answer.next_heartbeat_in == 0


def test_a_short_heartbeat_is_one_write_that_keeps_all_but_the_figures(world: PlaneWorld, agent: Worker) -> None:
    lost = [{"type": "GpuLost", "message": "x"}]
    assert digest_of(agent, conditions=lost) is msgspec.UNSET, "it has news"
    digest = digest_of(agent, conditions=lost)
    before = heartbeat_of(agent)
    world.pass_(7)
    with world.database.counting() as calls:
        answer = agent.beat_short(digest)
    assert [operation for operation, _ in calls] == ["UpdateItem"]
    assert answer == m.ShortHeartbeatAnswer(workers.interval(float(before.activity_at), world.now))
    after = heartbeat_of(agent)
    assert (after.last_seen, after.beats) == (world.now, before.beats + 1)
    assert usage.unpack(bytes(after.usage))[0] == m.Disk(3, 1, 2, 33.3)
    assert after.conditions == before.conditions is not None
    assert after.reconciled_digest == before.reconciled_digest


def test_nine_of_ten_heartbeats_are_short_and_the_tenth_looks(world: PlaneWorld, agent: Worker) -> None:
    digest = digest_of(agent)
    answers = [agent.beat_short(digest) for _ in range(8)]
    assert [answer.full for answer in answers] == [False] * 7 + [True]
    assert not demands(answers[-1]), "the next one, not one at once"
    assert looks(world, agent, inbox=int(heartbeat_of(agent).inbox))
    for _ in range(heartbeat.RECONCILE_EVERY_HEARTBEATS - 2):
        assert not demands(agent.beat_short(digest)), "the tenth one issued none, and the one before is still good"
    agent.beat_short(digest)
    assert demands(agent.beat_short(digest)), "it is a tenth one"


def test_a_tenth_heartbeat_without_news_has_a_digest_too(agent: Worker) -> None:
    inbox = int(heartbeat_of(agent).inbox)
    digests = [agent.beat(inbox=inbox).digest for _ in range(11)]
    assert [digest is msgspec.UNSET for digest in digests] == [False] * 8 + [True, False, False]
    assert len(set(digests)) == 2


def test_basic_clients_receive_no_digest(idle: Worker) -> None:
    assert idle.beat().digest is msgspec.UNSET
    assert "digest" not in msgspec.to_builtins(idle.beat())


def test_an_agent_that_says_goodbye_receives_no_digest(agent: Worker) -> None:
    assert digest_of(agent, status="offline") is msgspec.UNSET


def test_a_digest_that_is_not_the_last_is_answered_with_a_demand(world: PlaneWorld, agent: Worker) -> None:
    earlier = digest_of(agent)
    assert digest_of(agent, active_deployments=["x"]) is msgspec.UNSET
    current = digest_of(agent, active_deployments=["x"])
    assert demands(agent.beat_short(earlier)) and demands(agent.beat_short("nothing"))
    assert not demands(agent.beat_short(current))


def test_what_is_wanted_of_a_worker_is_answered_with_a_demand(world: PlaneWorld, agent: Worker) -> None:
    digest = digest_of(agent)
    world.ask(agent)
    assert demands(agent.beat_short(digest)), "the inbox was raised"
    assert agent.beat(inbox=7).commands


def test_a_worker_that_was_offline_is_asked_for_all_of_it(world: PlaneWorld, agent: Worker) -> None:
    digest = digest_of(agent)
    WorkerHeartbeat(agent.id).update(actions=[WorkerHeartbeat.down_since.set(world.now)])
    assert demands(agent.beat_short(digest))


@pytest.mark.parametrize("flag", ["needs_reconcile", "drains"])
def test_a_worker_of_which_something_is_unsettled_is_asked_for_all_of_it(agent: Worker, flag: str) -> None:
    digest = digest_of(agent)
    WorkerHeartbeat(agent.id).update(actions=[getattr(WorkerHeartbeat, flag).set(True)])
    assert demands(agent.beat_short(digest))


def test_a_short_heartbeat_of_an_earlier_session_is_superseded(world: PlaneWorld, agent: Worker) -> None:
    digest = digest_of(agent)
    with pytest.raises(ApiError) as caught:
        agent.beat_short(digest, session=agent.answer.session - 1)
    assert caught.value.error_code == "SESSION_SUPERSEDED"
    with pytest.raises(ApiError) as caught:
        agent.beat_short(digest, session=2**52)
    assert caught.value.error_code == "INVALID_REQUEST"
    agent.token = "mst_wrk_" + agent.id + "_forged"
    with pytest.raises(ApiError) as caught:
        agent.beat_short(digest)
    assert caught.value.error_code == "UNAUTHENTICATED"
