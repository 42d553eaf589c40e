"""A circuit for each replica: one that fails again and again is asked less often.

closed ── THRESHOLD failures in a row ──► open ── its pause passes ──► half-open: one request tries
   ▲                                       ▲                              │            │
   └────────── it succeeds ────────────────┼──────────────────────────────┘            │
                                           └── it fails: the pause doubles ◄───────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

THRESHOLD = 3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0


@dataclass
class _Circuit:
    failures: int = 0
    pause: float = FIRST_PAUSE_SECONDS
    open_until: float | None = None
    is_trying: bool = False


class Circuits:
    """By deployment. `now` is in monotonic seconds. `changed` gets a deployment and whether its circuit is open."""

    def __init__(self, changed: Callable[[str, bool], object] = lambda deployment_id, is_open: None) -> None:
        self._changed = changed
        self._circuits: dict[str, _Circuit] = {}

    def allows(self, deployment_id: str, now: float) -> bool:
        """Whether a request may be sent now."""
        circuit = self._circuits.get(deployment_id)
        if circuit is None or circuit.open_until is None:
            return True
        return now >= circuit.open_until and not circuit.is_trying

    def begin(self, deployment_id: str, now: float) -> None:
        """A request is sent: where the circuit is open, it is the one that tries."""
        circuit = self._circuits.get(deployment_id)
        if circuit is not None and circuit.open_until is not None:
            circuit.is_trying = True

    def succeeded(self, deployment_id: str) -> None:
        circuit = self._circuits.pop(deployment_id, None)
        if circuit is not None and circuit.open_until is not None:
            self._changed(deployment_id, False)

    def failed(self, deployment_id: str, now: float) -> None:
        """The replica is at fault."""
        circuit = self._circuits.setdefault(deployment_id, _Circuit())
        circuit.failures += 1
        if circuit.open_until is not None:
            if circuit.is_trying:
                circuit.pause = min(2 * circuit.pause, LONGEST_PAUSE_SECONDS)
                circuit.open_until, circuit.is_trying = now + circuit.pause, False
        elif circuit.failures >= THRESHOLD:
            circuit.open_until = now + circuit.pause
            self._changed(deployment_id, True)

    def left(self, deployment_id: str) -> None:
        """The request ended without showing anything: the caller left, or the replica drains."""
        circuit = self._circuits.get(deployment_id)
        if circuit is not None:
            circuit.is_trying = False

    def keep(self, deployment_ids: Collection[str]) -> None:
        """Forget all others: the routes do not name them any more."""
        for deployment_id in self._circuits.keys() - set(deployment_ids):
            self.succeeded(deployment_id)
