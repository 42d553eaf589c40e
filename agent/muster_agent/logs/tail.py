"""Logs as an operator gets them: bounded, and of instances that are gone as of those that live."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from muster.api.messages import Logs
from muster.diagnostics.log import excerpt
from muster_agent.engines.base import LogChunk
from muster_agent.engines.log_lines import backwards, chunk, format_time
from muster_agent.logs.archive import SavedLog

MAX_TAIL_BYTES = 240 * 1024
"""Of text in one answer, as JSON has it (six bytes for some): below what the control plane keeps of a result."""


def bounded(log: LogChunk) -> Logs:
    """The end of a log that is too long for one answer, with what looks like the cause of its end if that is above."""
    text = log.text
    while (size := len(msgspec.json.encode(text))) > MAX_TAIL_BYTES:
        text = excerpt(log.text, len(text.encode()) * MAX_TAIL_BYTES // size * 19 // 20)
    return Logs(text, log.next_since, log.truncated or text != log.text)


def tail(saved: SavedLog, lines: int, since: str | None) -> LogChunk:
    """The last lines of a saved log. Raises EngineError INVALID_REQUEST for a `since` that is no time."""
    log = chunk(backwards(saved.path), lines, since)
    return replace(log, next_since=log.next_since or format_time(int(saved.saved_at * 1_000_000_000)))
