"""How the agent starts its threads; tests give a function that starts none."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

Spawn = Callable[[str, Callable[[], None]], None]


def spawn_thread(name: str, target: Callable[[], None]) -> None:
    """Run `target` in a daemon thread: an agent that ends does not wait for a pull."""
    Thread(target=target, name=name, daemon=True).start()
