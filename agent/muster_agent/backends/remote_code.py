"""Whether a deployment chooses code, or other hosts, for its model to run: what `--allow-remote-code` is about.

A setting passes if nothing that it could mean in vLLM does either: see `harmless` for what is known to be so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from muster.api.credentials import is_credential
from muster_agent.backends.given_flags import given_flags
from muster_agent.backends.harmless_flags import (
    CODE_FLAG,
    CODE_FLAGS,
    ENV_PLAIN,
    ENV_READ,
    ENV_TEXT,
    FLAGS,
    HOST_FLAGS,
    NESTED,
    PLAIN,
    REMOTE_CODE_FLAG,
    TEXT,
    WHOLE_FLAGS,
    Listed,
    OneOf,
)
from muster_agent.backends.impossible_flags import is_one_node

_CLASS = re.compile(r"[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*[.:][A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
"""`package.module.Class`, `package.module:attribute`, `module.py`: with a dot in it."""


def chosen_by_config(config: Mapping[str, Any], *, may_bring_code: bool) -> str | None:
    """Returns the first setting that chooses code or a host, with the reason; None without one.

    `may_bring_code`: the model may bring code of its own (`trust_remote_code`). Raises EngineError INVALID_CONFIG.
    """
    for where, name, value in given_flags(config):
        try:
            reason = _of_flag(where, name, value, may_bring_code)
        except RecursionError:
            return f"{where}: has too many objects in one another"
        if reason is not None:
            return reason
    return None


def chosen_by_variable(name: str, value: str, *, in_container: bool) -> str | None:
    """Returns why a variable of the model is not known to be harmless; None if it is.

    A container has an image of its own, with programs that may need variables which nobody here can list.
    """
    where = f"env.{name}"
    if ENV_TEXT.fullmatch(name):
        return None
    if ENV_PLAIN.fullmatch(name):
        return _of_value(where, value, PLAIN) or (f"{where}: names an address" if "://" in value else None)
    if is_credential(name) or (in_container and not ENV_READ.fullmatch(name)):
        return None
    return (
        f"{where}: is not known to be harmless: it could choose the code or the hosts that this host's model runs with"
    )


def _of_flag(where: str, name: str, value: Any, may_bring_code: bool) -> str | None:
    if value is False:
        return None
    if not may_bring_code and _means(name, (REMOTE_CODE_FLAG,)):
        return f"{where}: runs code that the model brings"
    if _means(name, CODE_FLAGS) or (CODE_FLAG.fullmatch(name) and value is not True):
        return f"{where}: runs code that is not vLLM's"
    if _means(name, HOST_FLAGS) and not is_one_node(name, value):
        return f"{where}: makes the model a part of something on other hosts"
    for item in value if isinstance(value, list) else [value]:
        inner = _structure(item)
        if inner is None:
            reason = _of_value(where, item, FLAGS.get(name, PLAIN))
        else:
            reason = _of_object(where, inner, NESTED.get(name, {}))
        if reason is not None:
            return reason
    return None


def _means(name: str, flags: tuple[str, ...]) -> bool:
    """Whether argparse takes `name` for one of `flags`."""
    return name not in WHOLE_FLAGS and any(flag.startswith(name) for flag in flags)


def _of_object(where: str, value: Any, listed: Listed) -> str | None:
    """A value inside of an object; `listed` is what is known to be harmless there."""
    inner = _structure(value)
    if inner is None:
        return _of_value(where, value, PLAIN if isinstance(listed, Mapping) else listed)
    if isinstance(inner, list):
        found = (_of_object(f"{where}[{index}]", item, listed) for index, item in enumerate(inner))
        return next((reason for reason in found if reason is not None), None)
    for key, item in inner.items():
        place = f"{where}.{key[:140]}"
        if not isinstance(listed, Mapping) or key not in listed:
            return f"{place}: is not known to be harmless: it could choose code or hosts"
        reason = _of_object(place, item, listed[key])
        if reason is not None:
            return reason
    return None


def _of_value(where: str, value: Any, listed: Listed) -> str | None:
    if not isinstance(value, str) or listed is TEXT:
        return None
    text = value.strip()
    if isinstance(listed, OneOf):
        return None if text.lower() in listed.words or not text else f"{where}: {text[:80]!r} could be the name of code"
    if any(_CLASS.fullmatch(part.strip()) and "." in part for part in text.split(",")):
        return f"{where}: {text[:80]!r} could be the path of a Python class or module"
    return None


def _structure(value: Any) -> dict[str, Any] | list[Any] | None:
    """The object or list that `value` is, also as JSON. Of a key that comes twice each value counts."""
    if isinstance(value, dict | list):
        return value
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return None
    try:
        inner = json.loads(value, object_pairs_hook=_every)
    except (ValueError, RecursionError):
        return None  # nor does vLLM make anything of it
    return inner if isinstance(inner, dict | list) else None


def _every(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}
