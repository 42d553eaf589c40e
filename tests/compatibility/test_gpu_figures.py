"""Figures that are unknown, and MIG devices, between release 0.1.0 and the current code: accepted both ways round."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from muster.api import messages as m
from tests.fixtures.kept_release import Release
from tests.fixtures.resources import worker

DEVICES = [m.GpuDevice(0, "NVIDIA GB10", uuid="GPU-a"), m.GpuDevice(1, memory_total=18, uuid="MIG-x"), m.GpuDevice(2)]
USAGE = [m.GpuUsage(0, 96, 57), m.GpuUsage(1, 2), m.GpuUsage(2)]
READ = """
import sys, msgspec
from chalicelib.contract import messages as m, resources as r
kind = getattr(m, sys.argv[1], None) or getattr(r, sys.argv[1])
print(msgspec.json.encode(msgspec.json.decode(sys.stdin.buffer.read(), type=kind)).decode())
"""


def read_by_release(release: Release, folder: Path, kind: str, value: msgspec.Struct) -> Any:
    """What the release's own code makes of `value`. Raises CalledProcessError where it refuses that."""
    run = subprocess.run(
        [release.python, "-c", READ, kind],
        cwd=folder,
        input=msgspec.json.encode(value),
        capture_output=True,
        check=True,
    )
    return json.loads(run.stdout)


def test_the_control_plane_of_0_1_0_accepts_what_an_agent_leaves_out(release: Release) -> None:
    info = m.GpuInfo(3, DEVICES)
    body = m.Registration("gpu-1", "t", info, m.SystemInfo("gpu-1"))
    joined = read_by_release(release, release.control_plane, "Registration", body)
    assert [each.get("memory_total", 0) for each in joined["gpu_info"]["devices"]] == [0, 18, 0]
    beat = m.Heartbeat("online", USAGE, [], gpu_info=info)
    usage = read_by_release(release, release.control_plane, "Heartbeat", beat)["gpu_usage"]
    assert [(each["memory_used"], each["utilization"]) for each in usage] == [(96, 57), (2, 0), (0, 0)]
    closer = m.Containers([], [m.GpuUsage(0, processes=[m.GpuProcess(7)])])
    assert read_by_release(release, release.control_plane, "Containers", closer)["gpus"][0]["processes"] == [{"pid": 7}]


def test_the_command_line_of_0_1_0_reads_a_worker_with_unknown_figures(release: Release) -> None:
    info = {"count": 3, "devices": msgspec.to_builtins(DEVICES)}
    seen = worker(gpu_info=info, gpu_usage=msgspec.to_builtins(USAGE))
    read = read_by_release(release, release.agent, "Worker", seen)
    assert [each["index"] for each in read["gpu_usage"]] == [0, 1, 2]


def test_figures_of_an_agent_of_0_1_0_are_what_they_say(release: Release) -> None:
    """It leaves out a size that is 0, which is unknown then; a usage of 0 may be a measurement."""
    told = read_by_release(release, release.agent, "GpuInfo", m.GpuInfo(1, [m.GpuDevice(0)]))
    assert msgspec.convert(told, m.GpuInfo).devices[0].memory_total is None
    told = read_by_release(release, release.agent, "GpuUsage", m.GpuUsage(0))
    assert (told["memory_used"], told["utilization"]) == (0, 0)
    assert msgspec.convert(told, m.GpuUsage) == m.GpuUsage(0, 0, 0)
