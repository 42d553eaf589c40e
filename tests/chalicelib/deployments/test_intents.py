"""What operators want of deployments: each wish is a new generation, and none is the worker's word."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib.deployments import intents
from chalicelib.scheduling import gpu_claims
from chalicelib.store.idempotency import Key
from chalicelib.store.items import find
from chalicelib.store.tables import DeploymentName
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, lines


def code(caught: pytest.ExceptionInfo[ApiError]) -> str:
    return caught.value.error_code


def test_a_new_one_is_pending_and_wanted(world: PlaneWorld) -> None:
    made = intents.create(r.NewDeployment("org/model", name="chat"), ADMIN, world.now)
    assert (made.status, made.desired, made.name, made.generation) == ("pending", "running", "chat", world.now * 1000)


@pytest.mark.parametrize(
    ("model", "begins"),
    [
        ("facebook/opt-125m", "opt-125m-"),
        ("meta/Llama 3.1_8B/", "llama-3-1-8b-"),
        ("/models/名", "model-"),
        ("x" * 100, "x" * 48 + "-"),
        ("org/---", "model-"),
    ],
)
def test_a_name_that_is_not_given_is_made_of_the_model(world: PlaneWorld, model: str, begins: str) -> None:
    deployment_id = world.deploy(model)
    assert world.see(deployment_id).name == begins + deployment_id[:8]


def test_a_name_is_taken_until_its_deployment_is_deleted(world: PlaneWorld) -> None:
    first = world.deploy(name="chat")
    with pytest.raises(ApiError, match="chat") as caught:
        world.deploy(name="chat")
    assert code(caught) == "DEPLOYMENT_NAME_IN_USE"
    world.stop(first)
    intents.delete(first, ADMIN, world.now)
    assert find(DeploymentName, "name#chat") is None
    assert world.see(world.deploy(name="chat")).name == "chat"


def test_one_for_a_worker_that_is_none_is_refused_and_leaves_nothing(world: PlaneWorld) -> None:
    with pytest.raises(ApiError) as caught:
        world.deploy(name="chat", worker_id="nobody")
    assert code(caught) == "WORKER_NOT_FOUND"
    assert find(DeploymentName, "name#chat") is None


@pytest.mark.parametrize(
    ("body", "error_code"),
    [
        (r.NewDeployment("m", gpus=[1, 1]), "INVALID_REQUEST"),
        (r.NewDeployment("m", config={"hf_token": "hf_x"}), "INVALID_REQUEST"),
        (r.NewDeployment("m", config={"a": "x" * intents.MAX_CONFIG_BYTES}), "PAYLOAD_TOO_LARGE"),
        (r.NewDeployment("m", config={"a": "x" * 40_000}, env={"B": "y" * 40_000}), "PAYLOAD_TOO_LARGE"),
    ],
)
def test_what_the_types_alone_do_not_refuse_is_refused(
    world: PlaneWorld, body: r.NewDeployment, error_code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        intents.create(body, ADMIN, world.now)
    assert code(caught) == error_code


def test_a_credential_that_an_older_release_stored_goes_to_no_worker_again_until_it_is_taken_out(
    world: PlaneWorld,
) -> None:
    deployment_id = world.deploy(name="chat")
    stored = intents.load(deployment_id)
    spec = msgspec.structs.replace(gpu_claims.spec_of(stored), config={"hf_token": "hf_old", "seed": 1})
    stored.update(actions=[type(stored).spec.set(intents._encode(spec))])
    refused = r"^config\.hf_token: .*env\.HF_TOKEN"
    with pytest.raises(ApiError, match=refused) as caught:
        intents.restart(deployment_id, ADMIN, world.now)
    assert "hf_old" not in caught.value.message
    with pytest.raises(ApiError, match=refused):
        intents.patch(deployment_id, r.DeploymentPatch(gpus=0), ADMIN, world.now)
    intents.patch(deployment_id, r.DeploymentPatch(config={"seed": 1}), ADMIN, world.now)
    assert gpu_claims.spec_of(intents.load(deployment_id)).config == {"seed": 1}


def test_an_idempotency_key_makes_one(world: PlaneWorld) -> None:
    key = Key("once#1", "body")
    first, again = (intents.create(r.NewDeployment("m"), ADMIN, world.now, key) for _ in range(2))
    assert first.deployment_id == again.deployment_id
    assert len(lines(world)) == 2, "created, and waiting"


@pytest.mark.parametrize("act", ["stop", "start", "restart"])
def test_an_idempotency_key_acts_once(world: PlaneWorld, act: str) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    if act == "start":
        world.stop(deployment_id)
    key = Key("once#1", "body")
    done = [getattr(intents, act)(deployment_id, ADMIN, world.now, key).generation for _ in range(2)]
    assert done[0] == done[1]
    assert [line.type for line in lines(world, deployment_id)].count(act) == 1


def test_a_stop_of_what_no_worker_has_heard_of_is_done_at_once(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    world.stop(deployment_id)
    seen = world.see(deployment_id)
    assert (seen.desired, seen.status, seen.message) == ("stopped", "stopped", None)
    assert admin.get(worker.id, world.now).gpu_claims == {}
    assert worker.types() == []


def test_a_stop_leaves_the_status_to_the_worker(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.stop(deployment_id)
    assert (world.see(deployment_id).desired, world.see(deployment_id).status) == ("stopped", "running")
    assert worker.types() == ["stop"]


def test_stopping_again_and_starting_what_runs_change_nothing(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    before = world.see(deployment_id)
    world.start(deployment_id)
    assert world.see(deployment_id) == before
    world.stop(deployment_id)
    before = world.see(deployment_id)
    world.stop(deployment_id)
    assert world.see(deployment_id) == before


def test_what_is_stopped_while_it_waits_waits_no_more(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    world.stop(deployment_id)
    worker = world.worker()
    assert (world.see(deployment_id).status, world.see(deployment_id).worker_id) == ("stopped", None)
    assert worker.types() == []


def test_a_start_begins_anew(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.report(deployment_id, "error", error_code="X", message="why", restarts=3)
    world.start(deployment_id)
    seen = world.see(deployment_id)
    assert (seen.status, seen.desired, seen.restarts) == ("pending", "running", 0)
    assert (seen.error_code, seen.message, seen.container_id, seen.port) == (None, None, None, None)
    assert seen.last_crash is not None, "until the next one"


def test_a_patch_of_a_stopped_one_is_for_its_next_start(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(config={"port": 1})
    world.stop(deployment_id)
    changed = intents.patch(deployment_id, r.DeploymentPatch(config={"port": 2}), ADMIN, world.now)
    assert (changed.desired, changed.status) == ("stopped", "stopped")
    assert worker.types() == []
    world.start(deployment_id)
    assert worker.types() == ["deploy"]
    assert world.see(deployment_id).config == {"port": 2}


def test_a_patch_replaces_what_is_given_and_keeps_the_rest(world: PlaneWorld) -> None:
    deployment_id = world.deploy(config={"a": 1}, env={"A": "x"}, image="a:b")
    body = r.DeploymentPatch(config={"b": 2}, image=None)
    intents.patch(deployment_id, body, ADMIN, world.now)
    seen = world.see(deployment_id)
    assert (seen.config, seen.env, seen.image) == ({"b": 2}, ["A"], None)
    assert lines(world, deployment_id)[-1].message == "config, image"


def test_variables_are_added_to_those_that_there_are(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(env={"A": "x", "B": "y"})
    intents.patch(deployment_id, r.DeploymentPatch(add_env={"B": "z", "C": "1"}), ADMIN, world.now)
    command = worker.beat().commands[0]
    assert isinstance(command, m.Deploy)
    assert {name: command.env.get(name) for name in "ABC"} == {"A": "x", "B": "z", "C": "1"}
    intents.patch(deployment_id, r.DeploymentPatch(env={"D": "2"}, add_env={"E": "3"}), ADMIN, world.now)
    assert world.see(deployment_id).env == ["D", "E"]


def test_added_variables_count_with_those_that_there_are(world: PlaneWorld) -> None:
    deployment_id = world.deploy(env={"A": "x" * 40_000})
    with pytest.raises(ApiError, match="at most 64 KiB"):
        intents.patch(deployment_id, r.DeploymentPatch(add_env={"B": "y" * 40_000}), ADMIN, world.now)
    assert world.see(deployment_id).env == ["A"]


def test_a_patch_that_fits_its_place_stays_there(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    world.worker("other", gpus=2)
    deployment_id = world.deploy(worker_id=worker.id)
    worker.run(deployment_id)
    before = world.see(deployment_id)
    intents.patch(deployment_id, r.DeploymentPatch(config={"a": 1}), ADMIN, world.now)
    seen = world.see(deployment_id)
    assert (seen.worker_id, seen.gpu_indexes) == (worker.id, before.gpu_indexes)
    assert seen.generation > before.generation


@pytest.mark.parametrize("status", ["pending", "starting", "running", "stopping"])
def test_what_is_alive_is_not_deleted(world: PlaneWorld, status: str) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.beat()
    if status != "pending":
        worker.report(deployment_id, status)
    with pytest.raises(ApiError, match=status) as caught:
        intents.delete(deployment_id, ADMIN, world.now)
    assert code(caught) == "ILLEGAL_TRANSITION"


def test_what_an_absent_host_holds_is_deleted_once_its_worker_is_declared_lost(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.stop(deployment_id)
    world.pass_(91)
    with pytest.raises(ApiError, match=rf"gpu-1 is offline.+muster workers lost gpu-1.+/{worker.id}/lost"):
        intents.delete(deployment_id, ADMIN, world.now)
    admin.lose(worker.id, ADMIN, world.now)
    intents.delete(deployment_id, ADMIN, world.now)
    with pytest.raises(ApiError):
        world.see(deployment_id)


def test_what_is_deleted_is_not_there(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    world.stop(deployment_id)
    intents.delete(deployment_id, ADMIN, world.now)
    for act in (world.see, world.start, world.stop, world.restart):
        with pytest.raises(ApiError) as caught:
            act(deployment_id)
        assert code(caught) == "DEPLOYMENT_NOT_FOUND"


def test_a_name_is_no_deployment(world: PlaneWorld) -> None:
    world.deploy(name="chat")
    with pytest.raises(ApiError) as caught:
        intents.load("name#chat")
    assert code(caught) == "DEPLOYMENT_NOT_FOUND"


@pytest.mark.parametrize("gpus", [1, [0]])
def test_a_restart_leaves_a_lost_gpu_unless_it_was_asked_for_by_index(world: PlaneWorld, gpus: int | list[int]) -> None:
    worker = world.worker(gpus=2, journal_id="j")
    deployment_id = world.deploy(gpus=gpus)
    worker.run(deployment_id)
    worker.beat(gpu_info={"count": 2, "devices": [{"index": 0, "lost": True}, {"index": 1}]})
    assert world.see(deployment_id).gpu_indexes == [0], "what may run there stays there"
    world.restart(deployment_id)
    assert world.see(deployment_id).gpu_indexes == ([1] if gpus == 1 else [0])
