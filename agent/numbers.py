"""Which index each GPU of this host has, in everything that the agent and the control plane say of it.

A GPU gets NVML's index when it is first seen, and keeps it: by its UUID, in the agent's journal. NVML counts along the
PCI bus, so that one GPU fewer moves the indexes of the others, and a claim of index 1 would then be another device's
(docs/adr/0027). A new GPU in the place of one that is gone takes its index.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec

from agent.nvml import MOST_DEVICES, Listed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """A GPU that was seen here. `position` is where NVML listed it last; `memory` is in bytes."""

    index: int
    uuid: str
    name: str
    memory: int
    position: int


class Numbers:
    """`load` and `save` are the journal's; without them the numbers end with the process."""

    def __init__(
        self, load: Callable[[], str | None] = lambda: None, save: Callable[[str], None] = lambda text: None
    ) -> None:
        self._save = save
        self._known = {each.uuid: each for each in _read(load())}

    @property
    def known(self) -> list[Known]:
        """Every GPU that has an index, those that are gone included, by index."""
        return sorted(self._known.values(), key=lambda each: each.index)

    def assign(self, listed: Sequence[Listed]) -> dict[int, Listed]:
        """Each device of NVML's list by its index; one that does not tell its UUID is known by where it was."""
        before = dict(self._known)
        found: dict[int, Listed] = {}
        nameless: list[Listed] = []
        strangers: list[Listed] = []
        for each in listed:
            if each.uuid is None:
                nameless.append(each)
            elif each.uuid in self._known:
                found[self._known[each.uuid].index] = each
            else:
                strangers.append(each)
        for each in nameless:
            found[self._index_of_nameless(each, found)] = each
        for each in strangers:
            found[self._index_of_stranger(each, found)] = each
        for index, each in found.items():
            if each.uuid is not None and each.error is None:
                self._remember(Known(index, each.uuid, each.name, each.memory, each.position))
        if self._known != before:
            self._save(msgspec.json.encode(self.known).decode())
        return dict(sorted(found.items()))

    def at(self, index: int) -> Known | None:
        return next((each for each in self._known.values() if each.index == index), None)

    def forget(self, index: int) -> None:
        """A GPU that is gone for good."""
        self._known = {each.uuid: each for each in self._known.values() if each.index != index}
        self._save(msgspec.json.encode(self.known).decode())

    def _index_of_nameless(self, device: Listed, taken: dict[int, Listed]) -> int:
        missing = [each for each in self.known if each.index not in taken]
        if device.error is not None and missing:
            by_position = {each.position: each for each in missing}
            return by_position.get(device.position, missing[0]).index
        return _first_free(device.position, set(taken))

    def _index_of_stranger(self, device: Listed, taken: dict[int, Listed]) -> int:
        """NVML's own, where no GPU that is there has it; else one that no GPU ever had."""
        if device.position not in taken:
            return device.position
        return _first_free(device.position, set(taken), {each.index for each in self.known})

    def _remember(self, device: Known) -> None:
        before = self.at(device.index)
        if before is not None and before.uuid != device.uuid:
            log.warning("GPU %d is %s now, in place of %s", device.index, device.uuid, before.uuid)
            del self._known[before.uuid]
        self._known[device.uuid] = device


def _first_free(wanted: int, taken: Collection[int], avoided: Collection[int] = ()) -> int:
    """`wanted` if it is free, else the lowest; one of the `avoided` only where no other is left."""
    free: list[int] = [index for index in (wanted, *range(MOST_DEVICES)) if index not in taken]
    return next((index for index in free if index not in avoided), free[0])


def _read(text: str | None) -> list[Known]:
    try:
        return msgspec.json.decode(text or "[]", type=list[Known])
    except msgspec.DecodeError:
        return []
