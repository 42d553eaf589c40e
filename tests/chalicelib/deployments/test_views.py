"""Deployments as operators see them: where they answer, under which name, and what is kept of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import intents, serving, views
from chalicelib.fleet import workers
from chalicelib.scheduling import gpu_claims
from muster.api import messages as m
from muster.api import resources as r
from muster.api.credentials import HIDDEN
from muster.api.endpoints import Access
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

VIEWER = tokens.Principal("key viewer", Access.VIEWER)


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        (None, None),
        ("10.0.0.7", "http://10.0.0.7:8001"),
        ("fd00::7", "http://[fd00::7]:8001"),
        ("gpu07.example.org", "http://gpu07.example.org:8001"),
        ("https://gpu07.example.org/", "https://gpu07.example.org:8001"),
        ("https://gpu07-{port}.example.org", "https://gpu07-8001.example.org"),
        ("https://example.org/gpu07/{port}", "https://example.org/gpu07/8001"),
    ],
)
def test_an_endpoint_is_made_of_the_workers_address(world: PlaneWorld, address: str | None, endpoint: str) -> None:
    worker = world.worker(address=address)
    deployment_id = world.deploy()
    assert world.see(deployment_id).endpoint is None, "it does not run yet"
    worker.run(deployment_id)
    assert world.see(deployment_id).endpoint == endpoint
    worker.report(deployment_id, "stopping")
    assert world.see(deployment_id).endpoint is None


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, "org/model"),
        ({"served_model_name": "chat"}, "chat"),
        ({"served_model_name": ["chat", "other"]}, "chat"),
        ({"served_model_name": []}, "org/model"),
        ({"served_model_name": ""}, "org/model"),
        ({"served_model_name": 5}, "org/model"),
        ({"served_model_name": [None]}, "org/model"),
    ],
)
def test_a_model_answers_by_its_first_served_name_else_by_its_own(config: dict[str, Any], name: str) -> None:
    assert serving.served_model_name("org/model", config) == name


def test_the_models_key_is_shown_to_operators_alone_and_no_value_of_the_environment_to_anyone(
    world: PlaneWorld,
) -> None:
    deployment = intents.load(world.deploy(env={"HF_TOKEN": "hf_secret", "A": {"from_host": True}}))
    for_operators = views.one(deployment, ADMIN, world.now)
    for_viewers = views.one(deployment, VIEWER, world.now)
    assert for_operators.api_key == deployment.api_key and for_viewers.api_key is msgspec.UNSET
    assert for_operators.env == ["A", "HF_TOKEN"]
    assert b"hf_secret" not in msgspec.json.encode(for_operators)


def test_a_credential_in_a_configuration_of_an_older_release_is_shown_to_nobody(world: PlaneWorld) -> None:
    stored = intents.load(world.deploy())
    spec = msgspec.structs.replace(
        gpu_claims.spec_of(stored), config={"seed": 1, "extra_args": ["--hf-token", "hf_old"]}
    )
    stored.update(actions=[type(stored).spec.set(intents._encode(spec))])
    for viewer in (ADMIN, VIEWER):
        shown = views.one(intents.load(stored.deployment_id), viewer, world.now)
        assert shown.config == {"seed": 1, "extra_args": ["--hf-token", HIDDEN]}


def test_a_key_of_the_operators_own_is_shown_to_nobody(world: PlaneWorld) -> None:
    deployment = intents.load(world.deploy(env={"VLLM_API_KEY": "mine"}))
    assert views.one(deployment, ADMIN, world.now).api_key is msgspec.UNSET


def test_a_status_is_of_the_last_heartbeat_and_before_there_is_a_worker_of_its_change(world: PlaneWorld) -> None:
    made_at = world.now
    deployment_id = world.deploy()
    world.pass_(10)
    seen = world.see(deployment_id)
    assert (seen.status_as_of.timestamp(), seen.reachable) == (made_at, True)
    world.worker().beat()
    world.pass_(91)
    seen = world.see(deployment_id)
    assert (seen.status_as_of.timestamp(), seen.reachable) == (world.now - 91, False)


def test_a_list_is_filtered_by_each_of_its_fields(world: PlaneWorld) -> None:
    here, there = world.worker("here"), world.worker("there")
    chat = world.deploy("org/chat", name="chat", worker_id=here.id, gpus=0)
    world.deploy("org/other", name="other", worker_id=there.id, gpus=0)
    here.run(chat)
    for wanted in ({"status": "running"}, {"worker_id": here.id}, {"model": "org/chat"}, {"name": "chat"}):
        query = msgspec.convert(wanted, r.DeploymentsQuery)
        found = views.several(query, ADMIN, world.now)
        assert [each.deployment_id for each in found.deployments] == [chat], wanted
    assert len(views.several(r.DeploymentsQuery(), ADMIN, world.now).deployments) == 2
    assert views.several(r.DeploymentsQuery(name="none"), ADMIN, world.now) == r.Deployments([])


def crashed(world: PlaneWorld, worker: Worker) -> str:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.report(deployment_id, "error", error_code="X", logs="the reason")
    return deployment_id


def test_logs_of_a_crash_are_kept_where_nobody_can_be_asked_for_more(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment = intents.load(crashed(world, worker))
    assert views.kept_logs(deployment, world.now) == m.Logs("the reason"), "a basic client keeps none"
    worker.journal_id = "journal"
    worker.beat()
    assert views.kept_logs(deployment, world.now) is None, "an agent is asked"
    world.pass_(91)
    assert views.kept_logs(deployment, world.now) == m.Logs("the reason"), "it is silent"


def test_logs_of_what_started_again_are_asked_for(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = crashed(world, worker)
    world.start(deployment_id)
    assert views.kept_logs(intents.load(deployment_id), world.now) is None
    assert world.see(deployment_id).last_crash is not None
    assert workers.get(worker.id).heartbeat.journal is None
