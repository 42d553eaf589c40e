"""Numbers and words of a driver, before anybody is told of them."""

from __future__ import annotations

import pynvml
import pytest

from muster_agent.gpus import nvml_reads as reads


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


def test_a_question_that_this_pynvml_answers_with_no_text_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: b"\xf8".decode())
    assert reads.driver_version() is None


@pytest.mark.parametrize(
    ("number", "version"), [(13000, "13.0"), (12080, "12.8"), (0, None), (-1, None), (2**31, None)]
)
def test_a_version_of_cuda_is_that_of_a_release(
    monkeypatch: pytest.MonkeyPatch, number: int, version: str | None
) -> None:
    monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: number)
    assert reads.cuda_version() == version


def test_processes_that_one_of_two_lists_has_are_listed_with_the_larger_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def __init__(self, pid: int, used: int | None) -> None:
            self.pid, self.usedGpuMemory = pid, used

    def unsupported(handle: object) -> list[Process]:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name in ("Compute", "Graphics"):
        for version in ("v2", "v3"):
            monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}RunningProcesses_{version}", unsupported)
    assert reads.processes(None) is None
    computing = [Process(1, 5), Process(2, None), Process(3, None)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses_v2", lambda handle: computing)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetGraphicsRunningProcesses_v3", lambda handle: [Process(1, 7), Process(2, 9)]
    )
    assert reads.processes(None) == [(2, 9), (1, 7), (3, None)]
