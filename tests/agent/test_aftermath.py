"""What a crash report says beside the log."""

from __future__ import annotations

from agent.gpus import Gpu, Holder
from tests.fixtures.agent_world import GIB, AgentWorld


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
