"""A basic client that registers while its worker is online: it crashed and started again, or it is an intruder."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.auth import provisional, tokens
from chalicelib.routes import http
from chalicelib.routes import worker as routes
from chalicelib.store.items import find
from chalicelib.store.tables import Provisional, WorkerHeartbeat
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.lifecycle import Status
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines
from tests.fixtures.route_calls import call

ONLINE = 90.0


@pytest.fixture
def shared(world: PlaneWorld) -> r.RegistrationToken:
    return tokens.create_token(r.NewRegistrationToken(max_uses=10), ADMIN, world.now)


@pytest.fixture
def original(world: PlaneWorld, shared: r.RegistrationToken) -> Worker:
    """Online, with a model that has a key and a secret, and another that waits to be sent."""
    worker = world.worker(token=str(shared.token))
    worker.run(world.deploy(gpus=1, env={"SECRET": "the owner's"}))
    world.deploy(gpus=1, env={"SECRET": "the owner's"}, worker_id=worker.id)
    return worker


def again(world: PlaneWorld, original: Worker) -> Worker:
    """Another client that registers as worker-api.md has it, with the same token, name and hostname."""
    return world.worker(token=original.join_token)


def code(act: Any, *arguments: Any, **fields: Any) -> str:
    with pytest.raises(ApiError) as caught:
        act(*arguments, **fields)
    return caught.value.error_code


def heartbeat_of(worker: Worker) -> WorkerHeartbeat:
    found = find(WorkerHeartbeat, worker.id)
    assert found is not None
    return found


@pytest.mark.parametrize("bearer", ["issued", "the registration token"])
def test_while_the_worker_is_online_it_gets_nothing_and_the_worker_notices_nothing(
    world: PlaneWorld, original: Worker, bearer: str
) -> None:
    before = heartbeat_of(original).serialize()
    other = again(world, original)
    assert other.id == original.id and other.token != original.token
    if bearer != "issued":
        other.token = original.join_token
    answer = other.beat(session=other.answer.session)
    assert (answer.commands, answer.inbox) == ([], 0)
    assert heartbeat_of(original).serialize() == before
    assert original.types() == ["deploy"]


@pytest.mark.parametrize("bearer", ["issued", "the registration token"])
def test_a_client_that_crashed_is_its_worker_again_when_the_window_ends(
    world: PlaneWorld, original: Worker, bearer: str
) -> None:
    world.pass_(20)
    restarted = again(world, original)
    if bearer != "issued":
        restarted.token = original.join_token
    waited = 20.0
    while not (answer := restarted.beat()).commands:
        assert waited <= ONLINE + 30
        world.pass_(answer.next_heartbeat_in)
        waited += answer.next_heartbeat_in
    assert waited == ONLINE + 1, "it is asked to come when the window ends"
    assert find(Provisional, original.id, Provisional.PART) is None
    assert heartbeat_of(original).session == restarted.answer.session
    assert [line.type for line in lines(world, original.id)].count("returned") == 1
    if bearer == "issued":
        assert code(original.beat) == "SESSION_SUPERSEDED"


@pytest.mark.parametrize(("after", "ends"), [(10, False), (10.5, True)])
def test_a_heartbeat_of_the_worker_more_than_ten_seconds_later_ends_it(
    world: PlaneWorld, original: Worker, after: float, ends: bool
) -> None:
    other = again(world, original)
    world.pass_(after)
    original.beat()
    if ends:
        assert code(other.beat) == "SESSION_SUPERSEDED"
        assert code(other.beat) == "SESSION_SUPERSEDED", "also for whoever did not hear it the first time"
        world.pass_(ONLINE + 1)
        assert code(other.beat) == "SESSION_SUPERSEDED", "and when the worker is gone"
        other.register()
        other.beat()
    else:
        other.beat()
        world.pass_(ONLINE + 1)
        other.beat()
        assert heartbeat_of(original).session == other.answer.session


def test_an_intruder_that_goes_on_registering_gets_nothing(world: PlaneWorld, original: Worker) -> None:
    for _ in range(20):
        other = again(world, original)
        assert other.beat().commands == []
        world.pass_(9)
        assert other.beat().commands == []
        original.beat()
    assert [line.type for line in lines(world, original.id)].count("join_provisional") == 1


def test_the_answer_before_counts_as_well_since_the_later_one_may_have_been_lost(
    world: PlaneWorld, original: Worker
) -> None:
    first, second = again(world, original), again(world, original)
    assert first.beat().commands == second.beat().commands == []
    world.pass_(ONLINE + 1)
    first.beat()
    assert heartbeat_of(original).digest == tokens.digest(first.token)


def test_its_reports_and_results_change_nothing(world: PlaneWorld, original: Worker) -> None:
    (model,) = original.active
    operation = world.ask(original)
    other = again(world, original)

    def send(name: str, body: dict[str, Any], **ids: str) -> Any:
        request = call(name, world.now, bearer=other.token, ids={"worker_id": other.id, **ids}, body=body)
        handler = routes.report if name == "report" else routes.result
        return handler(http.authenticated(request))

    for status in ("stopped", "error", "running"):
        applied = send("report", {"status": status}, deployment_id=model)
        assert (applied.applied, applied.status) == (False, status)
    assert code(send, "report", {"status": "running"}, deployment_id="nobody's") == "DEPLOYMENT_NOT_FOUND"
    assert code(send, "result", {"status": "failed"}, command_id="nobody's") == "OPERATION_NOT_FOUND"
    for status in ("failed", "succeeded"):
        body = {"status": status, "output": {"images": []}}
        assert send("result", body, command_id=operation).applied is False
    assert world.see(model).status == Status.RUNNING
    assert world.operation(operation).status == "queued"


@pytest.mark.parametrize("name", ["container_logs", "list_images", "disk_usage", "pull_image", "prune", "get_worker"])
def test_it_opens_none_of_the_workers_other_routes(world: PlaneWorld, original: Worker, name: str) -> None:
    other = again(world, original)
    refused = code(call(name, world.now, bearer=other.token, ids={"worker_id": other.id}).authenticate)
    assert refused == "FORBIDDEN"
    world.pass_(11)
    original.beat()
    request = call(name, world.now, bearer=other.token, ids={"worker_id": other.id})
    assert code(request.authenticate) == "SESSION_SUPERSEDED"


def test_a_revoked_registration_token_ends_it(world: PlaneWorld, original: Worker, shared: r.RegistrationToken) -> None:
    other = again(world, original)
    tokens.revoke_token(shared.token_id, ADMIN, world.now, segments=1)
    assert code(other.beat) == "UNAUTHENTICATED"
    other.token = original.join_token
    assert code(other.beat) == "UNAUTHENTICATED"
    world.pass_(ONLINE + 1)
    assert code(other.beat) == "UNAUTHENTICATED"
    original.beat()


def test_a_removed_worker_leaves_nothing_to_promote(world: PlaneWorld, original: Worker) -> None:
    other = again(world, original)
    admin.remove(original.id, True, "an admin", world.now)
    world.pass_(ONLINE + 1)
    assert code(other.beat) == "UNAUTHENTICATED"
    assert find(Provisional, original.id, Provisional.PART) is None


def test_a_worker_that_registers_again_meanwhile_keeps_its_place(world: PlaneWorld, original: Worker) -> None:
    other = again(world, original)
    world.pass_(5)
    original.join_token = original.token  # a client may send its own token in the place of the other
    original.register()
    assert code(other.beat) == "SESSION_SUPERSEDED"
    original.beat()


def test_a_heartbeat_of_the_worker_between_reading_and_promoting_wins(world: PlaneWorld, original: Worker) -> None:
    """The conditional write on `last_seen`: the worker was silent when it was read, and is not when it is written."""
    other = again(world, original)
    world.pass_(ONLINE + 1)
    waiting = provisional.waiting(other.id, tokens.digest(other.token))
    assert waiting is not None and not waiting.ended and not waiting.worker.online(world.now)
    world.database.overtake = (5, original.beat)  # after what was read, before the transaction
    assert code(other.beat) == "SESSION_SUPERSEDED"
    world.database.overtake = None
    original.beat()
    assert heartbeat_of(original).session != other.answer.session


def test_two_heartbeats_at_once_promote_once(world: PlaneWorld, original: Worker) -> None:
    other = again(world, original)
    world.pass_(ONLINE + 1)
    for calls in range(12):
        world.database.overtake = (calls, other.beat)
        other.beat()
        world.database.overtake = None
        other.beat()
        assert heartbeat_of(original).session == other.answer.session
        world.pass_(20)
        other = again(world, other)
        world.pass_(ONLINE + 1)


def test_what_waited_for_a_place_is_placed_on_a_promoted_worker(world: PlaneWorld, original: Worker) -> None:
    other = again(world, original)
    world.pass_(ONLINE + 1)
    deployment_id = world.deploy(gpus=0)
    assert world.see(deployment_id).worker_id is None
    other.beat()
    assert world.see(deployment_id).worker_id == other.id


def test_a_refused_credential_costs_no_write(world: PlaneWorld, original: Worker) -> None:
    again(world, original)
    with world.database.counting() as calls, pytest.raises(ApiError):
        body = {"status": "online", "gpu_usage": [], "active_deployments": []}
        routes.beat(call("heartbeat", world.now, bearer="nonsense", ids={"worker_id": original.id}, body=body))
    assert [operation for operation, _ in calls if operation != "GetItem"] == ["UpdateItem"], "the stamp, in vain"
