"""What NVML answers, and how its state in a process is made anew."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from muster_agent.gpus import nvml as real
from tests.fixtures.nvml import GIB, FakeNvml, compile_nvml, fails, gpu, part, says_bytes, told
from tests.fixtures.waiting import deadline

GARBAGE = b"\xf8\x95\xa0\x81"
LIST = "[[d.position, d.uuid, d.memory, d.error] for d in nvml.listing()]"


def test_this_hosts_gpus_are_listed_where_there_are_any() -> None:
    try:
        found = real.listing()
    except real.DriverError as error:
        assert str(error)
        return
    for position, device in enumerate(found):
        assert (device.position <= position, bool(device.memory or device.shared)) == (True, True)
    assert not found or re.fullmatch(r"\d+\.\d+", real.versions()[1] or "")


def test_devices_are_listed_in_order_with_their_memory(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a"), gpu("GPU-b"))
    assert told(nvml, LIST) == [[0, "GPU-a", 140 * GIB, None], [1, "GPU-b", 140 * GIB, None]]
    assert told(nvml, "nvml.versions()") == ["580.95.05", "13.0"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (15, "GPU is lost (NVML error 15)"),
        (6, "Not Found (NVML error 6)"),
        (999, "Unknown Error (NVML error 999)"),
        (16, "GPU requires restart (NVML error 16)"),
    ],
)
def test_a_device_that_does_not_answer_keeps_its_place_with_the_error(nvml: FakeNvml, error: int, words: str) -> None:
    nvml.says(gpu("GPU-a", error=error), gpu("GPU-b"))
    assert told(nvml, LIST) == [[0, None, None, words], [1, "GPU-b", 140 * GIB, None]]


@pytest.mark.parametrize(
    ("lines", "listed"),
    [
        ([says_bytes("name", GARBAGE)], ["a", "", 140 * GIB, False, None]),
        ([says_bytes("name", b"\x01\x1b[31mH200")], ["a", "", 140 * GIB, False, None]),
        ([fails("name", 3)], ["a", "", 140 * GIB, False, None]),
        ([fails("name", 999)], ["a", "", 140 * GIB, False, None]),
        ([says_bytes("uuid", GARBAGE)], [None, "NVIDIA H200", 140 * GIB, False, None]),
        ([says_bytes("uuid", b"GPU-1,GPU-2")], [None, "NVIDIA H200", 140 * GIB, False, None]),
        ([fails("uuid", 3)], [None, "NVIDIA H200", 140 * GIB, False, None]),
        ([fails("uuid", 999)], [None, "NVIDIA H200", 140 * GIB, False, None]),
        ([fails("memory", 3)], ["a", "NVIDIA H200", None, True, None]),
        ([fails("memory", 4)], ["a", "NVIDIA H200", None, False, None]),
        ([fails("memory", 13)], ["a", "NVIDIA H200", None, False, None]),
        ([fails("mig", 3)], ["a", "NVIDIA H200", 140 * GIB, False, None]),
        ([fails("mig", 999)], ["a", "NVIDIA H200", 140 * GIB, False, None]),
        ([fails("name", 15)], ["a", "", None, False, "GPU is lost (NVML error 15)"]),
        ([fails("mig", 15)], ["a", "", None, False, "GPU is lost (NVML error 15)"]),
        ([fails("uuid", 16)], [None, "", None, False, "GPU requires restart (NVML error 16)"]),
        ([fails("memory", 999)], ["a", "", None, False, "Unknown Error (NVML error 999)"]),
        ([fails("memory", 77)], ["a", "", None, False, "NVML Error with code 77 (NVML error 77)"]),
        ([fails("handle", 4)], [None, "", None, False, "Insufficient Permissions (NVML error 4)"]),
    ],
)
def test_each_answer_may_be_an_error_or_no_text_and_the_others_stay(
    nvml: FakeNvml, lines: list[str], listed: list[object]
) -> None:
    nvml.says(gpu("a"), *lines)
    assert told(nvml, "[[d.uuid, d.name, d.memory, d.shared, d.error] for d in nvml.listing()]") == [listed]


@pytest.mark.parametrize(("total", "used"), [(0, 0), (2**64 - 1, 1), (2**53 + 1, 1)])
def test_a_size_that_can_be_none_is_unknown(nvml: FakeNvml, total: int, used: int) -> None:
    nvml.says(f"gpu a {total} {used} 5 40 7000 0")
    assert told(nvml, LIST) == [[0, "a", None, None]]
    assert told(nvml, FIGURES) == [[None, 5, 40, 7.0]]


FIGURES = """[[f.memory_used, f.utilization, f.temperature, f.power] for f in [
    nvml.figures(each, True, lambda pid: '', lambda pid: None) for each in nvml.listing()
]]"""


@pytest.mark.parametrize(
    ("line", "figures"),
    [
        (fails("utilization", 3), [GIB, None, 40, 70.0]),
        (fails("temperature", 3), [GIB, 5, None, 70.0]),
        (fails("power", 3), [GIB, 5, 40, None]),
        (fails("power", 999), [GIB, 5, 40, None]),
        (fails("utilization", 15), [GIB, None, 40, 70.0]),  # lost in this moment: the next listing says so
        ("number utilization 0 101", [GIB, None, 40, 70.0]),
        ("number utilization 0 0", [GIB, 0, 40, 70.0]),
        ("number temperature 0 4294967295", [GIB, 5, None, 70.0]),
        ("number power 0 4294967295", [GIB, 5, 40, None]),
        (fails("memory", 4), [None, 5, 40, 70.0]),
    ],
)
def test_a_figure_that_is_not_told_is_unknown_and_not_0(nvml: FakeNvml, line: str, figures: list[object]) -> None:
    nvml.says(gpu("a", used=1, utilization=5), line)
    assert told(nvml, FIGURES) == [figures]


PROCESSES = "[nvml.figures(each, True, lambda pid: '', lambda pid: None) for each in nvml.listing()][0]"


@pytest.mark.parametrize(
    ("lines", "used", "processes"),
    [
        ([f"process 0 7 {3 * GIB}", f"process 0 8 {GIB}"], 4 * GIB, [[7, 3 * GIB], [8, GIB]]),
        ([], 0, []),
        ([f"process 0 7 {3 * GIB}", f"process 0 8 {2**64 - 1}"], None, [[7, 3 * GIB], [8, None]]),
        ([fails("processes", 3)], None, None),
        ([fails("processes", 4)], None, None),
    ],
)
def test_of_memory_that_is_the_hosts_the_processes_have_the_sum(
    nvml: FakeNvml, lines: list[str], used: int | None, processes: list[list[int]] | None
) -> None:
    nvml.says(gpu("a", utilization=5), fails("memory", 3), *lines)
    seen = told(nvml, PROCESSES)
    assert (seen["memory_used"], seen["utilization"]) == (used, 5)
    found = seen["processes"]
    assert (found and [[each["pid"], each.get("memory")] for each in found]) == processes


def test_the_versions_are_unknown_where_they_are_no_text_or_not_told(nvml: FakeNvml) -> None:
    nvml.says(gpu("a"), says_bytes("version", GARBAGE), fails("cuda", 3))
    assert told(nvml, "nvml.versions()") == [None, None]
    assert told(nvml, LIST) == [[0, "a", 140 * GIB, None]]


def test_a_list_that_becomes_shorter_while_it_is_read_ends_there(nvml: FakeNvml) -> None:
    nvml.says(gpu("a"), "number count 0 3")
    assert told(nvml, LIST) == [[0, "a", 140 * GIB, None]]


FAILURE = """(lambda d: (lambda s: [s.failure, s.code])(d.read()))(Devices())"""


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ("driver 9", ["Driver Not Loaded", 9]),
        ("driver 18", ["RM has detected an NVML/RM version mismatch.", 18]),
        ("driver 4", ["Insufficient Permissions", 4]),
        ("driver 999", ["Unknown Error", 999]),
        ("driver 77", ["NVML Error with code 77", 77]),
        (fails("count", 999), ["Unknown Error", 999]),
        (fails("handle", 1), ["Uninitialized", 1]),
    ],
)
def test_what_is_about_no_device_is_the_drivers_failure(nvml: FakeNvml, line: str, failure: list[object]) -> None:
    nvml.says(gpu("a"), line)
    assert told(nvml, FAILURE) == failure


def test_a_library_that_is_too_old_or_no_library_is_a_failure(tmp_path: Path) -> None:
    old = compile_nvml(tmp_path, "-DOLD")
    old.says(gpu("a"))
    assert told(old, FAILURE) == ["Function Not Found", 13]
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    assert told(old, FAILURE) == ["NVML Shared Library Not Found", 12]


def test_what_pynvml_raises_by_itself_is_a_failure_too(nvml: FakeNvml) -> None:
    nvml.says(gpu("a"))
    broken = "(setattr(nvml.pynvml, 'nvmlDeviceGetCount', lambda: int('x')), Devices().read().failure)[1]"
    assert "ValueError: invalid literal" in told(nvml, broken)


# MIG

MIG = "[[d.position, d.uuid, d.name, d.memory, d.mig, d.error] for d in nvml.listing()]"


def test_a_gpu_with_mig_is_listed_as_its_mig_devices(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a"), gpu("GPU-b"), part(0, 0, "MIG-x", 18), part(0, 3, "MIG-y", 35, profile="2g.35gb"))
    assert told(nvml, MIG) == [
        [0, "MIG-x", "NVIDIA H200 MIG 1g.18gb", 18 * GIB, True, None],
        [0, "MIG-y", "NVIDIA H200 MIG 2g.35gb", 35 * GIB, True, None],
        [1, "GPU-b", "NVIDIA H200", 140 * GIB, False, None],
    ]


def test_a_mig_device_has_its_own_memory_and_processes(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a", used=30), part(0, 0, "MIG-x", 18, used=2), part(0, 1, "MIG-y", 18), f"process 100 7 {GIB}")
    assert told(nvml, FIGURES) == [[2 * GIB, None, None, None], [0, None, None, None]]
    assert told(nvml, PROCESSES)["processes"] == [{"pid": 7, "memory": GIB}]


def test_a_gpu_with_mig_and_no_mig_device_cannot_be_used(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a"), "mig 0")
    assert told(nvml, MIG) == [[0, "GPU-a", "NVIDIA H200", 140 * GIB, False, real.NO_MIG_DEVICE]]


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        (fails("part", 4), [[0, "GPU-a", "NVIDIA H200", 140 * GIB, False, real.NO_MIG_DEVICE]]),
        (fails("places", 3), [[0, "GPU-a", "NVIDIA H200", 140 * GIB, False, real.NO_MIG_DEVICE]]),
        (fails("part", 15), [[0, "GPU-a", "", None, False, "GPU is lost (NVML error 15)"]]),
        (fails("memory", 3, 100), [[0, "MIG-x", "NVIDIA H200 MIG 1g.18gb", None, True, None]]),
        (fails("memory", 999, 100), [[0, "MIG-x", "", None, True, "Unknown Error (NVML error 999)"]]),
        (fails("uuid", 3, 100), [[0, None, "NVIDIA H200 MIG 1g.18gb", 18 * GIB, True, real.NO_MIG_UUID]]),
        (says_bytes("name", GARBAGE, 100), [[0, "MIG-x", "", 18 * GIB, True, None]]),
    ],
)
def test_each_question_about_mig_may_fail(nvml: FakeNvml, line: str, listed: list[list[object]]) -> None:
    nvml.says(gpu("GPU-a"), part(0, 0, "MIG-x", 18), line)
    assert told(nvml, MIG) == listed


def test_a_library_from_before_mig_lists_gpus(tmp_path: Path) -> None:
    nvml = compile_nvml(tmp_path, "-DBEFORE_MIG")
    nvml.says(gpu("GPU-a"))
    assert told(nvml, LIST) == [[0, "GPU-a", 140 * GIB, None]]


def test_no_more_devices_are_listed_than_an_index_has_room_for(nvml: FakeNvml) -> None:
    nvml.says(*(gpu(f"GPU-{n}") for n in range(9)), *(part(n // 7, n % 7, f"MIG-{n}") for n in range(63)))
    assert len(told(nvml, LIST)) == 63
    nvml.says(*(gpu(f"GPU-{n}") for n in range(16)), *(part(n // 7, n % 7, f"MIG-{n}") for n in range(63)))
    assert len(told(nvml, LIST)) == 64


def test_a_device_that_does_not_tell_a_figure_is_well(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a", error=3))
    assert told(nvml, LIST) == [[0, "GPU-a", 140 * GIB, None]]


STEPS = """
import sys
from muster_agent.gpus import nvml
for line in sys.stdin:
    try:
        print(len(nvml.listing()), flush=True)
    except nvml.DriverError as error:
        print(error, flush=True)
"""


def in_one_process(nvml: FakeNvml, acts: Sequence[object]) -> list[str]:
    """What one process sees after each of the `acts`: lines for NVML to say, or something to call."""
    env = {**os.environ, **nvml.environment}
    with subprocess.Popen(
        [sys.executable, "-c", STEPS], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        seen = []
        try:
            with deadline(process):
                for act in acts:
                    act() if callable(act) else nvml.says(*act)  # type: ignore[misc]
                    print(file=process.stdin, flush=True)
                    seen.append(process.stdout.readline().strip())
        finally:
            process.kill()
    return seen


def test_a_driver_that_comes_later_and_goes_again_is_noticed(nvml: FakeNvml) -> None:
    acts = (["driver 9"], [gpu("a")], ["driver 18", gpu("a")], [gpu("a"), gpu("b")])
    mismatch = "RM has detected an NVML/RM version mismatch."
    assert in_one_process(nvml, acts) == ["Driver Not Loaded", "1", mismatch, "2"]


def test_a_library_that_is_installed_later_is_found(nvml: FakeNvml, tmp_path: Path) -> None:
    late = FakeNvml(tmp_path)
    late.says(gpu("a"))

    def install() -> None:
        shutil.copy(nvml.folder / "libnvidia-ml.so.1", tmp_path)

    assert in_one_process(late, ([gpu("a")], install)) == ["NVML Shared Library Not Found", "1"]


def test_a_library_of_another_version_than_the_driver_is_loaded_afresh(tmp_path: Path) -> None:
    """The first answers 18 whatever the driver is; what an upgrade puts in its place does not."""
    nvml = compile_nvml(tmp_path, "-DOUTDATED")

    def upgrade() -> None:
        folder = tmp_path / "newer"
        folder.mkdir()
        compile_nvml(folder)
        (folder / "libnvidia-ml.so.1").replace(tmp_path / "libnvidia-ml.so.1")

    acts = ([gpu("a")], upgrade)
    assert in_one_process(nvml, acts) == ["RM has detected an NVML/RM version mismatch.", "1"]


def test_a_host_has_nvidia_hardware_where_the_pci_bus_has_such_a_display(tmp_path: Path) -> None:
    def has_hardware() -> bool:
        return real.hardware(tmp_path / "kernel", tmp_path / "pci")

    def device(name: str, vendor: str, kind: str, driver: str | None = None) -> None:
        folder = tmp_path / "pci" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
        if driver:
            (folder / "driver").symlink_to(tmp_path / "drivers" / driver)

    assert not has_hardware()
    device("0000:00:01.0", "0x8086", "0x030000")
    device("0000:00:02.1", "0x10de", "0x040300")  # the audio of a GPU
    device("0000:00:03.0", "0x10de", "0x030200", "vfio-pci")
    assert not has_hardware()
    device("0000:00:04.0", "0x10de", "0x030200")
    assert has_hardware()


def test_a_host_has_nvidia_hardware_where_the_kernel_lists_a_device(tmp_path: Path) -> None:
    kernel_list = tmp_path / "kernel"
    kernel_list.mkdir()
    assert not real.hardware(kernel_list, tmp_path / "pci")
    (kernel_list / "0000:01:00.0").mkdir()
    assert real.hardware(kernel_list, tmp_path / "pci")
