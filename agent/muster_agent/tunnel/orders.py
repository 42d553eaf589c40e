"""What the agent and its child send each other: a line of JSON each, on the child's standard input and output."""

from __future__ import annotations

from msgspec import Struct


class ModelTarget(Struct, frozen=True):
    """A model that serves on this host. `instance` is the engine's id of its container or process."""

    instance: str
    host: str
    port: int
    key: str | None = None


class GatewayOrder(Struct, frozen=True):
    """A gateway to dial, with the ticket to present."""

    url: str
    ticket: str


class Orders(Struct, frozen=True):
    """Everything that the child has to know, each time; `models` by deployment, `draining` are instances."""

    gateways: list[GatewayOrder] = []
    models: dict[str, ModelTarget] = {}
    draining: list[str] = []
    paths: list[str] = []
    """What the host's owner adds to the paths that gateways may ask for."""
    insecure: bool = False
    """Whether gateways that are not on this host may be dialed without TLS."""


class Drained(Struct, frozen=True):
    """No request is under way to the instance, and none will be."""

    drained: str
