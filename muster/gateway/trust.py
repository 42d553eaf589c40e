"""How far the gateway's word is still good: the last contact with the control plane decides.

    first answer          an answer            an answer
    ─────────────► REACHABLE ◄──────────────────────────┐
                       │                                │
                       │ a request failed               │
                       ▼                                │
       start ──► UNREACHABLE since the last contact ────┘
                       │
                       │ (from both) the control plane refuses the gateway's key
                       ▼
                    REVOKED: for good; nothing is honored any more

While the control plane is reachable, an expiry counts. A ticket or a caller's key that was good at the last contact
stays good while the control plane is unreachable, for `offline_for` seconds from that contact: nobody could have
renewed it. After that nothing is honored until the control plane answers again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum


class State(Enum):
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    REVOKED = "revoked"


class Trust:
    """`offline_for` is in seconds. `monotonic` measures how long the control plane is away.

    Times that the methods take and return are epoch seconds. All methods are called on the event loop.
    """

    def __init__(self, offline_for: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._offline_for = offline_for
        self._monotonic = monotonic
        self._state = State.UNREACHABLE
        self._contact: float | None = None
        self._contact_monotonic = 0.0
        self._reason: str | None = None

    @property
    def state(self) -> State:
        return self._state

    @property
    def contact(self) -> float | None:
        """When the control plane last answered; None if it never did."""
        return self._contact

    @property
    def reason(self) -> str | None:
        """Why the control plane is unreachable, or how it refused the key; None while it is reachable."""
        return self._reason

    def restore(self, contact: float, now: float) -> None:
        """Start from what an earlier process kept. A contact in the future counts as one of now."""
        if self._state is State.UNREACHABLE and self._contact is None:
            self._contact = min(contact, now)
            self._contact_monotonic = self._monotonic() - (now - self._contact)

    def reached(self, now: float) -> None:
        if self._state is not State.REVOKED:
            self._state, self._reason = State.REACHABLE, None
            self._contact, self._contact_monotonic = now, self._monotonic()

    def failed(self, reason: str) -> None:
        """A request had no answer of the control plane."""
        if self._state is not State.REVOKED:
            self._state, self._reason = State.UNREACHABLE, reason

    def revoke(self, reason: str) -> None:
        self._state, self._reason = State.REVOKED, reason

    def away_for(self) -> float | None:
        """Seconds since the last contact; None without one. While the control plane is reachable it is small."""
        return None if self._contact is None else self._monotonic() - self._contact_monotonic

    def serves(self) -> bool:
        """Whether callers and workers are served at all."""
        if self._state is State.REACHABLE:
            return True
        away = self.away_for()
        return self._state is State.UNREACHABLE and away is not None and away <= self._offline_for

    def honors(self, expires_at: float | None, now: float) -> bool:
        """Whether something that expires then is still good. None never expires."""
        if not self.serves():
            return False
        if expires_at is None or now < expires_at:
            return True
        return self._state is State.UNREACHABLE and self._contact is not None and self._contact < expires_at
