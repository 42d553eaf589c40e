"""Gateways of a plane whose process has read nothing yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.auth.tokens import Principal
from chalicelib.gateways import caller_keys, records, ticket_keys
from chalicelib.telemetry.snapshot import SHARED
from muster.api import resources as r
from muster.api.endpoints import Access
from tests.fixtures.database import Recorder
from tests.fixtures.plane_world import ADMIN, PlaneWorld


@pytest.fixture
def world(database: Recorder) -> Iterator[PlaneWorld]:
    forget()
    yield PlaneWorld(database)
    forget()


def forget() -> None:
    """As a function that has just started."""
    records.CACHE.forget()
    ticket_keys.MASTERS.forget()
    caller_keys.SHARED.__init__()  # type: ignore[misc]
    SHARED.forget()


def gateway_key(world: PlaneWorld, name: str = "edge") -> Principal:
    """An API key of the role gateway, as its bearer is known."""
    from chalicelib.auth import tokens

    made = tokens.create_key(r.NewApiKey(name, "gateway"), ADMIN, world.now)
    return Principal(f"key {name}", Access.GATEWAY, made.key_id)
