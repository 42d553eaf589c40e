"""How far a model is on its way up, read from vLLM's log (its texts of versions 0.6 to 0.32).

    "loading" ── the weights, from the hub or from disk, into memory
    "compiling" ── torch.compile, CUDA graphs, warmup
    "serving" ── the API server starts; not ready before it answers

What is downloaded is not in the log of a container, whose bars end in no newline: the cache shows it (see startup.py).
"""

from __future__ import annotations

import re

from muster.api.messages import Progress
from muster.diagnostics.lines import READ_CHARACTERS

PHASE_LOG_LINES = 50
"""Of the log's end; each phase says so again before that many others."""

_PHASES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern))
    for phase, pattern in (
        ("serving", r"Starting vLLM (?:API )?server|Started server process|Waiting for application startup"),
        ("serving", r"init engine \(.*\) took"),
        (
            "compiling",
            r"torch\.compile|Dynamo bytecode transform|[Cc]ompiling a graph|Running .{0,20}autotun|Warming up",
        ),
        ("compiling", r"Capturing .{0,40}(?:graph|model)|Graph capturing finished"),
        ("compiling", r"Loading (?:drafter )?weights took|Model loading took|KV cache (?:memory|size)|# GPU blocks"),
        ("loading", r"Starting to load model|Loading \S+ checkpoint shards|Loading model weights"),
        ("loading", r"Using model weights format|Time spent downloading weights"),
    )
)
_SHARDS = re.compile(r"checkpoint shards:\s+\d+% Completed \| (\d+)/(\d+)")


def phase_of(log: str) -> Progress | None:
    """What the last telling line says; None where none does. `current` and `total` of loading are shards."""
    for whole in reversed(re.split(r"[\r\n]+", log)):
        line = whole[:READ_CHARACTERS]
        phase = next((phase for phase, pattern in _PHASES if pattern.search(line)), None)
        if phase is not None:
            shards = _SHARDS.search(line)
            return Progress(phase, int(shards[1]), int(shards[2])) if shards else Progress(phase)
    return None
