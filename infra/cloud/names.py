"""What a stage's things are called. Stages of one account know nothing of each other."""

from __future__ import annotations


def prefix(stage: str) -> str:
    """What the names of its tables begin with: MUSTER_TABLE_PREFIX."""
    return f"muster-{stage}-"
