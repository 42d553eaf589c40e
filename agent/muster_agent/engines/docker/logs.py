"""A container's log: the daemon's frames, each behind its time, as lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import docker

from muster_agent.engines.base import EngineError, LogChunk
from muster_agent.engines.log_lines import CHUNK_BYTES, Line, chunk, parse_time


def read_log(api: docker.APIClient, container_id: str, lines: int, since: str | None) -> LogChunk:
    """The last `lines` lines. Raises EngineError INVALID_REQUEST, and what the daemon raises."""
    # A float is not exact to the nanosecond, so the daemon is asked for a little more than is given out.
    start = 0.0 if since is None else parse_time(since) / 1e9 - 1e-3
    earliest = start if start > 0 else None
    frames = api.logs(container_id, timestamps=True, tail=lines + 1, since=earliest, stream=True, follow=False)
    try:
        return chunk(reversed(_last(_lines(frames))), lines, since)
    finally:
        frames.close()


def _last(lines: Iterable[Line]) -> deque[Line]:
    """As many of the last lines as one answer may hold, and a few more so that it is seen to be cut."""
    kept: deque[Line] = deque()
    size = 0
    for line in lines:
        kept.append(line)
        size += len(line.text)
        while size > 2 * CHUNK_BYTES:
            size -= len(kept.popleft().text)
    return kept


def _lines(frames: Iterable[bytes]) -> Iterator[Line]:
    """A frame is a line, or 16 KiB of a longer one."""
    for frame in frames:
        for raw in frame.removesuffix(b"\n").split(b"\n"):
            stamp, _, text = raw.partition(b" ")
            try:
                yield Line(parse_time(stamp.decode("ascii", "replace")), text)
            except EngineError:  # a container that Muster did not start may have a terminal, which has no frames
                continue
