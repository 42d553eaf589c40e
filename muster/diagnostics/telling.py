"""Of a log that no rule knows: the few lines that say most about its end.

The last line is rarely the cause. vLLM's engine dies in one process, and the traceback of the other, which only says
that the engine died, comes after it. And of exceptions that came of one another while one was handled, the last counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from muster.diagnostics.lines import ERROR, Line

MAX_TELLING_LINES = 3

# What compilers, linkers, C++ and torch's own logger write where no Python raises.
_OUTSIDE_PYTHON = re.compile(
    r"\bfatal error: |^ptxas (?:fatal|error)|^\s*what\(\): |^\[[EF]\d* |^\[[\w. ]*\bFATAL\b|^F\d{4} |\bOutOfResources\b"
    r"|^(?:\S*/)?(?:ld|collect2|nvcc|gcc|cc1\w*|c\+\+|ninja|clang)\b[^:]{0,40}: |\bpanicked at\b|^Fatal Python error"
    r"|^(?:error|ERROR|Error|FATAL|fatal|panic)\b ?:|: (?:error|fatal): |Segmentation fault"
    r"|\berror while loading shared|^LLVM ERROR: |^CUDA Error: |^Failed: Cuda error |^nvcc (?:fatal|error)"
    r"|: Assertion `.{1,400} failed\.?$"
)
# The parents of the process that failed, and what they say of it.
_SUMMARY = re.compile(
    r"Engine core initialization failed|EngineCore failed to start|Engine ?Dead|Engine process failed to start"
    r"|Engine loop (?:is not running|has died)|Background loop (?:has errored|is stopped)"
    r"|WorkerProc initialization failed"
    r"|WorkerProc failed to start|See (?:root cause|stack trace) above|died unexpectedly|ChildFailedError"
    r"|Worker \w+ pid \d+ died|Executor failed|process failed to start|proc\(s\): \{|^SystemExit|^KeyboardInterrupt"
    r"|^asyncio\.exceptions\.CancelledError|^concurrent\.futures|returned non-zero exit status|multiprocessing\.context"
)


def telling(lines: Sequence[Line]) -> list[str]:
    """Up to `MAX_TELLING_LINES` of them, the most telling first; empty if no line tells of an error."""
    told = {line.text: _weight(line) for line in reversed(lines)}
    ranked = sorted(
        (text for text in dict.fromkeys(line.text for line in lines) if told[text]), key=lambda text: -told[text]
    )
    best = told[ranked[0]] if ranked else 0
    return [text for text in ranked if told[text] > 1 or best == 1][:MAX_TELLING_LINES]


def _weight(line: Line) -> int:
    if not (ERROR.match(line.text) or _OUTSIDE_PYTHON.search(line.text)):
        return 0
    if _SUMMARY.search(line.text):
        return 1
    return 2 if line.handled else 3
