"""A gateway with three hosts: whoever is lost, no request fails before the first byte of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.faults.gateway_callers import Callers, Ended, StalledReaders
from tests.faults.gateway_runs import broken_after
from tests.fixtures.gateway_rig import GatewayRig
from tests.fixtures.waiting import eventually

HOSTS = 3
MOST_HELD_BYTES = 256 * 1024
"""Of the gateway's memory by a caller that does not read: 64 KiB of its answer, sockets, and Python's objects."""


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayRig]:
    with GatewayRig(tmp_path_factory.mktemp("gateway"), HOSTS) as rig:
        yield rig


@pytest.fixture
def rig(shared_rig: GatewayRig) -> GatewayRig:
    """All hosts serve."""
    eventually(shared_rig.ready, what="all hosts to serve")
    return shared_rig


def more(callers: Callers, count: int) -> None:
    """Wait until so many more requests have ended."""
    before = len(callers.ended)
    eventually(lambda: len(callers.ended), lambda ended: ended >= before + count, f"{count} more requests")


def ends_with_an_error(ended: Ended) -> bool:
    """Whether a broken stream ends as clients of the API expect: an event with the error, and the end of the stream."""
    events = ended.tail.split(b"\n\n")
    errors = [event for event in events if event.startswith(b"data: {") and b'"error"' in event]
    return bool(errors) and bool(json.loads(errors[-1].removeprefix(b"data: "))["error"]["message"])


def during(rig: GatewayRig, fault: Callable[[Callers], None]) -> Callers:
    """Callers before, during, and after a fault; every one of them got what it could."""
    with Callers(rig.gateway.port, rig.key, count=8) as callers:
        more(callers, 20)
        fault(callers)
        more(callers, 20)
    assert callers.failed_before_a_byte == []
    assert [each for each in callers.broken if each.streamed and not ends_with_an_error(each)] == []
    return callers


def test_the_loss_of_a_host_fails_no_request_before_its_first_byte(rig: GatewayRig) -> None:
    def lose(callers: Callers) -> None:
        for host in rig.hosts[:2]:
            host.lose()
            more(callers, 30)
            host.start()
            eventually(rig.ready, what="the host to come back")

    during(rig, lose)


def test_a_tunnel_that_answers_nothing_is_given_up(rig: GatewayRig) -> None:
    def pause(callers: Callers) -> None:
        with rig.hosts[0].paused():
            eventually(lambda: rig.gateway.metric("muster_gateway_tunnel_workers"), lambda n: n < HOSTS, "its end")
            more(callers, 20)

    during(rig, pause)


def test_the_gateway_serves_while_the_control_plane_is_away(rig: GatewayRig) -> None:
    def away(callers: Callers) -> None:
        rig.serve.kill()
        eventually(lambda: rig.gateway.metric("muster_gateway_control_plane_up"), lambda up: up == 0, "it notices")
        more(callers, 50)
        rig.serve.start()

    assert during(rig, away).broken == []


def test_agents_come_back_to_a_gateway_that_was_killed(rig: GatewayRig) -> None:
    rig.gateway.kill()
    rig.gateway.start()
    eventually(rig.ready, what="all hosts to come back")
    assert during(rig, lambda callers: more(callers, 20)).broken == []


def test_callers_that_read_nothing_hold_little_and_stop_nobody(rig: GatewayRig) -> None:
    process, count = psutil.Process(rig.gateway.process.pid), 100
    during(rig, lambda callers: more(callers, 100))
    before = process.memory_info().rss

    def stall(callers: Callers) -> None:
        with StalledReaders(rig.gateway.port, rig.key, count):
            more(callers, 100)
            assert process.memory_info().rss - before < count * MOST_HELD_BYTES

    assert during(rig, stall).broken == []
    eventually(lambda: rig.gateway.metric("muster_gateway_in_flight"), lambda left: left == 0, "their end")


def test_a_stream_counts_as_late_only_if_no_fault_explains_its_end() -> None:
    whole = Ended(True, 200, began=0.0, ended=10.5, tokens=3, tail=b"")
    assert broken_after([whole], [10.0], within=1.0) == ([0.5], [])
    assert broken_after([whole], [5.0], within=1.0) == ([5.5], [whole])
    assert broken_after([whole], [11.0], within=1.0) == ([], [whole])
