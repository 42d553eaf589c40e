"""The conformance suite's server, clients and workers: an attacker speaks to the same real process."""

from tests.conformance.conftest import (
    admin,
    agent,
    an_operator,
    anyone,
    away,
    host,
    keyed,
    operator,
    registration_token,
    server,
    viewer,
    worker,
)
from tests.server.conftest import database

__all__ = [
    "admin",
    "agent",
    "an_operator",
    "anyone",
    "away",
    "database",
    "host",
    "keyed",
    "operator",
    "registration_token",
    "server",
    "viewer",
    "worker",
]
