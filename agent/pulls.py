"""Pulling images: two at a time at most, whoever asks, and each remembered, so that prune knows which are ours."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Semaphore

from agent.engines import Cancelled, Engine
from agent.inventory import Inventory
from agent.ledger import Ledger
from chalicelib.contract.messages import Progress, Pulled

AT_ONCE = 2
REPORT_EVERY = 2.0


class Pulls:
    def __init__(self, engine: Engine, ledger: Ledger, inventory: Inventory, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._inventory = inventory
        self._clock = clock
        self._slots = Semaphore(AT_ONCE)

    def pull(self, image: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        """Raises Cancelled, EngineError; JournalFull when there is no room to remember it."""
        while not self._slots.acquire(timeout=0.5):
            if cancelled.is_set():
                raise Cancelled
        try:
            was_there = self._engine.has_image(image)
            pulled = self._engine.pull(image, self._paced(on_progress), cancelled)
        finally:
            self._slots.release()
        if not was_there:
            self._ledger.add_pulled(pulled.id)
        self._inventory.images_changed()
        return pulled

    def _paced(self, on_progress: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """Pass on every change of phase, and otherwise one every other second: each is written to disk."""
        last_phase: str | None = None
        last_time = float("-inf")

        def paced(progress: Progress) -> None:
            nonlocal last_phase, last_time
            now = self._clock()
            if progress.phase != last_phase or now - last_time >= REPORT_EVERY:
                last_phase, last_time = progress.phase, now
                on_progress(progress)

        return paced
