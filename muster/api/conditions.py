"""Conditions: what a host cannot do at the moment, although its agent is online.

An agent reports the conditions that it observes with each heartbeat; the control plane adds those that it concludes
itself. A type is CamelCase, as in Kubernetes, and names the trouble: a worker without conditions is in order.
"""

from __future__ import annotations

from muster.api.compat import StrEnum


class ConditionType(StrEnum):
    """The order is that of the bits in a worker's item: new types are added at the end (`bit`)."""

    ENGINE_UNAVAILABLE = "EngineUnavailable"
    """Docker is down, hangs, or answers with errors."""
    STATE_UNAVAILABLE = "StateUnavailable"
    """The agent's state folder is read-only, full, or gone."""
    STATE_DAMAGED = "StateDamaged"
    """A file in the state folder could not be read, and the agent began a new one."""
    GPU_DRIVER_UNAVAILABLE = "GpuDriverUnavailable"
    """The host has GPUs, and NVML does not answer."""
    GPU_LOST = "GpuLost"
    """A GPU fell off the bus, or is gone."""
    CLOCK_SKEWED = "ClockSkewed"
    """The host's clock and the control plane's are far apart."""
    REPORTS_REFUSED = "ReportsRefused"
    """Something between the agent and the control plane, or the control plane itself, refuses reports."""
    ADDRESS_MISSING = "AddressMissing"
    """The host does not have the address that its models are to listen at."""
    ADDRESS_CONFLICT = "AddressConflict"
    """Another worker holds the address and port, or the address may not be used. The control plane concludes it."""
    WEIGHTS_UNREADABLE = "WeightsUnreadable"
    """Weights or their folder belong to somebody else, and cannot be read or written."""


OTHER_BIT = 31
"""The bit of every type that this release does not know: a newer agent may report one."""


def bit(type_: str) -> int:
    """The position of a type in the bitmask, 0 to 31."""
    known = list(ConditionType)
    return known.index(ConditionType(type_)) if type_ in known else OTHER_BIT


OTHER = "Other"
"""What `types_in` returns for a type that this release does not know."""


def types_in(bits: int) -> list[str]:
    """The types of a bitmask, in the order of the bits."""
    found = [str(type_) for type_ in ConditionType if bits >> bit(type_) & 1]
    return [*found, OTHER] if bits >> OTHER_BIT & 1 else found
