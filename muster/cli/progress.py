"""How far a deployment or an operation is, in words and as a share."""

from __future__ import annotations

from muster.api import messages as m
from muster.api import resources as r
from muster.api.lifecycle import COMING_UP
from muster.cli import text

PHASE_WORDS = {"downloading_weights": "downloading"}
PHASES_IN_BYTES = frozenset({"downloading", "extracting", "downloading_weights"})


def waits_in_loop(deployment: r.Deployment) -> bool:
    """Whether its crash loop waits for the next start."""
    loop = deployment.crash_loop
    return loop is not None and loop.next_start_in is not None and deployment.status in COMING_UP


def how_far(progress: m.Progress) -> str:
    """downloading 4.8 GB of 15.0 GB, 32 %, 104.9 MB/s."""
    words = [PHASE_WORDS.get(progress.phase, progress.phase)]
    if progress.current is not None and progress.total:
        unit = text.size if progress.phase in PHASES_IN_BYTES else str
        words[0] += f" {unit(progress.current)} of {unit(progress.total)}"
    share = share_of(progress)
    if share is not None:
        words.append(f"{100 * share:.0f} %")
    if progress.rate:
        words.append(f"{text.size(progress.rate)}/s")
    return ", ".join(words)


def share_of(progress: m.Progress) -> float | None:
    if progress.percent is not None:
        return progress.percent / 100
    if progress.current is not None and progress.total:
        return min(1.0, progress.current / progress.total)
    return None
