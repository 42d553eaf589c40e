"""The lifecycle: which moves are allowed, and how reports are ordered."""

import pytest

from tests.fixtures.http_client import Json, Operator
from tests.fixtures.http_workers import Agent, Worker


@pytest.fixture
def placed(agent: Agent, operator: Operator) -> tuple[str, int]:
    """A deployment's id and generation, its deploy delivered to the agent."""
    made = operator.deploy(agent.worker_id)
    command = agent.fetch("deploy")
    assert command["generation"] == made["generation"]
    return made["deployment_id"], made["generation"]


def applied(agent: Agent, placed: tuple[str, int], status: str, **more: Json) -> bool:
    return bool(agent.say(placed[0], status, placed[1], **more).expect(200)["applied"])


@pytest.mark.parametrize("road", [["starting"], ["downloading", "starting"], ["starting", "downloading"], []])
def test_the_first_three_come_in_any_order(agent: Agent, placed: tuple[str, int], road: list[str]) -> None:
    assert all(applied(agent, placed, status) for status in [*road, "running", "stopping", "stopped"])


@pytest.mark.parametrize("last", ["pending", "downloading", "starting", "running", "stopping"])
def test_any_live_state_may_go_to_error(agent: Agent, placed: tuple[str, int], operator: Operator, last: str) -> None:
    if last != "pending":
        assert applied(agent, placed, last)
    assert applied(agent, placed, "error", error_code="CONTAINER_FAILED", message="it died")
    assert operator.deployment(placed[0])["error_code"] == "CONTAINER_FAILED"


def test_a_restart_by_the_agent_counts(agent: Agent, placed: tuple[str, int], operator: Operator) -> None:
    assert applied(agent, placed, "running", restarts=0)
    assert applied(agent, placed, "starting", restarts=1)
    shown = operator.deployment(placed[0])
    assert (shown["status"], shown["restarts"], shown["generation"]) == ("starting", 1, placed[1])


def test_the_same_status_again_is_not_applied(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    again = worker.report(deployment_id, "running").expect(200)
    assert (again["applied"], again["status"]) == (False, "running")


def test_a_repeated_report_is_not_applied(agent: Agent, placed: tuple[str, int]) -> None:
    assert applied(agent, placed, "starting", sequence=7)
    assert not applied(agent, placed, "starting", sequence=7)


def test_a_late_report_changes_nothing(agent: Agent, placed: tuple[str, int], operator: Operator) -> None:
    assert applied(agent, placed, "running", sequence=7)
    assert not applied(agent, placed, "starting", sequence=6)
    assert not applied(agent, placed, "error", sequence=1, error_code="CONTAINER_FAILED")
    assert operator.status(placed[0]) == "running"


def test_a_report_of_an_older_generation_changes_nothing(
    agent: Agent, placed: tuple[str, int], operator: Operator
) -> None:
    assert applied(agent, placed, "running", sequence=7)
    newer = operator.post(f"/api/deployments/{placed[0]}/restart").expect(200)["generation"]
    assert newer > placed[1]
    agent.say(placed[0], "running", newer, sequence=8).expect(200)
    assert not applied(agent, placed, "stopped", sequence=9)
    assert operator.status(placed[0]) == "running"


def test_a_new_session_starts_its_sequence_anew(agent: Agent, placed: tuple[str, int], operator: Operator) -> None:
    assert applied(agent, placed, "starting", sequence=900)
    older, agent.boot_id = agent.session, "the-next-process"
    agent.register()
    agent.beat(placed[0])
    assert applied(agent, placed, "running", sequence=1)
    assert not applied(agent, placed, "starting", sequence=901, session=older), "a spool always drains"
    assert operator.status(placed[0]) == "running"


def test_without_order_an_illegal_move_is_409_and_names_both_states(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    said = worker.report(deployment_id, "downloading").expect(409, "ILLEGAL_TRANSITION")["message"]
    assert "running" in said and "downloading" in said
    assert operator.status(deployment_id) == "running"


def test_a_stopped_deployment_does_not_run_again_by_a_report(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    operator.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    worker.commands(deployment_id)
    worker.report(deployment_id, "stopped").expect(200)
    said = worker.report(deployment_id, "running").expect(409, "ILLEGAL_TRANSITION")["message"]
    assert "stopped" in said and "running" in said


def test_a_status_that_is_none_is_400(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.report(deployment_id, "exploded").expect(400, "INVALID_REQUEST")


def test_a_report_on_another_workers_deployment_is_404(worker: Worker, agent: Agent, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    assert agent.report(deployment_id, "running").status in (403, 404)
    assert operator.status(deployment_id) == "pending"


def test_progress_is_shown(agent: Agent, placed: tuple[str, int], operator: Operator) -> None:
    progress = {"phase": "pulling", "current": 5, "total": 10}
    assert applied(agent, placed, "downloading", progress=progress)
    assert operator.deployment(placed[0])["progress"] == progress


def test_of_a_fix_only_what_fits_a_model_to_a_gpu_is_kept(
    agent: Agent, placed: tuple[str, int], operator: Operator
) -> None:
    told = {"max_model_len": 131072, "trust_remote_code": True, "gpu_memory_utilization": "0.5 --x", "port": 22}
    assert applied(agent, placed, "error", error_code="CONTEXT_TOO_LONG", fix={"config": told, "gpus": 4})
    crash = operator.deployment(placed[0])["last_crash"]
    assert crash["fix"] == {"config": {"max_model_len": 131072}, "gpus": 4}


def test_a_fix_of_nothing_that_is_kept_is_none(agent: Agent, placed: tuple[str, int], operator: Operator) -> None:
    assert applied(agent, placed, "error", error_code="X", fix={"config": {"extra_args": ["--x"]}, "gpus": 10**9})
    assert operator.deployment(placed[0])["last_crash"]["fix"] is None


def test_a_crash_is_kept_as_last_crash(agent: Agent, placed: tuple[str, int], operator: Operator) -> None:
    assert applied(agent, placed, "running")
    assert applied(agent, placed, "error", error_code="CUDA_OUT_OF_MEMORY", message="lower it", logs="Error: OOM")
    assert "CUDA_OUT_OF_MEMORY" in str(operator.deployment(placed[0])["last_crash"])


def test_events_are_the_timeline(agent: Agent, placed: tuple[str, int], viewer: Operator) -> None:
    for status in ("downloading", "starting", "running"):
        assert applied(agent, placed, status)
    events = viewer.get(f"/api/deployments/{placed[0]}/events").expect(200)["events"]
    told = str(events)
    assert len(events) >= 4 and all(status in told for status in ("downloading", "starting", "running"))
