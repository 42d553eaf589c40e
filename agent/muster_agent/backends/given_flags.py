"""The flags that `config` gives, in every form that vLLM takes: keys, `flag.key`, and `extra_args` with short names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from muster_agent.backends.harmless_flags import SHORT_FLAGS
from muster_agent.engines.base import EngineError

CONTAINER_KEYS = ("container_entrypoint", "container_mounts", "container_network")
"""What a deployment asks of its container. Every name that begins like these is reserved: vLLM has no such flag."""

_NOT_FLAGS = frozenset({"port", "extra_args", "extra-args"})
_NUMBER = re.compile(r"-[\d.]")


class Given(NamedTuple):
    """Where a flag is given, its name without dashes, and its value: a list for several, true where it has none."""

    where: str
    name: str
    value: Any


def is_flag(key: str) -> bool:
    """Whether a key of `config` is a flag of vLLM, rather than a setting for the agent."""
    return key not in _NOT_FLAGS and not is_reserved(key)


def is_reserved(key: str) -> bool:
    return key.replace("-", "_").replace(".", "_").startswith("container_")


def given_flags(config: Mapping[str, Any]) -> Iterator[Given]:
    """Yields each flag that has a value; a nested key as an object. Raises EngineError INVALID_CONFIG."""
    for key, value in config.items():
        if is_flag(key) and value is not None:
            yield _given("config.", key, value)
    yield from _extra_flags(extra_args(config))


def extra_args(config: Mapping[str, Any]) -> list[str]:
    """The arguments that are appended as they are. Raises EngineError INVALID_CONFIG."""
    extra = config.get("extra_args") or config.get("extra-args") or []
    if not isinstance(extra, list) or not all(isinstance(argument, str) for argument in extra):
        raise EngineError("INVALID_CONFIG", "config.extra_args: expected a list of strings")
    if extra and not extra[0].startswith("-"):
        raise EngineError("INVALID_CONFIG", "config.extra_args[0]: expected a flag")
    for index, argument in enumerate(extra):
        where = f"config.extra_args[{index}]"
        sendable(where, argument)
        if argument == "--":
            raise EngineError("INVALID_CONFIG", f"{where}: '--' would end the flags: leave it out")
    return extra


def sendable(where: str, text: str) -> str:
    """`text`, if a process can be given it: no NUL, no half of a surrogate pair. Else EngineError INVALID_CONFIG."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise EngineError("INVALID_CONFIG", f"{where}: holds a character that no process can be given")
    return text


def _extra_flags(arguments: list[str]) -> Iterator[Given]:
    """The flags among `arguments`, each with the values that follow it."""
    name, values = "", list[str]()
    for argument in [*arguments, "--"]:
        if not argument.startswith("-") or _NUMBER.match(argument):
            values.append(argument)
            continue
        if name:
            yield _given("config.extra_args: --", name, values or True)
        name, value = _name(argument)
        values = [value] if value else []


def _name(argument: str) -> tuple[str, str]:
    """The flag that an argument begins with, and the value in the same argument."""
    name, _, value = argument.partition("=")
    if argument.startswith("--"):
        return name[2:], value
    head, dot, rest = name.partition(".")
    if head in SHORT_FLAGS:
        return f"{SHORT_FLAGS[head]}{dot}{rest}", value
    if name[:2] in SHORT_FLAGS:  # -O3, -qfp8
        return SHORT_FLAGS[name[:2]], argument[2:]
    return name[1:], value


def _given(where: str, name: str, value: Any) -> Given:
    """`--flag.key value` is an object with that key; `+` appends to a list."""
    flag, *keys = name.split(".")
    for key in reversed(keys):
        value = {key.rstrip("+"): value}
    return Given(f"{where}{flag[:140]}", flag.rstrip("+").replace("_", "-"), value)
