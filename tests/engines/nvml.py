"""A host with GPUs that it does not have: NVIDIA's library compiled from fake_nvml.c, with its figures in a file."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")
GIB = 1024**3


@dataclass(frozen=True)
class FakeNvml:
    """`environment` makes a new process see the GPUs that `says` last described; a running one sees each change."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.folder), "FAKE_NVML": str(self.folder / "figures")}

    def says(self, *lines: str) -> None:
        fresh = self.folder / "figures.new"
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.rename(self.folder / "figures")


def gpu(uuid: str, used: int = 0, utilization: int = 0, celsius: int = 40, watts: int = 70, error: int = 0) -> str:
    """One device of 140 GiB; `used` in GiB."""
    return f"gpu {uuid} {140 * GIB} {used * GIB} {utilization} {celsius} {watts * 1000} {error}"


def compile_nvml(folder: Path) -> FakeNvml:
    """Skips the test where there is no C compiler."""
    library = folder / "libnvidia-ml.so.1"
    try:
        command = ["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no C compiler for the fake NVML")
    made = FakeNvml(folder)
    made.says()
    return made
