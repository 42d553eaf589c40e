"""What a machine cannot do for a while: its engine is down, answers with errors, or hangs; a disk is full or read-only.

Agents on one machine share its engine, and each has a disk of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from muster_agent.engines.base import EngineError
from muster_agent.state.db import JournalFull
from tests.simulation.faults import Faults

DOWN, ERRORS, HANGS = "down", "answers 500", "hangs"
FULL, READ_ONLY = "full", "read-only"
ENGINE_OUTAGES = (DOWN, ERRORS, HANGS)
DISK_OUTAGES = (FULL, FULL, READ_ONLY)
ROOM = 3
"""Writes for which an agent's reserve makes room."""
REFUSED = "this one call was refused"


class Outage:
    """`kind` is None between two of them."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._kind: str | None = None
        self._until = 0.0

    @property
    def kind(self) -> str | None:
        return self._kind if self.faults.now < self._until else None

    def begin(self, kind: str, seconds: float) -> None:
        self._kind, self._until = kind, self.faults.now + seconds

    def end(self) -> None:
        self._kind = None


class EngineOutage(Outage):
    def need_answer(self, wait: Callable[[], None]) -> None:
        """Raises EngineError. `wait` passes the time for which a call hangs."""
        match self.kind:
            case "down":
                raise EngineError("DOCKER_UNAVAILABLE", "nothing listens at unix:///var/run/docker.sock")
            case "answers 500":
                raise EngineError("CONTAINER_FAILED", "500 Server Error: layer does not exist")
            case "hangs":
                self.faults.happened["engine call hung"] += 1
                wait()
                raise EngineError("DOCKER_UNAVAILABLE", "the Docker daemon does not answer within 30 s")
        if self.faults.strikes("engine refused a call", 0.004):
            raise EngineError("CONTAINER_FAILED", f"500 Server Error: {REFUSED}")

    def may_lose_answer(self, wait: Callable[[], None]) -> None:
        """The call took effect, and does not return. Raises EngineError."""
        if self.faults.strikes("engine answer lost", 0.06):
            wait()
            raise EngineError("DOCKER_UNAVAILABLE", "the Docker daemon does not answer within 30 s")


class Disk(Outage):
    """Also the reserve that an agent holds on it: given up, it makes room for a few writes.

    An outage that is not `visible` shows only when something is written.
    """

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self._reserve, self._room = True, 0
        self.visible = True

    def begin(self, kind: str, seconds: float) -> None:
        super().begin(kind, seconds)
        self._room = 0
        self._reserve = self.faults.random.random() < 0.7
        self.visible = self.faults.random.random() < 0.7

    def seen(self) -> str | None:
        """What a look at the file system shows."""
        return f"the disk of the state folder is {self.kind}" if self.kind and self.visible else None

    def need_room(self) -> None:
        """For one write. Raises JournalFull."""
        kind = self.kind
        if kind is None:
            return
        if kind == FULL and self._room > 0:
            self._room -= 1
            self.faults.happened["written to the room of the reserve"] += 1
            return
        self.faults.happened[f"write refused, disk {kind}"] += 1
        raise JournalFull(f"the disk is {kind}", full=kind == FULL)

    # The reserve

    def give_up(self) -> bool:
        held, self._reserve = self._reserve and self.kind != READ_ONLY, False
        self._room = ROOM if held else self._room
        return held

    def restore(self) -> None:
        """On a full disk as far as what was freed is still free."""
        if self.kind is None or self._room == ROOM:
            self._reserve, self._room = True, 0
