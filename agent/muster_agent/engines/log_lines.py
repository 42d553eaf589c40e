"""Log lines with the times they came at, and where a reader left off. Both engines keep the same times: nanoseconds.

`next_since` is one nanosecond after the last line given, so that whoever hands it back misses nothing and sees nothing
twice; only more lines than were asked for are left out, and `truncated` says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import BinaryIO, NamedTuple

from muster_agent.engines.base import EngineError, LogChunk

CHUNK_BYTES = 1024 * 1024
"""More than this is not held in memory for one answer, however many lines were asked for."""

_BLOCK = 64 * 1024
_SECOND = 1_000_000_000
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


class Line(NamedTuple):
    at: int
    text: bytes


def parse_time(text: str) -> int:
    """RFC 3339 (UTC unless it says otherwise) or epoch seconds, as nanoseconds. Raises EngineError INVALID_REQUEST."""
    try:
        if found := _RFC_3339.fullmatch(text):
            whole, fraction, zone = found.groups()
            moment = datetime.fromisoformat(whole + ("+00:00" if zone in (None, "Z", "z") else zone))
            return int(moment.timestamp()) * _SECOND + int((fraction or "").ljust(9, "0"))
        seconds = Decimal(text)
        if text.isascii() and abs(seconds) < 10**11:
            return int(seconds * _SECOND)
    except (ValueError, OverflowError, InvalidOperation):
        pass
    raise EngineError("INVALID_REQUEST", f"since: expected RFC 3339 or epoch seconds, got {text[:64]!r}")


def format_time(at: int) -> str:
    """Nanoseconds as RFC 3339 with all nine digits."""
    seconds, fraction = divmod(at, _SECOND)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def chunk(newest_first: Iterable[Line], lines: int, since: str | None) -> LogChunk:
    """The last `lines` lines from `since` on. Raises EngineError INVALID_REQUEST."""
    start = None if since is None else parse_time(since)
    taken: list[Line] = []
    size, truncated = 0, False
    for line in newest_first:
        if start is not None and line.at < start:
            break
        if len(taken) == lines or size + len(line.text) > CHUNK_BYTES:
            truncated = True
            break
        taken.append(line)
        size += len(line.text) + 1
    oldest_first = taken[::-1]
    text = "".join(line.text.decode(errors="replace") + "\n" for line in oldest_first)
    next_since = format_time(taken[0].at + 1) if taken else since
    return LogChunk(text, next_since, truncated, tuple(line.at for line in oldest_first))


def stored(log: LogChunk) -> bytes:
    """A log as `backwards` reads it: each line behind its time."""
    lines = zip(log.times, log.text.split("\n"), strict=False)  # the text ends with a newline
    return b"".join(b"%019d %s\n" % (at, text.encode(errors="replace")) for at, text in lines)


def backwards(path: Path) -> Iterator[Line]:
    """The lines of a log as the shim or `stored` wrote it, and of the one that it turned over, newest first and block
    by block.
    """
    previous = path.with_name(f"{path.name}.1")
    try:
        with path.open("rb") as file:
            yield from _file_backwards(file)
            # Turned over while it was read: then what was read is what is now called `previous`.
            if previous.exists() and os.path.samestat(previous.stat(), os.fstat(file.fileno())):
                return
        with previous.open("rb") as file:
            yield from _file_backwards(file)
    except FileNotFoundError:
        return


def _file_backwards(file: BinaryIO) -> Iterator[Line]:
    position, head = file.seek(0, os.SEEK_END), b""
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        head, *whole = (file.read(step) + head).split(b"\n")
        yield from filter(None, map(_parse, reversed(whole)))
    if line := _parse(head):
        yield line


def _parse(raw: bytes) -> Line | None:
    stamp, space, text = raw.partition(b" ")
    return Line(int(stamp), text) if space and stamp.isdigit() else None
