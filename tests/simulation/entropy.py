"""Ids and secrets from the seed, so that a seed can be replayed to the letter: uuid4 and secrets ask the system for
bytes, and in here the system's bytes are the seed's."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    source = random.Random(f"entropy {seed}")
    system = os.urandom
    os.urandom = random._urandom = source.randbytes  # type: ignore[attr-defined]
    try:
        yield
    finally:
        os.urandom = random._urandom = system  # type: ignore[attr-defined]
