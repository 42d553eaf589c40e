"""The process engine's log: read from its end, across turning over, by time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_agent.engines.log_lines import CHUNK_BYTES, Line, backwards, chunk, format_time, parse_time
from muster_agent.engines.process.shim import LINE_BYTES, Log


@given(st.integers(0, 4 * 10**18))
def test_times_survive_the_round_trip(at: int) -> None:
    assert parse_time(format_time(at)) == at


@given(st.lists(st.binary(max_size=300).map(lambda text: text.replace(b"\n", b"")), max_size=50))
def test_what_is_written_is_read_backwards(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = Log(path)
    for line in lines:
        log.write(line)
    read = list(backwards(path))
    assert [line.text for line in reversed(read)] == lines
    assert all(later.at > earlier.at for later, earlier in pairwise(read))


def test_lines_longer_than_a_block_are_whole(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    for letter in (b"a", b"b", b"c"):
        log.write(letter * 100_000)
    assert [line.text[:1] * len(line.text) for line in backwards(tmp_path / "log")] == [
        letter * 100_000 for letter in (b"c", b"b", b"a")
    ]


def test_a_log_is_bounded_and_read_across_the_turn(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", limit=10_000)
    for number in range(1000):
        log.write(b"line %d" % number)
    sizes = [(tmp_path / name).stat().st_size for name in ("log", "log.1")]
    assert max(sizes) < 11_000
    read = [line.text for line in backwards(tmp_path / "log")]
    assert read == [b"line %d" % number for number in range(999, 999 - len(read), -1)]
    assert len(read) > 300


def test_what_was_cut_off_in_the_middle_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0000000000000000005 whole\ngarbage\n000000000000000")
    assert list(backwards(tmp_path / "log")) == [Line(5, b"whole")]
    assert list(backwards(tmp_path / "absent")) == []


def test_one_answer_is_bounded_however_much_is_asked_for() -> None:
    lines = (Line(at, b"x" * LINE_BYTES) for at in range(10**6, 0, -1))
    answer = chunk(lines, 10_000, None)
    assert answer.truncated
    assert len(answer.text) <= CHUNK_BYTES + 100


@given(st.lists(st.integers(1, 50)), st.integers(1, 60), st.integers(1, 5))
def test_following_gives_each_line_once(gaps: list[int], upto: int, at_once: int) -> None:
    """Whatever was there when, and as long as no more comes at once than is asked for."""
    times = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    seen, since = "", None
    for now in range(at_once, len(times) + at_once, at_once):
        there = [Line(at, b"%d" % at) for at in times[:now]]
        answer = chunk(reversed(there), upto + at_once, since)
        seen, since = seen + answer.text, answer.next_since
    assert seen.split() == [str(at) for at in times]
