"""Why an instance died: its log, exit code and OOM flag read into an error_code that says what to do.

The last line is rarely the cause. vLLM's engine dies in one process, and the traceback of the other, which only says
that the engine died, comes after it; what dies last dies of the first. So:

1. Lines that claim nothing are passed over: notes and warnings, the source in a traceback, everything from before the
   server went on to its next stage (a hub that was down, though the cache had the weights, killed nobody).
2. The first line that is one of `CAUSES` gives the code; the most telling row of that code that the log has gives the
   advice, and `hints` adds the number to set.
3. Where none is, `LAST_RESORTS` are tried, which only say what kind of failure it was; then the exit code speaks, with
   the first `…Error:`, or with the last line where the code means that the program could not be executed (126, 127).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agent.causes import CAUSES, LAST_RESORTS, NOT_EXECUTED, Cause
from agent.hints import hint
from chalicelib.contract.messages import Fix

EXCERPT_BYTES = 64 * 1024
"""What a crash report carries of a log at most."""

NOT_EXECUTED_CODES = {126: "its program cannot be executed", 127: "its program was not found"}
"""Exit codes of shells, init processes, and Docker."""

READ_CHARACTERS = 2000
"""Of a line as much is searched: a model may write what takes a pattern hours, and nothing else would run meanwhile."""

_CAUSE_BYTES = 8 * 1024
_LINE_CHARACTERS = 600


class Diagnosis(NamedTuple):
    """`permanent`: it cannot heal by itself, so it is not to be restarted. `fix` is what would heal it, if known."""

    error_code: str
    message: str
    permanent: bool
    fix: Fix | None = None


_TERMINAL_COLOUR = re.compile(r"\x1b\[[\d;]*m")
# vLLM's "(EngineCore pid=23) ERROR 11-23 14:09:23 [core.py:1510] ", whatever a collector of logs put before it.
_HEADER = re.compile(r"^.{0,160}?\b([A-Z]{4,8}) \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[?[^\]\n ]{1,80}\] ?")
_PROCESS = re.compile(r"^(?:.{0,80}?\([^()\n]{1,120}\bpid=\d+[^)\n]{0,200}\) ?|\[rank\d+\]: ?)")
_NOTE = re.compile(r"^[\d\[\]:.,TZ /-]*(?:DEBUG|INFO|WARNING)\b|^\[?[IW]\d{4} |^\[W ")
_QUIET = frozenset({"DEBUG", "INFO", "WARNING"})
# In a traceback the source stands indented below its file; where a collector took the indentation it can still be told.
_SOURCE = re.compile(r"^(?: {4}|\s*(?:raise |File \"|f?[\"']))")
_SERVED = "Application startup complete."
# Said once a start: other processes' stages do not follow one another.
_WENT_ON = re.compile(r"Resolved architecture: |Initializing an? (?:V0 )?LLM engine|Application startup complete\.")
# The last line of a traceback, or of argparse. Mentions of an error amid a warning do not begin a line.
_ERROR = re.compile(r"(?:[A-Za-z_]\w{0,80}\.){0,12}\w{0,80}(?:Error|Exception)\b: |\S{1,80}: error: ")


def diagnose(log: str, exit_code: int | None, oom_killed: bool) -> Diagnosis:
    """What ended an instance that nobody asked to end: even exit code 0 is an error then."""
    if oom_killed:
        advice = "The kernel killed it for memory: give the host or container more, or lower --swap-space."
        return Diagnosis("HOST_OUT_OF_MEMORY", advice, False)
    claims = list(_claims(log))
    line, cause = _first(claims)
    if cause is None and exit_code in NOT_EXECUTED_CODES and _SERVED not in log:
        return _not_executed(exit_code, claims)
    if line is None:
        return _by_exit_code(exit_code)
    if cause is None:
        return Diagnosis("CONTAINER_FAILED", f"{_ending(exit_code)} The first error in its log: {_short(line)}", False)
    told = _most_telling(cause, claims)
    exactly = hint(claims)
    parts = (told.advice, exactly.text, f"The log says: {_short(line)}")
    return Diagnosis(told.error_code, " ".join(filter(None, parts)), told.permanent, exactly.fix)


def advice(prose: str) -> str:
    """What to do about an error that stands alone, as the Docker daemon tells one; "" where nothing is known."""
    line, cause = _first(prose.splitlines())
    return cause.advice if line is not None and cause is not None else ""


def excerpt(log: str, limit: int = EXCERPT_BYTES) -> str:
    """The tail of `log`, with the lines around its cause kept where they are far above. At most `limit` bytes."""
    whole = log.encode(errors="replace")
    if len(whole) <= limit:
        return whole.decode()
    tail = _last(whole, limit)
    cause = (_first(list(_claims(log)))[0] or "").encode(errors="replace")
    if cause in tail or cause not in whole:
        return tail.decode()
    around = _last(whole[: whole.index(cause) + len(cause)], min(_CAUSE_BYTES, limit // 2))
    joint = b"\n[...]\n"
    return (around + joint + _last(whole, limit - len(around) - len(joint))).decode()


def _claims(log: str) -> Iterator[str]:
    """The lines that may say why it died, without what stands before their text."""
    lines = log.splitlines()
    survived = next((i for i in range(len(lines) - 1, -1, -1) if _WENT_ON.search(lines[i])), -1)
    for line in lines[survived + 1 :]:
        text = _TERMINAL_COLOUR.sub("", line[:READ_CHARACTERS])
        header = _HEADER.match(text)
        text = text[header.end() :] if header else _PROCESS.sub("", text)
        is_note = header[1] in _QUIET if header else _NOTE.match(text)
        if not is_note and not _SOURCE.match(text):
            yield text.strip()


def _first(claims: Sequence[str]) -> tuple[str | None, Cause | None]:
    """The line that it began with and what it amounts to; without a known cause, the first error of any kind."""
    for causes in (CAUSES, LAST_RESORTS):
        found = ((line, cause) for line in claims for cause in causes if cause.pattern.search(line))
        if first := next(found, None):
            return first
    return next((line for line in claims if _ERROR.match(line)), None), None


def _not_executed(exit_code: int, claims: Sequence[str]) -> Diagnosis:
    """The last line is that of the shell, the loader, or the engine that could not go on."""
    said = next((each for each in reversed(claims) if each), None)
    quoted = f" The log says: {_short(said)}" if said else ""
    return Diagnosis("INVALID_CONFIG", f"{_ending(exit_code)} {NOT_EXECUTED}{quoted}", True)


def _most_telling(cause: Cause, claims: Sequence[str]) -> Cause:
    same = (each for each in CAUSES if each.error_code == cause.error_code)
    return next((each for each in same if any(map(each.pattern.search, claims))), cause)


def _last(text: bytes, limit: int) -> bytes:
    """The end of `text`, from the start of a line where there is one, else of a character."""
    kept = text[-limit:]
    if len(kept) == len(text):
        return kept
    line = kept.find(b"\n") + 1
    kept = kept[line:] if line and line < len(kept) else kept
    return kept.decode(errors="ignore").encode()


def _short(line: str) -> str:
    return line[:_LINE_CHARACTERS]


def _by_exit_code(exit_code: int | None) -> Diagnosis:
    if exit_code == 128 + 7:
        advice = "It was ended by SIGBUS (exit code 135), mostly a sign of too little shared memory (--shm-size)."
        return Diagnosis("SHM_TOO_SMALL", advice, True)
    return Diagnosis("CONTAINER_FAILED", _ending(exit_code), False)


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return "It ended, and nobody saw with which exit code."
    if exit_code == 0:
        return "It ended by itself with exit code 0, as vLLM does when one of its processes was killed."
    if exit_code == 137:
        return "It was killed (exit code 137, SIGKILL): by hand, or by the kernel for memory."
    if exit_code in NOT_EXECUTED_CODES:
        return f"It ended with exit code {exit_code}: {NOT_EXECUTED_CODES[exit_code]}."
    if exit_code > 128:
        return f"It was ended by signal {exit_code - 128} (exit code {exit_code})."
    return f"It ended with exit code {exit_code}."
