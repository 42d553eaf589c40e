"""What is known of the containers that run, without asking for each of them at every look.

An idle agent looks every two seconds; a list is one request, and asking for each container doubled and tripled what
idling costs. A container that goes on running changes nothing that only `inspect` shows but its pid, if somebody
restarts it by hand, and that is seen `MAX_INSPECTION_AGE_SECONDS` later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from muster_agent.engines.base import Instance

MAX_INSPECTION_AGE_SECONDS = 15.0

Inspect = Callable[[dict[str, Any]], Instance | None]


class InspectCache:
    """`take` is given each list as Docker tells it, and asks `inspect` for what is new, changed, at rest or old."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[str, ...], float, Instance]] = {}

    def take(self, listed: list[dict[str, Any]], inspect: Inspect, now: float) -> list[Instance]:
        """`now` in seconds of a clock that only goes forward. `inspect` says None of what went meanwhile."""
        before, self._kept = self._kept, {}
        found = []
        for container in listed:
            summary = (container["State"], *(container.get("Names") or ()))
            known = before.get(container["Id"])
            if (
                known is None
                or known[0] != summary
                or container["State"] != "running"
                or now - known[1] >= MAX_INSPECTION_AGE_SECONDS
            ):
                instance = inspect(container)
                if instance is None:
                    continue
                known = (summary, now, instance)
            self._kept[container["Id"]] = known
            found.append(known[2])
        return found
