"""What a stage's things are called. Stages of one account know nothing of each other."""

from __future__ import annotations

STAGE = r"[a-z][a-z0-9-]{0,18}[a-z0-9]"
"""What a stage may be called: 2 to 20 characters."""


BUCKET = "muster-artefacts-"
"""What the names of the buckets with archives, templates, and wheels begin with."""


def prefix(stage: str) -> str:
    """What the names of its tables begin with: MUSTER_TABLE_PREFIX."""
    return f"muster-{stage}-"
