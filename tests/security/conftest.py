"""The conformance suite's server, clients and workers: an attacker speaks to the same real process."""

from tests.conformance.conftest import (
    admin,
    agent,
    an_operator,
    anyone,
    keyed,
    operator,
    registration_token,
    server,
    viewer,
    worker,
)

__all__ = [
    "admin",
    "agent",
    "an_operator",
    "anyone",
    "keyed",
    "operator",
    "registration_token",
    "server",
    "viewer",
    "worker",
]
