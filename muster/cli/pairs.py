"""KEY=VALUE on the command line: labels, environment, vLLM's flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import msgspec


def split(given: Iterable[str], what: str) -> dict[str, str]:
    """Raises UsageError."""
    made = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{what}: expected KEY=VALUE, got {each!r}")
        made[key] = value
    return made


def config(given: Iterable[str]) -> dict[str, Any]:
    """Flags of vLLM: a value is JSON where it can be read as JSON (4096, true, ["a", "b"]), else text.

    --max-model-len and max_model_len are the same flag. Raises UsageError.
    """
    pairs = split(given, "flags")
    return {flag(key): value_of(value) for key, value in pairs.items()}


def flag(key: str) -> str:
    return key.lstrip("-").replace("-", "_")


def value_of(value: str) -> Any:
    try:
        return msgspec.json.decode(value.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return value


def shown(value: Any) -> str:
    """As it would be typed."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
