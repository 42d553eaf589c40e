"""Logs as an operator gets them: bounded, and of instances that are gone as of those that live."""

from __future__ import annotations

from agent.archive import SavedLog
from agent.engines import LogChunk
from agent.engines.logs import format_time, parse_time
from chalicelib.contract.messages import Logs

MAX_BYTES = 192 * 1024
"""Of text in one answer: escaped as JSON, it stays below what the control plane keeps of a result."""


def bounded(chunk: LogChunk) -> Logs:
    """The end of a log that is too long for one answer."""
    text = chunk.text.encode(errors="replace")
    if len(text) <= MAX_BYTES:
        return Logs(chunk.text, chunk.next_since, chunk.truncated)
    return Logs(text[-MAX_BYTES:].decode(errors="ignore"), chunk.next_since, truncated=True)


def tail(saved: SavedLog, lines: int, since: str | None) -> LogChunk:
    """The last lines of a saved log; nothing after its end. It keeps no times of its own.

    Raises EngineError INVALID_REQUEST for a `since` that is no time.
    """
    saved_at = int(saved.saved_at * 1_000_000_000)
    if since is not None and parse_time(since) >= saved_at:
        return LogChunk("", since)
    every = saved.text.splitlines(keepends=True)
    return LogChunk("".join(every[-lines:]), format_time(saved_at), truncated=len(every) > lines)
