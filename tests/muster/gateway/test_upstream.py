"""The two ways to a replica have the shape that the proxy expects."""

from __future__ import annotations

import inspect

import pytest

from muster.gateway.direct_upstream import DirectResponse, DirectUpstream
from muster.gateway.tunnel_upstream import TunnelResponse, TunnelUpstream
from muster.gateway.upstream import Broken, Unavailable, Upstream, UpstreamResponse


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (TunnelUpstream, Upstream),
        (DirectUpstream, Upstream),
        (TunnelResponse, UpstreamResponse),
        (DirectResponse, UpstreamResponse),
    ],
)
def test_a_way_has_every_method_with_its_arguments(kind: type, shape: type) -> None:
    for name, wanted in inspect.getmembers(shape, inspect.isfunction):
        if not name.startswith("_"):
            assert len(inspect.signature(getattr(kind, name)).parameters) == len(inspect.signature(wanted).parameters)


def test_failures_carry_their_reason() -> None:
    assert (Unavailable("draining", "x", is_replica_fault=False).reason, Broken("lost", "y").reason) == (
        "draining",
        "lost",
    )
