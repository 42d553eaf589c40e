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
from tests.engines.suite import eventually


def test_gpus_are_counted_where_there_are_any() -> None:
    found = host.gpu_info()
    assert found.count == len(found.devices)
    for index, device in enumerate(found.devices):
        assert (device.index, bool(device.name), device.memory_total > 0) == (index, True, True)
        assert re.fullmatch(r"\d+\.\d+", device.cuda_version or "")
    for usage in host.gpu_usage():
        assert usage.index < found.count
        assert 0 <= usage.utilization <= 100


def test_the_system_and_its_disk(tmp_path: Path) -> None:
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


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
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
        assert raised.value.error_code == "INVALID_CONFIG"


def test_a_process_is_known_by_pid_and_start() -> None:
    process = subprocess.Popen(["sleep", "60"], env={"MARK_FOR_TEST": str(os.getpid()), "PATH": os.environ["PATH"]})
    try:
        start = host.start_ticks(process.pid)
        assert start == host.start_ticks(process.pid)
        eventually(lambda: host.marked("MARK_FOR_TEST", str(os.getpid())) == [process.pid])
    finally:
        process.kill()
    eventually(lambda: host.start_ticks(process.pid) is None)  # dead, though nobody has buried it yet
    process.wait()
    assert host.marked("MARK_FOR_TEST", str(os.getpid())) == []


def test_a_sampler_answers_at_once_and_then_has_figures(tmp_path: Path) -> None:
    sampler = host.Sampler(tmp_path, every=0.05)
    assert sampler.latest() == ([], None)
    sampler.start()
    disk = eventually(lambda: sampler.latest()[1])
    assert disk is not None and disk.total > 0
    sampler.stop()


def test_a_kept_machine_id_is_for_its_owner_alone(tmp_path: Path) -> None:
    host.machine_id(tmp_path / "state")
    for kept in (tmp_path / "state").glob("*"):
        assert not stat.S_IMODE(kept.parent.stat().st_mode) & 0o077


FAKE_NVML = r"""
#include <stdio.h>
#include <string.h>
/* Answers from the file that FAKE_NVML names: "count error". Memory and the rest are made up. */
static int ask(int which) {
    int values[2] = {0, 0};
    FILE *file = fopen(getenv("FAKE_NVML"), "r");
    if (file) { if (fscanf(file, "%d %d", values, values + 1) < 1) {} fclose(file); }
    return values[which];
}
int nvmlInitWithFlags(unsigned flags) { return ask(1) == 9 ? 9 : 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = ask(0); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) { strncpy(name, "Fake GPU", length); return 0; }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) { strncpy(uuid, "GPU-1", length); return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strncpy(text, "550.1", length); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return 0; }
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
    if (device == (void *)1 && ask(1) == 15) return 15;
    memory[0] = 80; memory[1] = 50; memory[2] = 30; return 0;
}
int nvmlDeviceGetUtilizationRates(void *device, unsigned *rates) {
    if (ask(1) == 3) return 3;
    rates[0] = 85; rates[1] = 1; return 0;
}
"""


@pytest.mark.parametrize(
    ("answers", "count", "usage"),
    [
        ("2 0", 2, [(0, 30, 85), (1, 30, 85)]),
        ("2 15", 2, [(1, 30, 85)]),  # the first GPU is lost
        ("1 3", 1, [(0, 30, 0)]),  # utilization is not supported
        ("2 9", 0, []),  # the driver is not loaded
        ("0 0", 0, []),
    ],
)
def test_a_driver_in_every_mood(tmp_path: Path, answers: str, count: int, usage: list[tuple[int, int, int]]) -> None:
    """In a process of its own, since NVML's library is loaded once and for all."""
    library = _fake_nvml(tmp_path)
    (tmp_path / "answers").write_text(answers)
    script = """
from agent import host
info = host.gpu_info()
print((info.count, [(each.index, each.memory_used, each.utilization) for each in host.gpu_usage()]))
print([(each.name, each.memory_total, each.cuda_version, each.driver_version) for each in info.devices])
"""
    env = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML": str(tmp_path / "answers")}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    figures, facts = run.stdout.splitlines()
    assert figures == repr((count, usage))
    if answers == "2 0":
        assert facts == repr([("Fake GPU", 80, "12.4", "550.1")] * 2)


def _fake_nvml(folder: Path) -> Path:
    source, library = folder / "nvml.c", folder / "libnvidia-ml.so.1"
    source.write_text("#include <stdlib.h>\n" + FAKE_NVML)
    try:
        command = ["cc", "-w", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no C compiler for the fake NVML")
    return library
