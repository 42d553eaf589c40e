"""A cable that drops everything without a word: the connections on it stay open, and nothing comes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.gateway_callers import Callers
from tests.faults.test_gateway import ends_with_an_error, more
from tests.fixtures.namespaces import Namespace, namespace
from tests.fixtures.network_rig import NamespaceRig, log, logged
from tests.fixtures.waiting import eventually

LARGE = 1_500_000
"""Characters of a prompt: some of it waits at the gateway, whose connection to the host takes no more."""


@pytest.fixture(scope="module")
def cable() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture(scope="module")
def rig(cable: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespaceRig]:
    """One host at the other end of the cable, and one beside the gateway."""
    with NamespaceRig(tmp_path_factory.mktemp("cable"), cable, {}, hosts=2) as made:
        yield made


@pytest.mark.parametrize("prompt", [6, LARGE], ids=["short", "large"])
def test_a_tunnel_that_is_half_open_is_given_up_and_the_other_replica_answers(
    rig: NamespaceRig, cable: Namespace, prompt: int
) -> None:
    eventually(rig.ready, what="both hosts to serve")
    os.truncate(log(rig.hosts[0]), 0)
    with Callers(rig.gateway.port, rig.key, 8, rig.address, prompt=prompt) as callers:
        more(callers, 10)
        with cable.silence():
            eventually(lambda: rig.gateway.metric("muster_gateway_tunnel_workers"), lambda n: n == 1, "its end")
            logged(rig.hosts[0], f"no tunnel to {rig.gateway.url}: the other end shows no sign of life")
            more(callers, 10)
        eventually(rig.ready, what="the host to come back")
        more(callers, 10)
    assert callers.failed_before_a_byte == []
    assert [each for each in callers.broken if each.streamed and not ends_with_an_error(each)] == []
