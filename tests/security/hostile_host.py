"""A host with secrets, for a control plane in an attacker's hand: what it refuses, and that it goes on all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from muster_agent.backends.policy import HostPolicy
from tests.fixtures.agent_world import AgentWorld

SECRETS = {"AWS_SECRET_ACCESS_KEY": "aws-secret-of-the-host", "HF_TOKEN": "hf_of_the_host", "SSH_AUTH_SOCK": "/s"}
REFUSED, INVALID, MISSING = "REFUSED_BY_HOST", "INVALID_CONFIG", "IMAGE_NOT_FOUND"
TAKE = {"from_host": True}


def world_of(folder: Path, *, processes: bool = False, **policy: Any) -> AgentWorld:
    world = AgentWorld(folder)
    world.host_env = dict(SECRETS)
    world.engine.uses_images = not processes
    world.policy = HostPolicy(hub_cache=folder / "hub", **policy)
    world.boot().beat()
    return world


def is_refused(world: AgentWorld, code: str, **order: Any) -> None:
    """And nothing was started or said that the host keeps to itself; what follows is done as ever."""
    world.deploy(**order)
    world.settle()
    report = world.last_report(quote(order.get("deployment_id", "d1"), safe=""))
    assert (report.status, report.error_code) == ("error", code), report
    assert world.engine.specs == []
    told = msgspec.json.encode([each for _, each in world.server.reports]).decode()
    assert not any(secret in told for secret in SECRETS.values() if len(secret) > 8)
    goes_on(world)


def goes_on(world: AgentWorld) -> None:
    world.deploy(deployment_id="good")
    world.settle()
    assert world.statuses("good")[-1] == "running"
