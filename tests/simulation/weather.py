"""What goes wrong, how often it did, and the diary of one seed."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MILLISECONDS = re.compile(r"\b1[78]\d{11}\b")


class Weather:
    """While it is `bad`, faults strike. `happened` counts them, and everything else that has a stated minimum."""

    def __init__(self, random: Random, start: float) -> None:
        self.random, self.start, self.now = random, start, start
        self.bad = True
        self.happened: Counter[str] = Counter()
        self._diary: list[str] = []

    def strikes(self, fault: str, chance: float) -> bool:
        if not self.bad or self.random.random() >= chance:
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
