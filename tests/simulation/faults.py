"""What goes wrong, how often it did, and the diary of one seed."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MILLISECONDS = re.compile(r"\b1[78]\d{11}\b")


STORMS = (
    "request delayed",
    "answer late",
    "answer lost",
    "function killed",
    "function overtaken",
    "restless operators",
    "read lagged",
    "write sent again",
    "request throttled",
    "transaction in conflict",
    "transaction throttled",
    "write met a transaction",
    "writes left unprocessed",
    "reads left unprocessed",
    "page ended early",
    "clock stepped",
    "host rebooted",
    "model busy",
    "model still loads",
    "engine outage",
    "engine refused a call",
    "engine answer lost",
    "disk outage",
)
STORMY = 8
"""So many times as often as on other days."""


class Faults:
    """While it is `bad`, faults strike. `happened` counts them, and everything else that has a stated minimum.

    Half of the seeds have a `storm`: one fault that strikes far more often than the others. What needs two of a kind
    at one time is hardly ever seen where all of them are rare.
    """

    def __init__(self, random: Random, start: float, storm: str | None = None) -> None:
        self.random, self.start, self.now = random, start, start
        drawn = random.choice([*STORMS, *[None] * len(STORMS)])
        self.storm = storm or drawn
        self.bad = True
        self.happened: Counter[str] = Counter()
        self._diary: list[str] = []

    def strikes(self, fault: str, chance: float) -> bool:
        if not self.bad or self.random.random() >= (STORMY * chance if fault == self.storm else chance):
            return False
        self.happened[fault] += 1
        self.note(f"! {fault}")
        return True

    def note(self, line: str) -> None:
        self._diary.append(f"{self.now - self.start:9.1f} {line}")

    def diary(self, end: str) -> str:
        """Readable: <1> rather than a UUID, generations as seconds since the start. `end` is its last line."""
        known: dict[str, str] = {}
        text = "\n".join([*self._diary, end])
        text = ID.sub(lambda found: known.setdefault(found[0], f"<{len(known) + 1}>"), text)
        return MILLISECONDS.sub(lambda found: f"g{int(found[0]) / 1000 - self.start:.3f}", text)
