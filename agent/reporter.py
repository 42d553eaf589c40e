"""Sends what the spool holds, in order, for as long as it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Protocol

from agent.api import Api, Fatal, Retry
from agent.backoff import Backoff
from agent.identity import Identity
from agent.journal import JournalFull
from agent.spool import Entry, Spool

log = logging.getLogger(__name__)

IDLE = 60.0
"""Seconds without anything new after which it looks anyway."""


class Membership(Protocol):
    """Who the agent is to the control plane just now: None while it has to register, or is parked."""

    @property
    def identity(self) -> Identity | None: ...

    def refused(self, identity: Identity, error: Fatal) -> None:
        """A request made as `identity` was refused for who it is."""


class Reporter:
    """Has an Api, and with it a connection, of its own. `sleep` is time.sleep."""

    def __init__(
        self, api: Api, spool: Spool, membership: Membership, backoff: Backoff, sleep: Callable[[float], None]
    ) -> None:
        self._api = api
        self._spool = spool
        self._membership = membership
        self._backoff = backoff
        self._sleep = sleep
        self._drained = Event()

    def step(self) -> float:
        """Send one; seconds to wait before the next."""
        entry = self._spool.first()
        identity = self._membership.identity
        if entry is None:
            return IDLE
        if identity is None:
            return 1.0
        try:
            body = entry.body | {"session": identity.session}
            self._api.tell(identity.worker_id, identity.token, entry.kind, entry.about, body)
        except Retry as error:
            log.warning("%s of %s not delivered yet: %s", entry.kind, entry.about, error)
            return self._backoff.next(error.after)
        except Fatal as error:
            if error.unauthorized or error.superseded:
                self._membership.refused(identity, error)
                return self._backoff.next()
            log.warning("%s of %s was not taken, and is dropped: %s", entry.kind, entry.about, error)
        self._backoff.reset()
        return self._done(entry)

    def run(self) -> None:
        """A thread's whole life."""
        while True:
            self._spool.arrived.clear()
            try:
                delay = self.step()
            except Exception:
                # Without this thread nobody would ever hear of anything again: say it, and go on.
                log.exception("a report could not be sent")
                delay = self._backoff.next()
            if delay == IDLE:
                self._drained.set()
                self._spool.arrived.wait(delay)
            elif delay:
                self._sleep(delay)

    def flush(self, seconds: float) -> None:
        """Give the thread that long to send what there is; the rest is sent after the next start."""
        self._drained.clear()
        self._spool.arrived.set()
        self._drained.wait(seconds)

    def _done(self, entry: Entry) -> float:
        try:
            self._spool.done(entry)
        except JournalFull:
            # It will be sent again, which changes nothing over there.
            return self._backoff.next()
        return 0.0
