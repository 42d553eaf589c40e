"""Why an instance ended, read from its log, exit code and OOM flag.

1. `lines.read` gives the lines that may say so.
2. The first that fits a rule which tells a cause gives the code; a symptom counts where there is no cause, and what is
   said at the end of every failure where there is neither. An exception that was handled is at most a symptom.
3. Of the rule's group the uppermost that any line fits gives the advice, and the line to show.
4. Where no rule fits, the exit code speaks, with the most telling lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from muster.api.messages import Fix
from muster.diagnostics.endings import NOT_EXECUTED, ending
from muster.diagnostics.lines import BARE_ASSERTION, SERVED, Line, read
from muster.diagnostics.rules import Rule, rules
from muster.diagnostics.telling import telling

EXCERPT_BYTES = 64 * 1024
"""What a crash report carries of a log at most."""

_CAUSE_BYTES = 8 * 1024
_LINE_CHARACTERS = 600
_RANKS = ("cause", "symptom", "ending")
_SETTINGS = frozenset({"configuration", "endings"})
"""The tables of what vLLM says of its settings, in words that it has for requests as well."""
_ENGINE_ENDED = re.compile(
    r"EngineCore encountered a fatal error|\bError in model execution\b|Engine background task failed"
)


class Diagnosis(NamedTuple):
    """`permanent`: it cannot heal by itself, so it is not to be restarted. `fix` is what would heal it, if known."""

    error_code: str
    message: str
    permanent: bool
    fix: Fix | None = None


class Found(NamedTuple):
    """A line, the rule that it fits, and where in it."""

    line: str
    rule: Rule
    match: re.Match[str]


def diagnose(log: str, exit_code: int | None, oom_killed: bool) -> Diagnosis:
    """What ended an instance that nobody asked to end: even exit code 0 is an error then."""
    if oom_killed:
        killed = "The kernel killed it for memory: give the host or container more, or lower --swap-space."
        return Diagnosis("HOST_OUT_OF_MEMORY", killed, False)
    lines = read(log)
    has_served = SERVED in log
    found = find(lines, has_served=has_served)
    if found is None:
        return _unknown(lines, exit_code, has_served=has_served)
    advice = found.rule.advise(found.match)
    message = f"{advice.text} The log says: {_short(found.line)}"
    return Diagnosis(found.rule.code, message, found.rule.row.permanent, advice.fix)


def find(lines: Sequence[Line], *, has_served: bool = False) -> Found | None:
    """The rule that explains a log best, and the line to show; None if no rule fits any.

    A server that was up has taken its settings: what it refuses later are requests, and none ends it, unless its engine
    says so.
    """
    ranked: dict[int, Found] = {}
    are_requests = has_served
    for line in lines:
        are_requests = are_requests and _ENGINE_ENDED.search(line.text) is None
        for found in _fitting(line.text):
            if are_requests and found.rule.table in _SETTINGS:
                continue
            rank = max(_RANKS.index(found.rule.row.tells), 1 if line.handled else 0)
            ranked.setdefault(rank, found)
            break
        if 0 in ranked:
            break
    if not ranked:
        return None
    return _most_telling(ranked[min(ranked)], lines)


def excerpt(log: str, limit: int = EXCERPT_BYTES) -> str:
    """The tail of `log`, with the lines around its cause kept where they are far above. At most `limit` bytes."""
    whole = log.encode(errors="replace")
    if len(whole) <= limit:
        return whole.decode()
    tail = _last(whole, limit)
    cause = _cause(read(log)).encode(errors="replace")
    if cause in tail or cause not in whole:
        return tail.decode()
    around = _last(whole[: whole.index(cause) + len(cause)], min(_CAUSE_BYTES, limit // 2))
    joint = b"\n[...]\n"
    return (around + joint + _last(whole, limit - len(around) - len(joint))).decode()


def _fitting(text: str) -> Iterator[Found]:
    for rule in rules("log"):
        if match := rule.search(text):
            yield Found(text, rule, match)


def _most_telling(first: Found, lines: Sequence[Line]) -> Found:
    """A line that no rule fits but one of this group is as good as the first."""
    group = first.rule.row.group
    if not group:
        return first
    for rule in rules("log"):
        if rule.number >= first.rule.number:
            break
        if rule.row.group == group:
            for line in lines:
                if match := rule.search(line.text):
                    return Found(line.text, rule, match)
    return first


def _cause(lines: Sequence[Line]) -> str:
    """As it stands in the log: what was joined to a line is not next to it there."""
    found = find(lines)
    text = found.line if found is not None else next(iter(telling(lines)), "")
    text = text.removeprefix(f"{BARE_ASSERTION}: ") if text.startswith(f"{BARE_ASSERTION}: assert ") else text
    return text.split(": ", 1)[0] if "validation error" in text else text.split(" Reasons: ", 1)[0]


def _unknown(lines: Sequence[Line], exit_code: int | None, has_served: bool) -> Diagnosis:
    if exit_code in NOT_EXECUTED and not has_served:
        # The last line is that of the shell, the loader, or the engine that could not go on.
        said = next((line.text for line in reversed(lines)), None)
        quoted = f" The log says: {_short(said)}" if said else ""
        advice = "Choose an `image` whose entry point starts vLLM, or mend the agent's --vllm-command for processes."
        return Diagnosis("IMAGE_UNSUITABLE", f"{ending(exit_code)} {advice}{quoted}", True)
    if exit_code == 128 + 7 and not telling(lines):
        advice = "It was ended by SIGBUS (exit code 135), mostly a sign of too little shared memory (--shm-size)."
        return Diagnosis("SHM_TOO_SMALL", advice, True)
    if exit_code == 128 + 4 and not telling(lines):
        advice = (
            "It was ended by SIGILL (exit code 132): its program has instructions (AVX2, AVX-512) that this host's "
            "processor lacks. Choose another `image` or worker."
        )
        return Diagnosis("IMAGE_UNSUITABLE", advice, True)
    most = [_short(line, _LINE_CHARACTERS // 2 if i else _LINE_CHARACTERS) for i, line in enumerate(telling(lines))]
    quoted = f" Its log says: {' | '.join(most)}" if most else ""
    return Diagnosis("CONTAINER_FAILED", f"{ending(exit_code)}{quoted}", False)


def _last(text: bytes, limit: int) -> bytes:
    """The end of `text`, from the start of a line where there is one, else of a character."""
    kept = text[-limit:]
    if len(kept) == len(text):
        return kept
    line = kept.find(b"\n") + 1
    kept = kept[line:] if line and line < len(kept) else kept
    return kept.decode(errors="ignore").encode()


def _short(line: str, characters: int = _LINE_CHARACTERS) -> str:
    return line[:characters]
