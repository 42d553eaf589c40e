"""A host that nothing can connect to, with IPv4 or IPv6 alone, serves its model through a tunnel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fixtures.namespaces import Namespace, namespace
from tests.fixtures.network_rig import NamespaceRig, connects, first_token, open_ports

LISTENER = """
import socket, sys
server = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
"""Listens at every address until its input ends."""
CONNECTS = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)"


@pytest.fixture(scope="module", params=[4, 6], ids=["IPv4", "IPv6"])
def host_network(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with namespace(request.param) as made:
        made.refuse_inbound()
        yield made


@pytest.fixture(scope="module")
def rig(host_network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespaceRig]:
    with NamespaceRig(tmp_path_factory.mktemp("network"), host_network, {}) as made:
        yield made


@contextmanager
def listening(inside: Namespace) -> Iterator[int]:
    """The port of a program that listens at every address of the host."""
    command = inside.command(sys.executable, "-c", LISTENER)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def model_port(rig: NamespaceRig) -> int:
    for process in rig.hosts[0].marked():
        words = process.cmdline()
        if "bench.token_model" in words and "--port" in words:
            return int(words[words.index("--port") + 1])
    raise AssertionError("no model runs")


def test_a_caller_gets_the_first_token_from_a_host_that_nothing_can_connect_to(rig: NamespaceRig) -> None:
    assert b'" token"' in first_token(rig)


def test_nothing_outside_can_connect_to_any_port_of_the_host(rig: NamespaceRig, host_network: Namespace) -> None:
    with listening(host_network) as port:
        assert {port, model_port(rig)} <= host_network.listening()
        host_network.run(sys.executable, "-c", CONNECTS, host_network.inner, str(port))  # from inside
        assert open_ports(host_network.inner) == []
    assert connects(host_network.outer, rig.gateway.port), "the check finds a port that is open"
