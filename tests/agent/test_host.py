"""Facts about the host that runs the tests, whatever it is."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent import host
from agent.engines import EngineError
from agent.vllm import PORTS
from chalicelib.contract.messages import Disk
from tests.fixtures.nvml import GIB, FakeNvml, gpu, told
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import deadline, eventually


def test_gpus_are_counted_with_name_and_memory_where_there_are_any() -> None:
    found = host.gpu_info()
    assert found.count == len(found.devices)
    for index, device in enumerate(found.devices):
        assert (device.index, bool(device.name), device.memory_total > 0) == (index, True, True)
        assert re.fullmatch(r"\d+\.\d+", device.cuda_version or "")
    for usage in host.gpu_usage():
        assert usage.index < found.count
        assert 0 <= usage.utilization <= 100


def test_system_and_disk_have_their_figures(tmp_path: Path) -> None:
    system = host.system_info()
    assert system.hostname == socket.gethostname()
    assert system.cpu_count > 0
    assert system.memory_total > 2**28
    disk = host.disk(tmp_path / "not" / "yet")
    assert 0 < disk.free <= disk.total
    assert 0 <= disk.percent <= 100
    assert "127.0.0.1" in host.local_addresses()


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    first = host.machine_id(tmp_path / "state")
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert host.machine_id(tmp_path / "state") == first
    assert first not in Path("/etc/machine-id").read_text() if Path("/etc/machine-id").exists() else True


def test_a_free_port_is_the_wanted_one_or_the_first_that_nobody_has() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(EngineError, match=str(port)) as raised:
            host.free_port(port, "127.0.0.1", ())
        assert raised.value.error_code == "PORT_IN_USE"
    assert host.free_port(port, "127.0.0.1", ()) == port
    with pytest.raises(EngineError):
        host.free_port(port, "127.0.0.1", {port})
    free = host.free_port(None, "127.0.0.1", ())
    assert free in PORTS
    assert host.free_port(None, "127.0.0.1", {free}) > free
    with pytest.raises(EngineError) as raised:
        host.free_port(None, "127.0.0.1", PORTS)
    assert raised.value.error_code == "PORT_IN_USE"
    for nowhere in ("203.0.113.9", "no such host"):
        with pytest.raises(EngineError) as raised:
            host.free_port(None, nowhere, ())
        assert raised.value.error_code == "ADDRESS_MISSING"


def test_a_process_is_known_by_pid_and_start() -> None:
    process = subprocess.Popen(
        ["sleep", "infinity"], env={"MARK_FOR_TEST": str(os.getpid()), "PATH": os.environ["PATH"]}
    )
    try:
        start = host.start_ticks(process.pid)
        assert start is not None
        assert host.start_ticks(process.pid) == start
        eventually(lambda: host.marked("MARK_FOR_TEST", str(os.getpid())) == [process.pid])
        process.kill()
        eventually(lambda: host.start_ticks(process.pid) is None)  # dead, though nobody has waited for it yet
    finally:
        process.kill()
        process.wait()
    assert host.marked("MARK_FOR_TEST", str(os.getpid())) == []


def test_a_sampler_answers_at_once_and_then_has_figures(tmp_path: Path) -> None:
    sampler = host.Sampler(lambda: host.disk(tmp_path), every=0.05)
    assert sampler.latest() == ([], None)
    sampler.start()
    try:
        disk = eventually(lambda: sampler.latest()[1])
    finally:
        sampler.stop()
    assert disk is not None and disk.total > 0


def test_a_sampler_without_a_disk_that_answers_has_no_figures_of_it() -> None:
    def broken() -> Disk:
        raise OSError

    sampler = host.Sampler(broken)
    sampler.sample()
    assert sampler.latest()[1] is None


def test_a_kept_machine_id_is_for_its_owner_alone(tmp_path: Path) -> None:
    host.machine_id(tmp_path / "state")
    for kept in (tmp_path / "state").glob("*"):
        assert not stat.S_IMODE(kept.parent.stat().st_mode) & 0o077


def test_gpus_are_listed_with_uuid_driver_and_memory(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-aaaa"), gpu("GPU-bbbb"))
    device = {"name": "NVIDIA H200", "memory_total": 140 * GIB, "cuda_version": "13.0", "driver_version": "580.95.05"}
    assert told(nvml, "host.gpu_info()") == {
        "count": 2,
        "devices": [{"index": 0, "uuid": "GPU-aaaa", **device}, {"index": 1, "uuid": "GPU-bbbb", **device}],
    }


def test_a_closer_look_has_temperature_power_and_processes(nvml: FakeNvml) -> None:
    me = os.getpid()
    nvml.says(gpu("GPU-aaaa", 30, 85, 61, 455), f"process 0 {me} {20 * GIB}", f"process 0 4000000 {9 * GIB}")
    brief = {"index": 0, "memory_used": 30 * GIB, "utilization": 85}
    seen, (found,) = told(nvml, "[host.gpu_usage(), host.gpu_usage(closely=True)]")
    assert seen == [brief]
    processes = found.pop("processes")
    assert found == brief | {"temperature": 61, "power": 455}
    assert [(each["pid"], each["memory"]) for each in processes] == [(me, 20 * GIB), (4000000, 9 * GIB)]
    assert processes[0]["name"] == Path(f"/proc/{me}/comm").read_text().strip()
    assert "name" not in processes[1]


@pytest.mark.parametrize(
    ("lines", "count", "usage"),
    [
        ([gpu("a", 1, 5), gpu("b", 2, 6, error=15)], 2, [(0, 1 * GIB, 5)]),  # the second fell off the bus
        ([gpu("a", 1, 5, error=3)], 1, [(0, 1 * GIB, 0)]),  # it tells memory alone
        (["driver 9", gpu("a")], 0, []),  # not loaded
        (["driver 18", gpu("a")], 0, []),  # another version than the library's
        ([], 0, []),
    ],
)
def test_devices_and_drivers_that_answer_in_part_are_told_as_far_as_they_go(
    nvml: FakeNvml, lines: list[str], count: int, usage: list[tuple[int, int, int]]
) -> None:
    nvml.says(*lines)
    info, *looks = told(nvml, "[host.gpu_info(), host.gpu_usage(), host.gpu_usage(closely=True)]")
    assert info["count"] == count
    for seen in looks:
        assert [(each["index"], each["memory_used"], each["utilization"]) for each in seen] == usage


def test_a_driver_that_comes_later_and_goes_again_is_noticed(nvml: FakeNvml) -> None:
    script = """
import sys
from agent import host
for line in sys.stdin:
    print(host.gpu_info().count, host.gpu_trouble(), flush=True)
"""
    env = {**os.environ, **nvml.environment}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        seen = []
        try:
            with deadline(process):
                for lines in (["driver 9"], [gpu("a")], ["driver 18", gpu("a")], [gpu("a"), gpu("b")]):
                    nvml.says(*lines)
                    print(file=process.stdin, flush=True)
                    seen.append(process.stdout.readline().strip())
        finally:
            process.kill()
    assert seen == ["0 Driver Not Loaded", "1 None", "0 RM has detected an NVML/RM version mismatch.", "2 None"]


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (f"0::/system.slice/docker-{'a1' * 32}.scope\n", "a1" * 32),
        (f"12:devices:/docker/{'b2' * 32}\n1:name=systemd:/docker/{'b2' * 32}\n", "b2" * 32),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{'c3' * 32}.scope\n", "c3" * 32),
        (f"0::/machine.slice/libpod-{'d4' * 32}.scope/container\n", "d4" * 32),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        (f"0::/{'e5' * 40}\n", None),
        ("", None),
    ],
)
def test_a_process_is_in_the_container_that_its_cgroup_names(cgroup: str, container: str | None) -> None:
    assert host.container_in(cgroup) == container


def test_what_is_not_here_is_in_no_container() -> None:
    assert host.container_of(4000000) is None
    assert host.process_name(4000000) == ""
