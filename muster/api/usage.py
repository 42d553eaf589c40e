"""The figures of a heartbeat as bytes: as JSON they alone would be 775 of the 1,024 bytes of the item.

    disk                3 x 8 bytes: total, used, free
    each GPU            8 bytes: 51 bits of memory, 6 of its index, and 7 of its utilization

So 64 GPUs leave room for the rest of the item, and an idle heartbeat stays one write of one unit. Short heartbeats
carry them in the same form.
"""

from __future__ import annotations

import struct

from muster.api import messages as m

_GPU = struct.Struct("<Q")
_DISK = struct.Struct("<QQQ")
UNKNOWN_MEMORY, UNKNOWN_UTILIZATION = 2**51 - 1, 127
"""In place of a figure that the worker does not have."""
MAX_MEMORY = UNKNOWN_MEMORY - 1
"""Bytes of one GPU, 2 PiB, that a heartbeat's figures have room for; more is taken for as much."""
MAX_DISK = 2**53
"""Bytes of a disk."""


def pack(body: m.Heartbeat) -> bytes:
    """The usage of the GPUs and of the disk that `body` reports."""
    disk = body.disk or m.Disk(0, 0, 0)
    return _DISK.pack(disk.total, disk.used, disk.free) + b"".join(map(_packed, body.gpu_usage))


def _packed(gpu: m.GpuUsage) -> bytes:
    memory = UNKNOWN_MEMORY if gpu.memory_used is None else min(gpu.memory_used, MAX_MEMORY)
    utilization = UNKNOWN_UTILIZATION if gpu.utilization is None else round(gpu.utilization)
    return _GPU.pack(memory << 13 | gpu.index << 7 | utilization)


def _unpacked(packed: int) -> m.GpuUsage:
    memory, utilization = packed >> 13, packed & 127
    return m.GpuUsage(
        packed >> 7 & 63,
        None if memory == UNKNOWN_MEMORY else memory,
        None if utilization == UNKNOWN_UTILIZATION else float(utilization),
    )


def check(packed: bytes) -> None:
    """Raises ValueError for bytes that `pack` makes of no heartbeat."""
    if len(packed) < _DISK.size or (len(packed) - _DISK.size) % _GPU.size:
        raise ValueError("expected 24 bytes, and 8 for each GPU")
    if any(size > MAX_DISK for size in _DISK.unpack_from(packed)):
        raise ValueError(f"expected sizes of at most {MAX_DISK} bytes")
    if any(100 < gpu & 127 < UNKNOWN_UTILIZATION for (gpu,) in _GPU.iter_unpack(packed[_DISK.size :])):
        raise ValueError("expected a utilization of at most 100 percent")


def unpack(packed: bytes | None) -> tuple[m.Disk | None, list[m.GpuUsage]]:
    """The disk, if one was reported, and the GPUs that `pack` packed."""
    if not packed:
        return None, []
    total, used, free = _DISK.unpack_from(packed)
    gpus = [_unpacked(packed_gpu) for (packed_gpu,) in _GPU.iter_unpack(packed[_DISK.size :])]
    disk = m.Disk(total, used, free, round(100 * used / (used + free or 1), 1)) if total else None
    return disk, gpus
