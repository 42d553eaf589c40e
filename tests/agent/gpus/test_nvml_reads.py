"""Numbers and words of a driver, before anybody is told of them."""

from __future__ import annotations

import pynvml
import pytest

from muster_agent.gpus import nvml_reads as reads
from tests.fixtures.nvml import FakeNvml, fails, gpu, says_bytes, told


@pytest.mark.parametrize(
    ("value", "most", "told"),
    [(0, 100, 0), (100, 100, 100), (101, 100, None), (-1, 100, None), (None, 100, None), (5, None, None)],
)
def test_a_number_out_of_range_is_no_measurement(value: int | None, most: int | None, told: int | None) -> None:
    assert reads.bounded(value, most) == told


@pytest.mark.parametrize(("code", "words"), [(15, "GPU is lost"), (9, "Driver Not Loaded")])
def test_an_error_is_told_in_nvmls_words(code: int, words: str) -> None:
    assert reads.error_text(pynvml.NVMLError(code)) == words


def test_an_error_whose_words_are_no_text_is_told_by_its_number() -> None:
    class Unreadable(pynvml.NVMLError):  # type: ignore[misc]
        def __str__(self) -> str:
            return b"\xf8\x95".decode()

    assert reads.error_text(Unreadable(77)) == "NVML error 77"


def test_a_driver_whose_version_is_no_text_has_none(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a"), says_bytes("version", b"\xf8"))
    assert told(nvml, "nvml.reads.driver_version() if nvml.listing() else 'not asked'") is None


@pytest.mark.parametrize(
    ("number", "version"), [(13000, "13.0"), (12080, "12.8"), (0, None), (-1, None), (2**31, None)]
)
def test_a_version_of_cuda_is_that_of_a_release(nvml: FakeNvml, number: int, version: str | None) -> None:
    nvml.says(gpu("GPU-a"), f"number cuda 0 {number}")
    assert told(nvml, "nvml.versions()") == ["580.95.05", version]


PROCESSES = "nvml.reads.processes(nvml.listing()[0].handle)"


def test_processes_that_no_list_has_are_unknown(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a"), "process 0 1 5", fails("processes", 3))
    assert told(nvml, PROCESSES) is None


def test_processes_that_one_of_two_lists_has_are_listed_with_the_larger_figure(nvml: FakeNvml) -> None:
    unknown = 2**64 - 1
    computing = ["process 0 1 5", f"process 0 2 {unknown}", f"process 0 3 {unknown}"]
    nvml.says(gpu("GPU-a"), "before 510", *computing, "draws 0 1 7", "draws 0 2 9")
    assert told(nvml, PROCESSES) == [[2, 9], [1, 7], [3, None]]
