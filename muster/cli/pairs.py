"""KEY=VALUE on the command line: labels, environment, vLLM's flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import msgspec


def split(given: Iterable[str], what: str) -> dict[str, str]:
    """Raises UsageError."""
    made = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{what}: expected KEY=VALUE, got {pair!r}")
        made[key] = value
    return made


def config(given: Iterable[str]) -> dict[str, Any]:
    """Flags of vLLM: a value is JSON where it can be read as JSON (4096, true, ["a", "b"]), else text.

    --max-model-len and max_model_len are the same flag. Raises UsageError.
    """
    made: dict[str, Any] = {}
    for pair in given:
        for key, value in split([pair], "flags").items():
            name = flag(key)
            if name in made:
                advice = f'give several values as a list: {name}=\'["a", "b"]\''
                raise click.UsageError(f"flags: {name} is given twice, and one value would be lost: {advice}")
            made[name] = value_of(value)
    return made


def flag(key: str) -> str:
    """`--max-model-len` as `max_model_len`. What is after a dot is a key of an object, and keeps its spelling."""
    name, dot, inner = key.lstrip("-").partition(".")
    return f"{name.replace('-', '_')}{dot}{inner}"


def value_of(value: str) -> Any:
    """JSON where it can be read as JSON, a truth value as Python writes it, else text."""
    if value in ("True", "False"):
        return value == "True"
    try:
        return msgspec.json.decode(value.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return value


def shown(value: Any) -> str:
    """As it would be typed."""
    return value if isinstance(value, str) else shown_as_json(value)


def shown_as_json(value: Any) -> str:
    """The same where a text could be read as something else: "4096"."""
    return msgspec.json.encode(value).decode()
