"""Which GPUs an instance is given, who holds their memory, and what of the host's environment comes to light."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from agent.gpus import Gpu, Holder
from tests.fixtures.agent_world import GIB, AgentWorld


def test_an_instance_gets_the_claimed_gpus_by_uuid(world: AgentWorld) -> None:
    world.gpus = [Gpu(index, 80 * GIB, GIB, uuid=f"GPU-{name}") for index, name in enumerate("abc")]
    world.deploy(gpus=[2, 0])
    world.settle()
    assert (world.engine.specs[-1].gpus, world.engine.specs[-1].devices) == ((2, 0), ("GPU-c", "GPU-a"))


def test_an_instance_gets_them_by_index_where_the_driver_tells_no_uuid(world: AgentWorld) -> None:
    world.deploy(gpus=[1])
    world.settle()
    assert world.engine.specs[-1].device_ids == ("1",)


def test_foreign_holders_are_named_by_process_and_container(world: AgentWorld) -> None:
    stranger = Holder(4711, 70 * GIB, "python", "c0ffee" * 10)
    world.gpus = [Gpu(0, 80 * GIB, 71 * GIB, (stranger,), "GPU-a")]
    world.deploy(gpus=[0])
    world.settle()
    report = world.last_report()
    assert report.error_code == "CUDA_OUT_OF_MEMORY"
    assert "python (pid 4711) in container c0ffeec0ffee" in (report.message or "")


def test_a_crash_report_says_how_it_ended_and_who_holds_the_gpus(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, 20 * GIB, (Holder(4711, 19 * GIB, "python", "c0ffee" * 10),), "GPU-a")]
    world.deploy(gpus=[0], config={"gpu_memory_utilization": 0.5}, restart="never")
    world.settle(3)
    world.engine.say(world.engine.only().id, "RuntimeError: CUDA error: an illegal memory access was encountered")
    world.engine.die(world.engine.only().id, 1)
    world.settle(3)
    report = world.last_report()
    assert report.logs is not None
    assert "illegal memory access" in report.logs
    assert "[muster] exit code 1, not killed for memory\n[muster] 1000.0 GiB free on " in report.logs
    assert report.logs.endswith(
        "[muster] GPU 0: 20.0 GiB of 80.0 GiB used: python (pid 4711) in container c0ffeec0ffee 19.0 GiB"
    )


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
