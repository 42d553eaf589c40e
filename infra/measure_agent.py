"""What an idle agent costs: memory, processor time and threads, with two running containers; `make measure-agent`.

The control plane, the agent and the Docker engine are real; the models are stand-ins, and their cost is not counted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

import docker
import psutil

from infra import fake_vllm_image
from infra.demo import MODEL, Demo, Host, say, step
from infra.demo_api import Api
from infra.demo_stage import DemoFailed, Stage, attempts, ignore_signals, on_stage

CONTAINERS = 2
SETTLE_SECONDS = 30.0
"""Since the last container began to run: what comes but once is not what idling costs."""
MEASURE_SECONDS = 120.0
HEARTBEAT_SECONDS = 30.0
"""Seconds between heartbeats of an idle worker, as they are outside of local mode."""
MAX_MEMORY_BYTES = 45 * 2**20
MAX_CPU_PERCENT = 0.2
"""Percent of one core."""


def main() -> int:
    """The exit code: 0 where both goals are met."""
    return on_stage(_measure)


def _measure(stage: Stage) -> int:
    seconds = float(os.environ.get("SECONDS") or MEASURE_SECONDS)
    with contextlib.closing(docker.from_env()) as client:
        fake_vllm_image.build(client)
    arguments = ("--engine", "docker", "--allow-image", fake_vllm_image.REFERENCE)
    host = Host("docker", arguments, 0, real=False, image=fake_vllm_image.REFERENCE)
    demo = Demo(stage, host, MODEL, heartbeat=float(os.environ.get("HEARTBEAT") or HEARTBEAT_SECONDS))
    try:
        api = demo.start_control_plane()
        worker = demo.start_agent(api)
        for _ in range(CONTAINERS):
            demo.deploy(api)
        step(f"Idling: {SETTLE_SECONDS:.0f} s to settle, then {seconds:.0f} s measured")
        time.sleep(SETTLE_SECONDS)
        return _measured(stage.process("agent"), seconds, api, worker)
    except DemoFailed as error:
        say(str(error), *(stage.tail(error.log) if error.log else ()))
        return 1
    finally:
        ignore_signals()
        demo.stop()


def _measured(agent: psutil.Process, seconds: float, api: Api, worker: str) -> int:
    before, began = agent.cpu_times(), time.monotonic()
    peak = 0
    for _ in attempts(seconds, 5.0):
        peak = max(peak, agent.memory_info().rss)
    cpu = 100 * (_busy(agent.cpu_times()) - _busy(before)) / (time.monotonic() - began)
    interval = api.get(f"/api/workers/{worker}")["next_heartbeat_in"]
    say(
        f"memory     {peak / 2**20:5.1f} MiB resident at most  (goal: {MAX_MEMORY_BYTES / 2**20:.0f})",
        f"processor  {cpu:5.2f} % of a core              (goal: {MAX_CPU_PERCENT})",
        f"threads    {agent.num_threads():5d}",
        f"heartbeat  {interval:5g} s apart",
    )
    return 0 if peak <= MAX_MEMORY_BYTES and cpu <= MAX_CPU_PERCENT else 1


def _busy(times: Any) -> float:
    return float(times.user + times.system)


if __name__ == "__main__":
    sys.exit(main())
