"""Choosing a worker by the index of free capacity: read a page of the tightest fits, and only those workers in full.

    index `free`, from the needed number of GPUs on ─► labels and GPUs fit? ─► the two items, as they are now ─► a place

The index has the workers in the order in which placement prefers them, so the first that really fits is the place.
The index lags: a worker that it shows may be offline or full by now, and is passed over. Where many are passed over,
much of the fleet is silent, and the small table of heartbeats is read once to know which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.fleet import capacity, scan, workers
from chalicelib.fleet.workers import Worker
from chalicelib.scheduling import choice, placement
from chalicelib.store.tables import Deployment, WorkerRecord
from muster.api.structs import State, Value

FIRST_PAGE, PAGE_GROWTH, LARGEST_PAGE = 16, 4, 1024
"""Workers of the index in one request: most deployments find their place in the first page."""
FIRST_BATCH, BATCH_GROWTH, LARGEST_BATCH = 1, 4, 16
"""Workers of which both items are read at once."""
MAX_MISSES = 21
"""Workers that do not fit after all, before the table of heartbeats is read."""
MAX_READ = 256
"""Workers of which both items are read for one deployment."""
NO_PLACE = "no worker in the index of free capacity fits"


class Entry(Value, frozen=True):
    """A worker as the index shows it."""

    worker_id: str
    name: str
    labels: Mapping[str, str]
    free: capacity.Free

    def fits(self, need: placement.Need) -> bool:
        """Whether the worker would be a place, if it is online and the entry is current."""
        free = tuple(self.free.gpus)
        shown = placement.Candidate(
            self.worker_id, self.name, True, False, self.labels, free, free, mig=frozenset(self.free.mig)
        )
        return isinstance(placement.place(need, [shown]), placement.Place)


class View(State):
    """The index, for the deployments that one function places.

    `workers`: those that were read in full; `changed`: those that a deployment was placed on, or that others changed.
    """

    workers: dict[str, Worker] = msgspec.field(default_factory=dict)
    changed: set[str] = msgspec.field(default_factory=set)
    _whole: list[Entry] | None = None
    """The index as a search that found no place has read it, from `_from` GPUs on."""
    _from: int = 0
    _online: set[str] | None = None

    def choose(self, deployment: Deployment, now: float) -> placement.Place | list[str]:
        """The place that the whole fleet would give, if the index is current."""
        need = choice.need_of(deployment)
        leaving = [deployment.leaving] if deployment.leaving else []
        if isinstance(place := self._choose_among(deployment, leaving, now), placement.Place):
            return place
        if self._is_hopeless(need):
            return [NO_PLACE]
        return self._search(deployment, need, now) or [NO_PLACE]

    def read_again(self, worker_id: str) -> None:
        """Each choice reads its workers."""
        self.changed.add(worker_id)

    def _is_hopeless(self, need: placement.Need) -> bool:
        """Whether an earlier search shows that no entry fits. What this function does since then frees no GPU."""
        if self._whole is None or need.count < self._from:
            return False
        return not any(entry.fits(need) for entry in self._whole)

    def _search(self, deployment: Deployment, need: placement.Need, now: float) -> placement.Place | None:
        size, read = FIRST_BATCH, 0
        whole: list[Entry] = []
        for page in _pages(need.count):
            whole += page
            fitting = [entry.worker_id for entry in page if entry.fits(need)]
            while fitting:
                if read >= MAX_READ:
                    return None
                if self._online is None and read >= MAX_MISSES:
                    self._online = scan.online(now)
                if self._online is not None:
                    fitting = [worker_id for worker_id in fitting if worker_id in self._online]
                batch, fitting = fitting[:size], fitting[size:]
                place = self._choose_among(deployment, batch, now)
                if isinstance(place, placement.Place):
                    return place
                size, read = min(size * BATCH_GROWTH, LARGEST_BATCH), read + len(batch)
        if self._whole is None or need.count < self._from:
            self._whole, self._from = whole, need.count
        return None

    def _choose_among(
        self, deployment: Deployment, worker_ids: Sequence[str], now: float
    ) -> placement.Place | list[str]:
        """A place on one of these workers, as they are now."""
        read = workers.several(list(worker_ids))
        self.workers |= read
        return choice.choose_by_stored_claims(deployment, read.values(), now)


def _pages(count: int) -> Iterator[list[Entry]]:
    """The workers with at least so many free GPUs, those with the fewest first, by name."""
    start: Any = None
    size = FIRST_PAGE
    while True:
        found = WorkerRecord.free_index.query(
            capacity.OPEN, WorkerRecord.room >= capacity.rank(count), limit=size, last_evaluated_key=start
        )
        yield [_entry(record) for record in found]
        start = found.last_evaluated_key
        if start is None:
            return
        size = min(size * PAGE_GROWTH, LARGEST_PAGE)


def _entry(record: WorkerRecord) -> Entry:
    return Entry(
        str(record.worker_id),
        capacity.name_in(str(record.room)),
        msgspec.json.decode(record.labels, type=dict[str, str]),
        msgspec.json.decode(record.free, type=capacity.Free),
    )
