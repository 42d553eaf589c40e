"""Logs as an operator gets them: bounded, and of instances that are gone as of those that live."""

from __future__ import annotations

from datetime import datetime

from agent.archive import SavedLog
from agent.engines import EngineError, LogChunk
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
    if since is not None and _epoch(since) >= saved.saved_at:
        return LogChunk("", since)
    every = saved.text.splitlines(keepends=True)
    return LogChunk("".join(every[-lines:]), f"{saved.saved_at:.6f}", truncated=len(every) > lines)


def _epoch(since: str) -> float:
    try:
        return float(since)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(since).timestamp()
    except ValueError as error:
        raise EngineError("INVALID_REQUEST", f"since: expected RFC 3339 or seconds, got {since[:64]!r}") from error
