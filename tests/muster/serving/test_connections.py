"""Which connection makes room for another, and when one is done waiting."""

from __future__ import annotations

import resource
import subprocess
import sys

from muster.serving.connections import MAX_CONNECTIONS, RESERVED_FILES, Connection, Connections
from tests.fixtures import ROOT


class Callers:
    """Four connections, and those of them that the server ended or let expire."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.expired: list[int] = []
        self.all = [self._connection(number) for number in range(4)]

    def _connection(self, number: int) -> Connection:
        return Connection(lambda: self.ended.append(number), lambda: self.expired.append(number), deadline=number)


def test_all_that_fit_stay() -> None:
    callers, connections = Callers(), Connections(4)
    for connection in callers.all:
        connections.opened(connection)
    assert callers.ended == [] and connections.count == 4


def test_one_that_was_closed_has_left_its_room() -> None:
    callers, connections = Callers(), Connections(3)
    for connection in callers.all[:3]:
        connections.opened(connection)
    connections.closed(callers.all[0])
    connections.opened(callers.all[3])
    assert callers.ended == []


def test_the_one_that_never_asked_makes_room_before_the_one_that_waits_longer() -> None:
    callers, connections = Callers(), Connections(3)
    for connection in callers.all[:3]:
        connections.opened(connection)
    connections.answers(callers.all[0])
    connections.waits(callers.all[0])
    connections.opened(callers.all[3])
    assert callers.ended == [1]


def test_of_those_that_asked_the_one_that_waits_for_longest_makes_room() -> None:
    callers, connections = Callers(), Connections(3)
    for connection in callers.all[:3]:
        connections.opened(connection)
    for index in (2, 0, 1):
        connections.answers(callers.all[index])
        connections.waits(callers.all[index])
    connections.opened(callers.all[3])
    assert callers.ended == [2]


def test_one_that_is_answered_is_never_ended() -> None:
    callers, connections = Callers(), Connections(2)
    for connection in callers.all[:2]:
        connections.opened(connection)
        connections.answers(connection)
    connections.opened(callers.all[2])
    connections.opened(callers.all[3])
    assert callers.ended == [2]


def test_the_largest_body_is_given_up_where_all_are_too_large_together() -> None:
    callers, connections = Callers(), Connections(4, body_bytes=10)
    for connection in callers.all:
        connections.opened(connection)
    for index, count in enumerate((3, 5, 2)):
        connections.received(callers.all[index], count)
    assert callers.ended == []
    connections.received(callers.all[0], 1)
    assert callers.ended == [1]
    connections.received(callers.all[2], 4)
    assert callers.ended == [1], "what was given up is not counted any more"


def test_a_body_that_has_arrived_is_not_counted() -> None:
    callers, connections = Callers(), Connections(4, body_bytes=10)
    for connection in callers.all:
        connections.opened(connection)
        connections.received(connection, 9)
        connections.answers(connection)
    assert callers.ended == []


def test_those_whose_deadline_has_passed_expire() -> None:
    callers, connections = Callers(), Connections(4)
    for connection in callers.all:
        connections.opened(connection)
    connections.closed(callers.all[0])
    connections.expire(2.5)
    assert sorted(callers.expired) == [1, 2]


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
from muster.serving.connections import room
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(room(), *resource.getrlimit(resource.RLIMIT_NOFILE))"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]
