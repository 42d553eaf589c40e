"""What something uses of what AWS charges for; it adds up, and can be had many times."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Use:
    """Of the database units and calls; of the function invocations and seconds of processor time; bytes of the rest."""

    writes: float = 0
    reads: float = 0
    calls: float = 0
    requests: float = 0
    invocations: float = 0
    cpu: float = 0
    sent: float = 0
    logged: float = 0

    def __add__(self, other: Use) -> Use:
        return Use(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float) -> Use:
        return Use(*(each * times for each in astuple(self)))

    def __sub__(self, other: Use) -> Use:
        return self + other * -1

    def at_least_nothing(self) -> Use:
        """Without what is below zero: of two measurements that differ by chance."""
        return Use(*(max(0.0, each) for each in astuple(self)))
