"""A client that knows nothing but worker-api.md must work, in both readings of its authentication."""

from collections.abc import Callable

import pytest

from tests.fixtures.http_client import Client, Json, Operator
from tests.fixtures.http_workers import Worker
from tests.fixtures.served import Server

DOCUMENTED = ["pending", "downloading", "starting", "running", "stopping", "stopped"]
ERROR_FORM = {
    "error_code": "CONTAINER_FAILED",
    "message": "Container exited with code 1",
    "logs": "Error: CUDA out of memory...",
}
CONFIG = {"gpu_memory_utilization": 0.9, "max_model_len": 4096, "port": 8001}


@pytest.fixture(params=["issued token", "token of the body"])
def basic(request: pytest.FixtureRequest, server: Server) -> Worker:
    """A basic client in each reading: its Bearer is what register issued, or what it registered with."""
    worker = Worker(server.url, server.registration_token)
    worker.register(bearer_from_body=request.param == "token of the body")
    worker.beat()
    return worker


def test_register_answers_a_worker_id_and_a_message(server: Server) -> None:
    given = Worker(server.url, server.registration_token).register()
    assert given["worker_id"] and given["message"] == "Worker registered successfully"


def test_register_issues_token_session_and_interval(server: Server) -> None:
    given = Worker(server.url, server.registration_token).register()
    assert isinstance(given["token"], str) and isinstance(given["session"], int)
    assert given["next_heartbeat_in"] == 5


def test_a_heartbeat_answers_with_the_commands_that_wait_or_an_empty_list(basic: Worker, operator: Operator) -> None:
    assert basic.beat()["commands"] == []
    made = operator.deploy(basic.worker_id)
    [command] = basic.beat()["commands"]
    assert (command["type"], command["deployment_id"]) == ("deploy", made["deployment_id"])


def test_a_deploy_command_is_as_documented(basic: Worker, operator: Operator) -> None:
    made = operator.deploy(basic.worker_id, model="meta-llama/Llama-2-7b-chat-hf", backend="vllm", config=CONFIG)
    [command] = basic.commands()
    assert command["type"] == "deploy" and command["deployment_id"] == made["deployment_id"]
    assert (command["backend"], command["model"]) == ("vllm", "meta-llama/Llama-2-7b-chat-hf")
    assert command["config"] == CONFIG


def test_a_deployment_goes_through_every_status_of_the_document(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id, config=CONFIG)["deployment_id"]
    assert basic.types() == ["deploy"]
    for status in ("downloading", "starting"):
        basic.report(deployment_id, status).expect(200)
        assert operator.status(deployment_id) == status
    basic.report(
        deployment_id, "running", container_id="abc123", port=8001, message="Model loaded successfully"
    ).expect(200)
    assert operator.status(deployment_id) == "running"
    assert basic.types(deployment_id) == []
    operator.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    [stop] = basic.commands(deployment_id)
    assert (stop["type"], stop["deployment_id"]) == ("stop", deployment_id)
    for status in ("stopping", "stopped"):
        basic.report(deployment_id, status).expect(200)
        assert operator.status(deployment_id) == status
    assert basic.types() == []


def test_deploying_is_read_as_starting(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    assert basic.types() == ["deploy"]
    basic.report(deployment_id, "deploying").expect(200)
    assert operator.status(deployment_id) == "starting"
    assert basic.types() == []


def test_every_documented_status_is_taken(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    basic.commands()
    for status in DOCUMENTED:
        basic.report(deployment_id, status, message="as documented").expect(200)


def test_the_error_form_is_shown_with_its_code_and_message(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    basic.commands()
    basic.report(deployment_id, "error", **ERROR_FORM).expect(200)
    shown = operator.deployment(deployment_id)
    assert (shown["status"], shown["error_code"]) == ("error", "CONTAINER_FAILED")
    assert shown["message"] == shown["last_crash"]["message"] == "Container exited with code 1"
    assert basic.types() == []


def test_logs_of_the_error_form_are_kept(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    basic.commands()
    basic.report(deployment_id, "error", **ERROR_FORM).expect(200)
    logs = operator.get(f"/api/deployments/{deployment_id}/logs?wait=0").expect(200)
    assert "CUDA out of memory" in logs["logs"]


@pytest.mark.parametrize("status", ["downloading", "starting", "deploying", "running", "error"])
def test_a_deploy_is_not_sent_again_after_a_report(basic: Worker, operator: Operator, status: str) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    assert basic.types() == ["deploy"]
    assert basic.types() == ["deploy"], "it is sent with every heartbeat until then"
    basic.report(deployment_id, status).expect(200)
    assert [basic.types() for _ in range(3)] == [[], [], []]


def test_an_id_in_active_deployments_is_the_receipt_of_a_deploy(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    assert basic.types() == ["deploy"]
    assert [basic.types(deployment_id) for _ in range(3)] == [[], [], []]


@pytest.mark.parametrize("status", ["stopping", "stopped", "error"])
def test_a_stop_is_not_sent_again_after_a_report(basic: Worker, operator: Operator, status: str) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    basic.start(deployment_id)
    operator.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    assert [basic.types(deployment_id) for _ in range(2)] == [["stop"], ["stop"]]
    basic.report(deployment_id, status).expect(200)
    active = [deployment_id] if status == "stopping" else []
    assert [basic.types(*active) for _ in range(3)] == [[], [], []]


def test_absence_from_active_deployments_is_the_receipt_of_a_stop(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    basic.start(deployment_id)
    operator.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    assert basic.types(deployment_id) == ["stop"]
    assert [basic.types() for _ in range(3)] == [[], [], []]


@pytest.mark.parametrize("action", ["restart", "patch"])
def test_a_deploy_over_a_container_that_may_live_waits_for_its_stop(
    basic: Worker, operator: Operator, action: str
) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    basic.start(deployment_id)
    where = f"/api/deployments/{deployment_id}"
    if action == "patch":
        operator.patch(where, {"config": {"port": 8002}}).expect(200)
    else:
        operator.post(f"{where}/restart").expect(200)
    assert basic.types(deployment_id) == ["stop"]
    basic.report(deployment_id, "stopping").expect(200)
    assert basic.types(deployment_id) == [], "reported on, and not settled yet"
    basic.report(deployment_id, "stopped").expect(200)
    assert basic.types() == ["deploy"]
    basic.report(deployment_id, "running", container_id="def456", port=8002).expect(200)
    assert operator.status(deployment_id) == "running"
    assert basic.types(deployment_id) == []


def test_a_start_after_a_stop_waits_for_that_stop(basic: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(basic.worker_id)["deployment_id"]
    basic.start(deployment_id)
    for action in ("stop", "start"):
        operator.post(f"/api/deployments/{deployment_id}/{action}").expect(200)
    assert basic.types(deployment_id) == ["stop"]
    basic.report(deployment_id, "stopped").expect(200)
    assert basic.types() == ["deploy"]


def test_a_restarted_basic_client_registers_again(basic: Worker, operator: Operator) -> None:
    before, deployment_id = basic.worker_id, operator.deploy(basic.worker_id)["deployment_id"]
    basic.start(deployment_id)
    basic.register(bearer_from_body=basic.client.bearer == basic.token)
    assert basic.worker_id == before
    assert basic.types(deployment_id) == []
    assert operator.status(deployment_id) == "running"


def test_the_bodys_token_is_no_bearer_once_the_issued_one_was_used(server: Server) -> None:
    worker = Worker(server.url, server.registration_token)
    worker.register()
    worker.beat()
    worker.client.bearer = worker.token
    assert worker.try_beat().status in (401, 403, 409)


def test_the_bodys_token_is_no_bearer_of_a_worker_that_did_not_register_with_it(
    basic: Worker, registration_token: Callable[..., Json]
) -> None:
    other = Client(basic.client.url, registration_token()["token"])
    assert other.post(basic.path("heartbeat"), basic.heartbeat()).status in (401, 403)
