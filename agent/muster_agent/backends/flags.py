"""`config` as vLLM's command line: `max_model_len: 4096` is `--max-model-len 4096`.

True is a bare flag, False its `--no-` form, a list several values after one flag, an object JSON, null nothing.
`extra_args` is appended as it is. `impossible` has what cannot be set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from muster.api.credentials import first_credential
from muster_agent.backends.given_flags import extra_args, is_flag, sendable
from muster_agent.backends.impossible_flags import check_possible
from muster_agent.engines.base import EngineError

_FLAG = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}", re.ASCII)
_SHORT = {"tensor-parallel-size": "-tp", "pipeline-parallel-size": "-pp", "data-parallel-size": "-dp"}


def flags(config: Mapping[str, Any]) -> Iterator[str]:
    """The arguments that `config` stands for. Raises EngineError INVALID_CONFIG, naming the key."""
    check_credentials(config)
    check_possible(config)
    for key, value in config.items():
        if is_flag(key):
            yield from _flag(key, value)
    yield from extra_args(config)


def check_credentials(config: Mapping[str, Any]) -> None:
    """Raises EngineError INVALID_CONFIG: every user of the host can list the arguments of a process."""
    if credential := first_credential(dict(config)):
        raise EngineError("INVALID_CONFIG", credential)


def given(config: Mapping[str, Any], flag: str) -> bool:
    """Whether `flag` (without dashes) is set, as a key or among `extra_args`."""
    keys = (key.replace("_", "-") for key in config)
    return flag in keys or any(flag == name for name, _ in _extra_flags(config))


def value_of(config: Mapping[str, Any], flag: str) -> str | None:
    """The value of `flag`, the first of several; None where it is not set."""
    for key, value in config.items():
        if key.replace("_", "-") == flag:
            first = value[0] if isinstance(value, list) and value else value
            return str(first) if first else None
    return next((value for name, value in _extra_flags(config) if name == flag), None)


def _flag(key: str, value: Any) -> Iterator[str]:
    where = f"config.{key[:140]}"
    if not _FLAG.fullmatch(key):
        raise EngineError("INVALID_CONFIG", f"{where}: not the name of a vLLM flag")
    # `flag.key` is one key of an object, and vLLM takes what is after the dot as it stands.
    flag, dot, inner = key.partition(".")
    name = f"{flag.replace('_', '-')}{dot}{inner}"
    if value is True:
        yield f"--{name}"
    elif value is False:
        yield f"--{name.removeprefix('no-')}" if name.startswith("no-") else f"--no-{name}"
    elif isinstance(value, list) or (values := _pairs(name, value)):
        yield from _several(where, name, value if isinstance(value, list) else values)
    elif value is not None:
        text = _text(where, value)
        if text == "--":
            raise EngineError("INVALID_CONFIG", f"{where}: vLLM's command line cannot take the value '--'")
        # A value with a leading dash would be read as the next flag.
        yield from (f"--{name}={text}",) if text.startswith("-") else (f"--{name}", text)


def _pairs(name: str, value: Any) -> list[str]:
    """`a=/x b=/y`, which people write as one text; else nothing."""
    if (
        name not in ("lora-modules", "prompt-adapters")
        or not isinstance(value, str)
        or value.lstrip()[:1] in ("{", "[")
    ):
        return []
    words = value.split()
    return words if all("=" in word for word in words) else []


def _several(where: str, name: str, values: list[Any]) -> Iterator[str]:
    texts = [_text(where, value) for value in values]
    if any(text.startswith("-") for text in texts):
        raise EngineError("INVALID_CONFIG", f"{where}: a value in a list cannot start with '-'")
    if texts:
        yield from (f"--{name}", *texts)


def _text(where: str, value: Any) -> str:
    return sendable(where, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _extra_flags(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The flags in `extra_args`, each with the value that follows it."""
    extra = extra_args(config)
    for argument, after in zip_longest(extra, extra[1:], fillvalue="-"):
        if argument.startswith("-"):
            value = argument.partition("=")[2] or (None if after.startswith("-") else after)
            yield next((name for name, short in _SHORT.items() if argument.startswith(short)), _name(argument)), value


def _name(argument: str) -> str:
    return argument[2:].partition("=")[0].replace("_", "-")
