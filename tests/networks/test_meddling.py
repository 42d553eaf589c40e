"""A network that cuts, delays, and doubles what passes between agents and the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.gateway_callers import Callers
from tests.fixtures.http_server import serving
from tests.fixtures.meddler import FAULTS, Fault, Meddler
from tests.fixtures.network_rig import NetworkRig
from tests.fixtures.waiting import eventually

HOSTS, CONNECTIONS, ROUNDS = 2, 4, 4


@pytest.fixture
def meddled(tmp_path: Path) -> Iterator[tuple[Meddler, NetworkRig]]:
    """A gateway that two hosts reach by the meddler alone."""
    ports: list[int] = []
    with serving(Meddler(lambda: ports[0])) as meddler, NetworkRig(tmp_path, "127.0.0.1", meddler.port) as rig:
        ports.append(rig.gateway.port)
        for number in range(HOSTS):
            rig.deploy(rig.add(name=f"far-{number}", SSL_CERT_FILE=rig.authority.file))
        yield meddler, rig


def strike(meddler: Meddler, rig: NetworkRig, callers: Callers, fault: Fault) -> None:
    """Have a fault happen while requests run; returns when all is well again."""
    before, happened = len(callers.ended), meddler.happened[fault]
    meddler.strike(fault)
    eventually(lambda: meddler.happened[fault] > happened and len(callers.ended) >= before + 20, what="more requests")
    eventually(lambda: rig.gateway.metric("muster_gateway_tunnels"), lambda count: count == CONNECTIONS, "all tunnels")


def test_no_request_fails_before_its_first_byte(meddled: tuple[Meddler, NetworkRig]) -> None:
    meddler, rig = meddled
    eventually(lambda: rig.gateway.metric("muster_gateway_tunnels"), lambda count: count == CONNECTIONS, "all tunnels")
    with Callers(rig.gateway.port, rig.key, count=8, trusts=rig.authority.file) as callers:
        for _ in range(ROUNDS):
            for fault in FAULTS:
                strike(meddler, rig, callers, fault)
    assert callers.failed_before_a_byte == []
    assert all(ended.tail.endswith(b"data: [DONE]\n\n") for ended in callers.broken), "broken ones say so in the end"
    assert all(meddler.happened[fault] == ROUNDS for fault in FAULTS)
