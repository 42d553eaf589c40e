"""Which connection makes room for another, over real pairs of sockets."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from infra.local.connections import MAX_CONNECTIONS, RESERVED_FILES, Connections
from tests.fixtures import ROOT
from tests.fixtures.waiting import PATIENCE

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """The server's end and the caller's, of four connections."""
    with ExitStack() as opened:
        made = [socket.socketpair() for _ in range(4)]
        for pair in made:
            for end in pair:
                opened.enter_context(end)
                end.settimeout(PATIENCE)
        yield made


def ended(pairs: list[Pair]) -> list[int]:
    """Which of the callers were hung up on."""
    found = []
    for index, (_, caller) in enumerate(pairs):
        caller.setblocking(False)
        try:
            if caller.recv(1) == b"":
                found.append(index)
        except BlockingIOError:
            pass
    return found


def test_all_that_fit_stay(pairs: list[Pair]) -> None:
    connections = Connections(4)
    for here, _ in pairs:
        connections.opened(here)
    assert ended(pairs) == []


def test_one_that_was_closed_has_left_its_room(pairs: list[Pair]) -> None:
    connections = Connections(3)
    for here, _ in pairs[:3]:
        connections.opened(here)
    connections.closed(pairs[0][0])
    connections.opened(pairs[3][0])
    assert ended(pairs) == []


def test_the_one_that_never_asked_makes_room_before_the_one_that_waits_longer(pairs: list[Pair]) -> None:
    connections = Connections(3)
    for here, _ in pairs[:3]:
        connections.opened(here)
    connections.answers(pairs[0][0])
    connections.waits(pairs[0][0])
    connections.opened(pairs[3][0])
    assert ended(pairs) == [1]


def test_of_those_that_asked_the_one_that_waits_for_longest_makes_room(pairs: list[Pair]) -> None:
    connections = Connections(3)
    for here, _ in pairs[:3]:
        connections.opened(here)
    for index in (2, 0, 1):
        connections.answers(pairs[index][0])
        connections.waits(pairs[index][0])
    connections.opened(pairs[3][0])
    assert ended(pairs) == [2]


def test_one_that_is_answered_is_never_ended(pairs: list[Pair]) -> None:
    connections = Connections(2)
    for here, _ in pairs[:2]:
        connections.opened(here)
        connections.answers(here)
    connections.opened(pairs[2][0])
    connections.opened(pairs[3][0])
    assert ended(pairs) == [2]


def test_the_largest_body_is_given_up_where_all_are_too_large_together(pairs: list[Pair]) -> None:
    connections = Connections(4, body_bytes=10)
    for here, _ in pairs:
        connections.opened(here)
    for index, count in enumerate((3, 5, 2)):
        connections.received(pairs[index][0], count)
    assert ended(pairs) == []
    connections.received(pairs[0][0], 1)
    assert ended(pairs) == [1]


def test_a_body_that_has_arrived_is_not_counted(pairs: list[Pair]) -> None:
    connections = Connections(4, body_bytes=10)
    for here, _ in pairs:
        connections.opened(here)
        connections.received(here, 9)
        connections.answers(here)
    assert ended(pairs) == []


def test_the_process_may_have_as_many_files_as_its_connections_need() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert room_with_limits(200, 300) == [300 - RESERVED_FILES, 300, 300]
    if hard == resource.RLIM_INFINITY or hard >= MAX_CONNECTIONS + RESERVED_FILES:
        assert room_with_limits(200, hard) == [MAX_CONNECTIONS, MAX_CONNECTIONS + RESERVED_FILES, hard]
    assert room_with_limits(10, 20)[0] == 1


def room_with_limits(soft: int, hard: int) -> list[int]:
    """The room of a process with these limits on its files, and the limits that it has then."""
    script = f"""
import resource
from infra.local.connections import room
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(room(), *resource.getrlimit(resource.RLIMIT_NOFILE))"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return [int(each) for each in done.stdout.split()]
