"""Where models listen: which port is free."""

from __future__ import annotations

import socket

import pytest

from muster_agent.engines import ports
from muster_agent.engines.base import EngineError
from muster_agent.engines.ports import PORTS
from tests.fixtures.ports import free_port


def test_a_free_port_is_the_wanted_one_or_the_first_that_nobody_has() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(EngineError, match=str(port)) as raised:
            ports.free_port(port, "127.0.0.1", ())
        assert raised.value.error_code == "PORT_IN_USE"
    assert ports.free_port(port, "127.0.0.1", ()) == port
    with pytest.raises(EngineError):
        ports.free_port(port, "127.0.0.1", {port})
    free = ports.free_port(None, "127.0.0.1", ())
    assert free in PORTS
    assert ports.free_port(None, "127.0.0.1", {free}) > free
    with pytest.raises(EngineError) as raised:
        ports.free_port(None, "127.0.0.1", PORTS)
    assert raised.value.error_code == "PORT_IN_USE"
    for nowhere in ("203.0.113.9", "no such host"):
        with pytest.raises(EngineError) as raised:
            ports.free_port(None, nowhere, ())
        assert raised.value.error_code == "ADDRESS_MISSING"


def test_ports_are_not_among_those_that_linux_gives_out() -> None:
    assert not set(PORTS) & set(range(32768, 61000))
    assert min(PORTS) > 1024
