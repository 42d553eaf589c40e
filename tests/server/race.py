"""A race, run again and again, as close as it can be brought.

Whoever wins a round starts a little later in the next, by more or less, so that they do not take turns. So the rounds
stay where it may go either way, on whatever machine; and a race that only one side ever wins is none, which is a
failure when there were rounds enough to tell.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from chalicelib.contract.errors import ApiError

STEP, LONGEST = 0.0003, 0.04
"""Seconds that a win costs, and that are given away at most."""
ENOUGH = 200
MOST = 8
"""Contestants."""


class Race(AbstractContextManager["Race"]):
    """`rounds` of one race, with a `pause` before each. `wins`: how often each contestant prevailed."""

    def __init__(self, rounds: int, pause: Callable[[], object]) -> None:
        self.rounds = rounds
        self._pause = pause
        self.wins: Counter[str] = Counter()
        self._late: dict[str, float] = {}
        self._chance = random.Random(rounds)
        self._pool = ThreadPoolExecutor(MOST)

    def run(self, one_round: Callable[[], str | None]) -> None:
        """`one_round` starts the contestants, asserts, clears up, and says who won; None where nobody can tell."""
        for number in range(1, self.rounds + 1):
            self._pause()
            try:
                winner = one_round()
            except BaseException as error:
                error.add_note(f"in round {number} of {self.rounds}; won so far: {self}")
                raise
            if winner is None:
                continue
            self.wins[winner] += 1
            self._late[winner] += STEP
            least = min(self._late.values())
            self._late = {name: min(late - least, LONGEST) for name, late in self._late.items()}
        print(f"{self.rounds} rounds{', won by ' if self.wins else ''}{self}")
        if self.wins and self.rounds >= ENOUGH:
            assert self.wins.keys() == self._late.keys(), f"no race: won by {self}, of {sorted(self._late)}"

    def between(self, **contestants: Callable[[], Any]) -> dict[str, Any]:
        """What each returned or which ApiError it raised, all started together but for what wins have cost them."""
        self._late = {name: self._late.get(name, 0.0) for name in contestants}
        late = {name: late + self._chance.uniform(0, 3 * STEP) for name, late in self._late.items()}
        together = threading.Barrier(len(contestants))

        def start(name: str) -> Any:
            together.wait()
            time.sleep(late[name])
            try:
                return contestants[name]()
            except ApiError as error:
                return error

        return dict(zip(contestants, self._pool.map(start, contestants), strict=True))

    def among(self, count: int, contestant: Callable[[int], Any]) -> dict[str, Any]:
        """So many of the same kind."""
        return self.between(**{f"#{i}": lambda i=i: contestant(i) for i in range(count)})

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(self.wins.items()))

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def one(ended: dict[str, Any], otherwise: str) -> str:
    """The one contestant that was served; all others must have been refused, with `otherwise`."""
    refused = [name for name, result in ended.items() if isinstance(result, ApiError)]
    (served,) = ended.keys() - set(refused)
    assert {ended[name].error_code for name in refused} == {otherwise}
    return served
