"""Looks at the host every few seconds, so that nobody who must not wait has to."""

from __future__ import annotations

import logging
from threading import Event

from agent.fleet import Fleet
from agent.inventory import Inventory
from agent.listening import Listening

log = logging.getLogger(__name__)

EVERY = 4.0


class Watch:
    def __init__(self, inventory: Inventory, fleet: Fleet, listening: Listening) -> None:
        self._inventory = inventory
        self._fleet = fleet
        self._listening = listening
        self._closed = Event()
        self._troubled = False

    def step(self) -> None:
        try:
            self._listening.look()
        except OSError:  # what was found last stays
            log.exception("the addresses of this host cannot be read")
        try:
            self._inventory.refresh()
            self._fleet.notice()
        except Exception:
            # Docker may be restarting. Said once, not every few seconds; what was seen last stays.
            if not self._troubled:
                log.exception("the engine does not answer")
            self._troubled = True
        else:
            self._troubled = False

    def run(self) -> None:
        while not self._closed.is_set():
            self.step()
            self._closed.wait(EVERY)

    def close(self) -> None:
        self._closed.set()
