"""GPUs as the control plane knows them: facts, figures, and what is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fixtures.nvml import GIB, FakeNvml, fails, gpu, part, says_bytes, told


def test_gpus_are_listed_with_uuid_driver_and_memory(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-aaaa"), gpu("GPU-bbbb"))
    device = {"name": "NVIDIA H200", "memory_total": 140 * GIB, "cuda_version": "13.0", "driver_version": "580.95.05"}
    assert told(nvml, "Devices().read().info") == {
        "count": 2,
        "devices": [{"index": 0, "uuid": "GPU-aaaa", **device}, {"index": 1, "uuid": "GPU-bbbb", **device}],
    }


def test_the_compute_capability_is_told_where_the_driver_tells_it(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-aaaa"), gpu("GPU-bbbb"), fails("capability", 3, on=1))
    assert told(nvml, "[each.capability for each in Devices().gpus()]") == [[9, 0], None]


def test_the_driver_is_told_where_there_is_one(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-aaaa"))
    assert told(nvml, "Devices().driver()") == {"version": "580.95.05", "cuda": "13.0"}
    nvml.says("driver 9")
    assert told(nvml, "Devices().driver()") is None


def test_a_closer_look_has_temperature_power_and_processes(nvml: FakeNvml) -> None:
    me = os.getpid()
    nvml.says(gpu("GPU-aaaa", 30, 85, 61, 455), f"process 0 {me} {20 * GIB}", f"process 0 4000000 {9 * GIB}")
    brief = {"index": 0, "memory_used": 30 * GIB, "utilization": 85}
    seen, (found,) = told(nvml, "[Devices().read().usage, Devices().read(closely=True).usage]")
    assert seen == [brief]
    processes = found.pop("processes")
    assert found == brief | {"temperature": 61, "power": 455}
    assert [(each["pid"], each["memory"]) for each in processes] == [(me, 20 * GIB), (4000000, 9 * GIB)]
    assert processes[0]["name"] == Path(f"/proc/{me}/comm").read_text().strip()
    assert "name" not in processes[1]


@pytest.mark.parametrize(
    ("lines", "count", "lost", "usage"),
    [
        ([gpu("a", 1, 5), gpu("b", 2, 6, error=15)], 2, [1], [(0, 1 * GIB, 5)]),  # the second fell off the bus
        ([gpu("a", 1, 5), gpu("b", 2, 6, error=6)], 2, [1], [(0, 1 * GIB, 5)]),  # the second has not even a handle
        ([gpu("a", 1, 5), gpu("b", 2, 6, error=999)], 2, [1], [(0, 1 * GIB, 5)]),  # an error that NVML cannot name
        ([gpu("a", 1, 5, error=3)], 1, [], [(0, 1 * GIB, None)]),  # it tells memory alone
        (["driver 9", gpu("a")], 0, [], []),  # not loaded
        (["driver 18", gpu("a")], 0, [], []),  # another version than the library's
        ([], 0, [], []),
    ],
)
def test_devices_and_drivers_that_answer_in_part_are_told_as_far_as_they_go(
    nvml: FakeNvml, lines: list[str], count: int, lost: list[int], usage: list[tuple[int, int, int | None]]
) -> None:
    nvml.says(*lines)
    for seen in told(nvml, "[Devices().read(), Devices().read(closely=True)]"):
        assert seen["info"]["count"] == len(seen["info"]["devices"]) == count
        assert [each["index"] for each in seen["info"]["devices"] if each.get("lost")] == lost
        assert [int(index) for index in seen["lost"]] == lost
        assert [(each["index"], each["memory_used"], each.get("utilization")) for each in seen["usage"]] == usage


CHANGE = "(Path(os.environ['FAKE_NVML']).write_text('''{}'''), {})[1]"


def after(nvml: FakeNvml, before: list[str], now: list[str], expression: str) -> object:
    """What `d`, which saw the host as it was `before`, says of it `now`."""
    nvml.says(*before)
    change = CHANGE.format("\n".join(now) + "\n", expression)
    return told(nvml, f"(lambda d: (d.read(), {change})[1])(Devices())")


def test_a_lost_gpu_keeps_index_uuid_and_memory(nvml: FakeNvml) -> None:
    both = [gpu("GPU-a"), gpu("GPU-b")]
    seen = after(nvml, both, [gpu("GPU-a", error=15), gpu("GPU-b")], "d.read().info.devices[0]")
    assert isinstance(seen, dict)
    facts = {name: seen[name] for name in ("index", "uuid", "memory_total", "lost")}
    assert facts == {"index": 0, "uuid": "GPU-a", "memory_total": 140 * GIB, "lost": True}


def test_a_gpu_that_is_gone_is_no_device_and_the_others_keep_their_indexes(nvml: FakeNvml) -> None:
    both = [gpu("GPU-a"), gpu("GPU-b")]
    seen = after(nvml, both, [gpu("GPU-b", 3)], "d.read()")
    assert isinstance(seen, dict)
    assert [(each["index"], each["uuid"]) for each in seen["info"]["devices"]] == [(1, "GPU-b")]
    assert seen["info"]["count"] == 1
    assert [(each["index"], each["uuid"]) for each in seen["gone"]] == [(0, "GPU-a")]
    assert seen["usage"] == [{"index": 1, "memory_used": 3 * GIB, "utilization": 0}]


def test_a_preflight_sees_every_gpu_that_has_an_index_and_why_it_cannot_be_used(nvml: FakeNvml) -> None:
    both = [gpu("GPU-a"), gpu("GPU-b")]
    seen = after(nvml, both, [gpu("GPU-b", 30), f"process 0 4000000 {9 * GIB}"], "d.gpus()")
    assert isinstance(seen, list)
    gone, there = seen
    assert (gone["index"], gone["uuid"], gone["lost"]) == (0, "GPU-a", "NVML no longer lists it")
    assert (there["index"], there["position"], there["uuid"], there["lost"]) == (1, 0, "GPU-b", None)
    assert (there["total"], there["used"]) == (140 * GIB, 30 * GIB)
    assert [(each["pid"], each["memory"]) for each in there["holders"]] == [(4000000, 9 * GIB)]
    seen = after(nvml, both, [gpu("GPU-a", error=15), gpu("GPU-b")], "[each.lost for each in d.gpus()]")
    assert seen == ["GPU is lost (NVML error 15)", None]
    seen = after(nvml, both, ["driver 9"], "[each.lost for each in d.gpus()]")
    assert seen == ["NVML does not answer: Driver Not Loaded"] * 2


def test_a_gpu_that_is_forgotten_is_not_missed(nvml: FakeNvml) -> None:
    both = [gpu("GPU-a"), gpu("GPU-b")]
    seen = after(nvml, both, [gpu("GPU-b")], "(d.forget(d.read().gone), [each.index for each in d.gpus()])[1]")
    assert seen == [1]


def test_figures_that_are_not_told_are_missing_and_never_0(nvml: FakeNvml) -> None:
    nvml.says(gpu("a", 1, 5), fails("memory", 4), fails("utilization", 3), fails("processes", 3), fails("power", 3))
    info, brief, close = told(
        nvml, "(lambda d: [d.read().info, d.read().usage, d.read(closely=True).usage])(Devices())"
    )
    assert "memory_total" not in info["devices"][0]
    assert (brief, close) == ([{"index": 0}], [{"index": 0, "temperature": 40}])


def test_a_gpu_with_the_hosts_memory_keeps_its_other_figures(nvml: FakeNvml) -> None:
    nvml.says(gpu("a", 0, 57, 35, 11), fails("memory", 3), f"process 0 4000000 {9 * GIB}")
    (found,) = told(nvml, "Devices().read(closely=True).usage")
    process = {"pid": 4000000, "memory": 9 * GIB}
    figures = {"memory_used": 9 * GIB, "utilization": 57, "temperature": 35, "power": 11}
    assert found == {"index": 0, **figures, "processes": [process]}
    (seen,) = told(nvml, "Devices().gpus()")
    assert (seen["total"], seen["used"], seen["shared"], seen["lost"]) == (None, 9 * GIB, True, None)


def test_a_name_that_cannot_be_read_is_empty(nvml: FakeNvml) -> None:
    nvml.says(gpu("a"), says_bytes("name", b"\xf8\x95\xa0\x81"))
    (device,) = told(nvml, "Devices().read().info.devices")
    assert "name" not in device and (device["uuid"], device["memory_total"]) == ("a", 140 * GIB)


def test_mig_devices_are_devices_with_name_uuid_and_memory(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a"), part(0, 0, "MIG-x", 18, used=2), part(0, 2, "MIG-y", 35, profile="2g.35gb"))
    info, usage, gpus = told(nvml, "(lambda d: [d.read().info, d.read().usage, d.gpus()])(Devices())")
    assert info["count"] == 2
    assert [(each["index"], each["uuid"], each["memory_total"], each["name"]) for each in info["devices"]] == [
        (0, "MIG-x", 18 * GIB, "NVIDIA H200 MIG 1g.18gb"),
        (1, "MIG-y", 35 * GIB, "NVIDIA H200 MIG 2g.35gb"),
    ]
    assert usage == [{"index": 0, "memory_used": 2 * GIB}, {"index": 1, "memory_used": 0}]
    assert [(each["uuid"], each["total"], each["used"]) for each in gpus] == [
        ("MIG-x", 18 * GIB, 2 * GIB),
        ("MIG-y", 35 * GIB, 0),
    ]


def test_mig_without_a_mig_device_is_a_device_that_cannot_be_used(nvml: FakeNvml) -> None:
    nvml.says(gpu("GPU-a"), "mig 0")
    seen = told(nvml, "Devices().read()")
    assert [(each["uuid"], each["lost"]) for each in seen["info"]["devices"]] == [("GPU-a", True)]
    assert (seen["usage"], seen["lost"]) == ([], {"0": "MIG is enabled on it, and it has no MIG device"})


def test_mig_devices_that_are_made_later_are_found_and_those_that_are_removed_are_gone(nvml: FakeNvml) -> None:
    both = [gpu("GPU-a"), part(0, 0, "MIG-x"), part(0, 1, "MIG-y")]
    uuids = "[[each.uuid for each in s.info.devices] + [each.uuid for each in s.gone] for s in [d.read()]][0]"
    assert after(nvml, [gpu("GPU-a"), "mig 0"], both, uuids) == ["MIG-x", "MIG-y"]
    assert after(nvml, [gpu("GPU-a")], both, uuids) == ["MIG-x", "MIG-y"]
    assert after(nvml, both, both[:2], "[each.uuid for each in d.read().gone]") == ["MIG-y"]
    lost = [gpu("GPU-a", error=15)]
    assert after(nvml, both, lost, "[[each.uuid, each.lost] for each in d.read().info.devices]") == [
        ["MIG-x", True],
        ["MIG-y", True],
    ]
