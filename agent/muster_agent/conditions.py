"""What this host cannot do at the moment: each part of the agent notes what it sees, and the heartbeat reports it.

    absent ── noted in trouble, twice in a row ──► set ── noted in order for 60 seconds ──► absent

One bad look may be chance, and one good look may be too: nothing flaps. The agent's log has a line when a condition is
set, when its message changes, and when it is cleared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from muster.api.conditions import ConditionType
from muster.api.messages import ReportedCondition

log = logging.getLogger(__name__)

OBSERVATIONS_TO_SET = 2
CLEARED_AFTER_SECONDS = 60.0
"""Seconds, by a monotonic clock."""


@dataclass
class _Observation:
    reported: ReportedCondition
    looks: int
    in_order_since: float | None = None

    @property
    def is_set(self) -> bool:
        return self.looks >= OBSERVATIONS_TO_SET


class Conditions:
    """Used by any thread. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._observed: dict[ConditionType, _Observation] = {}

    def trouble(
        self,
        type_: ConditionType,
        message: str,
        gpus: list[int] | None = None,
        deployments: list[str] | None = None,
    ) -> None:
        """Note one look that found the trouble. The latest message is the one reported."""
        reported = ReportedCondition(type_, message, gpus, deployments)
        with self._lock:
            before = self._observed.get(type_)
            self._observed[type_] = now = _Observation(reported, before.looks + 1 if before else 1)
        if now.is_set and not (before and before.is_set and before.reported.message == message):
            log.warning("condition %s: %s", type_, message)

    def in_order(self, type_: ConditionType) -> None:
        """Note one look that found none."""
        with self._lock:
            observation = self._observed.get(type_)
            if observation is None:
                return
            now = self._clock()
            if observation.in_order_since is None:
                observation.in_order_since = now
            ends = not observation.is_set or now - observation.in_order_since >= CLEARED_AFTER_SECONDS
            if ends:
                del self._observed[type_]
        if ends and observation.is_set:
            log.info("condition %s has ended", type_)

    def current(self) -> list[ReportedCondition]:
        """Those that are set, sorted by type. Never waits."""
        with self._lock:
            return [observed.reported for _, observed in sorted(self._observed.items()) if observed.is_set]
