"""Which GPUs a model's quantization runs on, as far as its `config.json` tells.

The capabilities are the lowest that any release of vLLM takes (its docs, Quantization, Supported Hardware, and FP8
W8A8), so that nothing is refused which some image could run.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

Capability = tuple[int, int]
"""Of a GPU, as CUDA has it: (7, 5) is Turing, (8, 9) Ada, (9, 0) Hopper."""

MIN_CAPABILITY: dict[str, Capability] = {"awq": (7, 5), "awq_marlin": (7, 5), "fp8": (7, 5), "mxfp4": (7, 5)}
MIN_CAPABILITY_OF_VLLM: Capability = (7, 0)


class _Quantization(Struct):
    quant_method: str | None = None


class _Config(Struct):
    quantization_config: _Quantization | None = None


def method(config: bytes) -> str | None:
    """The quantization that a model's `config.json` names, if it is one of `MIN_CAPABILITY`."""
    try:
        found = msgspec.json.decode(config, type=_Config).quantization_config
    except (msgspec.DecodeError, RecursionError):
        return None
    name = (found.quant_method or "").lower() if found is not None else ""
    return name if name in MIN_CAPABILITY else None


def capability_text(capability: Capability) -> str:
    return ".".join(map(str, capability))
