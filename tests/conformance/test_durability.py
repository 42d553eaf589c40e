"""What was acknowledged survives `kill -9` of serve."""

import pytest

from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve


@pytest.fixture
def admin(serve: Serve) -> Operator:
    return Operator(serve.url, ADMIN_KEY)


def test_a_deploy_goes_on_after_a_kill_in_the_middle(serve: Serve, admin: Operator) -> None:
    token = admin.post("/api/registration-tokens", {"max_uses": 5}).expect(201)["token"]
    viewer = Operator(serve.url, admin.post("/api/api-keys", {"name": "v", "role": "viewer"}).expect(201)["key"])
    agent, basic = Agent(serve.url, token), Worker(serve.url, REGISTRATION_TOKEN)
    agent.register()
    agent.beat()
    basic.register()
    basic.beat()
    made = admin.deploy(agent.worker_id, name="chat", gpus=1, env={"A": "b"})
    command = agent.fetch("deploy")
    agent.say(made["deployment_id"], "downloading", made["generation"]).expect(200)
    unsent = admin.deploy(basic.worker_id)["deployment_id"]

    serve.kill()
    serve.start()

    assert viewer.status(made["deployment_id"]) == "downloading"
    assert viewer.get(f"/api/workers/{agent.worker_id}").expect(200)["name"] == agent.name
    assert agent.types(made["deployment_id"]) == [], "it was acked, or reported, before"
    agent.say(made["deployment_id"], "running", command["generation"], container_id="abc").expect(200)
    assert viewer.status(made["deployment_id"]) == "running"
    basic.start(unsent)
    assert viewer.status(unsent) == "running"
    Worker(serve.url, token).register()
    body = {"model": "m", "name": "chat", "worker_id": agent.worker_id}
    admin.post("/api/deployments", body).expect(409, "DEPLOYMENT_NAME_IN_USE")


@pytest.mark.parametrize("last", ["deploy", "report"])
def test_the_last_write_that_was_acknowledged_is_there_after_a_kill(serve: Serve, admin: Operator, last: str) -> None:
    worker = Worker(serve.url, REGISTRATION_TOKEN)
    worker.register()
    made = admin.deploy(worker.worker_id)["deployment_id"]
    if last == "report":
        worker.start(made)
    serve.kill()
    serve.start()
    if last == "deploy":
        worker.start(made)
    assert admin.status(made) == "running"
