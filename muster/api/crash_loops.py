"""Crash loops in words: `crash loop: CUDA_OUT_OF_MEMORY, next start in 40 s`."""

from __future__ import annotations

from muster.api.messages import CrashLoop

PERSISTENT = 10
"""Failures in a row with the same cause from which on a loop does not heal: the agent backs off further."""


def is_persistent(loop: CrashLoop) -> bool:
    return loop.times >= PERSISTENT


def words(loop: CrashLoop) -> str:
    """One line, without what an operator can do."""
    said = f"crash loop: {loop.error_code}"
    if loop.next_start_in is not None:
        said += f", next start {f'in {span(loop.next_start_in)}' if loop.next_start_in else 'now'}"
    return f"{said}; the same cause {loop.times} times" if is_persistent(loop) else said


def advice(loop: CrashLoop, name: str) -> str | None:
    """What to do about a loop that does not heal; None for another. `name` is the deployment's."""
    if not is_persistent(loop):
        return None
    return f"The cause persists, so each wait is longer, up to 30 min: `muster restart {name}` starts it at once"


def span(seconds: int) -> str:
    """Seconds up to two minutes, then minutes, rounded up."""
    return f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} min"
