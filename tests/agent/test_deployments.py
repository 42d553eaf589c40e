"""A deployment's life on a host, from command to report."""

from __future__ import annotations

from dataclasses import replace

from agent.engines import EngineError, Instance, RunSpec
from chalicelib.contract.messages import Fix
from tests.fixtures.agent_world import DAY, AgentWorld


def test_deploy_pulls_starts_and_runs(world: AgentWorld) -> None:
    world.deploy(config={"max_model_len": 4096})
    world.settle()
    assert world.statuses() == ["downloading", "starting", "running"]
    report, instance = world.last_report(), world.engine.only()
    assert (report.container_id, report.port, report.generation) == (instance.id, instance.port, 1)
    assert report.session == world.server.session
    assert "--max-model-len" in world.engine.specs[0].arguments


def test_sequence_grows_from_report_to_report_and_over_restarts(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    world.boot().beat()
    world.settle()
    sequences = [report.sequence or 0 for _, report in world.server.reports]
    assert sequences == sorted(set(sequences))


def test_running_means_that_the_model_is_listed(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy(env={"VLLM_API_KEY": "key"})
    world.settle()
    assert world.statuses()[-1] == "starting"
    world.probe.ready = {"org/model"}
    world.settle()
    assert world.statuses()[-1] == "running"
    assert set(world.probe.keys) == {"key"}


def test_progress_of_a_pull_is_reported(world: AgentWorld) -> None:
    world.deploy()
    world.actor().step(world.clock.now)
    world.deliver()
    assert [report.progress is None for _, report in world.server.reports][:2] == [True, False]


def test_stop_is_stopped_whatever_its_exit_code(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.stop()
    world.settle()
    assert world.statuses() == ["downloading", "starting", "running", "stopping", "stopped"]
    assert world.engine.all == {}
    assert world.last_report().error_code is None


def test_stop_of_what_never_ran(world: AgentWorld) -> None:
    world.stop(generation=7)
    world.settle()
    assert world.statuses() == ["stopped"]
    assert world.last_report().generation == 7


def test_newer_generation_replaces_the_container(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.deploy(generation=2)
    world.settle()
    assert world.engine.only().generation == 2
    assert len(world.engine.all) == 1
    assert world.last_report().generation == 2
    assert world.statuses()[-1] == "running"


def test_older_generation_is_acked_and_ignored(world: AgentWorld) -> None:
    world.deploy(generation=5)
    world.settle()
    world.stop(generation=4)
    world.settle()
    assert world.engine.only().generation == 5
    world.beat()
    assert world.server.pending == {}


def test_same_generation_again_is_answered_with_how_it_is(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.beat()
    world.deploy()
    world.settle()
    last, before = world.server.reports[-1][1], world.server.reports[-2][1]
    assert last.status == before.status == "running"
    assert (last.sequence or 0) > (before.sequence or 0)
    assert world.engine.calls.count("start muster-d1-g1") == 1


def test_older_intent_is_answered_with_what_is_there(world: AgentWorld) -> None:
    world.deploy(generation=5)
    world.settle()
    world.beat()
    heard = len(world.server.reports)
    world.stop(generation=4)
    world.settle()
    said = [report for _, report in world.server.reports[heard:]]
    assert [(each.status, each.generation) for each in said] == [("running", 5)]
    assert world.engine.calls.count("start muster-d1-g5") == 1


def test_newer_intent_cancels_a_pull(world: AgentWorld) -> None:
    world.deploy()
    world.engine.on_pull = world.stop
    world.settle()
    assert world.statuses()[-1] == "stopped"
    assert world.engine.specs == []


def test_crash_restarts_after_a_backoff_that_doubles(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    waited = []
    for _ in range(7):
        world.engine.die(world.engine.only().id, 1, "RuntimeError: something odd")
        world.settle(1)
        assert world.statuses()[-1] == "starting"
        crashed_at = world.clock.now
        while not any(each.state == "running" for each in world.engine.all.values()):
            world.settle(1, seconds=1)
            assert world.clock.now < crashed_at + 1000, "it was not started again"
        waited.append(world.clock.now - crashed_at)
        world.settle(3)
    assert [round(each / 10) * 10 for each in waited] == [10, 20, 40, 80, 160, 300, 300]
    assert world.last_report().restarts == 7


def test_long_run_makes_the_next_crash_the_first_again(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    for _ in range(3):
        world.engine.die(world.engine.only().id, 1)
        world.settle(steps=30, seconds=5)
    world.settle(2, seconds=3600)
    world.engine.die(world.engine.only().id, 1)
    world.settle(1)
    assert "10 s" in (world.last_report().message or "")


def test_crash_report_says_what_to_do(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.die(
        world.engine.only().id, 1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    )
    world.settle(1)
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("starting", "CUDA_OUT_OF_MEMORY", 1)
    assert "--gpu-memory-utilization" in (report.message or "")
    assert "Tried to allocate" in (report.logs or "")


def test_a_crash_report_has_the_fix_that_its_log_has_the_number_for(world: AgentWorld) -> None:
    world.deploy(config={"max_model_len": 200000})
    world.settle(2)
    longest = "User-specified max_model_len (200000) is greater than the derived max_model_len (n_positions=131072)"
    world.engine.die(world.engine.only().id, 1, f"  Value error, {longest}")
    world.settle(100, seconds=10)
    report = world.last_report()
    assert (report.status, report.error_code) == ("error", "CONTEXT_TOO_LONG")
    assert report.fix == Fix({"max_model_len": 131072})


def test_what_cannot_heal_is_not_restarted(world: AgentWorld) -> None:
    world.deploy()
    world.settle(2)
    world.engine.die(world.engine.only().id, 2, "vllm: error: unrecognized arguments: --max-modle-len")
    world.settle(100, seconds=10)
    assert world.statuses()[-1] == "error"
    assert world.last_report().error_code == "INVALID_CONFIG"
    assert len(world.engine.specs) == 1
    assert world.engine.all == {}


def test_exit_code_0_that_nobody_asked_for_is_a_crash(world: AgentWorld) -> None:
    world.deploy(restart="never")
    world.settle()
    world.engine.die(world.engine.only().id, 0)
    world.settle()
    assert (world.statuses()[-1], world.last_report().error_code) == ("error", "CONTAINER_FAILED")


def test_container_removed_behind_our_back_is_a_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.all.clear()
    world.settle(10)
    assert world.statuses()[-3:] == ["running", "starting", "running"]
    assert world.last_report().restarts == 1


def test_refused_by_host_before_anything_is_pulled(world: AgentWorld) -> None:
    world.deploy(image="evil/image:latest")
    world.settle()
    assert (world.statuses(), world.last_report().error_code) == (["error"], "REFUSED_BY_HOST")
    assert world.engine.calls == []


def test_invalid_config_before_anything_is_pulled(world: AgentWorld) -> None:
    world.deploy(env={"HF_TOKEN": {"from_host": True}})
    world.settle()
    assert world.last_report().error_code == "INVALID_CONFIG"
    assert world.engine.calls == []


def test_failed_replacement_leaves_nothing_of_the_old(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.deploy(generation=2, image="vllm/vllm-openai:absent")
    world.settle()
    assert world.last_report().error_code == "IMAGE_NOT_FOUND"
    assert world.engine.all == {}


def test_what_a_failed_start_could_not_remove_is_buried_later(world: AgentWorld) -> None:
    def stuck(spec: RunSpec) -> None:
        owner = (spec.worker_id, spec.deployment_id, spec.generation)
        world.engine.add(Instance("stuck", spec.name, str(spec.image), "created", *owner))
        raise EngineError("CONTAINER_FAILED", "no such program")

    world.engine.on_start = stuck
    world.deploy(restart="never")
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("error", "CONTAINER_FAILED")
    assert world.engine.all == {}


def test_passing_trouble_at_start_is_retried(world: AgentWorld) -> None:
    def busy(spec: RunSpec) -> None:
        raise EngineError("GPU_UNAVAILABLE", "the GPU is lost")

    world.engine.on_start = busy
    world.deploy()
    world.settle(2)
    assert (world.statuses()[-1], world.last_report().error_code) == ("starting", "GPU_UNAVAILABLE")
    world.engine.on_start = lambda spec: None
    world.settle(10)
    assert world.statuses()[-1] == "running"


def test_port_survives_a_crash(world: AgentWorld) -> None:
    world.deploy(deployment_id="d0")
    world.deploy()
    world.settle()
    before = world.last_report().port
    world.engine.die(next(each.id for each in world.engine.all.values() if each.deployment_id == "d1"), 1)
    world.settle(10)
    assert (world.statuses()[-1], world.last_report().port) == ("running", before)


def test_two_deployments_get_two_ports(world: AgentWorld) -> None:
    world.deploy(deployment_id="d1")
    world.deploy(deployment_id="d2")
    world.settle()
    assert len({each.port for each in world.engine.all.values()}) == 2


def test_without_contact_for_a_day_nothing_is_started(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.clock.pass_time(DAY + 1)
    world.engine.die(world.engine.only().id, 1)
    world.settle(20, seconds=60)
    assert all(each.state != "running" for each in world.engine.all.values())
    world.beat()
    world.settle()
    assert world.statuses()[-1] == "running"


def test_others_instances_are_left_alone(world: AgentWorld) -> None:
    stranger = Instance("s1", "muster-d1-g1", "vllm/vllm-openai:latest", "running", "another-worker", "d1", 1)
    plain = Instance("s2", "postgres", "postgres", "running")
    world.engine.add(stranger)
    world.engine.add(replace(plain, name="db"))
    world.stop()
    world.settle()
    assert {each.id for each in world.engine.all.values()} == {"s1", "s2"}
    assert [each for each in world.engine.calls if each.startswith("stop")] == []


def test_something_newer_than_the_intent_is_left_alone(world: AgentWorld) -> None:
    world.engine.add(Instance("n1", "muster-d1-g9", "i", "running", "w1", "d1", 9))
    world.deploy(generation=3)
    world.settle()
    assert world.engine.only().id == "n1"


def test_heartbeat_names_what_is_active(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy()
    assert world.server.beats[-1].active_deployments == []
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]
    world.stop()
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == []
