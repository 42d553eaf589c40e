"""A host with outbound traffic only, from its join to the first token: by IPv4, and where there is only IPv6."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.fixtures.namespaces import Namespace
from tests.fixtures.network_rig import NetworkRig
from tests.fixtures.waiting import PATIENCE, eventually

Far = tuple[Namespace, NetworkRig]


@pytest.fixture(scope="module", params=[4, 6], ids=["IPv4", "IPv6"])
def far(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    with Namespace(request.param) as namespace, NetworkRig(folder, namespace.cable.outer) as rig:
        rig.deploy(rig.add(namespace, SSL_CERT_FILE=rig.authority.file))
        yield namespace, rig


def is_reached(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_caller_gets_tokens_from_a_host_that_nobody_reaches(far: Far) -> None:
    namespace, rig = far
    answer = rig.ask(3)
    assert answer.status_code == 200 and answer.text.count('" token"') == 3
    ports = namespace.listening()
    assert ports, "the model listens, for its own host"
    assert [port for port in ports if is_reached(namespace.cable.inner, port)] == []


def test_half_open_connections_are_given_up_and_come_back(far: Far) -> None:
    """The network swallows everything: no end is told that the connections are over."""
    namespace, rig = far
    namespace.cut()
    try:
        eventually(rig.tunnels, lambda count: count == 0, "the gateway to give the tunnel up")
    finally:
        namespace.mend()
    eventually(rig.serves, what="the host to come back")
    assert rig.ask(2).text.count('" token"') == 2
