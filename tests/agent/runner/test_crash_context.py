"""What a crash report says beside the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from muster.api.messages import Disk
from muster_agent.engines.base import Instance
from muster_agent.gpus.gpu_usage import Gpu, Holder
from muster_agent.runner.crash_context import crash_context
from muster_agent.runner.preflight import HostProbe
from tests.fixtures.agent_world import DISK, GIB, AgentWorld, FakeHub


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


DEAD = Instance("i1", "muster-d1-g1", "image", "exited", "w1", "d1", 1, exit_code=137)


def host_probe(*gpus: Gpu, free: int | None = 3 * GIB) -> HostProbe:
    def disk(path: Path) -> Disk:
        if free is None:
            raise OSError
        return Disk(DISK.total, DISK.used, free, DISK.percent)

    return HostProbe(FakeHub(), lambda: gpus, disk)


@pytest.mark.parametrize(("killed", "said"), [(True, "killed for memory"), (False, "not killed for memory")])
def test_the_first_line_tells_exit_code_and_whether_the_kernel_killed_it(killed: bool, said: str) -> None:
    lines = crash_context(replace(DEAD, oom_killed=killed), host_probe(), Path("/var"), [DEAD])
    assert lines == f"\n[muster] exit code 137, {said}\n[muster] 3.0 GiB free on /var"


def test_a_disk_that_does_not_answer_is_left_out() -> None:
    assert "free on" not in crash_context(DEAD, host_probe(free=None), Path("/var"), [])


def test_memory_that_nobody_is_named_for_is_told_all_the_same() -> None:
    lines = crash_context(DEAD, host_probe(Gpu(1, 80 * GIB, 20 * GIB)), Path("/"), [])
    assert lines.endswith("\n[muster] GPU 1: 20.0 GiB of 80.0 GiB used: by nobody that NVML names")


def test_a_container_that_is_there_is_told_by_its_name() -> None:
    there = Instance("c" * 64, "their-notebook", "jupyter", "running")
    holders = (Holder(7, GIB, "python", "c" * 64), Holder(8, 2 * GIB))
    lines = crash_context(DEAD, host_probe(Gpu(0, 80 * GIB, 3 * GIB, holders)), Path("/"), [there])
    assert lines.endswith("python (pid 7) in container their-notebook 1.0 GiB, a process (pid 8) 2.0 GiB")


def test_memory_that_is_unknown_is_told_as_unknown() -> None:
    lines = crash_context(DEAD, host_probe(Gpu(0, None, None, (Holder(7, None, "python"),))), Path("/"), [])
    assert lines.endswith("\n[muster] GPU 0: unknown of unknown used: python (pid 7) unknown")
    lines = crash_context(DEAD, host_probe(Gpu(0, None, 96 * GIB, shared=True)), Path("/"), [])
    assert lines.endswith("\n[muster] GPU 0: 96.0 GiB of the host's memory used: by nobody that NVML names")
