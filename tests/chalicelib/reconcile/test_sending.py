"""Which commands go out with a heartbeat, and which must wait."""

from __future__ import annotations

import pytest

from chalicelib.deployments import intents
from chalicelib.fleet import workers
from chalicelib.reconcile import sending
from chalicelib.store.tables import WorkerRecord
from muster.api import messages as m
from tests.fixtures.plane_world import PlaneWorld
from tests.fixtures.reconciling import agent, heartbeat_of, slot_of


def test_a_heartbeat_brings_as_many_commands_as_it_may_and_the_next_the_rest(world: PlaneWorld) -> None:
    worker = world.worker()
    asked = {world.ask(worker, "pull_image", image=f"a:{n}") for n in range(sending.MAX_COMMANDS + 3)}
    first = {command.command_id for command in worker.beat().commands}
    assert len(first) == sending.MAX_COMMANDS and first < asked
    for operation_id in first:
        worker.result(operation_id, "failed", error_code="X")
    assert {command.command_id for command in worker.beat().commands} == asked - first


def test_a_running_deployment_takes_its_gpu_back_from_one_that_was_never_sent(world: PlaneWorld) -> None:
    """As after an older database was restored: a report says that something runs where nobody was."""
    worker = world.worker(gpus=1, journal_id="j")
    old = world.deploy(gpus=1)
    worker.run(old)
    workers.get(worker.id).record.update(actions=[WorkerRecord.claims.set("{}")])
    new = world.deploy(gpus=1)
    assert workers.get(worker.id).claims == {"0": new}
    assert worker.types() == []
    assert (world.see(new).worker_id, workers.get(worker.id).claims) == (None, {"0": old})
    assert "0 of 1 GPUs free" in (world.see(new).message or "")


def test_a_basic_client_is_sent_nothing_for_a_gpu_in_which_it_says_that_something_runs(world: PlaneWorld) -> None:
    """The report that it has stopped came before a list that has it still."""
    worker = world.worker(gpus=1)
    old, new = world.deploy(gpus=1), world.deploy(gpus=1)
    worker.run(old)
    world.stop(old)
    assert worker.types() == ["stop"]
    worker.report(old, "stopped")
    assert world.see(new).worker_id == worker.id
    assert "deploy" not in worker.types()
    worker.active = []
    assert worker.types() == ["deploy"]


def test_a_deploy_has_all_that_the_worker_needs(world: PlaneWorld) -> None:
    worker = world.worker(gpus=4)
    deployment_id = world.deploy(config={"max_model_len": 8}, image="i:1", env={"A": "b"}, gpus=[1, 3], restart="never")
    (deploy,) = worker.beat().commands
    generation = world.see(deployment_id).generation
    key = str(intents.load(deployment_id).api_key)
    assert deploy == m.Deploy(
        command_id=f"{deployment_id}-g{generation}",
        deployment_id=deployment_id,
        generation=generation,
        backend="vllm",
        model="org/model",
        config={"max_model_len": 8},
        image="i:1",
        env={"VLLM_API_KEY": key, "A": "b"},
        gpus=[1, 3],
        restart="never",
    )


def test_no_more_deploys_than_a_heartbeat_may_bring_count_as_sent(world: PlaneWorld) -> None:
    worker = agent(world)
    deployed = {world.deploy(gpus=0) for _ in range(sending.MAX_COMMANDS + 2)}
    first = {each.deployment_id for each in worker.beat().commands if isinstance(each, m.Deploy)}
    assert len(first) == sending.MAX_COMMANDS == 64
    assert {each for each in deployed if slot_of(worker, each).sent_at is not None} == first
    assert {each.deployment_id for each in worker.beat().commands if isinstance(each, m.Deploy)} == deployed - first


def test_a_new_session_is_sent_what_the_one_before_did_not_acknowledge(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    assert worker.types() == ["deploy"]
    worker.acks = []
    worker.register(boot_id="b", past_boot_ids=["a"])
    assert worker.types() == ["deploy"]
    assert slot_of(worker, deployment_id).sent_session == worker.answer.session


@pytest.mark.parametrize("calls", range(1, 9))
def test_a_session_that_is_overtaken_by_the_next_does_not_send_after_it(world: PlaneWorld, calls: int) -> None:
    """What is marked as sent to the newer session stays so: an older one may not acknowledge it."""
    worker = agent(world)
    deployment_id = world.deploy()

    def next_session() -> None:
        follower = world.worker(boot_id="b", past_boot_ids=["a"], journal_id="j")
        assert follower.types() == ["deploy"]

    with world.database.overtaken_after(calls, next_session):
        worker.beat()
    slot = slot_of(worker, deployment_id)
    assert slot.sent_session == heartbeat_of(worker).session


@pytest.mark.parametrize("calls", range(1, 9))
def test_what_counts_as_sent_was_sent(world: PlaneWorld, calls: int) -> None:
    """An operator's change between reading and marking is sent by the next heartbeat, as the new intent that it is."""
    worker = agent(world)
    deployment_id = world.deploy()
    with world.database.overtaken_after(calls, lambda: world.restart(deployment_id)):
        commands = worker.beat().commands
    slot = slot_of(worker, deployment_id)
    sent = {each.generation for each in commands if isinstance(each, m.Deploy)}
    assert (slot.sent_at is not None) is (slot.generation in sent)


def test_a_deploy_for_another_gpu_is_not_held_up_by_what_runs(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    worker.run(world.deploy(gpus=[0]))
    worker.beat()
    world.deploy(gpus=[1])
    assert worker.types() == ["deploy"]


def test_a_deploy_is_not_sent_to_a_gpu_that_is_lost_since_it_was_placed(world: PlaneWorld) -> None:
    worker = agent(world, gpus=2)
    deployment_id = world.deploy(gpus=1)
    lost = m.GpuInfo(2, [m.GpuDevice(0, lost=True), m.GpuDevice(1)])
    (deploy,) = worker.beat(gpu_info=lost).commands or worker.beat().commands
    assert isinstance(deploy, m.Deploy) and (deploy.deployment_id, deploy.gpus) == (deployment_id, [1])


def test_a_slot_without_a_deployment_is_sent_nothing(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    intents.load(deployment_id).delete()
    assert worker.types() == []
