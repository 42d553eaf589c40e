"""From a deploy command to an instance: what is refused, which port and which variables it is given."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muster.api.messages import FromHost, Image
from muster_agent.backends.policy import TESTED_IMAGE, HostPolicy
from muster_agent.engines.base import EngineError, Instance, RunSpec
from muster_agent.runner.starter import PORT_RACES, Starter
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.commands import deploy
from tests.fixtures.memory_engine import MemoryEngine


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


def test_a_credential_in_the_configuration_never_gets_into_arguments_nor_into_what_refuses_it(
    world: AgentWorld,
) -> None:
    world.deploy(config={"hf_token": "/s3cret"})
    world.settle()
    report = world.last_report()
    assert report.error_code == "INVALID_CONFIG"
    assert "config.hf_token" in str(report.message)
    assert "s3cret" not in str(report)
    assert world.engine.calls == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"nnodes": 2, "node_rank": 1, "headless": True, "master_addr": "10.0.0.1"}, "one deployment is one container"),
        ({"ssl_keyfile": "/certs/key.pem", "ssl_certfile": "/certs/cert.pem"}, "put TLS before"),
        ({"tensor_parallel_size": 4}, "give it 4 `gpus`"),
    ],
)
def test_what_is_impossible_is_told_as_that_and_not_as_the_owners_refusal(
    world: AgentWorld, config: dict[str, Any], said: str
) -> None:
    world.deploy(config=config, gpus=[0, 1])
    world.settle()
    assert (world.statuses(), world.last_report().error_code) == (["error"], "INVALID_CONFIG")
    assert said in str(world.last_report().message)
    assert world.engine.calls == []


def test_a_file_that_is_not_there_is_named_before_anything_is_pulled(world: AgentWorld, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    world.policy = HostPolicy(model_root=tmp_path / "weights")
    world.restart()
    world.beat()
    world.deploy(config={"chat_template": f"{tmp_path}/weights/t.jinja"})
    world.settle()
    assert (world.statuses(), world.last_report().error_code) == (["error"], "INVALID_CONFIG")
    assert f"config.chat_template: there is no {tmp_path}/weights/t.jinja" in str(world.last_report().message)
    assert world.engine.calls == []
    (tmp_path / "weights/t.jinja").write_text("x")
    world.deploy(2, config={"chat_template": f"{tmp_path}/weights/t.jinja"})
    world.settle()
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


def test_a_port_that_somebody_took_first_is_not_taken_again(world: AgentWorld) -> None:
    """Another agent on this host, or a port that only the engine can see."""
    world.engine.taken_ports = {20000, 20001}
    world.deploy()
    world.settle()
    assert (world.statuses()[-1], world.last_report().port) == ("running", 20002)
    assert world.last_report().restarts == 0


def test_the_port_that_was_asked_for_is_no_other(world: AgentWorld) -> None:
    tried: list[int] = []

    def busy(spec: RunSpec) -> None:
        tried.append(spec.port)
        raise EngineError("PORT_IN_USE", "taken")

    world.engine.on_start = busy
    world.deploy(config={"port": 8123})
    world.settle(2)
    assert tried == [8123]
    assert (world.last_report().status, world.last_report().error_code) == ("starting", "PORT_IN_USE")


def test_the_hosts_secrets_reach_the_instance_and_nobody_else(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {"HF_TOKEN": "hf_abcdef", "HTTPS_PROXY": "http://user:pass@proxy"}
    world.host_env.update(secrets)
    world.deploy()
    world.settle(3)
    assert world.engine.specs[-1].env.items() >= secrets.items()
    listed: dict[str, Any] = world.ask("list_containers")
    world.engine.die(world.engine.only().id, 1)
    world.settle(3)
    world.beat()
    said = [msgspec.json.encode(each) for each in (*world.server.beats, *world.server.reports, listed)]
    said += [caplog.text.encode(), *map(repr_of, world.engine.specs)]
    for secret in ("hf_abcdef", "user:pass"):
        assert not any(secret.encode() in each for each in said)


def repr_of(spec: object) -> bytes:
    return repr(spec).encode()


@pytest.fixture
def engine(world: AgentWorld) -> MemoryEngine:
    world.engine.uses_images = False
    return world.engine


@pytest.fixture
def starter(world: AgentWorld, engine: MemoryEngine) -> Starter:
    """A starter on the host of `world`, whose engine has no images."""
    return Starter(world.runtime.context)


def other(port: int, state: str = "running") -> Instance:
    return Instance(f"i{port}", f"n{port}", "i", "exited" if state == "exited" else "running", "w2", "d9", 1, port=port)


@pytest.mark.parametrize(
    ("config", "last_port", "there", "port"),
    [
        ({}, None, [], 20000),
        ({}, None, [other(20000)], 20001),
        ({}, None, [other(20000, "exited")], 20000),
        ({}, 20007, [], 20007),
        ({}, 20007, [other(20007)], 20000),
        ({"port": 8123}, 20007, [], 8123),
    ],
)
def test_a_port_is_the_wanted_one_or_the_last_one_or_the_first_that_is_free(
    engine: MemoryEngine,
    starter: Starter,
    config: dict[str, Any],
    last_port: int | None,
    there: list[Instance],
    port: int,
) -> None:
    for instance in there:
        engine.add(instance)
    assert starter.start(deploy(config=config), last_port).port == port


@pytest.mark.parametrize(("taken", "starts"), [(PORT_RACES, True), (PORT_RACES + 1, False)])
def test_ports_that_others_take_first_are_lost_a_few_times_and_not_for_ever(
    engine: MemoryEngine, starter: Starter, taken: int, starts: bool
) -> None:
    engine.taken_ports = set(range(20000, 20000 + taken))
    if starts:
        assert starter.start(deploy(), None).port == 20000 + taken
    else:
        with pytest.raises(EngineError, match="in use"):
            starter.start(deploy(), None)


def test_an_image_is_missing_until_it_was_pulled_and_never_for_an_engine_without_images(
    engine: MemoryEngine, starter: Starter
) -> None:
    assert starter.prepare(deploy(), []).missing_image is None
    engine.uses_images = True
    assert starter.prepare(deploy(), []).missing_image == TESTED_IMAGE
    assert starter.prepare(deploy(image="vllm/vllm-openai:latest"), []).missing_image == "vllm/vllm-openai:latest"
    engine.pulled[TESTED_IMAGE] = Image("sha256:1", [TESTED_IMAGE], 1, "")
    assert starter.prepare(deploy(), []).missing_image is None


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({}, None),
        ({"VLLM_API_KEY": "own"}, "own"),
        ({"VLLM_API_KEY": FromHost(from_host=True)}, "of-the-host"),
    ],
)
def test_a_model_is_asked_with_the_key_that_it_was_given(
    world: AgentWorld, starter: Starter, env: dict[str, str | FromHost], key: str | None
) -> None:
    world.host_env["VLLM_API_KEY"] = "of-the-host"
    assert starter.is_ready(deploy(env=env), other(20001))
    assert world.probe.keys == [key]


def test_an_instance_without_a_port_is_neither_ready_nor_alive(starter: Starter) -> None:
    nowhere = Instance("i1", "n1", "i", "running", "w1", "d1", 1)
    assert not starter.is_ready(deploy(), nowhere)
    assert not starter.is_alive(nowhere)


def test_a_port_that_the_deployment_itself_holds_is_in_nobodys_way(engine: MemoryEngine, starter: Starter) -> None:
    own = engine.add(Instance("i1", "n1", "i", "running", "w1", "d1", 1, port=8123))
    command = deploy(config={"port": 8123})
    assert starter.prepare(command, [own]).preflight.caution == ""
    with pytest.raises(EngineError) as raised:
        starter.prepare(command, [])
    assert raised.value.error_code == "PORT_IN_USE"
