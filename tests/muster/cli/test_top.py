"""muster top: every GPU and every model, once where nobody watches."""

from __future__ import annotations

from datetime import datetime, timezone

from muster.cli.output import Cell
from muster.cli.top import gpu_rows
from tests.fixtures.operators import Operators
from tests.fixtures.resources import worker


def test_top_is_one_look_where_nobody_watches(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    at = datetime.fromtimestamp(operators.clock(), timezone.utc)
    said = operators.out("top")
    assert said.startswith(f"https://muster.example  {at:%H:%M:%S} UTC  1 of 1 workers online")
    assert "m " in said and "local only: no address" in said


def test_top_names_the_workers_that_need_attention(operators: Operators) -> None:
    operators.report("EngineUnavailable", "Docker does not answer")
    assert (
        operators.out("top")
        .splitlines()[0]
        .rstrip()
        .endswith("1 of 1 workers online  attention: gpu-1: EngineUnavailable")
    )


GIB = 2**30


def cells(row: tuple[Cell, ...]) -> list[str]:
    return [str(cell or "-") for cell in row]


def test_each_gpu_has_a_row_with_the_model_that_holds_it() -> None:
    devices = [{"index": index, "name": "H100", "memory_total": 80 * GIB} for index in range(2)]
    usage = [{"index": 0, "memory_used": 20 * GIB, "utilization": 97.4}]
    seen = worker(gpu_info={"count": 2, "devices": devices}, gpu_usage=usage, gpu_claims={"0": "d1"})
    assert [cells(row) for row in gpu_rows(seen, {"d1": "m"})] == [
        ["gpu-1", "online", "0", "H100", "20.0 GiB of 80.0 GiB", "97 %", "m"],
        ["gpu-1", "online", "1", "H100", "80.0 GiB", "-", "free"],
    ]
    assert cells(gpu_rows(seen, {})[0])[-1] == "d1", "of a deployment that is not listed, its id"


def test_a_worker_without_gpus_has_a_row_too() -> None:
    assert [cells(row)[:3] for row in gpu_rows(worker(status="offline"), {})] == [["gpu-1", "offline", "none"]]


def test_a_figure_that_is_unknown_is_not_0() -> None:
    devices = [{"index": 0, "memory_total": 0}, {"index": 1, "name": "GB10"}, {"index": 2, "memory_total": 80 * GIB}]
    usage = [{"index": 0}, {"index": 1, "memory_used": 20 * GIB, "utilization": 0}, {"index": 2}]
    seen = worker(gpu_info={"count": 3, "devices": devices}, gpu_usage=usage)
    assert [cells(row)[3:6] for row in gpu_rows(seen, {})] == [
        ["-", "-", "-"],
        ["GB10", "20.0 GiB of unknown", "0 %"],
        ["-", "unknown of 80.0 GiB", "-"],
    ]
