"""What exactly to set, where a line has the numbers to work it out from: the context that fits, the memory there is.

In words for people, and as the change itself where there is one that may be tried as it is. The wordings are vLLM's own
(0.2 to 0.32); what a calculation cannot be sure of it says with "about".
"""

from __future__ import annotations

import re
from collections.abc import Callable

from muster.api.messages import Fix

Calculated = tuple[str, Fix | None]

CACHE_BLOCK_TOKENS = 16
"""vLLM keeps its cache in blocks of so many tokens, so a context is best a multiple."""

MIN_MEMORY_SHARE = 0.1
"""A smaller share of a GPU's memory is no setting to propose: something else holds the GPU."""


def context_of_cache(match: re.Match[str]) -> Calculated:
    """The cache that a context takes grows with its length, or slower. Groups: length; needed, available in GiB."""
    length, needed, available = int(match["length"]), float(match["needed"]), float(match["available"])
    fits = int(length * available / needed) // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS if needed else 0
    if fits <= 0:
        return "Not even a short context fits.", None
    return f"--max-model-len {fits} fits, about.", Fix({"max_model_len": fits})


def share_of_memory(match: re.Match[str]) -> Calculated:
    """Groups: free, total in GiB."""
    free, total = float(match["free"]), float(match["total"])
    share = int(100 * free / total) / 100 if total else 0
    if share < MIN_MEMORY_SHARE:
        return f"Only {match['free']} of {match['total']} GiB are free: something else holds the GPU's memory.", None
    return f"--gpu-memory-utilization {share} is what was free.", Fix({"gpu_memory_utilization": share})


def divisor_of_heads(match: re.Match[str]) -> Calculated:
    """The largest number of parts, up to those asked for, that divides the heads. Groups: heads, parts."""
    heads, parts = int(match["heads"]), int(match["parts"])
    fits = next((divisor for divisor in range(min(parts, heads), 0, -1) if heads % divisor == 0), 1)
    text = f"--tensor-parallel-size {fits} divides the model's {heads} heads."
    return text, Fix({"tensor_parallel_size": fits})


def capabilities(found: re.Match[str]) -> Calculated:
    """Compute capabilities, which vLLM writes as 75 or 7.5, xFormers as (7, 5). Groups: least, has, or one of them."""
    groups = {name: _capability(number) for name, number in found.groupdict().items() if number}
    match groups:
        case {"least": least, "has": has}:
            text = f"It needs compute capability {least}, and this GPU has {has}."
        case {"least": least}:
            text = f"It needs compute capability {least}."
        case _:
            text = f"This GPU has compute capability {groups['has']}."
    return text, None


def _capability(number: str) -> str:
    """As NVIDIA writes it: of 75, 7.5, and (7, 5) it is 7.5."""
    digits = re.sub(r"\D", "", number)
    return f"{digits[:-1]}.{digits[-1]}"


def allowed_lora_rank(match: re.Match[str]) -> Calculated:
    """The smallest rank that vLLM takes and that is enough. Groups: value; allowed, a list of numbers in words."""
    value, allowed = int(match["value"]), [int(rank) for rank in re.findall(r"\d+", match["allowed"])]
    fits = min((rank for rank in allowed if rank >= value), default=None)
    if fits is None:
        return "No LoRA of that rank can be served: merge it into the model.", None
    return f"Set max_lora_rank={fits}.", Fix({"max_lora_rank": fits})


CALCULATIONS: dict[str, Callable[[re.Match[str]], Calculated]] = {
    "context_of_cache": context_of_cache,
    "share_of_memory": share_of_memory,
    "divisor_of_heads": divisor_of_heads,
    "capabilities": capabilities,
    "allowed_lora_rank": allowed_lora_rank,
}
