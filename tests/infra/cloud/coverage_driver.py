"""What the other tests of the services leave out on the way to the database: every route, and the sweep's rarer turns.

tests/infra/cloud/test_access.py calls each of DRIVES with a world of its own, and records what reaches the database.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from chalice.config import Config
from chalice.local import LocalGateway

from app import app
from chalicelib.auth import tokens
from chalicelib.deployments import intents
from chalicelib.gateways import records, ticket_keys, usage_sums, worker_gateways
from chalicelib.scheduling import view_audit
from chalicelib.store.tables import WorkerRecord
from chalicelib.workers import admin
from muster.api import gateways as g
from muster.api.endpoints import ENDPOINTS, Access
from muster.api.resources import NewApiKey, NewRegistrationToken, Role
from tests.fixtures.plane_world import ADMIN, PlaneWorld

BODIES: dict[str, dict[str, Any]] = {
    "create_token": {},
    "create_key": {"name": "another", "role": "viewer"},
    "create_deployment": {"model": "org/model", "gpus": 1},
    "patch_deployment": {"config": {"seed": 1}},
    "patch_worker": {"labels": {"a": "b"}},
    "register_gateway": {"url": "https://models.example.com"},
    "pull_image": {"image": "vllm/vllm-openai:latest"},
    "prune": {},
}


GIVEN: tuple[Role, ...] = ("admin", "gateway")


def a_gateway_registers_reports_and_leaves(world: PlaneWorld) -> None:
    made = tokens.create_key(NewApiKey("edge", "gateway"), ADMIN, world.now)
    by = tokens.Principal("key edge", Access.GATEWAY, made.key_id)
    first = records.register(g.GatewayRegistration("https://one"), by, world.now)
    records.register(g.GatewayRegistration("https://two"), by, world.now)
    worker = world.worker(features=["tunnel"], boot_id="b")
    worker_gateways.of(worker.id, 1, world.now)
    today = time.strftime("%Y-%m-%d", time.gmtime(world.now))
    usage_sums.store(g.UsageReport("ledger", [g.UsageSum("key", "model", today, 1)]), world.now)
    usage_sums.usage(g.UsageQuery(), world.now)
    ticket_keys.Masters().current(world.now + ticket_keys.ROTATE_SECONDS)
    records.say_goodbye(first.gateway_id, by)
    records.forget_key(made.key_id)


def every_route_of_operators(world: PlaneWorld) -> None:
    worker = world.worker()
    token = tokens.create_token(NewRegistrationToken(), ADMIN, world.now)
    ids = {
        "worker_id": worker.id,
        "deployment_id": world.deploy(),
        "operation_id": world.ask(worker),
        "container_id": "none",
        "image_id": "none",
        "model": "none",
        "token_id": token.token_id,
        "key_id": "none",
        "gateway_id": "none",
    }
    key, of_gateway = (tokens.create_key(NewApiKey(role, role), ADMIN, world.now).key for role in GIVEN)
    gateway = LocalGateway(app, Config())
    for endpoint in sorted(ENDPOINTS, key=lambda each: each.method == "DELETE"):
        if endpoint.access is Access.WORKER or endpoint.name == "register":
            continue
        path = endpoint.path.format(**ids) + ("?wait=0" if endpoint.waits else "")
        secret = of_gateway if endpoint.access is Access.GATEWAY else key
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        headers |= {"idempotency-key": endpoint.name} if endpoint.idempotent else {}
        body = json.dumps(BODIES[endpoint.name]) if endpoint.name in BODIES else ""
        answer = gateway.handle_request(endpoint.method, path, headers, body.encode())
        assert answer["statusCode"] < 500, (endpoint.name, answer)


def a_forgotten_worker_leaves_what_it_was_given(world: PlaneWorld) -> None:
    made = tokens.create_token(NewRegistrationToken(ephemeral=True), ADMIN, world.now)
    assert isinstance(made.token, str)
    worker = world.worker(token=made.token)
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.ask(worker)
    world.pass_(901)
    world.sweep()
    assert world.see(deployment_id).error_code == "WORKER_REMOVED"


def a_silent_fleet_puts_the_brake_on_and_a_lost_workers_gpus_go_on(world: PlaneWorld) -> None:
    fleet = [world.worker(f"gpu-{i}", gpus=1) for i in range(3)]
    for worker in fleet:
        worker.run(world.deploy(gpus=1, worker_id=worker.id))
    waiting = world.deploy(gpus=1)
    world.pass_(86401)
    world.sweep()
    for seconds in (301, 60, 60):
        world.pass_(seconds)
        fleet[0].beat()
        fleet[1].beat()
        world.sweep()
    assert world.see(waiting).status == "pending"


def a_worker_that_was_lost_has_its_gpus_again(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.run(world.deploy())
    world.pass_(86401)
    world.sweep()
    worker.beat()
    world.pass_(25)
    worker.beat()
    assert admin.get(worker.id, world.now).gpu_claims


def a_worker_with_models_is_removed_and_a_stopped_model_forgotten(world: PlaneWorld) -> None:
    worker = world.worker()
    running, stopped = world.deploy(gpus=1), world.deploy(gpus=1)
    worker.run(running)
    worker.run(stopped)
    world.stop(stopped)
    worker.report(stopped, "stopped")
    worker.active = [running]
    intents.delete(stopped, ADMIN, world.now)
    admin.remove(worker.id, True, ADMIN.label, world.now)


def a_silent_worker_comes_back_by_its_registration_token_and_is_taken_over(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.run(world.deploy())
    world.pass_(100)
    worker.register()
    world.pass_(100)
    takeover = tokens.create_token(NewRegistrationToken(takeover=True), ADMIN, world.now).token
    assert world.worker(token=str(takeover), machine_id="another").id == worker.id


def a_sweep_of_a_large_fleet_reads_a_few_workers_for_the_reasons(world: PlaneWorld) -> None:
    world.worker(gpus=1)
    world.sweep()
    waiting = world.deploy(gpus=2)
    with mock.patch.object(view_audit, "SMALL_FLEET", -1):
        world.sweep()
    assert "1 of 1 GPUs free" in str(world.see(waiting).message)


def a_sweep_gives_a_gpu_whose_holder_is_gone_to_what_waits(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    world.pass_(100)
    waiting = world.deploy(gpus=1)
    claim(worker.id, '{"0":"gone"}')
    worker.beat()
    world.sweep()
    assert admin.get(worker.id, world.now).gpu_claims == {"0": waiting}


def a_model_that_runs_claims_its_gpus_again(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy(gpus=1)
    claim(worker.id, "{}")
    worker.run(deployment_id)
    assert admin.get(worker.id, world.now).gpu_claims == {"0": deployment_id}


def claim(worker_id: str, claims: str) -> None:
    """What a function that was killed in the middle, or an older database, may leave."""
    WorkerRecord(worker_id, part="cold").update(actions=[WorkerRecord.claims.set(claims)])


DRIVES: tuple[Callable[[PlaneWorld], None], ...] = (
    every_route_of_operators,
    a_forgotten_worker_leaves_what_it_was_given,
    a_silent_fleet_puts_the_brake_on_and_a_lost_workers_gpus_go_on,
    a_worker_that_was_lost_has_its_gpus_again,
    a_worker_with_models_is_removed_and_a_stopped_model_forgotten,
    a_silent_worker_comes_back_by_its_registration_token_and_is_taken_over,
    a_sweep_of_a_large_fleet_reads_a_few_workers_for_the_reasons,
    a_sweep_gives_a_gpu_whose_holder_is_gone_to_what_waits,
    a_model_that_runs_claims_its_gpus_again,
    a_gateway_registers_reports_and_leaves,
)
