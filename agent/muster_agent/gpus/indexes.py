"""Which index each GPU of this host has, in everything that the agent and the control plane say of it.

A GPU gets NVML's index when it is first seen, and keeps it: by its UUID, in the agent's journal. NVML counts along the
PCI bus, so that one GPU fewer moves the indexes of the others, and a claim of index 1 would then be another device's
(docs/adr/0027). A new GPU in the place of one that is gone takes its index.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import msgspec

from muster_agent.gpus.nvml import MAX_DEVICES, NO_MIG_DEVICE, Listed

log = logging.getLogger(__name__)

MIG = "MIG-"
"""How the UUID of a MIG device begins, with every driver."""


@dataclass(frozen=True)
class Known:
    """A GPU that was seen here. `position` is where NVML listed it last, or the GPU that a MIG device is on; `memory`
    is in bytes, 0 where it is unknown.
    """

    index: int
    uuid: str
    name: str
    memory: int
    position: int

    @property
    def mig(self) -> bool:
        return is_mig(self.uuid)


def is_mig(uuid: str | None) -> bool:
    """Whether a UUID is that of a MIG device."""
    return uuid is not None and uuid.startswith(MIG)


class GpuIndexes:
    """`load` and `save` are the journal's; without them the numbers end with the process."""

    def __init__(
        self, load: Callable[[], str | None] = lambda: None, save: Callable[[str], None] = lambda text: None
    ) -> None:
        self._save = save
        self._known = {known.uuid: known for known in _read(load())}

    @property
    def known(self) -> list[Known]:
        """Every GPU that has an index, those that are gone included, by index."""
        return sorted(self._known.values(), key=lambda known: known.index)

    def assign(self, listed: Sequence[Listed]) -> dict[int, Listed]:
        """Each device of NVML's list by its index; one that does not tell its UUID is known by where it was.

        A GPU that no longer answers takes all its MIG devices with it.
        """
        before = dict(self._known)
        found: dict[int, Listed] = {}
        nameless: list[Listed] = []
        strangers: list[Listed] = []
        seen: set[str | None] = set()
        for device in listed:
            if device.uuid is None or device.uuid in seen:  # some virtual machines give every GPU the same
                nameless.append(replace(device, uuid=None))
            elif device.uuid in self._known:
                found[self._known[device.uuid].index] = device
            else:
                strangers.append(device)
            seen.add(device.uuid)
        for device in nameless:
            found.update(self._mig_devices_of(device, found) or {self._index_of_nameless(device, found): device})
        # A whole GPU has NVML's index rather than a part of one.
        for device in sorted(strangers, key=lambda device: device.mig):
            found.update(self._mig_devices_of(device, found) or {self._index_of_stranger(device, found): device})
        for index, device in found.items():
            if device.uuid is not None and device.error is None:
                self._remember(index, device.uuid, device)
        if self._known != before:
            self._save(msgspec.json.encode(self.known).decode())
        return dict(sorted(found.items()))

    def at(self, index: int) -> Known | None:
        return next((known for known in self._known.values() if known.index == index), None)

    def forget(self, index: int) -> None:
        """A GPU that is gone for good."""
        self._known = {known.uuid: known for known in self._known.values() if known.index != index}
        self._save(msgspec.json.encode(self.known).decode())

    def _mig_devices_of(self, device: Listed, taken: dict[int, Listed]) -> dict[int, Listed]:
        """The MIG devices that a GPU had before it ceased to answer: each of them is lost with it."""
        if device.error in (None, NO_MIG_DEVICE) or device.mig:
            return {}
        parts = (known for known in self._missing(taken) if known.mig and known.position == device.position)
        return {known.index: replace(device, uuid=known.uuid, mig=True) for known in parts}

    def _index_of_nameless(self, device: Listed, taken: dict[int, Listed]) -> int:
        missing = self._missing(taken)
        here = [known for known in missing if known.position == device.position]
        if here or (device.error is not None and missing):
            return (here or missing)[0].index
        return _first_free(device.position, set(taken))

    def _index_of_stranger(self, device: Listed, taken: dict[int, Listed]) -> int:
        """NVML's own, where no GPU that is there has it; else one that no GPU ever had.

        A MIG device takes that of its GPU, or of a MIG device that its GPU no longer has.
        """
        before = (
            [known.index for known in self._missing(taken) if known.position == device.position] if device.mig else []
        )
        wanted = before[0] if before else device.position
        if wanted not in taken:
            return wanted
        return _first_free(wanted, set(taken), {known.index for known in self.known})

    def _missing(self, taken: Collection[int]) -> list[Known]:
        return [known for known in self.known if known.index not in taken]

    def _remember(self, index: int, uuid: str, device: Listed) -> None:
        """A name or size that cannot be read for once is not forgotten."""
        same = self._known.get(uuid)
        name, memory = device.name or (same.name if same else ""), device.memory or (same.memory if same else 0)
        before = self.at(index)
        if before is not None and before.uuid != uuid:
            log.warning("GPU %d is %s now, in place of %s", index, uuid, before.uuid)
            del self._known[before.uuid]
        self._known[uuid] = Known(index, uuid, name, memory, device.position)


def _first_free(wanted: int, taken: Collection[int], avoided: Collection[int] = ()) -> int:
    """`wanted` if it is free, else the lowest; one of the `avoided` only where no other is left."""
    free: list[int] = [index for index in (wanted, *range(MAX_DEVICES)) if index not in taken]
    return next((index for index in free if index not in avoided), free[0])


def _read(text: str | None) -> list[Known]:
    try:
        return msgspec.json.decode(text or "[]", type=list[Known])
    except msgspec.DecodeError:
        return []
