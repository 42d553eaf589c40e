"""What exactly to set, where a log gives the numbers to work it out from: the context that fits, the memory there is.

In words for people, and as the change itself where there is one that may be tried as it is. The wordings are vLLM's own
(0.2 to 0.32); what a hint cannot be sure of it says with "about".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from chalicelib.contract.messages import Fix

BLOCK = 16
"""vLLM keeps its cache in blocks of so many tokens, so a context is best a multiple."""


class Advice(NamedTuple):
    text: str = ""
    fix: Fix | None = None


class Hint(NamedTuple):
    pattern: re.Pattern[str]
    say: Callable[[re.Match[str]], Advice]


def hint(lines: Iterable[str]) -> Advice:
    """The first of `HINTS` that the lines have the numbers for; empty if none."""
    found = (each.say(match) for line in lines for each in HINTS if (match := each.pattern.search(line)))
    return next(found, Advice())


def _estimated(match: re.Match[str]) -> Advice:
    return Advice(f"--max-model-len {match[1]} fits.", Fix({"max_model_len": int(match[1])}))


def _of_cache(match: re.Match[str]) -> Advice:
    """The cache that a context takes grows with its length, or slower."""
    length, needed, available = int(match[1]), float(match[2]), float(match[3])
    fits = int(length * available / needed) // BLOCK * BLOCK if needed else 0
    if fits <= 0:
        return Advice("Not even a short context fits.")
    return Advice(f"--max-model-len {fits} fits, about.", Fix({"max_model_len": fits}))


def _of_model(match: re.Match[str]) -> Advice:
    return Advice(f"The model itself goes up to --max-model-len {match[1]}.", Fix({"max_model_len": int(match[1])}))


def _of_free_memory(match: re.Match[str]) -> Advice:
    free, total = float(match[1]), float(match[2])
    share = int(100 * free / total) / 100 if total else 0
    if share < 0.1:
        return Advice(f"Only {match[1]} of {match[2]} GiB are free: something else holds the GPU's memory.")
    return Advice(f"--gpu-memory-utilization {share} is what was free.", Fix({"gpu_memory_utilization": share}))


def _of_heads(match: re.Match[str]) -> Advice:
    heads, parts = int(match[1]), int(match[2])
    fits = next((each for each in range(min(parts, heads), 0, -1) if heads % each == 0), 1)
    text = f"--tensor-parallel-size {fits} divides the model's {heads} heads."
    return Advice(text, Fix({"tensor_parallel_size": fits}))


def _of_gpus(match: re.Match[str]) -> Advice:
    text = f"The deployment has {match[2]} of the {match[1]} GPUs that it asks for: set `gpus` to {match[1]}."
    return Advice(text, Fix(gpus=int(match[1])))


HINTS: tuple[Hint, ...] = tuple(
    Hint(re.compile(pattern), say)
    for pattern, say in (
        (r"estimated maximum model length is (\d{1,9})", _estimated),
        (r"max seq len \(\d+\) is larger than the maximum number of tokens[^(]{1,60}\((\d{1,9})\)", _estimated),
        (
            r"max seq len \((\d{1,9})\), \(?([\d.]{1,12}) Gi?B KV cache is needed, which is larger than the available "
            r"KV cache memory \((-?[\d.]{1,12}) Gi?B\)",
            _of_cache,
        ),
        (r"greater than the derived max_model_len \(\w+=(\d{1,9})", _of_model),
        (r"Free memory on device[^(]{0,20}\(([\d.]{1,12})/([\d.]{1,12}) GiB\)", _of_free_memory),
        (r"attention heads \((\d{1,5})\) must be divisible by tensor parallel size \((\d{1,5})\)", _of_heads),
        (r"(?:World|Tensor parallel) size \((\d{1,4})\) .{0,40}number of available GPUs \((\d{1,4})\)", _of_gpus),
        (r"local_world_size \((\d{1,4})\) .{0,60}visible devices \((\d{1,4})\)", _of_gpus),
    )
)
