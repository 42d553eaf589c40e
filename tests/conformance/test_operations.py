"""Operations: enqueued, awaited, answered, failed, cancelled; and what is answered from the last report."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.fixtures.http_client import Json, Operator
from tests.fixtures.http_workers import Agent, Worker

IMAGE = {"id": "sha256:abc", "tags": ["vllm/vllm-openai:latest"], "size": 15 * 10**9, "created": "2024-01-01T00:00:00Z"}
DISK = {"total": 1000, "used": 450, "free": 550, "percent": 45.0}
PULL = {"image": "vllm/vllm-openai:latest"}


def at(worker: Worker, rest: str) -> str:
    return f"/api/workers/{worker.worker_id}/{rest}"


def pull(worker: Worker, operator: Operator) -> str:
    """The id of a pull that was enqueued."""
    return str(operator.post(at(worker, "images/pull"), PULL).expect(202)["operation_id"])


def test_not_yet_is_202_with_location_and_retry_after(worker: Worker, operator: Operator, viewer: Operator) -> None:
    reply = operator.get(at(worker, "containers/abc/logs?wait=0"))
    body = reply.expect(202)
    assert {"operation_id", "status", "expires_at", "worker_next_heartbeat_in"} <= set(body)
    assert int(reply.headers["Retry-After"]) >= 1
    location = urlsplit(reply.headers["Location"]).path
    assert location == f"/api/operations/{body['operation_id']}"
    assert viewer.get(location).expect(200)["operation_id"] == body["operation_id"]


def test_a_late_answer_is_found_at_the_operation(agent: Agent, operator: Operator) -> None:
    operation_id = operator.get(at(agent, "containers/abc/logs?wait=0")).expect(202)["operation_id"]
    command = agent.fetch("container_logs")
    agent.result(command["command_id"], output={"logs": "late\n", "next_since": None, "truncated": False}).expect(200)
    shown = operator.operation(operation_id)
    assert shown["status"] == "succeeded" and "late\\n" in str(shown)


def test_a_worker_lists_what_it_has_not_answered(agent: Agent, operator: Operator, viewer: Operator) -> None:
    def listed() -> list[tuple[str, str]]:
        shown = viewer.get(at(agent, "operations")).expect(200)
        assert shown["next_token"] is None
        return [(each["operation_id"], each["status"]) for each in shown["operations"]]

    assert listed() == []
    first, second = pull(agent, operator), pull(agent, operator)
    assert listed() == [(second, "queued"), (first, "queued")]
    operator.delete(f"/api/operations/{second}").expect(200)
    command = agent.fetch("pull_image")
    assert command["command_id"] == first and listed()[0][1] in ("sent", "accepted")
    agent.result(first, status="running", progress={"phase": "downloading"}).expect(200)
    assert listed() == [(first, "running")]
    agent.result(first, output={"id": "sha256:abc", "tags": []}).expect(200)
    assert listed() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "output"),
    [
        ("GET", "containers", None, "list_containers", {"containers": []}),
        ("GET", "models", None, "list_models", {"models": []}),
        ("GET", "images", None, "list_images", {"images": [IMAGE]}),
        ("GET", "storage/disk", None, "disk_usage", DISK),
        ("POST", "storage/prune", {"images": True, "dry_run": True}, "prune", {"space_reclaimed": 5, "kept": []}),
        ("DELETE", "images/sha256%3Aabc", None, "delete_image", {"deleted": ["sha256:abc"]}),
        ("DELETE", "models/facebook%2Fopt-125m", None, "delete_model", {"deleted": ["facebook/opt-125m"]}),
        ("GET", "containers/abc/logs", None, "container_logs", {"logs": "x", "next_since": None, "truncated": False}),
        ("POST", "images/pull?wait=25", PULL, "pull_image", {"id": "sha256:abc", "tags": PULL["image"].split()}),
    ],
)
def test_answered_in_time_is_200_with_the_workers_output(
    agent: Agent, operator: Operator, method: str, path: str, body: Json, kind: str, output: Json
) -> None:
    with agent.answering({kind: lambda _: {"output": output}}):
        shown = operator.call(method, at(agent, path), body).expect(200)
    assert output.items() <= shown.items()


def test_a_model_is_named_to_the_worker_decoded(agent: Agent, operator: Operator) -> None:
    operator.delete(at(agent, "models/facebook%2Fopt-125m?wait=0")).expect(202)
    assert agent.fetch("delete_model")["model"] == "facebook/opt-125m"


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("models/facebook/opt-125m", "delete_model", "facebook/opt-125m"),
        ("images/registry:5000/vllm/vllm-openai:v1", "delete_image", "registry:5000/vllm/vllm-openai:v1"),
        ("images/vllm/vllm-openai@sha256:00", "delete_image", "vllm/vllm-openai@sha256:00"),
    ],
)
def test_a_name_whose_slashes_a_proxy_decoded_is_the_same_name(
    agent: Agent, operator: Operator, path: str, kind: str, name: str
) -> None:
    operator.delete(at(agent, f"{path}?wait=0")).expect(202)
    assert name in agent.fetch(kind).values()


def test_stop_takes_a_container_by_id(agent: Agent, operator: Operator) -> None:
    with agent.answering({"stop_container": lambda _: {"output": {}}}) as seen:
        operator.post(at(agent, "containers/orphan1/stop")).expect(200)
    assert seen[0]["container_id"] == "orphan1"


def test_failed_there_is_502_with_the_workers_code(agent: Agent, operator: Operator) -> None:
    failed = {"status": "failed", "error_code": "REGISTRY_UNAUTHORIZED", "message": "log in first"}
    with agent.answering({"pull_image": lambda _: failed}):
        said = operator.post(at(agent, "images/pull?wait=25"), PULL).expect(502, "REGISTRY_UNAUTHORIZED")
    assert said["message"] == "log in first"


@pytest.mark.parametrize(
    ("kind", "method", "path", "status", "error_code"),
    [
        ("container_logs", "GET", "containers/abc/logs", 404, "CONTAINER_NOT_FOUND"),
        ("stop_container", "POST", "containers/abc/stop", 404, "CONTAINER_NOT_FOUND"),
        ("delete_image", "DELETE", "images/abc", 404, "IMAGE_NOT_FOUND"),
        ("delete_image", "DELETE", "images/abc", 409, "IMAGE_IN_USE"),
        ("delete_model", "DELETE", "models/abc", 404, "MODEL_NOT_FOUND"),
    ],
)
def test_a_code_of_the_table_keeps_its_own_status(
    agent: Agent, operator: Operator, kind: str, method: str, path: str, status: int, error_code: str
) -> None:
    with agent.answering({kind: lambda _: {"status": "failed", "error_code": error_code, "message": "as it is"}}):
        operator.call(method, at(agent, path)).expect(status, error_code)


def test_an_offline_worker_takes_no_pull(worker: Worker, operator: Operator) -> None:
    worker.goodbye()
    operator.post(at(worker, "images/pull"), PULL).expect(409, "WORKER_OFFLINE")


def test_reads_that_were_not_sent_share_one_operation(agent: Agent, operator: Operator) -> None:
    ids = [operator.get(at(agent, "containers/abc/logs?wait=0")).expect(202)["operation_id"] for _ in range(3)]
    other = operator.get(at(agent, "containers/def/logs?wait=0")).expect(202)["operation_id"]
    assert len(set(ids)) == 1 and other not in ids
    assert agent.types() == ["container_logs"] * 2


def test_reads_at_once_share_one_operation(agent: Agent, operator: Operator) -> None:
    with ThreadPoolExecutor(6) as threads:
        asked = list(threads.map(lambda _: operator.get(at(agent, "models?wait=0")).expect(202), range(6)))
    assert len(agent.types()) == len({one["operation_id"] for one in asked}) <= 2


def test_a_pull_is_no_read_and_shares_nothing(agent: Agent, operator: Operator) -> None:
    assert pull(agent, operator) != pull(agent, operator)


def test_an_idempotency_key_pulls_once(agent: Agent, operator: Operator) -> None:
    headers = {"Idempotency-Key": "pull-" + agent.worker_id}
    first, again = (operator.post(at(agent, "images/pull"), PULL, headers=headers).body for _ in range(2))
    assert first["operation_id"] == again["operation_id"]
    assert agent.types() == ["pull_image"]


def test_what_was_not_sent_is_cancelled(agent: Agent, operator: Operator) -> None:
    operation_id = pull(agent, operator)
    operator.delete(f"/api/operations/{operation_id}").expect(200)
    assert agent.types() == []
    assert operator.operation(operation_id)["status"] not in ("running", "succeeded")


def test_a_wait_ends_when_the_journal_is_lost(agent: Agent, operator: Operator) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(operator.post, at(agent, "images/pull?wait=25"), PULL)
        agent.fetch("pull_image")
        agent.beat()
        agent.journal_id = "a-new-one"
        agent.beat()
        waiting.result().expect(502, "AGENT_STATE_LOST")


def test_a_result_is_a_receipt_as_an_ack_is(agent: Agent, operator: Operator) -> None:
    pull(agent, operator)
    agent.result(agent.fetch("pull_image")["command_id"], output={"id": "x", "tags": []}).expect(200)
    assert agent.beat(acks=[])["commands"] == []


def test_force_and_dry_run_reach_the_worker(agent: Agent, operator: Operator) -> None:
    operator.delete(at(agent, "images/abc?force=true&wait=0")).expect(202)
    operator.post(at(agent, "storage/prune?wait=0"), {"images": True, "dry_run": True}).expect(202)
    commands = {command["type"]: command for command in agent.commands()}
    assert commands["delete_image"]["force"] is True
    assert {"images": True, "volumes": False, "dry_run": True}.items() <= commands["prune"].items()


def test_what_was_sent_is_not_cancelled(agent: Agent, operator: Operator) -> None:
    operation_id = pull(agent, operator)
    agent.fetch("pull_image")
    operator.delete(f"/api/operations/{operation_id}").expect(409)


def test_progress_shows_at_the_operation(agent: Agent, operator: Operator) -> None:
    operation_id = pull(agent, operator)
    command = agent.fetch("pull_image")
    progress = {"phase": "downloading", "current": 3, "total": 10}
    agent.result(command["command_id"], "running", progress=progress).expect(200)
    shown = operator.operation(operation_id)
    assert (shown["status"], shown["progress"]) == ("running", progress)
    agent.result(command["command_id"], output={"id": "sha256:abc", "tags": []}).expect(200)
    assert operator.operation(operation_id)["status"] == "succeeded"


def test_a_repeated_result_changes_nothing(agent: Agent, operator: Operator) -> None:
    operation_id = pull(agent, operator)
    command = agent.fetch("pull_image")["command_id"]
    agent.result(command, output={"id": "sha256:abc", "tags": []}).expect(200)
    agent.result(command, output={"id": "sha256:abc", "tags": []}).expect(200)
    agent.result(command, "failed", error_code="LATE", message="late").expect(200)
    assert operator.operation(operation_id)["status"] == "succeeded"


def test_another_workers_command_is_not_answered(agent: Agent, worker: Worker, operator: Operator) -> None:
    operation_id = pull(agent, operator)
    command = agent.fetch("pull_image")["command_id"]
    reply = worker.client.post(worker.path(f"commands/{command}/result"), {"status": "succeeded"})
    assert reply.status in (403, 404)
    assert operator.operation(operation_id)["status"] != "succeeded"


def test_a_result_over_256_kib_keeps_its_tail(agent: Agent, operator: Operator) -> None:
    logs = "".join(f"line {number}\n" for number in range(60_000))
    with agent.answering({"container_logs": lambda _: {"output": {"logs": logs, "truncated": False}}}):
        shown = operator.get(at(agent, "containers/abc/logs")).expect(200)
    assert shown["truncated"] is True
    assert 200 * 1024 < len(shown["logs"]) <= 256 * 1024 and logs.endswith(shown["logs"])


def test_images_and_disk_come_from_the_last_report(agent: Agent, operator: Operator) -> None:
    agent.beat(images=[IMAGE], disk=DISK)
    images = operator.get(at(agent, "images")).expect(200)
    disk = operator.get(at(agent, "storage/disk")).expect(200)
    assert images["images"] == [IMAGE] and images["as_of"]
    assert DISK.items() <= disk.items() and disk["as_of"]
    assert agent.types() == []


def test_fresh_asks_the_worker(agent: Agent, operator: Operator) -> None:
    agent.beat(images=[IMAGE], disk=DISK)
    with agent.answering({"list_images": lambda _: {"output": {"images": []}}}) as seen:
        assert operator.get(at(agent, "images?fresh=true")).expect(200)["images"] == []
    assert len(seen) == 1


def test_logs_of_a_deployment_are_those_of_its_container(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id)
    agent.fetch("deploy")
    agent.say(made["deployment_id"], "running", made["generation"], container_id="c0ffee").expect(200)
    output = {"logs": "served\n", "next_since": None, "truncated": False}
    with agent.answering({"container_logs": lambda _: {"output": output}}) as seen:
        assert operator.get(f"/api/deployments/{made['deployment_id']}/logs").expect(200)["logs"] == "served\n"
    assert seen[0]["container_id"] == "c0ffee"
