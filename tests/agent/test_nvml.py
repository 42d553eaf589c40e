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

from agent import nvml as real
from tests.fixtures.nvml import GIB, FakeNvml, compile_nvml, gpu, told
from tests.fixtures.waiting import deadline

LIST = "[[d.position, d.uuid, d.memory, d.error] for d in nvml.listing()]"


def test_this_hosts_gpus_are_listed_where_there_are_any() -> None:
    try:
        found = real.listing()
    except real.DriverError as error:
        assert str(error)
        return
    for position, device in enumerate(found):
        assert (device.position, bool(device.name), device.memory > 0) == (position, True, True)
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
    assert told(nvml, LIST) == [[0, None, 0, words], [1, "GPU-b", 140 * GIB, None]]


def test_a_device_that_does_not_tell_a_figure_is_well(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a", error=3))
    assert told(nvml, LIST) == [[0, "GPU-a", 140 * GIB, None]]


STEPS = """
import sys
from agent import nvml
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
