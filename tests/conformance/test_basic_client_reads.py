"""The routes of worker-api.md that a worker's own token opens: logs, images, disk, prune."""

from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import GIB, Agent, Worker

IMAGE = {
    "id": "sha256:abc123",
    "tags": ["vllm/vllm-openai:latest"],
    "size": 15 * 10**9,
    "created": "2024-01-01T00:00:00Z",
}
DISK = {"total": 1000 * 10**9, "used": 450 * 10**9, "free": 550 * 10**9, "percent": 45.0}


def test_the_workers_own_token_opens_its_logs(agent: Agent) -> None:
    output = {"logs": "INFO: started\n", "next_since": "2024-01-01T00:00:01Z", "truncated": False}
    with agent.answering({"container_logs": lambda _: {"output": output}}) as seen:
        shown = agent.client.get(agent.path("containers/abc123/logs?lines=10&since=2024-01-01T00:00:00Z")).expect(200)
    assert shown["logs"] == "INFO: started\n"
    assert (seen[0]["container_id"], seen[0]["lines"]) == ("abc123", 10)
    assert seen[0]["since"].startswith("2024-01-01T00:00:00")


def test_the_workers_own_token_opens_its_images(agent: Agent) -> None:
    with agent.answering({"list_images": lambda _: {"output": {"images": [IMAGE]}}}):
        assert agent.client.get(agent.path("images")).expect(200)["images"] == [IMAGE]


def test_the_workers_own_token_opens_its_disk(agent: Agent) -> None:
    with agent.answering({"disk_usage": lambda _: {"output": DISK}}):
        assert DISK.items() <= agent.client.get(agent.path("storage/disk")).expect(200).items()


def test_the_workers_own_token_deletes_an_image(agent: Agent) -> None:
    output = {"deleted": ["sha256:abc123"]}
    with agent.answering({"delete_image": lambda _: {"output": output}}) as seen:
        assert agent.client.delete(agent.path("images/sha256%3Aabc123")).expect(200)["deleted"] == ["sha256:abc123"]
    assert seen[0]["image_id"] == "sha256:abc123"


def test_an_image_reference_is_percent_encoded_once(agent: Agent) -> None:
    with agent.answering({"delete_image": lambda _: {"output": {"deleted": []}}}) as seen:
        agent.client.delete(agent.path("images/vllm%2Fvllm-openai%3Alatest")).expect(200)
        agent.client.delete(agent.path("images/odd%252Fname")).expect(200)
    assert [one["image_id"] for one in seen] == ["vllm/vllm-openai:latest", "odd%2Fname"]


def test_the_workers_own_token_prunes(agent: Agent) -> None:
    output = {"space_reclaimed": 5 * GIB, "kept": []}
    body = {"images": True, "containers": True, "volumes": False}
    with agent.answering({"prune": lambda _: {"output": output}}) as seen:
        assert agent.client.post(agent.path("storage/prune"), body).expect(200)["space_reclaimed"] == 5 * GIB
    assert {key: seen[0][key] for key in body} == body


def test_the_workers_own_token_pulls_an_image_and_is_not_kept_waiting(agent: Agent) -> None:
    agent.client.post(agent.path("images/pull"), {"image": "vllm/vllm-openai:latest"}).expect(202)
    assert agent.fetch("pull_image")["image"] == "vllm/vllm-openai:latest"


def test_a_basic_client_that_ignores_operations_keeps_working(worker: Worker, operator: Operator) -> None:
    for path in ("containers/abc123/logs?wait=0", "images?wait=0", "storage/disk?wait=0"):
        worker.client.get(worker.path(path)).expect(202)
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    assert operator.status(deployment_id) == "running"
    assert "deploy" not in worker.types(deployment_id)


def test_a_worker_may_act_under_its_own_id_alone(worker: Worker, agent: Agent) -> None:
    for path in ("containers/abc123/logs", "images", "storage/disk"):
        worker.client.get(agent.path(path)).expect(403, "FORBIDDEN")
