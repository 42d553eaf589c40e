"""muster workers: list, show, label, drain, declare lost, remove."""

from __future__ import annotations

import re

import pytest

from muster.api import resources as r
from muster.api.messages import SystemInfo
from muster.cli.workers import _host, free, gpu_rows, gpus, holder
from tests.fixtures.operators import Operators
from tests.fixtures.resources import worker
from tests.fixtures.tables import columns


def test_the_workers_are_listed_and_one_is_shown_with_its_next_heartbeat(operators: Operators) -> None:
    head, row = columns(operators.out("workers"))
    assert head == ["NAME", "STATUS", "SEEN", "GPUS", "FREE", "DISK FREE", "MODELS", "ADDRESS", "ID"]
    assert row[:8] == ["gpu-1", "online", "0s", "none", "0", "60 B", "0", "none"]
    shown = operators.out("workers show gpu-1")
    assert re.search(r"^seen +0s ago; next heartbeat in 30 s$", shown, re.MULTILINE)
    assert re.search(r"^address +none: its models are reachable only from the host$", shown, re.MULTILINE)


def test_models_without_gpus_are_counted_too_while_they_are_there(operators: Operators) -> None:
    def models() -> str:
        return columns(operators.out("workers"))[1][6]

    operators.out("deploy org/model --name one --gpus 0 --wait")
    operators.out("deploy org/model --name two --gpus 0 --wait")
    assert models() == "2"
    operators.out("stop one --wait")
    assert models() == "1"


def test_a_worker_that_needs_attention_is_listed_with_its_conditions_and_shown_with_since_and_message(
    operators: Operators,
) -> None:
    operators.report("GpuLost", "GPU 1 fell off the bus", gpus=[1])
    operators.report("ClockSkewed", "the clock is 3 h behind")
    operators.clock.pass_time(40)
    head, row = columns(operators.out("workers"))
    assert (head[-1], row[-1]) == ("ATTENTION", "ClockSkewed, GpuLost")
    for line in (
        "workers show gpu-1",
        "show gpu-1",
        "show " + operators.json("workers", r.Workers).workers[0].worker_id,
    ):
        shown = operators.out(line)
        assert re.search(r"^CONDITION +SINCE +MESSAGE$", shown, re.M)
        assert re.search(r"^GpuLost +40s +GPU 1 fell off the bus$", shown, re.M)
        assert "muster explain ClockSkewed says what to do" in shown
    (listed,) = operators.json("workers", r.Workers).workers
    assert [each.type for each in listed.conditions] == ["ClockSkewed", "GpuLost"]
    assert operators.json("workers show gpu-1", r.Worker) == operators.json("show gpu-1", r.Worker) == listed


def test_an_offline_worker_is_shown_with_the_time_since_its_last_heartbeat(operators: Operators) -> None:
    operators.clock.pass_time(725)
    assert columns(operators.out("workers"))[1][:3] == ["gpu-1", "offline", "12m"]
    assert re.search(r"^seen +12m ago$", operators.out("workers show gpu-1"), re.MULTILINE)


def test_a_worker_is_drained_and_labels_are_set_and_taken_away(operators: Operators) -> None:
    assert operators.out("workers drain gpu-1") == "gpu-1 is draining\n"
    assert "gpu-1: draining" in operators.out("deploy org/model --gpus 0 --timeout 2s", 6)
    assert operators.out("workers drain gpu-1 --undo") == "gpu-1 is online\n"
    assert operators.out("workers label gpu-1 zone=a rack=4") == "gpu-1: rack=4, zone=a; address none\n"
    assert operators.out("workers label gpu-1 rack- zone=b") == "gpu-1: zone=b; address none\n"
    assert "nothing to change: give KEY=VALUE" in operators.out("workers label gpu-1", 2)


def test_a_lost_worker_is_named_with_the_models_that_are_lost_with_it(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    assert operators.out("workers lost gpu-1", 2).startswith(
        "Error: Declare gpu-1 lost, last seen 0s ago? There is no terminal"
    )
    assert operators.out("workers lost gpu-1 --yes") == "gpu-1 is declared lost; lost deployments: 1\n"


def test_a_removed_worker_is_named_with_the_containers_left_there(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    container = operators.engine.only().id
    assert (
        operators.out("workers remove gpu-1 --force --yes")
        == f"gpu-1 is removed; containers left running: {container}\n"
    )
    assert operators.out("workers").startswith("No workers: muster join")


@pytest.mark.parametrize(
    ("info", "shown"),
    [
        ({"count": 0}, "none"),
        ({"count": 2}, "2x GPU"),
        (
            {"count": 2, "devices": [{"index": 0, "name": "NVIDIA H100"}, {"index": 1, "name": "NVIDIA H100"}]},
            "2x NVIDIA H100",
        ),
        ({"count": 2, "devices": [{"index": 0, "name": "B"}, {"index": 1, "name": "A"}]}, "1x A, 1x B"),
    ],
)
def test_the_gpus_are_counted_by_kind(info: dict[str, object], shown: str) -> None:
    assert gpus(worker(gpu_info=info)) == shown


def test_a_lost_gpu_is_not_free_and_says_who_holds_it() -> None:
    devices = [{"index": index, "lost": index < 2} for index in (0, 1, 2, 3)]
    seen = worker(
        gpu_info={"count": 4, "devices": devices}, gpu_claims={"1": "d1", "2": "d2", "9": "of one that is gone"}
    )
    told = [holder(each, seen, {"d1": "m"}) for each in seen.gpu_info.devices]
    assert told == ["lost", "lost, held by m", "d2", "free"]
    assert free(seen) == 1
    assert free(worker(gpu_info={"count": 3}, gpu_claims={"0": "d1"})) == 2
    assert free(worker(gpu_info={"count": 0}, gpu_claims={"0": "d1"})) == 0


def test_a_figure_that_is_unknown_is_shown_as_unknown() -> None:
    devices = [{"index": 0, "name": "NVIDIA GB10"}, {"index": 1, "memory_total": 140 * 2**30}, {"index": 2}]
    usage = [{"index": 0, "utilization": 0}, {"index": 1, "memory_used": 0}]
    seen = worker(gpu_info={"count": 3, "devices": devices}, gpu_usage=usage)
    assert gpu_rows(seen, {}) == [
        ("0", "NVIDIA GB10", None, None, "0 %", "free"),
        ("1", None, "140.0 GiB", "0.0 GiB", None, "free"),
        ("2", None, None, None, None, "free"),
    ]
    assert gpus(seen) == "2x GPU, 1x NVIDIA GB10"


def test_of_a_host_is_shown_what_its_client_told() -> None:
    assert list(_host(SystemInfo("gpu-1"))) == ["gpu-1"]
    full = SystemInfo("gpu-1", 64, 256 * 2**30, "Ubuntu 22.04")
    assert list(_host(full)) == ["gpu-1", "Ubuntu 22.04", "64 CPUs", "256.0 GiB"]
