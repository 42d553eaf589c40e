"""Whether the host's driver does what an image wants of it, as NVIDIA's own container runtime decides it at the start.

An image of CUDA has `NVIDIA_REQUIRE_CUDA`, as in `cuda>=12.9 brand=tesla,driver>=535,driver<536`: alternatives, each of
terms that must all hold (NVIDIA Container Toolkit, Specialized Configurations with Docker, Constraints).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

REQUIREMENT = "NVIDIA_REQUIRE_CUDA"
DISABLED = "NVIDIA_DISABLE_REQUIRE"
_TERM = re.compile(r"(?P<what>\w+)(?P<how><=|>=|!=|=|<|>)(?P<value>.+)")
_TRUE = frozenset({"1", "TRUE", "YES"})


@dataclass(frozen=True)
class Driver:
    """`version` is the driver's own ("580.82.07"), `cuda` the newest CUDA that it supports ("13.0")."""

    version: str
    cuda: str


def unsatisfied(env: Mapping[str, str], driver: Driver) -> str | None:
    """The requirement of an image with `env` that `driver` does not meet; None where it does, or nobody can tell.

    A term that is not known here, as a brand of GPUs, counts as met.
    """
    if env.get(DISABLED, "").upper() in _TRUE:
        return None
    alternatives = env.get(REQUIREMENT, "").split()
    if not alternatives or any(_meets(alternative, driver) for alternative in alternatives):
        return None
    return alternatives[0]


def _meets(alternative: str, driver: Driver) -> bool:
    return all(_holds(term, driver) for term in alternative.split(","))


def _holds(text: str, driver: Driver) -> bool:
    term = _TERM.fullmatch(text)
    known = {"cuda": driver.cuda, "driver": driver.version}
    if term is None or term["what"] not in known:
        return True
    has, wants = _numbers(known[term["what"]]), _numbers(term["value"])
    if has is None or wants is None:
        return True
    # As many numbers as both have: a driver is required as 535, and is 535.104.05.
    places = min(len(has), len(wants))
    has, wants = has[:places], wants[:places]
    return {
        "<": has < wants,
        "<=": has <= wants,
        ">": has > wants,
        ">=": has >= wants,
        "=": has == wants,
        "!=": has != wants,
    }[term["how"]]


def _numbers(text: str) -> tuple[int, ...] | None:
    try:
        return tuple(map(int, text.split(".")))
    except ValueError:
        return None
