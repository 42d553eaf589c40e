"""What the Docker daemon says, as an error code: it tells most of its failures as status 500 and in prose alone.

The texts are those of engine 20.10 to 29, runc, crun, containerd, and the NVIDIA container runtime.
"""

from __future__ import annotations

from typing import NamedTuple

from muster.api.messages import Fix
from muster.diagnostics.rules import UNNAMED_REGISTRY, rules

MOST_CHARACTERS = 2000


class Reading(NamedTuple):
    """`message` is what to do, then Docker's own words."""

    error_code: str
    message: str
    permanent: bool
    fix: Fix | None = None


def read(prose: str, otherwise: str, registry: str = UNNAMED_REGISTRY, *, begun: bool = True) -> Reading:
    """What this failure of the daemon amounts to; `otherwise` is the code where no rule knows it.

    `registry` is the host name that a `docker login` would be for. `begun` is false where a pull is known to have
    failed before anything of the image came.
    """
    prose = prose.strip()
    for rule in rules("docker"):
        if (begun or not rule.row.begun) and (match := rule.search(prose)):
            advice = rule.advise(match, {"registry": registry})
            message = f"{advice.text} Docker says: {prose}"[:MOST_CHARACTERS]
            return Reading(rule.code, message, rule.row.permanent, advice.fix)
    return Reading(otherwise, prose[:MOST_CHARACTERS], False)
