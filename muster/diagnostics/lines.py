"""The lines of a log that may say why it ended: without headers, notes, and source; what belongs together is joined.

Passed over are notes and warnings, the source in a traceback, what is tried again, and everything from before the
server went on to its next stage (a hub that was down, though the cache had the weights, killed nobody).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

READ_CHARACTERS = 2000
"""Of a line as much is searched: a model may write what takes a pattern hours, and nothing else would run meanwhile."""

SERVED = "Application startup complete."


class Line(NamedTuple):
    """`handled`: the exception that it names was caught, and another came of that; or it is but a warning."""

    text: str
    handled: bool = False


_TERMINAL_COLOR = re.compile(r"\x1b\[[\d;]*m")
# What Docker, Compose, Kubernetes, or syslog put before each line.
_COLLECTED = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT[\d:.]{8,20}(?:Z|[+-]\d\d:?\d\d) (?:std(?:out|err) [FP] )?|\[pod/\S{1,100}\] "
    r"|[\w.-]{1,60} {1,20}\| |[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S{1,60} \S{1,40}: )"
)
# vLLM's "(EngineCore pid=23) ERROR 11-23 14:09:23 [core.py:1510] ", whatever a collector of logs put before it.
_HEADER = re.compile(r"^.{0,160}?\b([A-Z]{4,8}) \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[?[^\]\n ]{1,80}\] ?")
_PROCESS = re.compile(r"^(?:.{0,80}?\([^()\n]{1,120}\bpid=\d+[^)\n]{0,200}\) ?|\[rank\d+\]: ?)")
_NOTE = re.compile(
    r"^[\d\[\]:.,TZ /-]*(?:DEBUG|INFO|WARNING)\b|^\[?[IW]\d{3,4} |^\[W |^Ignored error "
    r"|^(?:\[[\d :-]{10,20}\] )?\S{1,200}:\d+:\d+ \[\d+\] NCCL (?:INFO|TRACE) "
    r"|^\[[\d ,.:-]{10,30}\] [\w.]{1,80}: \[(?:DEBUG|INFO|WARNING)\]"
    r"|^Retrying in |^'.{1,1900}' thrown while requesting "
)
# Python's own. What torch warns of when it finds no GPU is the cause of what follows.
_WARNED = re.compile(r"^(?:\S{1,300}:\d{1,6}: )?\w{0,40}Warning: (?!CUDA initialization)")
# A thread that reports usage may fail, and nothing ends of it.
_IDLE_THREAD = re.compile(r"^Exception in thread .{0,80}_report_usage")
_QUIET = frozenset({"DEBUG", "INFO", "WARNING"})
# In a traceback the source stands indented below its file; where a collector took the indentation it can still be told.
_SOURCE = re.compile(r"^(?: {4}(?! *requires device with capability)|\s*(?:raise |File \"|f?[\"']))")
# Said once a start: other processes' stages do not follow one another.
_WENT_ON = re.compile(r"Resolved architecture: |Initializing an? (?:V0 )?LLM engine|Application startup complete\.")
# The last line of a traceback, or of argparse. Mentions of an error amid a warning do not begin a line.
ERROR = re.compile(
    r"(?:[A-Za-z_]\w{0,80}\.){0,12}\w{0,80}(?:Error|Exception|Interrupt|Exit)\b(?:: |$)"
    r"|(?:[A-Za-z_]\w{0,80}\.){1,12}[A-Z]\w{0,80}: |\S{1,80}: error: "
)
_ASSERTION = re.compile(r"^\s*assert \S")
BARE_ASSERTION = "AssertionError"
"""Of an assertion without a message: what it says stands in the source line above."""
_HANDLED = "During handling of the above exception, another exception occurred"
_VALIDATION = re.compile(r"\b(\d{1,3}) validation errors? for \w+$")
_VALIDATED = re.compile(r"\[type=\w+")
_VALUE = re.compile(r"Value error, |Assertion failed, |Input should |Field required|Extra inputs |Unexpected keyword ")
_VALUE_LINES = 3
"""The key, which may be on two lines, and what is wrong with its value."""
_LAST_ERROR = re.compile(r"^Last error:$")
# vLLM's and xFormers' headline over what each kernel, or operator, lacks.
_NO_KERNEL = re.compile(r"Failed to find a kernel that can implement .{1,80} Reasons:$|No operator found for .{1,80}:$")
_REASON = re.compile(
    r" requires capability \d|cannot implement due to| (?:is|was) disabled (?:by|in) "
    r"|requires device with capability|^`\S{1,60}` is not supported because:$"
)
_NO_REASON = re.compile(r"because:$")
_MAX_REASONS = 8


def read(log: str) -> list[Line]:
    """Those that may say why it ended, in their order."""
    found: list[Line] = []
    is_idle = False
    for text in _joined(_claims(log)):
        if _HANDLED in text:
            last = next((i for i in range(len(found) - 1, -1, -1) if ERROR.match(found[i].text)), None)
            if last is not None:
                found[last] = found[last]._replace(handled=True)
        elif _IDLE_THREAD.match(text):
            is_idle = True
        elif is_idle and ERROR.match(text):
            is_idle = False
        elif text:
            found.append(Line(text, handled=_WARNED.match(text) is not None))
    return found


def _claims(log: str) -> Iterator[str]:
    lines = log.splitlines()
    survived = next((i for i in range(len(lines) - 1, -1, -1) if _WENT_ON.search(lines[i])), -1)
    assertion = ""
    for line in lines[survived + 1 :]:
        text = _COLLECTED.sub("", _TERMINAL_COLOR.sub("", line[:READ_CHARACTERS]))
        header = _HEADER.match(text)
        text = text[header.end() :] if header else _PROCESS.sub("", text)
        is_note = (header is not None and header[1] in _QUIET) or _NOTE.match(text)
        if _SOURCE.match(text):
            assertion = text.strip() if _ASSERTION.match(text) else assertion
        elif text.strip() == BARE_ASSERTION and assertion:
            yield f"{BARE_ASSERTION}: {assertion}"
        elif not is_note:
            yield text.strip()


def _joined(claims: Iterator[str]) -> Iterator[str]:
    """Headlines with what they announce: pydantic's with the values that it refuses, NCCL's `Last error:` with the line
    that tells it, and that no kernel fits with the reasons."""
    for text in claims:
        while _NO_KERNEL.search(text):
            reasons, after = _reasons(claims)
            yield " ".join((text, "; ".join(reasons))).strip()
            text = after
        if _LAST_ERROR.match(text):
            yield f"{text} {next(claims, '')}".strip()
        elif headline := _VALIDATION.search(text):
            yield from _validation(text, int(headline[1]), claims)
        else:
            yield text


def _reasons(claims: Iterator[str]) -> tuple[list[str], str]:
    """The lines that say why no kernel fits, and the line after them, empty at the end."""
    reasons: list[str] = []
    for text in claims:
        if not _REASON.search(text):
            return reasons, text
        if not _NO_REASON.search(text) and len(reasons) < _MAX_REASONS:
            reasons.append(text)
    return reasons, ""


def _validation(headline: str, count: int, claims: Iterator[str]) -> Iterator[str]:
    """One line for each value: `ValidationError: 1 validation error for CacheConfig: block_size: Input should be …`."""
    of_value: list[str] = []
    for text in claims:
        if text.startswith("For further information visit"):
            continue
        of_value.append(text)
        is_told = _VALIDATED.search(text) is not None
        if is_told:
            yield ": ".join((headline, *of_value))
            of_value, count = [], count - 1
        if count == 0 or (not is_told and len(of_value) == _VALUE_LINES):
            break
    if count and of_value and _VALUE.match(of_value[0]):  # cut off before its type
        yield f"{headline}: {of_value.pop(0)}"
    elif count:
        yield headline
    yield from of_value
