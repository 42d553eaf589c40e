"""Races, with real threads on a real DynamoDB engine: exactly one winner, and nothing reserved for ever.

Every round takes the same names and devices as the one before, so it cannot begin where something was kept; and when it
is all over nothing is left (`held`). 5 rounds here (--rounds); with --thorough 1,000, and 250 of those marked as rarer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import intents
from chalicelib.operations import queue
from chalicelib.store import events, slots
from chalicelib.store.idempotency import Key
from chalicelib.store.items import find
from chalicelib.store.tables import (
    Credential,
    Deployment,
    DeploymentName,
    Slot,
    WorkerHeartbeat,
    WorkerName,
    WorkerRecord,
)
from chalicelib.workers import admin, liveness
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.lifecycle import Status
from tests.fixtures.database import Recorder
from tests.fixtures.plane_world import ADMIN, JOIN, PlaneWorld, Worker
from tests.fixtures.race import Race, one

MOMENT = 0.0625
"""Seconds; what is stored of a time is exact to the microsecond, and so is this."""
IN_USE = {"deployment": "DEPLOYMENT_NAME_IN_USE", "worker": "WORKER_NAME_IN_USE"}


@pytest.fixture
def world(engine: Recorder) -> PlaneWorld:
    return PlaneWorld(engine)


@pytest.fixture
def race(world: PlaneWorld, thorough: bool, request: pytest.FixtureRequest) -> Iterator[Race]:
    rounds = getattr(request, "param", 1000) if thorough else 5
    with Race(request.config.getoption("--rounds") or rounds, pause=lambda: world.pass_(MOMENT)) as race:
        yield race


rarer = pytest.mark.parametrize("race", [250], indirect=True, ids=["rarer"])
"""What does not happen every day, or only once in a worker's life."""


def held() -> list[str]:
    """All that is reserved: names, slots and queued operations, devices."""
    names = [each.key for each in WorkerName.scan(WorkerName.part == "name")]
    names += [each.key for each in DeploymentName.scan(DeploymentName.key.startswith("name#"))]
    rows = [f"{row.worker_id} {row.slot}" for row in Slot.scan(~Slot.slot.startswith("R#"))]
    return [
        *names,
        *rows,
        *(record.claims for record in WorkerRecord.scan(WorkerRecord.part == "cold") if record.claims != "{}"),
    ]


def claims_of(worker: Worker) -> str:
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    return str(record.claims)


def remove(world: PlaneWorld, worker: Worker) -> None:
    admin.remove(worker.id, False, "a test", world.now)


def forget(world: PlaneWorld, *ids: str) -> None:
    """Stop them, which no worker has to be asked for, and delete them."""
    for each in ids:
        assert intents.stop(each, ADMIN, world.now).status in (Status.STOPPED, Status.ERROR)
        intents.delete(each, ADMIN, world.now)


# Names


def test_registers_of_one_name(world: PlaneWorld, race: Race) -> None:
    def one_round() -> str:
        ended = race.among(2, lambda i: world.worker(machine_id=f"m{i}"))
        winner = one(ended, otherwise=IN_USE["worker"])
        remove(world, ended[winner])
        return winner

    race.run(one_round)
    token = find(Credential, tokens.credential_id(JOIN))
    assert token is not None and token.uses == race.rounds, "who is refused uses up nothing"
    assert held() == []


@rarer
def test_deploys_that_make_the_first_admin_key(world: PlaneWorld, race: Race) -> None:
    def one_round() -> str:
        ended = race.among(2, lambda i: tokens.first_admin_key(f"key {i}", ADMIN, world.now))
        (winner,) = [name for name, key in ended.items() if key]
        assert tokens.first_admin_key("late", ADMIN, world.now) is None
        tokens.revoke_key(ended[winner].key_id, ADMIN, world.now)
        return winner

    race.run(one_round)
    assert tokens.list_keys(r.KeysQuery(), ADMIN).api_keys == []


@rarer
def test_hosts_with_a_token_of_one_use(world: PlaneWorld, race: Race) -> None:
    def one_round() -> str:
        made = tokens.create_token(r.NewRegistrationToken(), ADMIN, world.now)
        ended = race.among(2, lambda i: world.worker(f"gpu-{i}", token=str(made.token)))
        winner = one(ended, otherwise="UNAUTHENTICATED")
        token = find(Credential, made.token_id)
        assert token is not None and token.uses == 1
        remove(world, ended[winner])
        return winner

    race.run(one_round)
    assert held() == []


@rarer
def test_takeovers_of_one_name(world: PlaneWorld, race: Race) -> None:
    made = tokens.create_token(
        r.NewRegistrationToken(takeover=True, max_uses=100_000, expires_in=10**7), ADMIN, world.now
    )
    serial = itertools.count()
    owner = world.worker()

    def one_round() -> str:
        nonlocal owner
        world.pass_(100)
        machine = next(serial)
        ended = race.among(2, lambda i: world.worker(token=str(made.token), machine_id=f"m{machine}-{i}"))
        winner = one(ended, otherwise=IN_USE["worker"])
        with pytest.raises(ApiError, match="newer session"):
            owner.beat()
        assert ended[winner].id == owner.id
        owner = ended[winner]
        return winner

    race.run(one_round)
    token = find(Credential, made.token_id)
    assert token is not None and token.uses == race.rounds
    remove(world, owner)
    assert held() == []


@rarer
def test_register_against_remove(world: PlaneWorld, race: Race) -> None:
    """Whoever is later has the say: it is a new worker, or it returned in vain and is told so."""

    def one_round() -> str:
        worker = world.worker(machine_id="m")
        old = worker.id
        ended = race.between(register=worker.register, remove=lambda: admin.remove(old, False, "a test", world.now))
        assert not any(isinstance(each, ApiError) for each in ended.values())
        if worker.id == old:
            with pytest.raises(ApiError, match="an operator removed"):
                worker.beat()
            return "register"
        worker.beat()
        remove(world, worker)
        return "remove"

    race.run(one_round)
    assert held() == []


@rarer
def test_a_promotion_against_a_heartbeat_of_the_worker(world: PlaneWorld, race: Race) -> None:
    """Afterwards one of the two is the worker, and the other is told so."""
    worker = world.worker()
    worker.beat()

    def one_round() -> str:
        nonlocal worker
        other = world.worker()
        world.pass_(100)
        race.between(heartbeat=worker.beat, promotion=other.beat)
        heartbeat = find(WorkerHeartbeat, worker.id)
        assert heartbeat is not None
        promoted = heartbeat.session == other.answer.session
        loser, worker = (worker, other) if promoted else (other, worker)
        with pytest.raises(ApiError, match="newer session"):
            loser.beat()
        worker.beat()
        return "promotion" if promoted else "heartbeat"

    race.run(one_round)
    remove(world, worker)
    assert held() == []


@rarer
def test_a_revocation_against_a_registration(world: PlaneWorld, race: Race) -> None:
    """Whoever is first: the token opens nothing afterwards, and a worker that joined goes on with its own."""

    def one_round() -> str:
        made = tokens.create_token(r.NewRegistrationToken(), ADMIN, world.now)
        ended = race.between(
            register=lambda: world.worker(token=str(made.token)),
            revoke=lambda: tokens.revoke_token(made.token_id, ADMIN, world.now),
        )
        assert not isinstance(ended["revoke"], ApiError) and find(Credential, made.token_id) is None
        worker = ended["register"]
        if isinstance(worker, ApiError):
            assert worker.error_code == "UNAUTHENTICATED"
            return "revoke"
        own, worker.token = worker.token, str(made.token)
        with pytest.raises(ApiError, match="revoked"):
            worker.beat()
        worker.token = own
        worker.beat()
        remove(world, worker)
        return "register"

    race.run(one_round)
    assert held() == []


def test_deployments_of_one_name(world: PlaneWorld, race: Race) -> None:
    def one_round() -> str:
        ended = race.among(2, lambda _: world.deploy(name="name"))
        winner = one(ended, otherwise=IN_USE["deployment"])
        forget(world, ended[winner])
        return winner

    race.run(one_round)
    assert held() == []
    assert list(Deployment.scan(Deployment.deployment_id.exists())) == []


@rarer
def test_twins_under_one_idempotency_key_are_one(world: PlaneWorld, race: Race) -> None:
    keys = (Key(f"once#{number}", "body") for number in itertools.count())

    def one_round() -> None:
        key, body = next(keys), r.NewDeployment("org/model", name="name")
        ended = race.among(2, lambda _: intents.create(body, ADMIN, world.now, key))
        (only,) = {each.deployment_id for each in ended.values()}
        forget(world, only)

    race.run(one_round)
    assert held() == []


# Devices


def test_deploys_for_one_gpu(world: PlaneWorld, race: Race) -> None:
    worker = world.worker(gpus=1)
    wanted = r.NewDeployment("org/model", worker_id=worker.id)

    def one_round() -> str:
        ended = race.among(2, lambda _: intents.create(wanted, ADMIN, world.now))
        ids = {name: each.deployment_id for name, each in ended.items()}
        (winner,) = (name for name, each in ended.items() if each.worker_id)
        (loser,) = ids.keys() - {winner}
        assert claims_of(worker) == f'{{"0":"{ids[winner]}"}}'
        world.stop(ids[loser])
        world.stop(ids[winner])
        assert claims_of(worker) == "{}"
        return winner

    race.run(one_round)
    ended = list(Deployment.scan(Deployment.status == "stopped"))
    assert len(ended) == 2 * race.rounds
    for deployment in ended[:20]:
        forget(world, deployment.deployment_id)
    remove(world, worker)
    assert sorted(held()) == sorted(f"name#{deployment.name}" for deployment in ended[20:])


@rarer
def test_moves_to_one_gpu(world: PlaneWorld, race: Race) -> None:
    worker = world.worker(gpus=3)
    ids = {name: world.deploy(name=name, worker_id=worker.id, gpus=[i]) for i, name in enumerate(("left", "right"))}

    def move(name: str, gpu: int) -> str | None:
        return intents.patch(ids[name], r.DeploymentPatch(gpus=[gpu]), ADMIN, world.now).worker_id

    def one_round() -> str:
        ended = race.between(left=lambda: move("left", 2), right=lambda: move("right", 2))
        (winner,) = (name for name, place in ended.items() if place)
        (loser,) = ended.keys() - {winner}
        assert f'"2":"{ids[winner]}"' in claims_of(worker)
        move(winner, 0)
        assert claims_of(worker) == f'{{"0":"{ids[winner]}","2":"{ids[loser]}"}}'
        return winner

    race.run(one_round)
    forget(world, *ids.values())
    assert worker.types() == []
    remove(world, worker)
    assert held() == []


@rarer
def test_stop_against_start_where_another_waits(world: PlaneWorld, race: Race) -> None:
    worker = world.worker(gpus=1)
    first, second = (world.deploy(name=name, gpus=1) for name in ("first", "second"))

    def one_round() -> str:
        race.between(stop=lambda: world.stop(first), start=lambda: world.start(first))
        (holder,) = msgspec.json.decode(claims_of(worker), type=dict[str, str]).values()
        assert [slot.deployment_id for slot in slots.of_worker(worker.id)[0] if slot.holds_gpus] == [holder]
        winner = "start" if world.see(first).status == "stopped" else "stop"
        for each in (second, first):
            world.stop(each)
        assert claims_of(worker) == "{}"
        world.start(first)
        world.start(second)
        assert claims_of(worker) == f'{{"0":"{first}"}}'
        return winner

    race.run(one_round)
    forget(world, second, first)
    assert "deploy" not in worker.types()
    world.pass_(30)
    worker.beat()
    remove(world, worker)
    assert held() == []


@rarer
def test_deploy_against_remove(world: PlaneWorld, race: Race) -> None:
    """A worker with work on it stays; and what went to one that was removed meanwhile says so, or waits."""
    wanted = r.NewDeployment("org/model", name="name")

    def deploy(worker: Worker) -> str:
        deployment = intents.create(msgspec.structs.replace(wanted, worker_id=worker.id), ADMIN, world.now)
        return str(deployment.deployment_id)

    def one_round() -> str:
        worker = world.worker()
        ended = race.between(deploy=lambda: deploy(worker), remove=lambda: remove(world, worker))
        deployed, removed = ended["deploy"], ended["remove"]
        if isinstance(deployed, ApiError):
            assert deployed.error_code == "WORKER_NOT_FOUND" and removed is None
            return "remove"
        stuck = intents.load(deployed)
        if isinstance(removed, ApiError):
            assert removed.error_code == "WORKER_NOT_EMPTY" and stuck.worker_id == worker.id
            forget(world, deployed)
            worker.beat()
            remove(world, worker)
            return "deploy"
        assert stuck.waiting or (stuck.status, stuck.error_code) == ("error", "WORKER_REMOVED")
        forget(world, deployed)
        return "remove"

    race.run(one_round)
    assert held() == []


# Commands


def test_cancel_against_deliver(world: PlaneWorld, race: Race) -> None:
    worker = world.worker()

    def one_round() -> str:
        operation_id = world.ask(worker, "pull_image", image="a:b")
        ended = race.between(cancel=lambda: queue.cancel(operation_id, ADMIN.label, world.now), deliver=worker.beat)
        sent = [command.command_id for command in ended["deliver"].commands]
        if not isinstance(ended["cancel"], ApiError):
            assert sent == []
            return "cancel"
        assert sent == [operation_id] and ended["cancel"].error_code == "ILLEGAL_TRANSITION"
        assert worker.result(operation_id, "failed").applied
        return "deliver"

    race.run(one_round)
    remove(world, worker)
    assert held() == []


@rarer
def test_reads_at_once_share_one_operation(world: PlaneWorld, race: Race) -> None:
    worker = world.worker()

    def one_round() -> None:
        asked = race.among(3, lambda _: world.ask(worker, "disk_usage"))
        (only,) = set(asked.values())
        assert [command.command_id for command in worker.beat().commands] == [only]
        worker.result(only, "failed")

    race.run(one_round)
    remove(world, worker)
    assert held() == []


def test_heartbeat_against_expiry(world: PlaneWorld, race: Race) -> None:
    """A heartbeat that comes after the sweep's flip takes it back, and both are in the timeline."""
    worker = world.worker()

    def one_round() -> str:
        world.pass_(100)
        race.between(heartbeat=worker.beat, expiry=lambda: liveness.expire(world.now, segments=1))
        heartbeat = find(WorkerHeartbeat, worker.id)
        assert heartbeat is not None and heartbeat.down_since is None
        latest = events.timeline([worker.id], r.EventsQuery(limit=2), world.now).events
        recorded = {event.type for event in latest if event.at.timestamp() == world.now}
        assert recorded in (set(), {"offline", "online"})
        return "expiry" if recorded else "heartbeat"

    race.run(one_round)
    remove(world, worker)
    assert held() == []


@rarer
def test_sweeps_at_once_record_once(world: PlaneWorld, race: Race) -> None:
    """A sweep that takes longer than a minute meets the next."""
    worker = world.worker()

    def one_round() -> None:
        world.pass_(100)
        race.among(2, lambda _: liveness.expire(world.now, segments=1))
        latest = events.timeline([worker.id], r.EventsQuery(limit=2), world.now).events
        assert [event.type for event in latest if event.at.timestamp() == world.now] == ["offline"]
        world.pass_(1)
        worker.beat()

    race.run(one_round)
    remove(world, worker)
    assert held() == []


def test_status_against_stop(world: PlaneWorld, race: Race) -> None:
    """Both count, whichever is first: it ran, and its worker is told to stop it."""
    worker = world.worker(gpus=1)
    worker.journal_id = "a journal"
    deployment_id = world.deploy(worker_id=worker.id)

    def one_round() -> str:
        assert worker.types() == ["deploy"]
        ended = race.between(
            status=lambda: worker.report(deployment_id, "running"),
            stop=lambda: intents.stop(deployment_id, ADMIN, world.now),
        )
        deployment = intents.load(deployment_id)
        assert (deployment.desired, deployment.status) == ("stopped", "running")
        assert worker.types(active_deployments=[deployment_id]) == ["stop"]
        world.start(deployment_id)
        return "status" if ended["stop"].status == "running" else "stop"

    race.run(one_round)
    world.stop(deployment_id)
    assert worker.types(active_deployments=[deployment_id]) == ["stop"]
    worker.report(deployment_id, "stopped")
    assert claims_of(worker) == "{}"
    forget(world, deployment_id)
    worker.beat()
    remove(world, worker)
    assert held() == []


def test_a_late_report_against_the_next(world: PlaneWorld, race: Race) -> None:
    """Whichever is stored first, what came later stands."""
    worker = world.worker(gpus=1)
    worker.journal_id = "a journal"
    deployment_id = world.deploy(worker_id=worker.id)
    worker.beat()
    sequence = itertools.count(1)

    def one_round() -> str:
        word = {"generation": int(intents.load(deployment_id).generation), "session": worker.answer.session}
        starting, running = next(sequence), next(sequence)
        ended = race.between(
            late=lambda: worker.report(deployment_id, "starting", **word, sequence=starting),
            next=lambda: worker.report(deployment_id, "running", **word, sequence=running),
        )
        assert intents.load(deployment_id).status == "running"
        world.restart(deployment_id)
        return "late" if ended["late"].applied else "next"

    race.run(one_round)
    world.stop(deployment_id)
    assert "stop" in worker.types(active_deployments=[deployment_id])
    worker.report(deployment_id, "stopped", generation=intents.load(deployment_id).generation)
    forget(world, deployment_id)
    worker.beat()
    remove(world, worker)
    assert held() == []


def test_stop_against_the_first_delivery(world: PlaneWorld, race: Race) -> None:
    """Either nobody has heard of it and it is stopped at once, or the worker has it and is told to stop."""
    worker = world.worker(gpus=1)
    deployment_id = world.deploy(worker_id=worker.id)

    def one_round() -> str:
        ended = race.between(deliver=worker.beat, stop=lambda: intents.stop(deployment_id, ADMIN, world.now))
        heard = any(command.deployment_id == deployment_id for command in ended["deliver"].commands)
        assert ended["stop"].status == ("pending" if heard else "stopped")
        if heard:
            assert worker.types(active_deployments=[deployment_id]) == ["stop"]
            worker.report(deployment_id, "stopped")
        assert claims_of(worker) == "{}"
        world.start(deployment_id)
        return "deliver" if heard else "stop"

    race.run(one_round)
    forget(world, deployment_id)
    assert worker.types() == []
    remove(world, worker)
    assert held() == []
