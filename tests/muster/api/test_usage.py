"""The figures of a heartbeat, packed into bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api import messages as m
from muster.api import usage as usage_figures

BYTES = st.integers(0, 2**53)
MEMORY = st.integers(0, usage_figures.MAX_MEMORY)
UTILIZATION = st.none() | st.integers(0, 100).map(float)
GPUS = st.lists(st.builds(m.GpuUsage, st.integers(0, 63), st.none() | MEMORY, UTILIZATION), max_size=8)


@given(st.none() | st.builds(m.Disk, st.integers(1, 2**53), BYTES, BYTES), GPUS)
def test_what_is_packed_is_what_is_unpacked(disk: m.Disk | None, gpus: list[m.GpuUsage]) -> None:
    body = m.Heartbeat("online", gpus, [], disk=disk)
    found, usage = usage_figures.unpack(usage_figures.pack(body))
    assert usage == gpus
    if disk is None:
        assert found is None
    else:
        assert found is not None and (found.total, found.used, found.free) == (disk.total, disk.used, disk.free)
        assert found.percent == (round(100 * disk.used / (disk.used + disk.free), 1) if disk.used else 0)


def test_usage_of_64_gpus_leaves_room_in_a_unit() -> None:
    usage = [m.GpuUsage(index, 2**53, 100.0) for index in range(64)]
    assert len(usage_figures.pack(m.Heartbeat("online", usage, []))) == 24 + 64 * 8


def test_memory_beyond_what_a_gpu_can_have_is_taken_for_the_most() -> None:
    packed = usage_figures.pack(m.Heartbeat("online", [m.GpuUsage(63, 2**53, 100.0)], []))
    assert usage_figures.unpack(packed)[1] == [m.GpuUsage(63, usage_figures.MAX_MEMORY, 100.0)]


def test_nothing_packed_is_nothing_known() -> None:
    assert usage_figures.unpack(None) == usage_figures.unpack(b"") == (None, [])


@given(st.none() | st.builds(m.Disk, st.integers(1, 2**53), BYTES, BYTES), GPUS)
def test_what_is_packed_passes_the_check(disk: m.Disk | None, gpus: list[m.GpuUsage]) -> None:
    usage_figures.check(usage_figures.pack(m.Heartbeat("online", gpus, [], disk=disk)))


@given(st.binary(max_size=64))
def test_what_passes_the_check_has_figures_that_the_api_shows(packed: bytes) -> None:
    try:
        usage_figures.check(packed)
    except ValueError:
        return
    disk, gpus = usage_figures.unpack(packed)
    assert msgspec.convert(msgspec.to_builtins((disk, gpus)), tuple[m.Disk | None, list[m.GpuUsage]]) == (disk, gpus)


@pytest.mark.parametrize("packed", [b"", bytes(23), bytes(28), b"\xff" * 24, bytes(24) + b"\x65" + bytes(7)])
def test_other_bytes_do_not_pass_the_check(packed: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        usage_figures.check(packed)
