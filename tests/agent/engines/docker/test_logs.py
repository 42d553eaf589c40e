"""A container's log: the daemon's frames as lines, in a bounded answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import docker
import pytest

from muster_agent.engines.base import EngineError
from muster_agent.engines.docker.logs import read_log
from muster_agent.engines.log_lines import CHUNK_BYTES
from tests.fixtures.docker_rig import DockerRig
from tests.fixtures.engine_suite import ready

STAMP = "2026-01-01T00:00:{:02d}.000000001Z"


def frame(second: int, text: bytes) -> bytes:
    return STAMP.format(second).encode() + b" " + text + b"\n"


class Frames(docker.APIClient):
    """A daemon that answers with frames; `asked` is the last request, `closed` whether its stream was."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = frames
        self.closed = False

    def logs(self, *_: object, **asked: Any) -> Iterator[bytes]:  # type: ignore[override]  # as `read_log` asks
        self.asked = asked
        try:
            yield from self.frames
        finally:
            self.closed = True


def test_each_frame_is_a_line_with_its_time() -> None:
    log = read_log(Frames(frame(1, b"one"), frame(2, b"two")), "c", 10, None)
    assert log.text == "one\ntwo\n"
    assert log.times[1] - log.times[0] == 10**9
    assert log.next_since == "2026-01-01T00:00:02.000000002Z"


def test_lines_without_a_time_are_left_out() -> None:
    """As of a container with a terminal, which Muster did not start."""
    log = read_log(Frames(frame(1, b"one"), b"no time here\n", b"\n", frame(2, b"two")), "c", 10, None)
    assert log.text == "one\ntwo\n"


def test_one_more_line_than_wanted_is_asked_for_so_that_the_answer_can_be_called_truncated() -> None:
    daemon = Frames(*(frame(second, b"%d" % second) for second in range(4)))
    log = read_log(daemon, "c", 3, None)
    assert daemon.asked["tail"] == 4
    assert (log.text, log.truncated) == ("1\n2\n3\n", True)


def test_since_is_asked_of_the_daemon_a_little_earlier_and_kept_to_exactly() -> None:
    """The daemon's time is a float, which is not exact to the nanosecond."""
    daemon = Frames(frame(1, b"before"), frame(2, b"after"))
    log = read_log(daemon, "c", 10, "2026-01-01T00:00:01.000000002Z")
    assert daemon.asked["since"] < 1767225601
    assert log.text == "after\n"


def test_an_answer_is_bounded_and_has_the_last_lines() -> None:
    daemon = Frames(*(frame(second % 60, b"x" * 16_000) for second in range(600)), frame(59, b"end"))
    log = read_log(daemon, "c", 10_000, None)
    assert log.truncated and log.text.endswith("\nend\n")
    assert CHUNK_BYTES // 2 < len(log.text) <= CHUNK_BYTES + 1000


@pytest.mark.parametrize("since", [None, "0"])
def test_the_daemons_stream_is_closed(since: str | None) -> None:
    daemon = Frames(frame(1, b"one"), frame(2, b"two"))
    read_log(daemon, "c", 1, since)
    assert daemon.closed


def test_a_time_that_is_none_asks_the_daemon_for_nothing() -> None:
    daemon = Frames(frame(1, b"one"))
    with pytest.raises(EngineError, match="RFC 3339"):
        read_log(daemon, "c", 1, "yesterday")
    assert not hasattr(daemon, "asked")


@pytest.mark.docker
def test_long_lines_come_in_pieces_and_nothing_is_lost(rig: DockerRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    rig.say(instance, b"x" * 50_000 + b"\nend\n")
    assert rig.engine.logs(instance.id, 100, None).text.count("x") == 50_000
