"""From a deploy command to an instance: what is refused, which port and which variables it is given."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from agent.engines import EngineError, RunSpec
from tests.fixtures.agent_world import AgentWorld


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
