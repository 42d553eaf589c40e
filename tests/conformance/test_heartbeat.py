"""Heartbeats: the interval, the inbox, acks, a lost journal, and a stop that is never dropped."""

from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.served import Server

UNKNOWN = "5c1d5c1d-0000-4000-8000-000000000000"


def test_the_interval_is_five_seconds_here(agent: Agent) -> None:
    assert agent.beat()["next_heartbeat_in"] == 5


def test_the_interval_is_one_second_while_something_is_under_way(agent: Agent, operator: Operator) -> None:
    operator.deploy(agent.worker_id)
    assert agent.beat()["next_heartbeat_in"] == 1


def test_the_interval_is_one_second_while_an_operator_waits(agent: Agent, operator: Operator) -> None:
    operator.get(f"/api/workers/{agent.worker_id}/images?wait=0").expect(202)
    assert agent.beat()["next_heartbeat_in"] == 1


def test_the_inbox_only_grows(agent: Agent, operator: Operator) -> None:
    before = agent.beat()["inbox"]
    operator.deploy(agent.worker_id)
    rung = agent.beat()["inbox"]
    assert rung > before > 0
    assert agent.beat()["inbox"] >= rung


def test_every_command_has_an_id_and_a_type(agent: Agent, operator: Operator) -> None:
    operator.deploy(agent.worker_id)
    operator.get(f"/api/workers/{agent.worker_id}/images?wait=0").expect(202)
    commands = {command["type"]: command for command in agent.commands()}
    assert set(commands) == {"deploy", "list_images"}
    assert all(isinstance(command["command_id"], str) for command in commands.values())
    assert isinstance(commands["deploy"]["generation"], int)
    assert 0 < commands["list_images"]["expires_in"] <= 60


def test_a_command_is_sent_with_every_heartbeat_until_it_is_acked(agent: Agent, operator: Operator) -> None:
    operator.deploy(agent.worker_id)
    assert [[one["type"] for one in agent.beat(acks=[])["commands"]] for _ in range(3)] == [["deploy"]] * 3
    assert agent.types() == [], "this one carried the ack"
    assert agent.types() == []


def test_an_operation_is_sent_until_it_is_acked(agent: Agent, operator: Operator) -> None:
    operator.post(f"/api/workers/{agent.worker_id}/images/pull", {"image": "vllm/vllm-openai:latest"}).expect(202)
    assert [[one["type"] for one in agent.beat(acks=[])["commands"]] for _ in range(2)] == [["pull_image"]] * 2
    assert agent.types() == []


def test_an_ack_of_nothing_known_is_no_receipt_and_disturbs_nothing(agent: Agent, operator: Operator) -> None:
    deployment_id = operator.deploy(agent.worker_id)["deployment_id"]
    [deploy] = agent.beat(acks=[])["commands"]
    assert agent.beat(acks=["never-sent", "", "x" * 500])["commands"] == [deploy]
    assert operator.status(deployment_id) == "pending"
    assert agent.beat(acks=["never-sent", deploy["command_id"]])["commands"] == []


def test_an_old_ack_does_not_take_a_newer_intent(agent: Agent, operator: Operator) -> None:
    deployment_id = operator.deploy(agent.worker_id)["deployment_id"]
    first = agent.fetch("deploy")["command_id"]
    operator.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    agent.beat(acks=[first])
    assert [one["type"] for one in agent.beat(acks=[first])["commands"]] == ["stop"]


def test_another_journal_has_the_intents_sent_again(agent: Agent, operator: Operator) -> None:
    deployment_id = operator.deploy(agent.worker_id)["deployment_id"]
    agent.fetch("deploy")
    assert agent.types() == []
    agent.journal_id = "a-new-one"
    [command] = agent.commands()
    assert (command["type"], command["deployment_id"]) == ("deploy", deployment_id)


def test_another_journal_fails_what_was_acked(agent: Agent, operator: Operator) -> None:
    pull = operator.post(f"/api/workers/{agent.worker_id}/images/pull", {"image": "vllm/vllm-openai:latest"})
    operation_id = pull.expect(202)["operation_id"]
    agent.fetch("pull_image")
    assert agent.types() == []
    agent.journal_id = "a-new-one"
    assert agent.types() == [], "neither runs again"
    shown = operator.operation(operation_id)
    assert (shown["status"], shown["error_code"]) == ("failed", "AGENT_STATE_LOST")


def test_a_stop_is_sent_again_to_a_journal_that_lost_it(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id)
    agent.fetch("deploy")
    agent.say(made["deployment_id"], "running", made["generation"]).expect(200)
    operator.post(f"/api/deployments/{made['deployment_id']}/stop").expect(200)
    agent.fetch("stop")
    agent.journal_id = "a-new-one"
    assert agent.types(made["deployment_id"]) == ["stop"]


def test_a_stop_is_delivered_after_an_absence(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    worker.goodbye(deployment_id)
    operator.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    worker.register()
    assert worker.types(deployment_id) == ["stop"]


def test_running_but_meant_to_be_stopped_gets_its_stop_again(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id)
    deployment_id = made["deployment_id"]
    agent.fetch("deploy")
    agent.say(deployment_id, "running", made["generation"]).expect(200)
    operator.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    stop = agent.fetch("stop")
    agent.say(deployment_id, "stopped", stop["generation"]).expect(200)
    assert agent.types() == []
    assert "stop" in agent.types(deployment_id) + agent.types(deployment_id)


def test_running_but_unknown_is_never_stopped_unasked(agent: Agent, operator: Operator) -> None:
    assert [agent.types(UNKNOWN) for _ in range(3)] == [[], [], []]
    with agent.answering({"list_containers": lambda _: {"output": {"containers": []}}}):
        operator.get(f"/api/workers/{agent.worker_id}/containers").expect(200)


def test_a_figure_that_is_missing_or_null_is_taken_and_shown_as_missing(server: Server, operator: Operator) -> None:
    worker = Worker(server.url, server.registration_token)
    devices = [{"index": 0, "memory_total": None}, {"index": 1}]
    unknown = {"memory_used": None, "utilization": None, "temperature": None, "power": None, "processes": None}
    worker.register(gpu_info={"count": 2, "devices": devices})
    worker.beat(gpu_usage=[{"index": 0, "utilization": 0}, {"index": 1, **unknown}])
    seen = operator.get(f"/api/workers/{worker.worker_id}").expect(200)
    assert seen["gpu_info"]["devices"] == [{"index": 0}, {"index": 1}]
    assert seen["gpu_usage"] == [{"index": 0, "utilization": 0}, {"index": 1}]


def test_a_model_on_two_gpus_waits_where_only_mig_devices_are_free(server: Server, operator: Operator) -> None:
    worker = Worker(server.url, server.registration_token)
    devices = [{"index": index, "uuid": f"MIG-{index}", "memory_total": 2**34} for index in range(2)]
    worker.register(gpu_info={"count": 2, "devices": devices})
    worker.beat()
    both = operator.deploy(worker.worker_id, gpus=2)
    assert both["status"] == "pending" and "MIG devices" in both["message"]
    assert operator.deploy(worker.worker_id, gpus=1)["gpu_indexes"] == [0]


def test_gpu_usage_is_shown(worker: Worker, operator: Operator) -> None:
    usage = operator.get(f"/api/workers/{worker.worker_id}").expect(200)["gpu_usage"]
    assert [(one["index"], one["utilization"]) for one in usage] == [(0, 85), (1, 85)]
    assert all(abs(one["memory_used"] - 45 * 10**9) < 2**21 for one in usage), "packed to a MiB at the coarsest"
