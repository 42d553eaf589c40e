"""Deployments as operators see them: made, listed, changed, stopped, started, deleted."""

import pytest

from tests.fixtures.http_client import Json, Operator, unique
from tests.fixtures.http_workers import Agent, Worker

SECRET = "hf_secret_value_that_nobody_may_read"


def at(made: Json, action: str = "") -> str:
    return f"/api/deployments/{made['deployment_id']}" + (f"/{action}" if action else "")


def test_creating_answers_the_resource(worker: Worker, operator: Operator) -> None:
    made = operator.deploy(worker.worker_id, name=unique("chat"), config={"max_model_len": 4096})
    assert (made["status"], made["desired"]) == ("pending", "running")
    assert (made["model"], made["config"]["max_model_len"]) == ("facebook/opt-125m", 4096)
    assert made["worker_id"] == worker.worker_id
    assert operator.deployment(made["deployment_id"])["deployment_id"] == made["deployment_id"]


def test_get_shows_what_is_promised(worker: Worker, viewer: Operator, operator: Operator) -> None:
    shown = viewer.deployment(operator.deploy(worker.worker_id)["deployment_id"])
    promised = {"desired", "status", "reachable", "endpoint", "served_model_name", "restarts", "last_crash"}
    assert promised <= set(shown)


def test_a_running_one_has_an_endpoint(worker: Worker, operator: Operator) -> None:
    operator.patch(f"/api/workers/{worker.worker_id}", {"address": "10.1.2.3"}).expect(200)
    made = operator.deploy(worker.worker_id)
    worker.start(made["deployment_id"])
    endpoint = str(operator.deployment(made["deployment_id"])["endpoint"])
    assert "10.1.2.3" in endpoint and "8001" in endpoint


def test_a_name_in_use_is_409_until_it_is_deleted(worker: Worker, operator: Operator) -> None:
    name = unique("chat")
    made = operator.deploy(worker.worker_id, name=name)
    body = {"model": "m", "name": name, "worker_id": worker.worker_id}
    operator.post("/api/deployments", body).expect(409, "DEPLOYMENT_NAME_IN_USE")
    operator.post(at(made, "stop")).expect(200)
    operator.delete(at(made)).expect(200)
    operator.post("/api/deployments", body).expect(201)


def test_a_worker_that_is_none_is_404(operator: Operator) -> None:
    operator.post("/api/deployments", {"model": "m", "worker_id": "none"}).expect(404, "WORKER_NOT_FOUND")


def test_lists_are_filtered(worker: Worker, operator: Operator) -> None:
    model, name = unique("org/model"), unique("chat")
    made = operator.deploy(worker.worker_id, model=model, name=name)
    other = operator.deploy(worker.worker_id)
    worker.commands()
    worker.report(made["deployment_id"], "starting").expect(200)
    for query in (f"model={model}", f"name={name}", f"worker_id={worker.worker_id}&status=starting"):
        found = operator.get(f"/api/deployments?{query}").expect(200)["deployments"]
        assert [one["deployment_id"] for one in found] == [made["deployment_id"]], query
    found = operator.get(f"/api/deployments?worker_id={worker.worker_id}").expect(200)["deployments"]
    assert {one["deployment_id"] for one in found} == {made["deployment_id"], other["deployment_id"]}


def test_lists_are_paged_by_an_opaque_token(worker: Worker, operator: Operator) -> None:
    made = {operator.deploy(worker.worker_id)["deployment_id"] for _ in range(5)}
    seen: list[str] = []
    query = f"/api/deployments?worker_id={worker.worker_id}&limit=2"
    page = operator.get(query).expect(200)
    while True:
        assert len(page["deployments"]) <= 2
        seen += [one["deployment_id"] for one in page["deployments"]]
        if page["next_token"] is None:
            break
        page = operator.get(f"{query}&next_token={page['next_token']}").expect(200)
    assert len(seen) == 5 and set(seen) == made


def test_a_deploy_that_was_never_sent_is_stopped_at_once(worker: Worker, operator: Operator) -> None:
    made = operator.deploy(worker.worker_id)
    stopped = operator.post(at(made, "stop")).expect(200)
    assert (stopped["desired"], stopped["status"]) == ("stopped", "stopped")
    assert "deploy" not in worker.types()


def test_a_stop_after_the_deploy_was_sent_is_delivered(worker: Worker, operator: Operator) -> None:
    made = operator.deploy(worker.worker_id)
    assert worker.types() == ["deploy"]
    stopped = operator.post(at(made, "stop")).expect(200)
    assert (stopped["desired"], stopped["status"]) == ("stopped", "pending"), "an operator never changes status"
    assert worker.types() == ["stop"]


def test_a_new_intent_overwrites_the_one_before(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id)
    agent.fetch("deploy")
    for port in (8002, 8003):
        operator.patch(at(made), {"config": {"port": port}}).expect(200)
    [command] = agent.commands()
    assert (command["type"], command["config"]["port"]) == ("deploy", 8003)


@pytest.mark.parametrize("action", ["stop", "start", "restart"])
def test_each_action_is_a_new_generation(agent: Agent, operator: Operator, action: str) -> None:
    made = operator.deploy(agent.worker_id)
    agent.fetch("deploy")
    agent.say(made["deployment_id"], "running", made["generation"]).expect(200)
    if action == "start":
        agent.say(made["deployment_id"], "error", made["generation"], error_code="X").expect(200)
    assert operator.post(at(made, action)).expect(200)["generation"] > made["generation"]
    [command] = agent.commands()
    assert command["type"] == ("stop" if action == "stop" else "deploy")


def test_a_patch_is_a_new_generation_that_starts_at_pending(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id)
    agent.fetch("deploy")
    agent.say(made["deployment_id"], "running", made["generation"]).expect(200)
    changed = operator.patch(at(made), {"config": {"max_model_len": 2048}}).expect(200)
    assert changed["generation"] > made["generation"] and changed["config"] == {"max_model_len": 2048}
    assert changed["status"] == "pending"
    assert agent.fetch("deploy")["generation"] == changed["generation"]


def test_a_stopped_one_starts_again(worker: Worker, operator: Operator) -> None:
    made = operator.deploy(worker.worker_id)
    worker.start(made["deployment_id"])
    operator.post(at(made, "stop")).expect(200)
    worker.commands(made["deployment_id"])
    worker.report(made["deployment_id"], "stopped").expect(200)
    assert operator.post(at(made, "start")).expect(200)["desired"] == "running"
    worker.start(made["deployment_id"])
    assert operator.status(made["deployment_id"]) == "running"


def test_only_stopped_or_error_ones_are_deleted(worker: Worker, operator: Operator) -> None:
    made = operator.deploy(worker.worker_id)
    worker.start(made["deployment_id"])
    operator.delete(at(made)).expect(409)
    worker.report(made["deployment_id"], "error", error_code="CONTAINER_FAILED").expect(200)
    operator.delete(at(made)).expect(200)
    operator.get(at(made)).expect(404, "DEPLOYMENT_NOT_FOUND")


def test_the_stop_of_a_deleted_one_stays_until_absence_is_shown(worker: Worker, operator: Operator) -> None:
    made = operator.deploy(worker.worker_id)
    worker.start(made["deployment_id"])
    worker.goodbye(made["deployment_id"])
    operator.post(f"/api/workers/{worker.worker_id}/lost").expect(200)
    operator.delete(at(made)).expect(200)
    assert worker.types(made["deployment_id"]) == ["stop"]
    worker.commands()
    assert worker.types() == []


def test_env_values_are_write_only(worker: Worker, operator: Operator, viewer: Operator) -> None:
    made = operator.post(
        "/api/deployments",
        {"model": "m", "worker_id": worker.worker_id, "gpus": 0, "env": {"HF_TOKEN": SECRET, "B": {"from_host": True}}},
    )
    deployment_id = made.expect(201)["deployment_id"]
    for reply in (made, viewer.get(at(made.body)), viewer.get("/api/deployments?limit=100")):
        assert SECRET not in reply.text
    assert set(viewer.deployment(deployment_id)["env"]) == {"HF_TOKEN", "B"}
    [command] = worker.commands()
    assert command["env"].items() >= {"HF_TOKEN": SECRET, "B": {"from_host": True}}.items()


CREDENTIALS: list[Json] = [
    {"hf_token": SECRET},
    {"api-key": [SECRET]},
    {"kv_transfer_config": {"kv_connector_extra_config": {"password": SECRET}}},
    {"speculative_config": f'{{"hf_token": "{SECRET}"}}'},
    {"extra_args": ["--hf-token", SECRET]},
    {"extra_args": [f"--hf_tok={SECRET}"]},
]


@pytest.mark.parametrize("config", CREDENTIALS, ids=str)
def test_a_credential_in_config_is_400_and_stored_nowhere(
    worker: Worker, operator: Operator, viewer: Operator, config: Json
) -> None:
    body = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    made = operator.post("/api/deployments", body | {"config": {"tokenizer": "org/m", "max_num_seqs": 8}}).expect(201)
    refused = operator.post("/api/deployments", body | {"config": config})
    changed = operator.patch(f"/api/deployments/{made['deployment_id']}", {"config": config})
    for reply in (refused, changed):
        message = reply.expect(400, "INVALID_REQUEST")["message"]
        assert message.startswith("config.")
        assert "env" in message
        assert SECRET not in reply.text
    for path in ("/api/deployments?limit=500", "/api/events?limit=500"):
        assert SECRET not in viewer.get(path).text
    assert SECRET not in str(worker.commands())


def test_config_with_env_over_64_kib_is_413(worker: Worker, operator: Operator) -> None:
    base = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    operator.post("/api/deployments", base | {"config": {"a": "x" * 60_000}}).expect(201)
    for more in ({"config": {"a": "x" * 66_000}}, {"config": {"a": "x" * 40_000}, "env": {"B": "y" * 40_000}}):
        operator.post("/api/deployments", base | more).expect(413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("gpus", [-1, 1.5, "two", [0, 0], [-1], ["0"], True])
def test_gpus_that_are_no_number_or_list_are_400(worker: Worker, operator: Operator, gpus: Json) -> None:
    body = {"model": "m", "worker_id": worker.worker_id, "gpus": gpus}
    assert "gpus" in operator.post("/api/deployments", body).expect(400, "INVALID_REQUEST")["message"]


def test_an_idempotency_key_returns_the_first_resource(worker: Worker, operator: Operator) -> None:
    body = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    headers = {"Idempotency-Key": unique("once")}
    first = operator.post("/api/deployments", body, headers=headers).expect(201)
    again = operator.post("/api/deployments", body, headers=headers)
    assert again.status in (200, 201) and again.body["deployment_id"] == first["deployment_id"]
    assert len(worker.commands()) == 1
    other = body | {"model": "another"}
    operator.post("/api/deployments", other, headers=headers).expect(409, "IDEMPOTENCY_MISMATCH")


def test_an_idempotency_key_is_the_callers_own(worker: Worker, operator: Operator, admin: Operator) -> None:
    body = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    headers = {"Idempotency-Key": unique("once")}
    mine = operator.post("/api/deployments", body, headers=headers).expect(201)["deployment_id"]
    assert admin.post("/api/deployments", body, headers=headers).expect(201)["deployment_id"] != mine


def test_an_error_does_not_spend_an_idempotency_key(worker: Worker, operator: Operator) -> None:
    headers = {"Idempotency-Key": unique("once")}
    operator.post("/api/deployments", {"model": "m", "worker_id": "none"}, headers=headers).expect(404)
    body = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    operator.post("/api/deployments", body, headers=headers).expect(201)
