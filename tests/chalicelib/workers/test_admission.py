"""The rules for registering a known name, each where it is the first that matches, and just where it is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.fleet import workers
from chalicelib.workers import admission
from chalicelib.workers.admission import Request, Rule
from muster.api import messages as m
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

ONLINE = 90.0
Host = dict[str, Any]


def token(world: PlaneWorld, **fields: Any) -> str:
    made = tokens.create_token(r.NewRegistrationToken(**fields), ADMIN, world.now)
    return str(made.token)


def stored(worker: Worker) -> workers.Worker:
    return workers.get(worker.id)


def rule(world: PlaneWorld, worker: Worker, secret: str, bearer: str | None = None, **host: Any) -> Rule:
    body: Host = {"name": worker.name, "token": secret, "gpu_info": {"count": 0}, "system_info": {"hostname": "gpu-1"}}
    parsed = msgspec.convert({**body, **host}, m.Registration)
    request = Request(parsed, bearer, tokens.lookup(secret, "registration"))
    return admission.rule(stored(worker), request, world.now)


@pytest.fixture
def shared(world: PlaneWorld) -> str:
    return token(world, max_uses=10)


@pytest.fixture
def agent(world: PlaneWorld, shared: str) -> Worker:
    worker = world.worker(token=shared, machine_id="m", boot_id="b1")
    worker.journal_id = "j"
    worker.beat()
    return worker


@pytest.fixture
def basic(world: PlaneWorld, shared: str) -> Worker:
    worker = world.worker(token=shared)
    worker.beat()
    return worker


def test_the_workers_own_token_is_rule_i_from_any_machine(world: PlaneWorld, agent: Worker) -> None:
    assert rule(world, agent, "unknown", agent.token, machine_id="another", boot_id="b9") is Rule.OWN_TOKEN
    assert rule(world, agent, agent.token) is Rule.OWN_TOKEN


def test_the_token_before_is_the_workers_own_in_its_grace_alone(world: PlaneWorld, agent: Worker) -> None:
    before = agent.token
    agent.register(boot_id="b1")
    assert rule(world, agent, "unknown", before, boot_id="b1") is Rule.OWN_TOKEN
    world.pass_(601)
    assert rule(world, agent, "unknown", before, boot_id="b9") is Rule.REFUSED


@pytest.mark.parametrize(
    ("boots", "expected"),
    [
        ({"boot_id": "b1"}, Rule.KNOWN_BOOT),
        ({"boot_id": "b2", "past_boot_ids": ["b1"]}, Rule.KNOWN_BOOT),
        ({"boot_id": "b2", "past_boot_ids": ["b0", "b1"]}, Rule.KNOWN_BOOT),
        ({"past_boot_ids": ["b1"]}, Rule.KNOWN_BOOT),
        ({"boot_id": "b2", "past_boot_ids": ["b0"]}, Rule.REFUSED),
        ({"boot_id": "b2"}, Rule.REFUSED),
        ({}, Rule.REFUSED),
    ],
)
def test_a_stored_boot_id_proves_possession_while_the_worker_is_online(
    world: PlaneWorld, agent: Worker, shared: str, boots: Host, expected: Rule
) -> None:
    assert rule(world, agent, shared, machine_id="m", **boots) is expected
    assert rule(world, agent, shared, **boots) is expected, "a machine id is not needed"
    assert rule(world, agent, shared, machine_id="another", **boots) is Rule.REFUSED, "it was overheard, or copied"


@pytest.mark.parametrize("boots", [{"boot_id": "b1"}, {"boot_id": "b2", "past_boot_ids": ["b1"]}])
def test_a_boot_id_counts_with_the_token_that_the_worker_joined_with_alone(
    world: PlaneWorld, agent: Worker, boots: Host
) -> None:
    assert rule(world, agent, token(world, max_uses=10), machine_id="m", **boots) is Rule.REFUSED
    assert rule(world, agent, "unknown", machine_id="m", **boots) is Rule.REFUSED


def test_the_same_machine_counts_when_the_worker_is_not_online(world: PlaneWorld, agent: Worker, shared: str) -> None:
    world.pass_(ONLINE)
    assert rule(world, agent, shared, machine_id="m", boot_id="b9") is Rule.REFUSED
    world.pass_(1)
    assert rule(world, agent, shared, machine_id="m", boot_id="b9") is Rule.NOT_ONLINE
    assert rule(world, agent, shared, machine_id="another", boot_id="b9") is Rule.REFUSED
    assert rule(world, agent, shared, boot_id="b9") is Rule.REFUSED, "a hostname does not replace a machine id"
    assert rule(world, agent, token(world), machine_id="m", boot_id="b9") is Rule.REFUSED


def test_a_goodbye_ends_being_online_at_once(world: PlaneWorld, agent: Worker, shared: str) -> None:
    agent.beat(status="offline")
    assert rule(world, agent, shared, machine_id="m", boot_id="b9") is Rule.NOT_ONLINE


def test_a_basic_client_with_a_token_of_one_use_is_its_worker(world: PlaneWorld) -> None:
    secret = token(world)
    worker = world.worker(token=secret)
    worker.beat()
    assert rule(world, worker, secret) is Rule.ONE_USE
    assert rule(world, worker, secret, system_info={"hostname": "another"}) is Rule.REFUSED
    assert rule(world, worker, secret, boot_id="b") is Rule.REFUSED, "an agent, where a basic client is online"
    assert rule(world, worker, token(world)) is Rule.REFUSED, "another token of one use"


def test_a_basic_client_whose_session_sent_no_heartbeat_lost_its_answer(world: PlaneWorld, shared: str) -> None:
    worker = world.worker(token=shared)
    assert rule(world, worker, shared) is Rule.NEVER_HEARD
    assert rule(world, worker, shared, system_info={"hostname": "another"}) is Rule.REFUSED
    worker.beat()
    assert rule(world, worker, shared) is Rule.PROVISIONAL


def test_each_session_counts_its_own_heartbeats(world: PlaneWorld, basic: Worker, shared: str) -> None:
    world.pass_(ONLINE + 1)
    basic.register()
    assert rule(world, basic, shared) is Rule.NEVER_HEARD
    basic.beat()
    assert rule(world, basic, shared) is Rule.PROVISIONAL


def test_a_basic_client_with_a_token_of_many_waits_for_silence(world: PlaneWorld, basic: Worker, shared: str) -> None:
    assert rule(world, basic, shared) is Rule.PROVISIONAL
    assert rule(world, basic, shared, machine_id="m") is Rule.PROVISIONAL, "none is stored, so the hostname counts"
    assert rule(world, basic, shared, boot_id="b") is Rule.REFUSED
    assert rule(world, basic, shared, system_info={"hostname": "another"}) is Rule.REFUSED
    assert rule(world, basic, token(world, max_uses=10)) is Rule.REFUSED
    world.pass_(ONLINE + 1)
    assert rule(world, basic, shared) is Rule.NOT_ONLINE


def test_a_basic_client_is_none_where_an_agent_is_online(world: PlaneWorld, agent: Worker, shared: str) -> None:
    assert rule(world, agent, shared, machine_id="m") is Rule.REFUSED


def test_what_ended_is_of_the_past(world: PlaneWorld, agent: Worker, shared: str) -> None:
    ended = agent.token
    agent.register(boot_id="b2", past_boot_ids=["b1", "b0"])
    agent.beat()
    machine = stored(agent)

    def of_the_past(secret: str, bearer: str | None = None, boot: str | None = None) -> bool:
        body = {"name": "gpu-1", "token": secret, "gpu_info": {"count": 0}, "system_info": {"hostname": "gpu-1"}}
        parsed = msgspec.convert({**body, "boot_id": boot}, m.Registration)
        return Request(parsed, bearer, tokens.lookup(secret, "registration")).is_of_the_past(machine)

    assert of_the_past("unknown", ended)
    assert of_the_past(shared, boot="b1") and of_the_past(shared, boot="b0")
    assert not of_the_past(shared, boot="b2")
    assert not of_the_past("unknown", boot="b1"), "whoever holds no credential is told nothing"
