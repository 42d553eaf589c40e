"""Values that nobody should send: too long, too large, too many, of odd characters. An answer in shape, never a 5xx."""

import pytest

from tests.fixtures.http_client import Json, Operator, unique
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.served import Server

LONG = "x" * 900_000
ODD = [LONG, "x" * 3000, "", "\x00", "a\x00b", "\ud800", "\u202e", "../..", "{}", "%s%n", "-rf", "\U0001f600" * 50]
NUMBERS = [-1, 2**31, 2**53, 2**63, 10**30, 10**60, -(10**30)]
IDS = ["x" * 30] * 30_000


@pytest.mark.parametrize("field", ["name", "machine_id", "boot_id", "agent_version", "address"])
def test_a_registration_with_odd_strings_is_taken_or_refused(server: Server, field: str) -> None:
    for odd in ODD:
        worker = Worker(server.url, server.registration_token)
        assert worker.try_register(**{field: odd}).status in (200, 400, 409)


@pytest.mark.parametrize("field", ["index", "memory_total"])
def test_a_registration_with_odd_numbers_is_taken_or_refused(server: Server, field: str) -> None:
    for number in NUMBERS:
        device = {"index": 0, "name": "A100", "memory_total": 1, "cuda_version": "12.1"} | {field: number}
        worker = Worker(server.url, server.registration_token)
        assert worker.try_register(gpu_info={"count": 1, "devices": [device]}).status in (200, 400)


@pytest.mark.parametrize("labels", [{"": "x"}, {"a": LONG}, {LONG: "a"}, {str(one): "x" for one in range(20_000)}])
def test_a_registration_with_odd_labels_is_taken_or_refused(server: Server, labels: Json) -> None:
    assert Worker(server.url, server.registration_token).try_register(labels=labels).status in (200, 400)


HEARTBEATS: list[Json] = [
    *({"journal_id": odd} for odd in ODD),
    *({"session": number} for number in NUMBERS if number < 0 or number > 2**53),
    *({"inbox": number} for number in NUMBERS),
    {"acks": IDS},
    {"acks": ODD[1:]},
    {"active_deployments": IDS},
    {"active_deployments": ODD[1:]},
    {"gpu_usage": [{"index": 0, "memory_used": number, "utilization": number} for number in NUMBERS]},
    {"gpu_usage": [{"index": index, "memory_used": 1, "utilization": 1} for index in range(9000)]},
    {"gpu_usage": [{"index": 0, "memory_used": 1, "utilization": 85.5}]},
    {"disk": {"total": 10**30, "used": -1, "free": 0, "percent": 10**9}},
    {"images": [{"id": "sha256:x", "tags": ["x" * 100], "size": 1, "created": "no time"}] * 5000},
]


def test_heartbeats_with_odd_values_leave_the_worker_working(agent: Agent) -> None:
    for odd in HEARTBEATS:
        assert agent.try_beat(**odd).status in (200, 400), str(odd)[:100]
        agent.beat()


REPORTS: list[Json] = [
    *({field: odd} for field in ("message", "container_id", "error_code", "logs") for odd in ODD),
    *({field: n} for field in ("port", "restarts", "generation", "sequence", "session") for n in NUMBERS),
    {"progress": {"phase": LONG, "current": 1, "total": 2}},
    {"progress": {"phase": "x", "current": -1, "total": 10**60}},
]


@pytest.mark.parametrize("status", ["starting", "error"])
def test_reports_with_odd_values_leave_the_deployment_readable(worker: Worker, operator: Operator, status: str) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.commands()
    for odd in REPORTS:
        assert worker.report(deployment_id, status, **odd).status in (200, 400, 409), str(odd)[:100]
    for path in ("", "/events", "/logs?wait=0"):
        assert operator.get(f"/api/deployments/{deployment_id}{path}").status in (200, 202)


RESULTS: list[Json] = [
    {"output": {"logs": LONG}},
    {"output": {"logs": "\u00e9" * 400_000}},
    {"output": {"logs": 7}},
    {"output": {}},
    {"output": [1]},
    {"output": "text"},
    {},
    {"status": "failed"},
    {"status": "failed", "error_code": LONG},
    {"status": "failed", "error_code": "", "message": ""},
    {"status": "failed", "error_code": "X", "message": LONG},
    {"status": "banana"},
    {"status": "running", "progress": {"phase": LONG, "current": 1, "total": 1}},
]


def test_results_with_odd_values_leave_the_operation_readable(agent: Agent, operator: Operator) -> None:
    for number, odd in enumerate(RESULTS):
        path = f"/api/workers/{agent.worker_id}/containers/c{number}/logs?wait=0"
        operation_id = operator.get(path).expect(202)["operation_id"]
        command_id = agent.fetch("container_logs")["command_id"]
        assert agent.result(command_id, **odd).status in (200, 400, 413), str(odd)[:100]
        assert len(operator.get(f"/api/operations/{operation_id}").text) < 300 * 1024


DEPLOYMENTS: list[Json] = [
    *({field: odd} for field in ("name", "model", "image", "backend", "worker_id", "restart") for odd in ODD),
    *({"gpus": number} for number in NUMBERS),
    {"gpus": [10**30]},
    {"gpus": list(range(5000))},
    {"selector": {"": ""}},
    {"env": {"": "x"}},
    {"env": {"A=B": "x"}},
    {"env": {"A": 1}},
    {"env": {"A": {"from_host": False}}},
]


def test_deployments_with_odd_values_leave_the_worker_working(worker: Worker, operator: Operator) -> None:
    base = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    for odd in DEPLOYMENTS:
        reply = operator.post("/api/deployments", base | odd)
        assert reply.status in (201, 400, 404, 413), str(odd)[:100]
        if reply.status == 201:
            operator.made.append(reply.body["deployment_id"])
    worker.beat()


def test_a_config_reaches_the_worker_as_it_was_given(agent: Agent, operator: Operator) -> None:
    config = {"a": 10**60, "b": 0.1 + 0.2, "c": 1e-300, "": None, "\u00fc\x00": [True, {"deep": [[[[]]]]}]}
    operator.deploy(agent.worker_id, config=config)
    assert agent.fetch("deploy")["config"] == config


@pytest.mark.parametrize("plural", ["workers", "deployments", "api-keys", "registration-tokens"])
def test_a_page_token_of_another_list_is_400(
    plural: str, worker: Worker, agent: Agent, operator: Operator, admin: Operator
) -> None:
    for host in (worker, agent):
        operator.deploy(host.worker_id)
    other = "deployments" if plural == "workers" else "workers"
    token = admin.get(f"/api/{other}?limit=1").expect(200)["next_token"]
    admin.get(f"/api/{plural}?next_token={token}").expect(400, "INVALID_REQUEST")


@pytest.mark.parametrize("key", ["", "x" * 5000, "a b", "\u00fc"])
def test_an_odd_idempotency_key_is_a_key_or_400(worker: Worker, operator: Operator, key: str) -> None:
    body = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    headers = {"Idempotency-Key": key and key + unique("")}
    assert operator.post("/api/deployments", body, headers=headers).status in (201, 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/cbor", "a/b; c=d"])
def test_a_body_is_json_whatever_its_content_type_says(worker: Worker, operator: Operator, kind: str) -> None:
    body = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}
    assert operator.post("/api/deployments", body, headers={"Content-Type": kind}).status in (201, 400)


def test_a_message_does_not_grow_with_what_was_wrong(operator: Operator) -> None:
    said = operator.post("/api/deployments", {"model": "m", "backend": LONG}).expect(400, "INVALID_REQUEST")
    assert len(said["message"]) < 2000


def test_a_credential_in_the_place_of_a_value_is_not_echoed(agent: Agent, admin: Operator) -> None:
    agent.try_beat(status=agent.client.bearer).expect(400, "INVALID_REQUEST")
    admin.post("/api/api-keys", {"name": "x", "role": admin.bearer}).expect(400, "INVALID_REQUEST")
    admin.post("/api/deployments", {"model": "m", "backend": admin.bearer}).expect(400, "INVALID_REQUEST")
